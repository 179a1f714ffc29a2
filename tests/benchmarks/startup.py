"""How long `recipebox --help` and `recipebox plan pcb-distill` take to answer, beside a bare Python.

    python tests/benchmarks/startup.py [rounds]

Rounds are interleaved and run forth and back, since the machine is noisy. The last line is one JSON document.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from paired import finish, rounds

REPOSITORY = Path(__file__).resolve().parents[2]
BOX = [sys.executable, "-m", "recipebox.cli"]
COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "help": [*BOX, "--help"],
    "plan": [*BOX, "plan", "pcb-distill"],
}
TARGET_SECONDS = {"help": 0.3, "plan": 0.6}


def call(command: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    arms = {name: partial(call, command) for name, command in COMMANDS.items()}
    for arm in arms.values():
        arm()  # the first call compiles and fills the file cache
    seconds = rounds(arms, count)
    shown = {
        name: {"median": round(statistics.median(times), 3), "min": round(min(times), 3), "max": round(max(times), 3)}
        for name, times in seconds.items()
    }
    for name, figures in shown.items():
        target = f", target {TARGET_SECONDS[name]} s" if name in TARGET_SECONDS else ""
        print(f"{name}: median {figures['median']} s ({figures['min']} to {figures['max']}){target}")
    finish(benchmark="startup", seconds=shown, target_seconds=TARGET_SECONDS, rounds=count)


if __name__ == "__main__":
    main()
