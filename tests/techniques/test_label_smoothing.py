"""Smoothed targets against the formula written out, against torch's own softmax form, and their schedule."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipebox.data.detection_set import Split
from recipebox.errors import PlanConflict
from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique, smooth_targets


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft targets (anchors, nc), one class an anchor or none, and an epsilon a class."""
    classes, anchors = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    targets = torch.zeros(anchors, classes, dtype=torch.float64)
    for anchor in range(anchors):
        targets[anchor, draw(st.integers(0, classes - 1))] = draw(st.floats(0, 1))
    epsilon = torch.tensor([draw(st.floats(0, 0.5)) for _ in range(classes)], dtype=torch.float64)
    return targets, epsilon


@given(cases(), st.floats(0, 1))
def test_formula(case: tuple[torch.Tensor, torch.Tensor], share: float) -> None:
    targets, epsilon = case
    found = smooth_targets(targets, epsilon, share)
    for anchor, row in enumerate(targets.tolist()):
        given_away = sum(e * t for e, t in zip(epsilon.tolist(), row, strict=True))
        for column, value in enumerate(row):
            expected = value * (1 - epsilon[column].item()) + share * given_away
            assert found[anchor, column].item() == pytest.approx(expected, abs=1e-12)


@given(cases())
def test_spread_keeps_the_mass_and_the_background(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    targets, epsilon = case
    found = smooth_targets(targets, epsilon, 1 / targets.shape[1])
    assert torch.allclose(found.sum(-1), targets.sum(-1), atol=1e-12)
    assert (found[targets.sum(-1) == 0] == 0).all()
    if targets.shape[1] == 1:
        assert torch.allclose(found, targets)


@given(cases(), st.floats(0, 0.5))
def test_binary_is_each_class_by_itself(case: tuple[torch.Tensor, torch.Tensor], epsilon: float) -> None:
    """y (1 - eps) + eps / 2 of a binary label, scaled by the anchor's score; a lone class is lowered by eps / 2."""
    targets = case[0]
    mass = targets.sum(-1, keepdim=True)
    assert torch.allclose(smooth_targets(targets, epsilon, 0.5), targets * (1 - epsilon) + mass * epsilon / 2)
    if targets.shape[1] == 1:
        assert torch.allclose(smooth_targets(targets, epsilon, 0.5), targets * (1 - epsilon / 2))


@given(st.integers(1, 8), st.floats(0, 0.9))
def test_on_one_hot_labels_it_is_the_softmax_form(classes: int, epsilon: float) -> None:
    source = torch.Generator().manual_seed(classes)
    logits = torch.randn(5, classes, generator=source, dtype=torch.float64)
    labels = torch.randint(0, classes, (5,), generator=source)
    one_hot = torch.nn.functional.one_hot(labels, classes).double()
    ours = torch.nn.CrossEntropyLoss()(logits, smooth_targets(one_hot, epsilon, 1 / classes))
    torchs = torch.nn.CrossEntropyLoss(label_smoothing=epsilon)(logits, labels)
    assert ours.item() == pytest.approx(torchs.item(), abs=1e-12)


def technique(names: tuple[str, ...] = ("a", "b", "c"), epochs: int = 4, **settings: Any) -> LabelSmoothingTechnique:
    """After set-up, in a run of ten batches an epoch."""
    made = LabelSmoothingTechnique(LabelSmoothing.model_validate({"epsilon": 0.1} | settings), epochs)
    made.on_setup(context(1, epochs, names))
    return made


def context(step: int, epochs: int = 4, names: tuple[str, ...] = ("a", "b", "c")) -> Any:
    numbers: dict[str, float] = {}
    boxes = np.array([[index, 0.5, 0.5, 0.1, 0.1] for index in range(len(names))], np.float32)  # one of each class
    return SimpleNamespace(
        names=names,
        detection_set=SimpleNamespace(names=names, train=Split((Path("board.png"),), (boxes,))),
        device=torch.device("cpu"),
        step=step,
        total_steps=10 * epochs,
        numbers=numbers,
        record=numbers.__setitem__,
    )


def factors(made: LabelSmoothingTechnique) -> list[float]:
    out = []
    for step in range(1, 41):
        made._context = context(step)
        out.append(made.factor())
    return out


def test_schedules() -> None:
    assert factors(technique()) == [1.0] * 40
    linear = factors(technique(schedule="linear"))
    assert linear[0] == 1.0 and linear[-1] == 0.0
    assert linear == pytest.approx([1 - (step - 1) / 39 for step in range(1, 41)])
    assert factors(technique(off_last=1)) == [1.0] * 30 + [0.0] * 10
    ending = factors(technique(schedule="linear", off_last=2))
    assert ending[:20] == pytest.approx([1 - (step - 1) / 19 for step in range(1, 21)])
    assert ending[20:] == [0.0] * 20
    assert factors(technique(off_last=9)) == [0.0] * 40


def smoothed(made: LabelSmoothingTechnique, targets: torch.Tensor) -> torch.Tensor:
    """The targets that reach the loss."""
    seen: list[torch.Tensor] = []
    change = made._smoothed(lambda logits, soft: seen.append(soft) or logits)  # type: ignore[func-returns-value]
    change(torch.zeros_like(targets), targets)
    return seen[0]


def test_each_class_has_its_own_epsilon_and_both_branches_are_counted() -> None:
    made = technique(per_class={"b": 0.3})
    targets = torch.tensor([[[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0]]])
    soft = smoothed(made, targets)
    assert torch.allclose(soft[0, 0], torch.tensor([0.45 + 0.05 / 3, 0.05 / 3, 0.05 / 3]))
    assert torch.allclose(soft[0, 1], torch.tensor([0.05, 0.35 + 0.05, 0.05]))
    smoothed(made, torch.zeros_like(targets))
    now = context(1)
    made.on_step(now)
    moved = (0.05 * 2 / 3 + 0.15 * 2 / 3) / 2
    assert now.numbers == pytest.approx(
        {"smoothing/epsilon": 0.1, "smoothing/epsilon_b": 0.3, "smoothing/moved": moved}
    )
    made.on_step(now)
    assert now.numbers["smoothing/moved"] == 0.0, "counted from the last step on"


def test_nothing_is_changed_where_nothing_is_smoothed() -> None:
    targets = torch.rand(2, 5, 3)
    assert torch.equal(smoothed(technique(epsilon=0.0), targets), targets)
    off = technique(off_last=4)
    assert off._smoothed(torch.nn.functional.binary_cross_entropy) is torch.nn.functional.binary_cross_entropy


def test_classes_that_do_not_fit_are_refused_at_setup() -> None:
    with pytest.raises(PlanConflict, match="form: binary"):
        technique(names=("spur",))
    technique(names=("spur",), form="binary")
    with pytest.raises(PlanConflict, match="`opne` is no class of the data set; did you mean `open`"):
        technique(names=("open", "short"), per_class={"opne": 0.1})
