"""Python and the packages that compute. What can crash or hang is imported in a process of its own. Python 3.8."""

from __future__ import annotations

import json
import platform
import shlex
from typing import Any

from recipebox.doctor import facts
from recipebox.doctor.findings import NOTE, OK, PROBLEM, UNKNOWN, WARNING, Finding, Said, call, short
from recipebox.doctor.gpu import driver_version, is_board

MARK = "@@doctor "
IMPORT_LIMIT_S = 90.0
"""A cold import of torch from a network disk takes a minute."""

_ASK = """
import json, sys
def say(**facts):
    sys.stdout.write("\\n@@doctor " + json.dumps(facts) + "\\n")
    sys.stdout.flush()
def tried(name, action):
    try:
        say(**{name: action()})
    except BaseException as error:
        say(**{name + "_error": type(error).__name__ + ": " + str(error)[:600]})
        return False
    return True
try:
    import importlib.metadata as metadata
    found = {}
    for name in %r:
        try:
            found[name] = metadata.version(name)
        except Exception:
            pass
    say(packages=found)
except Exception:
    say(packages={})
import importlib.util
say(pip=importlib.util.find_spec("pip") is not None)
"""
_TORCH = """
def torch_version():
    global torch
    import torch
    return torch.__version__
def vision_version():
    global torchvision
    import torchvision, torchvision.ops
    return torchvision.__version__
def nms():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.1]])
    return torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0]
def cuda():
    import warnings
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    return {"built": torch.version.cuda, "available": there, "warning": " ".join(str(w.message) for w in heard)[:600]}
def kernel():
    ones = torch.ones(8, 8, device="cuda")
    return float((ones @ ones).sum().item()) == 512.0
if tried("torch", torch_version):
    tried("vision", vision_version) and tried("nms", nms)
    tried("cuda", cuda) and torch.cuda.is_available() and tried("kernel", kernel)
"""
_OPENCV = "def version():\n    import cv2\n    return cv2.__version__\ntried('cv2', version)\n"
_ONNXRUNTIME = (
    "def providers():\n    import onnxruntime\n    return onnxruntime.get_available_providers()\n"
    "tried('providers', providers)\n"
)
_TENSORRT = "def version():\n    import tensorrt\n    return tensorrt.__version__\ntried('tensorrt', version)\n"


def ask(python: str, packages: tuple[str, ...], script: str) -> tuple[dict[str, Any], Said]:
    """Run a probe in a Python of its own: (what it said before it ended, how it ended)."""
    said = call([python, "-c", _ASK % (packages,) + script], IMPORT_LIMIT_S)
    facts_said: dict[str, Any] = {}
    for line in said.output.splitlines():
        if line.startswith(MARK):
            try:
                one = json.loads(line[len(MARK) :])
            except ValueError:
                continue
            if isinstance(one, dict):
                facts_said.update(one)
    return facts_said, said


def install(request: dict[str, Any], said: dict[str, Any], *packages: str) -> str:
    """The command that puts packages into the Python that was asked."""
    python = shlex.quote(request["python"])
    wanted = " ".join(shlex.quote(name) for name in packages)
    if said.get("pip", True):
        return f"{python} -m pip install {wanted}"
    return f"uv pip install --python {python} {wanted}"


def absent(what: str, why: str, mend: str) -> Finding:
    """A package that is not installed: a problem, except on a board."""
    if is_board():
        return Finding(what, NOTE, "not installed", "a board needs it for nothing but training")
    return Finding(what, PROBLEM, "not installed", why, mend)


