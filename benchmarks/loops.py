"""The peers' inner loops, each as its documentation shows it: one task after another.

A function takes the network (or its head) and returns what adds one task's gradient to ``.grad``.
"""

import copy
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fphi import Examples
from peers import import_peer
from problem import INNER_LR, INNER_STEPS, Gradients, Problem, Step

__all__ = [
    "Accumulate",
    "Loop",
    "by_hand",
    "by_higher",
    "by_higher_first_order",
    "by_torchopt",
    "by_torchopt_first_order",
    "head_only",
    "one_by_one",
    "reptile_by_hand",
]

Accumulate = Callable[[Examples, Examples], None]
Loop = Callable[[nn.Module], Accumulate]


def one_by_one(loop: Callable[..., Accumulate]) -> Callable[[Problem], Step]:
    """The gradient of the mean task loss from a loop that adds the tasks' own."""

    def make(problem: Problem) -> Step:
        network = problem.plain_network()
        accumulate = loop(network)

        def step() -> Gradients:
            network.zero_grad()
            for support_x, support_y, query_x, query_y in zip(
                *problem.tasks.support, *problem.tasks.query, strict=True
            ):
                accumulate(Examples(support_x, support_y), Examples(query_x, query_y))
            return {k: _gradient(p) / problem.count for k, p in network.named_parameters()}

        return step

    return make


def head_only(loop: Loop) -> Callable[..., Accumulate]:
    """ANIL: the loop sees the head and features that are computed once."""

    def of_network(network: nn.Module) -> Accumulate:
        body, accumulate = network.get_submodule("body"), loop(network.get_submodule("head"))
        return lambda support, query: accumulate(
            Examples(body(support.x), support.y), Examples(body(query.x), query.y)
        )

    return of_network


def by_hand(order: Literal[1, 2]) -> Loop:
    """``functional_call`` and ``autograd.grad``; order 2 keeps the graph of each step."""

    def of_module(module: nn.Module) -> Accumulate:
        def accumulate(support: Examples, query: Examples) -> None:
            now: dict[str, Tensor] = dict(module.named_parameters())
            for _ in range(INNER_STEPS):
                loss = F.cross_entropy(functional_call(module, now, (support.x,)), support.y)
                gradients = torch.autograd.grad(loss, list(now.values()), create_graph=order == 2)
                now = {k: p - INNER_LR * g for (k, p), g in zip(now.items(), gradients, strict=True)}
            torch.autograd.backward(F.cross_entropy(functional_call(module, now, (query.x,)), query.y))

        return accumulate

    return of_module


def by_higher(module: nn.Module) -> Accumulate:
    """With higher: ``innerloop_ctx`` on the module itself, so that the gradient arrives there."""
    higher = import_peer("higher")
    optimizer = torch.optim.SGD(module.parameters(), INNER_LR)

    def accumulate(support: Examples, query: Examples) -> None:
        with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (adapted, inner):
            for _ in range(INNER_STEPS):
                inner.step(F.cross_entropy(adapted(support.x), support.y))
            torch.autograd.backward(F.cross_entropy(adapted(query.x), query.y))

    return accumulate


def by_higher_first_order(module: nn.Module) -> Accumulate:
    """With higher, but without its graph: the gradient at the adapted parameters, copied by hand."""
    higher = import_peer("higher")
    optimizer = torch.optim.SGD(module.parameters(), INNER_LR)

    def accumulate(support: Examples, query: Examples) -> None:
        with higher.innerloop_ctx(module, optimizer, track_higher_grads=False) as (adapted, inner):
            for _ in range(INNER_STEPS):
                inner.step(F.cross_entropy(adapted(support.x), support.y))
            loss = F.cross_entropy(adapted(query.x), query.y)
            gradients = torch.autograd.grad(loss, list(adapted.parameters()))
        for p, gradient in zip(module.parameters(), gradients, strict=True):
            p.grad = gradient if p.grad is None else p.grad + gradient

    return accumulate


def by_torchopt(module: nn.Module) -> Accumulate:
    """With TorchOpt: ``MetaSGD`` changes the module, whose state is put back after each task."""
    torchopt = import_peer("torchopt")
    optimizer = torchopt.MetaSGD(module, lr=INNER_LR)
    before = torchopt.extract_state_dict(module, by="reference")
    optimizer_before = torchopt.extract_state_dict(optimizer, by="reference")

    def accumulate(support: Examples, query: Examples) -> None:
        for _ in range(INNER_STEPS):
            optimizer.step(F.cross_entropy(module(support.x), support.y))
        torch.autograd.backward(F.cross_entropy(module(query.x), query.y))
        torchopt.recover_state_dict(module, before)
        torchopt.recover_state_dict(optimizer, optimizer_before)

    return accumulate


def by_torchopt_first_order(module: nn.Module) -> Accumulate:
    """TorchOpt's functional ``sgd``: ``MetaSGD`` always builds the second-order graph."""
    torchopt = import_peer("torchopt")
    rule = torchopt.sgd(INNER_LR)

    def accumulate(support: Examples, query: Examples) -> None:
        now: dict[str, Tensor] = dict(module.named_parameters())
        state = rule.init(now)
        for _ in range(INNER_STEPS):
            loss = F.cross_entropy(functional_call(module, now, (support.x,)), support.y)
            gradients = dict(zip(now, torch.autograd.grad(loss, list(now.values())), strict=True))
            updates, state = rule.update(gradients, state, inplace=False)
            now = torchopt.apply_updates(now, updates, inplace=False)
        torch.autograd.backward(F.cross_entropy(functional_call(module, now, (query.x,)), query.y))

    return accumulate


def reptile_by_hand(module: nn.Module) -> Accumulate:
    """Train a copy on the support set; (φ - θ̃)/α is the sum of its inner gradients."""

    def accumulate(support: Examples, query: Examples) -> None:
        trained = copy.deepcopy(module)
        optimizer = torch.optim.SGD(trained.parameters(), INNER_LR)
        for _ in range(INNER_STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(trained(support.x), support.y))
            optimizer.step()
        with torch.no_grad():
            for p, reached in zip(module.parameters(), trained.parameters(), strict=True):
                moved = (p - reached) / INNER_LR
                p.grad = moved if p.grad is None else p.grad + moved

    return accumulate


def _gradient(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad
