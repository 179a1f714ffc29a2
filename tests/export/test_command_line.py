"""`recipebox export`, `bundle` and the bench of engines as they are called, without a driver and with spoiled files.

Where TensorRT is imported without a driver it can end the process, so here it does: a module that aborts stands in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recipebox.bench_job import bench_job, compare_job
from recipebox.errors import BadInput, RecipeboxError, WeightsError
from recipebox.export.run import export
from recipebox.export.tensorrt.sidecar import Sidecar
from recipebox.run_dir import RunDir, write_json
from recipebox.shipping import Wish, bundle_job, export_job

if TYPE_CHECKING:
    from conftest import CommandLine

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def without_driver(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which TensorRT must not be imported."""
    if Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists():
        pytest.skip("there is a driver here")
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "tensorrt.py").write_text("import os\nos.abort()\n")
    return {"PYTHONPATH": f"{trap}:{SOURCE}"}


def content_of(run: RunDir) -> dict[str, bytes]:
    return {str(path.relative_to(run.root)): path.read_bytes() for path in run.root.rglob("*") if path.is_file()}


def engine_in(run: RunDir, content: bytes = b"a plan", **changes: Any) -> Path:
    """An engine as one was built elsewhere, with what stands beside it."""
    path = run.root / "weights" / "best.engine"
    path.write_bytes(content)
    exported = run.read_result("export")
    sidecar = Sidecar(
        engine_sha256=hashlib.sha256(content).hexdigest(),
        onnx_sha256=exported["sha256"],
        weights_sha256=exported["weights_sha256"],
        tensorrt="10.3.0",
        cuda="12.6",
        gpu="Orin",
        compute_capability="8.7",
        precision="fp32",
        imgsz=64,
        names=("open", "short", "pin hole's"),
        input_shape=(1, 3, 64, 64),
        output_shape=(1, 7, 84),
    )
    sidecar.write(path)
    beside = path.with_name("best.engine.json")
    write_json(beside, json.loads(beside.read_text()) | changes)
    document = exported | {"file": "weights/best.engine", "sha256": sidecar.engine_sha256, "format": "engine"}
    write_json(run.root / "export-engine.json", document)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_without_a_driver_is_one_message(
    shipped: RunDir, command_line: CommandLine, without_driver: dict[str, str], precision: str
) -> None:
    before = content_of(shipped)
    arguments = ("export", str(shipped.root), "--format", "engine", "--precision", precision)
    done = command_line(*arguments, "--json", **without_driver)
    assert done.returncode == 2, (done.returncode, done.stderr)
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "BadInput" and error["exit_code"] == 2
    assert "no NVIDIA driver on this machine" in error["message"] and "on the device" in error["message"]
    assert done.stderr.splitlines() == [f"error: {error['message']}"]
    assert content_of(shipped) == before


def test_an_engine_of_another_machine_is_not_timed_without_a_driver(
    shipped: RunDir, command_line: CommandLine, without_driver: dict[str, str]
) -> None:
    engine_in(shipped)
    before = content_of(shipped)
    done = command_line("bench", str(shipped.root), "--backend", "tensorrt", "--json", **without_driver)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "no NVIDIA driver" in json.loads(done.stdout)["error"]["message"]
    assert content_of(shipped) == before


