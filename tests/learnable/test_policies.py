"""Policies over architectures: their probabilities and gradients, by closed forms and by enumeration."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable import controller
from fphi.learnable.architecture import CellSpace, LayerSpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.policy import IndependentPolicy, Policy
from fphi.learnable.space import FixedSpace, Space
from fphi.optimize import PolicyGradient, PolicyUpdate
from policy_helpers import PICKS, SMALL, Toy, Variable, everything, gradient, loss_of, lstm, reinforce

# Gradients.


def test_the_gradient_of_two_actions_is_the_closed_form() -> None:
    policy = IndependentPolicy(Toy()).double()
    policy.logits.data = torch.tensor([[0.2, -0.1]], dtype=torch.float64)
    rewards = torch.tensor([1.0, 3.0], dtype=torch.float64)
    log_p, entropy = policy.score([(0,), (1,)])
    exact = (log_p.exp() * rewards).sum()
    assert exact.item() == pytest.approx(1.8511149664, abs=1e-10)
    expected = torch.tensor([-0.4889166234, 0.4889166234], dtype=torch.float64)
    torch.testing.assert_close(gradient(exact, policy), expected, atol=1e-10, rtol=0)
    assert entropy[0].item() == pytest.approx(-(log_p.exp() * log_p).sum().item())

    drawn = policy.sample(20_000, torch.Generator().manual_seed(0))
    sampled = reinforce(len(drawn), policy, drawn, rewards[[t[0] for t in drawn]], b=1.85)
    torch.testing.assert_close(sampled, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("space", "draws"),
    [(SMALL, 3000), (PICKS, 3000), (Variable(), 600)],
    ids=["connections", "picks", "variable"],
)
def test_sampled_gradients_of_the_controller_average_to_the_exact_one(space: Space, draws: int) -> None:
    policy = lstm(space, spread=0.7)
    every = list(everything(space))
    rewards = torch.rand(len(every), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    of = dict(zip(every, rewards.tolist(), strict=True))
    exact = gradient((policy.score(every)[0].exp() * rewards).sum(), policy)
    drawn = policy.sample(draws, torch.Generator().manual_seed(2))
    sampled = reinforce(
        len(drawn), policy, drawn, torch.tensor([of[t] for t in drawn]), b=float(rewards.mean())
    )
    assert torch.cosine_similarity(sampled, exact, dim=0) > 0.93
    assert (sampled - exact).norm() < 0.4 * exact.norm()


@pytest.mark.parametrize("policy", [IndependentPolicy(SMALL, 3, spread=1.0).double(), lstm(SMALL)])
def test_a_constant_shift_of_the_reward_leaves_the_expected_gradient(policy: Policy) -> None:
    every = list(everything(SMALL))
    rewards = torch.tensor([1 - loss_of(t) for t in every], dtype=torch.float64)
    log_p = policy.score(every)[0]
    exact = gradient((log_p.exp() * rewards).sum(), policy)
    for shift in (0.0, 17.0):
        expected = gradient((log_p.exp().detach() * (rewards - shift) * policy.score(every)[0]).sum(), policy)
        torch.testing.assert_close(expected, exact, atol=1e-10, rtol=1e-8)


# Probabilities.


@pytest.mark.parametrize(
    "policy",
    [
        IndependentPolicy(SMALL, spread=2.0).double(),
        lstm(SMALL),
        lstm(SMALL, tanh_constant=1.1, temperature=5.0),
        lstm(PICKS),
        lstm(Variable()),
    ],
    ids=lambda p: f"{type(p).__name__}-{p.space.name}",
)
def test_probabilities_of_all_architectures_sum_to_1_and_are_the_frequencies(policy: Policy) -> None:
    every = list(everything(policy.space))
    log_p, entropy = policy.score(every)
    p = log_p.exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert p.max() > 2 / len(every)  # far from uniform, which would hide a mistake
    # The mean of the entropies on the way is the entropy of the whole.
    assert (p * entropy).sum().item() == pytest.approx(-(p * log_p).sum().item())
    draws = 2000 if isinstance(policy.space, FixedSpace) else 300
    counts = Counter(policy.sample(draws, torch.Generator().manual_seed(0)))
    for tokens, probability in zip(every, p.tolist(), strict=True):
        deviation = math.sqrt(probability * (1 - probability) / draws)
        assert abs(counts[tokens] / draws - probability) < 5 * deviation + 1e-3


def test_connections_of_a_layer_are_decided_from_one_state_and_anchors_feed_the_next() -> None:
    """The same architecture by the formulas of the paper, step by step."""
    policy = lstm(SMALL, spread=1.0)
    size, skip = (policy.question(decision) for decision in (SMALL.decisions[0], SMALL.decisions[2]))
    before, now, energy = skip.attention
    (weights,), (biases,), (embedding,) = size.weights, size.biases, size.embeddings
    states = [(torch.zeros(1, 6, dtype=torch.float64),) * 2] * 2

    def step(x: Tensor) -> Tensor:
        for i, cell in enumerate(policy.cells):
            states[i] = cell(x.reshape(1, 6), states[i])
            x = states[i][0]
        return x

    def height(h: Tensor, answer: int) -> Tensor:
        logs: Tensor = (h @ weights.T + biases).log_softmax(-1)
        return logs[0, answer]

    def connected(anchor: Tensor, h: Tensor, answer: int) -> Tensor:
        score: Tensor = (anchor @ before.T + h @ now.T).tanh() @ energy
        return (score if answer else -score).sigmoid().log()[0]

    a, b, c, skip_12, skip_13, skip_23 = 1, 0, 1, 0, 1, 1
    log_p = height(step(policy.first), a)
    first = step(embedding[a])  # nothing to connect layer 1 with: a step for its anchor alone
    log_p = log_p + height(step(policy.first), b)
    second = step(embedding[b])
    log_p = log_p + connected(first, second, skip_12)
    log_p = log_p + height(step(policy.unconnected), c)
    third = step(embedding[c])
    log_p = log_p + connected(first, third, skip_13) + connected(second, third, skip_23)
    scored = policy.score([(a, b, skip_12, c, skip_13, skip_23)])[0]
    torch.testing.assert_close(scored[0], log_p)

    deeper = LayerSpace(depth=4, heights=(1, 3), widths=(1,), strides=(1,), filters=(2,))
    policy.space = deeper
    log_p = log_p + height(step((first + second) / 2), 0)
    fourth = step(embedding[0])
    log_p = log_p + sum(connected(anchor, fourth, 0) for anchor in (first, second, third))
    shallow, deep = (a, b, skip_12, c, skip_13, skip_23), (a, b, skip_12, c, skip_13, skip_23, 0, 0, 0, 0)
    torch.testing.assert_close(policy.score([deep, shallow])[0], torch.stack([log_p, scored[0]]))


def test_the_tanh_constant_bounds_how_certain_an_answer_is() -> None:
    every = list(everything(SMALL))
    bounded = lstm(SMALL, spread=50.0, tanh_constant=1.1).score(every)[0]
    # Two answers each: a head's logits differ by at most 2c, a connection's by c.
    assert (
        bounded.min() > 3 * math.log(1 / (1 + math.exp(2.2))) + 3 * math.log(1 / (1 + math.exp(1.1))) - 1e-9
    )
    torch.testing.assert_close(
        lstm(SMALL, temperature=1e9).score(every)[0], torch.full((64,), -math.log(64), dtype=torch.float64)
    )


def test_randomness_is_the_generator_alone_and_fifty_decisions_are_drawn_at_once() -> None:
    state = torch.get_rng_state()
    policy = LSTMController(CellSpace(), 5, hidden=100)
    generator = torch.Generator().manual_seed(0)
    drawn = policy.sample(10, generator)
    assert torch.equal(torch.get_rng_state(), state)
    again = LSTMController(CellSpace(), 5, hidden=100)
    assert again.sample(10, generator.manual_seed(0)) == drawn
    assert all(p.abs().max() <= 0.1 for p in policy.parameters())
    # As many calls of the LSTM for ten architectures as for one.
    calls: list[int] = []
    for cell in policy.cells:
        cell.register_forward_hook(lambda module, given, out: calls.append(len(given[0])))
    policy.sample(1, generator)
    for_one = len(calls)
    policy.sample(10, generator)
    assert 0 < len(calls) == 2 * for_one


def test_a_question_that_was_not_foreseen_is_learned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "_EXPLORED", 0)
    policy = lstm(Variable(), spread=0.5)
    sgd = torch.optim.SGD(policy.parameters(), lr=0.1)
    optimizer = PolicyGradient(policy, sgd, update=PolicyUpdate(batch=10))
    assert not list(policy.questions.parameters())
    for _ in range(10):
        candidate = optimizer.ask()
        optimizer.tell(candidate, loss_of(candidate.tokens))
    own = {id(p) for p in policy.parameters()}
    assert len(list(policy.questions.parameters())) >= 6
    assert {id(p) for group in sgd.param_groups for p in group["params"]} == own
    assert policy.score(list(everything(Variable())))[0].exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("options", [{"hidden": 0}, {"layers": 0}, {"spread": -1.0}, {"tanh_constant": 0.0}])
def test_controllers_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(FphiError, match=f"{next(iter(options))} is .*; it must be "):
        LSTMController(SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="choose the LSTM controller"):
        IndependentPolicy(Variable())
