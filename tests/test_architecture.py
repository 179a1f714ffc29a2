"""The rules of docs/architecture.md that a machine can hold."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "recipebox"

FOUNDATION = ("errors", "run_dir", "progress", "ultralytics_setup", "__init__")
ORDER = ("recipe", "data", "techniques", "train", "evaluate", "export", "bench", "report")
JOB = (
    *("supplies", "stages", "endings", "teachers", "making", "listing", "adopt", "check_data", "anchors_job", "job"),
    *("bench_job", "shipping", "experiment", "answers", "doctor", "checkup", "predict", "remote", "verbs", "cli"),
)
"""The top-level modules right of the stages, each may import those left of it."""
RANK = {**dict.fromkeys(FOUNDATION, 0), **{name: rank for rank, name in enumerate((*ORDER, *JOB), start=1)}}

HEAVY = {"torch", "torchvision", "ultralytics", "onnxruntime", "onnx", "cv2", "matplotlib", "fabric", "paramiko"}
LIGHT = ("recipe", *(name for name in JOB if name not in {"experiment", "predict"}), *FOUNDATION)
"""Nothing heavy at the top of these, nor of data.datasets and data.weights."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The folder or top-level module that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full module name) of every import, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            assert node.module is not None
            yield node.lineno, node.module
            if node.module == "recipebox":
                for alias in node.names:
                    yield node.lineno, f"recipebox.{alias.name}"


def top_level(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: no function bodies, no `if TYPE_CHECKING`."""
    kept = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return ast.Module(body=kept, type_ignores=[])


def test_every_part_has_a_place() -> None:
    assert {part_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    here = part_of(path)
    wrong = [
        f"line {line}: {module}"
        for line, module in imports(ast.parse(path.read_text(encoding="utf-8")))
        if module.startswith("recipebox.")
        and (there := module.split(".")[1]) != here
        and there in RANK
        and RANK[there] >= RANK[here] > 0
    ]
    assert not wrong, f"{path.name} imports what stands to its right: {wrong}"


def test_the_foundation_imports_nothing_of_the_stages() -> None:
    for name in FOUNDATION:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        parts = {module.split(".")[1] for _, module in imports(tree) if module.startswith("recipebox.")}
        assert parts <= {*FOUNDATION, "__version__"}, name


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if part_of(path) in LIGHT or path.stem in {"datasets", "weights", "places"}],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_light_modules_import_nothing_heavy_at_their_top(path: Path) -> None:
    tree = top_level(ast.parse(path.read_text(encoding="utf-8")))
    assert not [module for _, module in imports(tree) if module.split(".")[0] in HEAVY]


def test_only_the_trainer_knows_ultralytics_trainer() -> None:
    """train/trainer.py is the one file to mend when Ultralytics changes; ultralytics_setup.py only switches off."""
    allowed = {PACKAGE / "train" / "trainer.py", PACKAGE / "ultralytics_setup.py"}
    for path in set(MODULES) - allowed:
        found = [m for _, m in imports(ast.parse(path.read_text(encoding="utf-8"))) if "ultralytics" in m]
        assert not [m for m in found if m.startswith(("ultralytics.engine.trainer", "ultralytics.models"))], path


def test_only_remote_knows_fabric() -> None:
    for path in MODULES:
        found = {module.split(".")[0] for _, module in imports(ast.parse(path.read_text(encoding="utf-8")))}
        assert part_of(path) == "remote" or not found & {"fabric", "paramiko", "invoke"}, path


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["version"], ["runs"], ["recipes"], ["recipes", "schema"], ["plan", "pcb-distill"], ["doctor"]],
    ids=" ".join,
)
def test_light_verbs_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import json, sys\n"
        f"sys.argv = ['recipebox', *{arguments!r}]\n"
        "from recipebox.cli import app\n"
        "code = 0\n"
        "try:\n"
        "    app()\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    exit_code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert not exit_code, done.stderr
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def tracked_text() -> Iterator[tuple[Path, str]]:
    """Every tracked file that is text."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout: nothing says which files are part of the project")
    for name in listing.stdout.decode().split("\0"):
        path = REPOSITORY / name
        if name and path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                yield path, content.decode("utf-8")


def test_no_file_names_a_registry_or_a_machine() -> None:
    """What is tracked works anywhere: no package registry's address, no path of the machine it was written on."""
    registries = "|".join(
        ("pypi" + r"\.org", "python" + "hosted", "pkg" + r"\.dev", "artifact" + "ory", "index-" + "url")
    )
    machine = "|".join(("/work" + "/", "/root" + "/", r"/home/\w+/", "/opt" + "/pypi"))
    found = []
    for path, text in tracked_text():
        for number, line in enumerate(text.splitlines(), start=1):
            bare = line.replace("--no-emit-index-" + "url", "")
            if re.search(f"{registries}|(?<![\\w.]){machine}", bare):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_the_data_beside_the_checkout_is_named_in_one_place() -> None:
    beside = ".." + "/shared"
    assert {str(path.relative_to(REPOSITORY)) for path, text in tracked_text() if beside in text} <= {".ci/run"}


def test_locks_pin_everything_with_hashes() -> None:
    for name in ("runtime.lock", "dev.lock", "image.lock", "devbox.lock"):
        entries = (REPOSITORY / "docker" / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        wrong = [
            e for e in entries if e.strip() and not re.match(r"^[\w.-]+==\S+( ;.*?)?\s+--hash=sha256:[0-9a-f]{64}", e)
        ]
        assert not wrong, f"{name}: {wrong[:3]}"
        assert len(entries) > 50


def test_both_locks_agree() -> None:
    pins = {}
    for name in ("runtime.lock", "dev.lock"):
        text = (REPOSITORY / "docker" / name).read_text(encoding="utf-8")
        pins[name] = set(re.findall(r"^([\w.-]+==[^ \\\n]+)", text, re.M))
    assert pins["runtime.lock"] <= pins["dev.lock"]
