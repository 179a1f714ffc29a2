"""`recipebox plan` has to answer at once: nothing in recipe/ may pull in what computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import recipebox


def test_planning_imports_nothing_heavy():
    files = (Path(recipebox.__file__).parent / "recipe").glob("[a-z]*.py")
    modules = sorted(f"recipebox.recipe.{path.stem}" for path in files)
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*sorted({'torch', 'ultralytics', 'numpy', 'cv2', 'rich', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    source = str(Path(recipebox.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    assert result.stdout.strip() == ""
