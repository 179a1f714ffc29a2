"""The adapter's types against TensorRT's real bindings, 10 and 11.

The bindings' wheels are small; what they are linked to is not in the registry. So libraries that hold nothing but the
missing names stand in, mypy's stubgen writes down what the module says of itself, and mypy holds the adapter to it:

    pip install --no-deps --target /tmp/trt10 'tensorrt-cu12-bindings<11'
    pip install --no-deps --target /tmp/trt11 'tensorrt-cu13-bindings>=11'
    RECIPEBOX_TENSORRT_BINDINGS=/tmp/trt10:/tmp/trt11 pytest -m slow tests/export/test_tensorrt_bindings.py
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDERS = [Path(name) for name in os.environ.get("RECIPEBOX_TENSORRT_BINDINGS", "").split(":") if name]
ADAPTER = Path(__file__).resolve().parents[2] / "src" / "recipebox" / "export" / "tensorrt" / "api.py"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")

STUBGEN = """
import ctypes, os, sys
folder, out = sys.argv[1:]
sys.setdlopenflags(os.RTLD_LAZY)
for name in sorted(os.listdir(folder), reverse=True):
    if ".so." in name:
        ctypes.CDLL(os.path.join(folder, name), mode=ctypes.RTLD_GLOBAL)
sys.path.insert(0, folder)
import tensorrt
from mypy.stubgen import generate_stubs, parse_options
generate_stubs(parse_options(["--inspect-mode", "-m", "tensorrt", "-o", out, "-q"]))
"""


@pytest.mark.parametrize("folder", FOLDERS or [None], ids=str)
def test_the_adapter_fits_the_real_bindings(folder: Path | None, tmp_path: Path) -> None:
    if folder is None:
        pytest.skip("RECIPEBOX_TENSORRT_BINDINGS names no folder with TensorRT's bindings")
    if not shutil.which("cc") or not shutil.which("nm"):
        pytest.skip("no C compiler to stand in for TensorRT's libraries with")
    module = next(folder.glob("tensorrt_bindings/tensorrt.so"))
    shutil.copy(module, tmp_path / "tensorrt.so")
    major = _write_libraries(module, tmp_path)
    run(sys.executable, "-c", STUBGEN, str(tmp_path), str(tmp_path / "types"))
    stub = _parsable(tmp_path / "types" / "tensorrt.pyi")
    assert "def create_network(self" in stub and ("FP16" in _class(stub, "BuilderFlag")) == (major == "10")
    assert "STRONGLY_TYPED" in _class(stub, "NetworkDefinitionCreationFlag")
    for name in ("ILogger", "Runtime", "OnnxParser", "Builder"):
        assert f"class {name}" in stub
    assert {"TF32"} <= set(re.findall(r"\w+", _class(stub, "BuilderFlag")))
    config = tmp_path / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = true\nfollow_imports = silent\nwarn_unused_ignores = false\n"
        "disallow_untyped_calls = false\n"
        "[mypy-tensorrt]\nignore_errors = true\n"
    )
    environment = os.environ | {"MYPYPATH": f"{tmp_path / 'types'}:{ADAPTER.parents[3]}"}
    command = (sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"))
    out = run(*command, str(ADAPTER), environment=environment)
    assert "Success" in out
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorrt as trt\n"
        "def f(builder: trt.Builder, config: trt.IBuilderConfig) -> None:\n"
        "    builder.create_netwurk(0)\n    config.set_timing_cache(3)\n"
    )
    done = subprocess.run((*command, str(wrong)), env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.count("error:") >= 2, "the check itself notices nothing"


def _write_libraries(module: Path, folder: Path) -> str:
    """Libraries that have the names which the bindings look for; returns the major version."""
    needed = run("objdump", "-p", str(module))
    major = re.findall(r"libnvinfer\.so\.(\d+)", needed)[0]
    listed = run("nm", "-D", "--undefined-only", str(module)).splitlines()
    names = [line.split()[-1] for line in listed if re.search(r" (create|get|init)\w+$", line)]
    for library in LIBRARIES:
        bodies = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in names) if library == "nvinfer" else ""
        file = f"lib{library}.so.{major}"
        source = folder / f"{library}.c"
        source.write_text(bodies)
        run("cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(folder / file), str(source))
    return major


def _parsable(path: Path) -> str:
    """The stub without what no Python is: TensorRT gives defaults to arguments before others that have none."""
    # TensorRT has a data type called bool, which would stand in the way of Python's.
    lines = [line for line in path.read_text().splitlines() if not re.match(r"(bool|int|float|str)\b", line)]
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            assert error.lineno is not None and " = ..." in lines[error.lineno - 1], error
            lines[error.lineno - 1] = lines[error.lineno - 1].replace(" = ...", "")
        else:
            path.write_text("\n".join(lines) + "\n")
            return path.read_text()


def _class(stub: str, name: str) -> str:
    return stub.split(f"class {name}", 1)[1].split("\nclass ", 1)[0]


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
