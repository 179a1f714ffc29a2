"""The verbs that look at this machine and this installation."""

from __future__ import annotations

import typer

from recipebox.verbs.options import SETTINGS, Answer, Json, verb

app = typer.Typer(**SETTINGS)


@app.command()
@verb
def doctor(as_json: Json = False) -> Answer:
    """Show what is on this machine, what fits together, and the command that mends what does not."""
    from recipebox.checkup import doctor_job

    return Answer(*doctor_job())


@app.command()
@verb
def version(as_json: Json = False) -> Answer:
    """Print the version of recipebox."""
    from recipebox import __version__

    return Answer({"recipebox": __version__}, __version__)
