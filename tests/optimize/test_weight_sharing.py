"""ENAS: what a step of ω and one of the controller change, rewards, resume, Kendall's τ."""

import math
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from enas_helpers import DATA, MACRO, MICRO, SHAPE, supernet_of
from fphi.errors import FphiError
from fphi.learnable.architecture import EnasMacroSpace, SharingSpace
from fphi.learnable.policy import IndependentPolicy
from fphi.learnable.space import Candidate, Tokens
from fphi.networks.operations import batch_statistics
from fphi.objective.outcome import Outcome
from fphi.optimize.sharing_phases import ControllerPhase, SharedPhase, cosine_restarts
from fphi.optimize.weight_sharing import WeightSharing, minibatch_accuracy, shared_accuracy
from fphi.run.search.ranking import kendall_tau, shared_versus_alone
from fphi.run.search.supernet import restore, train_supernet
from fphi.tasks.types import Examples

BOTH = pytest.mark.parametrize("space", [MICRO, MACRO], ids=lambda s: s.name)


def sharing(space: SharingSpace, epochs: int = 3, **controller: float) -> WeightSharing:
    phase = ControllerPhase(**({"steps": 2, "samples": 2, "batch_size": 8} | controller))  # type: ignore[arg-type]
    policy = IndependentPolicy(space)
    return WeightSharing(
        supernet_of(space),
        policy,
        DATA,
        5,
        epochs=epochs,
        shared=SharedPhase(batch_size=10),
        controller=phase,
    )


