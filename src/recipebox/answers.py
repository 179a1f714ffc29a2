"""How a verb's answer and its errors reach the user: one document on stdout, messages on stderr, an exit code."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from recipebox.errors import Problem, RecipeboxError, RecipeError, StorageError, storage_errors
from recipebox.progress import set_quiet

INTERRUPTED = 130


class Answer(Protocol):
    """What a verb says."""

    @property
    def document(self) -> Any: ...
    @property
    def text(self) -> str: ...
    @property
    def exit_code(self) -> int: ...


@dataclass(frozen=True)
class Failure:
    """Why there is no answer; with --json it is the document."""

    kind: str
    message: str
    exit_code: int
    problems: tuple[Problem, ...] = ()

    def document(self) -> dict[str, Any]:
        """For --json. `problems`, of a recipe, are there where each has a file and a line."""
        shown = {"kind": self.kind, "message": self.message, "exit_code": self.exit_code}
        return {"error": shown | ({"problems": [asdict(one) for one in self.problems]} if self.problems else {})}


def deliver(verb: Callable[[], Answer], *, as_json: bool) -> int:
    """Run a verb, print its answer and return the exit code.

    Errors become one message on stderr, and with --json a document `{"error": ...}` on stdout.
    """
    set_quiet(as_json)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong with an image is said once, by us
    with _stdout_for_the_document(as_json) as out:
        try:
            answer = verb()
            print(_json(answer.document) if as_json else answer.text, file=out)
            out.flush()
            return answer.exit_code
        except (Exception, KeyboardInterrupt) as error:
            failure = _failure(error)
        if as_json:
            print(_json(failure.document()), file=out, flush=True)
        return failure.exit_code


def relay(action: Callable[[], int], *, as_json: bool) -> int:
    """Run what writes its own answer, and return its exit code; errors are told as `deliver` tells them."""
    try:
        return action()
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
    if as_json:
        print(_json(failure.document()), flush=True)
    return failure.exit_code


def _failure(error: BaseException) -> Failure:
    """Say on stderr what went wrong. A reader that went away is nobody to tell: cli.py's to handle."""
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, KeyboardInterrupt):
        words = str(error) or "interrupted"
        _tell(words)
        return Failure("Interrupted", words, getattr(error, "exit_code", INTERRUPTED))
    if isinstance(error, RecipeboxError):
        return _explain(error)
    assert isinstance(error, Exception)
    return _explain_unexpected(error)


def misused(message: str, exit_code: int) -> None:
    """Print the document of a command line that cannot be understood; the message is on stderr already."""
    print(_json(Failure("UsageError", message, exit_code).document()), flush=True)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, allow_nan=False)


@contextmanager
def _stdout_for_the_document(as_json: bool) -> Iterator[IO[str]]:
    """stdout for the answer; with --json whatever anybody else prints meanwhile, libraries included, goes to stderr."""
    if not as_json:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text of this terminal
        yield sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(kept, "w", encoding="utf-8", closefd=False) as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _explain(error: RecipeboxError) -> Failure:
    _tell(f"error: {error}")
    if os.environ.get("RECIPEBOX_DEBUG") == "1":
        traceback.print_exception(error)
    problems = error.problems if isinstance(error, RecipeError) else ()
    return Failure(type(error).__name__, str(error), error.exit_code, problems)


def _explain_unexpected(error: Exception) -> Failure:
    run_folder: Path | None = getattr(error, "run_folder", None)
    cause = error.__cause__ if run_folder is not None and isinstance(error.__cause__, Exception) else error
    if isinstance(cause, OSError):
        place = Path(str(cause.filename or run_folder or "."))
        try:
            with storage_errors(place):
                raise cause
        except StorageError as refused:
            return _explain(refused)
        except OSError:
            pass
    if isinstance(cause, MemoryError):
        return _explain(
            RecipeboxError("the machine is out of memory. A smaller train.batch or train.imgsz needs less.")
        )
    _tell(f"error: {_first_line(cause)}")
    _tell(f"this is a bug in recipebox; details in {_write_details(cause, run_folder)}")
    if os.environ.get("RECIPEBOX_DEBUG") == "1":
        traceback.print_exception(cause)
    return Failure("UnexpectedFailure", _first_line(cause), 1)


def _write_details(error: BaseException, folder: Path | None) -> str:
    """Keep the traceback in the run folder, or in the temporary folder where there is no run."""
    text = " ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error))
    name = "error.log"
    try:
        if folder is None:
            handle, name = tempfile.mkstemp(prefix="recipebox-error-", suffix=".log")
            os.close(handle)
            path = Path(name)
        else:
            path = folder / name
        path.write_text(text, encoding="utf-8")
    except OSError:
        return "nothing: the file cannot be written; RECIPEBOX_DEBUG=1 shows them"
    return str(path)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _tell(message: str) -> None:
    """To stderr. What a terminal would obey (in a file's name) is spelled out; lines stay lines."""
    plain = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in message)
    print(plain, file=sys.stderr, flush=True)
