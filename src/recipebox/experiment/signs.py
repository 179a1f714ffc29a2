"""Which way a lever should move things. A sign looks at the trace with the lever, at the one without it, and at the
noise, which is the difference of two runs with it. It returns None where all is as it should be, else what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from recipebox.experiment.effect import MARGIN, Difference, apart, compare, relative
from recipebox.experiment.trace import Trace
from recipebox.recipe.technique_sections import STOCK_MAX_NORM

Sign = Callable[[Trace, Trace, Difference], str | None]

CLOSE = 1e-3
"""Numbers that differ by no more than this share are the same to a sign."""
ROUNDING = 1e-6
"""Losses that differ by no more than this share were added up in another order."""


def term_is_added(term: str, weightless: int = 0) -> Sign:
    """The training loss has one term more, and it is positive.

    Args:
        weightless: batches in which its weight is 0.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        values = [losses.get(term, 0.0) for losses in on.losses]
        if sum(value > 0 for value in values) < max(len(values) - weightless, 1):
            return (
                f"there is no positive `{term}` in the training loss: its criterion does not act, or the teacher sees "
                "nothing in these images"
            )
        if any(losses.get(term) for losses in off.losses):
            return f"`{term}` is there without it, too"
        difference = compare(on, off)
        felt = difference.gradient > MARGIN * noise.gradient
        if not values[0]:  # the first gradient is compared, and there its weight is 0: what a later one did must do
            felt = difference.weights > MARGIN * noise.weights
        return None if felt else f"`{term}` is shown, and the gradient does not feel it"

    return sign


def anchors_answer(anchors: int, term: str, sizes: Sequence[Sequence[tuple[float, float]]] | None = None) -> Sign:
    """The head has an objectness for each anchor, which a gradient reaches, and its loss is there and positive.

    Two heads have no gradient to compare, and of all parameters objectness alone moves these.

    Args:
        anchors: of all levels.
        term: the loss that is there; `obj_loss`, unless its gain is 0.
        sizes: what the anchors should be, (width, height) by level, where the recipe names them.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        if not any(losses.get(term, 0.0) > 0 for losses in on.losses):
            return f"there is no positive `{term}` in the training loss: its criterion does not act"
        if any(losses.get("obj_loss") for losses in off.losses):
            return "`obj_loss` is there without it, too"
        if on.objectness_gradient is None or (term == "obj_loss" and not on.objectness_gradient.any()):
            return "`obj_loss` is shown, and the gradient of the head's objectness is 0"
        found = on.objectness_gradient.numel()
        if found != anchors:
            return f"the head has {found} outputs of objectness for {anchors} anchors"
        wrong = sizes is not None and [list(map(tuple, level)) for level in on.anchors] != [list(x) for x in sizes]
        return f"the head's anchors are {on.anchors}, and not the recipe's" if wrong else None

    return sign


def term_changes(term: str, alone: bool) -> Sign:
    """On the first batch that differs, and so is met by the same weights, a loss term is another; `alone`: no other one
    is."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        changes = [_terms_changed(*pair, noise) for pair in zip(on.losses, off.losses, strict=False)]
        changed = next(filter(None, changes), [])
        if term not in changed:
            return f"`{term}` of the first batch that differs is the same with and without it"
        others = [name for name in changed if name != term]
        return f"it should change `{term}` alone, and changes {', '.join(others)} too" if others and alone else None

    return sign


