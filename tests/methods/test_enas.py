"""ENAS's controllers, and the methods from the start to the derived architecture."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enas_helpers import DATA, MACRO, MICRO, supernet_of
from fphi.errors import FphiError
from fphi.learnable.architecture import NASBench201Space, SharingSpace
from fphi.learnable.architecture.enas_controller import MacroController, MicroController
from fphi.learnable.controller import LSTMController, skip_divergence
from fphi.learnable.policy import IndependentPolicy
from fphi.learnable.space import Candidate
from fphi.methods.enas import ENAS, ENASMacro
from fphi.methods.families.weight_sharing import SharingMethod
from fphi.objective.candidate_loss import TrainAndTest
from fphi.objective.outcome import Outcome
from fphi.optimize.sharing_phases import ControllerPhase
from fphi.optimize.weight_sharing import WeightSharing
from fphi.run.search.supernet import restore, train_supernet
from fphi.within.training import NetworkTraining
from waiting import Clock

# The controllers.


@pytest.fixture
def controller() -> MicroController:
    return MicroController(MICRO, seed=1, hidden=8, spread=0.3)


def test_convolutions_are_preferred_at_the_start(controller: MicroController) -> None:
    children = controller.sample(400, torch.Generator().manual_seed(0))
    half = len(MICRO.decisions) // 2
    # The learned bias of 10 fills the bound 1.1/2.5; what the others have, is bounded by it.
    shares = [
        sum(token < 2 for child in children for token in child[1:][first : first + half : 2]) / (200 * half)
        for first in (0, half)
    ]
    odds = [math.exp(1.1 / 2.5 + 0.5), math.exp(1.1 / 2.5)]
    assert shares == pytest.approx([2 * o / (2 * o + 3) for o in odds], abs=0.05)


def test_the_logits_stay_within_their_bounds(controller: MicroController) -> None:
    wild = 100 * torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    places = {(d.name, d.part < MICRO.states): d for d in MICRO.decisions}
    for (name, first_cell), decision in places.items():
        logits = controller.bounded(wild[:, : decision.choices], decision)
        bound = {"index": 1.1, "operation": 0.44 + 0.25 * first_cell}[name]
        assert logits.abs().max() <= bound + 1e-6


def test_the_tanh_of_a_skip_bounds_no_and_yes_alike() -> None:
    """The reference has the logits ±c tanh(s) of a score s: yes has the probability σ(2c tanh(s))."""
    decision = next(d for d in MACRO.decisions if d.is_connection)
    score = torch.tensor([[-2.0], [0.3], [50.0]])
    macro = ENASMacro().controller(MACRO, 0)
    assert isinstance(macro, MacroController)
    logits = macro.bounded(macro.connection_logits(score), decision)
    expected = [1 / (1 + math.exp(-3 * math.tanh(s))) for s in (-2.0, 0.3, 50.0)]
    assert logits.softmax(-1)[:, 1].tolist() == pytest.approx(expected, abs=1e-6)
    assert logits.sum(-1).tolist() == pytest.approx([0, 0, 0])
    # That of Zoph and Le has no bound, and σ(s).
    plain = LSTMController(MACRO)
    unbounded = plain.bounded(plain.connection_logits(score), decision).softmax(-1)[:, 1]
    torch.testing.assert_close(unbounded, score[:, 0].sigmoid())


@torch.no_grad()
def test_the_macro_controller_decides_skips_by_the_scores_of_its_attention() -> None:
    """The first connection by hand: its score is v·tanh(W_prev h_j + W_curr h_i)."""
    controller = MacroController(MACRO, seed=3, hidden=6, spread=0.5, tanh_constant=1.5)
    branch, _, skip = MACRO.decisions[:3]
    cell, question = controller.cells[0], controller.question(branch)
    state = cell(controller.first[None], (torch.zeros(1, 6), torch.zeros(1, 6)))
    # The anchor of layer 1, which is asked about no connection, takes a step of its own after its branch.
    state = cell(question.embedded(torch.tensor([4])), state)
    state = cell(controller.first[None], state)
    state = cell(question.embedded(torch.tensor([1])), state)
    w_prev, w_curr, v = controller.question(skip).attention
    assert skip.about == (0,)  # the stem
    score = (controller.input_anchor(0) @ w_prev.T + state[0][0] @ w_curr.T).tanh() @ v
    logs = controller.distributions(MACRO.decisions[:3], [(4, 1, 1)])[2]
    assert float(logs[0, 1].exp()) == pytest.approx(float((3 * score.tanh()).sigmoid()), abs=1e-6)


def test_the_divergence_of_skips_from_their_target_by_hand() -> None:
    policy = LSTMController(MACRO, hidden=8, spread=0.0)  # of equal probabilities
    tokens = policy.sample(3, torch.Generator().manual_seed(0))
    one = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4)
    # Layers 2 to 5 have 1, 2, 3, 4 connections.
    assert skip_divergence(policy, tokens, 0.4).item() == pytest.approx(10 * one / 4, abs=1e-6)
    assert skip_divergence(policy, tokens, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_the_controller_is_drawn_to_its_share_of_skips() -> None:
    policy = LSTMController(MACRO, hidden=8)
    phase = ControllerPhase(steps=1, samples=4, batch_size=8, lr=0.05, skip_target=0.1, skip_weight=5.0)
    search = WeightSharing(supernet_of(MACRO), policy, DATA, controller=phase)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        search.controller_step(generator)
    places = [i for i, decision in enumerate(MACRO.decisions) if decision.is_connection]
    children = policy.sample(300, generator)
    share = sum(child[i] for child in children for i in places) / (300 * len(places))
    assert share == pytest.approx(0.1, abs=0.05)
    with pytest.raises(FphiError, match="target for skip"):
        WeightSharing(supernet_of(MACRO), IndependentPolicy(MACRO), DATA, controller=phase)


# The methods.


@pytest.mark.parametrize(("method", "space"), [(ENAS, MICRO), (ENASMacro, MACRO)], ids=["enas", "enas-macro"])
def test_a_search_that_broke_off_comes_to_the_same_end(
    method: type[SharingMethod], space: SharingSpace, tmp_path: Path
) -> None:
    settings = method(epochs=2, batch_size=10, steps=2, samples=2, derive=3)
    told: list[dict[str, float]] = []
    whole = settings.begin(space, DATA, 4)
    assert train_supernet(whole, tell=lambda row, _: told.append(row)) == told
    assert [row["epoch"] for row in told] == [1, 2]
    # Four minibatches and twice two samples in each epoch.
    assert settings.conclude(whole, space, DATA, NetworkTraining())["children"] == 2 * (4 + 4)
    assert space.check(whole.result()) == whole.result()

    train_supernet(replace(settings, epochs=1).begin(space, DATA, 4), out=tmp_path)
    resumed = settings.begin(space, DATA, 4)
    restore(resumed, tmp_path)
    assert train_supernet(resumed) == whole.rows
    assert resumed.result() == whole.result()
    with pytest.raises(FphiError, match="other settings"):
        restore(replace(settings, lr=0.1).begin(space, DATA, 4), tmp_path)


def test_tau_is_part_of_the_result(clock: Clock) -> None:
    clock.tick = 0.25
    settings = ENASMacro(epochs=1, batch_size=10, steps=1, samples=2, derive=2, tau=3, tau_epochs=1)
    search = settings.begin(MACRO, DATA, 0)
    train_supernet(search)
    figures = settings.conclude(search, MACRO, DATA, NetworkTraining())
    assert -1 <= figures["kendall_tau"] <= 1 or math.isnan(figures["kendall_tau"])
    assert figures["seconds_alone"] > 0


def test_tau_is_of_trainings_with_the_settings_of_candidates_and_no_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[TrainAndTest] = []

    def evaluate(self: TrainAndTest, candidate: Candidate) -> Outcome:
        asked.append(self)
        return Outcome(candidate.number / 10, 1.0)

    monkeypatch.setattr(TrainAndTest, "__call__", evaluate)
    settings = ENASMacro(epochs=1, batch_size=10, steps=1, samples=2, derive=2, tau=2, tau_epochs=7)
    search = settings.begin(MACRO, DATA, 0)
    train_supernet(search)
    given = NetworkTraining(epochs=3, lr=0.001, batch_size=9, limit_seconds=4)
    settings.conclude(search, MACRO, DATA, given)
    assert [one.training for one in asked] == [replace(given, epochs=7, limit_seconds=None)] * 2
    assert not any(one.test for one in asked)


def test_a_space_without_shared_weights_is_refused() -> None:
    with pytest.raises(FphiError, match="no shared weights; choose the space enas-micro"):
        ENAS().begin(NASBench201Space(), DATA, 0)
    with pytest.raises(FphiError, match="choose enas-macro"):
        ENAS().begin(MACRO, DATA, 0)
