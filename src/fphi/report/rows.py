"""Tests of runs as lines of tables, beside what the literature prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fphi.report.files import IntervalRecord, TestRecord
from fphi.report.published import Published, Statistics, published
from fphi.report.tables import Table, percent, points
from fphi.run.meta.evaluation import Interval

__all__ = ["ResultRow", "methods_table", "sources", "task_size"]


@dataclass(frozen=True)
class ResultRow:
    """One test of a run: what was measured, and under which protocol.

    An accuracy is None where it was not measured, or where there is no such thing; regression has a
    ``loss`` instead.

    Attributes:
        method: its name.
        protocol: that the tasks are of.
        ways: classes of a task; None in regression.
        shots: support examples of each class.
        tasks: how many were tested on.
        transductive: accuracy where the queries of a task share batch statistics.
        inductive: accuracy where each query is answered on its own.
        loss: mean query loss of regression.
        seed: of the test tasks.
        run: the run's name, where several are listed.
        measures: what the learner tells besides, fractions.
        start: what the training began with, if not at random: a method, or the name of a run.
        frozen: what the training kept of it.
        split: what was tested on.
        images: how they differ from the protocol's.
        turns: how many turns of a task the answers average.
        test_steps: inner steps before the answer, if not the run's own.
        differs: what keeps the number from being comparable with a published one.
    """

    method: str
    protocol: str
    ways: int | None
    shots: int
    tasks: int
    transductive: Interval | None = None
    inductive: Interval | None = None
    loss: Interval | None = None
    seed: int | None = None
    run: str = ""
    measures: Mapping[str, Interval] = field(default_factory=dict)
    start: str = ""
    frozen: str = ""
    split: str = "test"
    images: str = ""
    turns: int = 1
    test_steps: int | None = None
    differs: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: TestRecord, run: str = "") -> ResultRow:
        """The row of one test."""
        accuracy = record.get("accuracy", {})
        start = record.get("start")
        measures = {name: _interval(value) for name, value in record.get("measures", {}).items()}
        return cls(
            method=record["method"],
            protocol=record["protocol"],
            ways=record["ways"],
            shots=record["shots"],
            tasks=record["tasks"],
            transductive=_interval(accuracy.get("transductive")),
            inductive=_interval(accuracy.get("inductive")),
            loss=None if accuracy else _interval(record.get("loss")),
            seed=record["seed"],
            run=run,
            measures={name: value for name, value in measures.items() if value is not None},
            start=str(start.get("method") or start.get("run")) if start else "",
            frozen=(start.get("frozen") or "") if start else "",
            split=record.get("split", "test"),
            images=record.get("images", ""),
            turns=record.get("turns", 1),
            test_steps=record.get("test_steps"),
            differs=tuple(record.get("differs", ())),
        )

    @property
    def published(self) -> tuple[Published, ...]:
        """What the literature prints for this method, protocol, size of task and split."""
        return published(self.method, self.protocol, self.ways, self.shots, self.split)

    @property
    def way_of_training(self) -> str:
        """What distinguishes it from the method's other trainings and ways to answer; "" if nothing does."""
        parts = (
            f"from {self.start}" if self.start else "",
            f"{self.frozen} frozen" if self.frozen else "",
            f"over {self.turns} turns" if self.turns > 1 else "",
            "" if self.test_steps is None else f"inner steps: {self.test_steps}",
        )
        return ", ".join(part for part in parts if part)

    @property
    def kind_of_tasks(self) -> str:
        """The protocol with all that distinguishes these tasks from its usual test tasks."""
        split = "" if self.split == "test" else self.split
        return ", ".join(part for part in (self.protocol, split, self.images) if part)

    def measured(self, statistics: Statistics) -> Interval | None:
        """The accuracy that is comparable with a published one of these statistics; None if there is none."""
        return self.transductive if statistics == "transductive" else self.inductive

    def gap(self, entry: Published) -> float | None:
        """Measured minus published accuracy, a fraction; None if the two cannot be compared."""
        value = self.measures.get(entry.measure) if entry.measure else self.measured(entry.statistics)
        if value is None or entry.differs or self.differs or self.turns > 1:
            return None
        return value.mean - entry.value / 100


