"""The rows of the comparison: which gradient is computed, and by which systems."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi import Examples, GradientLearner, LearningAlgorithm, PrototypicalLearner, ReptileLearner
from loops import (
    Accumulate,
    by_hand,
    by_higher,
    by_higher_first_order,
    by_torchopt,
    by_torchopt_first_order,
    head_only,
    one_by_one,
    reptile_by_hand,
)
from peers import import_peer
from problem import INNER_LR, INNER_STEPS, Gradients, Problem, Step

__all__ = ["ROWS", "Row", "is_peer"]

Make = Callable[[Problem], Step]


@dataclass(frozen=True)
class Row:
    """A gradient that several systems compute.

    Attributes:
        title: what it is.
        systems: by name, what makes a system's step for a problem.
        embedding: the network has no head.
        queries: query images per class, where they are not the caller's choice.
        absent: systems that cannot compute it, and why.
    """

    title: str
    systems: dict[str, Make]
    embedding: bool = False
    queries: int | None = None
    absent: dict[str, str] = field(default_factory=dict)


def is_peer(system: str) -> bool:
    """Whether this is another library, or a loop without one."""
    return not system.startswith("fphi")


def _fphi(learner: Callable[[nn.Module], LearningAlgorithm]) -> dict[str, Make]:
    """With its own Conv4, and with the peers': the second shows what the inner loop alone gains."""

    def make(problem: Problem, network: nn.Module) -> Step:
        algorithm = learner(network)

        def step() -> Gradients:
            _, gradients = fphi.meta_gradient(algorithm, problem.tasks)
            return {name.removeprefix("network."): g for name, g in gradients.items()}

        return step

    return {
        "fphi": lambda problem: make(problem, problem.load(fphi.Conv4(problem.ways))),
        "fphi, plain": lambda problem: make(problem, problem.plain_network()),
    }


def _gradient_learner(
    order: Literal[1, 2], adapts: Literal["all", "head"] = "all"
) -> Callable[[nn.Module], LearningAlgorithm]:
    return lambda network: GradientLearner(
        network, fphi.sgd(INNER_LR), INNER_STEPS, order=order, adapts=adapts
    )


def _prototypical_by_hand(network: nn.Module) -> Accumulate:
    """One pass for support and query, class means, minus squared distances."""

    def accumulate(support: Examples, query: Examples) -> None:
        embedded = network(torch.cat([support.x, query.x]))
        centers, queries = embedded[: len(support.y)], embedded[len(support.y) :]  # one shot: its own mean
        distances = (queries[:, None] - centers).square().sum(-1)
        torch.autograd.backward(F.cross_entropy(-distances, query.y))

    return accumulate


def _prototypical_by_easyfsl(network: nn.Module) -> Accumulate:
    """The classifier of easyfsl on features of one pass, its distances squared.

    Left to itself it embeds support and query apart (other batch statistics) and does not square:
    another gradient. The pass costs less in one piece.
    """
    classifier: Any = import_peer("easyfsl").PrototypicalNetworks()

    def accumulate(support: Examples, query: Examples) -> None:
        embedded: Tensor = network(torch.cat([support.x, query.x]))
        classifier.process_support_set(embedded[: len(support.y)], support.y)
        scores = classifier(embedded[len(support.y) :])
        torch.autograd.backward(F.cross_entropy(-scores.square(), query.y))

    return accumulate


ROWS = {
    "maml": Row(
        "MAML",
        {
            **_fphi(_gradient_learner(order=2)),
            "higher": one_by_one(by_higher),
            "TorchOpt": one_by_one(by_torchopt),
            "by hand": one_by_one(by_hand(order=2)),
        },
    ),
    "fomaml": Row(
        "FOMAML",
        {
            **_fphi(_gradient_learner(order=1)),
            "higher": one_by_one(by_higher_first_order),
            "TorchOpt": one_by_one(by_torchopt_first_order),
            "by hand": one_by_one(by_hand(order=1)),
        },
    ),
    "anil": Row(
        "ANIL",
        {
            **_fphi(_gradient_learner(order=2, adapts="head")),
            "higher": one_by_one(head_only(by_higher)),
            "TorchOpt": one_by_one(head_only(by_torchopt)),
            "by hand": one_by_one(head_only(by_hand(order=2))),
        },
    ),
    "reptile": Row(
        "Reptile",
        {
            **_fphi(lambda network: ReptileLearner(network, fphi.sgd(INNER_LR), INNER_STEPS)),
            "by hand": one_by_one(reptile_by_hand),
        },
        absent=dict.fromkeys(("higher", "TorchOpt"), "it differentiates through no step"),
    ),
    "prototypical": Row(
        "Prototypical",
        {
            **_fphi(PrototypicalLearner),
            "easyfsl": one_by_one(_prototypical_by_easyfsl),
            "by hand": one_by_one(_prototypical_by_hand),
        },
        embedding=True,
        queries=15,
    ),
}
