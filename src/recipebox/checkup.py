"""`recipebox doctor` on this machine: what recipebox would look for here, put to doctor's checks."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from recipebox.data.datasets import NAMES
from recipebox.data.places import ARCHIVE_SUFFIXES, data_root, download_root, user_cache, weights_roots
from recipebox.data.weights import KNOWN_WEIGHTS
from recipebox.doctor.findings import document, examine, table
from recipebox.doctor.request import CHECKS, default_request
from recipebox.endings import signals_interrupt
from recipebox.errors import CheckFailed
from recipebox.progress import Progress
from recipebox.run_dir import runs_root

DRAWN = "pcb-synthetic"
"""Drawn by recipebox itself: it is nowhere to be looked for."""


def doctor_job() -> tuple[dict[str, Any], str, int]:
    """(document, table, exit code): 0 where recipebox can work here, 3 where a check found a problem."""
    with signals_interrupt(), Progress("looking", len(CHECKS)) as bar:
        findings = examine(CHECKS, local_request(), done=lambda name: bar.update(info=name))
    answer = document(findings)
    return answer, table(findings), CheckFailed.exit_code if answer["problems"] else 0


def local_request() -> dict[str, Any]:
    """The request for this machine: its places, the known weights with their hashes, the data sets known by name."""
    request = default_request()
    request["python"] = sys.executable
    with suppress(OSError):  # the current folder was removed: the table says so, as what is written there
        request["disk"].update(runs=str(runs_root()), cache=str(user_cache()))
    request["weights"].update(roots=_texts(weights_roots()), known=KNOWN_WEIGHTS)
    request["data"].update(
        roots=_texts(dict.fromkeys((data_root(), download_root()))),
        names=[name for name in NAMES if name != DRAWN],
        suffixes=sorted(ARCHIVE_SUFFIXES, key=len, reverse=True),
    )
    return request


def _texts(paths: Any) -> list[str]:
    return [str(Path(path)) for path in paths]
