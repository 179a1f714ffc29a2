from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.recipe.estimate import Estimate
from recipebox.recipe.plan import Change, Pending, Plan, plan_from_yaml, plan_to_yaml
from recipebox.recipe.schema import Settings

number = st.floats(min_value=0, max_value=1, allow_nan=False)
words = st.text(max_size=20)
value = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.lists(words, max_size=2)
maybe_count = st.none() | st.integers(0, 10**12)


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    ema = draw(
        st.none()
        | st.just(False)
        | st.builds(dict, decay=st.floats(0, 0.999), tau=st.floats(1e-9, 1e9, exclude_min=True))
    )
    term = st.none() | st.builds(dict, weight=number, weight_end=st.none() | number)
    maps = st.none() | st.builds(dict, weight=number, loss=st.sampled_from(["cwd", "pkd", "mse", "native"]))
    teachers = st.just([{"recipe": "teacher"}])
    distillation = st.none() | st.builds(dict, teachers=teachers, logits=term, box=term, features=maps)
    names = st.dictionaries(words, number, max_size=2)
    smoothing = st.none() | st.builds(dict, epsilon=number, per_class=names, form=st.sampled_from(["spread", "binary"]))
    factor = st.floats(1e-9, 1e9)
    weights = st.none() | st.builds(dict, pos_weight=factor | st.dictionaries(words, factor, max_size=2))
    return Settings.model_validate(
        {
            "data": {
                "dataset": draw(st.text(min_size=1, max_size=20)),
                "images": draw(st.none() | st.integers(1, 10**9)),
            },
            "model": {
                "weights": draw(words),
                "arch": draw(st.none() | st.sampled_from(["yolov8n", "yolov8-mobilenetv3"])),
            }
            if draw(st.booleans())
            else {"weights": "yolov8n.pt"},
            "train": {
                "epochs": draw(st.integers(1, 10**6)),
                "imgsz": 32 * draw(st.integers(1, 128)),
                "batch": draw(st.integers(1, 10**4)),
                "optimizer": draw(st.sampled_from(["auto", "SGD"])),
                "lr0": draw(st.none() | st.floats(1e-30, 1e30)),
                "momentum": draw(number),
            },
            "techniques": {
                "ema": ema,
                "distillation": draw(distillation),
                "label_smoothing": draw(smoothing),
                "class_weights": draw(weights),
            },
            "evaluate": {"compare": draw(st.lists(words, max_size=3))},
        }
    )


def one_plan(teachers: st.SearchStrategy[tuple[Plan, ...]]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        name=words,
        source=words,
        profile=st.none() | words,
        profile_reason=words,
        device=st.sampled_from(["cpu", "cuda:0"]),
        settings=any_settings(),
        changes=st.lists(st.builds(Change, path=words, before=value, after=value, by=words), max_size=3).map(tuple),
        fallbacks=st.lists(words, max_size=2).map(tuple),
        pending=st.lists(
            st.builds(
                Pending,
                kind=st.sampled_from(["data", "weights"]),
                name=words,
                download_bytes=maybe_count,
                fallback=st.none() | words,
            ),
            max_size=2,
        ).map(tuple),
        warnings=st.lists(words, max_size=2).map(tuple),
        teachers=teachers,
        estimate=st.builds(
            Estimate,
            train_images=maybe_count,
            steps_per_epoch=maybe_count,
            optimizer_steps=maybe_count,
            ema_decay_end=st.none() | number,
            disk_bytes=st.integers(0, 10**15),
            download_bytes=st.integers(0, 10**15),
            seconds=st.none() | st.floats(0, 1e9),
        ),
    )


@settings(max_examples=60)
@given(plan=one_plan(st.just(()) | st.tuples(one_plan(st.just(())))))
def test_a_plan_is_read_back_exactly(plan: Plan) -> None:
    again = plan_from_yaml(plan_to_yaml(plan))
    assert again == plan
    assert plan_to_yaml(again) == plan_to_yaml(plan)
