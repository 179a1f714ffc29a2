"""Teachers for a proof: finished runs where there are some, else the teacher's network as it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recipebox.data.archive import file_sha256
from recipebox.experiment.trace import WatchedTrainer
from recipebox.experiment.window import Window
from recipebox.making import plan_lock
from recipebox.recipe.lock import lock_digest
from recipebox.recipe.plan import Plan
from recipebox.recipe.technique_sections import Techniques
from recipebox.run_dir import RunDir, write_json
from recipebox.supplies import Supplies
from recipebox.teachers import finished_teacher, run_as_it_is, runs_with_lock
from recipebox.train.run import make_trainer
from recipebox.train.weights_file import shippable


@dataclass(frozen=True)
class Teaching:
    """The teachers' runs in the plan's order, and in words what each is."""

    runs: tuple[RunDir, ...]
    words: tuple[str, ...]


def teaching(plan: Plan, supplies: Supplies, folder: Path) -> Teaching:
    """A teacher for each of the plan's; what has to be made for the purpose is made in `folder`.

    The proof is of the lever's action, not of its worth, so an untrained teacher serves where no trained one is.
    """
    found = [_teaching(teacher, supplies, folder, place) for place, teacher in enumerate(plan.teachers)]
    return Teaching(tuple(run for run, _ in found), tuple(words for _, words in found))


def _teaching(teacher: Plan, supplies: Supplies, folder: Path, place: int) -> tuple[RunDir, str]:
    if teacher.run is not None:
        return run_as_it_is(teacher), f"teacher {teacher.name}: {teacher.run}"
    found = runs_with_lock(teacher.name, lock_digest(plan_lock(teacher, supplies)))
    run = finished_teacher([run for run in found if run.state()[0] == "finished"])
    if run is not None:
        return run, f"teacher {teacher.name}: {run.root}"
    words = (
        f"teacher {teacher.name}: no finished run, so its network as it begins ({teacher.settings.model.weights}), its "
        "head moved off indifference; what is proven is that the levers act, not what they are worth"
    )
    return untrained(teacher, supplies, folder, place), words


def untrained(teacher: Plan, supplies: Supplies, folder: Path, place: int = 0) -> RunDir:
    """A run folder with the weights that the teacher's training would begin with.

    A drawn network is drawn from another seed than the student's and the teachers' at other places, and its head is
    given opinions: one that was never trained is sure of nothing, and says of every edge what a drawn student says, so
    there would be nothing to learn.
    """
    settings = teacher.settings
    train = settings.train.model_copy(update={"seed": settings.train.seed + 1 + place})
    bare = replace(
        teacher,
        settings=settings.model_copy(update={"techniques": Techniques(p2=settings.techniques.p2), "train": train}),
    )
    run = RunDir.create(teacher.name, folder)
    trainer = make_trainer(
        bare,
        run,
        supplies.detection_set(settings),
        weights=supplies.weights(settings),
        kind=WatchedTrainer,
    )
    assert isinstance(trainer, WatchedTrainer)
    trainer.watch(Window(epoch=0))
    _give_opinions(trainer.ema.ema, train.seed + 1000 * place)
    torch.save(shippable(trainer.ema.ema, trainer.args), run.best)
    write_json(run.result("train"), {"schema": 1, "weights": {"best": {"sha256": file_sha256(run.best)}}})
    return run


def _give_opinions(model: Any, seed: int) -> None:
    """Let a head that was never trained on these classes say something: about one score in eight above a half, and
    edges that are surer of some distances than of others."""
    source = torch.Generator().manual_seed(seed)
    for name, value in model.model[-1].named_parameters():
        if not name.endswith("2.bias"):  # the last layer of each branch and level
            continue
        drawn = torch.randn(value.shape, generator=source).to(value.device)
        value.data = drawn - 1.2 if "cv3" in name else value.data + drawn
