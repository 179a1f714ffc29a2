"""A lever that acts is proven, one of each kind that does not is caught, and nothing is left behind."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from recipebox.data.stages import Stages
from recipebox.data.views import TrainingViews
from recipebox.errors import BadInput, PlanConflict
from recipebox.experiment.proof_text import proof_document, proof_text
from recipebox.experiment.prove import prove
from recipebox.experiment.teachers import teaching, untrained
from recipebox.experiment.trace import WatchedTrainer, Window, trace
from recipebox.making import plan_lock
from recipebox.recipe.plan import Plan
from recipebox.run_dir import runs_root, write_json
from recipebox.supplies import Supplies
from recipebox.techniques.base import innermost
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.techniques.progressive import ProgressiveTechnique
from recipebox.techniques.sampling import SamplingTechnique
from recipebox.techniques.swa import SwaTechnique, held_schedule
from recipebox.train import run as train_run
from recipebox.train.trainer import RecipeTrainer

if TYPE_CHECKING:
    from conftest import CommandLine

Planned = Callable[..., Plan]


def test_levers_of_every_kind_act(planned: Planned, supplies: Supplies, tmp_path: Path, monkeypatch: Any) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    only = ["distillation.logits", "distillation.box", "ema"]
    keys = [*(f"techniques.{name}" for name in only), "train.nbs", "train.warmup_epochs", "train.close_mosaic"]
    proof = prove(planned("student", "train.nbs=8"), supplies, only=keys)
    assert {effect.lever.key for effect in proof.effects} == set(keys)
    assert proof.exit_code == 0, proof_text(proof)
    assert all(not any(e.noise.quantities().values()) for e in proof.effects if e.noise), "repeatable to the last bit"
    by_key = {effect.lever.key: effect.difference for effect in proof.effects}
    logits, ema = by_key["techniques.distillation.logits"], by_key["techniques.ema"]
    assert logits is not None
    assert ema is not None
    assert logits.losses is not None
    assert logits.losses["kd_logits_loss"] == 1
    assert logits.cosine is not None
    assert logits.cosine < 1
    assert (ema.loss, ema.gradient, ema.weights) == (0, 0, 0), "the average is nobody's target"
    assert ema.average > 0
    assert "no finished run" in proof.teachers[0]
    assert not list(temporary.glob("recipebox-*"))
    assert not (tmp_path / "runs").exists(), "a proof leaves no run"


@pytest.mark.parametrize(
    ("broken", "name", "method", "changes", "key", "says"),
    [
        (
            DistillationTechnique,
            "student",
            ("wrap_criterion", lambda self, criterion: criterion),
            (),
            "techniques.distillation.logits",
            "nothing changes at all",
        ),
        (EmaTechnique, "tiny", ("on_setup", lambda self, context: None), (), "techniques.ema", "nothing changes"),
        (
            LabelSmoothingTechnique,
            "tiny",
            ("factor", lambda self: 0.0),
            ("techniques.label_smoothing.epsilon=0.1",),
            "techniques.label_smoothing",
            "nothing changes",
        ),
        (
            ClippingTechnique,
            "tiny",
            ("on_setup", lambda self, context: None),
            ("techniques.clipping.max_norm=0.5",),
            "techniques.clipping",
            "nothing changes",
        ),
        (
            SwaTechnique,
            "tiny",
            ("on_epoch_end", lambda self, context: None),
            ("techniques.swa.last=2",),
            "techniques.swa",
            "away from the mean of the epochs' ends",
        ),
        (
            ProgressiveTechnique,
            "tiny",
            ("on_views", lambda self, views: None),
            ("techniques.progressive={stages: [{imgsz: 32, until_epoch: 2}]}",),
            "techniques.progressive",
            "nothing changes",
        ),
        (
            SamplingTechnique,
            "tiny",
            ("on_views", lambda self, views: setattr(self, "_classes", 6)),
            ("techniques.sampling.by=inverse",),
            "techniques.sampling",
            "nothing changes",
        ),
        (
            SamplingTechnique,
            "tiny",
            ("weights", lambda self, split, classes: np.ones(len(split))),
            ("techniques.sampling.by=inverse",),
            "techniques.sampling",
            "only in another order",
        ),
        (
            ClassWeightsTechnique,
            "tiny",
            ("_positives_weighed", lambda self, bce: bce),
            ("techniques.class_weights={by: inverse, pos_weight: 2}",),
            "techniques.class_weights.pos_weight",
            "nothing changes",
        ),
        (
            SwaTechnique,
            "tiny",
            ("wrap_schedule", lambda self, schedule: held_schedule(schedule, self.first, None)),
            ("techniques.swa={last: 2, lr: 0.0005}",),
            "techniques.swa",
            "the learning rate should be 0.0005",
        ),
        (
            Stages,
            "tiny",
            ("_begun", lambda self, name, epoch: name != "mosaic" or epoch >= 2),
            ("techniques.late={mosaic: {from_epoch: 2}, mixup: {from_epoch: 2}}", "augment.mixup=0.5"),
            "techniques.late.mixup",
            "nothing changes",
        ),
    ],
    ids=[
        "a criterion that forgets to add",
        "an average nobody uses",
        "targets left as they are",
        "a norm nobody clips",
        "a mean nobody makes",
        "a size nobody asks for",
        "an order that stays",
        "weights that are all alike",
        "a positive weight behind class weights that act",
        "a rate that is held elsewhere",
        "an augmentation that does not wait beside one that does",
    ],
)
def test_a_technique_that_forgets_to_act_is_caught(
    planned: Planned,
    supplies: Supplies,
    monkeypatch: pytest.MonkeyPatch,
    broken: type,
    name: str,
    method: tuple[str, Any],
    changes: tuple[str, ...],
    key: str,
    says: str,
) -> None:
    monkeypatch.setattr(broken, *method)
    proof = prove(planned(name, *changes), supplies, only=[key])
    (dead,) = proof.dead
    assert proof.exit_code == 3
    assert dead.lever.key == key
    assert says in (dead.why or "")
    assert f"no effect: {key}" in proof_text(proof)


def test_a_technique_that_only_pretends_is_caught(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The term is shown, and not in the sum that is differentiated."""
    wrap = DistillationTechnique.wrap_criterion

    def pretending(self: Any, criterion: Any) -> Any:
        whole = wrap(self, criterion)

        def shown_only(preds: Any, batch: Any) -> Any:
            loss, items = whole(preds, batch)
            return loss[:3], items

        return shown_only

    monkeypatch.setattr(DistillationTechnique, "wrap_criterion", pretending)
    (dead,) = prove(planned("student"), supplies, only=["techniques.distillation.box"]).dead
    assert "does not feel it" in (dead.why or "")


