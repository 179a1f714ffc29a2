"""Synthetic boards: exact boxes, the same board for the same seed, and the statistics of real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from recipebox.data import synthetic_pcb
from recipebox.data.datasets import prepare
from recipebox.data.synthetic_defects import COPPER, MARGIN, OPEN, PIN_HOLE, SHORT, SPUR
from recipebox.data.synthetic_pcb import NAMES, draw, encode
from recipebox.errors import DataError, StorageError

SAMPLE = 60


@pytest.fixture(scope="module")
def boards() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [draw(5, index, "train") for index in range(SAMPLE)]


def _pixels(box: np.ndarray) -> tuple[int, int, int, int]:
    x, y, w, h = box[1:].astype(np.float64) * 640
    return tuple(int(value) for value in np.rint([x - w / 2, y - h / 2, x + w / 2, y + h / 2]))  # type: ignore[return-value]


def test_boxes_hold_every_changed_pixel_and_each_has_some(boards):
    for spoiled, clean, boxes in boards:
        changed = spoiled != clean
        for box in boxes:
            x1, y1, x2, y2 = _pixels(box)
            assert 0 <= x1 < x2 <= 639 and 0 <= y1 < y2 <= 639
            inside = changed[y1 : y2 + 1, x1 : x2 + 1]
            assert np.count_nonzero(inside) >= 12
            # DeepPCB's habit: ten pixels around what was drawn, but for the border of the image.
            ys, xs = np.nonzero(inside)
            for gap, at_border in ((xs.min(), x1 == 0), (ys.min(), y1 == 0)):
                assert gap >= MARGIN or at_border
            inside[:] = False
        assert not changed.any(), "a pixel changed outside every box"


def test_isolated_defects_have_exactly_the_margin(boards):
    measured = 0
    for spoiled, clean, boxes in boards:
        for box in boxes[np.isin(boxes[:, 0], (COPPER, PIN_HOLE))]:
            x1, y1, x2, y2 = _pixels(box)
            if x1 == 0 or y1 == 0 or x2 == 639 or y2 == 639:
                continue
            ys, xs = np.nonzero((spoiled != clean)[y1 : y2 + 1, x1 : x2 + 1])
            assert (xs.min(), ys.min()) == (MARGIN, MARGIN)
            assert (x2 - x1 - xs.max(), y2 - y1 - ys.max()) == (MARGIN, MARGIN)
            measured += 1
    assert measured > 50


def test_defects_do_not_overlap(boards):
    for *_, boxes in boards:
        covered = np.zeros((640, 640), np.uint8)
        for box in boxes:
            x1, y1, x2, y2 = _pixels(box)
            covered[y1 : y2 + 1, x1 : x2 + 1] += 1
        assert covered.max() == 1


def test_defects_are_of_the_colour_that_their_class_says(boards):
    for spoiled, clean, boxes in boards:
        assert set(np.unique(spoiled)) <= {0, 255} and set(np.unique(clean)) <= {0, 255}
        for box in boxes:
            x1, y1, x2, y2 = _pixels(box)
            area = (slice(y1, y2 + 1), slice(x1, x2 + 1))
            new = spoiled[area][spoiled[area] != clean[area]]
            assert (new == (0 if int(box[0]) in (SHORT, SPUR, COPPER) else 255)).all()


def _pieces(board: np.ndarray, value: int) -> int:
    return cv2.connectedComponents((board == value).astype(np.uint8), connectivity=4)[0] - 1


def test_isolated_defects_add_a_piece_of_their_colour(boards):
    """One more island of copper for `copper`, one more hole in it for `pin-hole`."""
    for spoiled, clean, boxes in boards[:20]:
        for box in boxes[np.isin(boxes[:, 0], (COPPER, PIN_HOLE))]:
            x1, y1, x2, y2 = _pixels(box)
            only = clean.copy()
            only[y1 : y2 + 1, x1 : x2 + 1] = spoiled[y1 : y2 + 1, x1 : x2 + 1]
            value = 0 if box[0] == COPPER else 255
            assert _pieces(only, value) > _pieces(clean, value)


def test_opens_cut_and_shorts_join(boards):
    """Within a window around it, an open cuts copper and a short cuts the bare gap between two pieces of copper."""
    cut = joined = opens = shorts = 0
    for spoiled, clean, boxes in boards:
        for box in boxes[np.isin(boxes[:, 0], (OPEN, SHORT))]:
            x1, y1, x2, y2 = _pixels(box)
            window = (slice(max(0, y1 - 4), y2 + 5), slice(max(0, x1 - 4), x2 + 5))
            if box[0] == OPEN:
                opens += 1
                cut += _pieces(spoiled[window], 0) > _pieces(clean[window], 0)
            else:
                shorts += 1
                joined += _pieces(spoiled[window], 255) > _pieces(clean[window], 255)
    # A scratched (dotted) stroke may leave a thread, as on real boards.
    assert opens > 30 and cut / opens > 0.85
    assert shorts > 20 and joined / shorts > 0.85


def test_the_same_seed_draws_the_same_board_whatever_was_drawn_before(boards):
    spoiled, clean, boxes = draw(5, 3, "train")
    for again, first in zip((spoiled, clean, boxes), boards[3], strict=True):
        np.testing.assert_array_equal(again, first)
    assert encode(5, 3, "train")[0] == encode(5, 3, "train")[0]
    for other in ((6, 3, "train"), (5, 4, "train"), (5, 3, "val")):
        assert not np.array_equal(draw(*other)[0], spoiled)


def test_statistics_are_those_of_deeppcb(boards):
    counts = [len(boxes) for *_, boxes in boards]
    assert min(counts) >= 3 and max(counts) <= 12 and 6 <= np.mean(counts) <= 7.8
    labels = np.concatenate([boxes[:, 0] for *_, boxes in boards]).astype(int)
    shares = np.bincount(labels, minlength=6) / labels.size
    assert (shares > 0.09).all() and (shares < 0.28).all()
    sides = np.concatenate([boxes[:, 3:].ravel() for *_, boxes in boards]) * 640
    assert 30 <= np.median(sides) <= 38 and sides.min() >= 18 and sides.max() <= 180
    bare = [float((spoiled > 127).mean()) for spoiled, *_ in boards]
    assert 0.5 <= np.mean(bare) <= 0.78 and np.std(bare) > 0.12


def test_the_set_is_drawn_once_and_is_itself_again(cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = prepare("pcb-synthetic", images=9, seed=2)
    assert [len(first.split(split)) for split in ("train", "val", "test")] == [9, 8, 8]
    assert first.names == NAMES and "no real board" in first.notes[0]
    np.testing.assert_array_equal(first.train.boxes[4], draw(2, 4, "train")[2])
    monkeypatch.setattr(synthetic_pcb, "encode", lambda *_: pytest.fail("drawn again"))
    assert prepare("pcb-synthetic", images=9, seed=2).sha256 == first.sha256
    assert synthetic_pcb.counts(None)["train"] == synthetic_pcb.DEFAULT_IMAGES
    with pytest.raises(DataError, match="0 images cannot be drawn"):
        prepare("pcb-synthetic", images=0)


def test_files_on_disk_decode_to_the_board(cache: Path):
    small = prepare("pcb-synthetic", images=8, seed=4)
    spoiled, _, _ = draw(4, 0, "val")
    read = cv2.imread(str(small.val.images[0]), cv2.IMREAD_GRAYSCALE)
    assert np.mean((read > 127) != (spoiled > 127)) < 1e-3


def test_a_full_disk_leaves_no_half_drawn_set(small_disk, cache: Path, monkeypatch: pytest.MonkeyPatch):
    disk = small_disk(300)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    with pytest.raises(StorageError, match="the disk is full"):
        prepare("pcb-synthetic", images=30)
    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_spoiled_boards_in_the_cache_are_told(cache: Path):
    made = prepare("pcb-synthetic", images=8)
    folder = made.train.images[0].parent.parent
    made.train.images[2].write_bytes(made.train.images[2].read_bytes()[:500])
    with pytest.raises(DataError, match=r"000002\.jpg"):
        prepare("pcb-synthetic", images=8)
    (folder / "boards.json").write_text("{")
    with pytest.raises(DataError, match="Delete the folder"):
        prepare("pcb-synthetic", images=8)
