"""The engine's adapter where there is no GPU: what is refused before TensorRT is touched, and what is read back.

A module that behaves as TensorRT's documentation says stands in for it; test_tensorrt_parser.py has NVIDIA's own parser
and builder, test_tensorrt_bindings.py the real bindings' types.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recipebox.bench.cuda_backends import open_engine
from recipebox.errors import BadInput, CheckFailed, WeightsError
from recipebox.export.run import export_engine
from recipebox.export.tensorrt import api, engine
from recipebox.export.tensorrt.driver import Gpu, require_gpu
from recipebox.export.tensorrt.engine import engine_from_onnx, load_engine, timing_cache_path
from recipebox.export.tensorrt.precision import ReadBack, read_back, wanted_precisions
from recipebox.export.tensorrt.sidecar import sidecar_path
from recipebox.run_dir import RunDir

ORIN = Gpu("Orin", "8.7", "12.6")


@pytest.fixture(autouse=True)
def on_one_thread() -> None:
    """Nothing here computes."""


def small_onnx(path: Path) -> Path:
    """A file as `export_onnx` writes them: one convolution, two classes."""
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("images", [1, 3, 32, 32]), ("output0", [1, 6, 1024]))
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], "/conv"),
        helper.make_node("Reshape", ["c", "shape"], ["output0"], "flat"),
    ]
    weights = [
        numpy_helper.from_array(np.ones((6, 3, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.array([1, 6, 1024]), "shape"),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], weights),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    helper.set_model_props(model, {"names": "{0: 'a', 1: 'b'}", "precision": "fp32", "weights_sha256": "1" * 64})
    path.write_bytes(model.SerializeToString())
    return path


def layers(datatype: str, name: str = "/conv + PWN(/act)") -> str:
    return json.dumps({"Layers": [{"Name": name, "Inputs": [{"Name": "images", "Format/Datatype": datatype}]}]})


class Context:
    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        return stream != 13


def stand_in(version: str = "10.3.0", description: str = layers("Row major linear FP32"), refuses: str = "") -> Any:
    """A module with what the adapter uses, and a record of it in `.calls`."""
    calls: list[Any] = []
    shapes = {"images": (1, 3, 32, 32), "output0": (1, 6, 1024)}

    class Logger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

    class Config:
        profiling_verbosity = None
        cache = b""

        def clear_flag(self, flag: Any) -> None:
            calls.append(("clear", flag))

        def create_timing_cache(self, content: bytes) -> bytes:
            return content

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            calls.append(("timing", cache))
            self.cache = cache
            return cache != b"of another version"

        def get_timing_cache(self) -> Any:
            return SimpleNamespace(serialize=lambda: self.cache + b"+1")

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, flags: int) -> Any:
            calls.append(("network", flags))
            return SimpleNamespace(get_input=lambda index: SimpleNamespace(name="images", shape=(1, 3, 32, 32)))

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            calls.append(("verbosity", config.profiling_verbosity))
            if refuses == "build":
                self.log.log(Logger.ERROR, "no tactic")
                return None
            return b"a plan"

    class Parser:
        num_errors = 1

        def __init__(self, network: Any, log: Any) -> None: ...
        def parse(self, content: bytes) -> bool:
            return refuses != "parse"

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "Non-zero\nzero point")

    opened = SimpleNamespace(
        create_execution_context=Context,
        create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda format: description),
        get_tensor_name=lambda index: list(shapes)[index],
        get_tensor_shape=lambda name: shapes[name],
    )

    def runtime(log: Any) -> Any:
        calls.append(("runtime",))
        return SimpleNamespace(deserialize_cuda_engine=lambda content: None if refuses == "load" else opened)

    return SimpleNamespace(
        __version__=version,
        calls=calls,
        ILogger=type("ILogger", (Logger,), {"__init__": lambda self: None}),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        BuilderFlag=SimpleNamespace(TF32="tf32"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=runtime,
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`machine(module, gpu)`: from now on this machine has these."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def become(module: Any, gpu: Gpu = ORIN) -> Any:
        monkeypatch.setattr(engine, "require_gpu", lambda: gpu)
        monkeypatch.setattr(engine, "import_tensorrt", lambda: (module, gpu))
        return module

    return become


def test_without_a_driver_tensorrt_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def find_spec(self, name: str, *rest: Any) -> None:
            assert name != "tensorrt", "imported before the driver was asked"

    monkeypatch.setattr(sys, "meta_path", [Trap(), *sys.meta_path])
    monkeypatch.setattr(api, "require_gpu", lambda: require_gpu("libno-such-driver.so.1"))
    with pytest.raises(BadInput, match=r"no NVIDIA driver on this machine.*--format engine.*on the device"):
        api.import_tensorrt()


def test_a_torch_that_cannot_use_the_gpu_is_said_before_anything_is_built(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(stand_in())
    engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match=r"PyTorch \(.*\) cannot use the GPU.*recipebox doctor"):
        open_engine(tmp_path / "best.engine")
    monkeypatch.setattr(api, "import_tensorrt", lambda: (stand_in(), ORIN))
    monkeypatch.setattr(engine, "engine_from_onnx", lambda *rest, **options: pytest.fail("built"))
    nothing: Any = None
    with pytest.raises(BadInput, match=r"PyTorch \(.*\) cannot use the GPU"):
        export_engine(RunDir(tmp_path), nothing, nothing)


def test_a_module_for_another_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JetPack has one for the system's Python alone."""
    monkeypatch.setattr(api, "require_gpu", lambda: ORIN)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(api, "SYSTEM", tmp_path)
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    with pytest.raises(BadInput) as plain:
        api.import_tensorrt()
    assert f"this Python needs one tagged {here}" in str(plain.value) and "is for Python" not in str(plain.value)
    (tmp_path / "python3.10" / "dist-packages" / "tensorrt").mkdir(parents=True)
    with pytest.raises(BadInput, match=rf"{here}\. The one in .*tensorrt is for Python 3\.10.*--stronglyTyped"):
        api.import_tensorrt()


