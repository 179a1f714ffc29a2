"""`recipebox …` in a process of its own that need not import PyTorch first: a fork of one that has done nothing else.

Same `main()`, exit codes, signals, folder and environment as `python -m recipebox.cli`; seconds less a call.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = (
    "recipebox.cli",  # first: it decides how threads wait, before PyTorch is there
    "recipebox.job",
    "recipebox.train.run",
    "recipebox.evaluate.run",
    "recipebox.export.run",
    "recipebox.bench.run",
    "recipebox.report.run",
    "torch._inductor.config",  # what asking PyTorch for determinism imports
    "torchvision",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "onnx",
    "onnxruntime",
)


def run(
    arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """What came of `recipebox *arguments`, as subprocess.run would tell it.

    Raises:
        subprocess.TimeoutExpired: it was not over after `timeout` seconds; it is killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = context.Process(target=_main, args=(list(arguments), str(cwd), dict(environment), str(out), str(err)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["recipebox", *arguments], timeout)
        return subprocess.CompletedProcess(
            ["recipebox", *arguments],
            process.exitcode,
            out.read_text(encoding="utf-8", errors="replace"),
            err.read_text(encoding="utf-8", errors="replace"),
        )


def _main(arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    # What the imports set for themselves stays; what recipebox reads is as the caller says, or not there.
    set_by_imports = {name: value for name, value in os.environ.items() if not name.startswith("RECIPEBOX_")}
    os.environ.clear()
    os.environ.update(set_by_imports | environment)
    os.chdir(cwd)
    sys.argv = ["recipebox", *arguments]
    import cv2

    from recipebox.cli import main

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # main() asks for it before OpenCV is there
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without them
