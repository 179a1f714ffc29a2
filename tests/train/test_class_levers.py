"""The levers on the class loss and on sampling, within the real trainer."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipebox.data.balance import class_counts, class_weights
from recipebox.data.detection_set import DetectionSet, Split
from recipebox.errors import PlanConflict
from recipebox.recipe.class_conflicts import nobody_to_act_on
from recipebox.recipe.class_sections import ClassWeights, LabelSmoothing, Sampling
from recipebox.run_dir import RunDir
from recipebox.techniques.base import Technique
from recipebox.techniques.class_loss import inner_losses
from recipebox.techniques.class_weights import ClassWeightsTechnique, positive_extra
from recipebox.techniques.label_smoothing import LabelSmoothingTechnique
from recipebox.techniques.sampling import SamplingTechnique
from recipebox.train.telemetry import read_json_lines
from recipebox.train.trainer import RecipeTrainer

MODELS = ["yolov8n.yaml", "yolo26n.yaml"]


def trainer_with(
    techniques: list[Technique], data: DetectionSet, arguments: dict[str, Any], place: Path
) -> RecipeTrainer:
    run = RunDir.create("r", place)
    for technique in techniques:
        arguments = arguments | technique.train_args()
    return RecipeTrainer(arguments | {"save_dir": str(run.root)}, run, data, techniques)


def first_losses(trainer: RecipeTrainer) -> tuple[torch.Tensor, torch.Tensor]:
    """(ours, stock) loss terms of the first batch."""
    trainer._setup_train()
    trainer.model.train()
    trainer.step = 1
    criterion, trainer.model.criterion = trainer.model.criterion, None
    stock = deepcopy(trainer.model)  # makes its own criterion
    trainer.model.criterion = criterion
    vars(stock).pop("class_weights", None)
    trainer.train_loader.set_epoch(0)
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    return trainer.model(batch)[0].detach(), stock(batch)[0].detach()


def smoothing(**settings: Any) -> list[Technique]:
    return [LabelSmoothingTechnique(LabelSmoothing.model_validate(settings), epochs=1)]


@pytest.mark.parametrize("model", MODELS)
def test_smoothing_changes_the_class_loss_alone(
    model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours, stock = first_losses(trainer_with(smoothing(epsilon=0.1), toy_set, arguments | {"model": model}, tmp_path))
    assert ours[1] != stock[1]
    assert torch.equal(ours[[0, 2]], stock[[0, 2]])


@pytest.mark.parametrize("model", MODELS)
def test_no_smoothing_is_stock(model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    ours, stock = first_losses(trainer_with(smoothing(epsilon=0.0), toy_set, arguments | {"model": model}, tmp_path))
    assert torch.equal(ours, stock)


def test_smoothing_is_seen_in_the_records(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Validation keeps the stock loss; what is taken from a positive is epsilon (1 - 1/nc) of its score."""
    arguments |= {"epochs": 1, "close_mosaic": 0}
    trainer = trainer_with(smoothing(epsilon=0.3, schedule="linear"), toy_set, arguments, tmp_path)
    trainer.train()
    seen = [line["techniques"] for line in read_json_lines(trainer.run_dir.steps)]
    assert [each["smoothing/epsilon"] for each in seen] == pytest.approx([0.3 * (1 - n / 5) for n in range(6)])
    assert 0 < seen[0]["smoothing/moved"] < 0.3 * 2 / 3
    assert seen[-1]["smoothing/moved"] == 0.0
    assert validates_as_stock(trainer)


def validates_as_stock(trainer: RecipeTrainer) -> bool:
    """Whether the validation loss is that of a network which no lever has touched."""
    batch = next(iter(trainer.test_loader))
    batch = {key: value.float() / 255 if key == "img" else value for key, value in batch.items()}
    model = trainer.ema.ema.eval()
    stock = deepcopy(model)
    stock.criterion = None
    vars(stock).pop("class_weights", None)
    return torch.equal(model.loss(batch, model(batch["img"]))[0], stock.loss(batch, model(batch["img"]))[0])


def weighing(**settings: Any) -> list[Technique]:
    return [ClassWeightsTechnique(ClassWeights.model_validate(settings))]


@pytest.mark.parametrize(
    ("model", "by"),
    [(MODELS[0], "inverse"), (MODELS[0], "inverse_sqrt"), (MODELS[0], "effective_number"), (MODELS[1], "inverse")],
)
def test_class_weights_weigh_the_columns_of_the_loss(
    model: str, by: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """Whoever computes them, Ultralytics or we, they are our formula and stand where Ultralytics' own stand."""
    beta = {"beta": 0.9} if by == "effective_number" else {}
    trainer = trainer_with(weighing(by=by, **beta), toy_set, arguments | {"model": model}, tmp_path)
    ours, stock = first_losses(trainer)
    assert ours[1] != stock[1]
    assert torch.equal(ours[[0, 2]], stock[[0, 2]])
    expected = class_weights(class_counts(toy_set.train, 3), by, **beta)  # type: ignore[arg-type]
    for loss in inner_losses(trainer.model.criterion):
        assert loss.class_weights.flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert validates_as_stock(trainer)
    trainer.ema.update_attr(trainer.model, include=["class_weights"])
    assert validates_as_stock(trainer), "an epoch's end does not bring them back"


def test_positive_weight_is_that_of_torch() -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 7, 3, generator=source, dtype=torch.float64) * 5
    targets, factor = torch.rand(2, 7, 3, generator=source, dtype=torch.float64), torch.tensor([1.0, 0.5, 4.0])
    plain = torch.nn.BCEWithLogitsLoss(reduction="none")(logits, targets)
    expected = torch.nn.BCEWithLogitsLoss(reduction="none", pos_weight=factor)(logits, targets)
    assert torch.allclose(plain + positive_extra(logits, targets, factor), expected)
    assert torch.equal(positive_extra(logits, targets, 1.0), torch.zeros_like(logits))


