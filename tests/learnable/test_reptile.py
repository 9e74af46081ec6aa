"""Reptile's gradient: (φ − θ̃)/α where inner steps move φ, 0 where they do not, and nothing else."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi.errors import FphiError
from fphi.learnable import ReptileLearner
from fphi.learnable.initialization.step_weights import AnnealedWeights

RATE = 0.3


def tasks(count: int = 3) -> fphi.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, 4, generator=generator, dtype=torch.float64)
    examples = fphi.Examples(x, (torch.arange(6) % 3).expand(count, 6))
    return fphi.Task(examples, examples)


def learner(steps: int = 2, **options: Any) -> ReptileLearner:
    torch.manual_seed(1)
    network = fphi.MLP(4, (5,), 3).double()
    return ReptileLearner(network, options.pop("optimizer", fphi.sgd(RATE)), steps, **options)


def by_hand(own: ReptileLearner, part: str, steps: int) -> tuple[float, dict[str, Tensor]]:
    """Means over tasks, by torch's own optimizer, of the loss in the end and of (φ − θ̃)/α."""
    loss, moved = 0.0, {k: torch.zeros_like(p) for k, p in own.named_parameters()}
    batch = tasks().support
    for x, y in zip(*batch, strict=True):
        network = copy.deepcopy(own.network)
        within = [p for name, p in network.named_parameters() if name.startswith(part)]
        sgd = torch.optim.SGD(within, lr=RATE)
        for _ in range(steps):
            network.zero_grad()
            F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
            sgd.step()
        loss += float(F.cross_entropy(network(x), y).detach()) / 3
        for name, p in network.named_parameters():
            moved[f"network.{name}"] += (own.get_parameter(f"network.{name}") - p).detach() / RATE / 3
    return loss, moved


@pytest.mark.parametrize(("adapts", "part"), [("all", ""), ("head", "head.")])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_the_gradient_is_the_way_that_inner_steps_lead(
    adapts: str, part: str, steps: int, chunk_size: int | None
) -> None:
    own = learner(steps, adapts=adapts)
    loss, gradients = fphi.meta_gradient(own, tasks(), chunk_size=chunk_size)
    expected = by_hand(own, part, steps)
    assert float(loss) == pytest.approx(expected[0], rel=1e-9)
    assert gradients.keys() == expected[1].keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[1][name], rtol=1e-9, atol=1e-12)


def test_the_body_does_not_move_with_an_adapted_head() -> None:
    gradients = fphi.meta_gradient(learner(adapts="head"), tasks())[1]
    still = {name: not bool(g.any()) for name, g in gradients.items()}
    assert still == {name: not name.startswith("network.head.") for name in gradients}
    assert set(still.values()) == {True, False}


class Learned(nn.Module):
    """A loss with a temperature of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, answers: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(answers * self.temperature, targets)


def test_a_loss_that_no_inner_step_moves_is_not_left_out_in_silence() -> None:
    own = learner(loss=Learned())
    with pytest.raises(
        FphiError, match=r"loss\.temperature requires a gradient, and Reptile has one only for"
    ):
        fphi.meta_gradient(own, tasks())
    own.get_parameter("loss.temperature").requires_grad_(False)
    assert all(g.isfinite().all() for g in fphi.meta_gradient(own, tasks())[1].values())


@pytest.mark.parametrize("optimizer", [fphi.sgd(0.0), fphi.adam(0.0)])
def test_a_rate_of_nothing_is_refused(optimizer: Any) -> None:
    with pytest.raises(FphiError, match=r"divides by the rate of its inner optimizer, which is 0\.0"):
        fphi.meta_gradient(learner(optimizer=optimizer), tasks())


@pytest.mark.parametrize("option", [{"step_weights": AnnealedWeights(0.5)}, {"first_order_until": 0.5}])
def test_what_would_change_nothing_is_refused(option: Any) -> None:
    with pytest.raises(FphiError, match="Reptile has no query loss in training"):
        learner(**option)
