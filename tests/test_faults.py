"""What goes wrong in the field, through the command line: one clear message, an exit code, nothing half written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_disks import mounted

if TYPE_CHECKING:
    from conftest import CommandLine

NAMES = ("open", "short")
RECIPE = """\
# purpose: as small as a run can be
data: {{dataset: {dataset}}}
model: {{weights: {weights}, arch: yolov8n}}
train: {{epochs: 1, imgsz: 64, batch: 4, nbs: 4, optimizer: AdamW, lr0: 0.001, warmup_epochs: 0, close_mosaic: 0}}
"""


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """Twelve small images in YOLO layout, two boxes each."""
    import cv2

    root = tmp_path / "boards"
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            image = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{number}.jpg"), image)
            label = root / "labels" / split / f"{number}.txt"
            label.write_text("0 0.3 0.3 0.2 0.2\n1 0.7 0.7 0.2 0.2\n", encoding="utf-8")
    splits = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    (root / "data.yaml").write_text(f"path: .\n{splits}names: [{', '.join(NAMES)}]\n", encoding="utf-8")
    return root


def write_recipe(folder: Path, dataset: object, weights: str = "scratch", more: str = "") -> str:
    path = folder / "fault.yaml"
    path.write_text(RECIPE.format(dataset=dataset, weights=weights) + more, encoding="utf-8")
    return str(path)


def assert_refused(
    done: subprocess.CompletedProcess[str], code: int, *words: str, places: tuple[Path, ...] = ()
) -> None:
    """One message with `words`, exit code `code`, no traceback, and no half-written file under `places`."""
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for place in places:
        files = [path for path in place.rglob("*") if path.is_file()]
        assert not [path for path in files if path.name.endswith((".part", ".tmp"))]
        for path in files:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))


def assert_no_run(runs: Path) -> None:
    assert not list(runs.glob("*/*"))


def test_a_bad_recipe_says_everything_at_once(command_line: CommandLine, tmp_path: Path, own_runs: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "data: {dataset: pcb-synthetic}\n"
        "model: {weights: scratch, arch: yolov8n}\n"
        "train: {epoch: 3, imgsz: 65, batch: 0, optimizer: SDG}\n",
        encoding="utf-8",
    )
    done = command_line("train", str(path))
    assert_refused(done, 2, "bad.yaml:3", "epochs", "imgsz", "batch", "SGD", places=(own_runs,))
    assert_no_run(own_runs)


def test_a_recipe_that_is_no_yaml(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("data: {dataset: [\n", encoding="utf-8")
    assert_refused(command_line("train", str(path)), 2, "bad.yaml:")


@pytest.mark.parametrize("dataset", ["deeppcb", "nowhere", "./nowhere"])
def test_missing_data_without_a_fallback(
    command_line: CommandLine, tmp_path: Path, own_runs: Path, dataset: str
) -> None:
    recipe = write_recipe(tmp_path, dataset)
    done = command_line("train", recipe, "--no-fetch", RECIPEBOX_DATA=str(tmp_path / "empty"))
    assert_refused(done, 2, Path(dataset).name, places=(own_runs,))
    assert_no_run(own_runs)


def test_a_truncated_image(command_line: CommandLine, tmp_path: Path, own_runs: Path, boards: Path) -> None:
    image = boards / "images" / "train" / "2.jpg"
    image.write_bytes(image.read_bytes()[:-400])
    done = command_line("train", write_recipe(tmp_path, boards))
    assert_refused(done, 2, str(image), places=(own_runs,))
    assert_no_run(own_runs)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.2 0.2", "class"),
        ("0 0.5 1.5 0.2 0.2", ""),
        ("0 0.5 0.5 0.2", ""),
        ("0 0.5 nan 0.2 0.2", ""),
        ("0 0.5 0.5 0 0.2", ""),
    ],
)
def test_a_label_out_of_range(
    command_line: CommandLine, tmp_path: Path, own_runs: Path, boards: Path, line: str, words: str
) -> None:
    label = boards / "labels" / "train" / "1.txt"
    label.write_text(f"0 0.3 0.3 0.2 0.2\n{line}\n", encoding="utf-8")
    done = command_line("train", write_recipe(tmp_path, boards))
    assert_refused(done, 2, f"{label}:2", words, places=(own_runs,))
    assert_no_run(own_runs)


def test_corrupted_weights_do_not_fall_back(
    command_line: CommandLine, tmp_path: Path, own_runs: Path, boards: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "yolov8n.pt").write_bytes(b"PK\x03\x04 half a download")
    recipe = write_recipe(tmp_path, boards, "yolov8n.pt, fallback: scratch")
    done = command_line("train", recipe, "--no-fetch", RECIPEBOX_WEIGHTS=str(weights))
    assert_refused(done, 2, "yolov8n.pt", "corrupted", places=(own_runs,))
    assert_no_run(own_runs)


def test_unknown_weights(command_line: CommandLine, tmp_path: Path, own_runs: Path, boards: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"PK\x03\x04 who knows")
    recipe = write_recipe(tmp_path, boards, str(tmp_path / "mine.pt"))
    done = command_line("train", recipe, "--no-fetch")
    assert_refused(done, 2, "mine.pt", "--trust-weights", places=(own_runs,))
    assert_no_run(own_runs)


def test_trusted_weights_that_are_none(command_line: CommandLine, tmp_path: Path, boards: Path, own_runs: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"PK\x03\x04 who knows")
    recipe = write_recipe(tmp_path, boards, str(tmp_path / "mine.pt"))
    done = command_line("train", recipe, "--no-fetch", "--trust-weights")
    assert_refused(done, 2, "mine.pt", places=(own_runs,))


@pytest.mark.parametrize("missing", ["yolov8n.pt", "yolov8nn.pt"])
def test_missing_weights_without_a_fallback(
    command_line: CommandLine, tmp_path: Path, own_runs: Path, boards: Path, missing: str
) -> None:
    done = command_line("train", write_recipe(tmp_path, boards, missing), "--no-fetch")
    assert_refused(done, 2, missing, places=(own_runs,))
    assert_no_run(own_runs)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "size=1m")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "read-only", "size=1m,ro")


def test_the_disk_gets_full_in_training(
    command_line: CommandLine, tmp_path: Path, boards: Path, small_disk: Path
) -> None:
    done = command_line("train", write_recipe(tmp_path, boards), RECIPEBOX_RUNS=str(small_disk))
    assert_refused(done, 1, "the disk is full", "--resume", places=(small_disk,))
    (run,) = small_disk.glob("fault/*")
    assert not list((run / "weights").iterdir())
    assert not (run / "state.pt").exists()
    state = json.loads((run / "state.json").read_text(encoding="utf-8"))
    assert state["state"] == "failed"
    assert "the disk is full" in state["reason"]


def test_the_disk_is_full_before_it_begins(
    command_line: CommandLine, tmp_path: Path, boards: Path, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (1 << 20))
    done = command_line("train", write_recipe(tmp_path, boards), RECIPEBOX_RUNS=str(small_disk))
    assert_refused(done, 1, "the disk is full", places=(small_disk,))
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["ballast"]


def test_the_cache_gets_full_while_boards_are_drawn(
    command_line: CommandLine, tmp_path: Path, small_disk: Path
) -> None:
    recipe = write_recipe(tmp_path, "pcb-synthetic, images: 200")
    done = command_line("train", recipe, XDG_CACHE_HOME=str(small_disk))
    assert_refused(done, 1, "the disk is full", places=(small_disk,))
    assert not [path for path in small_disk.rglob("*") if path.suffix in {".png", ".jpg"}]


def test_runs_on_a_read_only_file_system(
    command_line: CommandLine, tmp_path: Path, boards: Path, read_only: Path
) -> None:
    done = command_line("train", write_recipe(tmp_path, boards), RECIPEBOX_RUNS=str(read_only / "runs"))
    assert_refused(done, 1, "read-only", str(read_only))


def test_no_permission_to_write_runs(tmp_path: Path, boards: Path, command_line: CommandLine) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    recipe = write_recipe(tmp_path, boards)
    if os.geteuid() != 0:
        done = command_line("train", recipe, RECIPEBOX_RUNS=str(locked / "runs"))
        assert_refused(done, 1, "no permission", str(locked))
        return
    # Root may write anywhere; without the capability that lets it, the file system asks as it asks others.
    from conftest import command_line_environment

    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root ignores permissions, and there is no setpriv to give that up")
    done = subprocess.run(
        [
            *(setpriv, "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"),
            *(sys.executable, "-m", "recipebox.cli", "train", recipe),
        ],
        cwd=tmp_path,
        env=command_line_environment(RECIPEBOX_RUNS=str(locked / "runs")),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert_refused(done, 1, "no permission", str(locked))


@pytest.mark.parametrize(
    "name",
    [
        "evaluate.json",
        pytest.param("report.md", marks=pytest.mark.slow),
        pytest.param("pictures", marks=pytest.mark.slow),
    ],
)
def test_something_else_stands_in_the_way(
    command_line: CommandLine, tmp_path: Path, boards: Path, own_runs: Path, name: str
) -> None:
    """A folder where a file belongs, or the other way round, put there while training goes on."""
    done = interfered(tmp_path, boards, own_runs, lambda run: in_the_way(run / name))
    assert done.returncode == 1, done.stderr
    assert name in done.stderr
    assert "Move what is there away" in done.stderr
    assert "--resume" in done.stderr
    assert "is a bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_run_is_moved_away_while_it_goes_on(tmp_path: Path, boards: Path, own_runs: Path) -> None:
    done = interfered(tmp_path, boards, own_runs, lambda run: run.rename(tmp_path / "moved"), at="[2/")
    assert done.returncode in {1, 2}, done.stderr  # it notices when it writes next, or when it reads
    assert "moved or deleted while it was being worked on" in done.stderr
    assert "--resume" not in done.stderr
    assert "is a bug" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(own_runs.glob("fault/*"))


def in_the_way(path: Path) -> None:
    if path.suffix:
        (path / "full").mkdir(parents=True)
    else:
        path.write_text("a file", encoding="utf-8")


def interfered(
    folder: Path, boards: Path, runs: Path, interfere: Callable[[Path], object], at: str = "[1/"
) -> subprocess.CompletedProcess[str]:
    """Train, and do something to the run's folder as soon as a line that begins with `at` is said."""
    from conftest import command_line_environment

    process = subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", "train", write_recipe(folder, boards)],
        cwd=folder,
        env=command_line_environment(RECIPEBOX_RUNS=str(runs)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith(at):
            interfere(next(runs.glob("fault/*")))
            break
    out, rest = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, said + rest)
