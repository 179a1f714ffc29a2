"""Ultralytics' mosaic and warp with another border than grey. Card: docs/techniques/border.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipebox.data.border import Border, border_share, mirror_images, tiles_shown
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.data.augment import Mosaic, RandomPerspective  # noqa: E402
from ultralytics.utils.instance import Instances  # noqa: E402

SHARE = "border_share"
"""A sample's key: the share of its area that is border; of a mixed sample, that of the first image."""
_CONTENT = "border_content"
_IMAGE_ALONE = range(1), range(1)


def with_border(transforms: Any, border: Border) -> Any:
    """Ultralytics' training transforms, changed in place so that mosaic and warp show this border.

    Mosaic and warp stand in the first transform, which mixup and cutmix apply to their second image too.
    """
    first = transforms.transforms[0]
    first.transforms = [_stand_in(each, border) for each in first.transforms]
    return transforms


def _stand_in(transform: Any, border: Border) -> Any:
    if type(transform) is Mosaic:
        return BorderMosaic(transform, border)
    if type(transform) is RandomPerspective:
        return BorderPerspective(transform, border)
    return transform


class BorderMosaic(Mosaic):  # type: ignore[misc]
    """A 2 x 2 mosaic whose gaps are filled; stock leaves them grey, up to half a tile wide on each side."""

    def __init__(self, stock: Any, border: Border) -> None:
        super().__init__(stock.dataset, imgsz=stock.imgsz, p=stock.p, n=stock.n)
        self._border = border

    def apply_image(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        labels = super().apply_image(labels, params)
        patches = [tuple(item[key] for key in ("x1a", "y1a", "x2a", "y2a")) for item in params["layout"]]
        (_, _, x, y), side = patches[0], 2 * self.imgsz
        quadrants = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
        for patch, quadrant in zip(patches, quadrants, strict=True):
            self._border.fill(labels["img"], patch, quadrant)
        labels[_CONTENT] = patches
        return labels

    def apply_instances(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        if self._border.mirrors:
            for number, item in enumerate(params["layout"]):
                height, width = item["img_shape"]
                columns = self._outward(item["padw"], width, before=number in (0, 2))
                rows = self._outward(item["padh"], height, before=number in (0, 1))
                add_mirror_images(item["labels_patch"], (width, height), columns, rows)
        return super().apply_instances(labels, params)  # type: ignore[no-any-return]

    def _outward(self, start: int, side: int, *, before: bool) -> range:
        """The tiles between a patch and the edge of the mosaic; towards the middle it meets its neighbour."""
        gap = start if before else 2 * self.imgsz - start - side
        tiles = max(0, -(-gap // side))
        return range(-tiles, 1) if before else range(tiles + 1)


class BorderPerspective(RandomPerspective):  # type: ignore[misc]
    """Zoom, shift, rotation and the rest, around which another border shows than stock's grey."""

    def __init__(self, stock: Any, border: Border) -> None:
        super().__init__(**{key: getattr(stock, key) for key in vars(stock)})
        self._border = border

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        params: dict[str, Any] = super().get_params(labels)
        params["tiles"] = tiles_shown(params["M"], params["orig_shape"][::-1], params["size"])
        return params

    def apply_image(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        height, width = params["orig_shape"]
        content = labels.pop(_CONTENT, [(0, 0, width, height)])
        labels[SHARE] = border_share(params["M"], content, params["size"])
        if params["tiles"] == _IMAGE_ALONE:
            return super().apply_image(labels, params)  # type: ignore[no-any-return]
        labels["img"] = self._border.warp(labels["img"], params["M"], params["size"], bool(self.perspective))
        labels["resized_shape"] = labels["img"].shape[:2]
        return labels

    def apply_instances(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        if self._border.mirrors:
            add_mirror_images(labels, params["orig_shape"][::-1], *params["tiles"])
        return super().apply_instances(labels, params)  # type: ignore[no-any-return]


def add_mirror_images(labels: dict[str, Any], size: tuple[int, int], columns: range, rows: range) -> None:
    """Label the objects that mirror images of the sample show; in place. Their boxes are in pixels (xyxy) then."""
    if (columns, rows) == _IMAGE_ALONE:
        return
    instances = labels["instances"]
    instances.convert_bbox(format="xyxy")
    instances.denormalize(*size)
    boxes, index = mirror_images(instances.bboxes, size, columns, rows)
    both = np.concatenate([instances.bboxes, boxes])
    labels["instances"] = Instances(both, instances.segments, None, bbox_format="xyxy", normalized=False)
    labels["cls"] = np.concatenate([labels["cls"], labels["cls"][index]])
