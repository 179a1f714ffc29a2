"""Wall time of our training against stock Ultralytics with the same arguments, no technique, equal workers.

    python tests/benchmarks/train_overhead.py [--rounds 6] [--images 64] [--imgsz 160] [--epochs 2]

Whole trainings in one process, interleaved, set-up included; stock reads its labels from a cache written beforehand
and its final validation is left out, as ours is a stage of its own. On a CPU stock gives torch one thread less than
there are cores; so that this does not decide the comparison, it is also timed with all of them.
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from paired import finish, ratio, rounds

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.run_dir import RunDir
from recipebox.train.trainer import RecipeTrainer

from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip - after recipebox, which silences it


def draw(root: Path, name: str, count: int, seed: int) -> Split:
    """Boards of 640 x 640 as JPEG, like the real ones, and their labels in YOLO layout."""
    rng = np.random.default_rng(seed)
    images, boxes = [], []
    for folder in ("images", "labels"):
        (root / folder / name).mkdir(parents=True)
    for number in range(count):
        image = np.where(cv2.resize(rng.random((40, 40)), (640, 640)) > 0.5, 255, 0).astype(np.uint8)
        rows = np.hstack([rng.integers(0, 6, (6, 1)), rng.uniform(0.2, 0.8, (6, 2)), np.full((6, 2), 0.06)])
        path = root / "images" / name / f"{number:04}.jpg"
        cv2.imwrite(str(path), image)
        np.savetxt(root / "labels" / name / f"{number:04}.txt", rows, fmt="%g")
        images.append(path)
        boxes.append(rows.astype(np.float32))
    return Split(tuple(images), tuple(boxes))


class Stock(DetectionTrainer):  # type: ignore[misc]
    def final_eval(self) -> None:
        pass


class StockAllThreads(Stock):
    def __init__(self, overrides: dict[str, Any]) -> None:
        threads = torch.get_num_threads()
        super().__init__(overrides=overrides)
        torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="recipebox-bench-"))
    train, val = draw(root, "train", options.images, 1), draw(root, "val", options.images // 2, 2)
    names = tuple("abcdef")
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: {list(names)}\n")
    data = DetectionSet("bench", names, train, val, val, "0" * 64)
    arguments: dict[str, Any] = {
        "model": "yolov8n.yaml", "pretrained": False, "task": "detect", "mode": "train", "device": "cpu",
        "data": str(root / "data.yaml"), "epochs": options.epochs, "imgsz": options.imgsz, "batch": 16, "nbs": 16,
        "optimizer": "AdamW", "lr0": 0.001, "close_mosaic": 1, "plots": False, "verbose": False, "exist_ok": True,
        "workers": 0, "seed": 0,
    }  # fmt: skip

    threads = torch.get_num_threads()

    def ours() -> None:
        torch.set_num_threads(threads)
        run = RunDir.create("bench", root / "runs")
        RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, data, []).train()

    def stock(trainer: type[Stock]) -> None:
        torch.set_num_threads(threads)
        trainer(overrides=arguments | {"save_dir": str(root / "stock")}).train()

    arms = {
        "recipebox": ours,
        "ultralytics": lambda: stock(Stock),
        "ultralytics_all_threads": lambda: stock(StockAllThreads),
    }
    try:
        for arm in arms.values():
            arm()
        seconds = rounds(arms, options.rounds)
    finally:
        shutil.rmtree(root)
    finish(
        benchmark="train_overhead",
        **vars(options),
        seconds={name: round(sorted(values)[len(values) // 2], 2) for name, values in seconds.items()},
        threads=threads,
        against_ultralytics=ratio(seconds["recipebox"], seconds["ultralytics"]),
        against_ultralytics_all_threads=ratio(seconds["recipebox"], seconds["ultralytics_all_threads"]),
    )


if __name__ == "__main__":
    main()
