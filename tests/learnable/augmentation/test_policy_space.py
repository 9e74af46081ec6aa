"""The space of AutoAugment: how large it is, how it is written, and that every optimizer searches it."""

from collections.abc import Callable
from random import Random

import pytest
import torch

from fphi.errors import FphiError
from fphi.learnable.augmentation import NAMES, Policy, PolicySpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.policy import IndependentPolicy
from fphi.learnable.space import Tokens
from fphi.optimize import AgingEvolution, PolicyGradient, PolicyUpdate, RandomSearch, SearchOptimizer

SPACE, SMALL = PolicySpace(), PolicySpace(sub_policies=1)


def test_the_space_has_the_papers_size_and_its_controller_30_softmaxes() -> None:
    assert SPACE.size == (16 * 11 * 10) ** 10
    assert f"{SPACE.size:.2e}" == "2.85e+32"
    assert [(d.name, d.choices) for d in SPACE.decisions] == [
        ("operation", 16),
        ("probability", 11),
        ("magnitude", 10),
    ] * 10


def test_what_is_written_is_read_back_and_different_for_different_tokens() -> None:
    rng, texts = Random(0), set()
    for _ in range(200):
        tokens = SPACE.sample(rng)
        assert SPACE.parse(SPACE.text(tokens)) == tokens
        texts |= {SPACE.text(tokens), SPACE.text(SPACE.mutate(tokens, rng))}
    assert len(texts) == 400


def test_a_policy_is_what_its_text_says() -> None:
    text = "Rotate 0.7 2 + TranslateX 0.3 9"
    assert SMALL.policy(SMALL.parse(text)) == Policy.of([[("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)]])
    assert SMALL.policy(SMALL.parse(text), fill=(0,)).fill == (0,)


@pytest.mark.parametrize(
    "text",
    ["", "Rotate 0.7 2", "Rotate 0.7 2 + Blur 0.3 9", "Rotate 0.7 2 + Invert 0.35 9", "Rotate 0.7 2 + Invert 0.3 10",
     "Rotate 0.7 2 + Invert 0.3", "Rotate 0.7 2 + Invert 0.3 1 | Invert 0.3 1 + Invert 0.3 1"],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match=r"is no policy of 1 x 2 operations; write each as 'Rotate 0.7 2'"):
        SMALL.parse(text)


def test_tokens_of_another_space_are_refused() -> None:
    with pytest.raises(FphiError, match="token 16 at place 0 is no answer to 'operation'"):
        SMALL.policy((16, 0, 0, 0, 0, 0))
    with pytest.raises(FphiError, match="too few"):
        SPACE.policy((0, 0, 0))


def test_a_mutation_changes_one_answer() -> None:
    rng, tokens = Random(1), SPACE.sample(Random(0))
    places = set()
    for _ in range(300):
        changed = SPACE.check(SPACE.mutate(tokens, rng))
        (place,) = (i for i, (a, b) in enumerate(zip(tokens, changed, strict=True)) if a != b)
        places.add(place)
    assert len(places) > 25


def loss_of(tokens: Tokens) -> float:
    """The share of operations that are not Rotate, the probability that is missing, and the magnitude."""
    triples = [tokens[i : i + 3] for i in range(0, len(tokens), 3)]
    return sum((NAMES[a] != "Rotate") + (10 - b) / 10 + c / 9 for a, b, c in triples) / (3 * len(triples))


def gradient(independent: bool) -> PolicyGradient:
    policy = IndependentPolicy(SMALL) if independent else LSTMController(SMALL, hidden=8)
    adam = torch.optim.Adam(policy.parameters(), lr=0.1 if independent else 0.05)
    return PolicyGradient(policy, adam, update=PolicyUpdate("ppo", batch=10, epochs=3))


OPTIMIZERS: dict[str, Callable[[], SearchOptimizer]] = {
    "evolution": lambda: AgingEvolution(SMALL, size=20, sample=8),
    "ppo": lambda: gradient(False),
    "independent": lambda: gradient(True),
}


def tried(optimizer: SearchOptimizer, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        candidate = optimizer.ask()
        assert SMALL.check(candidate.tokens) == candidate.tokens
        losses.append(loss_of(candidate.tokens))
        optimizer.tell(candidate, losses[-1])
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_searches_it(name: str) -> None:
    """The mean of what is tried at the end is below nearly all of what random search tries."""
    random = sorted(tried(RandomSearch(SMALL), 300))
    losses = tried(OPTIMIZERS[name](), 300)
    assert sum(losses[-40:]) / 40 < random[30]
