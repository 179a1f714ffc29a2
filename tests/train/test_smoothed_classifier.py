"""The lines of the card that smooth a classifier, run as they stand there: the trainer must ask our criterion."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from recipebox.techniques.label_smoothing import SmoothedCrossEntropy
from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.nn.tasks import ClassificationModel  # noqa: E402

CARD = Path(__file__).parents[2] / "docs/techniques/label_smoothing.md"
_ask = SmoothedCrossEntropy.__call__


def lines_of_the_card() -> str:
    section = CARD.read_text(encoding="utf-8").split("## Classifiers")[1].split("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    ") or not line)


def test_the_lines_of_the_card_smooth_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("bad", "good"):
            folder = tmp_path / "set" / split / label
            folder.mkdir(parents=True)
            for number in range(4):
                cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    asked = []

    def recorded(self: Any, preds: Any, batch: Any) -> Any:
        loss, items = _ask(self, preds, batch)
        asked.append((preds.detach(), batch["cls"], loss.item()))
        return loss, items

    monkeypatch.setattr(SmoothedCrossEntropy, "__call__", recorded)
    monkeypatch.chdir(tmp_path)
    short = f'data={str(tmp_path / "set")!r}, epochs=1, batch=4, device="cpu", workers=0, plots=False, verbose=False'
    lines, given = re.subn('data="folder of class folders"', lambda _: short, lines_of_the_card())
    assert given == 1
    (tmp_path / "card.py").write_text(lines)
    runpy.run_path(str(tmp_path / "card.py"))
    assert len(asked) == 2, "the training losses, and those of validation are stock"
    logits, labels, loss = asked[0]
    stock = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert loss == pytest.approx(stock.item(), rel=1e-6)


def test_a_class_has_its_own_epsilon_and_the_gradient_feels_it() -> None:
    torch.manual_seed(0)
    model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False).train()
    batch = {"img": torch.rand(4, 3, 64, 64), "cls": torch.tensor([0, 1, 2, 1])}
    epsilon = torch.tensor([0.0, 0.3, 0.1])
    logits = model(batch["img"])
    each = [
        torch.nn.functional.cross_entropy(logits[[i]], batch["cls"][[i]], label_smoothing=epsilon[label].item())
        for i, label in enumerate(batch["cls"].tolist())
    ]
    written_out = torch.stack(each).mean()
    model.criterion = SmoothedCrossEntropy(epsilon)
    loss, items = model.loss(batch, logits)
    assert loss.item() == pytest.approx(written_out.item(), rel=1e-6)
    assert set(items) == set(model.init_criterion()(logits, batch)[1]), "the items that Ultralytics' own loss has"
    head = model.model[-1].linear.weight
    ours, theirs = (torch.autograd.grad(each, head, retain_graph=True)[0] for each in (loss, written_out))
    assert torch.allclose(ours, theirs, atol=1e-6)
    stock = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, batch["cls"]), head)[0]
    assert (ours - stock).norm() > 0.01 * stock.norm()
    assert model.eval().loss(batch)[0].isfinite(), "in evaluation a classifier gives probabilities and logits"
