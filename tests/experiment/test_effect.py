"""Differences of traces against numbers worked out by hand, and what counts as above the noise."""

from __future__ import annotations

import math

import pytest
import torch

from recipebox.experiment import image_signs, signs
from recipebox.experiment.average_signs import average_follows, ends_are_averaged, statistics_change
from recipebox.experiment.effect import Difference, compare
from recipebox.experiment.trace import Trace
from recipebox.experiment.window import View

EQUAL = Difference()
"""Two runs of the same setting on a CPU."""


def made(**parts: object) -> Trace:
    vector = torch.tensor
    base = {
        "views": [View("a", 32, b"p", b"l"), View("b", 32, b"q", b"m")],
        "losses": [{"box_loss": 2.0, "cls_loss": 1.0}],
        "rates": [(0.1, 0.2)],
        "gradient": vector([3.0, 4.0]),
        "gradient_norms": [5.0],
        "step_norms": [5.0],
        "started": vector([0.0, 0.0]),
        "weights": vector([0.0, 2.0]),
        "average": vector([0.0, 1.0]),
    }
    return Trace(**(base | parts))  # type: ignore[arg-type]


def test_equal_traces_differ_in_nothing() -> None:
    same = compare(made(), made())
    assert not any(same.quantities().values())
    assert same.cosine == pytest.approx(1)
    assert same.above(same) == ()


def test_differences_by_hand() -> None:
    other = made(
        views=[View("a", 32, b"x", b"l"), View("b", 32, b"q", b"m")],
        losses=[{"box_loss": 1.0, "cls_loss": 1.0, "kd_loss": 0.5}],
        rates=[(0.1, 0.4)],
        gradient=torch.tensor([4.0, 3.0]),
        weights=torch.tensor([1.0, 2.0]),
        average=torch.tensor([0.0, 0.5]),
    )
    found = compare(other, made())
    assert found.images == 0.5
    assert found.losses == {"box_loss": 0.5, "cls_loss": 0.0, "kd_loss": 1.0}
    assert found.gradient == pytest.approx(math.sqrt(2) / 5)
    assert found.cosine == pytest.approx(24 / 25)
    assert found.rates == 0.5
    assert found.weights == pytest.approx(1 / math.sqrt(5)), "over the longer of the two ways"
    assert found.average == pytest.approx(0.5 / math.sqrt(5))


def test_only_what_exceeds_the_noise_counts() -> None:
    noise = Difference(losses={"box_loss": 0.01}, weights=0.1)
    assert Difference(losses={"box_loss": 0.02}, weights=0.31).above(noise) == ("weights",)
    assert Difference(losses={"box_loss": 0.02}, weights=0.2).above(noise) == ()
    assert Difference(losses={"kd_loss": 0.0}).above(Difference()) == (), "a term that both have, and alike"


def test_signs_tell_what_is_wrong() -> None:
    plain, kd = made(), made(losses=[{"box_loss": 2.0, "cls_loss": 1.0, "kd_loss": 0.3}])
    assert "no positive" in (signs.term_is_added("kd_loss")(plain, plain, EQUAL) or "")
    assert "does not feel" in (signs.term_is_added("kd_loss")(kd, plain, EQUAL) or "")
    assert "without it" in (signs.term_is_added("kd_loss")(kd, kd, EQUAL) or "")
    felt = made(losses=kd.losses, gradient=torch.tensor([3.0, 5.0]))
    assert signs.term_is_added("kd_loss")(felt, plain, EQUAL) is None

    smoothed = made(losses=[{"box_loss": 2.0, "cls_loss": 1.5}])
    assert signs.class_loss_changes("why")(smoothed, plain, EQUAL) is None
    assert "why" in (signs.class_loss_changes("why")(plain, plain, EQUAL) or "")
    assert "box_loss" in (
        signs.class_loss_changes("why")(made(losses=[{"box_loss": 1, "cls_loss": 2}]), plain, EQUAL) or ""
    )
    assert "neither gradient nor step" in (signs.term_scales(["cls_loss"], 1.5)(smoothed, plain, EQUAL) or "")
    larger = made(losses=smoothed.losses, gradient=torch.tensor([3.0, 5.0]))
    assert signs.term_scales(["cls_loss"], 1.5)(larger, plain, EQUAL) is None
    assert "2 times" in (signs.term_scales(["cls_loss"], 2)(smoothed, plain, EQUAL) or "")
    bins = ["dfl_loss", "l1_loss"]
    assert "no `dfl_loss` or `l1_loss`" in (signs.term_scales(bins, 2)(smoothed, plain, EQUAL) or "")
    edges = made(losses=[{"l1_loss": 0.0}, {"l1_loss": 0.5}])
    twice = made(losses=[{"l1_loss": 0.0}, {"l1_loss": 1.0}], gradient=torch.tensor([3.0, 5.0]))
    assert signs.term_scales(bins, 2)(twice, edges, EQUAL) is None, "a head without bins"

    moved = made(weights=torch.tensor([0.0, 3.0]))
    assert signs.only_the_step()(moved, plain, EQUAL) is None
    assert "first loss" in (signs.only_the_step()(smoothed, plain, EQUAL) or "")
    assert "same" in (signs.only_the_step()(plain, plain, EQUAL) or "")


