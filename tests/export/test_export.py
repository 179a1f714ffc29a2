"""The exported file computes what PyTorch computes, and the gate notices when it does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recipebox.errors import CheckFailed, RunError, StorageError, WeightsError
from recipebox.evaluate.detector import TorchDetector
from recipebox.export.detector import OnnxDetector
from recipebox.export.onnx import export_onnx
from recipebox.export.parity import parity
from recipebox.export.run import check_export, export
from recipebox.run_dir import RunDir


@pytest.fixture(scope="session")
def onnx_file(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "best.onnx"
    export_onnx(tiny.weights, path, 64, sha256=tiny.sha256)
    return path


@pytest.fixture
def exported(run: RunDir, onnx_file: Path) -> RunDir:
    run.onnx.write_bytes(onnx_file.read_bytes())
    return run


def edit(path: Path, change: Any) -> None:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def shuffle_classes(model: Any) -> None:
    """Name the classes of the output in another order: a file that runs, parses, and is wrong."""
    output = model.graph.output[0].name
    producer = next(node for node in model.graph.node if output in node.output)
    producer.output[list(producer.output).index(output)] = "unshuffled"
    order = numpy_helper.from_array(np.array([0, 1, 2, 3, 5, 6, 4]), "order")
    model.graph.initializer.append(order)
    model.graph.node.append(helper.make_node("Gather", ["unshuffled", "order"], [output], axis=1))


def test_file_carries_what_a_deployment_needs(onnx_file: Path, tiny: Any) -> None:
    model = onnx.load(onnx_file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["names"] == str({0: "open", 1: "short", 2: "pin hole's"})
    assert (metadata["imgsz"], metadata["stride"], metadata["task"]) == ("[64, 64]", "32", "detect")
    assert metadata["weights_sha256"] == tiny.sha256
    assert model.opset_import[0].version == 18
    assert [path.name for path in onnx_file.parent.iterdir()] == ["best.onnx"]


def test_exporting_again_gives_the_same_bytes(onnx_file: Path, tiny: Any, tmp_path: Path) -> None:
    export_onnx(tiny.weights, tmp_path / "again.onnx", 64, sha256=tiny.sha256)
    assert (tmp_path / "again.onnx").read_bytes() == onnx_file.read_bytes()


@pytest.mark.parametrize("arch", ["yolo11n", "yolo26n", "yolov8-mobilenetv3"])
def test_other_families_export_with_parity(make: Any, tiny: Any, tmp_path: Path, arch: str) -> None:
    sha256 = make.save_detector(tmp_path / "best.pt", tiny.data.test.images, arch=arch)
    export_onnx(tmp_path / "best.pt", tmp_path / "best.onnx", 64, sha256=sha256)
    reference = TorchDetector(tmp_path / "best.pt", sha256=sha256, imgsz=64, device="cpu")
    exported = OnnxDetector(tmp_path / "best.onnx", threads=1)
    images = make.prepared(tiny.data.test.images[:4])
    assert exported(images).shape == reference(images).shape == ((4, 84, 6) if arch == "yolo26n" else (4, 7, 84))
    result = parity(reference, exported, images)
    assert result.images == 4 and result.detections_compared > 10
    assert result.max_score < 1e-3 and result.max_box_px is not None and result.max_box_px < 0.01


def test_export_passes_and_says_what_it_measured(make: Any, run: RunDir, tiny: Any) -> None:
    document = export(run, make.tiny_settings(), tiny.data)
    assert document == run.read_result("export")
    assert document["passed"] is True and document["map_drop"] == pytest.approx(0.0, abs=1e-6)
    assert document["sha256"] == hashlib.sha256(run.onnx.read_bytes()).hexdigest()
    assert document["bytes"] == run.onnx.stat().st_size and document["opset"] == 18
    before = run.read_result("evaluate")["test"]
    assert document["test"]["mAP50-95"] == pytest.approx(before["mAP50-95"], abs=1e-6)
    assert document["parity"]["images"] == 8 and 0 < document["parity"]["max_box_px"] < 0.01
    assert {path.name for path in run.root.rglob("*")} == {
        "plan.yaml", "weights", "best.pt", "best.onnx", "train.json", "evaluate.json", "export.json"
    }  # fmt: skip


def test_a_broken_file_does_not_pass(make: Any, exported: RunDir, tiny: Any) -> None:
    edit(exported.onnx, shuffle_classes)
    with pytest.raises(CheckFailed, match=r"mAP50-95 fell from") as failure:
        check_export(exported, make.tiny_settings(), tiny.data, exported.read_result("evaluate"))
    assert failure.value.exit_code == 3
    lost = {tuple(line.split()[:2]) for line in str(failure.value).splitlines()[2:]}
    assert lost & {("class", "open"), ("class", "short")} and lost & {("size", "small"), ("size", "large")}
    document = exported.read_result("export")
    assert document["passed"] is False and document["map_drop"] > 0.05
    assert document["parity"]["max_score"] > 0.01


def test_a_broken_file_does_not_pass_where_there_is_no_map_to_lose(make: Any, exported: RunDir, tiny: Any) -> None:
    edit(exported.onnx, shuffle_classes)
    settings = make.tiny_settings(export={"max_map_drop": 1.0})
    with pytest.raises(CheckFailed, match="scores differ from PyTorch's"):
        check_export(exported, settings, tiny.data, exported.read_result("evaluate"))


def test_results_of_other_weights_data_or_size_are_refused(make: Any, run: RunDir, tiny: Any) -> None:
    settings = make.tiny_settings()
    good = run.read_result("evaluate")
    for change, message in (
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"dataset": {"name": "tiny", "sha256": "1" * 64}}, "other data"),
        ({"imgsz": 96}, "measured at 96 px"),
    ):
        run.result("evaluate").write_text(json.dumps(good | change))
        with pytest.raises(RunError, match=message):
            export(run, settings, tiny.data)
    run.result("evaluate").write_text("{}")
    with pytest.raises(RunError, match="lacks weights_sha256"):
        export(run, settings, tiny.data)
    run.result("evaluate").unlink()
    with pytest.raises(RunError, match="recipebox evaluate"):
        export(run, settings, tiny.data)
    assert not run.onnx.exists() and not run.result("export").exists()


def test_a_place_that_cannot_be_written_leaves_nothing(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        export_onnx(tiny.weights, tmp_path / "best.onnx", 64, sha256=tiny.sha256)
    assert list(tmp_path.iterdir()) == []


def test_the_session_refuses_images_of_another_size(onnx_file: Path) -> None:
    detector = OnnxDetector(onnx_file)
    for shape in ((1, 3, 96, 96), (3, 64, 64), (1, 1, 64, 64)):
        with pytest.raises(WeightsError, match="takes float32 images"):
            detector(np.zeros(shape, np.float32))


def test_files_that_are_no_exported_detector_are_named(onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    with pytest.raises(WeightsError, match="No such file"):
        OnnxDetector(path)
    for content in (b"", b"\x89PNG not onnx", onnx_file.read_bytes()[:-5000]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not an ONNX file that ONNX Runtime can run"):
            OnnxDetector(path)


def test_files_with_foreign_metadata_or_shapes_are_named(onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"

    def with_names(names: str | None) -> None:
        path.write_bytes(onnx_file.read_bytes())

        def change(model: Any) -> None:
            kept = [entry for entry in model.metadata_props if entry.key != "names"]
            del model.metadata_props[:]
            model.metadata_props.extend(kept)
            if names is not None:
                entry = model.metadata_props.add()
                entry.key, entry.value = "names", names

        edit(path, change)

    for bad in (None, "", "__import__('os')", "{1: 'a'}", "3", "-" * 100_000 + "1"):
        with_names(bad)
        with pytest.raises(WeightsError, match="no class names"):
            OnnxDetector(path)
    with_names("{0: 'a', 1: 'b'}")
    with pytest.raises(WeightsError, match="names 2 classes, but its output is"):
        OnnxDetector(path)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 5]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'a'}"})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"takes \(x: tensor\(float\) \[2, 5\]\)"):
        OnnxDetector(path)
