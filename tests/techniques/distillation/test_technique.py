"""Distillation inside a model's criterion: same batch, right teacher, nothing left behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipebox.errors import PlanConflict
from recipebox.recipe.technique_sections import Distillation
from recipebox.techniques.base import innermost, linear_schedule
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationCriterion, DistillationTechnique
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.nn.tasks import DetectionModel  # noqa: E402

NAMES = {0: "a", 1: "b", 2: "c"}
BOTH = {"teachers": [{"recipe": "t"}], "logits": {}, "box": {}}
LOGITS = {"teachers": [{"recipe": "t"}], "logits": {}}


def detector(name: str, seed: int) -> Any:
    torch.manual_seed(seed)
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.names = NAMES
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, epochs=4)
    # A fresh network answers the same whatever it sees; give its statistics and its head an opinion.
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(batch()["img"])
    for norm in norms:
        norm.momentum = 0.03
    head = model.model[-1]
    for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
        for level in getattr(head, name, None) or ():
            level[-1].weight.data += 0.1 * torch.randn_like(level[-1].weight)
            level[-1].bias.data.clamp_(min=-3.0)
    return model


def batch(seed: int = 0, size: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(size, 3, 8, 8, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return {
        "img": blocks * torch.linspace(0.2, 1.0, size)[:, None, None, None],
        "batch_idx": torch.arange(size).float(),
        "cls": torch.arange(size).remainder(3).float()[:, None],
        "bboxes": torch.full((size, 4), 0.5),
    }


def distilled(
    student: Any, teacher: Any, settings: dict[str, Any], step: int = 1
) -> tuple[Any, DistillationTechnique, dict[str, float]]:
    numbers: dict[str, float] = {}
    context = SimpleNamespace(
        model=student,
        device=torch.device("cpu"),
        names=tuple(NAMES.values()),
        step=step,
        total_steps=11,
        record=numbers.__setitem__,
    )
    technique = DistillationTechnique(Distillation.model_validate(settings), lambda device: Teacher(teacher, device))
    technique.on_setup(context)  # type: ignore[arg-type]
    student.criterion = technique.wrap_criterion(student.init_criterion())
    technique.on_step(context)  # type: ignore[arg-type]
    return student.train(), technique, numbers


@pytest.mark.parametrize("student", ["yolov8n", "yolo11n"])
def test_losses_are_added_to_the_stock_loss(student: str) -> None:
    model, _, _ = distilled(detector(student, 0), detector("yolov8n", 1), BOTH)
    images = batch()
    predictions = model(images["img"])
    loss, items = model.loss(images, predictions)
    stock, stock_items = innermost(model.criterion)(predictions, images)
    assert torch.equal(loss[:3], stock)
    assert set(items) - set(stock_items) == {"kd_logits_loss", "kd_box_loss", "kd_loss"}
    assert items["kd_logits_loss"] > 0 and items["kd_box_loss"] > 0
    assert loss[3].item() == pytest.approx(4 * (items["kd_logits_loss"] + items["kd_box_loss"]).item(), rel=1e-5)
    loss.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_teacher_sees_the_batch_of_the_student() -> None:
    model, technique, _ = distilled(detector("yolov8n", 0), detector("yolov8n", 1), BOTH)
    seen: list[torch.Tensor] = []
    teacher = technique.teacher
    technique.teacher = lambda images: seen.append(images) or teacher(images)  # type: ignore
    images = batch()
    technique.on_batch(images)
    before = model(images)[1]
    assert len(seen) == 1 and seen[0] is images["img"], "asked once, before the student"
    now = model(images)[1]
    assert len(seen) == 2 and now["kd_loss"] > 0
    assert torch.equal(technique.answer(images["img"])["scores"], teacher(images["img"])["scores"])
    assert before.keys() == now.keys()


def test_an_answer_to_another_batch_is_not_used() -> None:
    """The same images in another order: an answer kept from before would teach each image another one's boards."""
    model, technique, _ = distilled(detector("yolov8n", 0), detector("yolov8n", 1), BOTH)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images, turned = batch(), {**batch(), "img": batch()["img"].flip(0)}
    right = model(turned)[1]
    technique.on_batch(images)
    assert torch.equal(model(turned)[1]["kd_loss"], right["kd_loss"])


def test_shuffling_the_images_of_the_teacher_changes_the_loss() -> None:
    model, technique, _ = distilled(detector("yolov8n", 0), detector("yolov8n", 1), BOTH)
    images = batch()
    predictions = model(images["img"])
    right = model.loss(images, predictions)[1]
    teacher = technique.teacher
    technique.teacher = lambda batch: teacher(batch.flip(0))  # type: ignore
    shuffled = model.loss(images, predictions)[1]
    for key in ("kd_loss", "kd_logits_loss", "kd_box_loss"):
        assert abs(right[key] - shuffled[key]) > 1e-4 * abs(right[key])
    assert torch.equal(right["cls_loss"], shuffled["cls_loss"])


