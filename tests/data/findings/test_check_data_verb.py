"""`recipebox check-data` on the command line: one document, a table, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import CommandLine


def test_the_table_and_the_document(command_line: CommandLine, boards: Path) -> None:
    (boards / "labels/train/train_1.txt").write_text("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n")
    told = command_line("check-data", str(boards))
    assert told.returncode == 3 and not told.stderr
    assert "labels/train/train_1.txt:2: class 7 is out of range 0..1" in told.stdout
    done = command_line("check-data", str(boards), "--json", "--labels-only")
    document = json.loads(done.stdout)
    assert done.returncode == 3 and not document["passed"] and document["counts"]["error"] == 1
    assert document["splits"]["val"] == {"images": 3, "without_label": 0, "boxes": {"scratch": 3, "dent": 3}}
    (finding,) = document["findings"]
    assert (finding["rule"], finding["severity"], finding["line"]) == ("class-range", "error", 2)
    assert finding["file"] == str(boards / "labels/train/train_1.txt")


def test_a_clean_set_passes_and_what_is_none_is_told(command_line: CommandLine, boards: Path, tmp_path: Path) -> None:
    assert "nothing found" in command_line("check-data", str(boards)).stdout
    assert command_line("check-data", str(boards)).returncode == 0
    (tmp_path / "empty").mkdir()
    for what, words in (
        (tmp_path / "empty", "the folder is empty"),
        ("nowhere", "no such data set"),
        ("", "no such data"),
    ):
        done = command_line("check-data", str(what), "--json")
        assert done.returncode == 2 and words in json.loads(done.stdout)["error"]["message"]
        assert "Traceback" not in done.stderr


@pytest.fixture
def spoiled(boards: Path) -> Path:
    """A set with a finding of several kinds, one of them with a name that tries to be markup."""
    (boards / "labels/train/train_1.txt").write_text("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n0 0.9 0.9 0.3 0.3\n")
    (boards / "images/train/train_0.png").write_bytes(b"")
    shutil.copy(boards / "images/train/train_3.jpg", boards / "images/test/test_1.jpg")
    shutil.copy(boards / "images/train/train_5.jpg", boards / "images/train/<img src=x onerror=alert(1)>.jpg")
    return boards


def test_the_page_shows_what_was_found(command_line: CommandLine, spoiled: Path, tmp_path: Path) -> None:
    page = tmp_path / "out/page.html"
    done = command_line("check-data", str(spoiled), "--html", str(page), "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["html"] == str(page)
    text = page.read_text(encoding="utf-8")
    for words in ("training refuses this set", "class 7 is out of range", "the same image in two splits", "<h2"):
        assert words in text
    assert text.count("data:image/png;base64,") >= 5
    assert "<img src=x" not in text and "http" not in text.replace("http-equiv", "")


def test_the_page_opens_in_a_browser(command_line: CommandLine, spoiled: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium here")
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    assert command_line("check-data", str(spoiled), "--html", str(page)).returncode == 3
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [chromium, *options, f"--screenshot={picture}", "--window-size=1000,1600", page.as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert picture.stat().st_size > 20_000, done.stderr


def test_decoders_do_not_speak_for_us(command_line: CommandLine, boards: Path, tmp_path: Path) -> None:
    """libpng complains of colour profiles and OpenCV of float pixels, on stderr, once an image."""
    first, second = sorted((boards / "images" / "train").iterdir())[:2]
    picture = Image.open(first)
    picture.load()
    picture.save(first, icc_profile=b"no profile " * 20)
    Image.fromarray(np.ones((64, 64), np.float32)).save(second, format="TIFF")
    page = tmp_path / "page.html"
    done = command_line("check-data", str(boards), "--html", str(page))
    assert done.returncode == 3 and "libpng" not in done.stderr and "WARN" not in done.stderr
    assert f"{second.name}: OpenCV cannot decode it (TIFF, F)" in done.stdout
    prepared = command_line("data", "prepare", str(boards))
    assert prepared.returncode == 2 and "error: 1 of 12 images" in prepared.stderr
    assert "libpng" not in prepared.stderr and "WARN" not in prepared.stderr


def test_what_needs_no_look_at_the_set_is_refused_before_it(command_line: CommandLine, tmp_path: Path) -> None:
    """The set is not even there, which would be told first otherwise."""
    (tmp_path / "taken").mkdir()
    for option, words in ((("--fix", "taken"), "is there already"), (("--html", "page.html"), "is a folder")):
        (tmp_path / "page.html").mkdir(exist_ok=True)
        done = command_line("check-data", "nowhere", *option)
        assert done.returncode == 2 and words in done.stderr
    done = command_line("check-data", "pcb-synthetic", "--fix", "new")
    assert done.returncode == 2 and "published set" in done.stderr


@pytest.mark.parametrize("place", ["page.txt", "my boards/page.html", "my boards/images/page.html"])
def test_a_page_goes_nowhere_it_does_not_belong(
    command_line: CommandLine, boards: Path, tmp_path: Path, place: str
) -> None:
    before = sorted(boards.rglob("*"))
    done = command_line("check-data", str(boards), "--html", str(tmp_path / place))
    assert done.returncode == 2 and "--html" in done.stderr and sorted(boards.rglob("*")) == before
