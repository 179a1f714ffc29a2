"""A bundle finds what evaluation found, without recipebox."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from recipebox.data.letterbox import letterbox, read_image, to_input
from recipebox.errors import BadInput, RunError
from recipebox.evaluate.postprocess import detections
from recipebox.export.bundle import write as bundle_write
from recipebox.export.bundle.write import NEEDS, write_bundle
from recipebox.export.detector import OnnxDetector
from recipebox.export.onnx import export_onnx
from recipebox.export.variant import Variant, place
from recipebox.recipe.schema import Export
from recipebox.run_dir import RunDir, write_json

SCRIPT = Path(bundle_write.__file__).with_name("detect.py")


@pytest.fixture(scope="session")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("bundle_detect", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shipped(run: RunDir, tiny: Any) -> Any:
    """`shipped(variant)`: the run with a file that passed, and its place."""

    def call(variant: Variant = Variant()) -> Any:  # noqa: B008
        files = place(run, variant, Export())
        export_onnx(run.best, files.onnx, 64, sha256=tiny.sha256, variant=variant)
        sha256 = OnnxDetector(files.onnx, threads=1).sha256
        test = run.read_result("evaluate")["test"]
        write_json(
            files.result, {"schema": 1, "passed": True, "sha256": sha256, "weights_sha256": tiny.sha256, "test": test}
        )
        return files

    return call


def expected(files: Any, image: Path, threshold: float) -> Any:
    """What evaluation does with an image."""
    detector, pixels = OnnxDetector(files.onnx, threads=1), read_image(image)
    canvas, where = letterbox(pixels, 64)
    raw = np.concatenate([detector(to_input(canvas)[None])] * 1)
    return where.to_image(detections(raw, conf=threshold)[0], (pixels.shape[0], pixels.shape[1]))


@pytest.mark.parametrize(
    "variant", [Variant(), Variant(batch="dynamic", nms=True), Variant(batch=2)], ids=lambda v: v.name
)
def test_it_finds_what_evaluation_finds(
    run: RunDir, tiny: Any, shipped: Any, script: Any, tmp_path: Path, variant: Variant
) -> None:
    files = shipped(variant)
    document = write_bundle(run, files, tmp_path / "bundle")
    threshold = run.read_result("evaluate")["threshold"]
    assert document["thresholds"] == dict.fromkeys(tiny.data.names, threshold)
    detector = script.Detector(str(tmp_path / "bundle"))
    total = 0
    for image in tiny.data.test.images:
        found, wanted = detector(str(image)), expected(files, image, threshold)
        assert [box["class"] for box in found] == [tiny.data.names[int(row[5])] for row in wanted]
        boxes = np.array([[box[key] for key in ("x1", "y1", "x2", "y2", "score")] for box in found]).reshape(-1, 5)
        # The small detector amplifies the one level of 255 that an enlarged image may differ by.
        np.testing.assert_allclose(boxes, wanted[:, :5], atol=0.05)
        total += len(found)
    assert total > 10


def test_a_class_has_its_own_threshold(run: RunDir, tiny: Any, shipped: Any, script: Any, tmp_path: Path) -> None:
    write_bundle(run, shipped(), tmp_path / "bundle")
    path = tmp_path / "bundle" / "bundle.json"
    document = json.loads(path.read_text())
    document["thresholds"] = {"open": 0.01, "short": 1.0, "pin hole's": 0.3}
    path.write_text(json.dumps(document))
    found = [box for image in tiny.data.test.images for box in script.Detector(str(path.parent))(str(image))]
    assert not [box for box in found if box["class"] == "short"]
    assert min(box["score"] for box in found if box["class"] == "open") < 0.3
    assert min((box["score"] for box in found if box["class"] == "pin hole's"), default=1.0) > 0.3


@pytest.mark.parametrize("size", [(640, 640), (480, 640), (1080, 1920), (33, 50), (500, 333), (1, 7), (64, 64)])
def test_its_letterbox_is_the_one_that_ships(script: Any, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for imgsz in (64, 320):
        canvas, scales, left, top = script.letterbox(image, imgsz, 114)
        wanted, where = letterbox(image, imgsz)
        assert (*scales, left, top) == (where.scale_x, where.scale_y, where.left, where.top)
        apart = np.abs(canvas.astype(int) - wanted)
        assert apart.max() <= (1 if max(scales) > 1 else 0) and (apart > 0).mean() < 0.1


def test_it_reads_images_as_they_are_read_here(script: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(colour[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([colour, colour[:, :, :1]])).save(tmp_path / "alpha.png")
    Image.fromarray(colour).convert("P").save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "deep.png"), rng.integers(0, 65536, (20, 30), np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colour).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(script.read_image(str(path)), read_image(path)[:, :, ::-1], path.name)


def test_what_did_not_pass_is_not_shipped(run: RunDir, shipped: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was not exported yet"):
        write_bundle(run, place(run, Variant("int8"), Export()), tmp_path / "bundle")
    files = shipped()
    good = json.loads(files.result.read_text())
    for change, message in (
        ({"passed": False}, "did not pass the accuracy gate"),
        ({"sha256": "0" * 64}, "not the file that was measured"),
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"test": 3}, "not what an export writes"),
    ):
        write_json(files.result, good | change)
        with pytest.raises(RunError, match=message):
            write_bundle(run, files, tmp_path / "bundle")
    files.result.write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        write_bundle(run, files, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    write_json(files.result, good)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_text("kept")
    with pytest.raises(BadInput, match="is there already"):
        write_bundle(run, files, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "mine").read_text() == "kept"


def test_the_script_is_python_3_8_and_needs_three_packages() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules - set(sys.stdlib_module_names) == {"numpy", "PIL", "onnxruntime"}
    assert {line.split(">")[0] for line in NEEDS.split()} == {"numpy", "Pillow", "onnxruntime"}


@pytest.mark.slow
def test_it_runs_in_a_clean_environment(run: RunDir, tiny: Any, shipped: Any, tmp_path: Path) -> None:
    """A new environment with the three packages; RECIPEBOX_BUNDLE_PYTHON names another Python to make it with."""
    files = shipped()
    write_bundle(run, files, tmp_path / "bundle")
    python = tmp_path / "clean" / "bin" / "python"
    other = os.environ.get("RECIPEBOX_BUNDLE_PYTHON")
    if other:
        subprocess.run([other, "-m", "venv", str(tmp_path / "clean")], check=True)
    else:
        venv.create(tmp_path / "clean", with_pip=True)
    made = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "-r", str(tmp_path / "bundle" / "requirements.txt")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"the packages cannot be had: {made.stderr[-200:]}")
    images = tmp_path / "images"
    shutil.copytree(tiny.data.test.images[0].parent, images)
    (images / "broken.png").write_bytes(b"\x89PNG broken")
    clean = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(python), str(tmp_path / "bundle" / "detect.py"), str(images)],
        env=clean, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2 and "broken.png" in done.stderr and "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    threshold = run.read_result("evaluate")["threshold"]
    for path in tiny.data.test.images:
        wanted = expected(files, path, threshold)
        boxes = [[box[key] for key in ("x1", "y1", "x2", "y2", "score")] for box in found[str(images / path.name)]]
        np.testing.assert_allclose(np.array(boxes).reshape(-1, 5), wanted[:, :5], atol=0.05)
