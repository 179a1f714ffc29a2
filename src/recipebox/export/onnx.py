"""From a .pt file to an ONNX file that carries all a deployment must know."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox import __version__
from recipebox.errors import BadInput, WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import MAX_DETECTIONS
from recipebox.export.calibration import CalibrationImages
from recipebox.export.graph import decode_nodes, folded
from recipebox.export.half import halved
from recipebox.export.nms import with_nms
from recipebox.export.quantize import activation_clips, check_keep, quantized
from recipebox.export.variant import Variant
from recipebox.run_dir import atomic_writer

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "images", "output0"
PLAIN = Variant()


def export_onnx(
    weights: Path,
    out: Path,
    imgsz: int,
    *,
    sha256: str,
    variant: Variant = PLAIN,
    calibration: CalibrationImages | None = None,
) -> None:
    """Write an ONNX file: float32 images (B, 3, imgsz, imgsz) in, the raw output of `Detector` out.

    The metadata has Ultralytics' keys (names, imgsz, stride, task, batch, end2end), so tools that read its exports read
    this one, and precision, nms, weights_sha256 and recipebox_version besides. The same weights give the same bytes.

    Args:
        weights: the .pt file.
        out: the ONNX file; whole or not written at all, and nothing is left beside it.
        imgsz: side of the square input, pixels.
        sha256: the hash of `weights`, as whoever made them recorded it.
        variant: what file is wanted.
        calibration: for INT8, and for nothing else.

    Raises:
        WeightsError: see `TorchDetector`; or the network has parts that ONNX or FP16 cannot express.
        BadInput: NMS is asked for where the network needs none; see `quantized` for the rest.
        StorageError: disk full, no permission.
    """
    network = Network(weights, imgsz, sha256=sha256, variant=variant)
    clips = None
    if variant.precision == "int8":
        if calibration is None:
            raise ValueError("INT8 without calibration images")
        check_keep(network.model, variant.keep)
        clips = activation_clips(network.model, calibration)
    content = network.file(variant, clips)
    with atomic_writer(out) as file:
        file.write(content)


class Network:
    """Trained weights as a float32 graph, and the exported files that are made of it without tracing it again.

    Args:
        weights, imgsz, sha256: see `export_onnx`.
        variant: its batch and NMS hold for every file; `precision` says which version of ONNX's operators.

    Raises:
        WeightsError, BadInput: see `export_onnx`.
    """

    def __init__(self, weights: Path, imgsz: int, *, sha256: str, variant: Variant) -> None:
        self.detector = TorchDetector(weights, sha256=sha256, imgsz=imgsz, device="cpu")
        self.end2end = bool(getattr(self.detector.model, "end2end", False))
        if variant.nms and self.end2end:
            raise BadInput("this network needs no NMS: its file gives final boxes. Leave --nms (export.nms) out.")
        self.content = _traced(self.detector, variant)

    @functools.cached_property
    def model(self) -> onnx.ModelProto:
        """The folded graph; copy it before changing it."""
        return folded(self.content)

    def file(self, variant: Variant, clips: Mapping[str, float] | None = None) -> bytes:
        """The bytes of an exported file.

        Args:
            variant: with the batch, NMS and operators' version of the network.
            clips: for INT8, the model's `activation_clips`.

        Raises:
            WeightsError, BadInput: see `export_onnx`.
        """
        content = self.content
        if variant != Variant(batch=variant.batch):
            content = self.in_precision(variant, clips).SerializeToString()
        return self.described(content, variant)

    def described(self, content: bytes, variant: Variant) -> bytes:
        """A checked graph with the metadata that an exported file carries."""
        return _with_metadata(content, self.detector, variant, self.end2end)

    def in_precision(self, variant: Variant, clips: Mapping[str, float] | None) -> onnx.ModelProto:
        """The graph in the variant's precision, with NMS where it wants it; docs/shipping.md has the rules."""
        model, decode = self.model, decode_nodes(self.model)
        if clips is not None:
            model = quantized(model, clips, keep=variant.keep)
        if variant.precision != "fp32":
            model = halved(model, full=decode)
        return with_nms(model) if variant.nms else model


def _traced(detector: TorchDetector, variant: Variant) -> bytes:
    import torch

    model = detector.model
    head = model.model[-1]
    head.export, head.format, head.dynamic, head.shape = True, "onnx", False, None
    count = 1 if variant.batch == "dynamic" else variant.batch
    image = torch.zeros(count, 3, detector.imgsz, detector.imgsz)
    dynamic = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}} if variant.batch == "dynamic" else None
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns about every Python number it makes constant; with a fixed image size all of them are.
            warnings.simplefilter("ignore")
            cells = sum((detector.imgsz // int(stride)) ** 2 for stride in head.stride)
            anchors = cells * getattr(head, "na", 1)  # answers of a cell: one for each of its anchors, where it has any
            head.max_det = min(MAX_DETECTIONS, anchors)
            model(image)
            buffer: Any = io.BytesIO()
            # The tracing exporter: the newer one needs onnxscript, and its graphs change with every torch release.
            torch.onnx.export(
                model,
                (image,),
                buffer,
                opset_version=variant.opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=dynamic,
                dynamo=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{detector.path}: PyTorch cannot write this network as ONNX: {first}") from error
    finally:
        head.export = False
    return _shaped(buffer.getvalue(), variant, len(detector.names), anchors)


def _shaped(content: bytes, variant: Variant, nc: int, anchors: int) -> bytes:
    """The tracer does not see through a dynamic batch: say what else of the output is known."""
    import onnx

    if variant.batch != "dynamic":
        return content
    model = onnx.load_from_string(content)
    output = model.graph.output[0].type.tensor_type.shape.dim
    end2end = output[2].dim_value == 6
    for side, size in zip(list(output)[1:], (output[1].dim_value, 6) if end2end else (4 + nc, anchors), strict=True):
        side.dim_value = size
    return bytes(model.SerializeToString())


def _with_metadata(content: bytes, detector: TorchDetector, variant: Variant, end2end: bool) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    metadata = {
        "task": "detect",
        "names": dict(enumerate(detector.names)),
        "imgsz": [detector.imgsz, detector.imgsz],
        "stride": detector.stride,
        "batch": variant.batch,
        "end2end": end2end or variant.nms,
        "nms": variant.nms,
        "precision": variant.precision,
        "weights_sha256": detector.sha256,
        "recipebox_version": __version__,
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def opset(path: Path) -> int:
    """The version of ONNX's standard operators that a file was written in."""
    import onnx

    imports = onnx.load(path, load_external_data=False).opset_import
    return next(int(entry.version) for entry in imports if entry.domain in {"", "ai.onnx"})
