"""The section on sizes of boxes: there where the recipe asks for it, with what the data set says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.recipe.plan import plan_from_yaml, plan_to_yaml
from recipebox.recipe.schema import Anchors
from recipebox.recipe.technique_sections import Techniques
from recipebox.report import run as report_run
from recipebox.report.run import report
from recipebox.run_dir import RunDir, write_text


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_run, "_draw", lambda facts: ({}, []))


@pytest.fixture
def small(tmp_path: Path) -> DetectionSet:
    """Images of 320 px, so that boxes at 320 px are as drawn: 40 different ones of 8 to 47 px, and one without size."""
    folder = tmp_path / "small"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((320, 320, 3), np.uint8))
    rows = [[0, 0.5, 0.5, side / 320, (side + 2) / 320] for side in range(8, 48)] + [[0, 0.5, 0.5, 0, 0.1]]
    split = Split((folder / "a.png",), (np.array(rows, np.float32),))
    return DetectionSet("small", ("dent",), split, split, split, "0" * 64)


def asked(run: RunDir, **techniques: object) -> RunDir:
    plan = plan_from_yaml(run.plan.read_text(encoding="utf-8"))
    changes: dict[str, object] = {"anchors": Anchors(analyse=True)}
    if techniques:
        changes["techniques"] = Techniques.model_validate(techniques)
    write_text(run.plan, plan_to_yaml(replace(plan, settings=plan.settings.model_copy(update=changes))))
    return run


def test_nothing_is_said_where_nobody_asks(run: RunDir, small: DetectionSet) -> None:
    assert "stride" not in report(run, detection_set=small).markdown.read_text(encoding="utf-8")


def test_sizes_strides_anchors_and_what_they_speak_for(run: RunDir, small: DetectionSet) -> None:
    text = report(asked(run), detection_set=small).markdown.read_text(encoding="utf-8")
    assert "## Sizes of boxes, strides and anchors" in text
    assert "40 training boxes of small at 320 px" in text
    assert "| 8 | 80.0% | 40.0% |" in text
    assert "under two cells of stride 8 (16 px): 20.0%" in text
    assert "`techniques: {p2: true}`" in text
    assert (run.root / "pictures" / "anchors.png").is_file()


def test_a_head_with_anchors_is_judged_by_its_own(run: RunDir, small: DetectionSet) -> None:
    rows = [[10, 12], [20, 22], [40, 42]]
    text = report(asked(run, anchor_head={"anchors": rows}), detection_set=small).markdown.read_text(encoding="utf-8")
    assert "The recipe's anchors have recall 1.0000" in text
    assert "| 16 | 20 x 22 |" in text
    assert "assigner" not in text, "such a head has none"


def test_what_cannot_be_looked_at_is_said(run: RunDir, small: DetectionSet, tmp_path: Path) -> None:
    asked(run)
    assert "without the data set at hand" in report(run).markdown.read_text(encoding="utf-8")
    few = replace(small, train=Split(small.train.images, (small.train.boxes[0][:2],)))
    assert "2 boxes of 2 sizes cannot say" in report(run, detection_set=few).markdown.read_text(encoding="utf-8")
