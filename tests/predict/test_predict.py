"""What predict says equals what evaluation measured; whatever it is given, nothing of the user's is touched."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from recipebox.data.letterbox import letterbox, read_image
from recipebox.errors import BadInput, DataError, RecipeboxError, RunError, StorageError
from recipebox.evaluate.detection import measure
from recipebox.evaluate.detector import TorchDetector
from recipebox.predict import job, output
from recipebox.predict.inputs import find_inputs
from recipebox.run_dir import RunDir, write_json

if TYPE_CHECKING:
    from conftest import CommandLine


def predict(run: RunDir, *images: Path | str, **options: Any) -> job.Prediction:
    settings: dict[str, Any] = {"out": None, "threshold": None, "backend": "auto"} | options
    return job.predict_job(str(run.root), [str(image) for image in images], **settings)


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def boxes(file: dict[str, Any]) -> np.ndarray:
    rows = [[*one["xyxy"], one["score"], one["class"]] for one in file["detections"]]
    return np.array(rows, np.float32).reshape(-1, 6)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_detections_are_those_that_were_evaluated(shipped: RunDir, tiny: Any, backend: str) -> None:
    split = tiny.data.test
    threshold = shipped.read_result("evaluate")["threshold"]
    detector = TorchDetector(shipped.best, sha256=tiny.sha256, imgsz=64, device="cpu")
    measured = measure(detector, split, names=tiny.data.names)
    made = predict(shipped, *split.images, backend=backend).document
    assert made["threshold"] == threshold
    assert made["detector"]["file"] == ("weights/best.pt" if backend == "torch" else "weights/best.onnx")
    found = 0
    for path, line, file in zip(split.images, measured.line, made["files"], strict=True):
        image = read_image(path)
        expected = letterbox(image, 64)[1].to_image(line[line[:, 4] > threshold], image.shape[:2])
        np.testing.assert_allclose(boxes(file), expected, atol=1e-3)
        found += len(expected)
    assert made["detections"] == found > 0


def test_what_is_written(shipped: RunDir, tiny: Any) -> None:
    made = predict(shipped, tiny.data.test.images[0].parent)
    assert made.folder.parent == shipped.root / "predict"
    assert json.loads((made.folder / "predictions.json").read_text()) == made.document
    assert made.exit_code == 0
    for file in made.document["files"]:
        width, height = file["width"], file["height"]
        lines = (made.folder / file["label"]).read_text().splitlines()
        expected = boxes(file)
        assert len(lines) == len(expected)
        for line, (x1, y1, x2, y2, _, index) in zip(lines, expected, strict=True):
            label = [float(number) for number in line.split()]
            assert label[0] == index
            centre = np.array([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height])
            np.testing.assert_allclose(label[1:3], centre, atol=1e-5)
        assert cv2.imread(str(made.folder / file["drawn"])) is not None
    sheet = cv2.imread(str(made.folder / "contact.png"))
    assert sheet is not None and sheet.shape[1] > 700
    assert sum(made.document["per_class"].values()) == made.document["detections"]


def test_two_calls_make_two_folders(shipped: RunDir, tiny: Any) -> None:
    first, second = (predict(shipped, tiny.data.test.images[0]) for _ in range(2))
    assert first.folder != second.folder
    assert first.document["files"] == second.document["files"]


def test_a_threshold_of_ones_own(shipped: RunDir, tiny: Any) -> None:
    everything = predict(shipped, tiny.data.test.images[0], threshold=0.0).document
    nothing = predict(shipped, tiny.data.test.images[0], threshold=0.999).document
    assert everything["detections"] > nothing["detections"] == 0
    assert everything["threshold_from"] == "given by --threshold"


def test_the_command_line(shipped: RunDir, tiny: Any, tmp_path: Path, command_line: CommandLine) -> None:
    """Good images among everything that people have in their folders."""
    mess = tmp_path / "my images"
    (mess / "sub dir").mkdir(parents=True)
    good = tiny.data.test.images[0].read_bytes()
    for name in (b"a.png", b"a.jpg", b"A.PNG", b"sub dir/a.png", b"new\nline \xff.png", b".hidden.png", b"notes.txt"):
        Path(os.fsdecode(os.path.join(os.fsencode(mess), name))).write_bytes(good)
    (mess / "zero.jpg").touch()
    (mess / "garbage.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"rubbish" * 40)
    (mess / "video.mp4").write_bytes(b"\0\0\0\x18ftypmp42 rubbish")
    whole = cv2.imencode(".jpg", cv2.imread(str(tiny.data.test.images[0])))[1].tobytes()
    (mess / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (mess / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 65000, 65000) + b"\x08\x02\0\0\0"
    )
    (mess / "gone.jpg").symlink_to("nowhere.jpg")
    (mess / "self").symlink_to(".")
    (mess / "folder.jpg").mkdir()
    os.mkfifo(mess / "pipe.bmp")
    before = fingerprint(tmp_path / "my images" / "sub dir")
    out = tmp_path / "out"
    done = command_line("predict", str(shipped.root), str(mess), "--out", str(out), "--json")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["images"] == 5
    assert {Path(one["file"]).name for one in document["skipped"]} == {
        "zero.jpg", "garbage.png", "half.jpg", "bomb.png", "video.mp4", "gone.jpg", "pipe.bmp"
    }  # fmt: skip
    assert len({one["drawn"].casefold() for one in document["files"]}) == 5
    assert all((out / one["drawn"]).is_file() and (out / one["label"]).is_file() for one in document["files"])
    assert fingerprint(tmp_path / "my images" / "sub dir") == before
    again = command_line("predict", str(shipped.root), str(mess), "--out", str(out))
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr


def test_errors_say_how_to_mend(shipped: RunDir, tiny: Any, tmp_path: Path) -> None:
    image = tiny.data.test.images[0]
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jpg").write_bytes(b"no")
    (tmp_path / "file").touch()
    cases: list[tuple[type[RecipeboxError], str, tuple[Any, ...], dict[str, Any]]] = [
        (DataError, "no such file", (tmp_path / "nowhere",), {}),
        (DataError, "no such file", ("",), {}),
        (DataError, "no such file", ("x" * 5000,), {}),
        (DataError, "no image in there", (tmp_path / "empty",), {}),
        (DataError, "none of 1 files", (tmp_path / "bad.jpg",), {}),
        (BadInput, "between 0 and 1", (image,), {"threshold": 1.5}),
        (BadInput, "between 0 and 1", (image,), {"threshold": float("nan")}),
        (BadInput, "--backend", (image,), {"backend": "tensorrt"}),
        (BadInput, "nothing is overwritten", (image,), {"out": tmp_path / "file"}),
        (StorageError, "a file stands where", (image,), {"out": tmp_path / "file" / "out"}),
    ]
    for kind, words, images, options in cases:
        with pytest.raises(kind, match=words):
            predict(shipped, *images, **options)
    assert not (shipped.root / "predict").exists() or not list((shipped.root / "predict").iterdir())


def test_a_run_that_cannot_be_used(run: RunDir, shipped: RunDir, tiny: Any) -> None:
    image = tiny.data.test.images[0]
    with pytest.raises(RunError, match="no exported file"):
        predict(run, image, backend="onnx")
    assert predict(run, image).document["detector"]["file"] == "weights/best.pt"
    shipped.onnx.write_bytes(shipped.onnx.read_bytes() + b"x")
    with pytest.raises(RecipeboxError, match=r"[Ee]xport again|`recipebox export"):
        predict(shipped, image)
    write_json(run.result("evaluate"), run.read_result("evaluate") | {"weights_sha256": "0" * 64})
    with pytest.raises(RunError, match="other weights"):
        predict(run, image)
    run.result("evaluate").unlink()
    with pytest.raises(RunError, match="evaluate"):
        predict(run, image)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_call_that_fails(
    shipped: RunDir, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise error

    out = tmp_path / "place" / "out"
    monkeypatch.setattr(output.Path, "write_bytes", full)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageError):
        predict(shipped, tiny.data.test.images[0], out=out)
    assert list(out.parent.iterdir()) == []


def test_an_empty_folder_may_be_given(shipped: RunDir, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert predict(shipped, tiny.data.test.images[0], out=tmp_path / "out").folder == tmp_path / "out"


def write_video(path: Path, images: list[Path], count: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    for number in range(count):
        writer.write(cv2.resize(cv2.imread(str(images[number % len(images)])), (64, 64)))
    writer.release()


def test_a_video(shipped: RunDir, tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    write_video(path, list(tiny.data.test.images), 7)
    made = predict(shipped, path, tiny.data.test.images[0])
    video, image = made.document["files"]
    assert len(video["frames"]) == 7
    assert video["frames_per_second"] == 5
    assert len(list((made.folder / video["labels"]).iterdir())) == 7
    drawn = cv2.VideoCapture(str(made.folder / video["drawn"]))
    assert sum(drawn.read()[0] for _ in range(20)) == 7
    assert "7 frames" in made.text() and "1 image " in made.text()
    assert image["width"] == 90
    assert made.exit_code == 0


def test_a_video_cut_short_is_said(shipped: RunDir, tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    write_video(path, list(tiny.data.test.images), 12)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    try:
        made = predict(shipped, path)
    except DataError as error:
        assert "frame" in str(error) or "video" in str(error)  # how much of it opens depends on OpenCV's build
    else:
        assert 0 < len(made.document["files"][0]["frames"]) < 12


def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    (tmp_path / "a.png").touch()
    (tmp_path / "closed").mkdir(mode=0)
    assert "closed" in str(find_inputs([str(tmp_path)]).skipped[0][0])
