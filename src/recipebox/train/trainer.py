"""The only file that touches Ultralytics' trainer internals. tests/train/test_contract.py guards each of them."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from recipebox.data.detection_set import DetectionSet
from recipebox.data.views import DeployedViews, TrainingViews, ViewLoader, seed_everything
from recipebox.errors import RecipeboxError, TrainingFailed, WeightsError
from recipebox.progress import Progress
from recipebox.recipe.technique_sections import STOCK_MAX_NORM
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.train.checkpoint import load_checkpoint, restore, save_checkpoint, training_state, write_torch_file
from recipebox.train.live_weights import LiveWeights
from recipebox.train.network import network_description
from recipebox.train.records import epoch_record, progress_info, step_record
from recipebox.train.telemetry import Telemetry, check_records
from recipebox.train.validation import without_clock
from recipebox.train.weights_file import check_transfer, shippable
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.utils.torch_utils import unwrap_model  # noqa: E402


class RecipeTrainer(DetectionTrainer):  # type: ignore[misc]
    """Ultralytics' detection trainer with repeatable views, exact resume, techniques and telemetry.

    It is its own `TrainingContext`: techniques see `model`, `ema`, `step`, ... of it.

    Args:
        arguments: Ultralytics' training arguments.
        run: where everything is written.
        detection_set: checked data.
        techniques: in the order they act.
        resume: go on from the run's state.pt, where there is one.
    """

    lf: Any  # the learning rate over lr0, by epoch

    def __init__(
        self,
        arguments: dict[str, Any],
        run: RunDir,
        detection_set: DetectionSet,
        techniques: list[Technique],
        *,
        resume: bool = False,
    ) -> None:
        self.run_dir, self.detection_set, self.techniques = run, detection_set, techniques
        self._in_batch = False
        self._accumulate = 1
        self.pending = 0  # batches whose gradients wait for the next optimizer step
        self._numbers: dict[str, float] = {}
        self.clip_norm: float | None = STOCK_MAX_NORM
        self.gradient_norm: float | None = None
        self.evaluate_live = False
        self.live: dict[str, float] | None = None  # this epoch's validation of the live weights
        self._live_weights = LiveWeights()
        self.waiting_gradients: dict[str, torch.Tensor] | None = None
        self.step = self.optimizer_steps = 0
        self.best_epoch: int | None = None
        self._pipeline_built = False
        self._state: dict[str, Any] | None = None
        if resume and run.checkpoint.exists():
            # Before stock's constructor, which removes results.csv: a run that is refused keeps its files.
            self._state = load_checkpoint(run.checkpoint, torch.device("cpu"))
            check_records(run, self._state["epoch"])
        threads = torch.get_num_threads()
        super().__init__(overrides=arguments)
        # On a CPU stock leaves one core idle (all but one, at most 8), which costs half the speed on two cores.
        torch.set_num_threads(threads)
        # plan.yaml says what was asked; Ultralytics' list of its arguments names places on this machine.
        (run.root / "args.yaml").unlink(missing_ok=True)
        # Stock callbacks are trackers and plots; what acts here are methods, see run_callbacks.
        self.callbacks: dict[str, list[Any]] = defaultdict(list)
        self.telemetry = Telemetry(run, self._state["epoch"] if self._state else 0)

    # -- what techniques see -------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return self.detection_set.names

    @property
    def network(self) -> Any:
        """The live student, without any parallel wrapper."""
        return unwrap_model(self.model)

    @property
    def total_steps(self) -> int:
        return len(self.train_loader) * int(self.epochs)

    def record(self, key: str, value: float) -> None:
        self._numbers[key] = value

    @property
    def ended(self) -> bool:
        """Whether the checkpoint to go on from stands where training ended, after its last epoch or stopped early."""
        return self._state is not None and bool(self._state["stop"])

    def setup_model(self) -> Any:
        try:
            return super().setup_model()
        except RecipeboxError:
            raise
        except Exception as error:  # unpickling what is no checkpoint raises anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(
                f"{self.args.model}: no network can be built from this file ({reason}). "
                "Give model.weights a detector's .pt of Ultralytics, or `scratch`."
            ) from error

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = super().get_model(network_description(cfg), None, verbose)
        for technique in self.techniques:
            technique.on_network(model, self.detection_set)
        if weights is not None:
            model.load(weights)
            file = self.args.pretrained if isinstance(self.args.pretrained, str) else self.args.model
            check_transfer(model, weights, str(file))
        for technique in self.techniques:
            technique.on_model(model)
        return model

    # -- data ----------------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict[str, Any]:
        names = dict(enumerate(self.detection_set.names))
        return {"names": names, "nc": len(names), "channels": 3, "train": "train", "val": "val", "path": ""}

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> ViewLoader:
        seed, workers, cuda = int(self.args.seed), int(self.args.workers), self.device.type == "cuda"
        split = self.detection_set.train if mode == "train" else self.detection_set.val
        if mode == "train":
            dataset: Any = TrainingViews(split, self.names, self.args, seed=seed, epochs=int(self.epochs))
            for technique in self.techniques:
                technique.on_views(dataset)
        else:
            dataset = DeployedViews(split, self.names, int(self.args.imgsz))
        shuffle = seed if mode == "train" else None
        return ViewLoader(dataset, batch=batch_size, workers=workers, seed=shuffle, pin_memory=cuda)

    def _build_train_pipeline(self) -> None:
        if self._pipeline_built:
            # Stock halves the batch and goes on, which would silently train another recipe.
            raise TrainingFailed(
                f"out of memory with batch {self.args.batch} at imgsz {self.args.imgsz}. "
                "Set a smaller train.batch (or train.imgsz), e.g. --set train.batch="
                f"{max(1, int(self.args.batch) // 2)}."
            )
        super()._build_train_pipeline()
        self._pipeline_built = True

    def _setup_scheduler(self) -> None:
        super()._setup_scheduler()
        schedule = self.lf  # the warm-up climbs to it, the scheduler follows it afterwards
        for technique in self.techniques:
            schedule = technique.wrap_schedule(schedule)
        self.lf, self.scheduler.lr_lambdas = schedule, [schedule] * len(self.optimizer.param_groups)

    def training_images(self, count: int) -> Iterator[torch.Tensor]:
        self.train_loader.set_epoch(int(self.epoch))
        for batch in islice(self.train_loader, math.ceil(count / self.train_loader.batch_size)):
            yield batch["img"].to(self.device).float() / 255

    def _close_dataloader_mosaic(self) -> None:
        """Nothing to do: a view knows from its epoch whether mosaic is closed."""

    # -- stepping ------------------------------------------------------------------------------------------------

    @property
    def accumulate(self) -> int:
        """Batches to an optimizer step. Within a batch it reads 1, so that the stock loop asks for a step after each
        and the counting is ours: the stock counter is a local variable that a resumed run could not set."""
        return 1 if self._in_batch else self._accumulate

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        self._accumulate = int(value)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        prepared: dict[str, Any] = super().preprocess_batch(batch)
        if self.model.training:
            self._in_batch = True
            for technique in self.techniques:
                technique.on_batch(prepared)
        return prepared

    def optimizer_step(self) -> None:
        self.pending += 1
        if self.pending < self._accumulate:
            return
        self.pending = 0
        self.optimizer_steps += 1
        # Stock's step, whose clipping is fixed; with its value the weights are the same to the last bit.
        self.scaler.unscale_(self.optimizer)
        largest = math.inf if self.clip_norm is None else self.clip_norm
        self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=largest))
        self.record("gradient/norm", self.gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.ema.update(self.model)

    # -- the loop's events ---------------------------------------------------------------------------------------

    def run_callbacks(self, event: str) -> None:
        handler = getattr(self, f"_{event}", None)
        if handler is not None:
            handler()

    def _on_pretrain_routine_end(self) -> None:
        model = self.network
        criterion = model.init_criterion()
        for technique in self.techniques:
            technique.on_setup(self)
            criterion = technique.wrap_criterion(criterion)
        model.criterion = criterion
        if self._state is not None:
            restore(self, self._state)
            self._state = None

    def _on_train_start(self) -> None:
        done = len(self.train_loader) * int(self.start_epoch)
        self._progress = Progress("training", self.total_steps, completed=done)
        self._progress.__enter__()

    def _on_train_epoch_start(self) -> None:
        self.train_loader.set_epoch(int(self.epoch))
        self._epoch_began = time.monotonic()
        if self.waiting_gradients is not None:  # after on_train_start, where stock clears all gradients
            for name, parameter in self.network.named_parameters():
                if name in self.waiting_gradients:
                    parameter.grad = self.waiting_gradients[name].to(parameter.device)
            self.waiting_gradients = None

    def _on_train_batch_start(self) -> None:
        self.step += 1
        self._numbers, self.gradient_norm = {}, None
        # What is random in a step (multi-scale, dropout) depends on the step alone, not on the loader's workers.
        seed_everything(int(self.args.seed), self.step, 1)

    def _on_train_batch_end(self) -> None:
        self._in_batch = False
        losses = {key: float(value) for key, value in self.loss_items.items()}
        epoch = int(self.epoch) + 1
        if not all(math.isfinite(value) for value in losses.values()):
            bad = ", ".join(f"{key} = {value}" for key, value in losses.items() if not math.isfinite(value))
            raise TrainingFailed(
                f"the loss is no longer finite at step {self.step} (epoch {epoch}): {bad}. "
                "Lower train.lr0, lengthen train.warmup_epochs, or switch train.amp off."
            )
        # Stock's average is there without any lever, and on a short run its decay is the first thing to look at.
        self.record("ema/decay", float(self.ema.decay(self.ema.updates)) if self.ema.updates else 1.0)
        for technique in self.techniques:
            technique.on_step(self)
        self.telemetry.step(step_record(self, losses, self._numbers))
        self._progress.update(1, info=progress_info(epoch, int(self.epochs), losses, self._numbers))

    def _on_train_epoch_end(self) -> None:
        self._in_batch = False
        for technique in self.techniques:
            technique.on_epoch_end(self)

    def _on_fit_epoch_end(self) -> None:
        self.telemetry.epoch(epoch_record(self, self._epoch_began, self._numbers))
        save_checkpoint(self.run_dir.checkpoint, training_state(self))

    def _teardown(self) -> None:
        self.telemetry.close()
        progress = getattr(self, "_progress", None)
        if progress is not None:
            progress.__exit__(*sys.exc_info())  # an interrupted bar must not say that it is done
        for loader in (getattr(self, "train_loader", None), getattr(self, "test_loader", None)):
            if loader is not None:
                loader.close()

    # -- validation, files ---------------------------------------------------------------------------------------

    def get_validator(self) -> Any:
        validator = without_clock(super().get_validator())
        if getattr(self.network.model[-1], "one2one_cv2", None) is not None:
            validator.args.nms = False  # validate the NMS-free branch: it is the one that ships
        return validator

    def validate(self) -> tuple[Any, Any]:
        before = self.best_fitness
        # The average comes last: what it leaves in the validator is what stock would have left.
        self.live = self._live_weights.measure(self) if self.evaluate_live else None
        metrics, fitness = super().validate()
        if before is None or fitness >= before:  # a tie goes to the later epoch
            self.best_epoch = int(self.epoch) + 1
        return metrics, fitness

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """results.csv is written by the telemetry, whole, after every epoch."""

    def save_model(self) -> bool:
        """weights/last.pt, and weights/best.pt where this epoch is the best so far."""
        document = shippable(self.ema.ema, self.args)
        best = [self.run_dir.best] if self.best_epoch == int(self.epoch) + 1 else []
        write_torch_file(self.run_dir.last, *best, document=document)
        return True

    def final_eval(self) -> None:
        """The evaluate stage does this, on the test split."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Stock reloads half-precision averages and tries again; a run that cannot be repeated is stopped instead."""
        if self.fitness is not None and not math.isfinite(float(self.fitness)):
            raise TrainingFailed(f"validation gives no finite number at epoch {epoch + 1}. Lower train.lr0.")
        return False