def check_python(request: dict[str, Any]) -> list[Finding]:
    """The Python that recipebox runs on."""
    python = request["python"]
    probe = "import platform, struct; print(platform.python_version(), 8 * struct.calcsize('P'))"
    said = call([python, "-c", probe], 20.0)
    version, _, bits = said.first_line.partition(" ")
    if said.code != 0 or not facts.numbers(version):
        return [Finding("Python", PROBLEM, f"{python}: {said.ending or short(said.output)}", mend="make setup")]
    found = f"{version}, {platform.machine()}, {python}"
    lowest, highest = facts.PYTHON
    here = facts.numbers(version)[:2]
    span = f"{lowest[0]}.{lowest[1]} to {highest[0]}.{highest[1]}"
    if bits != "64":
        return [Finding("Python", PROBLEM, f"{found}, {bits} bit", "PyTorch needs a 64-bit Python")]
    if lowest <= here <= highest or is_board():
        return [Finding("Python", OK, found)]
    status = PROBLEM if here < lowest else WARNING
    return [Finding("Python", status, found, f"recipebox runs on {span}", "make setup PYTHON=/path/to/python3.12")]


def _died(check: str, said: Said, after: str) -> Finding:
    why = "its libraries are damaged, or do not fit this machine" if said.code is not None else "a disk or driver hangs"
    return Finding(check, PROBLEM, f"Python {said.ending or 'ended early'} {after}", why, "rm -rf .venv && make setup")


def check_torch(request: dict[str, Any]) -> list[Finding]:
    """torch, torchvision beside it, and CUDA under it."""
    packages = ("torch", "torchvision", "ultralytics")
    facts_said, said = ask(request["python"], packages, _TORCH)
    installed = facts_said.get("packages", {})
    if "torch" in facts_said:
        findings = [_tested("torch", facts_said["torch"], request, facts_said)]
        findings += _vision(request, facts_said, said)
        if "cuda" in facts_said:
            findings += _cuda(request, facts_said)
    elif "torch_error" in facts_said:
        missing = "No module named 'torch'" in facts_said["torch_error"]
        findings = [
            absent("torch", "nothing can be trained or evaluated without it", "make setup")
            if missing
            else Finding("torch", PROBLEM, short(facts_said["torch_error"]), "", "rm -rf .venv && make setup")
        ]
    elif "packages" in facts_said:
        findings = [_died("torch", said, "while it imported torch")]
    else:
        findings = [Finding("torch", UNKNOWN, f"{request['python']}: {said.ending or short(said.output)}")]
    if "ultralytics" in installed:
        findings.append(_tested("ultralytics", installed["ultralytics"], request, facts_said))
    elif "torch" in facts_said:
        findings.append(absent("ultralytics", "it is the trainer under recipebox", "make setup"))
    return findings


def _tested(name: str, version: str, request: dict[str, Any], said: dict[str, Any]) -> Finding:
    low, high = facts.TESTED[name]
    if facts.numbers(low) <= facts.numbers(version) < facts.numbers(high):
        return Finding(name, OK, version)
    why = f"recipebox was tested with {name} from {low} to below {high}"
    status = PROBLEM if name == "ultralytics" else WARNING
    return Finding(name, status, version, why, install(request, said, f"{name}>={low},<{high}"))


def _vision(request: dict[str, Any], said: dict[str, Any], ended: Said) -> list[Finding]:
    torch = said["torch"]
    partner = facts.TORCHVISION_OF_TORCH.get(facts.release(torch))
    mend = install(
        request, said, f"torch=={torch.split('+')[0]}", f"torchvision=={partner}.*" if partner else "torchvision"
    )
    version = said.get("vision") or said.get("packages", {}).get("torchvision")
    pair = f"torch {torch} with torchvision {version}"
    if "vision_error" in said and "No module named 'torchvision'" in said["vision_error"]:
        return [Finding("torchvision", PROBLEM, "not installed", "non-maximum suppression comes from it", mend)]
    if partner and version and facts.release(version) != partner:
        why = f"torch {facts.release(torch)} goes with torchvision {partner}; others lack the operator torchvision::nms"
        return [Finding("torchvision", PROBLEM, pair, why, mend)]
    error = said.get("vision_error") or said.get("nms_error")
    if error:
        why = short(error)
        if "nms" in error or "undefined symbol" in error:
            why += ". The two were built differently (CPU-only beside CUDA): take both from one place"
        force = mend.replace(" install ", " install --force-reinstall ", 1)
        return [Finding("torchvision", PROBLEM, pair, why, force)]
    if "vision" not in said or "nms" not in said:
        return [_died("torchvision", ended, "while it used torchvision")]
    if not said["nms"]:
        return [Finding("torchvision", PROBLEM, pair, "its non-maximum suppression answers wrongly", mend)]
    return [Finding("torchvision", OK, f"{version}, and its NMS works")]


