"""The one place that knows how TensorRT 10 and 11 differ; everything else asks here.

    10.x    networks are weakly typed unless created otherwise; precision flags, calibrators: not used
    11.x    networks are always strongly typed; the flags are gone; the flag that asks for it is kept and deprecated

Precision lives in the ONNX file, so both build the same network from the same file. The functions take the module, so
that TensorRT-RTX, whose parser and builder run without a GPU, is put through the same code in the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recipebox.errors import BadInput, WeightsError
from recipebox.export.tensorrt.driver import Gpu, require_gpu

if TYPE_CHECKING:
    import tensorrt as trt

VERSIONS = (10, 11)
SYSTEM = Path("/usr/lib")
"""Where Debian's packages of Python modules lie, by Python."""
OPTIMAL, MOST = 4, 16
"""Images of an engine for any number of them: what it is fastest for, and the most it takes."""


def import_tensorrt() -> tuple[Any, Gpu]:
    """The module and the GPU; the driver is asked first.

    Raises:
        BadInput: no driver, no TensorRT, or one of another version.
    """
    gpu = require_gpu()
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise BadInput(
            f"TensorRT cannot be imported ({error}); this Python needs one tagged {_tag()}. {_of_the_system()}"
            "Elsewhere than on a Jetson `pip install tensorrt-cu12` or tensorrt-cu13, as the driver's CUDA is. On a "
            "Jetson it comes with JetPack (package python3-libnvinfer) for the system's Python alone; where that is "
            "another, build the engine with trtexec (--onnx=FILE --stronglyTyped --noTF32 --saveEngine=FILE), which "
            "recipebox then neither measures nor loads."
        ) from None
    module: Any = tensorrt
    if _major(module) not in VERSIONS:
        raise BadInput(f"TensorRT {module.__version__}: recipebox knows 10 and 11. Install one of those.")
    return module, gpu


def _tag() -> str:
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def _of_the_system() -> str:
    """What the system's packages brought for another Python; empty where there is none."""
    found = next(iter(sorted(SYSTEM.glob("python3.*/dist-packages/tensorrt"))), None)
    if found is None:
        return ""
    return f"The one in {found} is for Python {found.parents[1].name.removeprefix('python')}. "


def _major(trt: Any) -> int:
    return int(str(trt.__version__).split(".")[0])


def log_of(trt: Any) -> Any:
    """A logger that keeps errors and warnings in `.lines`, last ones last, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.lines = [*self.lines[-50:], message]

    return Log()


def new_network(trt_module: ModuleType, builder: trt.Builder) -> trt.INetworkDefinition:
    """An empty network whose types are the graph's."""
    module: Any = trt_module
    flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if _major(module) == 10 else 0
    return builder.create_network(flags)


def parse(trt_module: ModuleType, network: trt.INetworkDefinition, content: bytes, log: Any) -> None:
    """Fill a network from an ONNX file.

    Raises:
        WeightsError: the parser refuses the file; the message has its words.
    """
    module: Any = trt_module
    parser: trt.OnnxParser = module.OnnxParser(network, log)
    if parser.parse(content):
        return
    words = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.lines[-1:]
    raise WeightsError(f"TensorRT {module.__version__} does not take this ONNX file: {_short(words)}")


def configured(
    trt_module: ModuleType, builder: trt.Builder, network: trt.INetworkDefinition, timing: bytes | None
) -> trt.IBuilderConfig:
    """How to build: nothing rounded behind our back (TF32), all layers described, timings of earlier builds.

    Args:
        timing: a timing cache; None builds without one.
    """
    module: Any = trt_module
    config = builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    if timing is not None:
        cache = config.create_timing_cache(timing)
        # One of another version or GPU is not taken; then an empty one is begun.
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    images = network.get_input(0)
    sides: list[int] = [images.shape[index] for index in range(len(images.shape))]
    if sides[0] == -1:
        profile = builder.create_optimization_profile()
        least, optimal, most = (module.Dims([count, *sides[1:]]) for count in (1, OPTIMAL, MOST))
        profile.set_shape(images.name, least, optimal, most)
        config.add_optimization_profile(profile)
    return config


def built(trt_module: ModuleType, content: bytes, *, timing: bytes | None = None) -> tuple[bytes, bytes | None]:
    """An engine from an ONNX file.

    Returns:
        The plan, as trtexec --loadEngine takes it, and the timing cache with what this build added.

    Raises:
        WeightsError: the parser or the builder refuses the network; the message has their words.
    """
    module: Any = trt_module
    log = log_of(module)
    builder: trt.Builder = module.Builder(log)
    network = new_network(trt_module, builder)
    parse(trt_module, network, content, log)
    config = configured(trt_module, builder, network, timing)
    plan: Any = builder.build_serialized_network(network, config)  # bytes() reads it
    if plan is None:
        raise WeightsError(f"TensorRT {module.__version__} cannot build this network: {_short(log.lines[-2:])}")
    if timing is None:
        return bytes(plan), None
    timings: Any = config.get_timing_cache().serialize()
    return bytes(plan), bytes(timings)


def layers_text(trt_module: ModuleType, engine: trt.ICudaEngine) -> str:
    """The engine's own description of its layers, as JSON."""
    module: Any = trt_module
    text: str = engine.create_engine_inspector().get_engine_information(module.LayerInformationFormat.JSON)
    return text


def _short(words: list[str]) -> str:
    text = "; ".join(" ".join(one.split()) for one in words) or "it gives no reason"
    return text if len(text) <= 600 else text[:600] + "…"
