"""recipebox: reproducible recipes, proof, export and bench for small YOLO detectors."""

import os

__version__ = "0.1.0"

# OpenMP's threads wait for each other awake. Where other work holds one of their cores that costs a training 5 to 18
# times its time (tests/benchmarks/shared_cores.py); asleep they lose next to nothing. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