def _cuda(request: dict[str, Any], said: dict[str, Any]) -> list[Finding]:
    cuda, driver = said["cuda"], driver_version()
    built = cuda.get("built")
    if built is None:
        if driver is None:
            return [Finding("CUDA", NOTE, "torch was built without it; this machine has no driver either")]
        why = f"the GPU (driver {driver}) stays idle: this torch can use the CPU only"
        return [Finding("CUDA", WARNING, "torch was built without it", why, "rm -rf .venv && make setup")]
    lowest = facts.DRIVER_OF_CUDA_MAJOR.get(facts.numbers(built)[0])
    if cuda.get("available"):
        if said.get("kernel"):
            return [Finding("CUDA", OK, f"torch's CUDA {built} computes with driver {driver or 'unknown'}")]
        why = short(said.get("kernel_error", "it answers wrongly"))
        if "no kernel image" in why:
            why = f"torch {said['torch']} was not built for this GPU: {why}"
        return [Finding("CUDA", PROBLEM, f"CUDA {built} is there and does not compute", why, "make train DEVICE=cpu")]
    if driver is None:
        return [Finding("CUDA", NOTE, f"torch brings CUDA {built}; without a driver it uses the CPU")]
    if lowest and facts.numbers(driver) < facts.numbers(lowest):
        why = f"torch's CUDA {built} needs driver {lowest} or newer"
        mend = f"sudo apt install nvidia-driver-{facts.numbers(lowest)[0]} && sudo reboot"
        return [Finding("CUDA", PROBLEM, f"driver {driver} is too old for CUDA {built}", why, mend)]
    why = short(cuda.get("warning") or "torch does not say why")
    return [
        Finding(
            "CUDA",
            PROBLEM,
            f"torch (CUDA {built}) sees no GPU, driver {driver} does",
            why,
            "sudo modprobe nvidia_uvm && nvidia-smi",
        )
    ]


def check_opencv(request: dict[str, Any]) -> list[Finding]:
    """OpenCV reads and resizes every image."""
    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    facts_said, said = ask(request["python"], names, _OPENCV)
    installed = facts_said.get("packages", {})
    headless = install(request, facts_said, "opencv-python-headless")
    if "cv2" in facts_said:
        if len(installed) > 1:
            why = f"{' and '.join(sorted(installed))} are installed over each other"
            return [Finding("OpenCV", WARNING, facts_said["cv2"], why, "rm -rf .venv && make setup")]
        return [Finding("OpenCV", OK, facts_said["cv2"])]
    error = facts_said.get("cv2_error")
    if error is None:
        return [_died("OpenCV", said, "while it imported cv2")]
    if "No module named 'cv2'" in error:
        return [absent("OpenCV", "no image can be read without it", "make setup")]
    if "libGL" in error or "libgthread" in error or "libxcb" in error:
        return [Finding("OpenCV", PROBLEM, short(error), "the build with windows, on a machine without", headless)]
    return [Finding("OpenCV", PROBLEM, short(error), "", headless)]


