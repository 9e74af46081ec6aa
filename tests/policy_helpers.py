"""Spaces small enough to be enumerated, and the gradients of policies over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import torch
from torch import Tensor

from fphi.learnable.architecture import LayerSpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.policy import Policy
from fphi.learnable.space import Decision, FixedSpace, Space, Tokens
from fphi.optimize import PolicyUpdate

__all__ = [
    "DEEP",
    "PICKS",
    "SMALL",
    "Toy",
    "Variable",
    "everything",
    "gradient",
    "loss_of",
    "lstm",
    "reinforce",
]

SMALL = LayerSpace(depth=3, heights=(1, 3), widths=(1,), strides=(1,), filters=(2,))  # 64 networks
DEEP = 6.0  # spread of initial weights with which no answer is as likely as another


@dataclass(frozen=True)
class Toy(FixedSpace):
    """Only questions."""

    name: ClassVar[str] = "toy"

    asked: tuple[Decision, ...] = (Decision("bit", 2),)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self.asked

    def text(self, tokens: Tokens) -> str:
        return str(tokens)

    def parse(self, text: str) -> Tokens:
        raise NotImplementedError


PICKS = Toy(
    tuple(
        question
        for part in (2, 3, 4)
        for question in (Decision("which", part, part, tuple(range(part))), Decision("what", 2, part))
    )
)


class Variable(Space):
    """As many parts as the first answer says; each points at one before it, and has as many kinds as its number."""

    name = "variable"

    def decision(self, prefix: Tokens) -> Decision | None:
        if not prefix:
            return Decision("parts", 3)
        part, place = divmod(len(prefix) + 1, 2)
        if part > prefix[0] + 1:
            return None
        return Decision("kind", part, part) if place else Decision("source", part, part, tuple(range(part)))

    text, parse = Toy.text, Toy.parse

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        raise NotImplementedError


def everything(space: Space, prefix: Tokens = ()) -> Iterator[Tokens]:
    """All that can be chosen, for spaces small enough."""
    decision = space.decision(prefix)
    if decision is None:
        yield prefix
        return
    for answer in range(decision.choices):
        yield from everything(space, (*prefix, answer))


def loss_of(tokens: Tokens) -> float:
    """Small where all answers are 1, which is a single network of ``SMALL``."""
    return 1 - sum(tokens) / len(tokens)


def lstm(space: Space, seed: int = 0, spread: float = DEEP, **options: float) -> LSTMController:
    return LSTMController(space, seed, hidden=6, layers=2, spread=spread, **options).double()


def gradient(value: Tensor, policy: Policy) -> Tensor:
    gradients = torch.autograd.grad(
        value, list(policy.parameters()), allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in gradients])


def reinforce(batch: int, policy: Policy, tokens: list[Tokens], rewards: Tensor, b: float = 0.0) -> Tensor:
    log_p, entropy = policy.score(tokens)
    return gradient(PolicyUpdate(batch=batch).objective(log_p, log_p.detach(), rewards - b, entropy), policy)