@pytest.mark.parametrize(
    ("argument", "change"), [("momentum", "train.momentum=0.8"), ("box", "train.box=3"), ("nbs", "train.nbs=8")]
)
def test_a_setting_that_is_lost_on_its_way_is_caught(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch, argument: str, change: str
) -> None:
    whole = train_run.stock_arguments

    def without_it(*given: Any) -> dict[str, Any]:
        arguments = whole(*given)
        del arguments[argument]
        return arguments

    monkeypatch.setattr(train_run, "stock_arguments", without_it)
    proof = prove(planned("tiny", change), supplies, only=[f"train.{argument}"])
    assert [dead.lever.key for dead in proof.dead] == [f"train.{argument}"]


def test_an_augmentation_that_is_never_applied_is_caught(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned("tiny", "augment.flipud=0.5")
    assert prove(plan, supplies, only=["augment.flipud"]).exit_code == 0
    build = TrainingViews.build_transforms

    def unflipped(self: Any, hyp: Any = None) -> Any:
        hyp.flipud = 0.0
        return build(self, hyp)

    monkeypatch.setattr(TrainingViews, "build_transforms", unflipped)
    (dead,) = prove(plan, supplies, only=["augment.flipud"]).dead
    assert "nothing changes" in (dead.why or "")


def test_a_lever_that_training_refuses_is_refused_with_its_reason(planned: Planned, supplies: Supplies) -> None:
    plan = planned("tiny", "techniques.sampling={by: repeat_factor, threshold: 0.0001}")
    with pytest.raises(PlanConflict, match="changes nothing: every class is in at least"):
        prove(plan, supplies, only=["techniques.sampling"])


def test_what_acts_the_wrong_way_is_caught(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An average that should follow more slowly than stock's, and follows at once."""
    monkeypatch.setattr(EmaTechnique, "decay", lambda self, updates: 0.0)
    (dead,) = prove(planned("tiny"), supplies, only=["techniques.ema"]).dead
    assert "farther from" in (dead.why or "")


def test_noise_alone_is_no_effect(planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that never repeats itself proves nothing."""
    step, made = RecipeTrainer.optimizer_step, iter(range(1, 100))

    def unsteady(self: Any) -> None:
        step(self)
        for parameter in self.ema.ema.parameters():
            parameter.data += 0.1 * next(made)
            break

    monkeypatch.setattr(RecipeTrainer, "optimizer_step", unsteady)
    monkeypatch.setattr(EmaTechnique, "on_setup", lambda self, context: None)
    (dead,) = prove(planned("tiny"), supplies, only=["techniques.ema"]).dead
    assert "no more than between two runs" in (dead.why or "")


def test_the_traced_trainer_stands_where_a_resumed_one_would(planned: Planned, supplies: Supplies) -> None:
    plan = planned("tiny", "train.nbs=8")
    detection_set = supplies.detection_set(plan.settings)
    late = trace(plan, Window(2, batches=2), detection_set, weights=None, teacher_runs=())
    assert len(late.views) == 8
    assert len(late.step_norms) == 1, "two batches to a step"
    assert late.rates[0][0] == pytest.approx(0.002 * ((1 - 2 / 3) * 0.99 + 0.01)), "past the warm-up, on the line"
    # Of the four batches before it the first steps by itself in the warm-up, the second and third together.
    assert late.numbers[1]["ema/decay"] == pytest.approx(0.9999 * (1 - math.exp(-3 / 10)))
    ends = trace(plan, Window(0, 1, epoch_batches=1, epoch_ends=2), detection_set, weights=None, teacher_runs=())
    assert len(ends.views) == 8, "two epochs cut short after one batch"
    looked = trace(plan, Window(1, views=8), detection_set, weights=None, teacher_runs=())
    assert looked.weights is None
    assert len(looked.views) == 8


def test_a_head_without_bins_is_proven_at_its_epoch_and_in_full_precision(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YOLO26: `dfl` is the gain of an L1, and the criterion knows which epoch it is."""
    seen = set()
    begin = WatchedTrainer._on_train_epoch_start

    def noted(self: Any) -> None:
        seen.add((int(self.epoch), innermost(self.network.criterion).updates, self.args.amp))
        begin(self)

    monkeypatch.setattr(WatchedTrainer, "_on_train_epoch_start", noted)
    plan = planned("tiny", "model.arch=yolo26n", "train.dfl=3")
    assert plan.settings.train.amp
    proof = prove(plan, supplies, only=["train.dfl"])
    assert proof.exit_code == 0, proof_text(proof)
    assert seen == {(1, 1, False)}


def test_only_names_levers_of_the_recipe(planned: Planned, supplies: Supplies) -> None:
    with pytest.raises(BadInput, match=r"no lever of this recipe: techniques.swa.*techniques.ema"):
        prove(planned("tiny"), supplies, only=["techniques.swa"])


def test_the_document_is_json_and_whole(planned: Planned, supplies: Supplies) -> None:
    proof = prove(
        planned("tiny", "train.cos_lr=true", "train.epochs=2"), supplies, only=["train.cos_lr", "techniques.ema"]
    )
    document = json.loads(json.dumps(proof_document(proof), allow_nan=False))
    assert (document["schema"], document["recipe"], document["passed"]) == (1, "tiny", False)
    ema, cosine = document["levers"]
    assert ema["acts"]
    assert ema["above_noise"] == ["average"]
    assert ema["effect"]["weights"] == 0
    assert not cosine["acts"]
    assert "never active" in cosine["why"]
    assert "effect" not in cosine


def test_a_finished_teacher_is_used(planned: Planned, supplies: Supplies, tmp_path: Path) -> None:
    plan = planned("student")
    run = untrained(plan.teachers[0], supplies, runs_root())
    write_json(run.lock, plan_lock(plan.teachers[0], supplies))
    run.plan.touch()
    assert teaching(plan, supplies, tmp_path).runs != (run,), "it is not finished"
    run.set_state("finished")
    taught = teaching(plan, supplies, tmp_path)
    assert taught.runs == (run,)
    assert taught.words == (f"teacher tiny: {run.root}",)


def test_exit_code_3_and_the_reason(recipes: Path, command_line: CommandLine, tmp_path: Path) -> None:
    dead = command_line("prove", "tiny", "--set", "augment.hsv_h=0.5", "--only", "augment.hsv_h", cwd=tmp_path)
    assert dead.returncode == 3
    assert "no effect: augment.hsv_h: nothing changes at all: grey images have no colour to vary" in dead.stdout
