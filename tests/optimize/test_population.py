"""Population based training: who goes on from whom, how a choice is explored, and the lineage of the best."""

import math
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from fphi.errors import FphiError
from fphi.learnable.augmentation import PBASpace
from fphi.learnable.space import Candidate, Tokens
from fphi.optimize.population import PopulationBased, explored, lineage

SPACE = PBASpace()
MIDDLE: Tokens = tuple(5 for _ in SPACE.decisions)


def rounds(optimizer: PopulationBased, count: int, loss: dict[int, float] | None = None) -> list[Candidate]:
    """So many rounds; a candidate's loss is given, or falls with its number in the round."""
    asked = []
    for _ in range(count):
        now = [optimizer.ask() for _ in range(optimizer.size)]
        for candidate in now:
            usual = 1 - candidate.number % optimizer.size / optimizer.size
            optimizer.tell(candidate, (loss or {}).get(candidate.number, usual))
        asked += now
    return asked


def test_an_explored_number_is_drawn_anew_or_moves_up_to_three() -> None:
    """Of the numbers 0 … 10 from 5: 0.2 / 11 everywhere, and 0.8 times 1/4 for staying, 1/8 for each move."""
    draws, rng = 4000, Random(0)
    places = [i for i, decision in enumerate(SPACE.decisions) if decision.choices == 11]
    counts = Counter(
        token for _ in range(draws // 100) for token in [explored(SPACE, MIDDLE, rng)[i] for i in places]
    )
    total = sum(counts.values())
    for value in range(11):
        near = 0.8 * (0.25 if value == 5 else 0.125 if abs(value - 5) <= 3 else 0)
        chance = 0.2 / 11 + near
        deviation = (chance * (1 - chance) / total) ** 0.5
        assert abs(counts[value] / total - chance) < 4 * deviation, value


def test_what_moves_beyond_the_answers_stays_at_the_last() -> None:
    """From 0, without drawing anew: half of the moves go below, and all of these stay, as do moves of 0."""
    rng, zeros = Random(1), (0,) * len(SPACE.decisions)
    found = [token for _ in range(200) for token in explored(SPACE, zeros, rng, redraw=0)]
    assert set(found) == {0, 1, 2, 3}
    share = found.count(0) / len(found)
    assert abs(share - 0.625) < 4 * (0.625 * 0.375 / len(found)) ** 0.5
    assert all(
        0 <= t < d.choices
        for t, d in zip(explored(SPACE, tuple(d.choices - 1 for d in SPACE.decisions), rng), SPACE.decisions, strict=True)
    )  # fmt: skip


def test_the_worst_quarter_copies_the_best_and_explores_and_the_others_go_on() -> None:
    optimizer = PopulationBased(SPACE, 0, size=8)
    first = rounds(optimizer, 1)
    assert {candidate.tokens for candidate in first} == {(0,) * 60}
    second = [optimizer.ask() for _ in range(8)]
    # Losses fall with the member: 6 and 7 are the best, 0 and 1 the worst.
    assert [candidate.parent for candidate in second[2:]] == [2, 3, 4, 5, 6, 7]
    assert all(candidate.tokens == (0,) * 60 for candidate in second[2:])
    for copy in second[:2]:
        assert copy.parent in (6, 7)
        assert copy.tokens != (0,) * 60


def test_who_failed_is_the_worst_and_begins_no_lineage() -> None:
    optimizer = PopulationBased(SPACE, 0, size=4)
    first = [optimizer.ask() for _ in range(4)]
    for candidate in first:
        optimizer.tell(candidate, 1.0 if candidate.number == 3 else 2.3, failed=candidate.number == 3)
    second = [optimizer.ask() for _ in range(4)]
    assert [candidate.parent for candidate in second] == [0, 1, 2, 0]
    told = [(candidate, 2.3) for candidate in first[:3]] + [(first[3], math.inf)]
    assert lineage([*told, *((candidate, math.inf) for candidate in second)], 4) == [first[0]]


def test_no_member_is_among_the_best_and_the_worst() -> None:
    now = rounds(PopulationBased(SPACE, 0, size=3, share=0.5), 2)[3:]
    assert [candidate.parent for candidate in now] == [2, 1, 2]


def test_each_of_the_best_is_copied_as_often() -> None:
    sources = Counter(
        candidate.parent
        for seed in range(200)
        for candidate in rounds(PopulationBased(SPACE, seed, size=8), 2)[8:10]
    )
    assert set(sources) == {6, 7}
    assert abs(sources[6] - 200) < 4 * (400 * 0.25) ** 0.5


def test_a_round_begins_when_the_one_before_has_ended() -> None:
    optimizer = PopulationBased(SPACE, 0, size=3)
    first = [optimizer.ask() for _ in range(3)]
    for candidate in (first[2], first[0]):
        optimizer.tell(candidate, 0.5)
        assert not optimizer.ready
    with pytest.raises(FphiError, match="a round of candidates is being evaluated"):
        optimizer.ask()
    optimizer.tell(first[1], 0.5)
    assert optimizer.ready


def test_the_order_in_which_losses_come_does_not_matter() -> None:
    one, other = PopulationBased(SPACE, 3, size=4), PopulationBased(SPACE, 3, size=4)
    losses = dict(zip(range(12), (0.4, 0.4, 0.1, 0.3, 0.2, 0.2, 0.9, 0.1, 0.5, 0.6, 0.7, 0.8), strict=True))
    for _ in range(3):
        first, second = [one.ask() for _ in range(4)], [other.ask() for _ in range(4)]
        assert first == second
        for candidate in first:
            one.tell(candidate, losses[candidate.number])
        for candidate in second[::-1]:
            other.tell(candidate, losses[candidate.number])


def test_weights_are_kept_of_those_that_may_be_copied() -> None:
    optimizer = PopulationBased(SPACE, 0, size=4)
    rounds(optimizer, 2)
    third = [optimizer.ask() for _ in range(2)]
    optimizer.tell(third[0], 0.5)
    assert set(optimizer.parents) == {4, 5, 6, 7, 8}


def test_the_lineage_is_the_chain_of_parents_of_the_best_of_the_last_whole_round() -> None:
    optimizer = PopulationBased(SPACE, 1, size=4)
    asked = rounds(optimizer, 5)
    told = [(candidate, 1 - candidate.number % 4 / 4) for candidate in asked]
    line = lineage(told[::-1], 4)
    assert [candidate.number for candidate in line] == [3, 7, 11, 15, 19]
    worst_wins = [(c, 0.0 if c.number == 16 else loss) for c, loss in told]
    line = lineage(worst_wins, 4)
    assert line[-1].number == 16
    assert all(child.parent == parent.number for parent, child in pairwise(line))
    assert line[0].parent is None
    # Two candidates of the next round do not count yet, however good they are.
    begun = [*told, (Candidate(20, MIDDLE, 19), 0.0), (Candidate(21, MIDDLE, 19), 0.0)]
    assert lineage(begun, 4)[-1].number == 19
    # And of a round that never ended, as when the budget is less than a population, the best is all there is.
    assert lineage(told[:2], 4) == [asked[1]]


def test_what_no_population_is_is_refused() -> None:
    for wrong in ({"size": 1}, {"share": 0.6}, {"redraw": 2.0}, {"reach": -1}):
        with pytest.raises(FphiError):
            PopulationBased(SPACE, **wrong)
