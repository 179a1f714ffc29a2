"""What the timings were taken on. Standard library only, no torch."""

from __future__ import annotations

import math
import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recipebox import __version__
from recipebox.bench.gpu_state import gpu_state

_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "torch",
    "torchvision",
    "ultralytics",
)

CPUS = Path("/sys/devices/system/cpu")


def machine_state(threads: int) -> dict[str, Any]:
    """The `machine` entry of bench.json. Call it before the load of the bench itself begins.

    Args:
        threads: threads that one inference uses.
    """
    state: dict[str, Any] = {"cpu": cpu_model(), "cores": usable_cpus(), "threads": threads}
    if hasattr(os, "getloadavg"):
        state["load_before"] = round(os.getloadavg()[0], 2)
    state |= _clocks()
    gpu = gpu_state()
    state |= {"gpu": gpu} if gpu else {}
    state["os"] = _os_name()
    state["versions"] = {"recipebox": __version__, "python": platform.python_version()} | _versions()
    return state


class OtherWork:
    """What others do on this machine from now on: a load average would still count what this process did before."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), _used_by_others()

    def state(self, threads: int) -> dict[str, Any]:
        """`others_cores`, the cores that others kept busy since then, and whether the bench's threads had to wait for
        them: `disturbed`. Empty where the kernel does not tell."""
        used = _used_by_others()
        seconds = time.monotonic() - self._began
        if used is None or self._used is None or seconds <= 0:
            return {}
        cores = max(used - self._used, 0.0) / seconds
        free = (os.cpu_count() or 1) - cores
        return {"others_cores": round(cores, 2), "disturbed": free < 0.9 * threads}


def _used_by_others() -> float | None:
    """CPU seconds since the machine started that were not this process's, those that a host took away included."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)
        user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, words[1:9])
    except (OSError, ValueError):
        return None
    own = os.times()
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def machine_after(before: dict[str, Any], others: OtherWork) -> dict[str, Any]:
    """`before` with what the machine looks like now that the bench is over: load_after, what others did meanwhile, and
    clocks where known."""
    after = before | others.state(before["threads"])
    if hasattr(os, "getloadavg"):
        after["load_after"] = round(os.getloadavg()[0], 2)
    gpu = gpu_state()
    after |= {"gpu_after": gpu} if gpu else {}
    clocks = _clocks().get("clocks_mhz")
    return after | ({"clocks_mhz_after": clocks} if clocks else {})


def _clocks() -> dict[str, Any]:
    """clocks_mhz (of every core) and governor, as far as the kernel tells; in a virtual machine often nothing."""
    found: dict[str, Any] = {}
    cores = sorted(CPUS.glob("cpu[0-9]*/cpufreq"))
    clocks = [_number(core / "scaling_cur_freq") for core in cores]
    if clocks and all(clock is not None for clock in clocks):
        found["clocks_mhz"] = [round((clock or 0.0) / 1000) for clock in clocks]
    else:
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
            shown = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
        except (OSError, ValueError):
            shown = []
        if shown:
            found["clocks_mhz"] = [round(clock) for clock in shown]
    with suppress(OSError, ValueError):
        found["governor"] = sorted({(core / "scaling_governor").read_text(encoding="ascii").strip() for core in cores})
    return {key: value for key, value in found.items() if value}


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


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