def test_what_a_teacher_says_differs_by_more_than_rounding_and_more_than_a_factor() -> None:
    def taught(loss: float, box: float = 2.0) -> Trace:
        return made(losses=[{"box_loss": box, "kd_box_loss": loss, "kd_loss": loss}])

    plain, sign = taught(0.2), signs.lesson_changes("kd_box_loss", not_by=25.0)
    assert sign(taught(0.3), plain, EQUAL) is None
    assert "25 times" in (sign(taught(5.0), plain, EQUAL) or "")
    assert "but for rounding" in (sign(taught(0.2 * (1 + 1e-7)), plain, EQUAL) or "")
    assert "changes box_loss too" in (sign(taught(0.3, box=2.1), plain, EQUAL) or "")
    assert "is not asked" in (sign(plain, plain, EQUAL) or "")


def test_other_cells_show_in_any_loss_beyond_rounding() -> None:
    counted = {"numbers": [{"assigner/positives": 3.0}]}
    plain = made(**counted)
    for losses in ({"box_loss": 1.9, "cls_loss": 1.0}, {"box_loss": 2.0, "cls_loss": 1.1}):
        assert signs.assignment_changes()(made(losses=[losses], **counted), plain, EQUAL) is None
    rounded = made(losses=[{"box_loss": 2.0 * (1 + 1e-7), "cls_loss": 1.0}], **counted)
    assert "but for rounding" in (signs.assignment_changes()(rounded, plain, EQUAL) or "")


def test_a_term_may_be_absent_where_its_weight_is_0() -> None:
    on = made(losses=[{"kd_loss": 0.3}, {"kd_loss": 0.0}], gradient=torch.tensor([3.0, 5.0]))
    plain = made(losses=[{}, {}])
    assert signs.term_is_added("kd_loss", weightless=1)(on, plain, EQUAL) is None
    assert "no positive" in (signs.term_is_added("kd_loss")(on, plain, EQUAL) or "")
    later = {"losses": [{"kd_loss": 0.0}, {"kd_loss": 0.3}]}
    assert "does not feel" in (signs.term_is_added("kd_loss", weightless=1)(made(**later), plain, EQUAL) or "")
    moved = made(**later, weights=torch.tensor([0.0, 3.0]))
    assert signs.term_is_added("kd_loss", weightless=1)(moved, plain, EQUAL) is None
    nothing = made(losses=[{"kd_loss": 0.0}], gradient=torch.tensor([3.0, 5.0]))
    assert "no positive" in (signs.term_is_added("kd_loss", weightless=1)(nothing, made(), EQUAL) or "")


def test_an_average_is_where_its_decays_lead() -> None:
    """By hand: from 0, a decay of 1 at weights of 1 leaves 0, then 0.25 at 2 makes 1.5."""
    decays = {1: 1.0, 2: 0.25}
    stepped = [torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0])]
    sign = average_follows(decays.__getitem__)
    on, off = made(stepped=stepped, average=torch.tensor([0.0, 1.5])), made(average=torch.tensor([0.0, 1.9]))
    assert sign(on, off, EQUAL) is None
    elsewhere = made(stepped=stepped, average=torch.tensor([0.0, 1.6]))
    assert "0.1 away from where its decays lead" in (sign(elsewhere, off, EQUAL) or "")
    assert "no more than between two runs" in (sign(on, off, Difference(average=0.1)) or "")


