"""The GPU, its driver, and what a Jetson says of itself. Python 3.8, standard library."""

from __future__ import annotations

import glob
import os
import re
import shutil
from typing import Any

from recipebox.doctor import facts
from recipebox.doctor.findings import (
    NOTE,
    OK,
    PROBLEM,
    UNKNOWN,
    WARNING,
    Finding,
    Said,
    call,
    gigabytes,
    plain,
    read,
    short,
)

SMI_LIMIT_S = 15.0
_QUERY = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
_VERSION = re.compile(r"\d{3,4}\.\d{1,3}(\.\d{1,3})?")


def smi() -> tuple[list[tuple[str, str, float]], Said | None]:
    """(name, driver, memory in MiB) of every GPU by nvidia-smi, and how it ended; (., None) where there is none."""
    path = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if path is None:
        return [], None
    said = call([path, *_QUERY], SMI_LIMIT_S)
    gpus = []
    for line in said.output.splitlines() if said.code == 0 else ():
        name, _, rest = line.partition(",")
        driver, _, memory = (part.strip() for part in rest.partition(","))
        if name.strip() and _VERSION.fullmatch(driver):
            try:
                gpus.append((short(name, 60), driver, float(memory)))
            except ValueError:  # a GPU that shares the machine's memory says [N/A]
                gpus.append((short(name, 60), driver, 0.0))
    return gpus, said


def driver_version() -> str | None:
    """The loaded driver: by its own file, else by nvidia-smi; None where there is none."""
    found = re.search(r"NVRM version:.*?\s(\d{3,4}\.\d+(?:\.\d+)?)\s", read("/proc/driver/nvidia/version") + "\n")
    if found:
        return found.group(1)
    gpus, _ = smi()
    return gpus[0][1] if gpus else None


def check_gpu(request: dict[str, Any]) -> list[Finding]:
    """An NVIDIA GPU and its driver."""
    gpus, said = smi()
    if gpus:
        findings = []
        for name, driver, memory in gpus:
            cuda = facts.cuda_of_driver(driver)
            room = f", {gigabytes(memory * (1 << 20))}" if memory else ""
            came = f", which came with CUDA {cuda}" if cuda else ""
            if facts.numbers(driver) < facts.numbers(facts.DRIVER_OF_CUDA_MAJOR[12]):
                why = "too old for today's PyTorch, which brings CUDA 12 or 13"
                mend = "sudo apt install nvidia-driver-580 && sudo reboot"
                findings.append(Finding("GPU", WARNING, f"{name}{room}, driver {driver}{came}", why, mend))
            else:
                findings.append(Finding("GPU", OK, f"{name}{room}, driver {driver}{came}"))
        return findings
    if said is None:
        return [_without_smi()]
    words = short(said.output) or "no output"
    if said.code is None:
        why = "the driver hangs" if "answer" in said.ending else words
        return [Finding("GPU", PROBLEM, f"nvidia-smi {said.ending}", why, "sudo dmesg | grep -i nvrm; sudo reboot")]
    if "Driver/library version mismatch" in said.output:
        why = "the driver was updated, and the old one is still loaded"
        return [Finding("GPU", PROBLEM, words, why, "sudo reboot")]
    if "communicate with the NVIDIA driver" in said.output:
        why = "the kernel module is not loaded: often a new kernel without it"
        return [
            Finding("GPU", PROBLEM, words, why, "sudo modprobe nvidia || sudo apt install --reinstall nvidia-dkms-580")
        ]
    if "No devices" in said.output:
        why = "a driver, and no GPU it can use; in a container none was handed in"
        return [Finding("GPU", PROBLEM, words, why, "docker run --gpus all ...")]
    if said.code:
        return [Finding("GPU", PROBLEM, f"nvidia-smi {said.ending}: {words}", "", "sudo dmesg | grep -i nvrm")]
    return [Finding("GPU", UNKNOWN, f"nvidia-smi says what is not understood here: {words}", "", "nvidia-smi")]


def _without_smi() -> Finding:
    if is_board():
        return Finding("GPU", OK, "the Jetson's own")
    if os.path.exists("/dev/nvidia0") or read("/proc/driver/nvidia/version"):
        why = "a driver is loaded; in a container its tools were not handed in"
        mend = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
        return Finding("GPU", WARNING, "NVIDIA, without nvidia-smi", why, mend)
    if _card_without_driver():
        why = "training runs on the CPU until a driver is installed"
        mend = "sudo apt install nvidia-driver-580 && sudo reboot"
        return Finding("GPU", WARNING, "an NVIDIA card, and no driver", why, mend)
    return Finding("GPU", NOTE, "none; training runs on the CPU")


def _card_without_driver() -> bool:
    """Whether the PCI bus has a display or 3D controller of NVIDIA's (vendor 0x10de, class 0x03....)."""
    folders = glob.glob("/sys/bus/pci/devices/*")
    return any(read(f"{one}/vendor") == "0x10de" and read(f"{one}/class").startswith("0x03") for one in folders)


def is_board() -> bool:
    """Whether this is a Jetson."""
    return bool(read("/etc/nv_tegra_release")) or "jetson" in read("/proc/device-tree/model").lower()


def check_jetson(request: dict[str, Any]) -> list[Finding]:
    """Module, JetPack, power mode; nothing at all where this is no Jetson."""
    if not is_board():
        return []
    model = short(read("/proc/device-tree/model")) or "of unknown model"
    line = read("/etc/nv_tegra_release").partition("\n")[0]
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", line)
    if not found:
        return [
            Finding(
                "Jetson",
                WARNING,
                f"{model}; its Jetson Linux is unknown",
                short(line) or "no /etc/nv_tegra_release: in a container?",
            )
        ]
    l4t = f"{found.group(1)}.{found.group(2)}"
    jetpack = facts.jetpack_of_l4t(l4t)
    parts = facts.CUDA_AND_TENSORRT_OF_JETPACK.get(jetpack or "")
    with_what = f" (CUDA {parts[0]}, TensorRT {parts[1]})" if parts else ""
    what = f"JetPack {jetpack}{with_what}" if jetpack else "a JetPack that is not known here"
    return [Finding("Jetson", OK if jetpack else NOTE, f"{model}, Jetson Linux {l4t}, {what}"), _power_mode()]


def _power_mode() -> Finding:
    said = call(["nvpmodel", "-q"], 10.0)
    mode = re.search(r"NV Power Mode:\s*(\S+)", said.output)
    if said.code == 0 and mode:
        return Finding("power mode", OK, plain(mode.group(1)))
    why = "a latency without its power mode says nothing"
    return Finding("power mode", UNKNOWN, f"nvpmodel {said.ending or short(said.output)}", why, "sudo nvpmodel -q")
