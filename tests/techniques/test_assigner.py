"""The assigner's settings act in training calls, on the branch they are meant for, and are put back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from recipebox.recipe.head_sections import Assigner
from recipebox.techniques.assigner import AssignerTechnique, P2Technique
from recipebox.techniques.class_loss import inner_losses
from recipebox.train.network import network_description, network_file


def made(network: Any) -> Any:
    torch.manual_seed(0)
    model = DetectionModel(network, nc=3, verbose=False)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, epochs=3)
    return model.train()


def batch() -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.4], [0.3, 0.3, 0.3, 0.3]])
    return {"batch_idx": torch.tensor([0.0, 1.0]), "cls": torch.tensor([[0.0], [2.0]]), "bboxes": boxes}


class Recorder:
    """As much of the training as these levers ask for."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}

    def record(self, key: str, value: float) -> None:
        self.numbers[key] = value


@pytest.mark.parametrize("network", ["yolov8n.yaml", "yolo26n.yaml"])
def test_it_acts_in_training_and_not_in_validation(network: str) -> None:
    model = made(network)
    images = torch.rand(2, 3, 64, 64)
    plain, technique, recorder = model.init_criterion(), AssignerTechnique(Assigner(topk=2, beta=3.0)), Recorder()
    criterion = technique.wrap_criterion(model.init_criterion())
    answers = model(images)
    stock, ours = plain(answers, batch())[0], criterion(answers, batch())[0]
    assert not torch.equal(stock, ours)
    technique.on_step(recorder)  # type: ignore[arg-type]
    assert 0 < recorder.numbers["assigner/positives"] <= 2
    dense = inner_losses(criterion)[0].assigner
    assert (dense.topk, dense.topk2, dense.alpha, dense.beta) == (10, 10, 0.5, 6.0), "put back"
    model.eval()
    with torch.no_grad():
        evaluated = model(images)
        assert torch.equal(plain(evaluated, batch())[0], criterion(evaluated, batch())[0])


def test_the_one_to_one_branch_keeps_its_one_cell() -> None:
    model = made("yolo26n.yaml")
    technique = AssignerTechnique(Assigner(topk=3))
    criterion = technique.wrap_criterion(model.init_criterion())
    sparse = inner_losses(criterion)[1].assigner
    seen: list[tuple[int, int]] = []
    forward = sparse.forward
    sparse.forward = lambda *a, **k: (seen.append((sparse.topk, sparse.topk2)), forward(*a, **k))[1]
    criterion(model(torch.rand(2, 3, 64, 64)), batch())
    assert seen == [(7, 1)]


def test_an_empty_batch_is_no_trouble() -> None:
    model, technique, recorder = made("yolov8n.yaml"), AssignerTechnique(Assigner(topk=2)), Recorder()
    none = {"batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4)}
    technique.wrap_criterion(model.init_criterion())(model(torch.rand(1, 3, 64, 64)), none)
    technique.on_step(recorder)  # type: ignore[arg-type]
    assert recorder.numbers == {"assigner/positives": 0.0}


def test_p2_has_a_level_of_stride_4_and_takes_all_of_the_neck() -> None:
    model = made(network_description(network_file("yolov8n", p2=True)))
    assert model.stride.tolist() == [4, 8, 16, 32]
    torch.manual_seed(1)
    stock = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    model.load(stock)
    own = model.state_dict()
    neck = {key: value for key, value in stock.state_dict().items() if int(key.split(".")[1]) < 22}
    assert all(torch.equal(own[key], value) for key, value in neck.items())
    technique, recorder = P2Technique(), Recorder()
    criterion = technique.wrap_criterion(model.init_criterion())
    answers = model(torch.rand(2, 3, 64, 64))
    ours = criterion(answers, batch())
    technique.on_step(recorder)  # type: ignore[arg-type]
    assert 0 < recorder.numbers["p2/share"] <= 1
    assert torch.equal(ours[0], model.init_criterion()(answers, batch())[0]), "it only looks"
    ours[0].sum().backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None], "dead weight"


def test_the_size_is_not_read_from_a_folder_s_name(tmp_path: Any) -> None:
    described = network_description(str(tmp_path / "run2x" / "yolov8s-p2.yaml"))
    assert (described["scale"], described["yaml_file"]) == ("s", "yolov8s-p2.yaml")
    assert network_description("yolov8n.yaml") == "yolov8n.yaml"
