"""Progress: a bar on a terminal, plain lines in a log, nothing for quick work and none in quiet mode."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipebox import progress

SOURCE = Path(progress.__file__).parents[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets: clock[0] is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_quick_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([1, 2, 3], "quick")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("training", 100) as bar:
        for step in range(1, 101):
            clock[0] = float(step)
            bar.update(1, info=f"cls_loss {step}")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "training: 1/100 (1%), 1 min 39 s left, cls_loss 1"
    assert lines[1].startswith("training: 21/100 (21%), 1 min 19 s left")
    assert lines[-1] == "training: 100/100 (100%), done after 1 min 40 s, cls_loss 100"
    assert len(lines) == 6
    assert all(character.isprintable() for line in lines for character in line)


def test_a_resumed_bar_judges_its_speed_by_its_own_work(clock: list[float]) -> None:
    with progress.Progress("training", 100, completed=90) as bar:
        clock[0] = 10.0
        bar.update(5)
        assert bar.remaining() == pytest.approx(10.0)


def test_an_error_leaves_an_honest_last_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress.Progress("training", 10) as bar:
        clock[0] = 5.0
        bar.update()
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1] == "training: 1/10 (10%), interrupted after 5 s"


def test_unknown_total(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for item in progress.track(iter("ab"), "reading"):
        clock[0] += 30.0 if item == "a" else 0.0
    assert capsys.readouterr().err.splitlines()[0] == "reading: 1"


def test_quiet_mode_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress.set_quiet(True)
    with progress.Progress("training", 2) as bar:
        clock[0] = 60.0
        bar.update()
        progress.say("hello")
    assert capsys.readouterr() == ("", "")


@given(st.floats(min_value=0, max_value=1e6))
def test_durations_do_not_lose_time(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    words = progress.duration(seconds).split()
    read = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(read - seconds) <= (0.5 if seconds < 3599 else 60.0)


def on_a_terminal(code: str, columns: int) -> tuple[str, int]:
    """What a program writes to a terminal of this width, and its exit status. It sees its bars at once."""
    code = f"from recipebox import progress\nprogress.SHOW_AFTER_S = 0.0\n{code}"
    main, second = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=second, stdout=second, env=environment)
    os.close(second)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(main)
    return shown.decode(), process.wait(timeout=30)


def test_a_terminal_gets_a_bar_that_ends_clean() -> None:
    code = (
        "with progress.Progress('training', 3) as bar:\n"
        "    bar.update(1, info='[loss] 1')\n"
        "    for _ in progress.track(range(2), 'validating'):\n"
        "        progress.say('[a line] above')\n"
        "    bar.update(2)\n"
    )
    text, status = on_a_terminal(code, 120)
    assert status == 0
    assert "training" in text
    assert "3/3" in text
    assert "validating" in text
    assert "[loss] 1" in text
    assert "[a line] above" in text
    assert text.rstrip().endswith("\x1b[?25h")


LONG = (
    "try:\n"
    "    with progress.Progress('training', 528) as bar:\n"
    "        for _ in range(3):\n"
    "            bar.update(7, info='epoch 57/100 ema 0.9934 box 1.00 cls 0.29 dfl 0.30 kd_logits 0.01 kd 0.02')\n"
    "        ENDING\n"
    "except KeyboardInterrupt:\n"
    "    pass\n"
)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_bar_keeps_to_its_line(columns: int) -> None:
    """Its count and time are whole, what is behind them is cut, and ^C at the end of the line does not wrap it."""
    text, status = on_a_terminal(LONG.replace("ENDING", "pass"), columns)
    assert status == 0
    lines = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n") if line]
    assert all(line.startswith("training") for line in lines)
    assert all(len(line) <= columns - 3 for line in lines)
    assert " 21/528 " in lines[-1]
    assert re.search(r" \d+ s epoch 5", lines[-1])  # a busy machine takes longer than half a second
    assert (" epoch 57/100 ema 0.9934 box" in lines[-1]) == (columns >= 80)


def test_a_bar_stays_a_bar_while_stderr_is_stood_in_for() -> None:
    """rich replaces sys.stderr while it shows bars, before version 15 by something without isatty()."""
    code = (
        "import io, sys\n"
        "with progress.Progress('training', 3) as bar:\n"
        "    bar.update(1)\n"
        "    rich_s, sys.stderr = sys.stderr, io.StringIO()\n"
        "    bar.update(1)\n"
        "    lines, sys.stderr = sys.stderr.getvalue(), rich_s\n"
        "    bar.update(1)\n"
        "sys.exit(lines or 0)\n"
    )
    text, status = on_a_terminal(code, 80)
    assert (status, "3/3" in text) == (0, True), text


def test_an_interrupted_bar_says_so() -> None:
    text, status = on_a_terminal(LONG.replace("ENDING", "raise KeyboardInterrupt"), 80)
    assert status == 0
    assert re.search(r"21/528 interrupted after \d+ s", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