def test_a_driver_that_does_not_start_is_said(tmp_path: Path) -> None:
    import ctypes.util
    import subprocess

    source = "int cuInit(unsigned f){return %s;} int cuDeviceGetCount(int*n){*n=0;return 0;}"
    for code, words in (("999", "cuInit gives 999"), ("0", "sees no GPU")):
        library = tmp_path / f"lib{code}.so"
        made = (
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"],
                input=(source % code).encode(),
                check=False,
            )
            if ctypes.util.find_library("c")
            else None
        )
        if made is None or made.returncode:
            pytest.skip("no C compiler to write a driver with")
        with pytest.raises(BadInput, match=words):
            require_gpu(str(library))


@pytest.mark.parametrize(("version", "flags"), [("10.3.0", 2), ("10.16.1.11", 2), ("11.4.0.106", 0)])
def test_both_versions_build_a_network_with_the_files_types(
    machine: Any, tmp_path: Path, version: str, flags: int
) -> None:
    module = machine(stand_in(version))
    made = engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine", calibration_sha256="2" * 64)
    assert ("network", flags) in module.calls and ("clear", "tf32") in module.calls
    assert ("verbosity", "detailed") in module.calls
    assert (tmp_path / "best.engine").read_bytes() == b"a plan", "trtexec takes the plan as it is"
    document = json.loads(sidecar_path(tmp_path / "best.engine").read_text())
    assert (document["tensorrt"], document["gpu"], document["compute_capability"]) == (version, "Orin", "8.7")
    assert document["onnx_sha256"] == made.onnx_sha256 and document["calibration_sha256"] == "2" * 64
    assert document["names"] == ["a", "b"] and document["input_shape"] == [1, 3, 32, 32]
    assert document["precision_read_back"] == {"verified": 1, "of": 1}


