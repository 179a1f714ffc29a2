"""Every variant of an exported file computes what PyTorch computes, as nearly as its precision can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recipebox.errors import BadInput, CheckFailed, DataError, WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.evaluate.postprocess import detections
from recipebox.export.calibration import BINS, calibration_images, clipping_point
from recipebox.export.detector import OnnxDetector
from recipebox.export.graph import convolutions, decode_nodes, folded, last_convolutions
from recipebox.export.half import halved
from recipebox.export.onnx import export_onnx
from recipebox.export.parity import parity
from recipebox.export.quantize import activation_clips, quantized, with_scales
from recipebox.export.run import export
from recipebox.export.variant import Variant
from recipebox.recipe.schema import Calibration
from recipebox.run_dir import RunDir

ARCHES = ("yolov8n", "yolo11n", "yolo26n")


@pytest.fixture(scope="session")
def calibrated(tiny: Any) -> Any:
    return calibration_images(tiny.data, Calibration(images=4), 64)


@pytest.fixture(scope="session")
def weights_of(make: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Small detectors of each family, with their hashes."""
    made = {"yolov8n": (tiny.weights, tiny.sha256)}
    with make.one_thread():
        for arch in ARCHES[1:]:
            path = tmp_path_factory.mktemp(arch) / "best.pt"
            made[arch] = (path, make.save_detector(path, tiny.data.test.images, arch=arch))
    return made


@pytest.fixture
def exported(weights_of: Any, calibrated: Any, tmp_path: Path) -> Any:
    def call(variant: Variant, arch: str = "yolov8n") -> tuple[TorchDetector, OnnxDetector]:
        weights, sha256 = weights_of[arch]
        out = tmp_path / f"{arch}-{variant.name}.onnx"
        images = calibrated if variant.precision == "int8" else None
        export_onnx(weights, out, 64, sha256=sha256, variant=variant, calibration=images)
        return TorchDetector(weights, sha256=sha256, imgsz=64, device="cpu"), OnnxDetector(out, threads=1)

    return call


@pytest.mark.parametrize("arch", ARCHES)
def test_half_precision_is_near_and_stays_out_of_the_decode(exported: Any, make: Any, tiny: Any, arch: str) -> None:
    reference, detector = exported(Variant("fp16"), arch)
    images = make.prepared(tiny.data.test.images[:4])
    result = parity(reference, detector, images)
    # The small detector amplifies rounding as no trained one does (docs/results/precision.md has those).
    assert 0 < result.max_score < 0.25
    if arch != "yolo26n":  # its rows change places
        assert result.max_box_px is not None and 0 < result.max_box_px < 2.0
    model = onnx.load(detector.path)
    types = {entry.name: entry.data_type for entry in model.graph.initializer}
    weights = [types[node.input[1]] for node in convolutions(model)]
    assert set(weights) == {TensorProto.FLOAT16}
    assert {entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)} == {1}
    decode = set(decode_nodes(model))
    constants = {name for node in model.graph.node if node.name in decode for name in node.input if name in types}
    assert TensorProto.FLOAT16 not in {types[name] for name in constants}
    assert detector.path.stat().st_size < 0.6 * sum(p.numel() * 4 for p in reference.model.parameters())


