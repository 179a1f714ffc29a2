"""How many synthetic boards one core draws and encodes in a second. The last line on stdout is one JSON document.

    PYTHONPATH=src python tests/benchmarks/synthetic_speed.py [boards]

Both wall and processor time are told: on a machine that does other work, too, only the second one means something.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import cv2

from recipebox.data.synthetic_pcb import encode


def main(boards: int) -> None:
    cv2.setNumThreads(1)
    for index in range(10):
        encode(1, index, "val")
    wall, cpu = [], []
    for index in range(boards):
        started, started_cpu = time.perf_counter(), time.process_time()
        encode(0, index, "train")
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    print(
        json.dumps(
            {
                "benchmark": "synthetic_speed",
                "boards": boards,
                "boards_per_s": round(boards / sum(wall), 1),
                "boards_per_cpu_s": round(boards / sum(cpu), 1),
                "ms_p50": round(statistics.median(wall) * 1000, 2),
                "ms_p95": round(sorted(wall)[int(0.95 * (boards - 1))] * 1000, 2),
                "target_per_s": 30,
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
