"""The INT8 scan finds what was planted, and what it suggests passes the gate; all through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from recipebox.export.detector import open_session
from recipebox.export.graph import convolutions
from recipebox.export.onnx import Network
from recipebox.export.quantize import activation_clips, one_quantized, quantized, with_quantized_decode, with_scales
from recipebox.export.variant import Variant
from recipebox.run_dir import RunDir

if TYPE_CHECKING:
    from conftest import CommandLineHere

OUTLIER = "/model.22/cv3.0/cv3.0.2/Conv"


@pytest.fixture(scope="module")
def scanned(planted: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The planted run after its scan."""
    from recipebox.shipping import Wish, sensitivity_job

    run = RunDir(tmp_path_factory.mktemp("scanned") / "tiny" / planted.id)
    shutil.copytree(planted.root, run.root)
    made = sensitivity_job(str(run.root), Wish())
    assert made.exit_code == 0
    (run.root / "text.txt").write_text(made.text)
    return run


def test_a_file_with_an_outlier_fails_and_the_message_says_what_to_do(
    planted_run: RunDir, recipebox_here: CommandLineHere
) -> None:
    code, _, err = recipebox_here("export", str(planted_run.root), "--precision", "int8")
    assert code == 3 and "what lost" in err and "mAP50-95 fell from" in err
    assert f"`recipebox export {planted_run.root} --precision int8 --sensitivity`" in err


def test_the_outlier_is_found_first(scanned: RunDir) -> None:
    document = json.loads((scanned.root / "sensitivity.json").read_text())
    first, second = document["layers"][:2]
    assert first["name"] == OUTLIER and first["cost"] > second["cost"] + 3 * (first["noise"] + second["noise"])
    assert len(document["layers"]) == 63 and document["split"] == "val"
    assert document["decode"]["cost"] > 0.5, "a quantised decode leaves nothing"
    assert document["plain"]["map_drop"] > 0.63 and document["plain"]["noise"] > 0
    assert document["suggested"]["keep"] == [OUTLIER] and document["suggested"]["map_drop"] <= 0.63
    assert [one["keep"] for one in document["tried"]] == [[], [OUTLIER]]
    assert {path.name for path in scanned.root.rglob("*")} >= {"sensitivity.json"}
    assert not (scanned.root / "export-int8.json").exists() and not list(scanned.root.glob("weights/*.onnx"))


def test_what_is_suggested_is_said_and_passes_the_gate(
    scanned: RunDir, tmp_path: Path, recipebox_here: CommandLineHere
) -> None:
    text = (scanned.root / "text.txt").read_text()
    assert f"recipebox export {scanned.root} --precision int8 --keep {OUTLIER}" in text
    assert "51 more, each at most" in text and "(always FP32)" in text
    run = RunDir(tmp_path / "run")
    shutil.copytree(scanned.root, run.root)
    code, out, err = recipebox_here("export", str(run.root), "--precision", "int8", "--keep", OUTLIER, "--json")
    assert code == 0, err
    suggested = json.loads((run.root / "sensitivity.json").read_text())["suggested"]
    assert json.loads(out)["sha256"] == suggested["sha256"], "the file that was measured is the file that is exported"


def test_a_scan_is_for_int8_alone(planted_run: RunDir, recipebox_here: CommandLineHere) -> None:
    for more, words in (
        (("--precision", "fp16"), "leave --precision fp16 out"),
        (("--format", "engine"), "leave --format engine out"),
        (("--keep", "/model.99/conv"), "--keep /model.99/conv: no convolution"),
    ):
        code, out, err = recipebox_here("export", str(planted_run.root), "--sensitivity", "--json", *more)
        error = json.loads(out)["error"]
        assert code == 2 and words in error["message"] and "Traceback" not in err
    assert not (planted_run.root / "sensitivity.json").exists()


@pytest.fixture(scope="module")
def network(tiny: Any) -> Network:
    return Network(tiny.weights, 64, sha256=tiny.sha256, variant=Variant("int8"))


def test_one_convolution_alone_is_what_the_quantizer_makes_of_it(network: Network, tiny: Any, make: Any) -> None:
    from recipebox.export.calibration import calibration_images
    from recipebox.recipe.schema import Calibration

    images = calibration_images(tiny.data, Calibration(images=2), 64)
    clips = activation_clips(network.model, images)
    every = quantized(network.model, clips)
    nodes = list(convolutions(network.model))
    inputs = make.prepared(tiny.data.test.images[:1])
    plain = outputs(network.model, inputs)
    for node in (nodes[0], nodes[31], nodes[-1]):
        expected = outputs(with_scales(network.model, [node.name], {node.input[0]: clips[node.input[0]]}), inputs)
        found = outputs(one_quantized(network.model, every, node.name), inputs)
        np.testing.assert_array_equal(found, expected)
        assert np.abs(found - plain).max() > 1e-4


@pytest.mark.parametrize("arch", ["yolo11n", "yolo26n", "yolov8-mobilenetv3"])
def test_every_family_can_be_scanned(make: Any, tiny: Any, tmp_path: Path, arch: str) -> None:
    """One convolution alone, and the decode."""
    from recipebox.export.calibration import calibration_images
    from recipebox.recipe.schema import Calibration

    sha256 = make.save_detector(tmp_path / "best.pt", tiny.data.test.images, arch=arch)
    network = Network(tmp_path / "best.pt", 64, sha256=sha256, variant=Variant("int8"))
    images = calibration_images(tiny.data, Calibration(images=1), 64)
    every = quantized(network.model, activation_clips(network.model, images))
    inputs = make.prepared(tiny.data.test.images[:1])
    plain = outputs(network.model, inputs)
    first = next(convolutions(network.model)).name
    for made in (one_quantized(network.model, every, first), with_quantized_decode(network.model, images)):
        onnx.checker.check_model(made, full_check=True)
        found = outputs(made, inputs)
        assert found.shape == plain.shape and np.isfinite(found).all() and np.abs(found - plain).max() > 1e-4


def outputs(model: onnx.ModelProto, inputs: Any) -> Any:
    return open_session(Path("model"), model.SerializeToString()).run(None, {"images": inputs})[0]
