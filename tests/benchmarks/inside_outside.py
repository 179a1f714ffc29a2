"""A training step inside the devbox beside the same step outside of it, on one machine.

    python tests/benchmarks/inside_outside.py CONTAINER [--rounds 12] [--steps 5] [--profile cpu]

Forward, loss, backward and optimizer step of pcb-baseline: one process inside and one outside, which take turns, in
rounds of A B B A. Run it in the checkout that the devbox mounts, with an environment of the same lock. `docker` is the
engine's client. The last line is one JSON document; the target is a ratio of 1.02.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from paired import finish, ratio

REPOSITORY = Path(__file__).resolve().parents[2]
TURNS = """
import sys
from recipebox.progress import set_quiet
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan
from recipebox.supplies import probe
from recipebox.train.timing import timed
set_quiet(True)
plan = make_plan(load_recipe("pcb-baseline"), probe("cpu"), profile=sys.argv[1])
for line in sys.stdin:
    print(timed(plan, steps=int(line)).estimate.step_seconds, flush=True)
"""


def begun(prefix: list[str], python: str, profile: str) -> subprocess.Popen[str]:
    """A process that times as many steps as a line of its stdin says, and then waits for the next line."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")} if not prefix else None
    return subprocess.Popen(
        [*prefix, python, "-c", TURNS, profile], cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def step_seconds(process: subprocess.Popen[str], steps: int) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("container")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--profile", default="cpu")
    options = parser.parse_args()
    inside = [
        "docker",
        "exec",
        "--interactive",
        "--user",
        "dev",
        "--workdir",
        str(REPOSITORY),
        "--env",
        "HOME=/home/dev",
    ]
    outside = begun([], sys.executable, options.profile)
    box = begun([*inside, options.container], "python", options.profile)
    arms = {"outside": partial(step_seconds, outside), "inside": partial(step_seconds, box)}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    try:
        for arm in arms.values():
            arm(1)  # starts, imports, and finds its memory
        for _ in range(options.rounds):
            taken: dict[str, list[float]] = {name: [] for name in arms}
            for name in [*arms, *reversed(arms)]:
                taken[name].append(arms[name](options.steps))
            for name, both in taken.items():
                seconds[name].append(statistics.mean(both))
    finally:
        for process in (outside, box):
            process.communicate()
    finish(
        benchmark="inside_outside",
        **ratio(seconds["inside"], seconds["outside"]),
        step_seconds={name: round(statistics.median(each), 4) for name, each in seconds.items()},
        target=1.02,
        rounds=options.rounds,
        steps=options.steps,
        profile=options.profile,
    )


if __name__ == "__main__":
    main()
