"""The equal-weight mean through a decay, and batch norm's statistics, against written-out references."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, update_bn

from recipebox.techniques.swa import estimate_batch_norm, held_schedule, swa_decay


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_the_decays_make_an_equal_weight_mean(weights: list[float]) -> None:
    average = 123.0  # whatever stood there before
    for count, weight in enumerate(weights, start=1):
        d = swa_decay(count)
        average = d * average + (1 - d) * weight
        assert average == pytest.approx(sum(weights[:count]) / count, rel=1e-9, abs=1e-9)


def test_the_mean_is_that_of_pytorchs_own_swa() -> None:
    live, mine = torch.nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    reference = AveragedModel(live)
    for count in range(1, 6):
        torch.nn.init.normal_(live.weight)
        reference.update_parameters(live)
        with torch.no_grad():
            mine.weight.lerp_(live.weight, 1 - swa_decay(count))
    assert torch.allclose(mine.weight, reference.module.weight, rtol=1e-12)


def test_the_schedule_is_held() -> None:
    def linear(epoch: float) -> float:
        return 1 - epoch / 10

    assert [held_schedule(linear, 7, None)(epoch) for epoch in (0, 6, 7, 9)] == pytest.approx([1, 0.4, 0.3, 0.3])
    assert [held_schedule(linear, 7, 0.5)(epoch) for epoch in (0, 6, 7, 9)] == pytest.approx([1, 0.4, 0.5, 0.5])


class Net(torch.nn.Module):
    """Two batch norms in a row, one that no image reaches, and something that differs between the modes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = (torch.nn.BatchNorm2d(2) for _ in range(3))
        for norm in (self.first, self.second, self.idle):
            torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
            norm.running_mean.fill_(9.0)  # type: ignore[union-attr]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(images)))


def test_statistics_are_those_of_pytorchs_update_bn_on_equal_batches() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(4, 2, 3, 3) * 3 + 1 for _ in range(5)]
    mine, reference = Net(), Net()
    reference.load_state_dict(mine.state_dict())
    update_bn(batches, reference)
    tensors = {key: value.data_ptr() for key, value in mine.state_dict().items()}
    assert estimate_batch_norm(mine, batches) == 20
    for name in ("first", "second"):
        for value in ("running_mean", "running_var"):
            found = getattr(getattr(mine, name), value)
            assert torch.allclose(found, getattr(getattr(reference, name), value), rtol=1e-5, atol=1e-6)
    assert not mine.training and mine.first.momentum == 0.1
    assert torch.equal(mine.idle.running_mean, torch.full((2,), 9.0))  # type: ignore[arg-type]
    assert {key: value.data_ptr() for key, value in mine.state_dict().items()} == tensors, "the average holds these"


def test_a_small_last_batch_counts_by_its_images() -> None:
    batches = [torch.randn(6, 2, 3, 3), torch.randn(2, 2, 3, 3) + 8]
    net = Net()
    assert estimate_batch_norm(net, iter(batches)) == 8
    means, variances = ([getattr(b, what)((0, 2, 3)) for b in batches] for what in ("mean", "var"))
    assert torch.allclose(net.first.running_mean, (6 * means[0] + 2 * means[1]) / 8, atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(net.first.running_var, (6 * variances[0] + 2 * variances[1]) / 8, atol=1e-5)  # type: ignore[arg-type]


def test_without_batch_norm_nothing_happens() -> None:
    net = torch.nn.Conv2d(2, 2, 1)
    before = net.weight.clone()
    assert estimate_batch_norm(net, [torch.zeros(1, 2, 3, 3)]) == 1
    assert torch.equal(net.weight, before)
