"""INT8 by NVIDIA's ModelOpt beside INT8 by `recipebox export`: same network, calibration images and evaluator.

    uv venv /tmp/modelopt && uv pip install --python /tmp/modelopt/bin/python 'nvidia-modelopt[onnx]'
    python tests/benchmarks/modelopt_precision.py RUN --python /tmp/modelopt/bin/python --out /tmp/int8

ModelOpt gets the folded float32 graph and the images as an array; it chooses what it quantises, but for the decode. The
rest is then made FP16 as in every exported file: the files differ in the quantisation alone. Each is measured on
val and test; the last line is one JSON document, with the differences' jackknife errors. Files stay in --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from recipebox.evaluate.detection import Measurement, measure
from recipebox.evaluate.detector import Detector
from recipebox.evaluate.run import trained_sha256
from recipebox.export.calibration import CalibrationImages, calibration_images
from recipebox.export.detector import OnnxDetector
from recipebox.export.graph import decode_nodes
from recipebox.export.half import halved
from recipebox.export.onnx import Network
from recipebox.export.quantize import activation_clips
from recipebox.export.sensitivity import drop_noise
from recipebox.export.variant import Variant
from recipebox.run_dir import find_run
from recipebox.stages import read_plan
from recipebox.supplies import Supplies

INT8 = Variant("int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--python", required=True, type=Path, help="of the environment that has ModelOpt")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--methods", default="max,entropy")
    parser.add_argument("--splits", default="val,test")
    options = parser.parse_args()
    run = find_run(options.run)
    settings = read_plan(run).settings
    data = Supplies().detection_set(settings)
    options.out.mkdir(parents=True, exist_ok=True)
    images = calibration_images(data, settings.export.calibration, settings.train.imgsz)
    network = Network(run.best, settings.train.imgsz, sha256=trained_sha256(run), variant=INT8)
    files = {"fp32": network.file(Variant()), "recipebox": network.file(INT8, activation_clips(network.model, images))}
    for method in options.methods.split(","):
        files[f"modelopt {method}"] = by_modelopt(network, images, method, options.python, options.out)
    document: dict[str, Any] = {"run": str(run.root), "calibration": images.to_json(), "files": {}}
    for split in options.splits.split(","):
        measured: dict[str, Measurement] = {}
        for name, content in files.items():
            path = options.out / f"{name.replace(' ', '-')}.onnx"
            path.write_bytes(content)
            detector: Detector = OnnxDetector(path)
            measured[name] = measure(detector, data.split(split), names=data.names, progress=f"{name} on {split}")
            entry = document["files"].setdefault(name, {"sha256": hashlib.sha256(content).hexdigest()[:12]})
            entry[split] = about(measured[name], measured["fp32"], measured.get("recipebox"))
            print(f"{split:5} {name:18} {json.dumps(entry[split])}", file=sys.stderr, flush=True)
    print(json.dumps(document))


def about(measured: Measurement, fp32: Measurement, ours: Measurement | None) -> dict[str, Any]:
    """mAP, what is lost from FP32, and the difference from recipebox's own file, each with its error."""
    keys = ("mAP50", "mAP50-95")
    entry: dict[str, Any] = {key: round(measured.summary(0.25)[key], 4) for key in keys}
    entry["sizes"] = {one["name"]: round(one["mAP50-95"], 4) for one in measured.per_size() if one["instances"]}
    for name, other in (("from fp32", fp32), ("from recipebox", ours)):
        if other is not None and other is not measured:
            change = (measured.map50_95 or 0.0) - (other.map50_95 or 0.0)
            entry[name] = [round(change, 4), round(drop_noise(other, measured), 4)]
    return entry


def by_modelopt(network: Network, images: CalibrationImages, method: str, python: Path, out: Path) -> bytes:
    """The network quantised by ModelOpt, the rest FP16, and described as an exported file is."""
    source, made = out / "folded.onnx", out / f"modelopt-{method}-fp32.onnx"
    onnx.save(network.model, source)
    np.save(out / "calibration.npy", np.concatenate(list(images.batches(1))))
    decode = decode_nodes(network.model)
    (out / "decode.json").write_text(json.dumps(decode), encoding="utf-8")
    script = Path(__file__).with_name("modelopt_quantize.py")
    command = [python, script, source, made, out / "calibration.npy", method, out / "decode.json"]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    print(f"modelopt {method}: {done.stdout.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
    return network.described(halved(onnx.load(made), full=decode).SerializeToString(), INT8)


if __name__ == "__main__":
    main()
