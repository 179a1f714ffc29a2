"""check-data against the time Ultralytics needs to build its label cache on the same files, in pairs.

    python tests/benchmarks/check_data.py [--images 10000] [--side 160] [--suffix .jpg] [--rounds 3]
    python tests/benchmarks/check_data.py --dataset deeppcb [--images 10000] [--rounds 3]

Draws a set into a temporary folder, then runs in turn, forth and back in every round: Ultralytics' label cache of both
splits, the full check, and the check of labels only. With --dataset the images are those of a known set, copied, and
then turned and mirrored, with the labels as they are: asked is how long they take, not whether they fit. Peak memory
is that of a fresh process for a tenth of the images and for all. The last line is one JSON document with ratios to
Ultralytics, in seconds of the wall and of the CPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from paired import finish, ratio, rounds

NAMES = ("scratch", "dent", "stain")


def draw(root: Path, images: int, side: int, suffix: str) -> Path:
    """A set of distinct pictures with 1 to 9 boxes each, a tenth of them val."""
    source = np.random.default_rng(0)
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (root / kind / split).mkdir(parents=True)
    (root / "data.yaml").write_text(f"names: [{', '.join(NAMES)}]\ntrain: images/train\nval: images/val\n")
    for index in range(images):
        split = "train" if index % 10 else "val"
        blobs = source.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        picture = cv2.resize(blobs, (side, side), interpolation=cv2.INTER_CUBIC).astype(int)
        picture = np.clip(picture + source.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8)
        (root / f"images/{split}/{index:06d}{suffix}").write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
        boxes = [
            f"{source.integers(3)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
            for x, y, w, h in source.uniform((0.2, 0.2, 0.06, 0.06), (0.8, 0.8, 0.3, 0.3), (source.integers(1, 10), 4))
        ]
        (root / f"labels/{split}/{index:06d}.txt").write_text("".join(boxes))
    return root


def written(root: Path, images: int, dataset: str, suffix: str) -> Path:
    """Real pictures, each another one: the n-th time that the set comes round, all are turned or mirrored anew.

    Raises:
        SystemExit: the set has too few.
    """
    from recipebox.data.datasets import prepare

    real = prepare(dataset)
    pictures = [pair for split in (real.train, real.val, real.test) for pair in split]
    if images > 8 * len(pictures):
        raise SystemExit(f"{dataset} has {len(pictures)} images: --images {8 * len(pictures)} at most")
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (root / kind / split).mkdir(parents=True)
    (root / "data.yaml").write_text(f"names: [{', '.join(real.names)}]\ntrain: images/train\nval: images/val\n")
    for index in range(images):
        turn, at = divmod(index, len(pictures))
        path, boxes = pictures[at]
        split = "train" if index % 10 else "val"
        place = root / f"images/{split}/{index:06d}{suffix}"
        if turn == 0 and path.suffix == suffix:
            shutil.copyfile(path, place)
        else:
            picture = np.rot90(cv2.imread(str(path), cv2.IMREAD_COLOR), turn % 4)
            picture = np.ascontiguousarray(picture[:, ::-1] if turn >= 4 else picture)
            place.write_bytes(cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
        lines = [f"{int(row[0])} {row[1]:.6f} {row[2]:.6f} {row[3]:.6f} {row[4]:.6f}\n" for row in boxes]
        (root / f"labels/{split}/{index:06d}.txt").write_text("".join(lines))
    return root


def label_cache(root: Path) -> Callable[[], None]:
    """Ultralytics building its cache anew for both splits."""
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.data.dataset import YOLODataset

    names = yaml.safe_load((root / "data.yaml").read_text())["names"]
    description = {"names": dict(enumerate(names)), "nc": len(names), "channels": 3}

    def build() -> None:
        for split in ("train", "val"):
            (root / f"labels/{split}.cache").unlink(missing_ok=True)
            YOLODataset(img_path=str(root / "images" / split), data=description, task="detect", augment=False)

    return build


_PEAK = """
import re, sys
from recipebox.data.findings.check_set import check_set
check_set(sys.argv[1])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def peak_mib(root: Path) -> float:
    """Peak resident memory of a full check in a process of its own, MiB."""
    done = subprocess.run([sys.executable, "-c", _PEAK, str(root)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--suffix", default=".jpg")
    parser.add_argument("--dataset", help="a set known by name, in place of drawn images")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    from recipebox.data.findings.check_set import check_set
    from recipebox.progress import set_quiet

    set_quiet(True)
    with tempfile.TemporaryDirectory(prefix="check-data-") as folder:
        roots = Path(folder) / "all", Path(folder) / "tenth"
        for place, count in zip(roots, (given.images, given.images // 10), strict=True):
            if given.dataset:
                written(place, count, given.dataset, given.suffix)
            else:
                draw(place, count, given.side, given.suffix)
        root, tenth = roots
        arms: dict[str, Callable[[], None]] = {
            "ultralytics_cache": label_cache(root),
            "full_check": lambda: check_set(str(root)) and None,
            "labels_only": lambda: check_set(str(root), labels_only=True) and None,
        }
        for arm in arms.values():  # files in the page cache, modules imported: alike for all
            arm()
        results: dict[str, Any] = {}
        for name, clock in (("wall", time.perf_counter), ("cpu", time.process_time)):
            seconds = rounds(arms, given.rounds, clock)
            results[name] = {arm: round(statistics.median(each), 3) for arm, each in seconds.items()} | {
                f"{arm}_to_ultralytics": ratio(seconds[arm], seconds["ultralytics_cache"])
                for arm in ("full_check", "labels_only")
            }
            print(name, json.dumps(results[name]))
        peaks = {str(given.images // 10): peak_mib(tenth), str(given.images): peak_mib(root)}
        sizes = [path.stat().st_size for path in (root / "images").rglob(f"*{given.suffix}")]
    what = {"dataset": given.dataset} if given.dataset else {"side": given.side}
    kib = round(statistics.mean(sizes) / 1024, 1)
    finish(images=given.images, **what, suffix=given.suffix, kib_an_image=kib, peak_mib=peaks, **results)


if __name__ == "__main__":
    main()
