"""A run folder as the stages leave it, with numbers that look like a short DeepPCB run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.recipe.estimate import Estimate
from recipebox.recipe.plan_record import Change, Plan, plan_to_yaml
from recipebox.recipe.schema import Settings
from recipebox.run_dir import RunDir

NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
INSTANCES = (659, 478, 586, 483, 464, 470)
DATA_SHA = hashlib.sha256(b"deeppcb").hexdigest()
ONNX = b"an onnx file, as far as the report can tell"


def settings(**techniques: Any) -> Settings:
    return Settings.model_validate(
        {
            "data": {"dataset": "deeppcb", "fallback": "pcb-synthetic"},
            "model": {"weights": "yolov8n.pt", "fallback": "scratch"},
            "train": {"epochs": 12, "imgsz": 320, "batch": 16, "nbs": 16, "optimizer": "SGD", "lr0": 0.01, "seed": 3},
            "techniques": techniques,
            "evaluate": {"compare": ["pcb-baseline"]},
        }
    )


def plan(name: str, *, fallbacks: tuple[str, ...] = (), teachers: tuple[Plan, ...] = (), **changed: Any) -> Plan:
    techniques: dict[str, Any] = {"ema": {"decay": 0.9999, "tau": 100}}
    if teachers:
        techniques["distillation"] = {
            "teachers": [{"recipe": "pcb-teacher"}],
            "logits": {"weight": 1.0, "weight_end": 0.3},
            "box": {"weight": 0.5},
        }
    values: dict[str, Any] = {
        "name": name,
        "source": f"recipes/{name}.yaml",
        "profile": "cpu",
        "profile_reason": "no GPU on this machine",
        "pending": (),
        "device": "cpu",
        "settings": settings(**techniques),
        "changes": (
            Change("train.imgsz", 640, 320, "profile cpu"),
            Change("train.epochs", 100, 12, "profile cpu"),
            Change("train.seed", 0, 3, "--set"),
        ),
        "fallbacks": fallbacks,
        "warnings": ("the EMA ramp (tau 100) is short: decay reaches 0.9949 at the end",),
        "teachers": teachers,
        "estimate": Estimate(700, 44, 528, 0.9949, 300_000_000, 0, None),
    }
    return Plan(**{**values, **changed})


def epoch_rows(epochs: int, *, distilled: bool, best: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    rows = []
    for epoch in range(1, epochs + 1):
        fade = math.exp(-epoch / 4)
        noise = 1 + 0.03 * rng.standard_normal(6)
        train = {
            "box_loss": (1.15 + 1.4 * fade) * noise[0],
            "cls_loss": (0.75 + 3.2 * fade) * noise[1],
            "dfl_loss": (0.95 + 0.5 * fade) * noise[2],
        }
        techniques = {"ema/decay": 0.9999 * (1 - math.exp(-44 * epoch / 100))}
        if distilled:
            train |= {"kd_logits_loss": (0.3 + 2.0 * fade) * noise[3], "kd_box_loss": (0.4 + 0.6 * fade) * noise[4]}
            train["kd_loss"] = train["kd_logits_loss"] + train["kd_box_loss"]
            techniques |= {"distillation/logits_weight": 1 - 0.7 * epoch / epochs, "distillation/box_weight": 0.5}
        val = {
            "mAP50": 0.9 * (1 - fade) * noise[5],
            "mAP50-95": 0.6 * (1 - fade) * noise[5],
            "precision": 0.86,
            "recall": 0.84,
            "box_loss": (1.2 + 1.3 * fade) * noise[2],
            "cls_loss": (0.8 + 2.5 * fade) * noise[3],
            "dfl_loss": (0.97 + 0.4 * fade) * noise[4],
        }
        row = {"epoch": epoch, "step": 44 * epoch, "optimizer_steps": 44 * epoch, "seconds": 86.1 + epoch / 7}
        row |= {"train": train, "val": val, "lr": 0.01 * (1 - 0.99 * epoch / epochs), "best": epoch == best}
        rows.append({**row, "techniques": techniques})
    return rows


def step_rows(epochs: int, *, distilled: bool) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 44 * epochs + 1):
        techniques = {"ema/decay": 0.9999 * (1 - math.exp(-step / 100))}
        if distilled:
            techniques |= {"distillation/logits_weight": 1 - 0.7 * step / 528, "distillation/box_weight": 0.5}
        rate = 0.01 * min(1.0, step / 44) * (1 - 0.99 * step / (44 * epochs))
        rows.append({"step": step, "epoch": 1 + (step - 1) // 44, "loss": {}, "lr": rate, "techniques": techniques})
    return rows


def evaluation(weights: str, level: float) -> dict[str, Any]:
    """`level` between 0 and 1: how good the detector is."""
    rng = np.random.default_rng(5)
    recall = np.linspace(0, 1, 101)
    per_class, curves = [], {}
    matrix = np.zeros((7, 7), dtype=int)
    for index, (name, instances) in enumerate(zip(NAMES, INSTANCES, strict=True)):
        strength = level * (0.99 - 0.035 * index)
        curve = np.clip(1 - (recall / (strength + 0.03)) ** 14 * 0.5, 0, 1) * (recall < strength + 0.04)
        escapes, confused = int(instances * (1 - strength) * 0.75), int(instances * (1 - strength) * 0.2)
        overkill = int(instances * (1 - strength) * 0.6)
        matrix[index, index] = instances - escapes - confused
        matrix[(index + 1) % 6, index], matrix[6, index], matrix[index, 6] = confused, escapes, overkill
        found = instances - escapes - confused
        per_class.append(
            {
                "name": name,
                "instances": instances,
                "AP50": float(curve.mean()),
                "AP50-95": float(curve.mean() * 0.68),
                "precision": float(curve[min(100, round(100 * found / instances))]),
                "recall": found / instances,
                "escapes": escapes,
                "escape_rate": escapes / instances,
                "confused": confused,
                "overkill": overkill,
            }
        )
        curves[name] = [float(value) for value in curve]
    mean = float(np.mean([entry["AP50"] for entry in per_class]))
    test = {"images": 500, "instances": sum(INSTANCES), "mAP50": mean, "mAP50-95": mean * 0.68}
    return {
        "schema": 1,
        "weights_sha256": weights,
        "precision": "fp32",
        "dataset": {"name": "deeppcb", "sha256": DATA_SHA},
        "imgsz": 320,
        "names": list(NAMES),
        "iou": 0.5,
        "val": {**test, "images": 300},
        "test": {**test, "precision": 0.871 * level, "recall": 0.905 * level},
        "threshold": 0.31 + float(rng.random()) * 0.01,
        "per_class": per_class,
        "boards": {"defective": 500, "escaped": 61, "good": 0, "overkilled": 0},
        "confusion": {"labels": [*NAMES, "background"], "matrix": matrix.tolist()},
        "pr_curves": {"recall": [float(value) for value in recall], "precision": curves},
    }


def export_result(weights: str, test: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "file": "weights/best.onnx",
        "sha256": hashlib.sha256(ONNX).hexdigest(),
        "bytes": 12_274_113,
        "format": "onnx",
        "precision": "fp32",
        "opset": 20,
        "weights_sha256": weights,
        "imgsz": 320,
        "parity": {"images": 32, "max_box_px": 0.00037, "max_score": 4.2e-6, "detections_compared": 211},
        "test": {**test, "mAP50-95": test["mAP50-95"] - 0.0002},
        "map_drop": 0.0002,
        "max_map_drop": 0.005,
        "passed": True,
    }


def bench_result() -> dict[str, Any]:
    def spread(p50: float) -> dict[str, float]:
        tail = {"p95": 1.2 * p50, "p99": 1.5 * p50, "max": 2.1 * p50}
        return {"p50": p50, **tail, "mean": 1.05 * p50, "jitter": 0.1 * p50}

    return {
        "schema": 2,
        "sha256": hashlib.sha256(ONNX).hexdigest(),
        "target": "local",
        "backend": "onnxruntime-cpu",
        "images": 100,
        "machine": {"cpu": "Example CPU 2.4 GHz", "cores": 2, "threads": 2, "load_before": 0.21, "others_cores": 0.03,
                    "disturbed": False, "os": "Linux", "versions": {"onnxruntime": "1.30.0"}},
        "latency_ms": {"preprocess": spread(1.31), "inference": spread(23.7), "postprocess": spread(0.42),
                       "end_to_end": spread(25.5)},
        "fps": 38.4,
        "fps_interval": [37.1, 39.6],
        "decode_ms": {"p50": 3.1},
        "warmup_runs": 10,
        "detections_per_image": 6.4,
    }  # fmt: skip


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(runs: Path, recipe: str, *, level: float = 0.9, teacher: RunDir | None = None, **planned: Any) -> RunDir:
    """A finished run folder with every file of docs/run-files.md that the report reads."""
    run = RunDir.create(recipe, runs)
    weights = hashlib.sha256(f"{recipe} {level}".encode()).hexdigest()
    teachers = (plan("pcb-teacher"),) if teacher is not None else ()
    run.plan.write_text(plan_to_yaml(plan(recipe, teachers=teachers, **planned)), encoding="utf-8")
    distilled = teacher is not None
    write_lines(run.epochs, epoch_rows(12, distilled=distilled, best=11))
    write_lines(run.steps, step_rows(12, distilled=distilled))
    evaluated = evaluation(weights, level)
    taught = []
    if teacher is not None:
        taught_by = json.loads(teacher.result("evaluate").read_text(encoding="utf-8"))["weights_sha256"]
        taught = [{"recipe": "pcb-teacher", "run": str(teacher.root), "weights_sha256": taught_by}]
    trained = {
        "schema": 1, "epochs": 12, "best_epoch": 11, "val": {"mAP50": 0.861, "mAP50-95": 0.581}, "seconds": 1041.2,
        "optimizer_steps": 528, "resumed": 0, "device": "cpu",
        "weights": {"best": {"file": "weights/best.pt", "sha256": weights}},
        "initial_weights": {"name": "yolov8n.pt", "sha256": "f59b3d833e2ff32e" * 4},
        "teachers": taught,
    }  # fmt: skip
    exported = export_result(weights, evaluated["test"])
    stages = {"train": trained, "evaluate": evaluated, "export": exported, "bench": bench_result()}
    for stage, document in stages.items():
        (run.root / f"{stage}.json").write_text(json.dumps(document), encoding="utf-8")
    run.onnx.write_bytes(ONNX)
    lock = {
        "recipe_sha256": hashlib.sha256(b"recipe").hexdigest(),
        "data_sha256": DATA_SHA,
        "weights_sha256": "f59b3d833e2ff32e" * 4,
        "code": {"recipebox": "0.1.0", "sha256": hashlib.sha256(b"code").hexdigest()},
        "versions": {"python": "3.11.2", "torch": "2.14.1", "ultralytics": "8.4.190", "numpy": "2.4.6"},
    }
    run.lock.write_text(json.dumps(lock), encoding="utf-8")
    run.set_state("finished")
    return run


def draw_boards(folder: Path, count: int = 8) -> DetectionSet:
    """Boards with traces and six defects each: enough to draw on, not meant to train on."""
    import cv2

    rng = np.random.default_rng(11)
    images, boxes = [], []
    for number in range(count):
        board = np.zeros((640, 640), np.uint8)
        for row in range(40, 640, 60):
            cv2.line(board, (0, row), (640, row + int(rng.integers(-30, 30))), 255, int(rng.integers(10, 24)))
        for _ in range(14):
            cv2.circle(board, tuple(int(v) for v in rng.integers(20, 620, 2)), int(rng.integers(12, 22)), 255, -1)
        true = [[index, *rng.uniform(0.08, 0.92, 2), *rng.uniform(0.04, 0.09, 2)] for index in range(6)]
        path = folder / f"{number:08d}_test.png"
        cv2.imwrite(str(path), np.repeat(board[:, :, None], 3, axis=2))
        images.append(path)
        boxes.append(np.array(true, np.float32))
    split = Split(tuple(images), tuple(boxes))
    return DetectionSet("deeppcb", NAMES, split, split, split, DATA_SHA, ("drawn for a test",))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def teacher_run(runs: Path) -> RunDir:
    return write_run(runs, "pcb-teacher", level=0.96)


@pytest.fixture
def baseline_run(runs: Path) -> RunDir:
    return write_run(runs, "pcb-baseline", level=0.88)


@pytest.fixture
def run(runs: Path, teacher_run: RunDir) -> RunDir:
    return write_run(runs, "pcb-distill", level=0.92, teacher=teacher_run)


@pytest.fixture
def edit_result() -> Callable[..., None]:
    """edit_result(run, "bench", ("latency_ms", "inference", "p50"), value): None as value takes the key away."""

    def edit(run: RunDir, stage: Any, path: tuple[str, ...], value: Any) -> None:
        document = json.loads(run.result(stage).read_text(encoding="utf-8"))
        here = document
        for key in path[:-1]:
            here = here[key]
        if value is None:
            del here[path[-1]]
        else:
            here[path[-1]] = value
        run.result(stage).write_text(json.dumps(document), encoding="utf-8")

    return edit


@pytest.fixture
def boards(tmp_path: Path) -> DetectionSet:
    folder = tmp_path / "boards"
    folder.mkdir()
    return draw_boards(folder)


@pytest.fixture
def make_run(runs: Path) -> Callable[..., RunDir]:
    """make_run("pcb-distill", level=0.9, teacher=..., fallbacks=...)."""
    return lambda recipe, **planned: write_run(runs, recipe, **planned)