def test_an_objectness_that_nobody_differentiates_is_no_head_with_anchors() -> None:
    plain = made(weights=torch.zeros(3), average=torch.zeros(3))
    shown = {"losses": [{"box_loss": 2.0, "cls_loss": 1.0, "obj_loss": 0.3}]}
    learned = made(**shown, objectness_gradient=torch.tensor([0.0, -0.1]))
    assert signs.anchors_answer(2, "obj_loss")(learned, plain, EQUAL) is None
    assert "2 outputs of objectness for 3 anchors" in (signs.anchors_answer(3, "obj_loss")(learned, plain, EQUAL) or "")
    dead = made(**shown, objectness_gradient=torch.zeros(2))
    assert "gradient of the head's objectness is 0" in (signs.anchors_answer(2, "obj_loss")(dead, plain, EQUAL) or "")
    assert "is 0" in (signs.anchors_answer(2, "obj_loss")(made(**shown), plain, EQUAL) or "")
    assert "no positive" in (signs.anchors_answer(2, "obj_loss")(made(), plain, EQUAL) or "")


def test_clipping_has_to_bite_and_to_be_felt() -> None:
    off = made()
    assert signs.clips_at(2.0)(made(step_norms=[2.0]), off, EQUAL) is None
    assert "not 2" in (signs.clips_at(2.0)(off, off, EQUAL) or "")
    assert "does not bite" in (signs.clips_at(7.0)(off, off, EQUAL) or "")
    long = made(gradient_norms=[50.0], step_norms=[50.0])
    assert signs.clips_at(None)(long, off, EQUAL) is None
    assert "does not bite" in (signs.clips_at(None)(off, off, EQUAL) or "")
    assert "no optimizer step" in (signs.clips_at(None)(made(gradient_norms=[], step_norms=[]), off, EQUAL) or "")


def test_rates_steps_and_images() -> None:
    plain, faster = made(), made(rates=[(0.2, 0.4)])
    assert signs.rates_scale(2.0)(faster, plain, EQUAL) is None
    assert "should be 3" in (signs.rates_scale(3.0)(faster, plain, EQUAL) or "")
    assert signs.rate_moves(True)(faster, plain, EQUAL) is None
    assert "lower" in (signs.rate_moves(False)(faster, plain, EQUAL) or "")
    assert "same" in (signs.rate_moves(False)(plain, plain, EQUAL) or "")
    assert signs.steps_change(True)(made(step_norms=[1.0, 1.0]), plain, EQUAL) is None
    assert "1 optimizer steps" in (signs.steps_change(True)(plain, plain, EQUAL) or "")

    brighter = made(views=[View("a", 32, b"x", b"l"), View("b", 32, b"q", b"m")])
    shifted = made(views=[View("a", 32, b"x", b"z"), View("b", 32, b"q", b"m")])
    assert image_signs.images_change()(shifted, plain, EQUAL) is None
    assert image_signs.pixels_change()(brighter, plain, EQUAL) is None
    assert "boxes" in (image_signs.pixels_change()(shifted, plain, EQUAL) or "")
    assert "every pixel" in (image_signs.pixels_change()(plain, plain, EQUAL) or "")


def test_every_class_has_to_pull_as_its_weight_says() -> None:
    off = made(class_gradient=torch.tensor([[1.0, 2.0, 4.0], [2.0, 2.0, 2.0]]))
    assert off.class_gradient is not None
    on = made(class_gradient=off.class_gradient * torch.tensor([0.5, 1.0, 2.0]))
    assert signs.classes_weigh([0.5, 1, 2])(on, off, EQUAL) is None
    assert signs.classes_weigh([0.5, 1, 2.01])(on, off, Difference(gradient=0.01)) is None, "no more than chance"
    wrong = "0.5, 1, 2 times that without it, and their weights are 0.25, 1, 3"
    assert wrong in (signs.classes_weigh([0.25, 1, 3])(on, off, EQUAL) or ""), "in the right order, by another power"
    assert "weights are" in (signs.classes_weigh([0.5, 1, 2])(off, off, EQUAL) or "")
    assert "no gradient" in (signs.classes_weigh([1, 2, 3])(made(), off, EQUAL) or "")


