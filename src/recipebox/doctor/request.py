"""What the checks are told, which checks there are, and how long each may take. Python 3.8, standard library."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from recipebox.doctor.container import check_container
from recipebox.doctor.gpu import check_gpu, check_jetson
from recipebox.doctor.places import check_data, check_disk, check_machine, check_shared_memory, check_weights
from recipebox.doctor.software import (
    check_onnxruntime,
    check_opencv,
    check_python,
    check_tensorrt,
    check_torch,
)

if TYPE_CHECKING:
    from recipebox.doctor.findings import Check

CHECKS: dict[str, tuple[Check, float]] = {
    "machine": (check_machine, 20.0),
    "Jetson": (check_jetson, 20.0),
    "Python": (check_python, 30.0),
    "torch": (check_torch, 120.0),
    "OpenCV": (check_opencv, 100.0),
    "ONNX Runtime": (check_onnxruntime, 100.0),
    "TensorRT": (check_tensorrt, 120.0),
    "GPU": (check_gpu, 30.0),
    "container": (check_container, 60.0),
    "shared memory": (check_shared_memory, 20.0),
    "disk": (check_disk, 20.0),
    "weights": (check_weights, 120.0),
    "data": (check_data, 20.0),
}
"""name -> (check, seconds it may take), in the order of the table."""


def default_request() -> dict[str, Any]:
    """What is asked where nobody says more: this Python, and the places that the environment names.

    `python` is the interpreter that would train; `disk` and `shm` are folders; `weights` has the folders to look in
    and the hash each known file should have (none: nothing is compared); `data` the folders and the names to look for.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    weights, data = os.environ.get("RECIPEBOX_WEIGHTS"), os.environ.get("RECIPEBOX_DATA")
    return {
        "python": sys.executable,
        "shm": "/dev/shm",
        "disk": {
            "runs": os.environ.get("RECIPEBOX_RUNS") or "runs",
            "cache": cache,
            "temporary": _temporary(),
        },
        "weights": {"roots": [weights] if weights else [], "given": weights, "known": {}},
        "data": {"roots": [data] if data else [], "given": data, "names": [], "suffixes": [".tar"]},
    }


def _temporary() -> str:
    """The folder for temporary files. Where none can be written, Python names none: then the one it would be."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR") or "/tmp"
