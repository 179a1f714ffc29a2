"""Which versions go together: the one place that says so, each table with its source. Python 3.8, standard library.

A release that a table does not name is not judged: doctor says that it is unknown here, and nothing more.
"""

from __future__ import annotations

PYTHON = ((3, 11), (3, 14))
"""Lowest and highest that recipebox runs on; `requires-python` and docker/*.lock."""

TESTED = {
    "torch": ("2.11", "2.15"),
    "torchvision": ("0.26", "0.30"),
    "ultralytics": ("8.4.190", "8.4.191"),
    "onnxruntime": ("1.22", "2"),
}
"""From (inclusive) and to (exclusive); pyproject.toml, with docs/results/versions.md. A test compares the two."""

TORCHVISION_OF_TORCH = {
    "2.0": "0.15",
    "2.1": "0.16",
    "2.2": "0.17",
    "2.3": "0.18",
    "2.4": "0.19",
    "2.5": "0.20",
    "2.6": "0.21",
    "2.7": "0.22",
    "2.8": "0.23",
    "2.9": "0.24",
    "2.10": "0.25",
    "2.11": "0.26",
    "2.12": "0.27",
    "2.13": "0.28",
    "2.14": "0.29",
}
"""github.com/pytorch/pytorch/wiki/PyTorch-Versions up to 2.7; from 2.8 on what the wheels themselves ask for: 0.23 to
0.29.0 pin their torch, later ones do not, so of torch 2.15 nothing is said here. 0.26 with 2.11 and 0.29 with 2.14 were
run. A pair that does not belong together, or a CPU-only torch beside a CUDA torchvision, imports and then says
`operator torchvision::nms does not exist`; whatever the table says, doctor runs an NMS."""

DRIVER_OF_CUDA_MAJOR = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""Lowest Linux driver for any release of that major (minor version compatibility): docs.nvidia.com/deploy/
cuda-compatibility and "CUDA Toolkit and Minimum Required Driver Version" of docs.nvidia.com/cuda/
cuda-toolkit-release-notes."""

CUDA_OF_DRIVER = (
    ("595.45.04", "13.2"),
    ("590.44.01", "13.1"),
    ("580.65.06", "13.0"),
    ("575.51.03", "12.9"),
    ("570.26", "12.8"),
    ("560.28.03", "12.6"),
    ("555.42.02", "12.5"),
    ("550.54.14", "12.4"),
    ("545.23.06", "12.3"),
    ("535.54.03", "12.2"),
    ("530.30.02", "12.1"),
    ("525.60.13", "12.0"),
    ("450.80.02", "11.x"),
)
"""The CUDA release a Linux driver came with, newest first: "CUDA Toolkit and Corresponding Driver Versions" of
docs.nvidia.com/cuda/cuda-toolkit-release-notes (13.2)."""

JETPACK_OF_L4T = {
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
"""Jetson Linux to JetPack: developer.nvidia.com/embedded/jetpack-archive, as two public projects list it."""

CUDA_AND_TENSORRT_OF_JETPACK = {
    "5.0.2": ("11.4", "8.4"),
    "6.1": ("12.6", "10.3"),
    "6.2": ("12.6", "10.3"),
    "6.2.1": ("12.6", "10.3"),
    "7.2": ("13.2", "10.16"),
}
"""developer.nvidia.com/embedded/jetpack-sdk-502; pytorch.org/TensorRT/getting_started/jetpack.html for 6.1, its pull
request 3453 for 6.2; the JetPack 7.2 release notes. No law: TensorRT 10.7 can be had for 6.x by apt."""

CUDA_OF_TENSORRT = (
    ("10.13.2", (12, 13)),
    ("10.0", (11, 12)),
    ("8.6", (11, 12)),
    ("8.4", (10, 11)),
)
"""CUDA majors a TensorRT is built for, from that release on, newest first: its release notes (10.13.2 "Added support
for CUDA 13.0, dropped support for CUDA 11.X"). Not above 10.x: of TensorRT 11 nothing was found to cite."""

DEVBOX = {
    "base image": "nvidia/cuda:13.0.2-runtime-ubuntu24.04",
    "CUDA": "13.0",
    "driver": DRIVER_OF_CUDA_MAJOR[13],
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "ultralytics": "8.4.190",
    "onnx": "1.23.2",
    "onnxruntime-gpu": "1.31.1",
    "TensorRT": "10.14.1.48-1+cuda13.0",
    "fabric": "3.2.3",
}
"""What goes together in docker/Dockerfile: the CUDA of the base is that of torch (`torch.version.cuda`), TensorRT's
Debian packages are built for it, and the driver is the lowest for it. The rest is docker/image.lock."""

DEVBOX_JETSON = {"base image": "nvcr.io/nvidia/l4t-jetpack:r36.4.0", "L4T": "36.4.0"}
"""docker/Dockerfile.jetson; CUDA, TensorRT and driver are the board's JetPack's, see the tables above."""

SHM_BYTES = 1 << 30
"""Loader workers hand batches over through /dev/shm: 32 images of 640 x 640 are 39 MB, and each worker keeps two. An
engine gives a container 64 MB unless told otherwise (`docker run --shm-size`)."""

DISK_BYTES = {"runs": 2 << 30, "cache": 2 << 30, "temporary": 1 << 30}
"""Free room below which doctor warns; a run of YOLOv8n takes 0.1 GB, DeepPCB unpacked 0.3 GB."""


def numbers(version: str) -> tuple[int, ...]:
    """`2.14.1+cu130` -> (2, 14, 1): the leading numbers, to compare releases by."""
    found = []
    for part in version.split("+")[0].split("."):
        digits = ""
        for char in part:
            if char not in "0123456789":
                break
            digits += char
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)


def release(version: str) -> str:
    """`2.14.1+cu130` -> `2.14`: the part by which releases belong together."""
    return ".".join(str(number) for number in numbers(version)[:2])


def cuda_of_driver(driver: str) -> str | None:
    """The CUDA release a driver came with; None for one older than the table."""
    return next((cuda for lowest, cuda in CUDA_OF_DRIVER if numbers(driver) >= numbers(lowest)), None)


def jetpack_of_l4t(l4t: str) -> str | None:
    """The JetPack of a Jetson Linux release such as `36.4.3`; None where the table has not heard of it."""
    padded = (*numbers(l4t), 0, 0, 0)[:3]
    return next((name for key, name in JETPACK_OF_L4T.items() if (*numbers(key), 0, 0)[:3] == padded), None)
