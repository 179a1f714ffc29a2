"""Distillation inside a model's criterion: same batch, right teacher, nothing left behind."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipebox.errors import PlanConflict
from recipebox.recipe.technique_sections import Distillation
from recipebox.techniques.base import innermost, linear_schedule
from recipebox.techniques.distillation.projector import make_projector, neck_channels
from recipebox.techniques.distillation.teacher import Teacher
from recipebox.techniques.distillation.technique import DistillationCriterion, DistillationTechnique
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.nn.tasks import DetectionModel  # noqa: E402

NAMES = {0: "a", 1: "b", 2: "c"}
BOTH = {"teachers": [{"recipe": "t"}], "logits": {}, "box": {}}
LOGITS = {"teachers": [{"recipe": "t"}], "logits": {}}


def detector(name: str, seed: int) -> Any:
    model = deepcopy(drawn(name, seed))
    torch.manual_seed(seed)
    return model


@cache
def drawn(name: str, seed: int) -> Any:
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
    teachers = teacher if isinstance(teacher, list) else [teacher]
    loads = [lambda device, teacher=teacher: Teacher(teacher, device) for teacher in teachers]
    technique = DistillationTechnique(Distillation.model_validate(settings), loads)
    technique.on_model(student)
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
    teacher = technique.teachers[0]
    technique.teachers = [lambda images: seen.append(images) or teacher(images)]  # type: ignore
    images = batch()
    technique.on_batch(images)
    before = model(images)[1]
    assert len(seen) == 1 and seen[0] is images["img"], "asked once, before the student"
    now = model(images)[1]
    assert len(seen) == 2 and now["kd_loss"] > 0
    assert torch.equal(technique.answers(images["img"])[0]["scores"], teacher(images["img"])["scores"])
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
    teacher = technique.teachers[0]
    technique.teachers = [lambda batch: teacher(batch.flip(0))]  # type: ignore
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


def test_a_teacher_without_a_common_class_is_refused() -> None:
    teacher = detector("yolov8n", 1)
    teacher.names = {0: "x", 1: "y", 2: "z"}
    with pytest.raises(PlanConflict, match="the teacher knows x, y, z"):
        distilled(detector("yolov8n", 0), teacher, BOTH)


def test_nothing_of_the_teacher_stays_in_the_model() -> None:
    student = detector("yolov8n", 0)
    keys, parameters = set(student.state_dict()), len(list(student.parameters()))
    model, technique, _ = distilled(student, detector("yolov8s", 1), BOTH)
    model(batch())
    assert set(model.state_dict()) == keys and len(list(model.parameters())) == parameters
    (teacher,) = technique.teachers
    assert not any(p.requires_grad or p.grad is not None for p in teacher.model.parameters())


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
    technique.teachers = [None]  # type: ignore[list-item]  # asking it would fail
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


def stock_native_loss(student: list[torch.Tensor], teacher: Any, images: torch.Tensor, projector: Any) -> torch.Tensor:
    """Ultralytics' own sum over levels, as `DistillationModel.loss` computes it, on the maps given."""
    from ultralytics.nn.distill_model import DistillationModel

    stock = DistillationModel.__new__(DistillationModel)
    with torch.no_grad():
        head = teacher.eval()(images)
    maps = stock.decouple_outputs(head, branch="one2many")["feats"]
    logits = (
        stock.decouple_outputs(head, "one2many")["scores"] + stock.decouple_outputs(head, "one2one")["scores"]
    ) / 2
    parts = torch.split(logits, [level.shape[-2] * level.shape[-1] for level in maps], dim=-1)
    scores = tuple(part.sigmoid().max(dim=1, keepdim=True).values for part in parts)
    return sum(
        stock.loss_sl2(project(own), theirs, feat_idx=level, teacher_scores=scores)
        for level, (project, own, theirs) in enumerate(zip(projector, student, maps, strict=True))
    )


