"""Quantise an ONNX file with NVIDIA's ModelOpt. Runs in ModelOpt's own environment, started by modelopt_precision.py.

    python modelopt_quantize.py IN.onnx OUT.onnx CALIBRATION.npy max|entropy NAMES.json

NAMES.json lists the nodes that stay as they are. Nothing but ModelOpt is imported: it brings other versions of onnx and
onnxruntime than recipebox takes.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version

import numpy as np
from modelopt.onnx.quantization import quantize


def main(source: str, out: str, calibration: str, method: str, names: str) -> None:
    with open(names, encoding="utf-8") as file:
        left = [f"^{re.escape(name)}$" for name in json.load(file)]
    quantize(
        source,
        quantize_mode="int8",
        calibration_data={"images": np.load(calibration)},
        calibration_method=method,
        calibration_eps=["cpu"],
        nodes_to_exclude=left,
        high_precision_dtype="fp32",  # FP16 is made by recipebox, which knows the decode
        opset=19,
        output_path=out,
    )
    print(json.dumps({package: version(package) for package in ("nvidia-modelopt", "onnx", "onnxruntime-gpu")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
