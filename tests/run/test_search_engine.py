"""The engine of a search: its budget, its history, and that a history brings any search back to life."""

import json
import math
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.objective.outcome import WORST, Outcome
from fphi.optimize import AgingEvolution, RandomSearch, SearchOptimizer
from fphi.run.search.history import History
from fphi.run.search.history_table import history_rows
from fphi.run.search.loop import Budget, search
from search_engines import (
    COUNT,
    OPTIMIZERS,
    SPACE,
    Counting,
    Shuffled,
    loss_of,
    searched,
    told,
    without_times,
)

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of events, each of which would wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@every_optimizer
def test_killed_after_any_event_and_resumed_is_uninterrupted(
    make: Callable[[int], SearchOptimizer], tmp_path: Path
) -> None:
    whole, _ = searched(make, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 * COUNT
    path = tmp_path / "resumed.jsonl"
    for end in range(0, len(lines) + 1, 3):
        half = lines[end][: end % 20] if end < len(lines) else b""
        path.write_bytes(b"".join(lines[:end]) + half)
        history, evaluate = searched(make, path)
        assert without_times(path) == without_times(tmp_path / "whole.jsonl")
        assert evaluate.seen == [n for n in range(COUNT) if n not in told(lines[:end])]
        assert [r.candidate for r in history.records] == [r.candidate for r in whole.records]
        assert history.best is not None
        assert history.best.candidate == min(whole.records, key=lambda r: r.outcome.loss).candidate


@every_optimizer
def test_with_several_in_flight_nothing_is_lost_and_nothing_done_twice(
    make: Callable[[int], SearchOptimizer], tmp_path: Path
) -> None:
    searched(make, tmp_path / "whole.jsonl", Shuffled(4, 0))
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    order = [event["told"] for event in map(json.loads, lines) if "told" in event]
    assert sorted(order) == list(range(COUNT))
    assert order != sorted(order)
    path = tmp_path / "resumed.jsonl"
    for end in range(0, len(lines) + 1, 5):
        path.write_bytes(b"".join(lines[:end]))
        left = COUNT - len(told(lines[:end]))
        history, evaluate = searched(make, path, Shuffled(4, end, left))
        assert path.read_bytes().startswith(b"".join(lines[:end]))
        assert sorted(evaluate.seen) == [n for n in range(COUNT) if n not in told(lines[:end])]
        assert sorted(r.candidate.number for r in history.records) == list(range(COUNT))
        assert not history.in_flight
        # And the two together are a history as any other.
        replayed = History(path)
        replayed.replay(make(1))
        assert replayed.records == history.records
        assert replayed.seconds == pytest.approx(history.seconds)
        replayed.close()


@every_optimizer
def test_the_same_order_of_ends_is_the_same_search(
    make: Callable[[int], SearchOptimizer], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        searched(make, tmp_path / name, Shuffled(3, 5))
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")


def test_what_was_in_flight_is_evaluated_first(tmp_path: Path) -> None:
    optimizer, history = OPTIMIZERS["pairwise"](1), History(tmp_path / "h")
    history.replay(optimizer)
    for _ in range(9):
        candidate = optimizer.ask()
        history.asked(candidate)
        if candidate.number in (0, 1, 2, 4, 7):
            optimizer.tell(candidate, loss_of(candidate.tokens))
            history.told(candidate, Outcome(loss_of(candidate.tokens), 0.1), {})
    history.close()
    _, evaluate = searched(OPTIMIZERS["pairwise"], tmp_path / "h")
    assert evaluate.seen == [3, 5, 6, 8, *range(9, COUNT)]


def test_a_budget_of_evaluations_counts_failures_too() -> None:
    history, _ = searched(OPTIMIZERS["random"])
    failures = {r.candidate.number: r for r in history.records if r.outcome.failure}
    assert sorted(failures) == [6, 13]
    assert {(r.outcome.loss, r.outcome.failure) for r in failures.values()} == {
        (WORST, "RuntimeError: no luck")
    }
    assert len(history.records) == COUNT


@pytest.mark.parametrize(("seconds", "expected"), [(0.75, 3), (0.5, 2), (0.25, 1), (1e-9, 1)])
def test_a_budget_of_seconds_may_be_overshot_once(seconds: float, expected: int) -> None:
    history = search(RandomSearch(SPACE), lambda c: Outcome(0.5, 0.25), Budget(seconds=seconds))
    assert len(history.records) == expected
    assert history.seconds == 0.25 * expected


def test_of_two_budgets_the_first_to_end_counts() -> None:
    def cost(candidate: Candidate) -> Outcome:
        return Outcome(0.5, 1.0)

    assert len(search(RandomSearch(SPACE), cost, Budget(3, 10.0)).records) == 3
    assert len(search(RandomSearch(SPACE), cost, Budget(10, 3.0)).records) == 3


@pytest.mark.parametrize(
    "bounds", [(None, None), (0, None), (None, 0.0), (-1, 5.0), (5, math.nan), (None, math.nan)]
)
def test_a_search_needs_an_end(bounds: tuple[int | None, float | None]) -> None:
    with pytest.raises(FphiError, match="give at least one, above 0"):
        Budget(*bounds)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_the_worst_loss(loss: float) -> None:
    optimizer = AgingEvolution(SPACE, size=2, sample=1)
    history = search(optimizer, lambda c: Outcome(loss, 2.0, measures={"x": 1.0}), Budget(3))
    assert {r.outcome.loss for r in history.records} == {WORST}
    assert history.records[0].outcome == Outcome(WORST, 2.0, f"diverged: its loss is {loss}", {"x": 1.0})
    assert optimizer.standing()["population_loss"] == WORST


def _large(candidate: Candidate) -> Outcome:
    """Losses that are no fractions, above that of a failure; the first and every seventh candidate fail."""
    failed = candidate.number % 7 == 0
    return Outcome(WORST, 0.1, "no luck") if failed else Outcome(2.3 + candidate.number / 100, 0.1)


@every_optimizer
def test_who_failed_is_never_the_best_and_a_replay_knows_it(
    make: Callable[[int], SearchOptimizer], tmp_path: Path
) -> None:
    whole = History(tmp_path / "whole")
    search(make(1), _large, Budget(COUNT), history=whole)
    whole.close()
    assert whole.best is not None
    assert whole.best.candidate.number == 1
    failures = [record.outcome.loss for record in whole.records if record.outcome.failure]
    assert failures == pytest.approx([WORST, 2.36, 2.43])
    assert [row["best"] for row in history_rows(whole, make(1).space)] == [
        WORST,
        *[whole.best.outcome.loss] * (COUNT - 1),
    ]
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for end in (2, 15, 25):
        (tmp_path / "resumed").write_bytes(b"".join(lines[:end]))
        resumed = History(tmp_path / "resumed")
        search(make(1), _large, Budget(COUNT), history=resumed)
        resumed.close()
        assert resumed.records == whole.records


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.float64(0.5), np.array([0.5]), torch.tensor(0.5), 0.5]
)
def test_numbers_of_every_library_are_kept(number: Any, tmp_path: Path) -> None:
    evaluated = Outcome(number, number, measures={"one": number})
    with closing(History(tmp_path / "h")) as history:
        search(RandomSearch(SPACE), lambda c: evaluated, Budget(2), history=history)
    with closing(History(tmp_path / "h")) as again:
        again.replay(RandomSearch(SPACE))
        assert [record.outcome for record in again.records] == [Outcome(0.5, 0.5, measures={"one": 0.5})] * 2


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (Outcome(True, 1.0), "loss is True, no number"),
        (Outcome(torch.zeros(2), 1.0), "loss is tensor([0., 0.]), no number"),  # type: ignore[arg-type]
        (Outcome(0.5, -1.0), "seconds is -1.0, not in 0..1e+15"),
        (Outcome(0.5, math.nan), "seconds is nan, not in 0..1e+15"),
        (Outcome(0.5, 1.0, measures={"x": "text"}), "x is 'text', no number"),  # type: ignore[dict-item]
        (Outcome(0.5, 1.0, measures={"x": True}), "x is True, no number"),
        (Outcome(0.5, 1.0, None), "failure is None, no text"),  # type: ignore[arg-type]
        (0.5, "0.5 is none"),
    ],
)
def test_an_outcome_that_a_history_cannot_hold_is_a_failure(given: Any, wrong: str, tmp_path: Path) -> None:
    with closing(History(tmp_path / "h")) as history:
        search(RandomSearch(SPACE), lambda c: given, Budget(2), history=history)
    with closing(History(tmp_path / "h")) as again:
        again.replay(RandomSearch(SPACE))
        outcomes = [record.outcome for record in again.records]
    said = f"the evaluation gave no outcome: {wrong}"
    assert [(o.loss, o.failure, o.measures) for o in outcomes] == [(WORST, said, {})] * 2


