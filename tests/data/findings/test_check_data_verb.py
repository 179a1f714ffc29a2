"""`recipebox check-data` on the command line: one document, a table, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import CommandLine


def test_the_table_and_the_document(command_line: CommandLine, boards: Path) -> None:
    (boards / "labels/train/train_1.txt").write_text("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n")
    told = command_line("check-data", str(boards))
    assert told.returncode == 3 and not told.stderr
    assert "labels/train/train_1.txt:2: class 7 is out of range 0..1" in told.stdout
    done = command_line("check-data", str(boards), "--json", "--labels-only")
    document = json.loads(done.stdout)
    assert done.returncode == 3 and not document["passed"] and document["counts"]["error"] == 1
    assert document["splits"]["val"] == {"images": 3, "without_label": 0, "boxes": {"scratch": 3, "dent": 3}}
    (finding,) = document["findings"]
    assert (finding["rule"], finding["severity"], finding["line"]) == ("class-range", "error", 2)
    assert finding["file"] == str(boards / "labels/train/train_1.txt")


def test_a_clean_set_passes_and_what_is_none_is_told(command_line: CommandLine, boards: Path, tmp_path: Path) -> None:
    assert "nothing found" in command_line("check-data", str(boards)).stdout
    assert command_line("check-data", str(boards)).returncode == 0
    (tmp_path / "empty").mkdir()
    for what, words in ((tmp_path / "empty", "no data.yaml"), ("nowhere", "no such data set"), ("", "no such data")):
        done = command_line("check-data", str(what), "--json")
        assert done.returncode == 2 and words in json.loads(done.stdout)["error"]["message"]
        assert "Traceback" not in done.stderr