@pytest.mark.parametrize("arch", ARCHES)
def test_int8_has_what_nvidias_parser_asks_for(exported: Any, arch: str) -> None:
    _, detector = exported(Variant("int8"), arch)
    model = onnx.load(detector.path)
    types = {entry.name: entry for entry in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 19}
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = numpy_helper.to_array(types[node.input[2]])
            assert zero.dtype == np.int8 and not zero.any()
            scale = numpy_helper.to_array(types[node.input[1]])
            assert scale.dtype == np.float16 and (scale > 0).all()
    for node in convolutions(model):
        assert [made_by[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert all(name not in made_by for name in node.input[2:]), "a bias is no Q/DQ"
    decode = set(decode_nodes(model))
    assert not [node for node in model.graph.node if node.name in decode and "quantize" in node.op_type.lower()]


def test_int8_of_a_written_out_convolution() -> None:
    """Rounded and clipped inputs, weights rounded a channel, the bias as it is: to the last bit of a float32."""
    import onnxruntime

    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 3, 1, 1)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, 5, 5]) for name, c in (("x", 3), ("y", 4))]
    constants = [numpy_helper.from_array(array, name) for name, array in (("w", weight), ("b", bias))]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")], "g", *([v] for v in values))
    graph.initializer.extend(constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = with_scales(model, ["conv"], {"x": 2.0})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = (rng.standard_normal((1, 3, 5, 5)) * 2).astype(np.float32)
    step = np.float32(2.0 / 127)
    steps = np.abs(weight).max(axis=(1, 2, 3)) / 127
    rounded = np.clip(np.round(image / step), -128, 127) * step
    kernel = np.round(weight / steps[:, None, None, None]) * steps[:, None, None, None]
    expected = np.einsum("oc,bchw->bohw", kernel[:, :, 0, 0], rounded) + bias[None, :, None, None]
    np.testing.assert_allclose(session.run(None, {"x": image})[0], expected, atol=1e-5)


def test_scales_are_no_smaller_than_half_precision_can_say() -> None:
    """Weights and activations that are nearly nothing: the integers are those of the scale that the file has."""
    weight = np.array([[1e-7, -1e-7, 0], [3e-3, 1e-3, -2e-3], [0.5, 0.25, -1.0]], np.float32).reshape(3, 3, 1, 1)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 5, 5]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g", values[:1], values[1:],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = halved(with_scales(model, ["conv"], {"x": 1e-6}), full=())
    held = {entry.name: numpy_helper.to_array(entry) for entry in made.graph.initializer}
    rounding = [node for node in made.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert len(rounding) == 3 and {held[node.input[1]].dtype for node in rounding} == {np.dtype(np.float16)}
    assert all((held[node.input[1]] >= np.finfo(np.float16).tiny).all() for node in rounding)
    weights = next(node for node in rounding if held.get(node.input[0], np.zeros(0)).shape == weight.shape)
    scales = held[weights.input[1]].astype(np.float32).reshape(3, 1, 1, 1)
    assert (np.abs(held[weights.input[0]] * scales - weight) <= scales * 0.51).all()
    assert np.abs(held[weights.input[0]][2]).max() == 127


def test_what_is_kept_is_not_quantised(exported: Any, weights_of: Any, tmp_path: Path) -> None:
    _, all_of_them = exported(Variant("int8"))
    names = [node.name for node in convolutions(onnx.load(all_of_them.path))]
    _, detector = exported(Variant("int8", keep=(names[0], names[5])))
    model = onnx.load(detector.path)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    floats = [node.name for node in convolutions(model) if made_by.get(node.input[0]) != "DequantizeLinear"]
    assert floats == [names[0], names[5]]
    with pytest.raises(BadInput, match=r"--keep /model\.99/conv: no convolution"):
        exported(Variant("int8", keep=("/model.99/conv",)))
    with pytest.raises(BadInput, match="nothing would be INT8"):
        exported(Variant("int8", keep=tuple(names)))


@pytest.mark.parametrize("arch", ARCHES)
def test_any_number_of_images_gives_what_one_by_one_gives(exported: Any, make: Any, tiny: Any, arch: str) -> None:
    images = make.prepared(tiny.data.test.images[:5])
    reference, one = exported(Variant(), arch)
    _, any_number = exported(Variant(batch="dynamic"), arch)
    _, fours = exported(Variant(batch=4), arch)
    assert (one.batch, any_number.batch, fours.batch) == (1, None, 4)
    for detector in (any_number, fours):
        assert detector(images).shape == one(images).shape
        result = parity(reference, detector, images)
        assert result.max_score < 1e-3 and result.max_box_px is not None and result.max_box_px < 0.01


@pytest.mark.parametrize("batch", [1, 4, "dynamic"])
def test_nms_inside_is_the_nms_that_ships(exported: Any, make: Any, tiny: Any, batch: Any) -> None:
    reference, detector = exported(Variant(batch=batch, nms=True))
    images = make.prepared(tiny.data.test.images[:5])
    rows, raw = detector(images), reference(images)
    assert rows.shape == (5, 84, 6) and detector.nms
    for mine, expected in zip(detections(rows, conf=0.01), detections(raw, conf=0.01), strict=True):
        assert len(mine) == len(expected) > 5
        np.testing.assert_allclose(mine[:, 4], expected[:, 4], atol=1e-3)
        order = [np.lexsort(found[:, [0, 1, 5]].round(1).T) for found in (mine, expected)]
        np.testing.assert_allclose(mine[order[0]], expected[order[1]], atol=0.02)


def test_nms_is_refused_where_the_network_needs_none(exported: Any) -> None:
    with pytest.raises(BadInput, match="needs no NMS"):
        exported(Variant(nms=True), "yolo26n")


def test_variants_are_the_same_bytes_again(exported: Any) -> None:
    for variant in (Variant("fp16"), Variant("int8", batch="dynamic", nms=True)):
        _, first = exported(variant)
        content = first.path.read_bytes()
        _, second = exported(variant)
        assert second.path.read_bytes() == content


def test_the_decode_is_what_no_convolution_follows(exported: Any) -> None:
    _, detector = exported(Variant())
    model = folded(detector.path.read_bytes())
    decode = set(decode_nodes(model))
    assert {node.op_type for node in model.graph.node if node.name in decode} >= {"Softmax", "Sigmoid", "Concat"}
    assert sorted(name.rsplit("/", 2)[1] for name in last_convolutions(model)) == [
        f"cv{branch}.{level}.2" for branch in (2, 3) for level in range(3)
    ]
    assert sum(node.op_type == "Conv" for node in model.graph.node) == len(list(convolutions(model))) + 1


def test_weights_beyond_half_precision_are_refused() -> None:
    model = small_network(np.full((1, 3, 1, 1), 1e5, np.float32))
    with pytest.raises(WeightsError, match=r"holds 1e\+05, beyond FP16's largest number"):
        halved(model, full=())
    with pytest.raises(WeightsError, match="beyond FP16"):
        halved(small_network(np.full((1, 3, 1, 1), np.nan, np.float32)), full=())


def test_half_precision_of_a_written_out_network() -> None:
    """Reads one tensor in both precisions, and the graph's own output inside."""
    import onnxruntime

    model = small_network(np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1))
    for full in ((), ("twice",), ("conv",), ("conv", "twice", "sum")):
        made = halved(model, full=full)
        onnx.checker.check_model(made, full_check=True)
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        image = np.random.default_rng(0).random((1, 3, 4, 4), np.float32)
        found = session.run(["y", "z"], {"x": image})
        expected = (image * np.arange(3).reshape(1, 3, 1, 1)).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[0], expected * 2, rtol=2e-3)
        np.testing.assert_allclose(found[1], expected * 2 + expected, rtol=3e-3)