def _interval(record: IntervalRecord | None) -> Interval | None:
    if record is None:
        return None
    mean, ci95 = record["mean"], record["ci95"]
    return Interval(math.nan if mean is None else mean, math.inf if ci95 is None else ci95)


_HEADER = ("Method", "Tasks", "Transductive", "Inductive", "Loss", "Published", "Besides", "Differs")


def methods_table(rows: Iterable[ResultRow]) -> Table:
    """One line per row, accuracies in per cent ± 95 % interval, beside the published number.

    The gap behind a published number is measured minus published in per cent points, transductive against
    transductive and inductive against inductive; there is none where the two cannot be compared.
    Regression shows its loss. Columns with nothing in them are left out.
    """
    return Table(_HEADER, tuple(_cells(row) for row in rows)).without_empty_columns()


def sources(rows: Iterable[ResultRow]) -> list[str]:
    """Where the published numbers beside ``rows`` come from: one line each, none twice."""
    entries = (entry for row in rows for entry in row.published)
    return list(dict.fromkeys(_source(entry) for entry in entries))


def _source(entry: Published) -> str:
    what = ", ".join(
        part
        for part in (
            entry.method,
            entry.protocol,
            "" if entry.split == "test" else entry.split,
            entry.measure.split()[0] if entry.measure else entry.statistics,
        )
        if part
    )
    return f"{what}: {'; '.join(part for part in (entry.source, entry.differs, entry.note) if part)}."


def _cells(row: ResultRow) -> tuple[str, ...]:
    accuracies = [entry for entry in row.published if not entry.measure]
    seed = "" if row.seed is None else f", seed {row.seed}"
    return (
        "\n".join(part for part in (row.method, row.way_of_training, row.run) if part),
        f"{row.kind_of_tasks}\n{task_size(row.ways, row.shots)}\n{row.tasks} tasks{seed}",
        _accuracy(row.transductive),
        _accuracy(row.inductive),
        "" if row.loss is None else _loss(row.loss),
        "\n".join(_beside(row, entry, named=len(accuracies) > 1) for entry in accuracies),
        "\n".join(_besides(row)),
        "\n".join(row.differs),
    )


def task_size(ways: int | None, shots: int) -> str:
    """The size of a task in words; without ways it is regression.

    >>> task_size(5, 1), task_size(None, 10)
    ('5-way 1-shot', '10-shot')
    """
    return f"{shots}-shot" if ways is None else f"{ways}-way {shots}-shot"


def _loss(loss: Interval) -> str:
    parts = [part for part in (loss.mean, loss.ci95) if not math.isinf(part)] or [loss.mean]
    return " ± ".join(f"{part:.4f}" if abs(part) < 1e5 else f"{part:.3e}" for part in parts)


def _accuracy(accuracy: Interval | None) -> str:
    return "" if accuracy is None else percent(accuracy.mean, accuracy.ci95)


def _besides(row: ResultRow) -> list[str]:
    """What the learner tells besides its accuracy, each with its published number."""
    printed = {entry.measure: entry for entry in row.published if entry.measure}
    return [
        f"{name} {_accuracy(value)}"
        + (f", published {_beside(row, printed[name])}" if name in printed else "")
        for name, value in row.measures.items()
    ]


def _beside(row: ResultRow, entry: Published, named: bool = False) -> str:
    """A published number, whose statistics are said where they are not clear, and the gap if there is one."""
    own = entry.measure or row.measured(entry.statistics)
    text = entry.text.replace("±", " ± ")
    text += f" {entry.statistics}" if named or not own else ""
    gap = row.gap(entry)
    return f"{text} ({points(gap)})" if gap is not None else text
