"""The rows of the comparison: which gradient is computed, and by which systems."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

import comparing
import fphi
from fphi import GradientLearner, LearningAlgorithm, PrototypicalLearner, ReptileLearner
from loops import (
    by_hand,
    by_higher,
    by_higher_first_order,
    by_torchopt,
    by_torchopt_first_order,
    head_only,
    one_by_one,
    reptile_by_hand,
)
from problem import INNER_LR, INNER_STEPS, OMNIGLOT, Gradients, PlainConv4, Problem, Shape, Step

__all__ = ["ROWS", "Row", "is_peer"]

Make = Callable[[Problem], Step]


@dataclass(frozen=True)
class Row:
    """A gradient that several systems compute.

    Attributes:
        title: what it is.
        systems: by name, what makes a system's step for a problem.
        network: makes the peers' network, of torch's own layers.
        queries: query images per class, where they are not the caller's choice.
        absent: systems that cannot compute it, and why.
        variants: systems that compute something else of the same size, and what; they are not checked.
        shape: what the tasks' examples are.
        tasks: in a meta-batch, where they are not the caller's choice.
    """

    title: str
    systems: dict[str, Make]
    network: Callable[[], nn.Module] = lambda: PlainConv4(5)
    queries: int | None = None
    absent: dict[str, str] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    shape: Shape = OMNIGLOT
    tasks: int | None = None


def is_peer(system: str) -> bool:
    """Whether this is another library, or a loop without one."""
    return not system.startswith("fphi")


def _fphi(
    learner: Callable[[nn.Module], LearningAlgorithm],
    ways: int | None = 5,
    shape: Shape = OMNIGLOT,
) -> dict[str, Make]:
    """With its own Conv4, and with the peers': the second shows what the inner loop alone gains."""

    def make(problem: Problem, network: nn.Module) -> Step:
        algorithm = learner(network)

        def step() -> Gradients:
            _, gradients = fphi.meta_gradient(algorithm, problem.tasks)
            return {name.removeprefix("network."): g for name, g in gradients.items()}

        return step

    return {
        "fphi": lambda problem: make(problem, problem.load(_own(ways, shape))),
        "fphi, plain": lambda problem: make(problem, problem.plain_network()),
    }


def _own(ways: int | None, shape: Shape) -> fphi.Conv4:
    return fphi.Conv4(ways, channels=shape.channels, image_size=shape.size)


def _gradient_learner(
    order: Literal[1, 2], adapts: Literal["all", "head"] = "all"
) -> Callable[[nn.Module], LearningAlgorithm]:
    return lambda network: GradientLearner(
        network, fphi.sgd(INNER_LR), INNER_STEPS, order=order, adapts=adapts
    )


def _fphi_whole(learner: Callable[[], LearningAlgorithm]) -> dict[str, Make]:
    """A learner of several networks, whose parameters have the names of the peers'."""

    def make(problem: Problem) -> Step:
        algorithm = problem.load(learner())
        assert isinstance(algorithm, LearningAlgorithm)
        return lambda: fphi.meta_gradient(algorithm, problem.tasks)[1]

    return {"fphi": make}


def _maml(shape: Shape) -> dict[str, Make]:
    return {
        **_fphi(_gradient_learner(order=2), shape=shape),
        "higher": one_by_one(by_higher),
        "TorchOpt": one_by_one(by_torchopt),
        "by hand": one_by_one(by_hand(order=2)),
    }


def _prototypical(shape: Shape) -> dict[str, Make]:
    return {
        **_fphi(PrototypicalLearner, ways=None, shape=shape),
        "easyfsl": one_by_one(comparing.prototypical_by_easyfsl),
        "by hand": one_by_one(comparing.prototypical_by_hand),
    }


def _large(shots: int) -> dict[str, Row]:
    """MiniImageNet's shape; a few tasks keep every core busy."""
    shape, title = Shape(3, 84, shots), f"84x84, {shots}-shot"
    return {
        f"maml-84-{shots}": Row(
            f"MAML, {title}",
            _maml(shape),
            lambda: PlainConv4(5, shape),
            queries=1,
            shape=shape,
            tasks=4,
        ),
        f"prototypical-84-{shots}": Row(
            f"Prototypical, {title}",
            _prototypical(shape),
            lambda: PlainConv4(None, shape),
            queries=15,
            shape=shape,
            tasks=4,
        ),
    }


ROWS = {
    "maml": Row("MAML", _maml(OMNIGLOT)),
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
        _prototypical(OMNIGLOT),
        network=lambda: PlainConv4(None),
        queries=15,
    ),
    "matching": Row(
        "Matching, full context",
        {
            **_fphi_whole(comparing.matching_learner),
            "easyfsl": one_by_one(comparing.matching_by_easyfsl),
            "by hand": one_by_one(comparing.matching_by_hand),
        },
        network=comparing.PlainMatching,
        queries=15,
        variants={"easyfsl": "normalises one side of its cosines and starts its LSTM at the query"},
    ),
    "relation": Row(
        "Relation",
        {
            **_fphi_whole(comparing.relation_learner),
            "easyfsl": one_by_one(comparing.relation_by_easyfsl),
            "by hand": one_by_one(comparing.relation_by_hand),
        },
        network=comparing.PlainRelation,
        queries=15,
    ),
    **_large(1),
    **_large(5),
}
