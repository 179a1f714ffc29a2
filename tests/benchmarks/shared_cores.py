"""A training step alone and beside other work on the same cores, by how OpenMP's threads wait for each other.

    python tests/benchmarks/shared_cores.py [--rounds 3] [--steps 6]

Each round times forward and backward of YOLOv8n (batch 8, 256 px, on all cores) in a fresh process for every way of
waiting in turn, first alone, then beside one process that is always busy. The last line is one JSON document: seconds a
step and the ratio to waiting awake, medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

_STEP = """
import sys, time
import torch
from recipebox.ultralytics_setup import import_ultralytics
import_ultralytics()
from ultralytics.nn.tasks import DetectionModel

torch.manual_seed(0)
model, images = DetectionModel("yolov8n.yaml", nc=6, verbose=False).train(), torch.rand(8, 3, 256, 256)

def step():
    predictions = model(images)
    sum(predictions[key].square().mean() for key in ("boxes", "scores")).backward()
    model.zero_grad()

step()
began, steps = time.perf_counter(), int(sys.argv[1])
for _ in range(steps):
    step()
print((time.perf_counter() - began) / steps)
"""


WAYS = {
    "awake": {"OMP_WAIT_POLICY": "ACTIVE"},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "as recipebox sets it": {},
}


def seconds_a_step(way: str, steps: int) -> float:
    unset = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = unset | WAYS[way]
    done = subprocess.run(
        [sys.executable, "-c", _STEP, str(steps)], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    for name, neighbours in (("alone", 0), ("beside one busy process", 1)):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        try:
            for _ in range(arguments.rounds):
                for way in WAYS:
                    times[way].append(seconds_a_step(way, arguments.steps))
        finally:
            for process in busy:
                process.kill()
                process.wait()
        results[name] = {}
        for way, seconds in times.items():
            ratios = [mine / awake for mine, awake in zip(seconds, times["awake"], strict=True)]
            median = {"s": statistics.median(seconds), "ratio": statistics.median(ratios)}
            results[name][way] = {**median, "seconds": seconds}
            print(f"{name}, {way}: {median['s']:.3f} s a step, {median['ratio']:.2f} of awake")
    print(json.dumps({"cores": os.cpu_count(), "machine": platform.machine(), "rounds": arguments.rounds, **results}))


if __name__ == "__main__":
    main()
