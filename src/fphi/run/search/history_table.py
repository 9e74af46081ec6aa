"""A search's history as a table: one row for each evaluated candidate."""

import csv
import io
import math
from collections.abc import Mapping, Sequence

from fphi.learnable.space import Space
from fphi.run.search.history import History

__all__ = ["HistoryRow", "history_rows", "to_csv"]

HistoryRow = dict[str, float | str | None]


def history_rows(history: History, space: Space) -> list[HistoryRow]:
    """The results in the order in which they came.

    ``loss`` is the error on validation data, ``best`` the lowest so far of those that did not fail; then
    follow the measures of the candidate and the figures of the optimizer just after it was told.
    """
    rows: list[HistoryRow] = []
    best = math.inf
    for record in history.records:
        candidate, outcome = record.candidate, record.outcome
        best = best if outcome.failure else min(best, outcome.loss)
        rows.append(
            {
                "number": candidate.number,
                "loss": outcome.loss,
                "best": best if math.isfinite(best) else outcome.loss,
                "seconds": outcome.seconds,
                "failure": outcome.failure,
                "parent": candidate.parent,
                "text": space.text(candidate.tokens),
                **outcome.measures,
                **record.standing,
            }
        )
    return rows


def to_csv(rows: Sequence[Mapping[str, float | str | None]]) -> str:
    r"""Rows as CSV; the columns are those of any row, in the order in which they first come.

    >>> to_csv([{"number": 0, "failure": "x"}, {"number": 1, "accuracy": 0.5}])
    'number,failure,accuracy\n0,x,\n1,,0.5\n'
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
