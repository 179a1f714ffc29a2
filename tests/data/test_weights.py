"""Weights are used when their hash is known, stands in the recipe, or the user says so; never otherwise."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from recipebox.data import weights
from recipebox.data.weights import KNOWN_WEIGHTS, RELEASE, find_weights, weights_available
from recipebox.errors import WeightsError

OWN = b"a pickle of ours"
OWN_SHA256 = hashlib.sha256(OWN).hexdigest()


@pytest.fixture
def shelf(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$RECIPEBOX_WEIGHTS."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("RECIPEBOX_WEIGHTS", str(folder))
    return folder


def test_known_weights_are_found_in_order(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(weights.KNOWN_WEIGHTS, "yolov8n.pt", OWN_SHA256)
    kept = cache / "weights/yolov8n.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(OWN)
    assert weights_available("yolov8n.pt")
    assert find_weights("yolov8n.pt") == kept
    (shelf / "yolov8n.pt").write_bytes(OWN)
    assert find_weights("yolov8n.pt") == shelf / "yolov8n.pt"
    elsewhere = shelf / "copy.pt"
    elsewhere.write_bytes(OWN)
    assert find_weights(str(elsewhere)) == elsewhere, "a known hash is known under any name"


def test_corrupted_weights_are_refused_even_when_trusted(shelf: Path):
    (shelf / "yolov8n.pt").write_bytes(OWN)
    for trust in (False, True):
        with pytest.raises(WeightsError, match="corrupted") as raised:
            find_weights("yolov8n.pt", trust=trust)
        assert OWN_SHA256 in str(raised.value) and KNOWN_WEIGHTS["yolov8n.pt"] in str(raised.value)
    assert find_weights("yolov8n.pt", sha256=OWN_SHA256) == shelf / "yolov8n.pt", "the recipe vouches for it"


def test_unknown_weights_need_somebody_to_vouch(shelf: Path):
    (shelf / "ours.pt").write_bytes(OWN)
    with pytest.raises(WeightsError, match="pickle") as raised:
        find_weights("ours.pt")
    assert f"sha256: {OWN_SHA256}" in str(raised.value) and "--trust-weights" in str(raised.value)
    assert find_weights("ours.pt", sha256=OWN_SHA256) == find_weights("ours.pt", trust=True) == shelf / "ours.pt"
    with pytest.raises(WeightsError, match=re.escape("the recipe's model.sha256")):
        find_weights("ours.pt", sha256="0" * 64, trust=True)


def test_missing_weights_say_where_they_were_looked_for(shelf: Path, cache: Path):
    assert not weights_available("yolov8n.pt")
    with pytest.raises(WeightsError, match=r"yolov8n\.pt: not found") as raised:
        find_weights("yolov8n.pt", allow_fetch=False)
    assert str(shelf) in str(raised.value) and RELEASE in str(raised.value)
    with pytest.raises(WeightsError, match=re.escape("Did you mean yolov8s.pt?")):
        find_weights("yolo8s.pt")
    with pytest.raises(WeightsError, match="published file has"):
        find_weights("yolov8n.pt", sha256="0" * 64)


def test_fetched_weights_are_kept_in_the_cache(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def fetched(url: str, out: Path, sha256: str | None, description: str) -> Path:
        asked.append((url, sha256))
        out.parent.mkdir(parents=True)
        out.write_bytes(OWN)
        return out

    monkeypatch.setattr(weights, "download", fetched)
    assert find_weights("yolov8s.pt") == cache / "weights/yolov8s.pt"
    assert asked == [(f"{RELEASE}/yolov8s.pt", KNOWN_WEIGHTS["yolov8s.pt"])]
    assert list(shelf.iterdir()) == [], "the user's folder is never written"


def test_the_release_is_the_one_ultralytics_fetches_from():
    downloads = pytest.importorskip("ultralytics.utils.downloads")
    import inspect

    release = inspect.signature(downloads.attempt_download_asset).parameters["release"].default
    assert RELEASE.endswith(f"/{release}")
    assert set(KNOWN_WEIGHTS) <= set(downloads.GITHUB_ASSETS_NAMES)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in KNOWN_WEIGHTS.values())
    assert len(set(KNOWN_WEIGHTS.values())) == len(KNOWN_WEIGHTS)


def test_the_real_files_have_the_known_hashes():
    folder = os.environ.get("RECIPEBOX_WEIGHTS")
    here = [name for name in KNOWN_WEIGHTS if folder and (Path(folder) / name).is_file()]
    if not here:
        pytest.skip("RECIPEBOX_WEIGHTS holds no published weights")
    for name in here:
        assert find_weights(name, allow_fetch=False) == Path(folder or "") / name
        assert weights.download_bytes(name) == (Path(folder or "") / name).stat().st_size


def test_other_published_weights_under_a_published_name_are_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    """Taken as they are, the plan would say yolov8n and a yolov8s would be trained."""
    monkeypatch.setitem(weights.KNOWN_WEIGHTS, "yolov8s.pt", OWN_SHA256)
    (shelf / "yolov8n.pt").write_bytes(OWN)
    with pytest.raises(WeightsError, match=r"not the published yolov8n.pt.*\(it is yolov8s.pt\)"):
        find_weights("yolov8n.pt")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.pt", "~nobody-of-this-name/x.pt"])
def test_impossible_names_are_not_found(shelf: Path, name: str):
    assert not weights_available(name)
    with pytest.raises(WeightsError, match="no such weights"):
        find_weights(name)
