"""What the comparisons of heads and anchors need (docs/results/anchors.md has the commands, and what came of them).

    python tests/benchmarks/anchor_heads.py weights yolov8n.pt yolov8n-newhead.pt
        YOLOv8n's COCO weights with a head that is drawn anew, so that either kind of head begins from nothing on the
        same backbone and neck; prints the file's SHA-256.
    python tests/benchmarks/anchor_heads.py boards FOLDER [--train 400] [--seed 0]
        A set in YOLO layout of boards whose defects have a quarter of the size: sixteen drawn boards on an image, each
        at a quarter of its side.
    python tests/benchmarks/anchor_heads.py losses RUN RUN ... [--epochs 10]
        box_loss of training by epoch, of each run, and how much of the first epoch's is gone after so many epochs.

Weights are written by a run of this machine and given to a recipe with --set model.weights and model.sha256.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

TILES = 4


def new_head(source: Path, target: Path, seed: int) -> None:
    """Write `source` with its last module drawn anew."""
    import torch

    from recipebox.data.archive import file_sha256
    from recipebox.data.weights import find_weights
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, load_checkpoint

    model, _ = load_checkpoint(find_weights(str(source)))
    model = model.float()
    torch.manual_seed(seed)
    drawn = DetectionModel(dict(model.yaml), nc=len(model.names), verbose=False)
    model.model[-1].load_state_dict(drawn.model[-1].state_dict())
    model.criterion = None
    torch.save({"model": model, "ema": None, "train_args": {}}, target)
    print(json.dumps({"file": str(target), "sha256": file_sha256(target), "seed": seed}))


def small_boards(folder: Path, images: int, seed: int) -> None:
    """Write images of sixteen boards each; val and test get a quarter of `images`."""
    import cv2

    from recipebox.data.synthetic_pcb import NAMES, draw

    for split, count in (("train", images), ("val", images // 4), ("test", images // 4)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            rows, tiles = [], []
            for place in range(TILES**2):
                board, _, boxes = draw(seed, number * TILES**2 + place, split)
                side = board.shape[0] // TILES
                tiles.append(cv2.resize(board, (side, side), interpolation=cv2.INTER_AREA))
                for label, x, y, w, h in boxes.tolist():
                    row, column = divmod(place, TILES)
                    centre = ((x + column) / TILES, (y + row) / TILES)
                    rows.append(f"{int(label)} {centre[0]:.6f} {centre[1]:.6f} {w / TILES:.6f} {h / TILES:.6f}\n")
            lines = [np.hstack(tiles[row * TILES : (row + 1) * TILES]) for row in range(TILES)]
            cv2.imwrite(str(folder / "images" / split / f"{number:05d}.png"), np.vstack(lines))
            (folder / "labels" / split / f"{number:05d}.txt").write_text("".join(rows), encoding="utf-8")
    described = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    (folder / "data.yaml").write_text(f"names: [{', '.join(NAMES)}]\n{described}", encoding="utf-8")
    print(json.dumps({"folder": str(folder), "images": images, "seed": seed}))


def losses(runs: list[Path], epochs: int) -> None:
    """Print box_loss by epoch."""
    document = {}
    for run in runs:
        lines = (run / "epochs.jsonl").read_text(encoding="utf-8").splitlines()[:epochs]
        values = [json.loads(line)["train"]["box_loss"] for line in lines]
        document[str(run)] = {"box_loss": values, "fallen": 1 - values[-1] / values[0], "epochs": len(values)}
    print(json.dumps(document))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    weights = parts.add_parser("weights")
    weights.add_argument("source", type=Path)
    weights.add_argument("target", type=Path)
    weights.add_argument("--seed", type=int, default=0)
    boards = parts.add_parser("boards")
    boards.add_argument("folder", type=Path)
    boards.add_argument("--train", type=int, default=400)
    boards.add_argument("--seed", type=int, default=0)
    told = parts.add_parser("losses")
    told.add_argument("runs", type=Path, nargs="+")
    told.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.part == "weights":
        new_head(arguments.source, arguments.target, arguments.seed)
    elif arguments.part == "boards":
        small_boards(arguments.folder, arguments.train, arguments.seed)
    else:
        losses(arguments.runs, arguments.epochs)


if __name__ == "__main__":
    main()
