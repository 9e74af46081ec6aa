"""Values that mean nothing are refused where they are given, by name."""

import math
from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import nn

import fphi
from fphi import MatchingLearner, PrototypicalLearner
from fphi.errors import FphiError
from fphi.learnable import LSTMCore, MemoryCore
from fphi.learnable.architecture import SPACES, NASBenchMacroSpace
from fphi.learnable.controller import LSTMController
from fphi.optimize import AgingEvolution, PolicyGradient, PolicyUpdate, RandomSearch, SearchOptimizer
from fphi.optimize.bilevel import BilevelPhase
from fphi.within.training import NetworkTraining

SPACE = NASBenchMacroSpace()


def by_policy() -> SearchOptimizer:
    policy = LSTMController(SPACE, 0, hidden=4)
    return PolicyGradient(policy, torch.optim.SGD(policy.parameters(), 0.1))


@pytest.mark.parametrize(
    "make", [by_policy, lambda: AgingEvolution(SPACE, size=3, sample=2), lambda: RandomSearch(SPACE)]
)
def test_an_optimizer_learns_each_candidates_loss_once_and_no_other(
    make: Callable[[], SearchOptimizer],
) -> None:
    optimizer, other = make(), make()
    first, _, third = (optimizer.ask() for _ in range(3))
    for loss in (math.nan, math.inf):
        with pytest.raises(FphiError, match=r"the loss of candidate 0 is (nan|inf); tell a finite one"):
            optimizer.tell(first, loss)
    optimizer.tell(third, 0.5)
    with pytest.raises(FphiError, match="candidate 2 was told before"):
        optimizer.tell(third, 0.4)
    with pytest.raises(FphiError, match="candidate 2 was not asked for"):
        other.tell(third, 0.4)
    optimizer.tell(first, 0.1)
    assert SPACE.check(optimizer.ask().tokens)


def test_an_unknown_rule_is_none() -> None:
    with pytest.raises(FphiError, match="unknown rule 'trpo': choose one of reinforce, ppo"):
        PolicyUpdate("trpo")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SPACES)
def test_no_network_is_built_of_half_an_architecture(name: str) -> None:
    space = SPACES[name]()
    with pytest.raises(FphiError, match="0 tokens are too few for the space"):
        space.build((), (1, 16, 16), 10)


@pytest.mark.parametrize("name", ["layers", "cells", "amoebanet", "hierarchical"])
def test_a_space_made_of_lists_is_that_of_tuples(name: str) -> None:
    usual = SPACES[name]()
    lists = {key: list(value) for key, value in vars(usual).items() if isinstance(value, tuple)}
    assert lists
    space = SPACES[name](**lists)
    assert (space, hash(space)) == (usual, hash(usual))
    assert space.sample(Random(0)) == usual.sample(Random(0))


def test_a_token_is_a_whole_number() -> None:
    with pytest.raises(FphiError, match=r"token 1\.0 at place 0 is no answer"):
        SPACE.check([1.0] * 8)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatchingLearner(nn.Flatten(), distance="l1"), "one of euclidean, cosine"),  # type: ignore[arg-type]
        (lambda: PrototypicalLearner(nn.Flatten(), distance="l2"), "distance is 'l2'"),  # type: ignore[arg-type]
        (lambda: MatchingLearner(nn.Flatten(), scale=0), "scale is 0; it must be above 0"),
        (lambda: PrototypicalLearner(nn.Flatten(), batching="x"), "one of auto, vmap, loop"),  # type: ignore[arg-type]
        (lambda: MemoryCore(8, 5, heads=0), "heads is 0; it must be at least 1"),
        (lambda: MemoryCore(8, 5, decay=5), "decay is 5; it must be below 1"),
        (lambda: NetworkTraining(clip_norm=-1), "clip_norm is -1"),
        (lambda: BilevelPhase(clip_norm=0), "clip_norm=0"),
        (lambda: BilevelPhase(momentum=-3), "momentum=-3"),
    ],
)
def test_values_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fphi.MLP(0, (4,), 2), "inputs is 0; it must be at least 1"),
        (lambda: fphi.MLP(4, (4, 0), 2), "hidden is .*each at least 1"),
        (lambda: fphi.Conv4(5, filters=0), "filters is 0"),
        (lambda: fphi.Conv4(0), "ways is 0"),
        (lambda: fphi.Conv4(5, image_size=-28), "image_size is -28"),
        (lambda: LSTMCore(4, 3, hidden=0), "hidden is 0"),
        (lambda: fphi.SequenceLearner(nn.Flatten(), LSTMCore(4, 3), 0), "ways is 0"),
        (lambda: fphi.SiameseLearner(nn.Flatten(), 0), "width is 0"),
        (lambda: MatchingLearner(nn.Flatten(), scale=math.inf), "scale is inf; it must be a finite number"),
        (lambda: fphi.MetricLearner(nn.Flatten(), margin=math.nan), "margin is nan"),
        (lambda: fphi.GradientLearner(nn.Linear(4, 3), fphi.sgd(0.1), 1, minibatch=0), "minibatch is 0"),
        (lambda: fphi.GradientLearner(nn.Linear(4, 3), fphi.sgd(0.1), 1.5), "steps is 1.5; .* whole number"),  # type: ignore[arg-type]
        (lambda: fphi.learned_rate(math.nan), "initial is nan"),
        (lambda: fphi.sgd(-0.1), "lr is -0.1; it must be at least 0"),
    ],
)
def test_sizes_are_whole_numbers_and_rates_finite(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        make()
