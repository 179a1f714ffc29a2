"""What excludes, or makes idle, the levers on the class loss and on sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recipebox.recipe.problems import did_you_mean
from recipebox.recipe.schema import Settings
from recipebox.recipe.yaml_nodes import Document

LARGEST_EPSILON = 0.5
"""From here on a positive says less of its own class than of the rest."""

USUAL_EPSILON = 0.2


def class_conflicts(settings: Settings, names: tuple[str, ...] | None, document: Document) -> Iterator[str]:
    """Why these levers cannot act together, or not on these classes; one sentence each.

    Args:
        settings: everything applied.
        names: the data set's class names; None where they are not known yet, training then checks them.
        document: the settings as plain values, for where they were written.
    """
    yield from _smoothing(settings, names, document)


def idle_class_levers(settings: Settings) -> Iterator[str]:
    """Levers that are legal and do nothing, or not what they seem to; one sentence each."""
    smoothing = settings.techniques.label_smoothing
    if smoothing is None:
        return
    largest = max(smoothing.epsilon, *smoothing.per_class.values(), 0.0)
    if largest == 0:
        yield "`label_smoothing` does nothing: every epsilon is 0."
    elif smoothing.off_last >= settings.train.epochs:
        yield (
            f"`label_smoothing` does nothing: it is off for the last {smoothing.off_last} of {settings.train.epochs} "
            "epochs."
        )
    elif USUAL_EPSILON < largest <= LARGEST_EPSILON:
        yield (
            f"`label_smoothing` takes {largest:g} from a positive; more than {USUAL_EPSILON:g} usually costs accuracy "
            "(0.05 to 0.1 is common)."
        )


def unknown_classes(given: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    """What to say of each name that is no class of the data set."""
    for name in given:
        if name not in names:
            yield f"`{name}` is no class of the data set{did_you_mean(name, names)}."


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
    if settings.techniques.distillation is not None:
        yield (
            f"{document.origin(path)}: `label_smoothing` together with `distillation`: both soften the class target, "
            "and a teacher already says which classes resemble each other. Take one of them out "
            "(`label_smoothing: null`)."
        )
    if names is not None:
        if len(names) == 1 and smoothing.form == "spread":
            yield f"{document.origin((*path, 'form'))}: {one_class_spread(names[0])}"
        for problem in unknown_classes(smoothing.per_class, names):
            yield f"{document.origin((*path, 'per_class'))}: {problem}"


def one_class_spread(name: str) -> str:
    """Why `form: spread` cannot act on a set with one class."""
    return (
        f"`label_smoothing` of `form: spread` with one class ({name}) gives back to it exactly what it took, so it "
        "changes nothing. Take `form: binary`, which lowers the target itself."
    )