def class_loss_changes(words: str) -> Sign:
    """On the first batch that differs at all, and so is met by the same weights, the class loss is another and the rest
    is not. A batch without an object of the class that is asked for does not differ.

    A network from scratch gives all classes the same score, and a mean over equal scores does not tell how targets
    divide among classes: there the gradient of the class biases does.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        changes = [_terms_changed(*pair, noise) for pair in zip(on.losses, off.losses, strict=False)]
        if not changes[0] and _class_gradients_differ(on, off, noise):
            return None
        changed = next(filter(None, changes), [])
        if "cls_loss" not in changed:
            return f"`cls_loss` of the first batch that differs is the same with and without it: {words}"
        others = [term for term in changed if term != "cls_loss"]
        return f"it should change `cls_loss` alone, and changes {', '.join(others)} too" if others else None

    return sign


def _terms_changed(ours: Mapping[str, float], theirs: Mapping[str, float], noise: Difference) -> list[str]:
    """The loss terms of a batch that differ by more than those of two runs of the same setting."""
    floor = noise.losses or {}
    terms = {**ours, **theirs}
    return [term for term in terms if apart(ours.get(term), theirs.get(term)) > MARGIN * floor.get(term, 0.0)]


def _class_gradients_differ(on: Trace, off: Trace, noise: Difference) -> bool:
    if on.class_gradient is None or off.class_gradient is None:
        return False
    return relative(on.class_gradient, off.class_gradient) > MARGIN * noise.gradient


def assignment_changes() -> Sign:
    """On the first batch that differs, and so is met by the same weights, a loss is another, beyond rounding.

    Targets next to 0, as a network from scratch has them, are lost in the class loss beside the background, and not in
    the others.

    The telemetry says how many cells were chosen for an object, in every batch.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        if not all("assigner/positives" in numbers for numbers in on.numbers):
            return "nothing was chosen by it: its criterion does not act"
        for ours, theirs in zip(on.losses, off.losses, strict=False):
            if _terms_changed(ours, theirs, noise):
                if any(apart(ours.get(term), theirs.get(term)) > ROUNDING for term in {**ours, **theirs}):
                    return None
                break
        return "the losses of the first batch that differs are the same but for rounding"

    return sign


def number_is_added(key: str) -> Sign:
    """The telemetry of some batch has a number above 0 that it has not without the lever."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        if not any(numbers.get(key, 0.0) > 0 for numbers in on.numbers):
            return f"`{key}` is 0 in every batch: no object of these images is learned there"
        return f"`{key}` is there without it, too" if any(key in numbers for numbers in off.numbers) else None

    return sign


def lesson_changes(term: str | None = None, more: bool | None = None, not_by: float | None = None) -> Sign:
    """On the first batch that differs at all, and so is met by the same weights, the distillation losses, whose names
    begin with `kd_`, are others, and the rest are not.

    Args:
        term: the one of them that changes, with `kd_loss`, the sum; None: any.
        more: it becomes larger, or smaller; None: either.
        not_by: a factor that alone would not do.
    """
    allowed = ("kd_",) if term is None else (term, "kd_loss")
    words = "distillation" if term is None else f"`{term}`"

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        for ours, theirs in zip(on.losses, off.losses, strict=False):
            changed = _terms_changed(ours, theirs, noise)
            if not changed:
                continue
            others = [name for name in changed if not name.startswith(allowed)]
            if others:
                return f"it should change {words} alone, and changes {', '.join(others)} too"
            if all(apart(ours.get(name), theirs.get(name)) <= ROUNDING for name in changed):
                return f"{words} of the first batch that differs is the same but for rounding"
            if (
                term is not None
                and not_by is not None
                and abs(ours[term] - not_by * theirs[term]) <= CLOSE * ours[term]
            ):
                return f"`{term}` is {not_by:g} times what it is without it, and nothing else: its factor alone acts"
            if term is not None and more is not None and (ours[term] > theirs[term]) != more:
                return f"`{term}` should be {'larger' if more else 'smaller'} than without it, and is not"
            return None
        return "the distillation losses of every batch are the same with and without it: it is not asked"

    return sign


def term_scales(terms: Sequence[str], factor: float) -> Sign:
    """On the first batch that has it one loss term is `factor` times what it is without the lever, and a step feels it.

    Args:
        terms: what the term is called; a head without bins has an `l1_loss` in the place of `dfl_loss`.
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        term = next((term for term in terms if term in on.losses[0]), None)
        if term is None:
            return f"this network has no {' or '.join(f'`{term}`' for term in terms)}"
        pairs = [(a[term], b.get(term, 0.0)) for a, b in zip(on.losses, off.losses, strict=False)]
        ours, theirs = next((pair for pair in pairs if any(pair)), (0.0, 0.0))
        if abs(ours - factor * theirs) <= CLOSE * abs(factor * theirs):
            difference = compare(on, off)
            felt = difference.gradient > MARGIN * noise.gradient or difference.weights > MARGIN * noise.weights
            return None if felt else f"`{term}` is shown so, and neither gradient nor step feels it"
        return f"`{term}` should be {factor:.4g} times what it is without it, and is {ours:.4g} beside {theirs:.4g}"

    return sign


