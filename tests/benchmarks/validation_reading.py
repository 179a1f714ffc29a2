"""What validation reads from the weights of every epoch: ours, stock's, and what the deployed pipeline scores.

    python tests/benchmarks/validation_reading.py DATASET IMGSZ weights-01.pt weights-02.pt ... [--split val]

For each file: mAP50-95 by recipebox's evaluation (the square letterbox that ships), and by stock Ultralytics validation
(rect=True, as in its training). Both read the same images and labels. Prints a line a file and one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from recipebox.data.archive import file_sha256
from recipebox.data.datasets import prepare
from recipebox.data.detection_set import DetectionSet, Split
from recipebox.evaluate.detection import measure
from recipebox.evaluate.detector import TorchDetector
from recipebox.progress import set_quiet


def yolo_layout(data: DetectionSet, split: Split, root: Path) -> Path:
    """Links to the images and labels of a split as stock Ultralytics reads them."""
    for folder in ("images/val", "labels/val"):
        (root / folder).mkdir(parents=True)
    for number, (path, boxes) in enumerate(split):
        (root / f"images/val/{number:05}{path.suffix}").symlink_to(path)
        rows = "".join(f"{int(row[0])} {row[1]:.6f} {row[2]:.6f} {row[3]:.6f} {row[4]:.6f}\n" for row in boxes)
        (root / f"labels/val/{number:05}.txt").write_text(rows)
    names = json.dumps(list(data.names))
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images/val\nval: images/val\nnames: {names}\n")
    return root / "data.yaml"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("imgsz", type=int)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--split", choices=["val", "test"], default="val")
    options = parser.parse_args()
    set_quiet(True)
    data = prepare(options.dataset)
    split = data.split(options.split)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        layout = yolo_layout(data, split, Path(folder))
        for path in options.weights:
            detector = TorchDetector(path, sha256=file_sha256(path), imgsz=options.imgsz)
            summary = measure(detector, split, names=data.names).summary(0.25)
            from ultralytics import YOLO

            stock = YOLO(path).val(
                data=str(layout), imgsz=options.imgsz, batch=32, rect=True, plots=False, verbose=False,
                project=folder, name="val", exist_ok=True, workers=0,
            )  # fmt: skip
            row = {"weights": path.name, "deployed": summary["mAP50-95"], "deployed_mAP50": summary["mAP50"]}
            row |= {"stock_rect": float(stock.box.map), "stock_rect_mAP50": float(stock.box.map50)}
            rows.append(row)
            print(" ".join(f"{key} {v:.4f}" if isinstance(v, float) else str(v) for key, v in row.items()), flush=True)
    print(json.dumps({"dataset": options.dataset, "split": options.split, "imgsz": options.imgsz, "rows": rows}))


if __name__ == "__main__":
    main()