def test_another_order_alone_is_no_sampling() -> None:
    plain, swapped = made(draws=(20, 20)), [View("b", 32, b"q", b"m"), View("a", 32, b"p", b"l")]
    assert image_signs.draws_otherwise()(made(views=swapped, draws=(21, 19)), plain, EQUAL) is None
    assert "only in another order" in (
        image_signs.draws_otherwise()(made(views=swapped, draws=(20, 20)), plain, EQUAL) or ""
    )
    assert "same order" in (image_signs.draws_otherwise()(plain, plain, EQUAL) or "")


def test_class_loss_is_compared_where_it_is_first_another() -> None:
    off = made(losses=[{"box_loss": 2.0, "cls_loss": 1.0}, {"box_loss": 1.5, "cls_loss": 0.9}])
    on = made(losses=[{"box_loss": 2.0, "cls_loss": 1.0}, {"box_loss": 1.5, "cls_loss": 0.8}])
    assert signs.class_loss_changes("dead")(on, off, EQUAL) is None
    moved = made(losses=[{"box_loss": 2.0, "cls_loss": 1.0}, {"box_loss": 1.4, "cls_loss": 0.8}])
    assert "box_loss too" in (signs.class_loss_changes("dead")(moved, off, EQUAL) or "")
    assert "dead" in (signs.class_loss_changes("dead")(off, off, EQUAL) or "")


def test_where_all_scores_are_equal_the_class_gradient_tells() -> None:
    """Mass-preserving smoothing of a network from scratch leaves the loss as it is, and not the gradient."""
    off = made(class_gradient=torch.tensor([[1.0, 2.0]]))
    on = made(class_gradient=torch.tensor([[1.1, 1.9]]))
    assert signs.class_loss_changes("dead")(on, off, EQUAL) is None
    assert "dead" in (signs.class_loss_changes("dead")(off, off, EQUAL) or "")


def test_a_rate_that_swa_asks_for_is_met() -> None:
    ends = {
        "ends": [torch.zeros(2), torch.ones(2)],
        "rates": [(0.1, 0.05)] * 2,
        "end_statistics": [torch.tensor([1.0]), torch.tensor([3.0])],
        "averaged_statistics": torch.tensor([2.5]),
    }
    on, off = (made(averaged=torch.full((2,), value), **ends) for value in (0.5, 1.0))
    assert ends_are_averaged(None)(on, off, EQUAL) is None
    assert ends_are_averaged(0.1)(on, off, EQUAL) is None
    assert "should be 0.2" in (ends_are_averaged(0.2)(on, off, EQUAL) or "")
    taken_over = made(averaged=torch.full((2,), 0.5), **(ends | {"averaged_statistics": torch.tensor([2.0])}))
    assert "nobody estimates them anew" in (ends_are_averaged(None)(taken_over, off, EQUAL) or "")


def test_another_teacher_changes_distillation_alone() -> None:
    one = made(losses=[{"box_loss": 2.0, "kd_logits_loss": 1.0, "kd_loss": 1.0}])
    two = made(losses=[{"box_loss": 2.0, "kd_logits_loss": 1.5, "kd_loss": 1.5}])
    assert signs.lesson_changes()(two, one, EQUAL) is None
    assert "not asked" in (signs.lesson_changes()(one, one, EQUAL) or "")
    moved = made(losses=[{"box_loss": 3.0, "kd_logits_loss": 1.5, "kd_loss": 1.5}])
    assert "box_loss" in (signs.lesson_changes()(moved, one, EQUAL) or "")


def test_a_schedule_changes_its_own_term_on_the_first_batch_that_differs() -> None:
    terms = {"kd_logits_loss": 1.0, "kd_box_loss": 1.0, "kd_loss": 2.0}
    plain = made(losses=[terms, {"box_loss": 1.0, **terms}])
    lower = made(losses=[terms, {"box_loss": 1.0, **terms, "kd_box_loss": 0.5, "kd_loss": 1.5}])
    assert signs.lesson_changes("kd_box_loss")(lower, plain, EQUAL) is None
    assert signs.lesson_changes("kd_box_loss", more=False)(lower, plain, EQUAL) is None
    assert "should be larger" in (signs.lesson_changes("kd_box_loss", more=True)(lower, plain, EQUAL) or "")
    assert "changes kd_box_loss too" in (signs.lesson_changes("kd_logits_loss")(lower, plain, EQUAL) or "")
    assert "not asked" in (signs.lesson_changes("kd_box_loss")(plain, plain, EQUAL) or "")


