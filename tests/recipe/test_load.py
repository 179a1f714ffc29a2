from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipebox.errors import RecipeError
from recipebox.recipe.changes import parse_set
from recipebox.recipe.load import find_recipes, load_recipe, recipe_json_schema


def problems(path: Path) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    return str(caught.value).splitlines()


def test_reads_values_and_lines(write, good):
    path = write("one", good)
    loaded = load_recipe(path)
    assert loaded.name == "one"
    assert loaded.recipe.train.lr0 == 0.001
    assert loaded.where("train", "imgsz").line == 5
    assert loaded.where("train", "momentum").line == 3, "what is not written has its section's line"


@pytest.mark.parametrize("word", ["off", "Off", "false", "no"])
def test_ema_off(write, good, word):
    assert load_recipe(write("one", good.replace("{tau: 100}", word))).recipe.techniques.ema is False


MISTAKES = [
    ("epochs: 12", "epoch: 12", 4, "did you mean `epochs`?"),
    ("epochs: 12", "epochs: yes", 4, "`train.epochs` must be a whole number, not on"),
    ("epochs: 12", 'epochs: "12"', 4, '`train.epochs` must be a whole number, not "12"'),
    ("epochs: 12", "epochs: 2.5", 4, "must be a whole number, not 2.5"),
    ("epochs: 12", "epochs: 0", 4, "must be at least 1, not 0"),
    ("epochs: 12", "epochs:", 4, "must be a whole number, not nothing"),
    ("epochs: 12", "epochs: [1", 5, "not valid YAML"),
    ("epochs: 12", "epochs: 12\n  epochs: 13", 5, "stands here a second time (first in line 4)"),
    ("epochs: 12", "epochs: !!python/name:os.system", 4, "not allowed"),
    ("epochs: 12", "epochs: 9" + "9" * 5000, 4, "not a whole number that can be read"),
    ("imgsz: 320", "imgsz: 330", 5, "a multiple of 32, not 330; 320 or 352 would do"),
    ("optimizer: AdamW", "optimizer: adamw", 8, "did you mean `AdamW`?"),
    ("lr0: 1e-3", "lr0: .inf", 9, "a finite number"),
    ("lr0: 1e-3", "lr0: .nan", 9, "a finite number"),
    ("lr0: 1e-3", "lr0: -1", 9, "more than 0, not -1"),
    ("{tau: 100}", "on", 12, "`techniques.ema` must be `off`, or a mapping"),
    ("{tau: 100}", "{tua: 100}", 12, "did you mean `tau`?"),
    ("{tau: 100}", "{tau: 0}", 12, "`techniques.ema.tau` must be more than 0"),
    ("techniques:", "epochs: 3\ntechniques:", 11, "`epochs` is not known; it belongs in `train`"),
    ("model: {weights: yolov8n.pt}", "model: {weights: scratch}", 2, "give `arch` too"),
    ("model: {weights: yolov8n.pt}", "model: {weights: yolov8n.pt, arch: yolov8s}", 2, "two networks"),
    ("model: {weights: yolov8n.pt}", "model: {weights: x.pt, arch: yolov9}", 2, "yolov8, yolo11 or yolo26"),
    ("model: {weights: yolov8n.pt}", "", 1, "`model` is missing"),
    ("techniques:", "extends: nowhere\ntechniques:", 11, "no such recipe"),
    ("techniques:", "<<: {a: 1}\ntechniques:", 11, "`extends:` takes over another recipe"),
    ("techniques:", "? [a]\n: 1\ntechniques:", 11, "a key must be a word"),
]


@pytest.mark.parametrize(("right", "wrong", "line", "says"), MISTAKES, ids=[case[1][:30] for case in MISTAKES])
def test_one_mistake_is_said_with_its_line(write, good, right, wrong, line, says):
    assert right in good
    path = write("one", good.replace(right, wrong, 1))
    found = problems(path)
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}:{line}: ")
    assert says in found[0]


def test_everything_wrong_is_said_at_once(write, good):
    base = write("base", good.replace("imgsz: 320", "imgsz: 330"))
    path = write(
        "one",
        """\
extends: base
train: {epoch: 3}
profiles:
  cpu: {train: {batch: 0}}
  gpu: {trian: {batch: 3}}
fallbacks:
  scratch: {train: {lrf: 2}}
techniques:
  distillation: {teachers: [], box: {temperature: 500}}
""",
    )
    found = problems(path)
    for where, words in [
        (f"{base}:5", "multiple of 32"),
        (f"{path}:2", "`epoch` is not known in `train`"),
        (f"{path}:4", "`train.batch` must be at least 1, not 0"),
        (f"{path}:5", "`trian` is not known; did you mean `train`?"),
        (f"{path}:7", "`train.lrf` must be at most 1, not 2"),
        (f"{path}:9", "must hold at least 1, not 0"),
        (f"{path}:9", "`techniques.distillation.box.temperature` must be at most 50, not 500"),
    ]:
        assert sum(line.startswith(f"{where}: ") and words in line for line in found) == 1, (words, found)
    assert len(found) == 7, found


def test_profile_and_fallback_are_checked_together(write, good):
    """Each is right alone; the two together say two networks."""
    path = write(
        "one",
        good + "profiles:\n  gpu: {model: {weights: yolov8s.pt}}\nfallbacks:\n  scratch: {model: {arch: yolov8n}}\n",
    )
    assert "two networks" in problems(path)[0]


def test_what_a_technique_turns_on_a_profile_can_turn_off(write, good):
    path = write("one", good + "profiles:\n  cpu: {techniques: {ema: null}}\n")
    assert load_recipe(path).recipe.profiles["cpu"] == {"techniques": {"ema": None}}


