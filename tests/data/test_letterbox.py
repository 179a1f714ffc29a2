"""The shipped pre-processing equals Ultralytics' byte for byte, and boxes come back where they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipebox.data.letterbox import Placement, Preparer, letterbox, read_image, to_input
from recipebox.errors import DataError

cv2 = pytest.importorskip("cv2")


def _image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def their_letterbox():
    augment = pytest.importorskip("ultralytics.data.augment")
    return lambda image, imgsz: augment.LetterBox(
        new_shape=(imgsz, imgsz), auto=False, scale_fill=False, scaleup=True, center=True
    )(image=image)


@settings(max_examples=150)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    imgsz=st.sampled_from([32, 96, 128, 320, 416, 640]),
    seed=st.integers(0, 100),
)
def test_letterbox_is_byte_identical_to_ultralytics(their_letterbox, height, width, imgsz, seed):
    image = _image(height, width, seed)
    before = image.copy()
    canvas, _ = letterbox(image, imgsz)
    assert canvas.dtype == np.uint8
    assert np.array_equal(canvas, their_letterbox(image.copy(), imgsz))
    canvas[:] = 0
    assert np.array_equal(image, before), "the canvas must not share memory with the image"


@settings(max_examples=100)
@given(height=st.integers(8, 900), width=st.integers(8, 900), imgsz=st.sampled_from([64, 320, 640]))
def test_boxes_return_to_where_they_were(height, width, imgsz):
    _, place = letterbox(np.zeros((height, width, 3), np.uint8), imgsz)
    boxes = np.array([[0, 0, width, height, 0.5], [1, 2, width / 2, height / 2, 0.1]], np.float32)
    canvas_boxes = place.to_canvas(boxes)
    assert canvas_boxes[:, :4].min() >= -1 and canvas_boxes[:, :4].max() <= imgsz + 1
    back = place.to_image(canvas_boxes, (height, width))
    np.testing.assert_allclose(back, boxes, atol=1e-2)
    assert back.dtype == np.float32


def test_the_corners_of_an_image_are_the_corners_of_where_it_is_drawn():
    """481 px by a half are drawn on 240: the right edge of the image lies there, not at 240.5."""
    canvas, place = letterbox(np.zeros((640, 481, 3), np.uint8), 320)
    black = np.flatnonzero((canvas[0] == 0).all(axis=1))
    corners = place.to_canvas(np.array([[0, 0, 481, 640]], np.float32))
    np.testing.assert_allclose(corners[0], [black[0], 0, black[-1] + 1, 320])
    np.testing.assert_allclose(place.to_image(corners, (640, 481))[0], [0, 0, 481, 640])


def test_boxes_outside_the_image_are_clipped_and_integers_become_floats():
    place = Placement(0.5, 0.5, 0, 70)
    back = place.to_image(np.array([[-10, 0, 700, 700]]), (360, 640))
    np.testing.assert_array_equal(back, [[0, 0, 640, 360]])
    np.testing.assert_array_equal(place.to_canvas(np.array([[1, 2, 3, 4]])), [[0.5, 71, 1.5, 72]])


def test_to_input_is_rgb_planes_between_0_and_1():
    canvas = _image(64, 64)
    planes = to_input(canvas)
    assert planes.shape == (3, 64, 64) and planes.dtype == np.float32 and planes.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(planes[0], canvas[..., 2].astype(np.float32) / 255)
    np.testing.assert_array_equal(planes[2], canvas[..., 0].astype(np.float32) / 255)


@settings(max_examples=60)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=5),
    imgsz=st.sampled_from([32, 96, 320]),
    reuse=st.booleans(),
)
def test_preparer_has_the_bits_of_letterbox_and_to_input(shapes, imgsz, reuse):
    preparer, out = Preparer(imgsz), np.full((1, 3, imgsz, imgsz), np.nan, np.float32)
    for seed, (height, width) in enumerate([*shapes, shapes[0], (imgsz, imgsz), (imgsz, max(1, imgsz // 2))]):
        image = _image(height, width, seed)
        before = image.copy()
        inputs, place = preparer(image, out if reuse else None)
        canvas, expected_place = letterbox(image, imgsz)
        assert place == expected_place and inputs.shape == (1, 3, imgsz, imgsz)
        assert inputs.flags["C_CONTIGUOUS"] and (inputs is out) == reuse
        # Written out, not by to_input: the division that training and Ultralytics do.
        expected = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
        assert np.array_equal(inputs[0], expected)
        assert np.array_equal(image, before)


def test_to_input_has_the_bits_of_a_torch_division():
    torch = pytest.importorskip("torch")
    canvas = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, axis=2)
    assert np.array_equal(to_input(canvas)[0], (torch.from_numpy(canvas[..., 0].copy()).float() / 255).numpy())


def test_read_image_takes_any_kind_of_file(tmp_path: Path):
    colour = _image(10, 12)
    kinds = {
        "grey.png": colour[..., 0],
        "deep.png": colour.astype(np.uint16) * 257,
        "alpha.png": np.dstack([colour, colour[..., :1]]),
        "colour.bmp": colour,
    }
    for name, pixels in kinds.items():
        path = tmp_path / f"größe-{name}"
        cv2.imencode(path.suffix, pixels)[1].tofile(path)
        image = read_image(path)
        assert image.shape == (10, 12, 3) and image.dtype == np.uint8
        if name != "grey.png":
            np.testing.assert_array_equal(image, colour)
        else:
            np.testing.assert_array_equal(image, colour[..., :1].repeat(3, axis=2))


def test_read_image_palette_and_exif_orientation(tmp_path: Path):
    image_module = pytest.importorskip("PIL.Image")
    picture = image_module.fromarray(_image(8, 20)[..., ::-1].copy())
    picture.quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (8, 20, 3)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    turned = read_image(tmp_path / "turned.jpg")
    assert turned.shape == (20, 8, 3)
    np.testing.assert_array_equal(turned, cv2.imread(str(tmp_path / "turned.jpg"), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_undecodable_file_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png"):
        read_image(path)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError):
        read_image(tmp_path)
