"""With no technique, the trainer is stock Ultralytics on the same batches, to the last bit."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from recipebox.data.detection_set import DetectionSet
from recipebox.data.views import DeployedViews, TrainingViews, ViewLoader
from recipebox.run_dir import RunDir
from recipebox.train.trainer import RecipeTrainer

MODELS = ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"]


class StockTrainer(DetectionTrainer):  # type: ignore[misc]
    """Ultralytics' trainer, untouched but for where its images come from."""

    def __init__(self, overrides: dict[str, Any], data_set: DetectionSet) -> None:
        self.data_set = data_set
        threads = torch.get_num_threads()
        super().__init__(overrides=overrides)
        torch.set_num_threads(threads)  # another number of threads adds up in another order
        self.add_callback("on_train_epoch_start", lambda trainer: trainer.train_loader.set_epoch(trainer.epoch))

    def get_dataset(self) -> dict[str, Any]:
        names = dict(enumerate(self.data_set.names))
        return {"names": names, "nc": len(names), "channels": 3, "train": "", "val": ""}

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        names, args = self.data_set.names, self.args
        if mode == "train":
            views: Any = TrainingViews(self.data_set.train, names, args, seed=args.seed, epochs=self.epochs)
            return ViewLoader(views, batch=batch_size, workers=0, seed=args.seed, pin_memory=False)
        views = DeployedViews(self.data_set.val, names, args.imgsz)
        return ViewLoader(views, batch=batch_size, workers=0, seed=None, pin_memory=False)

    def final_eval(self) -> None:
        pass


@pytest.mark.parametrize("model", MODELS)
def test_losses_equal_stock(model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    run = RunDir.create("r", tmp_path)
    trainer = RecipeTrainer(arguments | {"model": model, "save_dir": str(run.root)}, run, toy_set, [])
    trainer._setup_train()
    trainer.model.train()
    stock = deepcopy(trainer.model)
    stock.criterion = None
    trainer.train_loader.set_epoch(0)
    for batch in trainer.train_loader:
        batch = trainer.preprocess_batch(batch)
        loss, items = trainer.model(batch)
        expected, expected_items = stock(batch)
        assert torch.equal(loss, expected)
        assert items.keys() == expected_items.keys()
        assert all(torch.equal(items[key], expected_items[key]) for key in items)


@pytest.mark.parametrize("model", MODELS)
def test_training_equals_stock(model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Whole epochs with accumulation and warm-up: the same weights, averages and optimizer steps."""
    arguments |= {"model": model, "epochs": 2}
    run = RunDir.create("r", tmp_path)
    ours = RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, toy_set, [])
    ours.train()
    stock = StockTrainer(arguments | {"save_dir": str(tmp_path / "stock")}, toy_set)
    stock.train()
    assert ours.ema.updates == stock.ema.updates == ours.optimizer_steps
    for mine, theirs in ((ours.model, stock.model), (ours.ema.ema, stock.ema.ema)):
        left, right = mine.state_dict(), theirs.state_dict()
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []


def test_checkpoint_is_a_stock_model(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    """weights/*.pt loads in Ultralytics, holds the averaged weights in float32, and no path of this machine."""
    from ultralytics import YOLO

    run = RunDir.create("r", tmp_path)
    trainer = RecipeTrainer(arguments | {"epochs": 1, "save_dir": str(run.root)}, run, toy_set, [])
    trainer.train()
    loaded = YOLO(run.last)
    assert loaded.names == {0: "red", 1: "green", 2: "blue"}
    average = trainer.ema.ema.state_dict()
    assert all(torch.equal(value, average[key]) for key, value in loaded.model.state_dict().items())
    assert str(tmp_path).encode() not in run.last.read_bytes()
    assert loaded.predict(str(toy_set.test.images[0]), imgsz=64, verbose=False)[0].boxes is not None


def test_training_keeps_the_threads_it_was_given(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """Stock sets its own number, one core less than there are."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            run = RunDir.create("r", tmp_path)
            RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, toy_set, [])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
