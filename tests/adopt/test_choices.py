"""The recipe's numbers: what they follow from, and that the recipe is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adopt_folders import draw, write
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.adopt.choices import Facts, Memory, choose
from recipebox.adopt.recipe_text import recipe_text
from recipebox.recipe.load import load_recipe

HERE = Memory(None, 16_000_000_000)


def facts(
    train: int = 700, small: float | None = 0.05, long: int | None = 640, names: tuple[str, ...] = ("a", "b")
) -> Facts:
    usual = None if small is None else small * 2
    return Facts({"train": train, "val": 150, "test": 150}, names, small, usual, long)


@pytest.mark.parametrize(
    ("small", "long", "imgsz"),
    [
        (0.05, 640, 320),  # 16 px at 320
        (0.025, 1920, 640),  # 16 px at 640
        (0.0125, 1920, 1280),
        (0.001, 4000, 1280),  # never enough
        (0.001, 640, 640),  # no more than there is
        (0.5, 4000, 320),
        (0.9, 28, 320),
        (None, None, 640),
    ],
)
def test_imgsz_follows_the_small_boxes(small: float | None, long: int | None, imgsz: int) -> None:
    profiles = choose(facts(small=small, long=long), HERE)
    assert profiles["gpu"].train["imgsz"] == imgsz
    assert profiles["cpu"].train["imgsz"] == max(320, imgsz // 2)


def test_tiles_are_advised_below_one_cell_only() -> None:
    assert "tiles" in choose(facts(small=0.001, long=4000), HERE)["gpu"].why["imgsz"]
    assert "tiles" not in choose(facts(small=0.02, long=640), HERE)["gpu"].why["imgsz"]


@pytest.mark.parametrize(
    ("gpu", "train", "batch"),
    [(None, 10_000, 16), (80e9, 10_000, 64), (4e9, 10_000, 32), (1e8, 10_000, 2), (80e9, 100, 8), (80e9, 1, 2)],
)
def test_batch_follows_memory_and_images(gpu: float | None, train: int, batch: int) -> None:
    memory = Memory(int(gpu) if gpu is not None else None, 16_000_000_000)
    assert choose(facts(train=train), memory)["gpu"].train["batch"] == batch


@pytest.mark.parametrize(("train", "gpu", "cpu"), [(700, 100, 12), (10_000, 30, 3), (50, 300, 100), (1, 300, 100)])
def test_epochs_follow_the_images(train: int, gpu: int, cpu: int) -> None:
    profiles = choose(facts(train=train), HERE)
    assert (profiles["gpu"].train["epochs"], profiles["cpu"].train["epochs"]) == (gpu, cpu)


@settings(max_examples=10)
@given(
    st.integers(1, 200_000),
    st.none() | st.floats(1e-9, 1.0),
    st.integers(1, 20_000),
    st.none() | st.integers(0, 10**11),
    st.integers(0, 10**11),
    st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=9).map(tuple),
    st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable() or "\n" in text),
)
def test_every_recipe_loads_and_its_plans_have_no_conflict(
    tmp_path_factory: pytest.TempPathFactory,
    train: int,
    small: float | None,
    long: int,
    gpu: int | None,
    machine: int,
    names: tuple[str, ...],
    dataset: str,
) -> None:
    from recipebox.data.datasets import Known
    from recipebox.recipe.machine import Machine
    from recipebox.recipe.plan import make_plan

    found = facts(train, small, long if small is not None else None, names)
    text = recipe_text(
        "line-3", dataset, kind="YOLO", facts=found, profiles=choose(found, Memory(gpu, machine)), grouping=None
    )
    path = tmp_path_factory.mktemp("recipe") / "line-3.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load_recipe(path)
    assert loaded.recipe.data.dataset == dataset
    known = Known(("a", "b"), dict(found.images), None, True)
    box = Machine("cpu", None, 2, 10**12, lambda *_: known, lambda *_: True, lambda _: 0)
    for profile in ("gpu", "cpu", "smoke"):
        plan = make_plan(loaded, box, profile=profile, overrides={}, unavailable=frozenset())
        assert not [each for each in plan.warnings if "EMA" in each or "warm" in each], plan.warnings


def test_every_number_has_its_reason(source: Path, init: Any) -> None:
    for index in range(12):
        draw(source / f"b{index // 3}_{index}.png", seed=index)
        write(source / f"b{index // 3}_{index}.txt", "0 0.5 0.5 0.5 0.5\n")
    write(source / "classes.txt", "gap_left\n")
    lines = init().recipe.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 160
    for key in ("epochs", "imgsz", "batch", "nbs", "optimizer", "warmup_epochs", "tau", "fliplr"):
        at = next(index for index, line in enumerate(lines) if f"{key}:" in line)
        assert "#" in lines[at] or lines[at - 1].lstrip().startswith("#"), key
