"""A bundle finds what evaluation found, without recipebox."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import venv
import zlib
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


def bundle_of(run: RunDir, folder: Path, variant: Variant = Variant()) -> dict[str, Any]:  # noqa: B008
    return write_bundle(run, variant, Export(), folder)


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
    document = bundle_of(run, tmp_path / "bundle", variant)
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
    shipped()
    bundle_of(run, tmp_path / "bundle")
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
    with pytest.raises(RunError, match=r"export-int8\.json: is not there.*recipebox export .* --precision int8"):
        bundle_of(run, tmp_path / "bundle", Variant("int8"))
    files = shipped()
    good = json.loads(files.result.read_text())
    for change, message in (
        ({"passed": False}, "did not pass the accuracy gate"),
        ({"sha256": "0" * 64}, "not the file that was measured"),
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"test": 3}, "not what an export writes"),
        ({"passed": "true"}, "did not pass the accuracy gate"),
    ):
        write_json(files.result, good | change)
        with pytest.raises(RunError, match=message):
            bundle_of(run, tmp_path / "bundle")
    files.result.write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        bundle_of(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    write_json(files.result, good)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_text("kept")
    with pytest.raises(BadInput, match="is there already"):
        bundle_of(run, tmp_path / "bundle")
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


@pytest.fixture
def bundle(run: RunDir, shipped: Any, tmp_path: Path) -> Path:
    shipped()
    bundle_of(run, tmp_path / "bundle")
    return tmp_path / "bundle"


def detect(bundle: Path, *arguments: Path | str) -> Any:
    """`python detect.py ...` in a process of its own: (exit code, document or None, what it said)."""
    done = subprocess.run(
        [sys.executable, str(bundle / "detect.py"), *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=bundle,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_a_newcomer_finds_what_is_needed(bundle: Path, tiny: Any) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [
        "LICENSE", "README.txt", "bundle.json", "detect.py", "model.onnx", "requirements.txt"
    ]  # fmt: skip
    words = (bundle / "README.txt").read_text()
    for name in (*tiny.data.names, "pip install -r requirements.txt", "python detect.py", "AGPL-3.0", "mAP50-95"):
        assert name in words
    assert max(map(len, words.splitlines())) <= 130 and "None" not in words and "{" not in words
    assert "AFFERO GENERAL PUBLIC LICENSE" in (bundle / "LICENSE").read_text()
    assert detect(bundle, "--help")[0] == 0 and "python detect.py" in detect(bundle)[2]


def test_a_bundle_of_what_was_not_measured_prints_no_number(run: RunDir, shipped: Any, tmp_path: Path) -> None:
    files = shipped()
    write_json(files.result, json.loads(files.result.read_text()) | {"test": {"images": 3, "instances": 0}})
    bundle_of(run, tmp_path / "bundle")
    words = (tmp_path / "bundle" / "README.txt").read_text()
    assert "on 3 test images of tiny, without boxes: nothing" in words and "mAP" not in words


def test_images_that_cannot_be_read_are_named_and_the_others_detected(bundle: Path, tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    good = tiny.data.test.images[0].read_bytes()
    spoiled = {
        "empty.png": b"",
        "garbage.jpg": bytes(range(256)) * 9,
        "half.png": good[: len(good) // 2],
        "text.bmp": b"BM not a bitmap",
        "header.png": good[:24],
        "gif-inside.tiff": b"II*\0\xff\xff\xff\xff",
        "webp.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
        "huge.png": _declares(100_000, 100_000),
    }
    for name, content in spoiled.items():
        (folder / name).write_bytes(content)
    (folder / "good.png").write_bytes(good)
    (folder / "folder.png").mkdir()
    code, document, said = detect(bundle, folder, tmp_path / "gone.png")
    assert code == 2 and list(document) == [str(folder / "good.png")]
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(spoiled) + 2
    for name in (*spoiled, "folder.png", "gone.png"):
        assert sum(name in line for line in lines) == 1, name
    assert document == detect(bundle, folder / "good.png")[1]
    (tmp_path / "none").mkdir()
    code, document, said = detect(bundle, tmp_path / "none")
    assert (code, document) == (2, {}) and "a folder without images" in said


def _declares(width: int, height: int) -> bytes:
    """The head of a PNG that says it is large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_spoiled_bundles_are_named(bundle: Path, tiny: Any, script: Any) -> None:
    about, model = (bundle / "bundle.json").read_bytes(), (bundle / "model.onnx").read_bytes()
    good = json.loads(about)

    for content, words in (
        (b"", "not valid JSON"),
        (about[:-20], "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "not of a bundle"),
        (json.dumps(good | {"schema": 2}).encode(), "not of a bundle"),
        (json.dumps(good | {"names": []}).encode(), "lacks names"),
        (json.dumps(good | {"thresholds": {"open": 0.5}}).encode(), "the threshold of short is None"),
        (json.dumps(good | {"thresholds": dict.fromkeys(good["names"], "high")}).encode(), "from 0 to 1"),
        (json.dumps({key: good[key] for key in good if key != "nms_iou"}).encode(), "lacks nms_iou"),
        (json.dumps(good | {"names": [["a"]]}).encode(), "lacks names"),
        (json.dumps(good | {"padding": None}).encode(), "lacks padding, or holds something else"),
        (json.dumps(good | {"padding": 256}).encode(), "lacks padding"),
        (json.dumps(good | {"nms_iou": "x", "max_detections": "x"}).encode(), "lacks nms_iou, max_detections"),
        (json.dumps(good | {"max_detections": True, "sha256": 3}).encode(), "lacks sha256, max_detections"),
        (json.dumps(good | {"sha256": "0" * 64}).encode(), "not the file that was measured"),
    ):
        (bundle / "bundle.json").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            script.Detector(str(bundle))
    for content in (model[:-5000], b""):
        (bundle / "model.onnx").write_bytes(content)
        (bundle / "bundle.json").write_text(json.dumps(good | {"sha256": hashlib.sha256(content).hexdigest()}))
        with pytest.raises(ValueError, match=r"cannot load model\.onnx"):
            script.Detector(str(bundle))
    code, document, said = detect(bundle, tiny.data.test.images[0])
    assert (code, document) == (2, None) and said.startswith("error: onnxruntime") and said.count("\n") == 1
    (bundle / "model.onnx").unlink()
    assert detect(bundle, tiny.data.test.images[0])[0] == 2


def test_arrays_that_are_no_image_are_refused(bundle: Path, script: Any) -> None:
    detector = script.Detector(str(bundle))
    for shape, kind in (((8, 8), "uint8"), ((8, 8, 4), "uint8"), ((8, 8, 3), "float32"), ((0, 8, 3), "uint8")):
        with pytest.raises(ValueError, match="an image is"):
            detector(np.zeros(shape, kind))
    assert detector(np.zeros((8, 9, 3), np.uint8)) == []


@pytest.mark.slow
def test_it_runs_in_a_clean_environment(run: RunDir, tiny: Any, shipped: Any, tmp_path: Path) -> None:
    """A new environment with the three packages; RECIPEBOX_BUNDLE_PYTHON names another Python to make it with."""
    files = shipped()
    bundle_of(run, tmp_path / "bundle")
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
