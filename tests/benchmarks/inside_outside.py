"""A training step inside the devbox beside the same step outside of it, on one machine.

    python tests/benchmarks/inside_outside.py CONTAINER [--rounds 4] [--steps 12] [--profile cpu]

Forward, loss, backward and optimizer step of pcb-baseline, by a process of its own each time, in rounds of A B B A.
Run it in the checkout that the devbox mounts, with an environment of the same lock. `docker` is the engine's client.
The last line is one JSON document; the target is a ratio of 1.02.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from paired import finish, ratio

REPOSITORY = Path(__file__).resolve().parents[2]
STEP = """
import sys
from recipebox.progress import set_quiet
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan
from recipebox.supplies import probe
from recipebox.train.timing import timed
set_quiet(True)
plan = make_plan(load_recipe("pcb-baseline"), probe("cpu"), profile=sys.argv[1])
print(timed(plan, steps=int(sys.argv[2])).estimate.step_seconds)
"""


def step_seconds(prefix: list[str], python: str, profile: str, steps: int) -> float:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")} if not prefix else None
    done = subprocess.run(
        [*prefix, python, "-c", STEP, profile, str(steps)], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("container")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--profile", default="cpu")
    options = parser.parse_args()
    inside = ["docker", "exec", "--user", "dev", "--workdir", str(REPOSITORY), "--env", "HOME=/home/dev"]
    places = {"outside": ([], sys.executable), "inside": ([*inside, options.container], "python")}
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(options.rounds):
        taken: dict[str, list[float]] = {name: [] for name in places}
        for name in [*places, *reversed(places)]:
            taken[name].append(step_seconds(*places[name], options.profile, options.steps))
        for name, both in taken.items():
            seconds[name].append(statistics.mean(both))
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
