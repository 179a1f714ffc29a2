"""A run folder: runs/<recipe>/<id>/, its paths, atomic writes and its state."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, get_args

from recipebox.errors import RunError, StorageError, storage_errors

State = Literal["running", "finished", "stopped", "failed"]


def runs_root() -> Path:
    """Where runs are kept: $RECIPEBOX_RUNS, else ./runs."""
    return Path(os.environ.get("RECIPEBOX_RUNS") or "runs").absolute()


@contextmanager
def atomic_writer(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it into place when the block ends without an error.

    Raises:
        StorageError: the disk is full or not writable; `path` is then what it was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with storage_errors(path):
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_writer(path, "w") as file:
        file.write(text)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file whole or not at all. NaN is refused: a number is measured or it is not printed."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_object(path: Path, mend: str, *, finite: bool = True) -> dict[str, Any]:
    """The JSON object in a file of a run.

    Args:
        path: the file.
        mend: the sentence that says what writes it anew.
        finite: refuse NaN, infinity and what overflows to it.

    Raises:
        RunError: not there, not readable, cut short, not JSON, or not an object. Names the file, ends with `mend`.
    """
    strictly: dict[str, Any] = {"parse_constant": _refuse_constant, "parse_float": _finite_float} if finite else {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"), **strictly)
    except FileNotFoundError:
        raise RunError(f"{path}: is not there. {mend}") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or type(error).__name__}). {mend}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid JSON ({error}). {mend}") from None
    if not isinstance(document, dict):
        raise RunError(f"{path}: not a JSON object. {mend}")
    return document


@dataclass(frozen=True)
class RunDir:
    """The paths of one run. Every file in it is written through `atomic_writer`, telemetry (*.jsonl) excepted."""

    root: Path

    @classmethod
    def create(cls, recipe: str, runs: Path | None = None) -> RunDir:
        """Make a new, empty run folder; never an existing one.

        Raises:
            StorageError: the folder cannot be made, or its name is not UTF-8.
        """
        parent = (runs or runs_root()) / recipe
        try:
            str(parent).encode()
        except UnicodeEncodeError:
            # Ultralytics writes the name into YAML, ONNX Runtime opens files by it: both need text.
            raise StorageError(
                f"{parent}: the name of this folder is not UTF-8, which training needs. Set RECIPEBOX_RUNS to another."
            ) from None
        with storage_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            while True:
                stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
                root = parent / f"{stamp}-{secrets.token_hex(2)}"
                try:
                    root.mkdir()
                except FileExistsError:
                    continue
                break
            (root / "weights").mkdir()
        return cls(root)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Raises RunError when `path` is not a run folder."""
        run = cls(path.absolute())
        if not is_run(run.root):
            raise RunError(f"{path}: not a run folder (no plan.yaml in it). `recipebox runs` lists the runs there are.")
        return run

    @property
    def recipe(self) -> str:
        return self.root.parent.name

    @property
    def id(self) -> str:
        return self.root.name

    @property
    def plan(self) -> Path:
        return self.root / "plan.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "lock.json"

    @property
    def steps(self) -> Path:
        return self.root / "steps.jsonl"

    @property
    def epochs(self) -> Path:
        return self.root / "epochs.jsonl"

    @property
    def results_csv(self) -> Path:
        return self.root / "results.csv"

    @property
    def checkpoint(self) -> Path:
        return self.root / "state.pt"

    @property
    def best(self) -> Path:
        return self.root / "weights" / "best.pt"

    @property
    def last(self) -> Path:
        return self.root / "weights" / "last.pt"

    @property
    def onnx(self) -> Path:
        return self.root / "weights" / "best.onnx"

    def result(self, stage: Literal["train", "evaluate", "export", "bench"]) -> Path:
        """The result file of a stage."""
        return self.root / f"{stage}.json"

    @property
    def report_md(self) -> Path:
        return self.root / "report.md"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    def read_result(self, stage: Literal["train", "evaluate", "export", "bench"]) -> dict[str, Any]:
        """Raises RunError when the stage has not been run or its file is spoiled."""
        again = f"recipebox train {self.recipe}" if stage == "train" else f"recipebox {stage} {self.root}"
        try:
            return read_object(self.result(stage), f"`{again}` makes one.")
        except RunError:
            if is_run(self.root):
                raise
            gone = "is no run folder any more. It was moved or deleted while it was being worked on."
            raise RunError(f"{self.root}: {gone}") from None

    def differences(self) -> list[str]:
        """What was not as in the run's lock when its training went on after an interruption, in words."""
        try:
            return [str(words) for words in read_object(self.root / "differences.json", "")["differences"]]
        except (RunError, KeyError, TypeError):
            return []

    def add_differences(self, differences: Sequence[str]) -> None:
        """Keep these with what `differences` says already."""
        every = list(dict.fromkeys([*self.differences(), *differences]))
        if every:
            write_json(self.root / "differences.json", {"differences": every})

    def set_state(self, state: State, reason: str = "") -> None:
        """Record what the run is doing, and why it ended."""
        process = {"pid": os.getpid(), "started": _started(os.getpid()), "boot": _boot_id(), "pids": _pid_namespace()}
        document = {"state": state, "reason": reason, **process, "time": time.time()}
        write_json(self.root / "state.json", document)

    def state(self) -> tuple[State, str]:
        """(state, reason). A run whose process died without a word counts as stopped."""
        try:
            document = read_object(self.root / "state.json", "")
            state, reason = document["state"], str(document["reason"])
        except (RunError, KeyError):
            return "stopped", "the run left no state"
        if state not in get_args(State):
            return "stopped", "the run left no state that can be read"
        if state == "running" and not _alive(document, self.root):
            return "stopped", "its process ended without a word"
        return state, reason

    def sweep(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote; only for who has claimed the run."""
        for folder in (self.root, self.root / "weights", self.root / "pictures"):
            for path in folder.glob(".*.part"):
                with suppress(OSError):
                    path.unlink()

    def disk_free(self) -> int:
        """Free bytes where the run lives."""
        return shutil.disk_usage(self.root).free


def finished_runs(recipe: str, runs: Path | None = None) -> list[RunDir]:
    """The finished runs of a recipe, latest first."""
    parent = (runs or runs_root()) / recipe
    try:
        folders = sorted((path for path in parent.iterdir() if is_run(path)), reverse=True)
    except OSError:
        return []
    return [run for run in map(RunDir, folders) if run.state()[0] == "finished"]


def find_run(name: str, runs: Path | None = None) -> RunDir:
    """The run that `name` means: a folder, or a recipe's latest finished run.

    Raises:
        RunError: neither exists; the message says how to make one.
    """
    if not name:
        raise RunError("no run was named. `recipebox runs` lists the runs there are.")
    if is_run(Path(name)):
        return RunDir.open(Path(name))
    if "/" in name or name in {".", ".."}:
        raise RunError(f"{name}: not a run folder. `recipebox runs` lists the runs there are.")
    finished = finished_runs(name, runs)
    if not finished:
        raise RunError(f"{name}: no finished run of this recipe. `recipebox train {name}` makes one.")
    return finished[0]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text[:20]}")
    return value


def is_run(folder: Path) -> bool:
    """Whether a folder holds a plan, as every run does."""
    try:
        return (folder / "plan.yaml").is_file()
    except OSError:  # a name that no file can have, or a folder that may not be entered
        return False


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a living process began, in the kernel's ticks since boot; empty where that cannot be known.

    One that ended and that its parent has not asked after (a zombie) is not living: in a container whose first
    process asks after nobody, they stay.
    """
    try:
        # The name in brackets may hold anything; state and starttime are the 3rd and 22nd field (proc_pid_stat(5)).
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if stat[0] in {"Z", "X"} else stat[19]
    except (OSError, IndexError):
        return ""


def _pid_namespace() -> str:
    """What process numbers mean here: a container counts its own. Empty where that cannot be known."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _alive(process: dict[str, Any], run: Path) -> bool:
    """Whether the process that wrote a state still lives: a number alone is given again, in a container at once."""
    pid = process.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0 or process.get("boot") != _boot_id():
        return False
    if process.get("pids", _pid_namespace()) != _pid_namespace():
        return _claimed_elsewhere(run)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return "started" not in process or process["started"] == _started(pid)


def _claimed_elsewhere(run: Path) -> bool:
    """Whether a process in another container, whose number says nothing here, holds its claim (endings.claimed)."""
    try:
        import fcntl

        folder = os.open(run, os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(folder)
    return False
