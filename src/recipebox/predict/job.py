"""`recipebox predict`: what a run's detector finds on images, folders and videos, exactly as it was evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipebox.data.letterbox import letterbox, to_input
from recipebox.data.places import new_folder
from recipebox.endings import signals_interrupt
from recipebox.errors import BadInput, CheckFailed, DataError, RunError
from recipebox.evaluate.detector import Detector
from recipebox.predict.draw import Detections, Image, draw, one_line
from recipebox.predict.frames import DrawnVideo, Frames
from recipebox.predict.inputs import Source, find_inputs, whole_image
from recipebox.predict.output import output_folder, rows_of, write_label, write_picture, yolo_lines
from recipebox.predict.sheet import TILES, Spaced, contact_sheet
from recipebox.progress import Progress, say
from recipebox.run_dir import RunDir, find_run, write_json
from recipebox.stages import is_done

BACKENDS = ("auto", "onnx", "torch")
_SHOWN = 10
_CHOSEN = "chosen on val"
_UNSURE = 0.02
"""A score threshold below which every shadow counts."""


@dataclass
class Prediction:
    """What came of a call: predictions.json as `document`, its folder, and what people are told."""

    folder: Path
    document: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """3 where something was skipped: a script must notice that not every image was looked at."""
        return CheckFailed.exit_code if self.document["skipped"] else 0

    def text(self) -> str:
        """For people."""
        shown = self.document
        often = sorted(((-count, name) for name, count in shown["per_class"].items() if count))
        per_class = ", ".join(f"{one_line(name)} {-count}" for count, name in often[:_SHOWN]) or "none"
        per_class += f" and {len(often) - _SHOWN} more classes" if len(often) > _SHOWN else ""
        lines = [
            f"{shown['detections']} detections on {_counted(shown)} at threshold {shown['threshold']:.3f} "
            f"({shown['threshold_from']}), by {shown['detector']['file']}",
            f"  {per_class}",
        ]
        if shown["threshold"] < _UNSURE and shown["threshold_from"] == _CHOSEN:
            lines.append(f"  val asked for a threshold below {_UNSURE:g}: this detector has hardly learned yet")
        skipped = shown["skipped"]
        if skipped:
            lines.append(f"{len(skipped)} skipped, so the exit code is {self.exit_code}:")
            lines += [f"  {one_line(one['file'])}: {one_line(one['reason'])}" for one in skipped[:_SHOWN]]
            lines += [f"  and {len(skipped) - _SHOWN} more in predictions.json"] if len(skipped) > _SHOWN else []
        return "\n".join([*lines, f"contact sheet: {self.folder / 'contact.png'}"])


def predict_job(
    name: str, images: Sequence[str], *, out: Path | None, threshold: float | None, backend: str
) -> Prediction:
    """Detect, draw and write.

    Args:
        name: a run folder, or a recipe: its latest finished run.
        images: paths of images, folders and videos.
        out: a new folder; None makes one under the run.
        threshold: None takes the run's own, which evaluation chose on val.
        backend: `auto` takes the exported file where the gate passed it, since that is what ships, else best.pt.

    Raises:
        RunError: no such run, or it was not evaluated.
        DataError: there is no image, or none that can be read.
        BadInput: the output folder is there already, or the threshold is no share.
        StorageError: the results cannot be written; nothing is left behind.
    """
    if threshold is not None and not 0 <= threshold < 1:
        raise BadInput(f"--threshold {threshold}: a score threshold lies between 0 and 1.")
    if backend not in BACKENDS:
        raise BadInput(f"--backend {backend}: there are {', '.join(BACKENDS)}.")
    run = find_run(name)
    inputs = find_inputs(images)
    folder = output_folder(run, out)
    from recipebox.evaluate.run import read_evaluation

    evaluation = read_evaluation(run)
    detector, file = _detector(run, evaluation, backend)
    chosen = float(evaluation["threshold"]) if threshold is None else threshold
    given = "given by --threshold" if threshold is not None else _origin(evaluation)
    with signals_interrupt(), new_folder(folder) as place:
        work = _Work(detector, chosen, place)
        work.skipped = [(path, reason) for path, reason in inputs.skipped]
        work.all(inputs.sources)
        if not work.files:
            reasons = "".join(f"\n  {path}: {reason}" for path, reason in work.skipped[:_SHOWN])
            raise DataError(f"none of {len(work.skipped)} files could be read, so nothing was written.{reasons}")
        document = {
            "schema": 1,
            "folder": str(folder),
            "run": str(run.root),
            "detector": {"file": file, "sha256": detector.sha256, "precision": detector.precision},
            "imgsz": detector.imgsz,
            "names": list(detector.names),
            "threshold": chosen,
            "threshold_from": given,
            **work.summary(),
        }
        write_json(place / "predictions.json", document)
        headline = f"{run.recipe}: {document['detections']} detections on {_counted(document)}, threshold {chosen:.3f}"
        tiles = work.spaced.chosen()
        headline += f"; {len(tiles)} evenly spaced" if work.spaced.seen > TILES else ""
        write_picture(place / "contact.png", contact_sheet(tiles, detector.names, headline))
    return Prediction(folder, document)


def _counted(document: dict[str, Any]) -> str:
    count = document["images"]
    frames = sum(len(one["frames"]) for one in document["files"] if "frames" in one)
    words = [f"{count} image{'' if count == 1 else 's'}"] if count or not frames else []
    return " and ".join([*words, *([f"{frames} frame{'' if frames == 1 else 's'}"] if frames else [])])


def _origin(evaluation: dict[str, Any]) -> str:
    blind = evaluation.get("threshold_from") == "default"
    return "a default: evaluation found nothing on val to choose one by" if blind else _CHOSEN


def _detector(run: RunDir, evaluation: dict[str, Any], backend: str) -> tuple[Detector, str]:
    """The detector and its file, relative to the run."""
    from recipebox.evaluate.run import trained_sha256

    sha256 = trained_sha256(run)
    if evaluation["weights_sha256"] != sha256:
        raise RunError(
            f"{run.result('evaluate')}: the threshold was chosen for other weights than {run.best}. "
            f"`recipebox evaluate {run.root}` chooses it again."
        )
    exported = is_done(run, "export")
    if backend == "onnx" and not exported:
        raise RunError(
            f"{run.onnx}: there is no exported file of these weights that passed the accuracy gate. "
            f"`recipebox export {run.root}` makes one; --backend torch goes without."
        )
    if exported and backend != "torch":
        from recipebox.export.detector import OnnxDetector

        onnx = OnnxDetector(run.onnx)
        if onnx.sha256 != run.read_result("export").get("sha256"):
            raise RunError(
                f"{run.onnx}: not the file that passed the accuracy gate. `recipebox export {run.root}` makes it again."
            )
        return onnx, "weights/best.onnx"
    from recipebox.evaluate.detector import TorchDetector

    if backend == "auto":
        say("no exported file that passed the accuracy gate: PyTorch runs best.pt")
    return TorchDetector(run.best, sha256=sha256, imgsz=evaluation["imgsz"]), "weights/best.pt"


@dataclass
class _Work:
    """One pass over the sources: what was found, skipped and kept for the contact sheet."""

    detector: Detector
    threshold: float
    place: Path
    files: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    spaced: Spaced = field(default_factory=Spaced)
    counts: dict[int, int] = field(default_factory=dict)

    def all(self, sources: Sequence[Source]) -> None:
        with Progress("predicting", len(sources)) as bar:
            for source in sources:
                try:
                    one = self._video(source, bar.update) if source.video else self._image(source)
                    self.files.append(one)
                except DataError as error:
                    self.skipped.append((source.path, str(error).removeprefix(f"{source.path}: ")))
                bar.update(info=f"{sum(self.counts.values())} detections")

    def summary(self) -> dict[str, Any]:
        names = self.detector.names
        return {
            "images": sum("frames" not in one for one in self.files),
            "detections": sum(self.counts.values()),
            "per_class": {name: self.counts.get(index, 0) for index, name in enumerate(names)},
            "files": self.files,
            "skipped": [{"file": str(path), "reason": reason} for path, reason in self.skipped],
        }

    def detect(self, image: Image) -> Detections:
        """(n, 6): x1, y1, x2, y2 in pixels of `image`, score, class; the pipeline that was evaluated."""
        from recipebox.evaluate.postprocess import detections

        canvas, place = letterbox(image, self.detector.imgsz)
        found = detections(self.detector(to_input(canvas)[None]), conf=self.threshold)[0]
        return place.to_image(found, (image.shape[0], image.shape[1]))

    def _image(self, source: Source) -> dict[str, Any]:
        try:
            image = whole_image(source.path)
        except MemoryError:
            raise DataError(f"{source.path}: too large for this machine's memory") from None
        found = self._looked_at(source.name, image)
        drawn, label = Path("images") / f"{source.name}.jpg", Path("labels") / f"{source.name}.txt"
        write_picture(self.place / drawn, draw(image, found, self.detector.names))
        write_label(self.place / label, yolo_lines(found, (image.shape[0], image.shape[1])))
        return {
            "file": str(source.path),
            "width": int(image.shape[1]),
            "height": int(image.shape[0]),
            "drawn": str(drawn),
            "label": str(label),
            "detections": rows_of(found, self.detector.names),
        }

    def _video(self, source: Source, tick: Callable[..., None]) -> dict[str, Any]:
        frames = Frames(source.path)
        drawn, rows = Path("images") / f"{source.name}.mp4", []
        size = (0, 0)
        try:
            with DrawnVideo(self.place / drawn, frames.rate) as video:
                for number, frame in enumerate(frames, start=1):
                    size = (frame.shape[0], frame.shape[1])
                    found = self._looked_at(f"{source.name}, frame {number}", frame)
                    video.write(draw(frame, found, self.detector.names))
                    label = self.place / "labels" / source.name / f"{number:06}.txt"
                    write_label(label, yolo_lines(found, size))
                    rows.append(rows_of(found, self.detector.names))
                    tick(0, info=f"{source.path.name}: frame {number}" + _of(frames.announced))
        finally:
            frames.close()
        if not rows:
            raise DataError(f"{source.path}: no frame of this video can be decoded")
        if frames.announced is not None and len(rows) < frames.announced:
            self.skipped.append((source.path, f"ended after {len(rows)} of {frames.announced} frames"))
        return {
            "file": str(source.path),
            "width": size[1],
            "height": size[0],
            "frames_per_second": frames.rate,
            "drawn": str(drawn),
            "labels": str(Path("labels") / source.name),
            "frames": rows,
        }

    def _looked_at(self, name: str, image: Image) -> Detections:
        found = self.detect(image)
        self.spaced.offer(name, image, found)
        for index, count in zip(*np.unique(found[:, 5].astype(int), return_counts=True), strict=True):
            self.counts[int(index)] = self.counts.get(int(index), 0) + int(count)
        return found


def _of(announced: int | None) -> str:
    return f" of {announced}" if announced else ""
