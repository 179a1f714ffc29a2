"""The NVIDIA driver and the GPU, asked through the driver's own library, before TensorRT is touched.

`trt.Runtime()` without a driver returns as if all were well, and the next call ends the process with a segmentation
fault: no `except` is a guard.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from recipebox.errors import BadInput

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU: what an engine is bound to. `cuda` is the newest CUDA that its driver takes."""

    name: str
    compute_capability: str
    cuda: str


def require_gpu(library: str = "libcuda.so.1") -> Gpu:
    """The GPU that engines are built on and run on.

    Raises:
        BadInput: there is no driver, it does not start, or it sees no GPU.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        raise BadInput(_without("there is no NVIDIA driver on this machine")) from None
    code = driver.cuInit(0)
    if code:
        raise BadInput(_without(f"the NVIDIA driver does not start (cuInit gives {code}; `nvidia-smi` says more)"))
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        raise BadInput(_without("the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES may hide it)"))
    device, version = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, len(name), device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        or driver.cuDriverGetVersion(ctypes.byref(version))
    )
    if failed:
        raise BadInput(_without(f"the NVIDIA driver does not describe its GPU (code {failed})"))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", cuda)


def require_torch_gpu() -> None:
    """Raises BadInput where PyTorch cannot use the GPU: it holds the memory that an engine reads and writes."""
    import torch

    if torch.cuda.is_available():
        return
    built = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
    raise BadInput(
        f"there are a driver and TensorRT here, but PyTorch ({torch.__version__}, built {built}) cannot use the GPU, "
        "and an engine is fed and read through its memory. Install a PyTorch for the CUDA that the driver takes; "
        "`recipebox doctor` says which."
    )


def _without(what: str) -> str:
    return (
        f"{what}, and TensorRT builds and runs an engine only on the GPU that it is for. Export the ONNX file here "
        "(`recipebox export RUN`, with the same --precision), and run `recipebox export RUN --format engine`, or "
        "trtexec with --stronglyTyped --noTF32, on the device."
    )
