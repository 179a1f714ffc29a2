"""Sets that are known: DeepPCB shows its quirks and nothing else, drawn boards show nothing; and training agrees."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipebox.data import synthetic_pcb
from recipebox.data.findings.check_set import check_set
from recipebox.data.findings.label_scan import FileLabels
from recipebox.data.findings.pairs import exact_pairs, near_pairs
from recipebox.data.yolo_labels import LabelReader, label_file

FIELDS = ("0", "1", "2", "0.5", ".25", "1.0", "0.9", "nan", "-0.1")


def test_deeppcb_shows_its_known_quirks_only() -> None:
    """Crops of one board that were taken twice, with other defects on them: one pair reaches from train to test."""
    if not os.environ.get("RECIPEBOX_DATA"):
        pytest.skip("RECIPEBOX_DATA is not set: no real data here")
    report = check_set("deeppcb", imgsz=320)
    assert report.counts() == {"error": 0, "warning": 1, "note": 3}
    pairs = {(one.rule, one.split, Path(one.file).name[:8], Path(one.other or "").name[:8]) for one in report.findings}
    assert pairs == {
        ("leak-near", "test", "50600050", "50600018"),
        ("image-near", "train", "50600049", "50600017"),
        ("image-near", "val", "77000072", "77000059"),
        ("image-near", "val", "77000077", "77000064"),
    }


def test_drawn_boards_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = synthetic_pcb.load(images=24, seed=1)
    monkeypatch.setattr("recipebox.data.datasets.prepare", lambda name: drawn)
    assert not check_set("pcb-synthetic", imgsz=256).findings


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(
            st.text(alphabet="0123456789.-+einf \t", max_size=30),
            st.lists(st.sampled_from(FIELDS), min_size=4, max_size=8).map(" ".join),
        ),
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_training_and_the_check_read_the_same(tmp_path: Path, lines: list[str], end: str) -> None:
    """Whatever a label file holds: problems here are problems there, and boxes are the same boxes."""
    image = tmp_path / "images/a.png"
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels/a.txt").write_bytes(end.join(lines).encode())
    reader = LabelReader(2)
    (boxes,) = reader.split([image]).boxes
    found = FileLabels([str(image)], label_file, 2).read("train", 0, 1)
    errors = [one for one in found.findings if one.severity == "error"]
    assert len(errors) == len(reader.problems)
    told = [problem.split(": ", 1)[0].rsplit(":", 1)[1] for problem in reader.problems]
    assert told == [str(one.line) for one in errors]
    rows = {tuple(row) for row in found.rows.astype(np.float32).tolist()}
    assert rows == {tuple(row) for row in boxes.tolist()}


def test_pairs_are_found_in_time_where_all_images_show_one_scene() -> None:
    """Twenty thousand frames of one camera: a chain, in seconds. Each with each would be two hundred million pairs."""
    source = np.random.default_rng(0)
    scene = source.integers(0, 256, 256, dtype=np.uint8).astype(int)
    pictures = np.clip(scene + source.integers(-2, 3, (20_000, 256)), 0, 255).astype(np.uint8)
    codes = np.repeat(source.integers(0, 256, (1, 16), dtype=np.uint8), len(pictures), axis=0)
    found = near_pairs(codes, pictures, np.zeros(len(pictures), bool))
    assert len(found) == len(pictures) - 1


def test_the_same_bytes_are_paired_with_the_first() -> None:
    codes = np.array([[1] * 32, [2] * 32, [1] * 32, [1] * 32], np.uint8)
    assert [(pair.first, pair.second) for pair in exact_pairs(codes)] == [(0, 2), (0, 3)]
