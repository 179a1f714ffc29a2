"""What importing Ultralytics must leave alone, in a process of its own, as a user's is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os
from recipebox.recipe.lock import make_lock
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import make_plan
from recipebox.supplies import probe

plan = make_plan(load_recipe("pcb-baseline"), probe("cpu"), profile="smoke")
lock = lambda: make_lock(plan, data_sha256="0", weights_sha256=None)["cpu_threads"]
before = lock()
from recipebox.ultralytics_setup import import_ultralytics
import_ultralytics()
import torch
print(json.dumps([before, lock(), torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")]))
"""


@pytest.mark.parametrize("asked", [None, "1"])
def test_the_second_run_of_a_process_has_the_threads_and_the_lock_of_the_first(asked: str | None) -> None:
    """Ultralytics sets OMP_NUM_THREADS=1: a sweep's second lock was then one that no other process would find again."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    if asked is not None:
        environment["OMP_NUM_THREADS"] = asked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    before, after, threads, left = json.loads(done.stdout.splitlines()[-1])
    assert before == after
    assert left == asked
    if asked is not None:
        assert before == threads == 1
    elif len(os.sched_getaffinity(0)) > 1:
        assert threads > 1
