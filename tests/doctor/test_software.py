"""torch, torchvision and the others in every state that people bring them in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from recipebox.doctor import software
from recipebox.doctor.findings import NOTE, OK, PROBLEM, UNKNOWN, WARNING, Finding

if TYPE_CHECKING:
    from doctor.conftest import FakeCommand, FakePython  # type: ignore[import-not-found]

TORCH = """
__version__ = "{version}"
float = None
class version:
    cuda = {cuda}
class cuda:
    @staticmethod
    def is_available():
        import warnings
        warnings.warn("{warning}")
        return {available}
class _Ones:
    def __matmul__(self, other): {kernel}
    def sum(self): return self
    def item(self): return 512.0
def ones(*size, device): return _Ones()
def tensor(values): return values
"""
VISION = """
__version__ = "{version}"
from . import ops
"""
OPS = """
class _Kept(list):
    def tolist(self): return list(self)
def nms(boxes, scores, iou): {nms}
"""


def torch(version: str = "2.14.1+cu130", cuda: str = "'13.0'", available: bool = False, **changes: str) -> str:
    settings = {"warning": "quiet", "kernel": "return self"} | changes
    return TORCH.format(version=version, cuda=cuda, available=available, **settings)


def vision(version: str = "0.29.1+cu130", nms: str = "return _Kept([0])") -> dict[str, str]:
    return {"torchvision": VISION.format(version=version), "torchvision__ops": OPS.format(nms=nms)}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {one.check: one for one in findings}


def look(asked: dict[str, Any], python: str) -> dict[str, Finding]:
    return by_name(software.check_torch(asked | {"python": python}))


def modules(**more: str) -> dict[str, str]:
    # The folder torchvision must exist before torchvision/ops is made in it.
    return {"torch": torch()} | vision() | more


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "driver_version", lambda: None)
    monkeypatch.setattr(software, "is_board", lambda: False)


def test_what_fits_is_well(asked: dict[str, Any], fake_python: FakePython) -> None:
    found = look(asked, fake_python({"ultralytics": "8.4.190"}, **modules()))
    assert [found[name].status for name in ("torch", "torchvision", "ultralytics", "CUDA")] == [OK, OK, OK, NOTE]


def test_no_torch(asked: dict[str, Any], fake_python: FakePython) -> None:
    found = look(asked, fake_python())["torch"]
    assert (found.status, found.found, found.mend) == (PROBLEM, "not installed", "make setup")


def test_a_board_needs_no_torch(
    asked: dict[str, Any], fake_python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "is_board", lambda: True)
    assert look(asked, fake_python())["torch"].status == NOTE


def test_torch_without_torchvision(asked: dict[str, Any], fake_python: FakePython) -> None:
    found = look(asked, fake_python(torch=torch()))["torchvision"]
    assert (found.status, found.found) == (PROBLEM, "not installed")
    assert "torch==2.14.1" in found.mend
    assert "torchvision==0.29.*" in found.mend
    assert "'" in found.mend, "a path with a space is quoted"


def test_a_pair_that_does_not_belong_together(asked: dict[str, Any], fake_python: FakePython) -> None:
    found = look(asked, fake_python(**modules() | vision("0.28.0")))["torchvision"]
    assert found.status == PROBLEM
    assert "torch 2.14.1+cu130 with torchvision 0.28.0" in found.found
    assert "torchvision 0.29" in found.why


def test_a_pair_built_differently_has_no_nms(asked: dict[str, Any], fake_python: FakePython) -> None:
    nms = "raise RuntimeError('operator torchvision::nms does not exist')"
    python = fake_python(torch=torch("2.14.1+cpu", "None"), **vision(nms=nms))
    found = look(asked, python)
    assert found["torchvision"].status == PROBLEM
    assert "nms does not exist" in found["torchvision"].why
    assert "built differently" in found["torchvision"].why
    assert "--force-reinstall" in found["torchvision"].mend


def test_nms_may_fail_when_torchvision_is_imported(asked: dict[str, Any], fake_python: FakePython) -> None:
    broken = {"torchvision": "raise RuntimeError('operator torchvision::nms does not exist')"}
    found = look(asked, fake_python({"torchvision": "0.29.1"}, torch=torch(), **broken))["torchvision"]
    assert found.status == PROBLEM
    assert "0.29.1" in found.found


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import time; time.sleep(60)", "did not answer within"),
        ("import sys; sys.exit('no')", "SystemExit"),
        ("raise ImportError('libcudart.so.13: cannot open\\x1b[31m')", "libcudart"),
        ("print('x' * (1 << 22), flush=True)", "did not stop writing"),
    ],
)
def test_a_torch_that_crashes_or_hangs(
    asked: dict[str, Any], fake_python: FakePython, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.setattr(software, "IMPORT_LIMIT_S", 2.0)
    found = look(asked, fake_python(torch=code))["torch"]
    assert found.status == PROBLEM
    assert words in found.found
    assert "\x1b" not in found.found


@pytest.mark.parametrize(
    ("driver", "torch_code", "status", "words"),
    [
        ("550.54.14", torch(), PROBLEM, "too old"),
        ("580.65.06", torch(warning="unknown error"), PROBLEM, "unknown error"),
        ("580.65.06", torch(available=True), OK, "computes"),
        ("580.65.06", torch(available=True, kernel="raise RuntimeError('no kernel image')"), PROBLEM, "not built for"),
        ("580.65.06", torch("2.14.1+cpu", "None"), WARNING, "without it"),
        ("550.54.14", torch(cuda="'12.8'", available=True), OK, "computes"),
    ],
)
def test_cuda_against_the_driver(
    asked: dict[str, Any],
    fake_python: FakePython,
    monkeypatch: pytest.MonkeyPatch,
    driver: str,
    torch_code: str,
    status: str,
    words: str,
) -> None:
    monkeypatch.setattr(software, "driver_version", lambda: driver)
    found = look(asked, fake_python(**modules(torch=torch_code)))["CUDA"]
    assert found.status == status
    assert words in f"{found.found} {found.why}"


def test_another_ultralytics_is_a_problem(asked: dict[str, Any], fake_python: FakePython) -> None:
    found = look(asked, fake_python({"ultralytics": "8.3.0"}, **modules()))["ultralytics"]
    assert found.status == PROBLEM
    assert "ultralytics>=8.4.190,<8.4.191" in found.mend


def test_a_python_that_is_not_there(asked: dict[str, Any]) -> None:
    gone = asked | {"python": "/nowhere/python"}
    assert software.check_python(gone)[0].status == PROBLEM
    assert software.check_torch(gone)[0].status == UNKNOWN


def test_opencv_without_the_libraries_of_a_desktop(asked: dict[str, Any], fake_python: FakePython) -> None:
    python = fake_python(cv2="raise ImportError('libGL.so.1: cannot open shared object file')")
    found = software.check_opencv(asked | {"python": python})[0]
    assert found.status == PROBLEM
    assert "opencv-python-headless" in found.mend


@pytest.mark.parametrize(
    ("versions", "code", "status", "words"),
    [
        ({"onnxruntime": "1.31.1"}, "['CPUExecutionProvider']", OK, "CPU"),
        (
            {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"},
            "['CPUExecutionProvider']",
            WARNING,
            "over each other",
        ),
        ({"onnxruntime": "1.12.0"}, "['CPUExecutionProvider']", WARNING, "1.22"),
        ({"onnxruntime": "1.31.1"}, "[]", PROBLEM, "CPU"),
        ({}, None, PROBLEM, "not installed"),
    ],
)
def test_onnx_runtime(
    asked: dict[str, Any], fake_python: FakePython, versions: dict[str, str], code: str | None, status: str, words: str
) -> None:
    module = {"onnxruntime": f"def get_available_providers(): return {code}"} if code else {}
    found = software.check_onnxruntime(asked | {"python": fake_python(versions, **module)})[0]
    assert found.status == status
    assert words in f"{found.found} {found.why}"


@pytest.mark.parametrize(
    ("versions", "code", "status", "words"),
    [
        ({}, None, NOTE, "none"),
        ({"tensorrt-cu13": "10.3.0"}, "__version__ = '10.3.0'", WARNING, "CUDA 11 and 12"),
        ({"tensorrt-cu12": "10.14.1"}, "__version__ = '10.14.1'", NOTE, "no driver"),
        ({"tensorrt": "10.3.0"}, "raise ImportError('libnvinfer.so.10: cannot open')", WARNING, "libnvinfer"),
        ({"tensorrt": "10.3.0"}, "import os; os.abort()", WARNING, "SIGABRT"),
    ],
)
def test_tensorrt(
    asked: dict[str, Any], fake_python: FakePython, versions: dict[str, str], code: str | None, status: str, words: str
) -> None:
    module = {"tensorrt": code} if code else {}
    found = software.check_tensorrt(asked | {"python": fake_python(versions, **module)})[0]
    assert found.status == status
    assert words in f"{found.found} {found.why}"


def test_bindings_and_library_of_two_releases(
    asked: dict[str, Any], fake_python: FakePython, fake: FakeCommand
) -> None:
    fake("ldconfig", "echo '\tlibnvinfer.so.8 (libc6,x86-64) => /usr/lib/libnvinfer.so.8'")
    python = fake_python({"tensorrt": "10.3.0"}, tensorrt="__version__ = '10.3.0'")
    found = software.check_tensorrt(asked | {"python": python})[0]
    assert found.status == WARNING
    assert "different releases" in found.why


def test_this_python(asked: dict[str, Any]) -> None:
    assert software.check_python(asked | {"python": sys.executable})[0].status == OK
