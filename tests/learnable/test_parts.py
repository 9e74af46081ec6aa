"""What a learner takes for granted of a network's parts, of its frozen parameters and of other tensors."""

import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi.errors import FphiError
from fphi.learnable.initialization.gradient_learner import GradientLearner


class TwoParts(nn.Module):
    """A body and a head, and what comes between and after them."""

    def __init__(self, between: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
        self.head = nn.Linear(3, 3)
        self.between, self.after = between, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.head(self.between(self.body(x))))


def same(x: Tensor) -> Tensor:
    return x


def a_task() -> fphi.Task:
    torch.manual_seed(0)
    y = torch.arange(6).expand(2, 6) % 3
    return fphi.Task(fphi.Examples(torch.randn(2, 6, 4), y), fphi.Examples(torch.randn(2, 6, 4), y))


def anil(network: nn.Module, **options: Any) -> GradientLearner:
    return GradientLearner(network, fphi.sgd(0.1), 2, adapts="head", **options)


def test_a_network_that_is_its_head_after_its_body_answers_by_its_parts() -> None:
    task, learner = a_task(), anil(TwoParts(same, same)).eval()
    one = fphi.Examples(task.support.x[0], task.support.y[0])
    answers = learner(one, task.query.x[0])
    torch.testing.assert_close(answers, learner.predict(learner.adapt(one), task.query.x[0]))


@pytest.mark.parametrize(
    ("between", "after"), [(torch.tanh, same), (same, F.softplus), (F.relu, same), (same, lambda x: x[:, :2])]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda learner, task: learner.solve(task.support, task.query.x),
        lambda learner, task: learner.adapt(fphi.Examples(task.support.x[0], task.support.y[0])),
        fphi.meta_gradient,
    ],
    ids=["solve", "adapt", "meta_gradient"],
)
def test_what_a_forward_does_besides_is_refused(between: Any, after: Any, call: Any) -> None:
    with pytest.raises(FphiError, match=r"TwoParts does not answer as head\(body\(x\)\)"):
        call(anil(TwoParts(between, after)), a_task())


def test_what_it_does_in_evaluation_alone_is_found_too() -> None:
    network = TwoParts(same, same)
    network.between = lambda x: x if network.training else x.tanh()
    learner, task = anil(network), a_task()
    fphi.meta_gradient(learner, task)
    with pytest.raises(FphiError, match="head"):
        learner.eval().solve(task.support, task.query.x)


def test_a_parameter_of_both_parts_is_refused_unless_frozen() -> None:
    network = TwoParts(same, same)
    network.body[0] = nn.Linear(4, 3)
    network.head = nn.Linear(3, 3)
    network.head.bias = network.body.get_parameter("0.bias")
    task = a_task()
    with pytest.raises(FphiError, match=r"share the parameter head\.bias"):
        fphi.meta_gradient(anil(network), task)
    network.head.bias.requires_grad_(False)
    fphi.meta_gradient(anil(network), task)


def test_the_trial_draws_nothing() -> None:
    task, learner = a_task(), anil(TwoParts(same, same))
    found = []
    for _ in range(2):  # the second call makes no trial
        torch.manual_seed(3)
        found.append(learner.solve(task.support, task.query.x))
    assert torch.equal(*found)


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_a_learner_of_which_all_is_frozen_says_so(adapts: Any) -> None:
    network = TwoParts(same, same).requires_grad_(False)
    learner = GradientLearner(network, fphi.sgd(0.1), 2, adapts=adapts)
    task = a_task()
    with pytest.warns(UserWarning, match="inner steps change nothing"):
        learner.solve(task.support, task.query.x)


def test_parameters_that_another_call_puts_in_place_without_a_gradient_are_frozen_too() -> None:
    learner, task = anil(TwoParts(same, same)), a_task()
    detached = {name: p.detach() for name, p in learner.named_parameters()}
    one = fphi.Examples(task.support.x[0], task.support.y[0])
    with pytest.warns(UserWarning, match="inner steps change nothing"):
        torch.func.functional_call(learner, detached, (one, task.query.x[0]))


def test_soft_labels_get_the_same_gradient_where_steps_are_recomputed() -> None:
    task = a_task()
    soft = torch.rand(2, 6, 3, dtype=torch.float64)
    network = nn.Linear(4, 3).double()
    found = []
    for memory in ("stored", "recomputed"):
        y = soft.clone().requires_grad_()
        learner = GradientLearner(network, fphi.sgd(0.3), 3, memory=memory)
        answers = learner.solve(fphi.Examples(task.support.x.double(), y), task.query.x.double())
        found.append(torch.autograd.grad(answers.square().sum(), y)[0])
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("order", [1, 2])
def test_a_tensor_that_a_loss_closes_over_is_refused_where_steps_are_recomputed(order: Any) -> None:
    temperature = torch.tensor(2.0, requires_grad=True)
    within = (temperature * 1.5).exp()

    def loss(answers: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(answers * within, targets)

    task = a_task()
    answers = GradientLearner(nn.Linear(4, 3), fphi.sgd(0.3), 2, loss=loss).solve(task.support, task.query.x)
    (gradient,) = torch.autograd.grad(answers.square().sum(), temperature, retain_graph=True)
    assert gradient.abs() > 1e-3
    learner = GradientLearner(nn.Linear(4, 3), fphi.sgd(0.3), 2, loss=loss, memory="recomputed", order=order)
    answers = learner.solve(task.support, task.query.x)
    parameter = learner.network.get_parameter("weight")
    if order == 2:
        with pytest.raises(FphiError, match=r"use a tensor \[\] .* memory='stored'"):
            torch.autograd.grad(answers.square().sum(), parameter)
    else:  # the gradient of a step is a constant
        assert torch.autograd.grad(answers.square().sum(), parameter)[0].abs().max() > 0


@pytest.mark.parametrize("norm", ["support", "support+1", "running", "query-batch"])
def test_adapted_parameters_answer_as_the_learner_with_the_support_set_where_norms_need_it(
    norm: Literal["support", "support+1", "running", "query-batch"],
) -> None:
    torch.manual_seed(0)
    network = fphi.Conv4(3, filters=4, image_size=16, norm=norm).double()
    learner = GradientLearner(network, fphi.sgd(0.1), 2).eval()
    x, y = torch.randn(6, 1, 16, 16).double(), torch.arange(6) % 3
    support, queries = fphi.Examples(x, y), torch.randn(5, 1, 16, 16).double()
    with torch.no_grad():
        expected, parameters = learner(support, queries), learner.adapt(support)
        torch.testing.assert_close(learner.predict(parameters, queries, support_x=x), expected)
        if norm.startswith("support"):
            with pytest.raises(FphiError, match=rf"'{re.escape(norm)}' take statistics from the support set"):
                learner.predict(parameters, queries)
        else:
            torch.testing.assert_close(learner.predict(parameters, queries), expected)