def test_spoiled_engines_are_named_by_every_verb(shipped: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a driver is asked for, let alone TensorRT."""
    monkeypatch.setattr("recipebox.export.tensorrt.engine.require_gpu", lambda: pytest.fail("the driver was asked"))
    run, path = str(shipped.root), shipped.root / "weights" / "best.engine"
    beside = path.with_name("best.engine.json")

    def cut() -> None:
        path.write_bytes(engine_in(shipped).read_bytes()[:-2])

    def spoilt(text: str) -> Callable[[], None]:
        def write() -> None:
            engine_in(shipped)
            beside.write_text(text)

        return write

    def lonely() -> None:
        engine_in(shipped)
        beside.unlink()

    changed: list[dict[str, Any]] = [
        *({key: value} for key in ("gpu", "imgsz", "names", "precision") for value in (None, 3.5, {})),
        {"names": []}, {"names": [1, 2]}, {"imgsz": -64}, {"input_shape": [1, 3]}, {"output_shape": [1, 7, "84"]},
        {"schema": 2}, {"engine_sha256": "0" * 64}, {"unknown": 1},
    ]  # fmt: skip
    cases: list[tuple[Callable[[], object], str]] = [
        (cut, "not the engine that was built"),
        (lonely, r"best\.engine\.json: is not there"),
        *((spoilt(text), r"best\.engine\.json: not ") for text in ("", "{", "[]", "null", '{"imgsz": NaN}', "\0\1")),
        *((lambda change=change: engine_in(shipped, **change), r"best\.engine") for change in changed),
    ]
    for prepare, words in cases:
        prepare()
        for call in (
            lambda: bench_job(run, backend="tensorrt", threads=1),
            lambda: compare_job((run, str(path)), dataset=None, backends=(None, None), threads=1, pairs=2),
        ):
            with pytest.raises(WeightsError, match=words) as refusal:
                call()
            assert "\n" not in str(refusal.value) and "--format engine" in str(refusal.value)
    assert not list(shipped.root.glob("bench*.json"))


def spoil_weights(kind: str, good: bytes) -> bytes:
    """best.pt with one thing wrong."""
    if kind in {"empty", "truncated", "garbage"}:
        return {"empty": b"", "truncated": good[: len(good) // 2], "garbage": bytes(range(256)) * 40}[kind]
    import io

    import torch

    checkpoint = torch.load(io.BytesIO(good), weights_only=False)
    if kind == "NaN":
        next(iter(checkpoint["ema"].parameters())).data[0] = float("nan")
    else:
        checkpoint = {"ema": None, "model": torch.nn.Linear(2, 2)}
    out = io.BytesIO()
    torch.save(checkpoint, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "not a PyTorch checkpoint"),
        ("truncated", "not a PyTorch checkpoint"),
        ("garbage", "not a PyTorch checkpoint"),
        ("NaN", "NaN or infinity"),
        ("no detector", "holds no detection model"),
    ],
)
def test_spoiled_weights_are_not_exported(shipped: RunDir, kind: str, words: str) -> None:
    """First as another file than was recorded, which is not even opened; then where the records were made to fit."""
    data = {"name": "data", "sha256": data_sha256(shipped)}
    write_json(shipped.result("evaluate"), shipped.read_result("evaluate") | {"dataset": data})
    good = content_of(shipped)
    content = spoil_weights(kind, shipped.best.read_bytes())
    shipped.best.write_bytes(content)
    with pytest.raises(WeightsError, match="not the file that was recorded"):
        export_job(str(shipped.root), Wish())
    sha256 = hashlib.sha256(content).hexdigest()
    write_json(shipped.result("train"), {"schema": 1, "weights": {"best": {"file": "best.pt", "sha256": sha256}}})
    write_json(shipped.result("evaluate"), shipped.read_result("evaluate") | {"weights_sha256": sha256})
    with pytest.raises(WeightsError, match=words) as refusal:
        export_job(str(shipped.root), Wish(precision="fp16"))
    assert "\n" not in str(refusal.value)
    after = content_of(shipped)
    assert set(after) == set(good) and after["weights/best.onnx"] == good["weights/best.onnx"]


def data_sha256(run: RunDir) -> str:
    from recipebox.stages import read_plan
    from recipebox.supplies import Supplies

    return Supplies().detection_set(read_plan(run).settings).sha256


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(format="coreml"), r"--format coreml: .*yolo export model=.* format=coreml imgsz=64"),
        (Wish(format=""), "recipebox writes onnx and engine"),
        (Wish(precision="int4"), "there are fp32, fp16, int8"),
        (Wish(batch="0"), "--batch 0"),
        (Wish(batch="-1"), "--batch -1"),
        (Wish(batch="9" * 40), "--batch 9"),
        (Wish(batch="many"), "--batch many"),
        (Wish(keep=("/a/Conv",)), "--keep"),
    ],
)
def test_wishes_that_cannot_be_had_are_said_before_anything_is_done(shipped: RunDir, wish: Wish, words: str) -> None:
    before = content_of(shipped)
    with pytest.raises(BadInput, match=words):
        export_job(str(shipped.root), wish)
    assert content_of(shipped) == before


def test_bundles_of_spoiled_runs_are_not_begun(shipped: RunDir, tmp_path: Path) -> None:
    out, good = tmp_path / "out", content_of(shipped)

    def with_file(name: str, content: bytes) -> None:
        (shipped.root / name).write_bytes(content)

    onnx = good["weights/best.onnx"]
    for name, content, words in (
        *(("export.json", text, r"export\.json: ") for text in (b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b"{}")),
        *(("evaluate.json", text, r"evaluate\.json: ") for text in (b"", b"{", b"[]", b"{}")),
        ("weights/best.onnx", b"", "not an ONNX file"),
        ("weights/best.onnx", onnx[: len(onnx) // 2], "not an ONNX file"),
        ("weights/best.onnx", onnx + b"\xa2\x06\x00", "not the file that was measured"),
        ("plan.yaml", b"[", r"plan\.yaml"),
    ):
        with_file(name, content)
        with pytest.raises(RecipeboxError, match=words) as refusal:
            bundle_job(str(shipped.root), precision=None, out=out)
        assert refusal.value.exit_code == 2 and not out.exists(), name
        with_file(name, good[name])
    made = bundle_job(str(shipped.root), precision=None, out=out)
    assert made.document["folder"] == str(out)
    with pytest.raises(BadInput, match="is there already"):
        bundle_job(str(shipped.root), precision=None, out=out)
    assert not list(tmp_path.glob(".*.part"))


def test_the_gate_and_the_calibration_decode_each_image_once(
    make: Any, run: RunDir, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipebox.data.letterbox import read_image
    from recipebox.evaluate import detection
    from recipebox.export import calibration
    from recipebox.export.variant import Variant

    seen: dict[str, list[Path]] = {"gate": [], "calibration": []}

    def counting(who: str) -> Callable[[Path], Any]:
        def call(path: Path) -> Any:
            seen[who].append(path)
            return read_image(path)

        return call

    monkeypatch.setattr(detection, "read_image", counting("gate"))
    monkeypatch.setattr(calibration, "read_image", counting("calibration"))
    settings = make.tiny_settings(export={"max_map_drop": 1.0, "calibration": {"images": 4}})
    try:
        export(run, settings, tiny.data, variant=Variant("int8"))
    except RecipeboxError as error:
        assert error.exit_code == 3  # so small a detector may lose all it has; it was measured nevertheless
    assert sorted(seen["gate"]) == sorted(tiny.data.test.images), "parity and mAP share what was decoded"
    assert len(seen["calibration"]) == len(set(seen["calibration"])) == 4
