"""check-data against the time Ultralytics needs to build its label cache on the same files, in pairs.

    python tests/benchmarks/check_data.py [--images 10000] [--side 160] [--suffix .jpg] [--rounds 3]

Draws a set into a temporary folder, then runs in turn, forth and back in every round: Ultralytics' label cache of both
splits, the full check, and the check of labels only. Peak memory is that of a fresh process for a tenth of the images
and for all. The last line is one JSON document with ratios to Ultralytics, in seconds of the wall and of the CPU.
"""

from __future__ import annotations

import argparse
import json
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


def label_cache(root: Path) -> Callable[[], None]:
    """Ultralytics building its cache anew for both splits."""
    from recipebox.ultralytics_setup import import_ultralytics

    import_ultralytics()
    from ultralytics.data.dataset import YOLODataset

    description = {"names": dict(enumerate(NAMES)), "nc": len(NAMES), "channels": 3}

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
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    from recipebox.data.findings.check_set import check_set
    from recipebox.progress import set_quiet

    set_quiet(True)
    with tempfile.TemporaryDirectory(prefix="check-data-") as folder:
        root = draw(Path(folder) / "all", given.images, given.side, given.suffix)
        tenth = draw(Path(folder) / "tenth", given.images // 10, given.side, given.suffix)
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
    finish(images=given.images, side=given.side, suffix=given.suffix, peak_mib=peaks, **results)


if __name__ == "__main__":
    main()