def test_what_should_stay_may_move_as_much_as_chance_moves_it() -> None:
    """Two runs on a GPU that is not deterministic: a sign that asks for the last bit could never be met there."""
    off = made(losses=[{"box_loss": 2.0, "cls_loss": 1.0, "kd_loss": 0.5}])
    close = {"box_loss": 2.0002, "cls_loss": 1.0001, "kd_loss": 0.5}
    near = made(losses=[close], gradient=torch.tensor([3.0, 4.001]), weights=torch.tensor([0.0, 3.0]))
    noise = Difference(losses={"box_loss": 1e-4, "cls_loss": 1e-4}, gradient=1e-4, weights=1e-3)
    assert signs.only_the_step()(near, off, noise) is None
    assert "first loss" in (signs.only_the_step()(near, off, EQUAL) or "")
    unmoved = made(losses=[close], weights=torch.tensor([0.0, 2.001]))
    assert "weights are the same" in (signs.only_the_step()(unmoved, off, noise) or "")
    smoothed = made(losses=[close | {"cls_loss": 1.5}])
    assert signs.class_loss_changes("dead")(smoothed, off, noise) is None
    assert "box_loss too" in (signs.class_loss_changes("dead")(smoothed, off, EQUAL) or "")
    assert "dead" in (signs.class_loss_changes("dead")(near, off, noise) or "")
    other = made(losses=[close | {"kd_loss": 0.7}])
    assert signs.lesson_changes()(other, off, noise) is None
    assert "not asked" in (signs.lesson_changes()(near, off, noise) or "")
    assert "does not feel" in (signs.term_is_added("kd_loss")(near, made(), noise) or "")


def test_the_first_images_of_each_epoch_have_its_size() -> None:
    def sides(*each: int) -> Trace:
        return made(views=[View("a", side, b"p", b"l") for side in each])

    sign = image_signs.sides_are([0, 3, 7], [32, 64, 96], 96)
    plain = sides(96, 96, 96, 96, 96, 96)
    assert sign(sides(32, 32, 64, 64, 96, 96), plain, EQUAL) is None
    assert "epoch 4 should be 64 px wide, and are [32]" in (sign(sides(32, 32, 32, 32, 96, 96), plain, EQUAL) or "")
    assert "epoch 1 should be 32 px wide, and are [32, 64]" in (sign(sides(32, 64, 64, 64, 96, 96), plain, EQUAL) or "")
    assert "96 px wide without it" in (sign(sides(32, 32, 64, 64, 96, 96), sides(*[32] * 6), EQUAL) or "")


def test_a_loss_term_changes_alone_or_with_others() -> None:
    plain = made(losses=[{"obj_loss": 2.0, "cls_loss": 1.0}] * 2)
    one = made(losses=[{"obj_loss": 2.0, "cls_loss": 1.0}, {"obj_loss": 3.0, "cls_loss": 1.0}])
    both = made(losses=[{"obj_loss": 3.0, "cls_loss": 2.0}] * 2)
    assert signs.term_changes("obj_loss", alone=True)(one, plain, EQUAL) is None
    assert signs.term_changes("obj_loss", alone=False)(both, plain, EQUAL) is None
    assert "alone, and changes cls_loss" in (signs.term_changes("obj_loss", alone=True)(both, plain, EQUAL) or "")
    assert "is the same" in (signs.term_changes("cls_loss", alone=False)(one, plain, EQUAL) or "")


def test_batch_norm_of_an_average_changes_and_its_weights_do_not() -> None:
    def averaged(weights: float, statistics: float) -> Trace:
        return made(averaged=torch.full((4,), weights), averaged_statistics=torch.full((4,), statistics))

    plain, sign = averaged(1.0, 1.0), statistics_change()
    assert sign(averaged(1.0, 1.1), plain, EQUAL) is None
    assert "is the same" in (sign(averaged(1.0, 1.0), plain, EQUAL) or "")
    assert "its weights are others" in (sign(averaged(1.2, 1.1), plain, EQUAL) or "")
