"""Evolution: who has children and who dies, the 100-bit toy, searches that are asked and told in any order."""

from collections.abc import Callable
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.methods.families.searching import SearchMethod
from fphi.methods.hierarchical_evolution import HierarchicalEvolution
from fphi.methods.regularized_evolution import RegularizedEvolution
from fphi.methods.table import get_method
from fphi.objective.outcome import Outcome
from fphi.optimize import (
    AgingEvolution,
    Evolution,
    PairwiseTournament,
    RandomSearch,
    SearchOptimizer,
    TournamentWithoutRemoval,
)
from fphi.run.search.loop import Budget, search
from search_bits import BitSpace

SPACE = BitSpace()
Loss = Callable[[Candidate], float]
EVOLUTIONS: dict[str, Callable[[int], Evolution]] = {
    "aging": lambda seed: AgingEvolution(SPACE, seed, size=6, sample=3),
    "pairwise": lambda seed: PairwiseTournament(SPACE, seed, size=6),
    "without removal": lambda seed: TournamentWithoutRemoval(SPACE, seed, size=6, share=0.3),
}
ALL = pytest.mark.parametrize("make", EVOLUTIONS.values(), ids=EVOLUTIONS)


def error(candidate: Candidate) -> float:
    """The fraction of bits that are 0."""
    return 1 - fmean(candidate.tokens)


def steps(optimizer: SearchOptimizer, count: int, loss: Loss = error) -> list[Candidate]:
    """Ask and tell; return the candidates."""
    candidates = []
    for _ in range(count):
        candidates.append(optimizer.ask())
        optimizer.tell(candidates[-1], loss(candidates[-1]))
    return candidates


def numbers(optimizer: Evolution) -> list[int]:
    return [individual.number for individual in optimizer.population]


# Aging evolution.


def test_the_oldest_dies_also_when_it_is_the_best() -> None:
    optimizer = AgingEvolution(SPACE, 0, size=5, sample=3)
    for number in range(40):
        optimizer.tell(optimizer.ask(), number / 40)  # the oldest is always the best
        assert numbers(optimizer) == list(range(max(0, number - 4), number + 1))


@given(seed=st.integers(0, 10**6), size=st.integers(1, 9), sample=st.integers(1, 12))
@settings(deadline=None, max_examples=25)
def test_every_individual_lives_for_as_many_cycles_as_there_are_individuals(
    seed: int, size: int, sample: int
) -> None:
    optimizer = AgingEvolution(SPACE, seed, size=size, sample=sample)
    rng = Random(seed)
    alive: list[list[int]] = []
    for _ in range(4 * size):
        steps(optimizer, 1, lambda _: rng.random())
        alive.append(numbers(optimizer))
    assert all(sum(number in population for population in alive) == size for number in range(3 * size))


def test_a_sample_of_one_is_no_selection() -> None:
    def children(sample: int, loss: Loss) -> list[Candidate]:
        return steps(AgingEvolution(SPACE, 3, size=8, sample=sample), 100, loss)

    # What is asked for does not depend on the losses.
    assert children(1, error) == children(1, lambda c: 1 - error(c)) == children(1, lambda c: 0.5)
    assert children(2, error) != children(2, lambda c: 1 - error(c))


@pytest.mark.parametrize(("size", "sample"), [(2, 2), (5, 3), (3, 25)])
def test_the_sample_is_drawn_with_replacement(size: int, sample: int) -> None:
    optimizer = AgingEvolution(SPACE, 0, size=size, sample=sample)
    steps(optimizer, size)
    best = min(optimizer.population, key=lambda i: i.loss)
    draws = 4000
    hits = sum(optimizer.select(Random(i)) is best for i in range(draws))
    p = 1 - (1 - 1 / size) ** sample
    assert abs(hits / draws - p) < 4 * (p * (1 - p) / draws) ** 0.5 + 1e-12


def test_the_result_is_the_best_of_the_history() -> None:
    optimizer = AgingEvolution(SPACE, 0, size=4, sample=2)
    losses = [0.5, 0.4, 0.01, *([0.3] * 20)]
    history = search(optimizer, lambda c: Outcome(losses[c.number], 0.0), Budget(evaluations=23))
    assert history.best is not None
    assert history.best.candidate.number == 2
    assert 2 not in numbers(optimizer)


