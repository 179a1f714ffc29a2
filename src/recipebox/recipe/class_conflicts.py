"""What excludes, or makes idle, the levers on the class loss and on sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from recipebox.recipe.class_sections import LabelSmoothing
from recipebox.recipe.problems import did_you_mean
from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document

LARGEST_EPSILON = 0.5
"""Above it less than half of a target says which class was labelled; the rest is the same for all."""

USUAL_EPSILON = 0.2


def class_conflicts(settings: Settings, names: tuple[str, ...] | None, document: Document) -> Iterator[str]:
    """Why these levers cannot act together, or not on these classes; one sentence each.

    Args:
        settings: everything applied.
        names: the data set's class names; None where they are not known yet, training then checks them.
        document: the settings as plain values, for where they were written.
    """
    yield from _smoothing(settings, names, document)
    yield from _balance(settings, names, document)


def idle_class_levers(settings: Settings) -> Iterator[str]:
    """Levers that are legal and do nothing, or not what they seem to; one sentence each."""
    if settings.techniques.label_smoothing is not None:
        yield from _idle_smoothing(settings.techniques.label_smoothing, settings.train.epochs)
    weights, sampling = settings.techniques.class_weights, settings.techniques.sampling
    head = settings.techniques.anchor_head
    gain, name = (settings.train.cls, "train.cls") if head is None else (head.cls, "anchor_head.cls")
    if gain == 0:
        for lever in ("label_smoothing", "class_weights"):
            if getattr(settings.techniques, lever) is not None:
                yield f"`{lever}` does nothing: `{name}: 0` takes the class loss away, the only one it acts on."
    if weights is not None and weights.pos_weight is not None:
        given = weights.pos_weight.values() if isinstance(weights.pos_weight, dict) else (weights.pos_weight,)
        if all(value == 1 for value in given):
            yield "`class_weights.pos_weight` does nothing: every factor is 1."
    if weights is not None and weights.by is not None and sampling is not None:
        # The effective number lies between nothing and the inverse, as beta and the counts have it.
        powers = [each.frequency_power for each in (weights, sampling) if each.by != "repeat_factor"]
        power, at_most = sum(1.0 if each is None else each for each in powers), "up to " if None in powers else ""
        if power > 1:
            yield (
                f"`class_weights` and `sampling` make up for the same thing, together with {at_most}the power "
                f"{power:g} of the inverse frequency: rare classes then count more than common ones. `inverse_sqrt` "
                "for both is one inverse."
            )


def _idle_smoothing(smoothing: LabelSmoothing, epochs: int) -> Iterator[str]:
    largest = max(smoothing.epsilon, *smoothing.per_class.values(), 0.0)
    if largest == 0:
        yield "`label_smoothing` does nothing: every epsilon is 0."
    elif smoothing.off_last >= epochs:
        yield (f"`label_smoothing` does nothing: it is off for the last {smoothing.off_last} of {epochs} epochs.")
    elif USUAL_EPSILON < largest <= LARGEST_EPSILON:
        yield (
            f"`label_smoothing` takes {largest:g} from a positive; more than {USUAL_EPSILON:g} usually costs accuracy "
            "(0.05 to 0.1 is common)."
        )


def unknown_classes(given: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    """What to say of each name that is no class of the data set."""
    for name in given:
        if name not in names:
            hint = did_you_mean(name, names)
            yield f"`{name}` is no class of the data set{hint}" + ("" if hint.endswith("?") else ".")


def _placed_unknown(
    path: tuple[str, ...], given: Iterable[str], names: tuple[str, ...], document: Document
) -> Iterator[str]:
    """`unknown_classes` of the mapping at `path`, each with the line it stands in."""
    for name in given:
        for problem in unknown_classes([name], names):
            yield f"{document.origin((*path, name))}: {problem}"


def _smoothing(settings: Settings, names: tuple[str, ...] | None, document: Document) -> Iterator[str]:
    path = ("techniques", "label_smoothing")
    smoothing = settings.techniques.label_smoothing
    if smoothing is None:
        return
    for key, value in (("epsilon", smoothing.epsilon), *smoothing.per_class.items()):
        if value > LARGEST_EPSILON:
            where = document.origin((*path, key) if key == "epsilon" else (*path, "per_class", key))
            yield (
                f"{where}: label smoothing of {value:g} takes more than half of what a label says of its class. Take "
                f"at most {LARGEST_EPSILON:g}; 0.05 to 0.1 is common."
            )
    distillation = settings.techniques.distillation
    if distillation is not None and distillation.logits is not None:
        yield (
            f"{document.origin(path)}: `label_smoothing` together with `distillation.logits`: both soften the class "
            "target, and a teacher already says which classes resemble each other. Take one of them out "
            "(`label_smoothing: null`)."
        )
    if names is not None:
        if len(names) == 1 and smoothing.form == "spread":
            yield f"{document.origin((*path, 'form'))}: {one_class_spread(names[0])}"
        yield from _placed_unknown((*path, "per_class"), smoothing.per_class, names, document)


def _balance(settings: Settings, names: tuple[str, ...] | None, document: Document) -> Iterator[str]:
    weights, sampling = settings.techniques.class_weights, settings.techniques.sampling
    if names is None:
        return
    if weights is not None and isinstance(weights.pos_weight, dict):
        yield from _placed_unknown(("techniques", "class_weights", "pos_weight"), weights.pos_weight, names, document)
    # A repeat factor acts with one class too, where some images are empty.
    asked = {
        "class_weights": weights is not None and weights.by is not None,
        "sampling": sampling is not None and sampling.by != "repeat_factor",
    }
    for lever, there in asked.items():
        if there and len(names) == 1:
            yield f"{document.origin(('techniques', lever, 'by'))}: {one_class_balance(lever, names[0])}"


def nobody_to_act_on(lever: str, acting: Sequence[str], boxes: Mapping[str, int], images: int) -> str | None:
    """Why a lever on some classes changes nothing: none of them is in the training images.

    Args:
        lever: its key.
        acting: the classes for which it is set to something.
        boxes: class -> its training boxes.
        images: of the training split, as much of it as is used.
    """
    if not acting or any(boxes[name] for name in acting):
        return None
    there = ", ".join(name for name, count in boxes.items() if count)
    return (
        f"`{lever}` changes nothing: none of the {images} training images holds {' or '.join(acting)}. Name a class "
        f"that is there ({there}), take more images where `data.images` leaves some out, or take it out."
    )


def one_class_balance(lever: str, name: str) -> str:
    """Why class weights, or sampling by them, cannot act on a set with one class."""
    return (
        f"`{lever}.by` with one class ({name}): there is nothing to balance, its weight is 1. Take it out "
        f"(`{lever}: null`)."
    )


def nothing_to_balance(lever: str, by: str, beta: float | None, boxes: Mapping[str, int]) -> str:
    """Why weights that come out alike for all classes, or all images, change nothing.

    Args:
        lever: its key.
        by: what the weights are made from.
        beta: of `effective_number`.
        boxes: class -> its training boxes.
    """
    there = {name: count for name, count in boxes.items() if count}
    shown = ", ".join(f"{name} {count}" for name, count in there.items())
    reason = f"`{lever}` by {by} changes nothing: its weights are all alike (training boxes: {shown})."
    if beta is not None and len(set(there.values())) > 1 and lever == "class_weights":
        return (
            f"{reason} With `beta: {beta:g}` boxes count for little more from about {1 / (1 - beta):.0f} on: take a "
            "beta nearer to 1, or `by: inverse_sqrt`."
        )
    return f"{reason} Take it out (`{lever}: null`)."


def one_class_spread(name: str) -> str:
    """Why `form: spread` cannot act on a set with one class."""
    return (
        f"`label_smoothing` of `form: spread` with one class ({name}) gives back to it exactly what it took, so it "
        "changes nothing. Take `form: binary`, which lowers the target itself."
    )