@pytest.mark.parametrize("name", ["yolov8n", "yolo26n"])
def test_a_teacher_equal_to_the_student_adds_no_gradient(name: str) -> None:
    """Batch norm frozen in both, as the student would otherwise normalise by its batch."""
    settings = BOTH if name == "yolov8n" else LOGITS
    student = detector(name, 0)
    model, _, _ = distilled(student, detector(name, 0), settings)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = batch()
    loss, items = model(images)
    assert items["kd_loss"].abs() < 1e-4 * items["cls_loss"]
    parameters = [p for p in model.parameters() if p.requires_grad]
    added = torch.autograd.grad(loss[-1], parameters, allow_unused=True, retain_graph=True)
    labels = torch.autograd.grad(loss[:-1].sum(), parameters, allow_unused=True)
    # Not exactly 0: the teacher's batch norm is folded, which rounds differently. The losses alone are exact.
    assert norm(added) < 1e-3 * norm(labels)


def norm(gradients: tuple[torch.Tensor | None, ...]) -> float:
    return sum(float(g.double().pow(2).sum()) for g in gradients if g is not None) ** 0.5


def test_an_nms_free_student_learns_logits_in_both_branches() -> None:
    images = batch()
    for teacher, branches in (("yolo26n", {"one2many", "one2one"}), ("yolov8n", {"one2many"})):
        model, _, _ = distilled(detector("yolo26n", 0), detector(teacher, 1), LOGITS)
        predictions = model(images["img"])
        for branch in predictions.values():
            branch["scores"].retain_grad()
        loss, items = model.loss(images, predictions)
        assert items["kd_logits_loss"] > 0
        loss[-1].backward()
        touched = {
            name
            for name, branch in predictions.items()
            if branch["scores"].grad is not None and branch["scores"].grad.abs().sum() > 0
        }
        assert touched == branches


@pytest.mark.parametrize(("student", "teacher"), [("yolo26n", "yolov8n"), ("yolov8n", "yolo26n")])
def test_box_distillation_without_bins_says_why(student: str, teacher: str) -> None:
    with pytest.raises(PlanConflict, match="distribution"):
        distilled(detector(student, 0), detector(teacher, 1), BOTH)


def test_another_teacher_vocabulary_is_refused() -> None:
    teacher = detector("yolov8n", 1)
    teacher.names = {0: "b", 1: "a", 2: "c"}
    with pytest.raises(PlanConflict, match="the teacher knows b, a, c"):
        distilled(detector("yolov8n", 0), teacher, BOTH)


def test_nothing_of_the_teacher_stays_in_the_model() -> None:
    student = detector("yolov8n", 0)
    keys, parameters = set(student.state_dict()), len(list(student.parameters()))
    model, technique, _ = distilled(student, detector("yolov8s", 1), BOTH)
    model(batch())
    assert set(model.state_dict()) == keys and len(list(model.parameters())) == parameters
    assert technique.teacher is not None
    assert not any(p.requires_grad or p.grad is not None for p in technique.teacher.model.parameters())


def test_the_teacher_is_exact_and_frozen() -> None:
    """Folding batch norm and skipping the decoding change nothing that matters; its statistics stay."""
    original = detector("yolov8n", 1).eval()
    images = batch()["img"]
    with torch.no_grad():
        expected = original(images)[1]
    teacher = Teacher(detector("yolov8n", 1), torch.device("cpu"))
    before = {key: value.clone() for key, value in teacher.model.state_dict().items()}
    found = teacher(images)
    for key in ("scores", "boxes"):
        assert (found[key] - expected[key]).abs().mean() < 1e-3 * expected[key].std()
        assert not found[key].requires_grad
    assert all(torch.equal(value, before[key]) for key, value in teacher.model.state_dict().items())


def test_predictions_in_evaluation_form_are_not_distilled() -> None:
    model, technique, _ = distilled(detector("yolov8n", 0), detector("yolov8n", 1), BOTH)
    technique.teacher = None  # asking it would fail
    images = batch()
    model.eval()
    loss, items = model.loss(images, model(images["img"]))
    assert loss.shape == (3,) and "kd_loss" not in items


def test_weights_follow_their_schedule() -> None:
    settings = {"teachers": [{"recipe": "t"}], "logits": {"weight": 1.0, "weight_end": 0.0}, "box": {"weight": 0.5}}
    images = batch()
    found = {}
    for step in (1, 6, 11):
        model, _, numbers = distilled(detector("yolov8n", 0), detector("yolov8n", 1), settings, step)
        found[step] = model(images)[1]["kd_logits_loss"].item()
        assert numbers["distillation/logits_weight"] == pytest.approx(1 - (step - 1) / 10)
        assert numbers["distillation/box_weight"] == 0.5
    assert found[6] == pytest.approx(found[1] / 2, rel=1e-4)
    assert found[11] == 0.0


def test_linear_schedule() -> None:
    assert [linear_schedule(1.0, 0.0, step, 5) for step in range(1, 6)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert linear_schedule(1.0, None, 3, 5) == 1.0
    assert linear_schedule(1.0, 0.3, 1, 1) == 1.0


def test_the_wrapper_forwards_what_the_loop_looks_for() -> None:
    model, _, _ = distilled(detector("yolo26n", 0), detector("yolo26n", 1), LOGITS)
    assert isinstance(model.criterion, DistillationCriterion)
    before = innermost(model.criterion).o2m
    assert hasattr(model.criterion, "update")
    model.criterion.update()
    assert innermost(model.criterion).o2m < before
    assert not hasattr(model.criterion, "no_such_thing")