@pytest.mark.parametrize(("student", "teacher"), [("yolov8n", "yolov8s"), ("yolo26n", "yolo26n")])
def test_native_features_are_what_ultralytics_computes(student: str, teacher: str) -> None:
    """In the whole technique: same projector, same maps, same scores. The teacher's batch norm is folded here."""
    settings = {"teachers": [{"recipe": "t"}], "features": {"loss": "native", "weight": 6.0}}
    model, _, _ = distilled(detector(student, 0), detector(teacher, 1), settings)
    images = batch()
    predictions = model(images["img"])
    found = model.loss(images, predictions)[1]["kd_features_loss"]
    maps = predictions.get("one2many", predictions)["feats"]
    expected = 6.0 * stock_native_loss(maps, detector(teacher, 1), images["img"], model.recipebox_projector[0])
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_native_projector_is_ultralytics_own() -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.distill_model import DistillationModel

    student, teacher = detector("yolov8n", 0), detector("yolov8s", 1)
    student.args = get_cfg(overrides={"imgsz": 64})
    stock = DistillationModel(teacher_model=teacher, student_model=student).projector
    ours = make_projector("native", neck_channels(student), neck_channels(teacher))
    assert str(ours) == str(stock)


@pytest.mark.parametrize(
    ("student", "teacher"), [("yolov8n", "yolov8s"), ("yolo26n", "yolo26n"), ("yolov8n", "yolo26n")]
)
def test_native_teaches_as_ultralytics_own(student: str, teacher: str) -> None:
    """A whole step of theirs: same batch, weights and projector. The teacher's folded batch norm rounds otherwise."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.distill_model import DistillationModel

    theirs = detector(student, 0)
    theirs.args = get_cfg(overrides={"imgsz": 64, "dis": 6.0, "epochs": 4})
    stock = DistillationModel(teacher_model=detector(teacher, 1), student_model=theirs).train()
    settings = {"teachers": [{"recipe": "t"}], "features": {"loss": "native", "weight": 6}}
    ours, _, _ = distilled(detector(student, 0), detector(teacher, 1), settings)
    ours.recipebox_projector[0].load_state_dict(stock.projector.state_dict())
    (wanted, stock_items), (found, items) = stock(batch()), ours(batch())
    assert items["kd_features_loss"].item() == pytest.approx(stock_items["dis_loss"].item(), rel=1e-3)
    wanted[-1].backward()
    found[-1].backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert not [name for name in gradients.keys() - expected.keys() if not name.startswith("recipebox_")]
    difference = tuple(gradients[name] - gradient for name, gradient in expected.items())
    assert norm(difference) < 1e-3 * norm(tuple(expected.values()))


@pytest.mark.parametrize("loss", ["cwd", "pkd", "mse", "native"])
@pytest.mark.parametrize(
    ("student", "teacher"), [("yolov8n", "yolov8s"), ("yolo26n", "yolo11n"), ("yolov8n", "yolo26n")]
)
def test_features_teach_the_neck_and_the_projector_and_not_the_head(student: str, teacher: str, loss: str) -> None:
    settings = {"teachers": [{"recipe": "t"}], "features": {"loss": loss}}
    model, _, numbers = distilled(detector(student, 0), detector(teacher, 1), settings)
    total, items = model(batch())
    assert items["kd_features_loss"] > 0
    assert items["kd_loss"] == items["kd_features_loss"]
    assert total[-1].item() == pytest.approx(4 * items["kd_loss"].item(), rel=1e-6)
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    gradients = torch.autograd.grad(total[-1], parameters, allow_unused=True)
    touched = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None and gradient.any()}
    head = f"model.{len(model.model) - 1}."
    assert not any(name.startswith(head) for name in touched)
    assert any(name.startswith("model.0.") for name in touched)
    projected = neck_channels(detector(student, 0)) != neck_channels(detector(teacher, 0)) or loss == "native"
    assert any(name.startswith("recipebox_projector.0.") for name in touched) == projected
    assert numbers["distillation/features_weight"] == 1.0
    assert ("distillation/features_temperature" in numbers) == (loss == "cwd")


def test_temperatures_follow_their_schedule() -> None:
    terms = {"logits": {"temperature": 1, "temperature_end": 3}, "features": {"loss": "cwd", "temperature_end": 5}}
    for step, logits, features in ((1, 1.0, 1.0), (6, 2.0, 3.0), (11, 3.0, 5.0)):
        settings = {"teachers": [{"recipe": "t"}], **terms}
        model, _, numbers = distilled(detector("yolov8n", 0), detector("yolov8n", 1), settings, step)
        assert numbers["distillation/logits_temperature"] == pytest.approx(logits)
        assert numbers["distillation/features_temperature"] == pytest.approx(features)
        constant = {"logits": {"temperature": logits}, "features": {"temperature": features}}
        same, _, _ = distilled(detector("yolov8n", 0), detector("yolov8n", 1), {**settings, **constant})
        ours, theirs = model(batch())[1], same(batch())[1]
        assert ours["kd_logits_loss"] == theirs["kd_logits_loss"]
        assert ours["kd_features_loss"] == theirs["kd_features_loss"]


def test_every_term_is_the_weighted_mean_over_teachers() -> None:
    terms = {"logits": {}, "box": {}, "features": {"loss": "pkd"}}
    images, found = batch(), []
    for pair, weights in (((1, 2), (1, 3)), ((1, 1), (1, 1)), ((2, 2), (1, 1))):
        settings = {"teachers": [{"recipe": "t", "weight": weight} for weight in weights], **terms}
        teachers = [detector("yolov8n", seed) for seed in pair]
        model, _, _ = distilled(detector("yolov8n", 0), teachers, settings)
        found.append(model(images)[1])
    for term in ("logits", "box", "features"):
        both, first, second = (items[f"kd_{term}_loss"].item() for items in found)
        assert both == pytest.approx((first + 3 * second) / 4, rel=1e-4)
        assert abs(first - second) > 1e-3 * first


def test_teachers_of_several_sizes_have_a_projector_each() -> None:
    settings = {"teachers": [{"recipe": "t"}, {"recipe": "u"}], "features": {}}
    teachers = [detector("yolov8s", 1), detector("yolov8n", 2)]
    model, _, _ = distilled(detector("yolov8n", 0), teachers, settings)
    sizes = [[p.shape[0] for p in projector.parameters()] for projector in model.recipebox_projector]
    assert sizes == [[128, 128, 256, 256, 512, 512], []]
    assert model(batch())[1]["kd_features_loss"] > 0


def knowing(names: list[str], seed: int = 1) -> Any:
    """A teacher whose classes are these, in this order; a class has the same scores wherever its column is."""
    teacher = detector("yolov8n", seed)
    order = torch.tensor([list(NAMES.values()).index(name) if name in NAMES.values() else 0 for name in names])
    for level in teacher.model[-1].cv3:
        level[-1].weight.data, level[-1].bias.data = level[-1].weight.data[order], level[-1].bias.data[order]
        level[-1].out_channels = len(order)
    teacher.model[-1].nc = len(order)
    teacher.model[-1].no = len(order) + 64
    teacher.names = dict(enumerate(names))
    return teacher


def test_classes_are_matched_by_name() -> None:
    images = batch()
    student = detector("yolov8n", 0)
    straight = distilled(deepcopy(student), knowing(["a", "b", "c"]), BOTH)[0](images)[1]
    turned = distilled(deepcopy(student), knowing(["c", "a", "b"]), BOTH)[0](images)[1]
    for key in ("kd_logits_loss", "kd_box_loss"):
        assert turned[key].item() == pytest.approx(straight[key].item(), rel=1e-4)


@pytest.mark.parametrize("names", [["c", "x", "a"], ["a", "c"], ["x", "c", "y", "a", "z"]])
def test_a_class_the_teacher_does_not_know_is_left_to_the_labels(names: list[str]) -> None:
    """No gradient on its scores, whatever the teacher says about classes of its own."""
    settings = {"teachers": [{"recipe": "t"}], "logits": {}, "features": {"loss": "native"}}
    model, _, _ = distilled(detector("yolov8n", 0), knowing(names), settings)
    images = batch()
    predictions = model(images["img"])
    predictions["scores"].retain_grad()
    loss, items = model.loss(images, predictions)
    loss[-1].backward(retain_graph=True)
    by_class = predictions["scores"].grad.abs().sum(dim=(0, 2))
    assert by_class[1] == 0 and by_class[0] > 0 and by_class[2] > 0
    only, _, _ = distilled(detector("yolov8n", 0), knowing(["a", "c"]), settings)
    assert items["kd_logits_loss"].item() == pytest.approx(only(images)[1]["kd_logits_loss"].item(), rel=1e-4)
    predictions["scores"].grad = None
    loss[:-1].sum().backward()
    assert (predictions["scores"].grad.abs().sum(dim=(0, 2)) > 0).all(), "the labels teach every class"


def test_teachers_of_different_classes_teach_theirs() -> None:
    settings = {"teachers": [{"recipe": "t"}, {"recipe": "u"}], "logits": {}}
    model, _, _ = distilled(detector("yolov8n", 0), [knowing(["a", "b"]), knowing(["c"], seed=2)], settings)
    images = batch()
    predictions = model(images["img"])
    predictions["scores"].retain_grad()
    model.loss(images, predictions)[0][-1].backward()
    assert (predictions["scores"].grad.abs().sum(dim=(0, 2)) > 0).all()
