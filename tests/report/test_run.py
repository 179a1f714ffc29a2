"""The report stage as a whole: what it writes, that it says what is missing, and that nothing breaks it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipebox.data.detection_set import DetectionSet
from recipebox.errors import RunError, StorageError
from recipebox.report import run as report_run
from recipebox.report.run import PICTURES, report
from recipebox.run_dir import RunDir

Edit = Callable[..., None]
STAGES = ("train", "evaluate", "export", "bench")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of words: pictures are a drawn pixel's worth of bytes."""
    monkeypatch.setattr(report_run, "_draw", lambda facts: ({}, []))


def test_a_whole_report(run: RunDir, baseline_run: RunDir, boards: DetectionSet) -> None:
    none = np.zeros((0, 6), np.float32)
    done = report(run, detection_set=boards, detect=lambda image: none, compare=[baseline_run])
    assert {path.name for path in done.pictures} == set(PICTURES)
    assert all(path.is_file() for path in done.pictures)
    text, page = done.markdown.read_text(), done.html.read_text()
    for name in PICTURES:
        assert f"](pictures/{name})" in text
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert done.attention == ()
    assert "ATTENTION" not in text
    assert "Not measured" not in text
    assert "student" in text and "teacher pcb-teacher" in text and "baseline pcb-baseline" in text
    assert "drawn for a test" in text
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "Result on the test split"
    assert len(headings) == 11
    assert [*run.root.glob("**/.*.part")] == []
    assert str(run.root) not in text + page


def test_fallback_stands_loud_at_the_top(make_run: Callable[..., RunDir], undrawn: None) -> None:
    run = make_run("pcb-distill", fallbacks=("data: pcb-synthetic in place of deeppcb",))
    done = report(run)
    text = done.markdown.read_text()
    assert text.index("ATTENTION") < text.index("## ")
    assert "data: pcb-synthetic in place of deeppcb" in text[: text.index("## ")]
    assert "<blockquote>" in done.html.read_text()
    assert done.attention


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_stage_names_its_command(run: RunDir, undrawn: None, stage: str) -> None:
    run.result(stage).unlink()  # type: ignore[arg-type]
    text = report(run).markdown.read_text()
    command = f"recipebox train --resume runs/pcb-distill/{run.id}" if stage == "train" else f"recipebox {stage} runs/"
    assert text.count("Not measured") >= 2
    assert f"`{command}" in text


def test_a_run_with_nothing_but_a_plan(run: RunDir) -> None:
    for path in [*(run.result(stage) for stage in STAGES), run.epochs, run.steps, run.lock, run.onnx]:
        path.unlink()
    text = report(run).markdown.read_text()
    for stage in ("evaluate", "export", "bench"):
        assert f"`recipebox {stage} runs/pcb-distill/{run.id}`" in text
    assert not re.search(r"\|\s*0(\.0+)?\s*\|", text)
    assert "not evaluated yet" in text


@pytest.mark.parametrize(
    "content", ["{", "", "[]", '{"schema": 1}', '{"schema": 1, "test": 3, "per_class": [1, {}], "names": {}}']
)
def test_no_spoiled_result_breaks_it(run: RunDir, content: str) -> None:
    for stage in STAGES:
        run.result(stage).write_text(content)  # type: ignore[arg-type]
    run.lock.write_text(content)
    run.epochs.write_text('{"epoch": 1, "train": {"box_loss": "high"}, "val": [], "lr": NaN}\n{"epo')
    text = report(run).markdown.read_text()
    assert "epochs.jsonl: the last line is only half written" in text
    assert text.lower().count("not measured") >= 4


def test_hostile_text_does_nothing(run: RunDir, undrawn: None, edit_result: Edit) -> None:
    evil = '<script>alert("x")</script>|a\n\n# heading\n[link](javascript:alert(1))'
    edit_result(run, "evaluate", ("names",), [evil])
    edit_result(run, "evaluate", ("dataset", "name"), evil)
    edit_result(run, "evaluate", ("per_class",), [{"name": evil, "instances": 3, "escapes": 1}])
    edit_result(run, "bench", ("machine", "cpu"), evil)
    edit_result(run, "bench", ("backend",), evil)
    edit_result(run, "train", ("initial_weights", "name"), evil)
    edit_result(run, "export", ("file",), evil)
    run.set_state("failed", evil)
    run.lock.write_text('{"versions": {"<script>": "</code><script>|"}}')
    done = report(run)
    page, text = done.html.read_text(), done.markdown.read_text()
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert len(re.findall(r"<h1", page)) == 1
    assert "<script" not in re.sub(r"`+[^`]*`+", "", text)
    row = next(line for line in text.splitlines() if line.startswith("| &lt;script"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 9


def test_without_a_detector_the_report_says_so(run: RunDir, boards: DetectionSet, undrawn: None) -> None:
    assert "made without the data set at hand" in report(run).markdown.read_text()
    assert "made without the detector at hand" in report(run, detection_set=boards).markdown.read_text()


def test_boards_of_another_data_set_are_not_shown(run: RunDir, boards: DetectionSet, undrawn: None) -> None:
    other = DetectionSet("other", boards.names, boards.train, boards.val, boards.test, "0" * 64)

    def detect(image: Any) -> Any:
        raise AssertionError("must not be asked")

    assert "SHA-256 differs" in report(run, detection_set=other, detect=detect).markdown.read_text()


def test_a_second_report_takes_stale_pictures_away(run: RunDir, undrawn: None) -> None:
    (run.root / "pictures").mkdir()
    (run.root / "pictures" / "boards.png").write_bytes(b"of an earlier threshold")
    (run.root / "pictures" / "mine.png").write_bytes(b"not ours")
    report(run)
    assert [path.name for path in (run.root / "pictures").iterdir()] == ["mine.png"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        report(RunDir(tmp_path))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(run: RunDir, undrawn: None) -> None:
    run.root.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission"):
            report(run)
    finally:
        run.root.chmod(0o700)
    assert not run.report_md.exists()


def test_a_full_disk_leaves_the_earlier_report(run: RunDir, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run.report_md.write_text("earlier")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        report(run)
    assert run.report_md.read_text() == "earlier"
    assert [*run.root.glob("**/.*.part")] == []


def test_it_works_where_torch_is_not_installed(run: RunDir) -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "ultralytics", "onnx", "onnxruntime", "torchvision"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import recipebox.report.run as stage, recipebox.report.boards, recipebox.report.accuracy_pictures
heavy = {"matplotlib", "cv2", "markdown_it"} & set(sys.modules)
assert not heavy, heavy
from pathlib import Path
from recipebox.run_dir import RunDir
print(len(stage.report(RunDir(Path(sys.argv[1]))).pictures))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.root)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "6"
