"""Progress on stderr: a bar with the remaining time on a terminal, a plain line now and then in a log.

Nothing is shown for what takes less than about a second. `set_quiet(True)` (the command line's --json) silences all
of it. Bars may be nested; they share one display.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    import rich.progress

T = TypeVar("T")

SHOW_AFTER_S = 1.0
"""What ends sooner than this shows nothing."""
PLAIN_EVERY_S = 20.0
"""Without a terminal: at most one line in this time, and one when the work ends."""

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence progress and `say` (True) or let them speak again (False), for the whole process."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether progress is silenced."""
    return _quiet


def say(message: str) -> None:
    """Print a line to stderr, above the bars if there are any. Silent in quiet mode."""
    if _quiet:
        return
    if _terminal.display is not None:
        _terminal.display.console.print(message, markup=False, highlight=False, soft_wrap=True)
    else:
        print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words a person reads: `42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of `iterable` and show how far it has come.

    Args:
        iterable: what to walk through.
        description: a few words on what is done, e.g. `drawing boards`.
        total: the number of items, where `iterable` has no length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(description, total) as bar:
        for item in iterable:
            yield item
            bar.update()


class Progress:
    """The progress of one piece of work: `with Progress("training", total) as bar: bar.update(1, info="loss 1.2")`.

    Args:
        description: a few words on what is done.
        total: units of work in all, or None where nobody knows.
        completed: units that were done before (a resumed run); they do not count for the speed.
    """

    def __init__(self, description: str, total: float | None = None, *, completed: float = 0) -> None:
        self.description = description
        self.total = total
        self.completed = completed
        self.info = ""
        self._before = completed
        self._started = time.monotonic()
        self._last_line: float | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            _terminal.close(self, "" if kind is None else "interrupted after ")
        elif self._last_line is not None and not _quiet:
            self._print_line("done" if kind is None else "interrupted")

    def update(self, n: float = 1, info: str | None = None) -> None:
        """Count `n` more units as done; `info` is shown behind the bar until the next one."""
        self.completed += n
        if info is not None:
            self.info = info
        if _quiet:
            return
        now = time.monotonic()
        if _is_terminal():
            if self._task is not None or now - self._started >= SHOW_AFTER_S:
                _terminal.show(self)
        elif now - (self._last_line or self._started) >= (PLAIN_EVERY_S if self._last_line else SHOW_AFTER_S):
            self._print_line()
            self._last_line = now

    def elapsed(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    def remaining(self) -> float | None:
        """Seconds that are left at the speed so far; None while nobody can know."""
        done = self.completed - self._before
        if self.total is None or done <= 0:
            return None
        return max(0.0, self.total - self.completed) * self.elapsed() / done

    def _print_line(self, ending: str = "") -> None:
        count = f"{self.completed:g}" if self.total is None else f"{self.completed:g}/{self.total:g}"
        parts = [f"{self.description}: {count}"]
        if self.total:
            parts[0] += f" ({min(1.0, self.completed / self.total):.0%})"
        remaining = self.remaining()
        if ending:
            parts.append(f"{ending} after {duration(self.elapsed())}")
        elif remaining is not None:
            parts.append(f"{duration(remaining)} left")
        if self.info:
            parts.append(self.info)
        print(", ".join(parts), file=sys.stderr, flush=True)


class _Terminal:
    """The one rich display that all bars of the process share; it exists while a bar is shown."""

    def __init__(self) -> None:
        self.display: rich.progress.Progress | None = None
        self._open = 0

    def show(self, bar: Progress) -> None:
        if self.display is None:
            self.display = _new_display()
            self.display.start()
        if bar._task is None:
            bar._task = self.display.add_task(
                bar.description, total=bar.total, completed=int(bar._before), info="", left=""
            )
            self._open += 1
        remaining = bar.remaining()
        left = "" if remaining is None else f"{duration(remaining)} left"
        self.display.update(bar._task, completed=bar.completed, info=bar.info, left=left)

    def close(self, bar: Progress, ending: str) -> None:
        if self.display is None or bar._task is None:
            return
        left = ending + duration(bar.elapsed())
        self.display.update(bar._task, completed=bar.completed, info=bar.info, left=left)
        self.display.stop_task(bar._task)
        bar._task = None
        self._open -= 1
        if self._open == 0:
            self.display.stop()
            self.display = None


def _new_display() -> rich.progress.Progress:
    from rich.console import Console, RenderableType
    from rich.constrain import Constrain
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Info(ProgressColumn):
        """One line that is cut where the terminal ends; as the widest column that may shrink it does so first."""

        def render(self, task: Task) -> Text:
            return Text(str(task.fields["info"]), no_wrap=True, overflow="ellipsis")

    class Bars(Progress):
        """Bars that leave the right edge free: there a terminal writes ^C, which must not begin a new line."""

        def get_renderable(self) -> RenderableType:
            return Constrain(super().get_renderable(), max(1, console.width - 3))

    console = Console(stderr=True)
    narrow = max(8, min(30, (console.width - 56) // 2))  # on 80 columns the epoch and the decay still have room
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=narrow),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[left]}", markup=False),
        Info(),
        console=console,
        refresh_per_second=4,
    )


_terminal = _Terminal()


def _is_terminal() -> bool:
    if _terminal.display is not None:
        return True  # rich replaces sys.stderr while it shows bars; before rich 15 what it puts there is no terminal
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
