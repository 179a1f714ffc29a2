"""A training step beside other work on the same cores, with OpenMP's threads waiting awake or asleep.

    python tests/benchmarks/shared_cores.py [--rounds 3] [--steps 6]

Each round times forward and backward of YOLOv8n (batch 8, 256 px, on all cores) in a fresh process for both policies in
turn, first alone, then beside one process that is always busy. The last line is one JSON document, with seconds a step
and the ratio asleep to awake, median over rounds.
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


def seconds_a_step(policy: str, steps: int) -> float:
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
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
        times: dict[str, list[float]] = {"ACTIVE": [], "PASSIVE": []}
        try:
            for _ in range(arguments.rounds):
                for policy in times:
                    times[policy].append(seconds_a_step(policy, arguments.steps))
        finally:
            for process in busy:
                process.kill()
                process.wait()
        ratios = [asleep / awake for asleep, awake in zip(times["PASSIVE"], times["ACTIVE"], strict=True)]
        results[name] = {
            "awake_s": statistics.median(times["ACTIVE"]),
            "asleep_s": statistics.median(times["PASSIVE"]),
            "ratio": statistics.median(ratios),
            "ratios": ratios,
        }
        print(f"{name}: awake {results[name]['awake_s']:.3f} s, asleep {results[name]['asleep_s']:.3f} s a step")
    print(json.dumps({"cores": os.cpu_count(), "machine": platform.machine(), "rounds": arguments.rounds, **results}))


if __name__ == "__main__":
    main()
