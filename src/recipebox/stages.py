"""The stages of a run in order, each called with what it needs; which of them a run still lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recipebox.errors import CheckFailed, RecipeboxError, RunError
from recipebox.progress import say
from recipebox.run_dir import RunDir, read_object

if TYPE_CHECKING:
    from recipebox.data.detection_set import DetectionSet
    from recipebox.recipe.plan import Plan
    from recipebox.report.boards import Detect
    from recipebox.supplies import Supplies

Stage = Literal["train", "evaluate", "export", "bench"]
STAGES: tuple[Stage, ...] = ("train", "evaluate", "export", "bench")
TEACHER_STAGES: tuple[Stage, ...] = ("train", "evaluate")
"""A teacher is not shipped: it needs weights, and numbers to stand beside its student's."""

_LOWEST_SCORE = 0.05
"""Detections below this are not even looked at for the report's pictures."""


def run_stage(
    stage: Stage, run: RunDir, plan: Plan, supplies: Supplies, teachers: Sequence[RunDir] = ()
) -> dict[str, Any]:
    """Run one stage and return its result file's content; `teachers` in the plan's order. Raises what it raises."""
    detection_set = supplies.detection_set(plan.settings)
    if stage == "train":
        from recipebox.train.run import train

        weights = supplies.weights(plan.settings)
        resume = run.checkpoint.is_file()
        if not resume and run.epochs.is_file() and run.epochs.stat().st_size:
            say(f"{run.checkpoint} is gone: training begins anew")
        return train(plan, run, detection_set, weights=weights, teacher_runs=teachers, resume=resume)
    if stage == "evaluate":
        from recipebox.evaluate.detector import device_here
        from recipebox.evaluate.run import evaluate

        return evaluate(run, plan.settings, detection_set, device=device_here(plan.device))
    if stage == "export":
        from recipebox.export.run import export

        return export(run, plan.settings, detection_set)
    from recipebox.bench.run import bench

    return bench(run, plan.settings, detection_set)


def run_missing_stages(
    run: RunDir, plan: Plan, supplies: Supplies, teachers: Sequence[RunDir], stages: tuple[Stage, ...]
) -> list[CheckFailed]:
    """Run those of `stages` that the run lacks. A failed check does not keep the later ones from being measured.

    Returns:
        The checks that failed.
    """
    failed: list[CheckFailed] = []
    wanted = [stage for stage in stages if stage != "bench" or "local" in plan.settings.bench.targets]
    for number, stage in enumerate(wanted, start=1):
        if is_done(run, stage):
            continue
        say(f"[{number}/{len(wanted)}] {plan.name}: {stage}")
        try:
            run_stage(stage, run, plan, supplies, teachers)
        except CheckFailed as error:
            say(f"check failed: {error}")
            failed.append(error)
    return failed


def is_done(run: RunDir, stage: Stage) -> bool:
    """Whether a stage has a passing result that belongs to the weights the run holds now."""
    train = _content(run, "train")
    best = _text(train, "weights", "best", "sha256")
    if stage == "train":
        return best is not None and run.best.is_file()
    result = _content(run, stage)
    if stage == "evaluate":
        return best is not None and result.get("weights_sha256") == best
    if stage == "export":
        return best is not None and result.get("weights_sha256") == best and result.get("passed") is True
    exported = _content(run, "export").get("sha256")
    return exported is not None and result.get("sha256") == exported and result.get("passed") is not False


def write_report(run: RunDir, supplies: Supplies, plan: Plan | None, *, teachers: Sequence[RunDir] = ()) -> None:
    """Write report.md and report.html from what the run holds; pictures of boards where the data is at hand.

    Raises:
        RunError: not a run folder.
        StorageError: the report cannot be written.
    """
    from recipebox.report.compare import matching_runs
    from recipebox.report.run import report

    detection_set: DetectionSet | None = None
    detect: Detect | None = None
    if plan is not None:
        try:
            detection_set = supplies.detection_set(plan.settings)
            detect = _shipped_detector(run) if is_done(run, "export") else None
        except RecipeboxError as error:
            say(f"the report goes without pictures of boards: {error}")
    names = plan.settings.evaluate.compare if plan is not None else ()
    compare = matching_runs(run, [Path(name).stem if "/" in name else name for name in names])
    report(run, detection_set=detection_set, detect=detect, compare=compare, teachers=teachers)


def _shipped_detector(run: RunDir) -> Detect:
    """The exported file with everything around it: BGR image in, boxes in its pixels out."""
    import numpy as np
    from numpy.typing import NDArray

    from recipebox.data.letterbox import letterbox, to_input
    from recipebox.evaluate.postprocess import detections
    from recipebox.export.detector import OnnxDetector

    detector = OnnxDetector(run.onnx)

    def detect(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        canvas, placement = letterbox(image, detector.imgsz)
        found = detections(detector(to_input(canvas)[None]), conf=_LOWEST_SCORE)[0]
        return placement.to_image(found, (image.shape[0], image.shape[1])).astype(np.float32)

    return detect


def read_plan(run: RunDir) -> Plan:
    """The plan a run was made with.

    Raises:
        RunError: plan.yaml cannot be read or is none; the message names it and says how to go on.
    """
    from recipebox.recipe.plan import plan_from_yaml

    mend = f"Put the file back, or train the recipe again: `recipebox train {run.recipe}`."
    try:
        return plan_from_yaml(run.plan.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{run.plan}: cannot be read ({error.strerror}). {mend}") from None
    except UnicodeDecodeError:
        raise RunError(f"{run.plan}: not a text file. {mend}") from None
    except RecipeboxError as error:
        raise RunError(f"{run.plan}: {str(error).rstrip('.')}. {mend}") from None


def read_lock(run: RunDir) -> dict[str, Any]:
    """Raises RunError when lock.json is missing or spoiled."""
    mend = f"Put the file back, or train the recipe again: `recipebox train {run.recipe}`."
    document = read_object(run.lock, mend)
    if not _is_lock(document):
        raise RunError(f"{run.lock}: not a lock as recipebox writes it. {mend}")
    return document


def _is_lock(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    teachers = document.get("teachers")
    parts = [document.get("settings"), document.get("versions")]
    return all(isinstance(part, dict) for part in parts) and isinstance(teachers, list) and all(map(_is_lock, teachers))


def _content(run: RunDir, stage: Stage) -> dict[str, Any]:
    try:
        return run.read_result(stage)
    except (RunError, OSError):
        return {}


def _text(document: Any, *path: str) -> str | None:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else None
