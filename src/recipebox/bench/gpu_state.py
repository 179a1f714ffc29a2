"""What a GPU says of itself: clocks, power, its mode, temperature, whether it is held back. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

MODEL = Path("/proc/device-tree/model")
RELEASE = Path("/etc/nv_tegra_release")
_WAIT_S = 10.0
_ASKED = {
    "name": "name",
    "driver_version": "driver",
    "pstate": "pstate",
    "clocks.sm": "clock_sm_mhz",
    "clocks.mem": "clock_memory_mhz",
    "clocks.max.sm": "clock_sm_max_mhz",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "temperature.gpu": "temperature_c",
    "utilization.gpu": "utilization_percent",
    "clocks_throttle_reasons.active": "throttle_reasons",
}
_TEXTS = {"name", "driver", "pstate", "throttle_reasons"}
_HARMLESS = 0x1 | 0x2
"""Idle, and clocks that an application has set."""


def gpu_state() -> dict[str, Any]:
    """The `gpu` entry of bench.json; empty where there is none. What is not told is absent.

    On a workstation from nvidia-smi, on a Jetson from nvpmodel, whose modes have other numbers on every board: the
    mode's name and everything it says are kept.
    """
    return _jetson() | _smi()


def _smi() -> dict[str, Any]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    which = ["-i", visible] if re.fullmatch(r"\d+|GPU-[0-9a-fA-F-]+", visible) else ["-i", "0"]
    said = _ask("nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits", *which)
    values = [value.strip() for value in said.splitlines()[0].split(",")] if said else []
    if len(values) != len(_ASKED):
        return {}
    state: dict[str, Any] = {}
    for key, value in zip(_ASKED.values(), values, strict=True):
        if key in _TEXTS:
            if value and not value.startswith("["):
                state[key] = value
            continue
        try:
            state[key] = float(value)
        except ValueError:  # "[N/A]", "[Not Supported]"
            continue
    with suppress(KeyError, ValueError):
        state["throttled"] = bool(int(state["throttle_reasons"], 16) & ~_HARMLESS)
    return state


def _jetson() -> dict[str, Any]:
    state: dict[str, Any] = {}
    for key, path in (("name", MODEL), ("release", RELEASE)):
        try:
            text = path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            continue
        if key == "release" or "jetson" in text.lower():
            state[key] = text.partition("\n")[0]
    said = _ask("nvpmodel", "-q")
    mode = re.search(r"NV Power Mode:\s*(.+)", said)
    if mode:
        state |= {"power_mode": mode[1].strip(), "nvpmodel": said.strip()}
    return state


def _ask(program: str, *arguments: str) -> str:
    """What a program says on stdout; nothing where it is not there, fails or takes too long."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, timeout=_WAIT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", errors="replace")
