"""The verbs that take a recipe: what it would do, the main job, its proof, a grid of it; and the list of recipes."""

from __future__ import annotations

from typing import Annotated

import typer

from recipebox.verbs.options import SETTINGS, Answer, Device, Json, NoFetch, Profile, Recipe, Set, Trust, verb

app = typer.Typer(**SETTINGS)
recipes_app = typer.Typer(**SETTINGS, help="List the recipes; `schema` prints the JSON Schema for editors.")
app.add_typer(recipes_app, name="recipes")


@app.command()
@verb
def plan(
    recipe: Recipe,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    time: Annotated[bool, typer.Option("--time", help="Estimate from a few steps timed here.")] = False,
    as_json: Json = False,
) -> Answer:
    """Show what training this recipe would do here, and do nothing."""
    from recipebox.job import plan_job

    document, text = plan_job(recipe, profile=profile, changes=changes or [], device=device, time=time)
    return Answer(document, text)


@app.command()
@verb
def train(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A name, or the path of a YAML file.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a stopped run.")] = None,
    locked: Annotated[str | None, typer.Option(metavar="RUN", help="Repeat a run and compare the weights.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Train a recipe (its teacher first), evaluate, export, bench and report it."""
    from recipebox import job
    from recipebox.errors import BadInput
    from recipebox.supplies import Supplies

    if sum(given is not None for given in (recipe, resume, locked)) != 1:
        raise BadInput("train takes one of: RECIPE, --resume RUN, --locked RUN. `recipebox recipes` lists the recipes.")
    if recipe is None and (profile or changes or device):
        raise BadInput(
            "--profile, --set and --device belong to a new run; --resume and --locked repeat what the run's plan says."
        )
    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    if resume is not None:
        result = job.resume_job(resume, supply)
    elif locked is not None:
        result = job.locked_job(locked, supply)
    else:
        assert recipe is not None
        result = job.train_job(recipe, supply, profile=profile, changes=changes or [], device=device)
    return Answer(result.document(), result.text(), result.exit_code)


@app.command()
@verb
def prove(
    recipe: Recipe,
    only: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Prove this lever only; repeatable.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Show for every lever of a recipe what a few training steps lose without it; exit code 3 where that is nothing."""
    from recipebox.experiment.proof_text import proof_document, proof_text
    from recipebox.experiment.prove import prove_job
    from recipebox.supplies import Supplies

    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    proof = prove_job(recipe, supply, profile=profile, changes=changes or [], device=device, only=only or ())
    return Answer(proof_document(proof), proof_text(proof), proof.exit_code)


@app.command()
@verb
def sweep(
    recipe: Recipe,
    over: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="Values of a setting; repeatable.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="1,2,3", help="Default: the recipe's own seed.")] = None,
    profile: Profile = None,
    changes: Set = None,
    device: Device = None,
    trust_weights: Trust = False,
    no_fetch: NoFetch = False,
    as_json: Json = False,
) -> Answer:
    """Train a grid of settings with the same seeds and compare each with the first; the same command goes on."""
    from recipebox.experiment.sweep import sweep_job
    from recipebox.experiment.sweep_text import sweep_document, sweep_text
    from recipebox.supplies import Supplies

    supply = Supplies(trust_weights=trust_weights, allow_fetch=not no_fetch)
    done = sweep_job(
        recipe, supply, over=over or (), seeds=seeds, profile=profile, changes=changes or [], device=device
    )
    return Answer(sweep_document(done), sweep_text(done), done.exit_code)


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes; `recipebox recipes schema` prints their JSON Schema."""
    if context.invoked_subcommand is None:
        _recipes(as_json=as_json)


@verb
def _recipes(as_json: Json = False) -> Answer:
    from recipebox.listing import list_recipes, recipes_table

    rows = list_recipes()
    return Answer(rows, recipes_table(rows))


@recipes_app.command()
@verb
def schema(as_json: Json = False) -> Answer:
    """Print the JSON Schema of a recipe, for editors that complete and check YAML."""
    import json

    from recipebox.recipe.load import recipe_json_schema

    document = recipe_json_schema()
    return Answer(document, json.dumps(document, indent=2))
