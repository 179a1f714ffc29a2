"""docs/notebooks/watch-a-run.ipynb runs, and follows a run that is still being trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recipebox.run_dir import RunDir

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebooks" / "watch-a-run.ipynb"

TRAIN = """\
import json, sys, time
from pathlib import Path
from recipebox.endings import state_kept
from recipebox.run_dir import RunDir
run = RunDir(Path(sys.argv[1]))
with state_kept(run), open(run.steps, "a") as steps, open(run.epochs, "a") as epochs:
    print("running", flush=True)
    for step in range(1, 31):
        losses = {"box_loss": 2 / step, "cls_loss": 3 / step, "dfl_loss": 1.0}
        steps.write(json.dumps({"step": step, "epoch": 1, "loss": losses, "techniques": {"ema/decay": 0.1}}) + "\\n")
        steps.write('{"step": 99')  # a line in the making is no line
        steps.flush()
        steps.truncate(steps.tell() - len('{"step": 99'))
        if step == 10:
            sys.stdin.readline()
    epochs.write(json.dumps({"epoch": 1, "val": {"mAP50": 0.5, "mAP50-95": 0.3}}) + "\\n")
"""


def execute(**environment: str) -> Any:
    """The notebook after it was executed in a kernel of its own."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute(env=os.environ | environment)
    return notebook


def test_it_follows_a_run_to_its_end(tmp_path: Path) -> None:
    run = RunDir.create("some-recipe", tmp_path)
    run.plan.write_text("a: 1\n")
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(run.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert trainer.stdin is not None and trainer.stdout is not None
    assert trainer.stdout.readline() == "running\n"

    def go_on() -> None:
        time.sleep(3)
        trainer.communicate("\n", timeout=60)

    later = threading.Thread(target=go_on)
    later.start()
    path = os.pathsep.join(filter(None, sys.path))
    notebook = execute(RUN="some-recipe", RECIPEBOX_RUNS=str(tmp_path), EVERY_S="0.2", PYTHONPATH=path)
    later.join()
    outputs = notebook.cells[-1].outputs
    assert any("image/png" in one.get("data", {}) for one in outputs)
    seen = json.loads("".join(one["text"] for one in outputs if one.output_type == "stream"))
    losses = ["box_loss", "cls_loss", "dfl_loss"]
    assert seen == {"state": "finished", "steps": 30, "epochs": 1, "losses": losses}


def test_it_is_kept_without_outputs() -> None:
    """What a notebook showed on somebody's machine is no part of the repository."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]