def small_network(weight: Any) -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Add", ["c", "c"], ["y"], name="twice"),
        helper.make_node("Add", ["y", "c"], ["z"], name="sum"),
    ]
    sides = {"x": [1, 3, 4, 4], "y": [1, 1, 4, 4], "z": [1, 1, 4, 4]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items()}
    graph = helper.make_graph(
        nodes, "g", [values["x"]], [values["y"], values["z"]], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_clipping_point_leaves_one_value_in_100000() -> None:
    values = np.abs(np.random.default_rng(0).standard_normal(2_000_000))
    values[:5] = 50.0
    counts = np.bincount(np.minimum(values * (BINS / 50.0), BINS - 1).astype(int), minlength=BINS)
    assert clipping_point(counts, 50.0) == pytest.approx(np.quantile(values, 0.99999), abs=2 * 50 / BINS)
    assert clipping_point(np.zeros(BINS, np.int64), 0.0) == 1.0


def test_calibration_images_are_drawn_by_the_seed_and_hashed(tiny: Any) -> None:
    first, again = (calibration_images(tiny.data, Calibration(images=4, seed=1), 64) for _ in range(2))
    assert first.sha256 == again.sha256 and len(first.canvases) == 4
    others = [
        calibration_images(tiny.data, Calibration(images=4, seed=2), 64),
        calibration_images(tiny.data, Calibration(images=4, seed=1), 96),
        calibration_images(tiny.data, Calibration(images=5, seed=1), 64),
    ]
    assert first.sha256 not in {other.sha256 for other in others}
    assert len(calibration_images(tiny.data, Calibration(images=100), 64).canvases) == 8
    empty = type(tiny.data)(**{**vars(tiny.data), "train": tiny.data.train.without(tiny.data.train.images)})
    with pytest.raises(DataError, match="train split has no images"):
        calibration_images(empty, Calibration(), 64)


def test_the_quantizer_keeps_to_the_scales_it_is_given(weights_of: Any, calibrated: Any, exported: Any) -> None:
    """A contract with ONNX Runtime's quantizer: what stands in TensorQuantOverrides is what comes out."""
    _, detector = exported(Variant())
    model = folded(detector.path.read_bytes())
    names = [node.name for node in convolutions(model)]
    tensors = list(dict.fromkeys(node.input[0] for node in convolutions(model)))
    clips = {name: 1.0 + index for index, name in enumerate(tensors)}
    made = with_scales(model, names, clips)
    scales = {entry.name: numpy_helper.to_array(entry) for entry in made.graph.initializer}
    found = {
        node.input[0]: float(scales[node.input[1]]) for node in made.graph.node if node.op_type == "QuantizeLinear"
    }
    assert found == {name: pytest.approx(clip / 127) for name, clip in clips.items()}
    again = [quantized(model, activation_clips(model, calibrated)).SerializeToString() for _ in range(2)]
    assert again[0] == again[1]


def test_the_gate_measures_a_variant_and_leaves_the_file_that_ships_alone(make: Any, run: RunDir, tiny: Any) -> None:
    settings = make.tiny_settings(export={"max_map_drop": 0.35, "calibration": {"images": 4}})
    export(run, settings, tiny.data)
    ships = (run.onnx.read_bytes(), run.result("export").read_bytes())
    for variant in (Variant("fp16", nms=True), Variant("int8")):
        document = export(run, settings, tiny.data, variant=variant)
        assert document == json.loads((run.root / f"export-{variant.name}.json").read_text())
        assert document["file"] == f"weights/best-{variant.name}.onnx" and document["passed"] is True
        assert [entry["name"] for entry in document["per_class"]] == list(tiny.data.names)
    assert document["calibration"]["images"] == 4 and document["keep"] == []
    assert (run.onnx.read_bytes(), run.result("export").read_bytes()) == ships


def test_a_faithful_file_with_nms_inside_loses_nothing(make: Any, run: RunDir, tiny: Any) -> None:
    """It gives one label a box, so it is compared with a .pt that does; that one's mAP is another than evaluation's."""
    settings = make.tiny_settings(export={"max_map_drop": 1e-4})
    document = export(run, settings, tiny.data, variant=Variant(nms=True))
    assert document["passed"] is True and document["map_drop"] == pytest.approx(0.0, abs=1e-6)
    assert document["test"] == pytest.approx(document["reference"], rel=1e-3)
    assert abs(document["reference"]["mAP50-95"] - run.read_result("evaluate")["test"]["mAP50-95"]) > 0.01
    assert "reference" not in export(run, settings, tiny.data)


def test_int8_does_not_pass_where_there_is_nothing_to_lose(make: Any, run: RunDir, tiny: Any) -> None:
    settings = make.tiny_settings(export={"precision": "int8", "max_map_drop": 1.0, "calibration": {"images": 4}})
    with pytest.raises(CheckFailed, match="a file that finds nothing would lose no more"):
        export(run, settings, tiny.data)
    assert run.read_result("export")["precision"] == "int8" and run.onnx.is_file()
