"""How much an experiment computes: the options that all of them have."""

from dataclasses import dataclass

from fphi.ranges import count, number

__all__ = ["Scale"]


@dataclass(frozen=True)
class Scale:
    """How much is computed, and from which random numbers.

    Args:
        steps: meta-steps of every training; null: those that the experiment has, minutes in most.
        meta_batch: tasks of a meta-step; null: those that the method has.
        seeds: trainings of each kind, whose numbers are averaged; null: as many as the experiment has.
        seed: of the first training of each kind; the next has one more.
        test_tasks: of every test; null: as many as the experiment has.
    """

    steps: int | None = count(None, 1_000_000_000)
    meta_batch: int | None = count(None)
    seeds: int | None = count(None, 1000)
    seed: int = number(0, 0, 2**62)
    test_tasks: int | None = count(None)
