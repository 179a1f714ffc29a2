"""Does an image work? Imports and versions, NMS, a training step, an ONNX export that computes the same; a GPU and
TensorRT where they are. `make image` runs it after the build; exit code 1 names the first thing that does not.

    docker run --rm --entrypoint python IMAGE /opt/recipebox/code/docker/smoke.py
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

LOCKED = ("torch", "torchvision", "ultralytics", "onnx", "onnxruntime-gpu", "fabric", "numpy", "opencv-python-headless")
IMGSZ = 64


def main() -> int:
    for check in (versions, nms, training_step, onnx_export, gpu, tensorrt):
        try:
            print(f"ok    {check.__name__.replace('_', ' ')}: {check()}", flush=True)
        except Exception as error:
            print(f"FAIL  {check.__name__.replace('_', ' ')}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


def versions() -> str:
    """Everything is the version that the image's lock pins."""
    lock = (Path(__file__).parent / "image.lock").read_text(encoding="utf-8")
    found = {name: version(name) for name in LOCKED}
    wrong = [f"{name} {here}" for name, here in found.items() if f"\n{name}=={here} " not in f"\n{lock}"]
    if wrong:
        raise RuntimeError(f"not as docker/image.lock has it: {', '.join(wrong)}. Build the image again: make image")
    import cv2  # noqa: F401
    import onnxruntime  # noqa: F401

    import recipebox

    return ", ".join(f"{name} {here}" for name, here in {"recipebox": recipebox.__version__, **found}.items())


def nms() -> str:
    """torchvision fits torch: its operator is there and keeps the better of two boxes."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 11.0], [20.0, 20.0, 30.0, 30.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5).tolist()
    if kept != [1, 2]:
        raise RuntimeError(f"kept boxes {kept}, expected [1, 2]")
    return "two of three boxes"


def small_network() -> Any:
    """YOLOv8n as it begins, two classes."""
    import torch

    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    model.args = get_cfg()
    return model


def training_step(device: str = "cpu") -> str:
    """The loss of a batch is finite, and a step along its gradient makes it smaller."""
    import torch

    model = small_network().to(device).train()
    batch = {
        "img": torch.rand(2, 3, IMGSZ, IMGSZ, device=device),
        "batch_idx": torch.tensor([0.0, 1.0], device=device),
        "cls": torch.tensor([[0.0], [1.0]], device=device),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.3, 0.5]], device=device),
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    before = model(batch)[0].sum()
    before.backward()
    optimizer.step()
    after = model(batch)[0].sum()
    if not torch.isfinite(before) or not after < before:
        raise RuntimeError(f"the loss went from {before.item():.4f} to {after.item():.4f}")
    return f"loss {before.item():.3f} to {after.item():.3f}"


def onnx_export() -> str:
    """An exported network computes in ONNX Runtime what it computes in torch."""
    import numpy as np
    import onnxruntime
    import torch

    model = small_network().eval()
    model.model[-1].export = True
    image = torch.rand(1, 3, IMGSZ, IMGSZ)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "smoke.onnx")
        with torch.no_grad():
            expected = model(image).numpy()
            torch.onnx.export(model, (image,), path, input_names=["images"], output_names=["output0"], dynamo=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = session.run(None, {"images": image.numpy()})[0]
    difference = float(np.abs(found - expected).max())
    if not difference < 1e-2:
        raise RuntimeError(f"outputs differ by {difference:.3g}")
    return f"outputs differ by at most {difference:.1g}; providers {', '.join(onnxruntime.get_available_providers())}"


def gpu() -> str:
    """A training step on the GPU, where one was handed in."""
    import torch

    if not torch.cuda.is_available():
        return f"none handed in; torch has CUDA {torch.version.cuda}"
    return f"{torch.cuda.get_device_name()}, {training_step('cuda:0')}"


def tensorrt() -> str:
    """TensorRT by what it is here. Its runtime is asked only beside a GPU: without a driver it ends the process."""
    try:
        import tensorrt as trt
    except ImportError as error:
        return f"not in this image ({error}); no engine can be built in it"
    import torch

    if not torch.cuda.is_available():
        return f"{trt.__version__} imports; without a GPU nothing was built with it"
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    return f"{trt.__version__}, a builder for {torch.cuda.get_device_name()}: {builder is not None}"


if __name__ == "__main__":
    sys.exit(main())