def check_onnxruntime(request: dict[str, Any]) -> list[Finding]:
    """ONNX Runtime and what it can compute on."""
    facts_said, said = ask(request["python"], ("onnxruntime", "onnxruntime-gpu"), _ONNXRUNTIME)
    installed = facts_said.get("packages", {})
    name = "ONNX Runtime"
    if "providers" not in facts_said:
        error = facts_said.get("providers_error")
        if error is None:
            return [_died(name, said, "while it imported onnxruntime")]
        if "No module named 'onnxruntime'" in error:
            return [absent(name, "no exported file can be checked or timed without it", "make setup")]
        return [Finding(name, PROBLEM, short(error), "", "rm -rf .venv && make setup")]
    version = installed.get("onnxruntime") or installed.get("onnxruntime-gpu") or "of unknown version"
    short_names = [one.replace("ExecutionProvider", "") for one in facts_said["providers"]]
    found = f"{version}: {', '.join(short_names)}"
    if len(installed) > 1:
        why = "onnxruntime and onnxruntime-gpu are installed over each other; which one is imported is chance"
        return [Finding(name, WARNING, found, why, "rm -rf .venv && make setup")]
    if "CPU" not in short_names:
        return [Finding(name, PROBLEM, found, "recipebox checks exported files on the CPU", "make setup")]
    finding = _tested("onnxruntime", version, request, facts_said) if facts.numbers(version) else None
    if finding is not None and finding.status != OK:
        return [Finding(name, finding.status, found, finding.why, finding.mend)]
    return [Finding(name, OK, found)]


def check_tensorrt(request: dict[str, Any]) -> list[Finding]:
    """TensorRT's Python side; needed where engines are built."""
    names = ("tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-lean")
    facts_said, said = ask(request["python"], names, _TENSORRT)
    libraries = call(["ldconfig", "-p"], 10.0).output
    library = next((line.split()[0] for line in libraries.splitlines() if "libnvinfer.so." in line), None)
    installed = facts_said.get("packages", {})
    name = "TensorRT"
    if "tensorrt" in facts_said:
        return [_tensorrt(name, str(facts_said["tensorrt"]), library, installed)]
    error = facts_said.get("tensorrt_error")
    if error is None:
        return [
            Finding(
                name,
                WARNING,
                f"Python {said.ending or 'ended early'} while it imported tensorrt",
                "its libraries do not fit this machine; do not build engines here",
            )
        ]
    if "No module named 'tensorrt'" not in error:
        return [Finding(name, WARNING, short(error), "installed, and cannot be used: no engine can be built here")]
    if library:
        why = f"{library} is there; Python cannot reach it (the package is for the system's own Python alone)"
        return [Finding(name, NOTE, "no Python package", why, "sudo apt install python3-libnvinfer")]
    mend = "sudo apt install nvidia-jetpack" if is_board() else ""
    return [Finding(name, WARNING if is_board() else NOTE, "none; needed only where engines are built", "", mend)]


def _tensorrt(name: str, version: str, library: str | None, installed: dict[str, str]) -> Finding:
    driver = driver_version()
    majors = next((cuda for low, cuda in facts.CUDA_OF_TENSORRT if facts.numbers(version) >= facts.numbers(low)), ())
    known = facts.numbers(version)[:1] < (11,)
    wheel = next((int(one[-2:]) for one in sorted(installed) if one[-2:] in ("11", "12", "13")), None)
    found = version + (f" for CUDA {wheel}" if wheel else "") + (f", {library}" if library else "")
    if library and facts.numbers(library.rpartition("so.")[2])[:1] != facts.numbers(version)[:1]:
        why = "the Python package and the system's library are of different releases; engines fit one of them only"
        return Finding(name, WARNING, found, why)
    if wheel and known and wheel not in majors:
        return Finding(name, WARNING, found, f"TensorRT {version} is built for CUDA {' and '.join(map(str, majors))}")
    if driver is None and not is_board():
        return Finding(name, NOTE, found, "no driver here: it can read a graph, and build or run nothing")
    lowest = facts.DRIVER_OF_CUDA_MAJOR.get(wheel or 0)
    if driver and lowest and facts.numbers(driver) < facts.numbers(lowest):
        why = f"its CUDA {wheel} needs driver {lowest} or newer, here is {driver}"
        mend = f"sudo apt install nvidia-driver-{facts.numbers(lowest)[0]} && sudo reboot"
        return Finding(name, WARNING, found, why, mend)
    return Finding(name, OK, found)