def test_timings_are_kept_for_the_next_build(machine: Any, tmp_path: Path) -> None:
    module = machine(stand_in())
    file = small_onnx(tmp_path / "best.onnx")
    for _ in range(2):
        engine_from_onnx(file, tmp_path / "best.engine")
    assert [call for call in module.calls if call[0] == "timing"] == [("timing", b""), ("timing", b"+1")]
    cache = timing_cache_path("10.3.0", ORIN)
    assert cache.read_bytes() == b"+1+1" and cache.is_relative_to(tmp_path / "cache")
    cache.write_bytes(b"of another version")
    engine_from_onnx(file, tmp_path / "best.engine")
    assert cache.read_bytes() == b"+1"
    others = {timing_cache_path("11.4.0", ORIN), timing_cache_path("10.3.0", Gpu("Orin", "8.7", "13.0"))}
    assert cache not in others and len(others) == 2


def test_an_engine_runs_where_it_was_built(machine: Any, tmp_path: Path) -> None:
    machine(stand_in())
    engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    loaded = load_engine(tmp_path / "best.engine")
    assert (loaded.names, loaded.imgsz, loaded.precision) == (("a", "b"), 32, "fp32")
    assert (loaded.input_shape, loaded.output_shape) == ((1, 3, 32, 32), (1, 6, 1024))
    loaded.enqueue(1000, 2000, 7)
    assert loaded._context.addresses == {"images": 1000, "output0": 2000} and loaded._context.streams == [7]
    with pytest.raises(WeightsError, match="does not run"):
        loaded.enqueue(1000, 2000, 13)


@pytest.mark.parametrize(
    ("version", "gpu", "message"),
    [
        (
            "10.3.0",
            Gpu("Orin Nano", "8.7", "12.6"),
            r"was built on Orin \(compute capability 8.7\), and here is Orin Nano",
        ),
        ("10.3.0", Gpu("Orin", "8.9", "12.6"), "compute capability 8.9"),
        ("10.7.0", ORIN, "was built by TensorRT 10.3.0, and here is 10.7.0"),
    ],
)
def test_engines_of_other_machines_are_not_loaded(
    machine: Any, tmp_path: Path, version: str, gpu: Gpu, message: str
) -> None:
    machine(stand_in())
    engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    elsewhere = machine(stand_in(version), gpu)
    with pytest.raises(WeightsError, match=message) as refusal:
        load_engine(tmp_path / "best.engine")
    assert "--format engine" in str(refusal.value) and ("runtime",) not in elsewhere.calls


def test_spoiled_engines_are_named_before_the_driver_is_asked(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(stand_in())
    path = tmp_path / "best.engine"
    engine_from_onnx(small_onnx(tmp_path / "best.onnx"), path)
    monkeypatch.setattr(engine, "require_gpu", lambda: pytest.fail("asked"))
    good, beside = path.read_bytes(), sidecar_path(path).read_text()
    for content in (good[:-1], b"", b"\x89PNG"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not the engine that was built"):
            load_engine(path)
    path.write_bytes(good)
    document = json.loads(beside)
    for spoiled in (
        "",
        "[]",
        "{",
        '{"schema": 1}',
        json.dumps(document | {"names": "ab"}),
        json.dumps(document | {"more": 1}),
        json.dumps(document | {"imgsz": True}),
        json.dumps(document | {"imgsz": -32}),
        json.dumps(document | {"input_shape": []}),
        json.dumps(document | {"input_shape": [1, 3, 32, -1]}),
        json.dumps(document | {"output_shape": [1, 6]}),
        json.dumps(document | {"calibration_sha256": 3}),
        json.dumps(document | {"precision_read_back": {"verified": 1}}),
        json.dumps(document).replace("32", "NaN"),
        beside[:-9],
    ):
        sidecar_path(path).write_text(spoiled)
        with pytest.raises(WeightsError, match=r"best\.engine\.json: .*Build the engine again"):
            load_engine(path)
    sidecar_path(path).unlink()
    with pytest.raises(WeightsError, match="Without it nobody knows"):
        load_engine(path)
    with pytest.raises(WeightsError, match="builds it"):
        load_engine(tmp_path / "none.engine")


def test_shapes_that_are_not_the_engines_are_refused(machine: Any, tmp_path: Path) -> None:
    """Buffers are made by them, and the GPU writes where it is told to."""
    machine(stand_in())
    engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    beside = sidecar_path(tmp_path / "best.engine")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"output_shape": [1, 6, 4]}))
    with pytest.raises(WeightsError, match=r"output0 has shape \(1, 6, 1024\), its JSON file says \(1, 6, 4\)"):
        load_engine(tmp_path / "best.engine")


