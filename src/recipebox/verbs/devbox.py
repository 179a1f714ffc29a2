"""The verbs that work in the devbox over ssh; `make up` starts it (docs/devbox.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipebox.verbs.options import SETTINGS, Answer, Json, verb

app = typer.Typer(**SETTINGS, help="Run recipebox in the devbox, over ssh; come back to what runs there.")

On = Annotated[str, typer.Option("--host", metavar="HOST", help="One of your ~/.ssh/config; default: this devbox.")]
JobId = Annotated[str | None, typer.Argument(metavar="JOB", help="A job's id; default: the one that runs.")]


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
def run(
    arguments: Annotated[list[str], typer.Argument(metavar="VERB [OPTIONS]...", help="As here: train pcb-distill.")],
    host: On = "devbox",
) -> None:
    """Run a verb of recipebox there: same output, exit code and run folder. Ctrl-C stops it, Ctrl-\\ leaves it."""
    from recipebox.answers import relay
    from recipebox.remote.hosts import DEVBOX, find_host, find_project
    from recipebox.remote.inside import run_inside

    def action() -> int:
        folder = Path.cwd() if host == DEVBOX else None  # another machine has its project wherever it likes
        return run_inside(find_host(host, find_project()), arguments, folder)

    raise typer.Exit(relay(action, as_json="--json" in arguments))


@app.command()
def attach(job: JobId = None, host: On = "devbox") -> None:
    """Come back to what runs there: its output from here on, its exit code."""
    from recipebox.answers import relay
    from recipebox.remote import inside
    from recipebox.remote.hosts import find_host, find_project

    raise typer.Exit(relay(lambda: inside.attach(find_host(host, find_project()), job), as_json=False))


@app.command()
@verb
def jobs(host: On = "devbox", as_json: Json = False) -> Answer:
    """List what was run there."""
    from recipebox.remote.hosts import find_host, find_project
    from recipebox.remote.inside import jobs_of, jobs_table

    rows = jobs_of(find_host(host, find_project()))
    return Answer(rows, jobs_table(rows))


@app.command()
@verb
def fetch(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="RECIPE/ID there, as `runs` shows it.")],
    host: On = "devbox",
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Default: the runs folder here.")] = None,
    as_json: Json = False,
) -> Answer:
    """Copy a run from there and check every file's hash; whole or not at all."""
    from recipebox.remote.fetch import fetch_run
    from recipebox.remote.hosts import find_host, find_project

    fetched = fetch_run(find_host(host, find_project()), run_folder, to)
    return Answer(fetched.document(), fetched.text())
