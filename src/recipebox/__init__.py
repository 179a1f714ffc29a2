"""recipebox: reproducible recipes, proof, export and bench for small YOLO detectors."""

import os

__version__ = "0.1.0"

# OpenMP's threads wait for each other awake, then asleep. Awake for long, a training beside others on its cores took up
# to 18 times as long; asleep at once, 1.5 times as long where there are none (tests/benchmarks/shared_cores.py). So:
# awake for some tenths of a millisecond. Read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # other OpenMPs than GCC's know only this one
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