def values(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


# The loop.


@BOTH
def test_a_step_of_the_shared_weights_changes_only_the_sampled_path(space: SharingSpace) -> None:
    search = sharing(space)
    rng = Random(3)
    # After some steps along other children, their momentum must not move what the next child leaves out.
    for _ in range(3):
        search.shared_step(space.sample(rng), DATA.train)
    child = space.sample(rng)
    before = values(search.supernet)
    search.shared_step(child, DATA.train)
    parts = {name for name, _ in space.standalone(child, SHAPE, 4, batch_statistics).named_parameters()}
    moved = changed(before, values(search.supernet))
    assert moved
    assert moved <= parts
    # All of them, but for the cells whose outputs nobody takes.
    assert moved == {name for name, p in search.supernet.named_parameters() if p.grad is not None}


@BOTH
def test_a_step_of_the_controller_leaves_the_shared_weights_as_they_are(space: SharingSpace) -> None:
    search = sharing(space, samples=8)
    before, policy = values(search.supernet), values(search.policy)
    search.controller_step(torch.Generator().manual_seed(0))
    assert changed(before, values(search.supernet)) == set()
    assert changed(policy, values(search.policy)) != set()
    policy = values(search.policy)
    search.train_shared(0, torch.Generator().manual_seed(0))
    assert changed(policy, values(search.policy)) == set()


@BOTH
def test_a_reward_is_the_accuracy_on_one_validation_minibatch(space: SharingSpace) -> None:
    search = sharing(space, samples=3, entropy=0.5)
    seen: list[Tensor] = []
    search.supernet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    figures = search.controller_step(torch.Generator().manual_seed(0))
    assert [len(x) for x in seen] == [8, 8, 8]
    validation = {tuple(x.flatten().tolist()) for x in DATA.validation.x}
    assert all(tuple(x.flatten().tolist()) in validation for batch in seen for x in batch)
    # The entropy, weighted, is part of the reward. That of equal probabilities is known.
    entropy = sum(math.log(decision.choices) for decision in space.decisions)
    assert figures["reward"] - 0.5 * entropy == pytest.approx(figures["accuracy"], abs=1e-3)
    assert 0 <= figures["accuracy"] <= figures["best"] <= 1


def test_the_accuracy_on_all_examples_is_taken_in_batches() -> None:
    supernet, tokens = supernet_of(MACRO), MACRO.sample(Random(0))
    halves = [Examples(DATA.validation.x[i : i + 12], DATA.validation.y[i : i + 12]) for i in (0, 12)]
    mean = sum(minibatch_accuracy(supernet, tokens, half) for half in halves) / 2
    assert shared_accuracy(supernet, tokens, DATA.validation, 12) == pytest.approx(mean)


@BOTH
def test_a_resumed_search_is_the_uninterrupted_one(space: SharingSpace, tmp_path: Path) -> None:
    whole = sharing(space, epochs=3)
    train_supernet(whole)
    broken_off = sharing(space, epochs=2)
    train_supernet(broken_off, out=tmp_path)
    resumed = sharing(space, epochs=3)
    restore(resumed, tmp_path)
    told: list[tuple[float, int]] = []
    train_supernet(resumed, tell=lambda row, epochs: told.append((row["epoch"], epochs)))
    assert told == [(3, 3)]
    assert resumed.rows == whole.rows
    assert changed(values(whole.supernet), values(resumed.supernet)) == set()
    assert changed(values(whole.policy), values(resumed.policy)) == set()
    assert resumed.derive() == whole.derive()
    other = WeightSharing(supernet_of(space), IndependentPolicy(space), DATA, 6)
    with pytest.raises(FphiError, match="other settings"):
        restore(other, tmp_path)


def test_the_shared_weights_learn_and_the_controller_prefers_what_scores(tmp_path: Path) -> None:
    space = EnasMacroSpace(layers=2, channels=8)
    search = WeightSharing(
        supernet_of(space), IndependentPolicy(space), DATA, 0, epochs=20,
        shared=SharedPhase(batch_size=10, lr=0.2, period=20),
        controller=ControllerPhase(steps=3, samples=4, batch_size=24, lr=0.1),
    )  # fmt: skip
    rows = train_supernet(search)
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.3
    assert rows[-1]["entropy"] < rows[0]["entropy"]
    tokens, score = search.derive()
    assert score == minibatch_accuracy(search.supernet, tokens, DATA.validation) > 0.6


def test_a_diverging_search_says_so() -> None:
    search = sharing(MACRO)
    with pytest.raises(FphiError, match="diverge"):
        search.shared_step(MACRO.sample(Random(0)), Examples(DATA.train.x * torch.inf, DATA.train.y))


def test_the_learning_rate_restarts() -> None:
    at = [cosine_restarts(epoch, 0.05, 0.0005, 10, 2) for epoch in (0, 9.999, 10, 29.999, 30, 69.999, 70)]
    assert at == pytest.approx([0.05, 0.0005, 0.05, 0.0005, 0.05, 0.0005, 0.05], abs=1e-6)


# Kendall's τ.


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    # Pairs: 3 agree, 1 disagrees; of 6, one is tied in a, and another one in b.
    assert kendall_tau([1, 1, 2, 3], [1, 2, 4, 4]) == pytest.approx(4 / 5)
    assert kendall_tau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.4714045)
    assert math.isnan(kendall_tau([1, 1], [1, 2]))


def test_kendall_tau_of_noise_is_small() -> None:
    rng = Random(0)
    a, b = ([rng.random() for _ in range(300)] for _ in range(2))
    assert abs(kendall_tau(a, b)) < 0.1
    assert kendall_tau(a, [math.exp(x) for x in a]) == 1


def test_shared_weights_are_compared_with_training_alone() -> None:
    supernet = supernet_of(MACRO)
    asked: list[Tokens] = []

    def evaluate(candidate: Candidate) -> Outcome:
        """As good as the shared weights say: both rank alike."""
        asked.append(candidate.tokens)
        return Outcome(1 - shared_accuracy(supernet, candidate.tokens, DATA.validation), seconds=2.0)

    ranking = shared_versus_alone(supernet, DATA.validation, evaluate, count=20)
    assert ranking.tokens == asked
    assert len(set(asked)) == 20
    assert ranking.tau == 1
    assert ranking.seconds == 40
    with pytest.raises(FphiError, match="cannot be ranked"):
        shared_versus_alone(supernet, DATA.validation, evaluate, count=1)
