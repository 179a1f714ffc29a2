"""A lever that acts is proven, one of each kind that does not is caught, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from recipebox.data.detection_set import DetectionSet, Split
from recipebox.data.order import EpochOrder
from recipebox.data.stages import Stages
from recipebox.data.views import TrainingViews
from recipebox.errors import BadInput, PlanConflict
from recipebox.experiment import prove as prove_module
from recipebox.experiment.proof_text import proof_document, proof_text
from recipebox.experiment.prove import prove
from recipebox.experiment.teachers import teaching, untrained
from recipebox.experiment.trace import WatchedTrainer, trace
from recipebox.experiment.window import Window
from recipebox.making import plan_lock
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.recipe.plan import Plan
from recipebox.recipe.schema import Settings
from recipebox.run_dir import runs_root, write_json
from recipebox.supplies import Supplies
from recipebox.techniques import label_smoothing, swa
from recipebox.techniques.anchor_head.loss import AnchorLoss
from recipebox.techniques.assigner import AssignerTechnique, AssignmentWrapper, P2Technique
from recipebox.techniques.base import innermost
from recipebox.techniques.border import BorderTechnique
from recipebox.techniques.class_loss import inner_losses
from recipebox.techniques.class_weights import ClassWeightsTechnique
from recipebox.techniques.clipping import ClippingTechnique
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.techniques.ema import EmaTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique, smooth_targets
from recipebox.techniques.progressive import ProgressiveTechnique
from recipebox.techniques.sampling import SamplingTechnique
from recipebox.techniques.swa import SwaTechnique, held_schedule
from recipebox.train import run as train_run
from recipebox.train.trainer import RecipeTrainer

if TYPE_CHECKING:
    from conftest import CommandLine

Planned = Callable[..., Plan]

WHOLE_TARGETS = "techniques.anchor_head={count: 2}"
"""A head whose class targets are 1. Those of the stock one are next to 0 from scratch, and nothing is smoothed."""

_anchor_loss = AnchorLoss.__call__


def shown_objectness(self: Any, preds: Any, batch: Any) -> Any:
    """A criterion whose objectness is among its items, and not in the sum that is differentiated."""
    losses, items = _anchor_loss(self, preds, batch)
    return losses * torch.tensor([1.0, 0.0, 1.0]), items


def unweighed(self: Any, criterion: Any) -> Any:
    """A criterion whose class weights are lost."""
    for loss in inner_losses(criterion):
        loss.class_weights = None
    return criterion


def test_levers_of_every_kind_act(planned: Planned, supplies: Supplies, tmp_path: Path, monkeypatch: Any) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    keys = ["techniques.distillation.logits", "techniques.ema", "train.nbs", "train.close_mosaic"]
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
            (WHOLE_TARGETS, "techniques.label_smoothing.epsilon=0.1"),
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
            LabelSmoothingTechnique,
            "tiny",
            ("factor", lambda self: 1.0),
            (WHOLE_TARGETS, "techniques.label_smoothing={epsilon: 0.1, schedule: linear}"),
            "techniques.label_smoothing.schedule",
            "nothing changes",
        ),
        (
            LabelSmoothingTechnique,
            "tiny",
            ("factor", lambda self: 1.0),
            (WHOLE_TARGETS, "techniques.label_smoothing={epsilon: 0.1, off_last: 1}"),
            "techniques.label_smoothing.off_last",
            "nothing changes",
        ),
        (
            label_smoothing,
            "tiny",
            ("smooth_targets", lambda targets, epsilon, share: smooth_targets(targets, epsilon, 1 / 6)),
            (WHOLE_TARGETS, "techniques.label_smoothing={epsilon: 0.1, form: binary}"),
            "techniques.label_smoothing.form",
            "nothing changes",
        ),
        (
            DistillationTechnique,
            "student",
            ("scheduled", lambda self, key: {name: getattr(each, key) for name, each in self.settings.terms.items()}),
            ("techniques.distillation.box.weight_end=0.1",),
            "techniques.distillation.box.weight_end",
            "nothing changes",
        ),
        (
            DistillationTechnique,
            "student",
            ("scheduled", lambda self, key: {name: getattr(each, key) for name, each in self.settings.terms.items()}),
            ("techniques.distillation.logits.temperature_end=4",),
            "techniques.distillation.logits.temperature_end",
            "nothing changes",
        ),
        (
            BorderTechnique,
            "tiny",
            ("on_views", lambda self, views: None),
            ("augment.border=random",),
            "augment.border",
            "nothing changes at all: no border shows",
        ),
        (
            AssignerTechnique,
            "tiny",
            ("wrap_criterion", lambda self, criterion: AssignmentWrapper(criterion, None, self._note)),
            ("techniques.assigner={topk: 1}",),
            "techniques.assigner",
            "nothing changes",
        ),
        (
            P2Technique,
            "tiny",
            ("_note", lambda self, chosen, objects: setattr(self, "_share", (chosen.sum() * 0, chosen.sum()))),
            ("techniques.p2=true",),
            "techniques.p2",
            "no object of these images is learned there",
        ),
        (
            ClassWeightsTechnique,
            "tiny",
            ("wrap_criterion", unweighed),
            ("techniques.class_weights.by=inverse",),
            "techniques.class_weights.by",
            "nothing changes",
        ),
        (
            swa,
            "tiny",
            ("estimate_batch_norm", lambda model, batches: 0),
            ("techniques.swa.last=2",),
            "techniques.swa",
            "nobody estimates them anew",
        ),
        (
            AnchorLoss,
            "tiny",
            ("__call__", shown_objectness),
            ("techniques.anchor_head={count: 2}",),
            "techniques.anchor_head",
            "the gradient of the head's objectness is 0",
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
            TrainingViews,
            "tiny",
            ("draw_by", lambda self, weights: setattr(self, "weights", np.ones(len(weights)))),
            ("techniques.sampling.by=inverse",),
            "techniques.sampling",
            "only in another order",
        ),
        (
            ClassWeightsTechnique,
            "tiny",
            ("_positives_weighed", lambda self, bce: bce),
            (WHOLE_TARGETS, "techniques.class_weights={by: inverse, pos_weight: 2}"),
            "techniques.class_weights.pos_weight",
            "nothing changes",
        ),
        (
            ClassWeightsTechnique,
            "tiny",
            ("train_args", lambda self: {"cls_pw": 1.0}),
            ("techniques.class_weights={by: inverse, power: 0.3}",),
            "techniques.class_weights.by",
            "and their weights are",
        ),
        (
            LabelSmoothing,
            "tiny",
            ("epsilon_of", lambda self, name: self.epsilon),
            (WHOLE_TARGETS, "techniques.label_smoothing={epsilon: 0.1, per_class: {open: 0.4}}"),
            "techniques.label_smoothing.per_class",
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
            ("techniques.late={mosaic: {from_epoch: 2}, mixup: {from_epoch: 2}}", "augment.mixup=0.7"),
            "techniques.late.mixup",
            "nothing changes",
        ),
    ],
    ids=[
        "a criterion that forgets to add",
        "an average nobody uses",
        "targets left as they are",
        "a norm nobody clips",
        "targets smoothed as at the beginning",
        "targets smoothed to the very end",
        "targets smoothed in the other form",
        "a weight that stays",
        "a temperature that stays",
        "a border nobody draws",
        "cells chosen as ever",
        "a level that learns nothing",
        "classes that all count alike",
        "statistics of batch norm that are taken over",
        "an objectness that is shown and not learned",
        "a mean nobody makes",
        "a size nobody asks for",
        "an order that stays",
        "weights that are all alike",
        "a positive weight behind class weights that act",
        "class weights of another power",
        "a class that is smoothed as the others",
        "a rate that is held elsewhere",
        "an augmentation that does not wait beside one that does",
    ],
)
def test_a_technique_that_forgets_to_act_is_caught(
    planned: Planned,
    supplies: Supplies,
    monkeypatch: pytest.MonkeyPatch,
    broken: Any,
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


def test_what_runs_from_one_value_to_another_acts(planned: Planned, supplies: Supplies) -> None:
    distilled = planned(
        "student",
        "techniques.distillation.logits={temperature: 1, temperature_end: 4}",
        "techniques.distillation.box={weight: 0.5, weight_end: 0.1}",
    )
    rising = planned("student", "techniques.distillation.logits={weight: 0, weight_end: 1}", "train.epochs=2")
    smoothing = "techniques.label_smoothing={epsilon: 0.1, form: binary, schedule: linear, off_last: 1}"
    smoothed = planned("tiny", WHOLE_TARGETS, smoothing)
    ends = ["techniques.distillation.logits.temperature_end", "techniques.distillation.box.weight_end"]
    parts = [f"techniques.label_smoothing.{key}" for key in ("form", "schedule", "off_last")]
    for plan, only in ((distilled, ends), (rising, ["techniques.distillation.logits"]), (smoothed, parts)):
        proof = prove(plan, supplies, only=only)
        assert len(proof.effects) == len(only)
        assert proof.exit_code == 0, proof_text(proof)


@pytest.mark.parametrize("ema", ["{every: 4, tau: 2000}", "{every: 3, tau: 10}", "off", "{decay: 0.9998}"])
def test_an_average_that_leaves_steps_out_acts(planned: Planned, supplies: Supplies, ema: str) -> None:
    """Where one of two decays is 1, their product does not tell which average is nearer to the live weights."""
    proof = prove(planned("tiny", f"techniques.ema={ema}"), supplies, only=["techniques.ema"])
    assert proof.exit_code == 0, proof_text(proof)


class OneRareImage(Supplies):
    """`pin-hole` is in one training image alone, the last one of the epoch that is looked at."""

    def detection_set(self, settings: Settings) -> DetectionSet:
        whole = super().detection_set(settings)
        (*_, last) = (index for index, _ in _order(settings, len(whole.train)))
        boxes = [each * np.array([0, 1, 1, 1, 1], np.float32) for each in whole.train.boxes]
        boxes[last][:, 0] = whole.names.index("pin-hole")
        return dataclasses.replace(whole, train=Split(whole.train.images, tuple(boxes)))


def _order(settings: Settings, images: int) -> EpochOrder:
    order = EpochOrder(images, settings.train.seed, settings.train.epochs)
    order.epoch = 1
    return order


@pytest.mark.parametrize(
    ("lever", "value"),
    [
        ("techniques.class_weights.pos_weight", "{pin-hole: 3}"),
        ("techniques.label_smoothing", "{epsilon: 0, form: binary, per_class: {pin-hole: 0.2}}"),
    ],
)
def test_an_object_of_a_rare_class_is_waited_for(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, lever: str, value: str
) -> None:
    plan = planned("tiny", WHOLE_TARGETS, "train.batch=2", "train.nbs=2", "augment.mosaic=0", f"{lever}={value}")
    rare = OneRareImage()
    (effect,) = prove(plan, rare, only=[lever]).effects
    assert effect.acts, effect.why
    assert effect.lever.window.batches == 4, "it is in the last of four batches"
    monkeypatch.setattr(prove_module, "MOST_VIEWS", 6)
    proof = prove(plan, rare, only=[lever])
    assert proof.exit_code == 3, "nothing is proven"
    assert f"not met: {lever}: no object of pin-hole is in the first 6 images of epoch 2" in proof_text(proof)
    assert "NOT MET" in proof_text(proof)
    (shown,) = proof_document(proof)["levers"]
    assert (shown["acts"], shown["met"]) == (False, False)


def test_an_augmentation_of_few_images_is_looked_for_in_many(planned: Planned, supplies: Supplies) -> None:
    """One image in fifty is mixed, and an epoch has eight."""
    changes = ("augment.mixup=0.02", "train.close_mosaic=1")
    long, short = (planned("tiny", f"train.epochs={epochs}", *changes) for epochs in (50, 3))
    assert prove(long, supplies, only=["augment.mixup"]).exit_code == 0
    proof = prove(short, supplies, only=["augment.mixup"])
    assert proof.exit_code == 3
    assert "not met: augment.mixup: it shows in one of 50 images, and in none of the 16" in proof_text(proof)


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
    ("argument", "change"),
    [
        ("momentum", "train.momentum=0.8"),
        ("box", "train.box=3"),
        ("nbs", "train.nbs=8"),
        ("lr0", "train.lr0=0.005"),
        ("close_mosaic", "train.close_mosaic=1"),
    ],
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


def test_a_step_that_falls_into_no_batch_is_no_lost_setting(planned: Planned, supplies: Supplies) -> None:
    """Six batches make the run's one step, and SWA averages from the third batch on."""
    changes = ("train.warmup_epochs=0", "train.nbs=64", "techniques.swa.last=2")
    proof = prove(planned("tiny", *changes), supplies, only=["techniques.ema"])
    assert proof.exit_code == 3
    says = "not met: techniques.ema: no optimizer step is made in the 2 batches from epoch 1 on (`nbs: 64`)"
    assert says in proof_text(proof)


