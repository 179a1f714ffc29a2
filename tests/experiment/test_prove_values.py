"""A technique that acts and does not hear one of its values: the value is proven by itself, and caught by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recipebox.data.stages import Stage, Stages
from recipebox.errors import DataError
from recipebox.experiment.proof_text import proof_text, without_it
from recipebox.experiment.prove import prove
from recipebox.experiment.trace import WatchedTrainer
from recipebox.recipe.head_sections import AnchorHead, Assigner
from recipebox.recipe.plan import Plan
from recipebox.supplies import Supplies
from recipebox.techniques.anchor_head import technique as anchor_technique
from recipebox.techniques.assigner import AssignerTechnique, AssignmentWrapper
from recipebox.techniques.distillation import box as box_distillation
from recipebox.techniques.distillation import technique as distillation_technique
from recipebox.techniques.distillation.technique import DistillationTechnique
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique

Planned = Callable[..., Plan]

TERMS = "techniques.distillation={box: {weight: 0.3, temperature: 5}, features: {loss: pkd, weight: 4}}"
TEACHERS = "techniques.distillation.teachers=[{recipe: tiny, weight: 3}, {recipe: second}]"
HEAD = "techniques.anchor_head={count: 2, obj: 3, pos_weight: {obj: 4, cls: 3}}"
THREE = "techniques.distillation.teachers=[{recipe: tiny}, {recipe: second, weight: 2}, {recipe: third, weight: 4}]"
OWN_ANCHORS = "techniques.anchor_head={anchors: [[5, 5], [9, 9], [20, 20]]}"

_scheduled, _feature_loss = DistillationTechnique.scheduled, distillation_technique.feature_loss
_make_lessons, _loss_settings = distillation_technique.make_lessons, anchor_technique.loss_settings
_head_anchors, _smooth, _at = anchor_technique.head_anchors, LabelSmoothingTechnique.on_setup, Stages.at
_losses, _on_model, _edges = DistillationTechnique.head_losses, DistillationTechnique.on_model, box_distillation._edges
_training_images = WatchedTrainer.training_images


def constant(key: str) -> Any:
    """Weights, or temperatures, that are 1 whatever the recipe says."""

    def scheduled(self: Any, asked: str) -> dict[str, float]:
        found = _scheduled(self, asked)
        return dict.fromkeys(found, 1.0) if asked == key else found

    return scheduled


def usual_loss(**usual: Any) -> Any:
    """A head with anchors whose criterion has the usual value of something."""
    return lambda settings: _loss_settings(settings) | usual


def three_anchors(settings: AnchorHead, *rest: Any) -> Any:
    return _head_anchors(settings.model_copy(update={"count": 3}), *rest)


def smoothed_by_a_tenth(self: Any, context: Any) -> None:
    _smooth(self, context)
    self._epsilon = torch.full_like(self._epsilon, 0.1)


def first_stage_only(self: Stages, epoch: int) -> Stage:
    whole = _at(self, epoch)
    if self.progressive is None or epoch < self.progressive.stages[0].until_epoch:
        return whole
    return Stage(self.imgsz, whole.gains)


def shown_only(self: Any, *given: Any) -> dict[str, torch.Tensor]:
    """Losses that are shown with their weight and differentiated without it."""
    weights = self.scheduled("weight")
    return {key: loss.detach() + (loss - loss.detach()) / weights[key] for key, loss in _losses(self, *given).items()}


def two_lessons(teachers: Any, weights: Any, *rest: Any) -> Any:
    """The third teacher is never heard."""
    heard = _make_lessons(teachers[:2], weights[:2], *rest)
    return (*heard, *(replace(lesson, share=0.0) for lesson in _make_lessons(teachers, weights, *rest)[2:]))


def one_teacher(self: Any, model: Any) -> None:
    """The first one is asked in the place of all."""
    _on_model(self, model)
    self.teachers = self.teachers[:1] * len(self.teachers)


CASES: dict[str, tuple[tuple[str, ...], str, Any, str, Any, str]] = {
    "a weight of 1": (
        (TERMS,), "distillation.box.weight", DistillationTechnique, "scheduled", constant("weight"), "nothing changes",
    ),
    "a temperature of 1": (
        (TERMS,), "distillation.box.temperature",
        DistillationTechnique, "scheduled", constant("temperature"), "nothing changes",
    ),
    "one loss for all": (
        (TERMS,), "distillation.features.loss",
        distillation_technique, "feature_loss", lambda loss, *rest: _feature_loss("mse", *rest), "nothing changes",
    ),
    "teachers that count alike": (
        (TEACHERS,), "distillation.teachers.weight",
        distillation_technique, "make_lessons",
        lambda teachers, weights, *rest: _make_lessons(teachers, [1.0] * len(weights), *rest), "nothing changes",
    ),
    "a power of the assigner": (
        ("techniques.assigner={topk: 2, beta: 1}",), "assigner.beta",
        AssignerTechnique, "wrap_criterion",
        lambda self, criterion: AssignmentWrapper(criterion, Assigner(topk=self.settings.topk), self._note),
        "nothing changes",
    ),
    "images for batch norm": (
        ("techniques.swa={last: 1, bn_images: 4}",), "swa.bn_images",
        WatchedTrainer, "training_images", lambda self, count: _training_images(self, 256), "nothing changes",
    ),
    "a gain": (
        (HEAD,), "anchor_head.obj", anchor_technique, "loss_settings", usual_loss(obj=1.0), "nothing changes",
    ),
    "a number of anchors": (
        (HEAD,), "anchor_head", anchor_technique, "head_anchors", three_anchors, "9 outputs of objectness for 6",
    ),
    "anchors of one's own": (
        (OWN_ANCHORS,), "anchor_head",
        anchor_technique, "head_anchors", lambda *given: (((5.0, 5.0),), ((30.0, 30.0),), ((30.0, 30.0),)),
        "the head's anchors are",
    ),
    "a weight that is shown and not differentiated": (
        (TERMS,), "distillation.box.weight", DistillationTechnique, "head_losses", shown_only,
        "neither gradient nor step feels it",
    ),
    "a temperature of which the factor is left": (
        (TERMS,), "distillation.box.temperature",
        box_distillation, "_edges", lambda bins, chosen, temperature: _edges(bins, chosen, 1.0),
        "its factor alone acts",
    ),
    "a third teacher": (
        (THREE,), "distillation.teachers.2", distillation_technique, "make_lessons", two_lessons, "nothing changes",
    ),
    "the other teachers": (
        (THREE,), "distillation.teachers", DistillationTechnique, "on_model", one_teacher, "but for rounding",
    ),
    "an augmentation that begins too early": (
        ("train.epochs=5", "techniques.late={mosaic: {from_epoch: 4}}"), "late.mosaic",
        Stages, "_begun", lambda self, name, epoch: name != "mosaic" or epoch >= 1, "nothing changes",
    ),
    "a weight of positives": (
        (HEAD,), "anchor_head.pos_weight.cls",
        anchor_technique, "loss_settings", usual_loss(pos_weight={"obj": 4.0, "cls": 1.0}), "nothing changes",
    ),
    "an epsilon": (
        ("techniques.anchor_head={count: 2}", "techniques.label_smoothing.epsilon=0.05"), "label_smoothing.epsilon",
        LabelSmoothingTechnique, "on_setup", smoothed_by_a_tenth, "nothing changes",
    ),
    "a second stage": (
        ("techniques.progressive={stages: [{imgsz: 32, until_epoch: 1}, {imgsz: 96, until_epoch: 2}]}",),
        "progressive", Stages, "at", first_stage_only, "images of epoch 2 should be 96 px wide, and are [64]",
    ),
    "an augmentation that never begins": (
        ("techniques.late={mosaic: {from_epoch: 2}}",), "late.mosaic.from_epoch",
        Stages, "_begun", lambda self, name, epoch: name != "mosaic", "nothing changes",
    ),
}  # fmt: skip
"""What is lost -> settings, the lever, and how it is lost."""


@pytest.fixture(autouse=True)
def second(recipes: Path) -> None:
    (recipes / "longer.yaml").write_text("# purpose: a teacher of the same seed\nextends: tiny\ntrain: {epochs: 5}\n")
    for name, seed in (("second", 7), ("third", 8)):
        (recipes / f"{name}.yaml").write_text(f"# purpose: a teacher\nextends: tiny\ntrain: {{seed: {seed}}}\n")


@pytest.mark.parametrize("lost", CASES)
def test_a_value_that_is_lost_is_caught(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    changes, name, place, method, broken, says = CASES[lost]
    plan, key = planned("student" if name.startswith("distillation") else "tiny", *changes), f"techniques.{name}"
    monkeypatch.setattr(place, method, broken)
    proof = prove(plan, supplies, only=[key])
    (dead,) = proof.dead
    assert proof.exit_code == 3
    assert says in (dead.why or "")
    assert f"no effect: {key}" in proof_text(proof)


@pytest.mark.parametrize(
    ("recipe", "settings", "values"),
    [
        ("tiny", [HEAD], ("obj", "pos_weight.obj", "pos_weight.cls")),
        ("tiny", ["techniques.assigner={topk: 2, beta: 1}"], ("topk", "beta")),
        ("tiny", ["techniques.swa={last: 1, bn_images: 8}", "data.images=12"], ("bn_images",)),
        ("student", [TEACHERS], ("weight",)),
        ("student", ["techniques.distillation.teachers=[{recipe: tiny, weight: 3}, {recipe: longer}]"], ("weight",)),
        ("tiny", ["techniques.assigner={alpha: 1, topk: 3}"], ("alpha",)),
    ],
    ids=["head", "assigner", "whole epochs for batch norm", "teachers", "teachers that begin alike", "alpha"],
)
def test_values_that_no_quick_recipe_sets_act(
    planned: Planned, supplies: Supplies, recipe: str, settings: list[str], values: tuple[str, ...]
) -> None:
    """Those that one sets are proven with it."""
    key = settings[0].partition("=")[0]
    proof = prove(planned(recipe, *settings), supplies, only=[f"{key}.{value}" for value in values])
    assert proof.exit_code == 0, proof_text(proof)
    assert len(proof.effects) == len(values)


def test_a_zero_that_training_refuses_leaves_the_other_levers_their_proof(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(settings: AnchorHead, *rest: Any) -> Any:
        if settings.threshold == 4.0:
            raise DataError("no anchors can be fitted")
        return _head_anchors(settings, *rest)

    monkeypatch.setattr(anchor_technique, "head_anchors", refused)
    keys = ["techniques.anchor_head.threshold", "techniques.anchor_head.obj"]
    proof = prove(planned("tiny", "techniques.anchor_head={count: 2, obj: 3, threshold: 2}"), supplies, only=keys)
    assert proof.exit_code == 3
    (unknown,) = proof.dead
    assert (unknown.lever.key, unknown.met) == (keys[0], False)
    assert "training is refused: no anchors can be fitted" in proof_text(proof)


def test_a_teacher_that_says_nothing_is_no_lost_setting(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = {"logits": torch.zeros(()), "box": torch.zeros(())}
    monkeypatch.setattr(DistillationTechnique, "head_losses", lambda self, *given: dict(silent))
    proof = prove(planned("student"), supplies, only=["techniques.distillation.box.temperature"])
    assert proof.exit_code == 3
    assert "not met: techniques.distillation.box.temperature: `kd_box_loss` is 0 in all" in proof_text(proof)


def test_a_table_shows_the_zero_of_the_value_and_not_what_goes_with_it() -> None:
    assert without_it("a.loss", {"a.loss": "mse", "a.temperature": None}) == ["mse"]
    assert without_it("a.from_epoch", {"a": None, "b": 0.0}) == [None, 0.0]
    assert without_it("a.weight", {"a": [{"recipe": "x", "weight": 1.0}]}) == [[1.0]]
    assert without_it("a.1", {"a": [{"recipe": "x"}]}) == [[{"recipe": "x"}]]


def test_the_technique_itself_does_not_tell(
    planned: Planned, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why values are levers: a loss at another temperature is still there, is positive and has a gradient."""
    monkeypatch.setattr(DistillationTechnique, "scheduled", constant("temperature"))
    proof = prove(planned("student", TERMS), supplies, only=["techniques.distillation.box"])
    assert proof.exit_code == 0, proof_text(proof)