class RemovingTheWorst(AgingEvolution):
    """The control: the same, but the worst dies."""

    def learn(self, candidate: Candidate, loss: float) -> None:
        Evolution.learn(self, candidate, loss)
        if len(self.population) > self.size:
            self.population.remove(max(self.population, key=lambda i: i.loss))


def toy(optimizer: SearchOptimizer, seed: int, noise: float, cycles: int) -> list[tuple[float, float]]:
    """Noisy and true accuracy of the best so far: mean of the bits plus noise, within 0 and 1."""
    rng = Random(f"noise {seed}")
    best: list[tuple[float, float]] = [(-1.0, 0.0)]

    def loss(candidate: Candidate) -> float:
        true = fmean(candidate.tokens)
        seen = min(1.0, max(0.0, true + rng.gauss(0, noise)))
        best.append(max(best[-1], (seen, true), key=lambda pair: pair[0]))
        return 1 - seen

    steps(optimizer, 100 + cycles, loss)
    return best[1:]


def test_the_toy_of_a_hundred_bits() -> None:
    """P 100, S 10, 1000 cycles, noise 0.01."""
    for seed in range(2):
        best = toy(AgingEvolution(SPACE, seed, size=100, sample=10), seed, 0.01, 1000)
        rising = [best[i][0] for i in (99, 399, 699, 1099)]
        assert rising == sorted(set(rising))
        assert best[-1][1] > 0.85
        assert best[-1][1] > toy(RandomSearch(SPACE, seed), seed, 0.01, 1000)[-1][1] + 0.15


def test_under_noise_forgetting_beats_removing_the_worst() -> None:
    """With noise 0.05 those who were lucky once fill the other population."""

    def true_accuracy(kind: type[AgingEvolution]) -> float:
        return fmean(toy(kind(SPACE, s, size=100, sample=10), s, 0.05, 2500)[-1][1] for s in range(3))

    assert true_accuracy(AgingEvolution) > true_accuracy(RemovingTheWorst) + 0.05


# The pairwise tournament.


@given(seed=st.integers(0, 10**6), size=st.integers(2, 9))
@settings(deadline=None, max_examples=25)
def test_the_population_keeps_its_size_and_the_best_never_dies(seed: int, size: int) -> None:
    optimizer = PairwiseTournament(SPACE, seed, size=size)
    losses = {c.number: error(c) for c in steps(optimizer, size)}
    for _ in range(60):
        losses |= {c.number: error(c) for c in steps(optimizer, 1)}
        assert len(optimizer.population) == size
        best = min(losses.values())
        assert min(individual.loss for individual in optimizer.population) == best


def test_the_worse_of_two_dies_and_the_better_has_the_child() -> None:
    optimizer = PairwiseTournament(SPACE, 0, size=2)
    steps(optimizer, 2, lambda c: [0.3, 0.2][c.number])
    child = optimizer.ask()
    assert child.parent == 1
    assert numbers(optimizer) == [1]
    optimizer.tell(child, 0.2)  # of equals the older has the children
    assert optimizer.ask().parent == 1
    assert numbers(optimizer) == [1]