def test_levers_on_steps_act_in_a_run_that_hardly_steps(planned: Planned, supplies: Supplies) -> None:
    """Six batches, and eight to a step: the first epoch has the only one of the run."""
    student = planned(
        "student",
        "train.nbs=32",
        "techniques.distillation.box={weight: 0.5, weight_end: 0}",
        "techniques.distillation.logits={weight: 0.1, weight_end: 1}",
    )
    keys = ["techniques.distillation.logits", "techniques.distillation.box", "train.optimizer"]
    proof = prove(student, supplies, only=keys)
    assert proof.exit_code == 0, proof_text(proof)


def test_a_table_is_as_wide_as_the_terminal(planned: Planned, supplies: Supplies, monkeypatch: Any) -> None:
    proof = prove(planned("tiny"), supplies, only=["techniques.ema", "train.lr0"])
    monkeypatch.setenv("COLUMNS", "80")
    lines = proof_text(proof).splitlines()
    assert max(map(len, lines)) <= 80
    assert "techniques.ema  acts" in lines
    assert any("is 0.002, without 0.01" in line for line in lines)
    monkeypatch.setenv("COLUMNS", "300")
    assert proof_text(proof).startswith("lever  ")


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
    assert "away from where its decays lead" in (dead.why or "")


def test_noise_alone_is_no_effect(planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that never repeats itself proves nothing."""
    step, source = RecipeTrainer.optimizer_step, torch.Generator().manual_seed(0)

    def unsteady(self: Any) -> None:
        step(self)
        average = next(self.ema.ema.parameters())
        disturbance = torch.randn(average.shape, generator=source)
        average.data += 0.1 * disturbance / torch.linalg.vector_norm(disturbance)  # as large each time, another way

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
    only = ["train.cos_lr", "techniques.ema", "train.close_mosaic"]
    proof = prove(planned("tiny", "train.cos_lr=true", "train.epochs=2"), supplies, only=only)
    document = json.loads(json.dumps(proof_document(proof), allow_nan=False))
    assert (document["schema"], document["recipe"], document["passed"]) == (1, "tiny", False)
    found = {lever["lever"]: lever for lever in document["levers"]}
    ema, cosine = found["techniques.ema"], found["train.cos_lr"]
    assert found["train.close_mosaic"]["effect"].keys() == {"images"}, "nothing else was compared"
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