def test_an_engine_of_another_onnx_file_is_not_loaded(machine: Any, tmp_path: Path) -> None:
    machine(stand_in())
    file = small_onnx(tmp_path / "best.onnx")
    engine_from_onnx(file, tmp_path / "best.engine")
    file.write_bytes(file.read_bytes() + b"\xa2\x06\x00")
    with pytest.raises(WeightsError, match=r"built from another file than best\.onnx is now"):
        load_engine(tmp_path / "best.engine")


@pytest.mark.parametrize(
    ("refuses", "message"),
    [
        ("parse", "does not take this ONNX file: Non-zero zero point"),
        ("build", "cannot build this network: no tactic"),
        ("load", "cannot load what it built"),
    ],
)
def test_what_tensorrt_refuses_leaves_nothing(machine: Any, tmp_path: Path, refuses: str, message: str) -> None:
    machine(stand_in(refuses=refuses))
    with pytest.raises(WeightsError, match=message):
        engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    assert not (tmp_path / "best.engine").exists() and not sidecar_path(tmp_path / "best.engine").exists()


def test_an_engine_in_another_precision_is_not_kept(machine: Any, tmp_path: Path) -> None:
    machine(stand_in(description=layers("Channel major FP16 format")))
    with pytest.raises(
        CheckFailed, match=r"1 of 1 convolutions run in another precision.*/conv in fp16 instead of fp32"
    ):
        engine_from_onnx(small_onnx(tmp_path / "best.onnx"), tmp_path / "best.engine")
    assert not (tmp_path / "best.engine").exists()


def test_precision_is_read_from_the_description_of_the_layers() -> None:
    wanted = {"/m.1/Conv": "int8", "/m.1/Conv_1": "fp16"}
    assert read_back({"/conv": "fp32"}, layers("Float")) == ReadBack((), 1, 1)
    both = json.dumps({"Layers": [
        {"Name": "w + /q + /m.1/Conv", "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized Int8"}]},
        {"Name": "__myl_1", "Metadata": "[ONNX Layer: /m.1/Conv_1]", "Inputs": [{"Format/Datatype": "Half"}]},
        {"Name": "Reformatting CopyNode", "Inputs": []}, "text",
    ]})  # fmt: skip
    assert read_back(wanted, both) == ReadBack((), 2, 2)
    assert read_back(wanted | {"/m.2/Conv": "fp16"}, both) == ReadBack((), 2, 3), "one that is not described is counted"
    assert "1 of 2" in read_back(wanted | {"/m.1/Conv_1": "int8"}, both).problems[0]
    assert "only 0 are found" in read_back(wanted, layers("Int8", "/other")).problems[0]
    for text in ("", "[]", "{}", '{"Layers": 3}', '{"Layers": ["a name without details"]}'):
        assert read_back(wanted, text).problems


def test_a_copy_in_another_format_is_no_convolution() -> None:
    """It is named after the layer that it serves, and reads another type."""
    half = {"Name": "/m.1/Conv", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Half"}]}
    copies = [
        {"Name": "Reformatting CopyNode for Output Tensor 0 to /m.1/Conv", "Inputs": [{"Format/Datatype": "Float"}]},
        {"Name": "/m.1/Conv output", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Float"}]},
    ]
    assert read_back({"/m.1/Conv": "fp16"}, json.dumps({"Layers": [half, *copies]})) == ReadBack((), 1, 1)


def test_what_precision_is_wanted_comes_from_the_file(tmp_path: Path) -> None:
    assert wanted_precisions(onnx.load(small_onnx(tmp_path / "best.onnx"))) == {"/conv": "fp32"}