@pytest.mark.parametrize(
    "optimizer",
    [
        PairwiseTournament(SPACE, 0, size=2),
        TournamentWithoutRemoval(SPACE, 0, size=2, share=0.9),
        AgingEvolution(SPACE, 0, size=2, sample=20),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_who_failed_has_no_child_where_another_has_not(optimizer: Evolution) -> None:
    """However great the other's loss is: nobody has to know of which size losses are."""
    for loss, failed in ((1.0, True), (2.3, False)):
        optimizer.tell(optimizer.ask(), loss, failed=failed)
    assert optimizer.ask().parent == 1
    assert optimizer.failed == {0}


def test_children_at_school_hold_their_places() -> None:
    optimizer = PairwiseTournament(SPACE, 0, size=10)
    steps(optimizer, 10)
    rng = Random(0)
    at_school: list[Candidate] = []
    for _ in range(200):
        if len(at_school) < 3:
            at_school.append(optimizer.ask())
        else:
            child = at_school.pop(rng.randrange(3))
            optimizer.tell(child, error(child))
        assert len(optimizer.population) + len(at_school) == 10


# The tournament without removal.


def test_nobody_dies_and_a_share_of_all_is_drawn() -> None:
    optimizer = TournamentWithoutRemoval(SPACE, 0, size=20, share=0.05)
    for count in range(1, 121):
        steps(optimizer, 1)
        assert numbers(optimizer) == list(range(count))
    # Six of 120 without replacement: the chance that the best is among them is 1 in 20.
    best = min(optimizer.population, key=lambda i: (i.loss, i.number))
    hits = sum(optimizer.select(Random(i)) is best for i in range(4000))
    assert abs(hits / 4000 - 0.05) < 4 * (0.05 * 0.95 / 4000) ** 0.5
    # A twentieth of ten would be one, chosen at random: the better of two is.
    few = TournamentWithoutRemoval(SPACE, 0, size=10, share=0.05)
    steps(few, 10)
    ranks = {
        one.number: rank for rank, one in enumerate(sorted(few.population, key=lambda i: (i.loss, i.number)))
    }
    chosen = [ranks[few.select(Random(i)).number] for i in range(2000)]
    # The smaller of two different ranks of ten has the mean 11 / 3 - 1 and the variance 4.9.
    assert abs(fmean(chosen) - 8 / 3) < 4 * (4.9 / 2000) ** 0.5
    everyone = TournamentWithoutRemoval(SPACE, 0, size=20, share=1)
    steps(everyone, 20)
    assert everyone.select(Random(0)).loss == min(i.loss for i in everyone.population)


# All of them.


@ALL
def test_a_child_is_its_parent_with_one_thing_changed(make: Callable[[int], Evolution]) -> None:
    candidates = steps(make(1), 60)
    assert all(c.parent is None for c in candidates[:6])
    for child in candidates[6:]:
        assert child.parent is not None
        assert child.parent < child.number
        parent = candidates[child.parent]
        assert sum(a != b for a, b in zip(child.tokens, parent.tokens, strict=True)) == 1


@ALL
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_the_same_calls_lead_to_the_same_place(make: Callable[[int], Evolution], seed: int) -> None:
    """Asked and told in any order, as many workers do; a new optimizer that is told the same asks the same."""
    first, again, rng = make(seed), make(seed), Random(seed)
    running: list[Candidate] = []
    for _ in range(80):
        if len(running) < 4 and rng.random() < 0.6:
            running.append(first.ask())
            assert again.ask() == running[-1]
        elif running:
            candidate = running.pop(rng.randrange(len(running)))
            loss = error(candidate) + rng.gauss(0, 0.05)
            first.tell(candidate, loss)
            again.tell(candidate, loss)
    assert first.population == again.population
    assert first.standing() == again.standing()


@ALL
def test_children_are_due_before_anyone_has_grown_up(make: Callable[[int], Evolution]) -> None:
    optimizer = make(0)
    asked = [optimizer.ask() for _ in range(9)]
    assert len({c.tokens for c in asked}) == 9
    assert all(c.parent is None for c in asked)
    optimizer.tell(asked[7], 0.1)
    assert optimizer.ask().parent == 7


def test_standing_is_the_mean_of_the_living() -> None:
    optimizer = AgingEvolution(SPACE, 0, size=2, sample=1)
    assert optimizer.standing() == {}
    steps(optimizer, 3, lambda c: [0.9, 0.5, 0.25][c.number])
    assert optimizer.standing() == {"population": 2, "population_loss": 0.375}


def test_populations_and_samples_that_are_none_are_refused() -> None:
    with pytest.raises(FphiError, match="size is 0; it must be at least 1"):
        PairwiseTournament(SPACE, size=0)
    with pytest.raises(FphiError, match="sample is 0"):
        AgingEvolution(SPACE, sample=0)
    for share in (0.0, 1.5):
        with pytest.raises(FphiError, match=f"share is {share:g}; it must be"):
            TournamentWithoutRemoval(SPACE, share=share)


def test_the_methods_are_these_evolutions() -> None:
    for name, cls in (
        ("regularized-evolution", RegularizedEvolution),
        ("hierarchical-evolution", HierarchicalEvolution),
    ):
        assert get_method(name) is cls
    aging = RegularizedEvolution(population=7, sample=2).optimizer(SPACE, 4)
    assert (aging.size, aging.sample, aging.seed) == (7, 2, 4)
    growing: SearchMethod = HierarchicalEvolution(population=7, share=0.5)
    assert isinstance(growing.optimizer(SPACE, 0), TournamentWithoutRemoval)