def test_extends_lays_mappings_over_and_replaces_the_rest(write, good):
    write("base", good + "profiles:\n  cpu: {train: {epochs: 5, batch: 4}}\nevaluate: {compare: [a, b]}\n")
    loaded = load_recipe(
        write("one", "extends: base\nprofiles:\n  cpu: {train: {epochs: 6}}\nevaluate: {compare: [c]}\n")
    )
    assert loaded.recipe.profiles["cpu"] == {"train": {"epochs": 6, "batch": 4}}
    assert loaded.recipe.evaluate.compare == ("c",)
    assert loaded.where("train", "epochs").file.endswith("base.yaml")


def test_digest_covers_what_is_extended(write, good):
    write("base", good)
    path = write("one", "extends: base\n")
    before = load_recipe(path).sha256
    write("base", good.replace("epochs: 12", "epochs: 13"))
    assert load_recipe(path).sha256 != before


def test_extends_has_an_end(write, good):
    write("a", "extends: b\n")
    write("b", "extends: a\n")
    assert "goes in a circle: a -> b -> a" in problems(write("a", "extends: b\n"))[0]
    write("d0", good)
    for depth in range(1, 5):
        path = write(f"d{depth}", f"extends: d{depth - 1}\n")
        if depth <= 3:
            assert load_recipe(path).recipe.train.epochs == 12
    assert "4 files deep; at most 3" in problems(path)[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "holds no `key: value` sections"),
        (b"just words\n", "holds no `key: value` sections"),
        (b"data: {}\ntrain: \xff\xfe\n", ":2: not UTF-8"),
        (b"data: \x00\n", "control character"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"a: &x [*x]\n", "nested too deeply"),
        (b"a: [" + b"[" * 3000, "nested too deeply"),
        (b"x: " + b"y" * 100_001, "larger than 100 kB"),
        (b'data: {dataset: "\\ud800"}\n', "surrogate"),
        (b"a: *nobody\n", "undefined alias"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, says):
    path = tmp_path / "one.yaml"
    path.write_bytes(content)
    assert any(says in line for line in problems(path))


def test_an_alias_bomb_is_refused_quickly(tmp_path):
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = tmp_path / "one.yaml"
    path.write_text("\n".join(rows))
    assert "once its aliases are written out" in problems(path)[0]


def test_a_byte_order_mark_is_no_matter(tmp_path, good):
    path = tmp_path / "one.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + good.encode())
    assert load_recipe(path).recipe.train.epochs == 12


def test_missing_recipes_name_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problems(Path("pcb-distil")) == ["pcb-distil: no such recipe; did you mean `pcb-distill`?"]
    assert "no such recipe file" in problems(Path("nowhere/pcb-distill.yaml"))[0]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("a: 1")
    assert "mine" in [path.stem for path in find_recipes()]


def test_a_folder_and_a_bad_name_are_no_recipe(tmp_path, good):
    (tmp_path / "one.yaml").mkdir()
    assert "no such recipe file" in problems(tmp_path / "one.yaml")[0]
    path = tmp_path / "my recipe.yaml"
    path.write_text(good)
    assert "run folder" in problems(path)[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "model", "train", "techniques", "ema", "epochs", "profiles", "extends", "cpu", "on"]
            ),
            below,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON | st.text(max_size=60))
def test_no_input_gives_anything_but_a_recipe_error(tmp_path, value):
    """Whatever stands in the file: a recipe, or a message."""
    path = tmp_path / "one.yaml"
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError) as caught:  # nothing this small is a whole recipe
        load_recipe(path)
    assert all(problem.message for problem in caught.value.problems)


def test_set_values_are_yaml():
    assert parse_set(
        ["train.lr0=1e-3", "techniques.ema=off", "model.arch=null", "evaluate.compare=[a, b]", "data.dataset=a=b"]
    ) == {
        "train": {"lr0": 0.001},
        "techniques": {"ema": False},
        "model": {"arch": None},
        "evaluate": {"compare": ["a", "b"]},
        "data": {"dataset": "a=b"},
    }
    assert parse_set(["techniques.ema={tau: 3}", "techniques.ema.decay=0.9"]) == {
        "techniques": {"ema": {"tau": 3, "decay": 0.9}}
    }
    assert parse_set([]) == {}


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("train.epoch=3", "did you mean `train.epochs`?"),
        ("trian.epochs=3", "did you mean `train.epochs`?"),
        ("epochs=3", "it belongs in `train`"),
        ("train.epochs", "is not `key=value`"),
        ("=3", "is not `key=value`"),
        ("train.epochs.x=3", "`train.epochs` is a value, not a section"),
        ("train.epochs=[", "not valid YAML"),
        ("profiles.cpu=3", "`profiles` is not known"),
    ],
)
def test_set_mistakes(item, says):
    with pytest.raises(RecipeError) as caught:
        parse_set(["train.batch=4", item])
    assert says in str(caught.value)
    assert len(caught.value.problems) == 1


def test_schema_describes_partial_profiles():
    schema = recipe_json_schema()
    json.dumps(schema, allow_nan=False)
    profile = schema["properties"]["profiles"]["additionalProperties"]["$ref"].rpartition("/")[2]
    train = schema["$defs"][profile]["properties"]["train"]["$ref"].rpartition("/")[2]
    assert "epochs" in schema["$defs"][train]["properties"]
    assert "required" not in schema["$defs"][train]
    assert "profiles" not in schema["$defs"][profile]["properties"]
    references = [part.split('"')[0] for part in json.dumps(schema).split('"#/$defs/')[1:]]
    assert set(references) <= set(schema["$defs"])
