"""TensorRT engines. Nothing here imports tensorrt before a driver was found: without one its runtime crashes."""

from recipebox.export.tensorrt.engine import load_engine

__all__ = ["load_engine"]