def test_figures_of_an_optimizer_are_numbers() -> None:
    class Telling(RandomSearch):
        def standing(self) -> dict[str, float]:
            return {"mean": np.float32(0.5) if self.asked == 1 else "half"}  # type: ignore[dict-item]

    history = History()
    with pytest.raises(
        FphiError, match=r"standing\(\) of Telling gives no numbers: mean is 'half', no number"
    ):
        search(Telling(SPACE), lambda c: Outcome(0.5, 1.0), Budget(2), history=history)
    assert [type(record.standing["mean"]) for record in history.records] == [float]


def test_the_best_is_the_first_of_equals_and_progress_hears_of_each() -> None:
    losses = [0.5, 0.3, 0.3, 0.4]
    heard: list[float] = []

    def listen(history: History) -> None:
        assert history.best is not None
        heard.append(history.best.outcome.loss)

    history = search(
        RandomSearch(SPACE), lambda c: Outcome(losses[c.number], 1.0), Budget(4), progress=listen
    )
    assert history.best is history.records[1]
    assert heard == [0.5, 0.3, 0.3, 0.3]


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_search_goes_on_with_a_larger_budget(tmp_path: Path, on_disk: bool) -> None:
    """With the optimizer that it had, or with a new one."""
    make, evaluate, history = OPTIMIZERS["ppo"], Counting(), History(tmp_path / "h" if on_disk else None)
    optimizer = make(1)
    search(optimizer, evaluate, Budget(7), history=history)
    search(optimizer, evaluate, Budget(11), history=history)
    search(make(1), evaluate, Budget(COUNT), history=history)
    assert evaluate.seen == list(range(COUNT))
    whole, _ = searched(make)
    assert [(r.candidate, r.standing) for r in history.records] == [
        (r.candidate, r.standing) for r in whole.records
    ]
    with pytest.raises(FphiError, match="was asked for 11 candidates, the history holds 18; give a new"):
        search(optimizer, evaluate, Budget(COUNT), history=history)
    history.close()
