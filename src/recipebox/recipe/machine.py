"""What a plan has to know of the machine. No torch: GPUs are read from the driver's own files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recipebox.errors import PlanConflict
from recipebox.run_dir import runs_root

_DRIVER = Path("/proc/driver/nvidia/gpus")


class KnownDataset(Protocol):
    """What can be said of a data set without reading its images (`data.datasets.Known` is one)."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Class names; None where they are not known."""
        ...

    @property
    def counts(self) -> Mapping[str, int] | None:
        """Images in train, val and test; None where they are not known."""
        ...

    @property
    def download_bytes(self) -> int | None:
        """What would be fetched; None where nothing has to be, or nothing can be."""
        ...

    @property
    def available(self) -> bool:
        """Whether it can be had without the network."""
        ...

    @property
    def meant(self) -> str | None:
        """The known name that an unknown one resembles."""
        ...


@dataclass(frozen=True)
class Machine:
    """Plain facts, and three questions that the data side answers; a test answers them itself.

    Attributes:
        device: `cpu` or `cuda:N`, as torch names them.
        gpu_name: the chosen GPU; None on a CPU.
        cpu_count: cores that this process may use.
        free_disk: free bytes where runs are written.
        known: (data set, images wanted) -> what is known of it.
        weights_available: (weights, SHA-256 from the recipe) -> whether they are here.
        weights_bytes: weights -> bytes of their download; None where they cannot be fetched.
    """

    device: str
    gpu_name: str | None
    cpu_count: int
    free_disk: int
    known: Callable[[str, int | None], KnownDataset]
    weights_available: Callable[[str, str | None], bool]
    weights_bytes: Callable[[str], int | None]

    @property
    def has_gpu(self) -> bool:
        """Whether a GPU is there and was not declined."""
        return self.device != "cpu"

    def has_dataset(self, name: str) -> bool:
        """Whether a data set can be had without the network."""
        return self.known(name, None).available

    def has_weights(self, name: str, sha256: str | None = None) -> bool:
        """Whether weights are here; `scratch` always is."""
        return name == "scratch" or self.weights_available(name, sha256)


def probe_machine(
    device: str | None = None,
    *,
    known: Callable[[str, int | None], KnownDataset],
    weights_available: Callable[[str, str | None], bool],
    weights_bytes: Callable[[str], int | None],
) -> Machine:
    """Look at this machine.

    Args:
        device: what DEVICE asks for: `cpu`, `gpu`, `cuda`, `cuda:1`, `1`; None, empty or `auto` takes a GPU if any.
        known: `data.datasets.known`. Handed in, because recipe/ stands left of data/.
        weights_available: `data.weights.weights_available`.
        weights_bytes: `data.weights.download_bytes`.

    Raises:
        PlanConflict: the device that was asked for is not here.
    """
    names = gpu_names()
    chosen = _device(device, names)
    return Machine(
        device=chosen,
        gpu_name=None if chosen == "cpu" else names[int(chosen.partition(":")[2])],
        cpu_count=cpu_count(),
        free_disk=_free_disk(runs_root()),
        known=known,
        weights_available=weights_available,
        weights_bytes=weights_bytes,
    )


def has_device(device: str) -> bool:
    """Whether the device of a plan is on this machine."""
    try:
        return bool(_device(device, gpu_names()))
    except PlanConflict:
        return False


def gpu_names(driver: Path = _DRIVER) -> list[str]:
    """The NVIDIA GPUs that CUDA would show this process, in the driver's order."""
    names = []
    for information in sorted(driver.glob("*/information")):
        try:
            match = re.search(r"^Model:\s*(.+)$", information.read_text(encoding="utf-8", errors="replace"), re.M)
        except OSError:
            continue
        names.append(match.group(1).strip() if match else "NVIDIA GPU")
    names = names or _names_from_smi()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    shown = []
    for part in visible.split(","):
        # As CUDA reads it: the first entry that is no device hides all that follow. UUIDs are taken in order.
        part = part.strip()
        if part.isdigit() and int(part) < len(names):
            shown.append(names[int(part)])
        elif part.startswith(("GPU-", "MIG-")) and len(shown) < len(names):
            shown.append(names[len(shown)])
        else:
            break
    return shown


def cpu_count() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _names_from_smi() -> list[str]:
    """For machines without the driver's files: WSL, Jetson."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    import subprocess

    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID: .*\))?$", listing, re.M)


def _device(asked: str | None, names: list[str]) -> str:
    wish = (asked or "auto").strip().lower()
    if wish == "cpu" or (wish == "auto" and not names):
        return "cpu"
    if wish in {"auto", "gpu", "cuda"}:
        wish = "0"
    match = re.fullmatch(r"(?:cuda:|gpu:)?(\d+)", wish)
    if match is None:
        raise PlanConflict(f"DEVICE={asked}: not a device. Give cpu, gpu, or a GPU by its number (0, cuda:0).")
    index = int(match.group(1))
    if index >= len(names):
        there = ", ".join(f"{number}: {name}" for number, name in enumerate(names)) or "no NVIDIA GPU"
        raise PlanConflict(f"DEVICE={asked}: no such GPU; seen here: {there}. DEVICE=cpu trains on the processor.")
    return f"cuda:{index}"


def _free_disk(place: Path) -> int:
    """Free bytes at `place`, or at the nearest folder above it that exists."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0
