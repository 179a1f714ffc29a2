"""The command line. Nothing heavy is imported before a verb needs it.

Every verb takes --json: one document on stdout and nothing else there, {"error": ...} where it fails. Errors go to
stderr; errors.py has the exit codes, 130 is Ctrl-C and 143 is SIGTERM. RECIPEBOX_DEBUG=1 shows tracebacks.
"""

from __future__ import annotations

import os
import sys
from typing import Any

try:
    import typer

    from recipebox.verbs import devbox, installation, recipes, runs, sets
    from recipebox.verbs.options import SETTINGS
except KeyboardInterrupt:  # most of the start is this import
    os._exit(130)

app = typer.Typer(
    **SETTINGS,
    no_args_is_help=True,
    help="Reproducible recipes for small YOLO detectors: train, evaluate, export, bench, report.",
)
for group in (recipes, runs, sets, installation):
    app.add_typer(group.app)
app.add_typer(devbox.app, name="devbox")


def main() -> None:
    """The entry point of `recipebox`."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        os._exit(130)
    except BrokenPipeError:
        # The reader of the output went away (`recipebox runs | head`); there is nobody to tell.
        sys.stderr.close()
        os._exit(1)
    except Exception as error:
        code = _misused(error)
    sys.exit(code if isinstance(code, int) else 0)


def _misused(error: Any) -> int:
    """Explain a command line that cannot be understood. Typer raises Click's errors, its own copy of Click or not."""
    if not (hasattr(error, "format_message") and hasattr(error, "show")):
        raise error
    from recipebox.answers import misused

    error.show()
    code = int(error.exit_code)
    if "--json" in sys.argv:
        misused(error.format_message(), code)
    return code


if __name__ == "__main__":
    main()
