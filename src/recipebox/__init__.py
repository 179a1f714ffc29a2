"""recipebox: reproducible recipes, proof, export and bench for small YOLO detectors."""

__version__ = "0.1.0"
