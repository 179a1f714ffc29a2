"""How a verb's answer and its errors reach the user: one document on stdout, messages on stderr, an exit code."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from recipebox.errors import RecipeboxError, StorageError, storage_errors
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


def deliver(verb: Callable[[], Answer], *, as_json: bool) -> int:
    """Run a verb, print its answer and return the exit code. Errors become one message on stderr."""
    set_quiet(as_json)
    try:
        with _stdout_for_the_document(as_json) as out:
            answer = verb()
            print(json.dumps(answer.document, indent=2, allow_nan=False) if as_json else answer.text, file=out)
            out.flush()
        return answer.exit_code
    except KeyboardInterrupt as interrupt:
        _tell(str(interrupt) or "interrupted")
        return getattr(interrupt, "exit_code", INTERRUPTED)
    except BrokenPipeError:
        raise
    except RecipeboxError as error:
        return _explain(error)
    except Exception as error:
        return _explain_unexpected(error)


@contextmanager
def _stdout_for_the_document(as_json: bool) -> Iterator[IO[str]]:
    """stdout for the answer; with --json whatever anybody else prints meanwhile, libraries included, goes to stderr."""
    if not as_json:
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


def _explain(error: RecipeboxError) -> int:
    _tell(f"error: {error}")
    if os.environ.get("RECIPEBOX_DEBUG") == "1":
        traceback.print_exception(error)
    return error.exit_code


def _explain_unexpected(error: Exception) -> int:
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
        _tell("error: the machine is out of memory. A smaller train.batch or train.imgsz needs less.")
        return 1
    _tell(f"error: {_first_line(cause)}")
    _tell(f"this is a bug in recipebox; details in {_write_details(cause, run_folder)}")
    if os.environ.get("RECIPEBOX_DEBUG") == "1":
        traceback.print_exception(cause)
    return 1


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
    print(message, file=sys.stderr, flush=True)
