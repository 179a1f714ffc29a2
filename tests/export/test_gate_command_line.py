"""The gate through the command line: files that are broken, weights that are, sets that are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from recipebox.data.datasets import prepare
from recipebox.export.calibration import calibration_images
from recipebox.export.onnx import Network, export_onnx
from recipebox.export.quantize import with_quantized_decode
from recipebox.export.variant import Variant
from recipebox.recipe.schema import Calibration
from recipebox.run_dir import RunDir

if TYPE_CHECKING:
    from conftest import CommandLineHere


def shuffled(network: Network, data: Any) -> onnx.ModelProto:
    """The classes of the output in another order."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    output = model.graph.output[0].name
    producer = next(node for node in model.graph.node if output in node.output)
    producer.output[list(producer.output).index(output)] = "unshuffled"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 2, 3, 5, 6, 4]), "order"))
    model.graph.node.append(helper.make_node("Gather", ["unshuffled", "order"], [output], axis=1))
    return model


def quantised_decode(network: Network, data: Any) -> onnx.ModelProto:
    """What ONNX Runtime's quantizer makes of the decode: boxes of 0 to 64 and scores of 0 to 1 on one scale."""
    model = with_quantized_decode(network.model, calibration_images(data, Calibration(images=4), 64))
    rounding = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounding) > 5, "the decode is quantised for real"
    return model


@pytest.mark.parametrize("broken", [shuffled, quantised_decode])
def test_a_broken_file_ends_with_3_and_the_table(
    broken: Any, planted_run: RunDir, recipebox_here: CommandLineHere
) -> None:
    planted_run.plan.write_text(planted_run.plan.read_text().replace("max_map_drop: 0.63", "max_map_drop: 0.05"))
    data = prepare(dataset_of(planted_run))
    sha256 = hashlib.sha256(planted_run.best.read_bytes()).hexdigest()
    network = Network(planted_run.best, 64, sha256=sha256, variant=Variant("int8"))
    planted_run.onnx.write_bytes(network.described(broken(network, data).SerializeToString(), Variant()))
    content = planted_run.onnx.read_bytes()
    code, _, err = recipebox_here("export", str(planted_run.root), "--check")
    assert code == 3 and "mAP50-95 fell from" in err and "Traceback" not in err
    lost = {tuple(line.split()[:2]) for line in err.splitlines() if line.startswith("  ")}
    assert lost & {("class", "open"), ("class", "short")} and {kind for kind, _ in lost} >= {"class", "size"}
    document = planted_run.read_result("export")
    assert document["passed"] is False and document["sha256"] == hashlib.sha256(content).hexdigest()
    assert planted_run.onnx.read_bytes() == content, "--check writes no file"


def dataset_of(run: RunDir) -> str:
    from recipebox.stages import read_plan

    return read_plan(run).settings.data.dataset


def test_check_measures_what_is_there(planted_run: RunDir, recipebox_here: CommandLineHere) -> None:
    code, _, err = recipebox_here("export", str(planted_run.root), "--check", "--json")
    assert code == 2 and "best.onnx: No such file" in err
    assert recipebox_here("export", str(planted_run.root), "--format", "engine", "--check")[0] == 2
    assert recipebox_here("export", str(planted_run.root))[0] == 0
    before = planted_run.read_result("export")
    code, out, err = recipebox_here("export", str(planted_run.root), "--check", "--json")
    assert code == 0 and json.loads(out) == before == planted_run.read_result("export")
    (planted_run.root / "weights" / "best-int8.onnx").write_bytes(planted_run.onnx.read_bytes())
    code, _, err = recipebox_here("export", str(planted_run.root), "--check", "--precision", "int8")
    assert code == 2 and "says that it is fp32, and int8 is asked for" in err
    sha256 = hashlib.sha256(planted_run.best.read_bytes()).hexdigest()
    export_onnx(planted_run.best, planted_run.onnx, 64, sha256=sha256, variant=Variant(batch=2))
    code, _, err = recipebox_here("export", str(planted_run.root), "--check")
    assert code == 2 and "says that it is fp32-batch2, and fp32 is asked for" in err


def test_check_repeats_nothing_of_another_file(planted_run: RunDir, recipebox_here: CommandLineHere) -> None:
    """Which images calibrated a file, and what it keeps, is on record of the file that was written then."""
    arguments = ("export", str(planted_run.root), "--precision", "int8")
    result = planted_run.root / "export-int8.json"
    recipebox_here(*arguments)  # it does not pass, and is measured all the same
    written = json.loads(result.read_text())
    assert written["keep"] == [] and written["calibration"]["images"] == 6
    recipebox_here(*arguments, "--check")
    assert json.loads(result.read_text()) == written
    path = planted_run.root / written["file"]
    model = onnx.load(path)
    model.doc_string = "changed"
    path.write_bytes(model.SerializeToString())
    recipebox_here(*arguments, "--check")
    checked = json.loads(result.read_text())
    assert checked["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checked["test"] == written["test"] and not {"calibration", "keep"} & set(checked)


@pytest.mark.parametrize("content", [b"", b"\x89PNG" + bytes(range(256)) * 9])
def test_garbage_in_the_file_s_place(content: bytes, planted_run: RunDir, recipebox_here: CommandLineHere) -> None:
    planted_run.onnx.write_bytes(content)
    one_message(planted_run, recipebox_here, "not an ONNX file that ONNX Runtime can run", "--check")


@pytest.mark.parametrize("more", [(), ("--precision", "int8"), ("--sensitivity",)])
def test_weights_that_are_not_finite(more: Any, planted_run: RunDir, recipebox_here: CommandLineHere) -> None:
    checkpoint = torch.load(planted_run.best, weights_only=False)
    next(checkpoint["ema"].parameters()).data[0] = float("nan")
    torch.save(checkpoint, planted_run.best)
    sha256 = hashlib.sha256(planted_run.best.read_bytes()).hexdigest()
    for name in ("train", "evaluate"):
        path = planted_run.result(name)  # type: ignore[arg-type]
        old = json.loads(path.read_text()).get("weights_sha256") or planted_run.read_result("train")["weights"]["best"]
        text = path.read_text().replace(old if isinstance(old, str) else old["sha256"], sha256)
        path.write_text(text)
    one_message(planted_run, recipebox_here, "hold NaN or infinity", *more)


@pytest.mark.parametrize("more", [("--precision", "int8"), ("--sensitivity",)])
def test_a_set_without_training_images(
    more: Any, planted_run: RunDir, recipebox_here: CommandLineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders are refused earlier; this is a set that lost them."""
    from recipebox.data import datasets

    whole = datasets.prepare

    def without_training(*arguments: Any, **options: Any) -> Any:
        made = whole(*arguments, **options)
        return type(made)(**{**vars(made), "train": made.train.without(made.train.images)})

    monkeypatch.setattr("recipebox.data.datasets.prepare", without_training)
    one_message(planted_run, recipebox_here, "its train split has no images", *more)


def one_message(run: RunDir, recipebox_here: CommandLineHere, words: str, *more: str) -> None:
    """Exit code 2, one line, and nothing is written."""
    before = snapshot(run.root)
    code, out, err = recipebox_here("export", str(run.root), *more, "--json")
    error = json.loads(out)["error"]
    assert code == 2 and words in error["message"] and "\n" not in error["message"] and "Traceback" not in err
    assert snapshot(run.root) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file but state.json, which says who worked last."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "state.json"}
