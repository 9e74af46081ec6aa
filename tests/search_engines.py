"""What the tests of the engine of searches share: optimizers, evaluations without a clock, ends out of order."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

import torch

from fphi.learnable.architecture import GraphSpace, NASBench201Space
from fphi.learnable.policy import IndependentPolicy
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.outcome import Outcome
from fphi.optimize import (
    AgingEvolution,
    PairwiseTournament,
    PolicyGradient,
    PolicyUpdate,
    RandomSearch,
    SearchOptimizer,
    TournamentWithoutRemoval,
)
from fphi.run.search.executors import Executor
from fphi.run.search.history import History
from fphi.run.search.loop import Budget, search

A = TypeVar("A")
R = TypeVar("R")
SPACE, GRAPHS = NASBench201Space(), GraphSpace(vertices=4, most_channels=8)
COUNT = 18


def policy_gradient(seed: int, update: PolicyUpdate) -> PolicyGradient:
    policy = IndependentPolicy(SPACE, seed)
    return PolicyGradient(policy, torch.optim.Adam(policy.parameters(), lr=0.1), seed, update=update)


# All of them are brought back by their calls alone.
OPTIMIZERS: dict[str, Callable[[int], SearchOptimizer]] = {
    "random": lambda seed: RandomSearch(SPACE, seed),
    "aging": lambda seed: AgingEvolution(SPACE, seed, size=5, sample=2),
    "pairwise": lambda seed: PairwiseTournament(SPACE, seed, size=5),
    "pairwise graphs": lambda seed: PairwiseTournament(GRAPHS, seed, size=3),
    "without removal": lambda seed: TournamentWithoutRemoval(SPACE, seed, size=5, share=0.4),
    "reinforce": lambda seed: policy_gradient(seed, PolicyUpdate("reinforce", batch=3)),
    "ppo": lambda seed: policy_gradient(seed, PolicyUpdate("ppo", batch=4, epochs=3)),
}


def loss_of(tokens: Tokens) -> float:
    return Random(f"loss of {tokens}").random()


@dataclass
class Counting:
    """Evaluates without a clock, and knows what it was asked; every seventh candidate fails."""

    seen: list[int] = field(default_factory=list)

    def __call__(self, candidate: Candidate) -> Outcome:
        self.seen.append(candidate.number)
        if candidate.number % 7 == 6:
            raise RuntimeError("no luck")
        return Outcome(loss_of(candidate.tokens), 0.1, measures={"size": float(len(candidate.tokens))})


class Shuffled:
    """Ends calls in an order of its own: one at random when all slots are taken, and one at each `end_one`.

    After ``calls`` of them no more will come, which the slots could wait for.
    """

    def __init__(self, slots: int, seed: int, calls: int = COUNT) -> None:
        self.slots, self.left = slots, calls
        self.random = Random(seed)
        self.pending: list[Callable[[], None]] = []

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        future: Future[R] = Future()

        def end() -> None:
            try:
                future.set_result(call(argument))
            except RuntimeError as error:
                future.set_exception(error)

        self.pending.append(end)
        self.left -= 1
        if len(self.pending) == self.slots or not self.left:
            self.end_one()
        return future

    def end_one(self, history: History | None = None) -> None:
        if self.pending:
            self.pending.pop(self.random.randrange(len(self.pending)))()

    def close(self) -> None:
        self.pending.clear()


def searched(
    make: Callable[[int], SearchOptimizer], path: Path | None = None, shuffled: Shuffled | None = None
) -> tuple[History, Counting]:
    """A search of `COUNT` evaluations, or what is left of it."""
    evaluate, history = Counting(), History(path)
    executor: Executor | None = shuffled
    progress = shuffled.end_one if shuffled else None
    search(make(1), evaluate, Budget(COUNT), history=history, executor=executor, progress=progress)
    history.close()
    return history, evaluate


def without_times(path: Path) -> list[dict[str, object]]:
    """What the file says, but for the seconds that failures took."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line | {"seconds": 0} if line.get("failure") else line for line in lines]


def told(lines: list[bytes]) -> set[int]:
    return {event["told"] for event in map(json.loads, lines) if "told" in event}
