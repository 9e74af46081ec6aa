"""Schedules of policies: the published ones of PBA, the logs that they are read from, and other lengths."""

from itertools import pairwise

import pytest

from fphi.errors import FphiError
from fphi.learnable.augmentation import PBAPolicy, RandAugment, Schedule, TrivialAugment, published

# Golden facts of arcelien/pba.
DURATIONS = {
    "pba-cifar10": (12, 22, 20, 20, 1, 6, 3, 27, 6, 21, 6, 9, 7, 17, 6, 12, 5),
    "pba-svhn": (9, 15, 6, 8, 7, 24, 6, 25, 4, 4, 39, 6, 6, 1),
}
NAMES = pytest.mark.parametrize("name", DURATIONS)


def schedule(name: str) -> Schedule:
    found = published(name)
    assert isinstance(found, Schedule)
    return found


def vectors(of: Schedule) -> list[tuple[int, ...]]:
    return [policy.vector for _, policy in of.segments if isinstance(policy, PBAPolicy)]


def log(of: Schedule, dictionaries: bool = False) -> str:
    """The lineage in the form of the authors' code: trial i + 1 clones trial i."""
    lines, start = [], 0
    for number, ((epochs, _), (old, new)) in enumerate(zip(of.segments, pairwise(vectors(of)), strict=False)):
        start += epochs
        both = [{"hp_policy": list(v)} if dictionaries else list(v) for v in (old, new)]
        lines.append(str([str(number + 1), str(number), start - number % 3, start, *both]))
    return "\n".join(lines) + "\n"


@NAMES
def test_published_schedules_have_the_published_segments(name: str) -> None:
    found = schedule(name)
    assert tuple(epochs for epochs, _ in found.segments) == DURATIONS[name]
    assert (len(found.segments), found.epochs) == ((17, 200) if name == "pba-cifar10" else (14, 160))
    assert found.segments[0][1] == PBAPolicy.zero()
    assert len(set(vectors(found))) == len(found.segments)


def test_published_integers_are_the_published_ones() -> None:
    """Some of each, by hand from the published files: the second policy, and the last."""
    cifar, svhn = vectors(schedule("pba-cifar10")), vectors(schedule("pba-svhn"))
    assert cifar[1][:14] == (0, 3, 3, 7, 1, 9, 2, 0, 2, 0, 0, 2, 0, 0)
    assert cifar[-1][-12:] == (3, 3, 2, 3, 0, 8, 3, 3, 5, 2, 7, 6)
    assert svhn[1][:12] == (0, 0, 1, 3, 1, 3, 0, 0, 2, 0, 4, 0)
    assert svhn[-1][-12:] == (7, 3, 8, 7, 3, 9, 0, 0, 10, 7, 9, 2)


@NAMES
def test_most_integers_were_explored_by_at_most_3(name: str) -> None:
    """Each moves by 0 to 3 or, in a fifth of the cases, is drawn anew: a slip of one digit would shift all after it."""
    for old, new in pairwise(vectors(schedule(name))):
        near = sum(abs(a - b) <= 3 for a, b in zip(old, new, strict=True))
        assert near >= 45  # of 60; 54 are to be expected


@NAMES
@pytest.mark.parametrize("dictionaries", [False, True])
def test_a_log_gives_the_schedule_back(name: str, dictionaries: bool) -> None:
    found = schedule(name)
    text = log(found, dictionaries)
    assert Schedule.of_log(text, found.epochs) == found
    # Lines of branches that were given up come before the chain that leads to the best trial.
    abandoned = str(["40", "41", 3, 3, [0] * 60, [1] * 60]) + "\n"
    assert Schedule.of_log(abandoned + text, found.epochs) == found
    assert Schedule.of_log(abandoned + "\n" + abandoned.replace("40", "77") + text, found.epochs) == found


def test_a_log_that_is_broken_is_refused() -> None:
    found = schedule("pba-svhn")
    lines = log(found).splitlines()
    for wrong, message in (
        ("", "the log of PBA is empty"),
        ("[1, 2]", "line 1 is none of a log of PBA"),
        ("[" * 10_000, "line 1 is none of a log of PBA"),
        (lines[0].replace("]]", "]"), "line 1 is none"),
        (lines[0].replace("[0, 0", "[0, 11", 1), "line 1 is none of a log of PBA .number 1 of a policy"),
        (
            "\n".join([*lines[:2], lines[2].replace("0, 0, 0, 6, 5", "0, 0, 0, 6, 4")]),
            "the log of PBA is broken: the policy that 2",
        ),
        (
            "\n".join([*lines[:2], lines[2].replace("30", "3").replace(", 29", ", 3")]),
            "goes back from epoch 24 to 3",
        ),
    ):
        with pytest.raises(FphiError, match=message):
            Schedule.of_log(wrong, 160)
    with pytest.raises(FphiError, match="goes back from epoch 159 to 100; check epochs=100"):
        Schedule.of_log(log(found), 100)


@NAMES
def test_a_multiple_of_the_epochs_multiplies_every_segment(name: str) -> None:
    found = schedule(name)
    for times in (1, 9):
        longer = found.stretched(times * found.epochs)
        assert longer.segments == tuple((times * epochs, policy) for epochs, policy in found.segments)


@NAMES
@pytest.mark.parametrize("epochs", [1, 7, 30, 199, 301])
def test_other_lengths_come_as_near_as_they_can(name: str, epochs: int) -> None:
    found = schedule(name)
    other = found.stretched(epochs)
    assert other.epochs == epochs
    assert len(other.segments) <= len(found.segments)
    for epoch in range(epochs):  # which has the policy of its middle
        assert other.policy(epoch) == found.policy(int(found.epochs * (2 * epoch + 1) / (2 * epochs)))


def test_an_epoch_has_the_policy_of_its_segment_and_the_last_one_goes_on() -> None:
    first, second = RandAugment(), TrivialAugment()
    found = Schedule(((2, first), (1, second)))
    assert [found.policy(epoch) for epoch in range(5)] == [first, first, second, second, second]
    with pytest.raises(FphiError, match="epoch is -1; the first is 0"):
        found.policy(-1)
    with pytest.raises(FphiError, match="epochs is 0; it must be at least 1"):
        found.stretched(0)
    with pytest.raises(FphiError, match="a schedule has no segments"):
        Schedule(())
    with pytest.raises(FphiError, match="a segment of a schedule has 0 epochs"):
        Schedule(((0, first),))
