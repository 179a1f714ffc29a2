"""What every verb of the command line has: options that mean the same everywhere, and an answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ParamSpec

import typer
from typer.core import TyperGroup

P = ParamSpec("P")

SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
"""Of every group of verbs."""

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the recipe; default: gpu or cpu, as the machine is.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")]
Device = Annotated[str | None, typer.Option(help="cpu, or the number of a GPU; default: what there is.")]
Trust = Annotated[bool, typer.Option("--trust-weights", help="Load weights that nobody vouches for.")]
NoFetch = Annotated[bool, typer.Option("--no-fetch", help="Take nothing from the network.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or the path of a YAML file.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a recipe: its latest finished run.")]


class DefaultVerb(TyperGroup):
    """A group of verbs whose first one needs no name: `bench RUN` is `bench run RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next(iter(self.commands))
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [first, *args]
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Answer:
    """What a verb says: `document` with --json, else `text` for people."""

    document: Any
    text: str
    exit_code: int = 0


def verb(function: Callable[P, Answer]) -> Callable[P, None]:
    """Make a command of a function that answers: prints the answer, and turns errors into messages and exit codes."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        from recipebox.answers import deliver

        code = deliver(lambda: function(*args, **kwargs), as_json=bool(kwargs.get("as_json")))
        if code:
            raise typer.Exit(code)

    return command
