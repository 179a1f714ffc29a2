"""A few steps of the real trainer from any epoch of a run, and everything that they changed.

The trainer is `RecipeTrainer` with the plan's own techniques, data and arguments; `WatchedTrainer` only puts it where a
resumed run would stand at that epoch, notes what happens, and ends it. Validation and files are left out.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.experiment.window import View, Window
from recipebox.recipe.estimate import optimizer_steps
from recipebox.recipe.plan import Plan
from recipebox.run_dir import RunDir
from recipebox.techniques.anchor_head.head import BOX, AnchorDetect
from recipebox.train.checkpoint import restore, training_state
from recipebox.train.run import make_trainer
from recipebox.train.trainer import RecipeTrainer
from recipebox.train.weights_file import ADDED

_CLASS_BIAS = re.compile(r"cv3\.\d+\.2\.bias$")
"""The last layer of the class branch at each level, in the heads of YOLOv8, YOLO11 and YOLO26."""
_BOX_BIAS = re.compile(r"cv2\.\d+\.2\.bias$")
"""That of the other branch; in a head with anchors it says the box and the objectness of each anchor."""

_DRAWN_EPOCHS = 20


@dataclass
class Trace:
    """What happened in a window.

    Attributes:
        views: the images of all batches, in order.
        draws: how often each image is drawn in so many epochs that weights close to each other show, (images,); where
            views alone are looked at.
        losses: the loss terms of each batch, per image.
        numbers: what was put into the telemetry at each batch.
        rates: the learning rates of the parameter groups at each batch.
        gradient: of the first optimizer step, before clipping, (parameters,).
        class_gradient: that of the biases of the class outputs, (levels, nc); a head with anchors has a row for each.
        objectness_gradient: that of the biases of the objectness of a head with anchors, (levels * anchors,).
        anchors: of such a head, (width, height) in pixels, by level.
        gradient_norms: at each optimizer step, before clipping.
        step_norms: of the gradients that the optimizer was given.
        started, weights, average: the student's floating values (weights and batch norm statistics) before, after, and
            averaged, (values,); what a technique added to the network is left out.
        stepped: the same values after each optimizer step, when the average follows them.
        ends: the parameters at the ends of the epochs that the window lives through, (parameters,).
        averaged: those of the average, at the last of them.
        end_statistics, averaged_statistics: the same of the batch norm statistics, (statistics,).
    """

    views: list[View] = field(default_factory=list)
    draws: tuple[int, ...] = ()
    losses: list[dict[str, float]] = field(default_factory=list)
    numbers: list[dict[str, float]] = field(default_factory=list)
    rates: list[tuple[float, ...]] = field(default_factory=list)
    gradient: torch.Tensor | None = None
    class_gradient: torch.Tensor | None = None
    objectness_gradient: torch.Tensor | None = None
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    gradient_norms: list[float] = field(default_factory=list)
    step_norms: list[float] = field(default_factory=list)
    started: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    average: torch.Tensor | None = None
    stepped: list[torch.Tensor] = field(default_factory=list)
    ends: list[torch.Tensor] = field(default_factory=list)
    averaged: torch.Tensor | None = None
    end_statistics: list[torch.Tensor] = field(default_factory=list)
    averaged_statistics: torch.Tensor | None = None

    @property
    def lag(self) -> float:
        """How far the average is from the live weights."""
        return _distance(self.average, self.weights)

    @property
    def moved(self) -> float:
        """How far the weights went."""
        return _distance(self.weights, self.started)


def trace(
    plan: Plan, window: Window, detection_set: DetectionSet, *, weights: Path | None, teacher_runs: Sequence[RunDir]
) -> Trace:
    """Run the window's part of the plan's training in a temporary folder.

    Args:
        weights, teacher_runs: as for `train.run.train`.

    Raises:
        TrainingFailed, WeightsError, PlanConflict: as in training.
    """
    # Loader processes change no batch and cost more than they help here. Mixed precision begins with a gradient scale
    # that overflows until it has come down, and the few steps of a window would be skipped.
    train = plan.settings.train.model_copy(update={"workers": 0, "amp": False})
    plan = replace(plan, settings=plan.settings.model_copy(update={"train": train}))
    with tempfile.TemporaryDirectory(prefix="recipebox-prove-") as folder:
        run = RunDir.create(plan.name, Path(folder))
        trainer = make_trainer(
            plan, run, detection_set, weights=weights, teacher_runs=teacher_runs, kind=WatchedTrainer
        )
        assert isinstance(trainer, WatchedTrainer)
        return trainer.watch(window)


class _Enough(Exception):
    """The window is over."""


class WatchedTrainer(RecipeTrainer):
    """Trains a window and notes what happens."""

    train_loader: Any

    def watch(self, window: Window) -> Trace:
        self._window, self._trace, self._ends = window, Trace(), 0
        try:
            self.train()
        except _Enough:
            pass
        finally:
            loader = getattr(self, "train_loader", None)  # a lever that is refused by the views leaves none
            if loader is not None:
                loader.close()
        if window.batches:
            self._trace.weights, self._trace.average = _values(self.model), _values(self.ema.ema)
        if window.epoch_ends:
            self._trace.averaged = _parameters(self.ema.ema)
            self._trace.averaged_statistics = _statistics(self.ema.ema)
        return self._trace

    # -- where it begins -----------------------------------------------------------------------------------------

    def _on_pretrain_routine_end(self) -> None:
        super()._on_pretrain_routine_end()
        epoch, args, batches = self._window.epoch, self.args, len(self.train_loader)
        if epoch:
            nbs, warmup = int(args.nbs), float(args.warmup_epochs)
            done = optimizer_steps(batches, int(self.epochs), int(args.batch), nbs, warmup, until=epoch)
            self.epoch = epoch - 1
            state = training_state(self)
            state |= {"step": epoch * batches, "optimizer_steps": done, "ema_updates": done}
            # A criterion that counts its epochs (YOLO26's) begins at 0; any other has no count.
            state["criterion_updates"] = None if state["criterion_updates"] is None else epoch
            restore(self, state)
        if self._window.epoch_batches is not None:
            self.train_loader = _Shortened(self.train_loader, self._window.epoch_batches)
        self._trace.started = _values(self.model)
        self.optimizer.register_step_pre_hook(self._note_step)

    def _on_train_start(self) -> None:
        self._progress: Any = _NoProgress()

    def _on_train_epoch_start(self) -> None:
        super()._on_train_epoch_start()
        if not self._window.batches:
            self._note_draws()
            if self._window.views:
                self._look()
            raise _Enough

    # -- what happens --------------------------------------------------------------------------------------------

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.model.training:
            self._note_views(batch)
        return super().preprocess_batch(batch)

    def _look(self) -> None:
        """Draw views, and train on none."""
        window, seen = self._window, self._trace.views
        for epoch in window.first_of or range(window.epoch, window.epoch + window.epochs):
            self.train_loader.set_epoch(epoch)
            for batch in self.train_loader:
                begin = len(seen)
                self._note_views(batch)
                if window.first_of:
                    break
                if len(seen) >= window.views or any(view.classes.intersection(window.seek) for view in seen[begin:]):
                    return

    def _note_draws(self) -> None:
        draws = torch.zeros(len(self.train_loader.dataset), dtype=torch.long)
        for epoch in range(_DRAWN_EPOCHS):
            self.train_loader.set_epoch(epoch)
            draws += torch.bincount(
                torch.tensor([index for index, _ in self.train_loader.sampler]), minlength=len(draws)
            )
        self.train_loader.set_epoch(int(self.epoch))
        self._trace.draws = tuple(draws.tolist())

    def _note_views(self, batch: dict[str, Any]) -> None:
        for place, (file, image) in enumerate(zip(batch["im_file"], batch["img"], strict=True)):
            here = batch["batch_idx"] == place
            labels = torch.cat([batch["cls"][here].float(), batch["bboxes"][here].float()], 1)
            classes = frozenset(labels[:, 0].int().tolist())
            self._trace.views.append(View(Path(file).name, image.shape[-1], _digest(image), _digest(labels), classes))

    def optimizer_step(self) -> None:
        if self._trace.gradient is None and self.pending + 1 >= self._accumulate:
            scale = float(self.scaler.get_scale())
            own = [(n, p.grad.float().cpu() / scale) for n, p in self.network.named_parameters() if p.grad is not None]
            self._trace.gradient = torch.cat([grad.flatten() for name, grad in own if ADDED not in name])
            head = self.network.model[-1]
            biases = [grad.view(-1, int(head.nc)) for name, grad in own if _CLASS_BIAS.search(name)]
            self._trace.class_gradient = torch.cat(biases) if biases else None
            if isinstance(head, AnchorDetect):
                sure = [grad.view(-1, BOX)[:, -1] for name, grad in own if _BOX_BIAS.search(name)]
                self._trace.objectness_gradient = torch.cat(sure) if sure else None
                self._trace.anchors = head.sizes
        before = self.optimizer_steps
        super().optimizer_step()
        if self.optimizer_steps > before:
            self._trace.stepped.append(_values(self.model))

    def _note_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        parts = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self._trace.step_norms.append(float(torch.nn.utils.get_total_norm(parts)))

    def _on_train_batch_end(self) -> None:
        super()._on_train_batch_end()
        self._trace.losses.append({key: float(value) for key, value in self.loss_items.items()})
        self._trace.rates.append(tuple(float(group["lr"]) for group in self.optimizer.param_groups))
        self._trace.numbers.append(dict(self._numbers))
        if "gradient/norm" in self._numbers:
            self._trace.gradient_norms.append(self._numbers["gradient/norm"])
        self._end_when_enough()

    def _on_train_epoch_end(self) -> None:
        super()._on_train_epoch_end()
        self._ends += 1
        if self._window.epoch_ends:
            self._trace.ends.append(_parameters(self.model))
            self._trace.end_statistics.append(_statistics(self.model))
        self._end_when_enough()

    def _end_when_enough(self) -> None:
        if len(self._trace.losses) >= self._window.batches and self._ends >= self._window.epoch_ends:
            raise _Enough

    def training_images(self, count: int) -> Iterator[torch.Tensor]:
        """Of the whole epoch: it is cut short to be over sooner, not to have fewer images."""
        short = self.train_loader
        self.train_loader = short.whole if isinstance(short, _Shortened) else short
        try:
            yield from super().training_images(count)
        finally:
            self.train_loader = short

    # -- what is left out ----------------------------------------------------------------------------------------

    def validate(self) -> tuple[Any, Any]:
        return {}, 0.0

    def save_model(self) -> bool:
        return False

    def _on_fit_epoch_end(self) -> None:
        """No checkpoint: nobody goes on from here."""


class _Shortened:
    """A loader whose epochs end after `batches`, and whose length, which schedules are made from, stays what it was."""

    def __init__(self, loader: Any, batches: int) -> None:
        self.whole, self._batches = loader, batches

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.whole), self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


class _NoProgress:
    def update(self, n: float = 1, info: str | None = None) -> None:
        """A proof has its own bar."""

    def __exit__(self, *ending: object) -> None:
        """Never entered."""


def _values(model: Any) -> torch.Tensor:
    network = getattr(model, "module", model)
    parts = [v.flatten() for n, v in network.state_dict().items() if v.is_floating_point() and ADDED not in n]
    return torch.cat([part.float() for part in parts]).cpu()


def _parameters(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().float() for parameter in model.parameters()]).cpu()


def _statistics(model: Any) -> torch.Tensor:
    """Means and variances of the batch norms."""
    running = (v for n, v in model.named_buffers() if n.endswith(("running_mean", "running_var")) and ADDED not in n)
    return torch.cat([value.flatten().float() for value in running]).cpu()


def _digest(tensor: torch.Tensor) -> bytes:
    return hashlib.blake2b(tensor.contiguous().numpy().tobytes(), digest_size=8).digest()


def _distance(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    assert a is not None and b is not None, "the window trained nothing"
    return float(torch.linalg.vector_norm((a - b).double()))
