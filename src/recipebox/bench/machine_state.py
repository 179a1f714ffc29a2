"""What the timings were taken on. Standard library only, no torch."""

from __future__ import annotations

import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recipebox import __version__

_PACKAGES = ("onnxruntime", "numpy", "opencv-python", "opencv-python-headless", "torch", "torchvision", "ultralytics")


def machine_state(threads: int) -> dict[str, Any]:
    """The `machine` entry of bench.json. Call it before the load of the bench itself begins.

    Args:
        threads: threads that one inference uses.
    """
    state: dict[str, Any] = {"cpu": cpu_model(), "cores": usable_cpus(), "threads": threads}
    if hasattr(os, "getloadavg"):
        state["load_before"] = round(os.getloadavg()[0], 2)
    state["os"] = _os_name()
    state["versions"] = {"recipebox": __version__, "python": platform.python_version()} | _versions()
    return state


def usable_cpus() -> int:
    """CPUs this process may use: those it is bound to, and no more than a container's quota pays for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, _quota() or bound))


def cpu_model() -> str:
    """The processor's name as the kernel prints it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Hardware", "Processor"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _quota() -> int | None:
    """The CPU quota of the container, rounded up; None where there is none (cgroup v2, then v1)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    try:
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None


def _os_name() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.system()} {platform.release()}"
    except (OSError, KeyError):
        return platform.platform()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