def only_the_step() -> Sign:
    """The same losses and gradient at first, and another step from them."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        difference = compare(on, off)
        if _terms_changed(on.losses[0], off.losses[0], noise) or difference.gradient > MARGIN * noise.gradient:
            return "it should change the step only, and the first loss or gradient is another"
        return None if difference.weights > MARGIN * noise.weights else "the weights are the same with and without it"

    return sign


def clips_at(largest: float | None) -> Sign:
    """The optimizer is given no gradient longer than `largest` (None: as long as it is), and that matters."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        norms = on.gradient_norms
        if not norms:
            return "no optimizer step was made"
        for norm, given in zip(norms, on.step_norms, strict=True):
            allowed = norm if largest is None else min(norm, largest)
            if abs(given - allowed) > CLOSE * allowed:
                return f"a gradient of norm {norm:.3g} reaches the optimizer with norm {given:.3g}, not {allowed:.3g}"
        bites_from = STOCK_MAX_NORM if largest is None else min(largest, STOCK_MAX_NORM)
        if max(norms) <= bites_from:
            return f"it does not bite here: no gradient is longer than {bites_from:g} (largest {max(norms):.3g})"
        return None

    return sign


def rates_scale(factor: float) -> Sign:
    """Every learning rate is `factor` times what it is without the lever."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        for ours, theirs in zip(on.rates, off.rates, strict=True):
            for x, y in zip(ours, theirs, strict=True):
                if abs(x - factor * y) > CLOSE * abs(factor * y):
                    return f"learning rates should be {factor:.4g} times those without it: {x:.4g} against {y:.4g}"
        return None

    return sign


def rate_moves(more: bool, choose: Callable[[tuple[float, ...]], float] = max) -> Sign:
    """The learning rate (of the parameter group that `choose` takes) is higher (`more`) or lower on the way."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        ours, theirs = (sum(choose(rates) for rates in trace.rates) for trace in (on, off))
        if ours == theirs:
            return "the learning rate is the same with and without it"
        return None if (ours > theirs) == more else f"the learning rate should be {'higher' if more else 'lower'}"

    return sign


def steps_change(more: bool) -> Sign:
    """The same batches give more (`more`) or fewer optimizer steps."""

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        ours, theirs = len(on.step_norms), len(off.step_norms)
        if (ours > theirs) == more and ours != theirs:
            return None
        return f"{ours} optimizer steps on the same batches, against {theirs} without it"

    return sign


def classes_weigh(weights: Sequence[float]) -> Sign:
    """The gradient of each class's biases is as many times that without the lever as the class's weight says.

    A class's weight multiplies its part of the class loss, and of all gradients only that of the class biases belongs
    to one class alone.

    Args:
        weights: of each class, (classes,).
    """

    def sign(on: Trace, off: Trace, noise: Difference) -> str | None:
        if on.class_gradient is None or off.class_gradient is None:
            return "the class biases have no gradient"
        found = (on.class_gradient.abs().sum(0) / off.class_gradient.abs().sum(0).clamp(min=1e-30)).tolist()
        allowed = max(CLOSE, MARGIN * noise.gradient)
        if all(abs(x - weight) <= allowed * weight for x, weight in zip(found, weights, strict=True)):
            return None
        shown, wanted = (", ".join(f"{x:.3g}" for x in each) for each in (found, weights))
        return f"the gradient of the classes is {shown} times that without it, and their weights are {wanted}"

    return sign