def test_what_positives_add_is_counted_under_the_class_weights() -> None:
    """By hand: at logits of 0 each part is log 2; the rare class counts three times what the other does."""
    (technique,) = weighing(by="inverse", pos_weight={"rare": 2.0})
    assert isinstance(technique, ClassWeightsTechnique)
    technique._positive, technique._weights = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.5])
    plain = torch.nn.BCEWithLogitsLoss(reduction="none")
    technique._positives_weighed(plain)(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]]))
    numbers: dict[str, float] = {}
    technique.on_step(SimpleNamespace(record=numbers.__setitem__))  # type: ignore[arg-type]
    assert numbers == {"class_weights/positive_extra": pytest.approx(1.5 / 2)}


@pytest.mark.parametrize("model", MODELS)
def test_positive_weight_in_the_trainer(
    model: str, toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """More for positives; a factor of 1 is stock."""
    arguments |= {"model": model}
    ours, stock = first_losses(
        trainer_with(weighing(pos_weight={"red": 3.0, "green": 3.0, "blue": 3.0}), toy_set, arguments, tmp_path)
    )
    assert ours[1] > stock[1]
    assert torch.equal(ours[[0, 2]], stock[[0, 2]])
    ours, stock = first_losses(trainer_with(weighing(pos_weight=1.0), toy_set, arguments, tmp_path))
    assert torch.equal(ours, stock)


def test_weights_are_seen_in_the_records(toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments |= {"epochs": 1, "close_mosaic": 0}
    trainer = trainer_with(weighing(by="inverse", pos_weight=2.0), toy_set, arguments, tmp_path)
    trainer.train()
    expected = class_weights(class_counts(toy_set.train, 3), "inverse")
    last = read_json_lines(trainer.run_dir.epochs)[-1]["techniques"]
    assert [last[f"class_weights/weight_{name}"] for name in toy_set.names] == pytest.approx(expected.tolist())
    steps = [line["techniques"]["class_weights/positive_extra"] for line in read_json_lines(trainer.run_dir.steps)]
    assert len(steps) == 6 and all(0 < value < 1 for value in steps)
    shipped = torch.load(trainer.run_dir.last, weights_only=False)["model"]
    assert not hasattr(shipped, "class_weights"), "what ships is a stock model"


def test_classes_nobody_knows_are_refused_at_setup(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(PlanConflict, match="`blu` is no class of the data set; did you mean `blue`"):
        first_losses(trainer_with(weighing(pos_weight={"blu": 2.0}), toy_set, arguments, tmp_path))


def test_one_class_is_refused_where_the_plan_could_not_know(toy_set: DetectionSet) -> None:
    """`data.dataset` may be an archive, whose classes nobody knows before it is unpacked."""
    one = replace(toy_set, names=("red",))
    context: Any = SimpleNamespace(names=one.names, detection_set=one)
    views: Any = SimpleNamespace(data={"names": {0: "red"}}, split=toy_set.train)
    with pytest.raises(PlanConflict, match=r"`class_weights\.by` with one class \(red\)"):
        ClassWeightsTechnique(ClassWeights(by="inverse")).on_setup(context)
    with pytest.raises(PlanConflict, match=r"`sampling\.by` with one class \(red\)"):
        SamplingTechnique(Sampling(by="inverse")).on_views(views)


@pytest.fixture
def skewed(toy_set: DetectionSet) -> DetectionSet:
    """The toy set with blue as a rare class: its boxes are red but for those of three images."""
    boxes, kept = [], 0
    for each in toy_set.train.boxes:
        rare = (each[:, 0] == 2).any()
        kept += int(rare)
        boxes.append(each if kept <= 3 or not rare else np.where(each == 2, np.float32(0), each))
    return replace(toy_set, train=replace(toy_set.train, boxes=tuple(boxes)))


@pytest.mark.parametrize("settings", [{"by": "inverse"}, {"by": "repeat_factor", "threshold": 0.9}], ids=str)
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_sampling_shows_rare_classes_more_often(
    settings: dict[str, Any], mosaic: float, skewed: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """What the student sees over twenty epochs, mosaics and their partners included."""
    arguments |= {"mosaic": mosaic, "mixup": 0.0, "epochs": 20, "close_mosaic": 0, "translate": 0.0, "scale": 0.0}

    def share(techniques: list[Technique]) -> float:
        trainer = trainer_with(techniques, skewed, arguments, tmp_path)
        trainer.epochs = 20
        loader = trainer.get_dataloader("train", 4)
        counts = np.zeros(3)
        for epoch in range(20):
            loader.set_epoch(epoch)
            for batch in loader:
                counts += np.bincount(batch["cls"].flatten().long().numpy(), minlength=3)
        return float(counts[2] / counts.sum())

    stock = share([])
    assert share([SamplingTechnique(Sampling.model_validate(settings))]) > 1.3 * stock


def test_sampling_is_seen_in_the_records(skewed: DetectionSet, arguments: dict[str, Any], tmp_path: Path) -> None:
    technique = SamplingTechnique(Sampling(by="inverse"))
    trainer = trainer_with([technique], skewed, arguments | {"epochs": 2}, tmp_path)
    trainer.train()
    for line in read_json_lines(trainer.run_dir.epochs):
        numbers = line["techniques"]
        assert sum(numbers[f"sampling/share_{name}"] for name in skewed.names) == pytest.approx(1.0)
        assert 0.3 < numbers["sampling/images"] < 1.0
    assert [line["step"] for line in read_json_lines(trainer.run_dir.epochs)] == [6, 12], "an epoch keeps its length"


def test_a_threshold_below_every_class_is_refused(toy_set: DetectionSet) -> None:
    with pytest.raises(PlanConflict, match="changes nothing: every class is in at least 0"):
        SamplingTechnique(Sampling(by="repeat_factor", threshold=0.01)).weights(toy_set.train, 3)


def test_levers_on_a_class_that_no_image_holds_are_refused(
    toy_set: DetectionSet, arguments: dict[str, Any], tmp_path: Path
) -> None:
    with_never = replace(toy_set, names=(*toy_set.names, "never"))
    for number, techniques in enumerate(
        (weighing(pos_weight={"never": 3.0, "red": 1.0}), smoothing(epsilon=0.0, per_class={"never": 0.2}))
    ):
        with pytest.raises(
            PlanConflict, match=r"none of the 22 training images holds never\. Name a class that is there \(red, "
        ):
            first_losses(trainer_with(techniques, with_never, arguments, tmp_path / str(number)))
    boxes = {"red": 3, "never": 0}
    assert nobody_to_act_on("label_smoothing", ["red", "never"], boxes, 3) is None
    assert nobody_to_act_on("label_smoothing", [], boxes, 3) is None


def test_one_class_is_not_sent_to_weights_that_it_cannot_have(toy_set: DetectionSet) -> None:
    red = tuple(boxes * np.array([0, 1, 1, 1, 1], np.float32) for boxes in toy_set.train.boxes)
    one = replace(toy_set.train, boxes=red)
    with pytest.raises(PlanConflict, match=r"Take a threshold above that\.$"):
        SamplingTechnique(Sampling(by="repeat_factor", threshold=0.01)).weights(one, 1)


def of_classes(*labels: list[int]) -> DetectionSet:
    """A set of three classes whose training images hold boxes of these."""
    boxes = tuple(np.array([[label, 0.5, 0.5, 0.1, 0.1] for label in each], np.float32) for each in labels)
    split = Split(tuple(Path(f"{number}.png") for number in range(len(labels))), boxes)
    return DetectionSet("drawn", ("red", "green", "blue"), split, split, split, "0" * 64)


def test_weights_that_are_all_alike_are_refused() -> None:
    """Each would train, report weights of 1, and be the run without it; `sampling` in another order."""
    equal, lone = of_classes([0], [1], [2]), of_classes([0], [0, 0])
    whole, many = of_classes([0, 1], [0, 1]), of_classes([0] * 300, [1] * 200)
    by = {"by": "inverse_sqrt"}
    rarest = {"by": "repeat_factor", "threshold": 0.5}  # every class in a third of the images: a factor of 1.22 for all
    cases: list[tuple[Technique, DetectionSet, str]] = [
        (weighing(**by)[0], equal, r"`class_weights` by inverse_sqrt changes nothing: .*red 1, green 1, blue 1\)"),
        (weighing(**by)[0], lone, r"\(training boxes: red 3\)\. Take it out"),
        (weighing(by="effective_number", beta=0.9)[0], many, r"from about 10 on: take a beta nearer to 1"),
        (SamplingTechnique(Sampling.model_validate(by)), equal, r"`sampling` by inverse_sqrt changes nothing"),
        (SamplingTechnique(Sampling.model_validate(by)), whole, r"its weights are all alike"),
        (SamplingTechnique(Sampling.model_validate(rarest)), equal, r"`sampling` by repeat_factor changes nothing"),
    ]
    for technique, data, says in cases:
        with pytest.raises(PlanConflict, match=says):
            technique.check(data)
    weighing(by="effective_number", beta=0.99)[0].check(many)
    weighing(**by)[0].check(of_classes([0], [1], [2, 2]))
    weighing(pos_weight=2.0)[0].check(equal)
