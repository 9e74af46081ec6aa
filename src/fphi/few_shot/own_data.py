"""From a user's files to a fitted classifier, and from it to answers: the commands fit and predict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fphi.errors import FphiError
from fphi.few_shot.classifier import FewShotClassifier
from fphi.few_shot.encoders.columns import Columns
from fphi.few_shot.reading import Data, Source, read_data, read_questions
from fphi.report.tables import Table, percent
from fphi.run.meta.confidence import calibration_error

__all__ = ["FittedData", "Prediction", "fit_data", "predict_files", "predictions_table"]


@dataclass(frozen=True)
class FittedData:
    """A classifier for a user's data.

    Args:
        model: it.
        notes: what a user should know of the data.
        tested: its accuracy on the data's own test examples, and how many these are; None: there are none.
        calibration: the error of its probabilities on these.
    """

    model: FewShotClassifier
    notes: tuple[str, ...]
    tested: tuple[float, int] | None = None
    calibration: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: what was decided, and by which validation."""
        fitted = self.model.fitted_
        known = fitted.known
        tested = self.tested
        return {
            "learner": fitted.candidate.name,
            "examples": len(fitted.labels),
            "classes": [str(label) for label in self.model.classes_],
            "decision": self.model.decision_,
            "candidates": [standing.to_json() for standing in fitted.standings],
            "calibration_error": fitted.calibration,
            "unknown_auroc": None if known is None else known.auroc,
            "test": None
            if tested is None
            else {"accuracy": tested[0], "examples": tested[1], "calibration_error": self.calibration},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Prediction:
    """An answer.

    Args:
        name: of the file, or file and row.
        label: the most probable class.
        probability: of it.
        next: the two next classes, with their probabilities.
        known: whether the example is of one of the classes; None: the model has no rule for this.
    """

    name: str
    label: str
    probability: float
    next: tuple[tuple[str, float], ...]
    known: bool | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        following = [{"class": label, "probability": p} for label, p in self.next]
        own = {"class": self.label, "probability": self.probability}
        return {"example": self.name, **own, "next": following, "none_of_these": _inverse(self.known)}


def _inverse(known: bool | None) -> bool | None:
    return None if known is None else not known


def fit_data(
    path: Path | str, *, label: str | None = None, text: str | None = None, **options: Any
) -> FittedData:
    """Read data, and fit a `FewShotClassifier` to them.

    Args:
        path: see `read_data`.
        label: see `read_data`.
        text: see `read_data`.
        options: of `FewShotClassifier`.

    Raises:
        FphiError: the data or an option do not fit.
    """
    data = read_data(Path(path), label, text)
    model = FewShotClassifier(**options).fit(data.items, data.labels)
    model.source_ = data.source
    notes = (*data.notes, *model.fitted_.candidate.encoder.notes)
    if data.tested is None:
        return FittedData(model, notes)
    return _tested(model, data, notes)


def _tested(model: FewShotClassifier, data: Data, notes: tuple[str, ...]) -> FittedData:
    """On test examples of classes that were learned."""
    assert data.tested is not None
    items, labels = data.tested
    there = np.flatnonzero(np.isin(labels, model.classes_))
    if not len(there):
        return FittedData(model, (*notes, "the data's test examples are all of other classes"))
    if left := len(labels) - len(there):
        strange = sorted(set(labels) - set(model.classes_.tolist()))
        notes += (
            f"{left} of {len(labels)} test examples are left out, since their classes were not learned: "
            f"{', '.join(map(repr, strange[:10]))}",
        )
    probabilities = model.predict_proba(items.taken(there))
    right = np.searchsorted(model.classes_, np.array(labels)[there])
    accuracy = float((probabilities.argmax(1) == right).mean())
    return FittedData(model, notes, (accuracy, len(there)), calibration_error(probabilities, right))


def predict_files(model: FewShotClassifier, files: Sequence[str | Path]) -> list[Prediction]:
    """The answers to all examples in files.

    Args:
        model: fitted to files of this kind.
        files: see `read_questions`.

    Raises:
        FphiError: a file cannot be read, or is of another kind.
    """
    if not files:
        raise FphiError("there is no file to answer; name at least one")
    items, names = read_questions([str(file) for file in files], model.kind_, _source(model))
    logits, known = model.answers(items)
    probabilities = logits.softmax(1)
    sure, order = probabilities.topk(min(3, probabilities.shape[1]), dim=1)
    return [
        Prediction(
            name,
            str(model.classes_[places[0]]),
            values[0],
            tuple((str(model.classes_[k]), p) for k, p in zip(places[1:], values[1:], strict=True)),
            None if known is None else bool(known[i]),
        )
        for i, (name, places, values) in enumerate(zip(names, order.tolist(), sure.tolist(), strict=True))
    ]


def _source(model: FewShotClassifier) -> Source:
    """How the model's table was read, with what its encoder knows of the columns."""
    encoder = model.fitted_.candidate.encoder
    numbers = encoder.numbers if isinstance(encoder, Columns) else None
    return replace(model.source_, width=getattr(model, "n_features_in_", None), numbers=numbers)


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """A line for each answer; where it is none of the classes it says so, with the class that is nearest."""
    lines = tuple(
        (
            p.name,
            p.label if p.known is not False else f"none of these (nearest: {p.label})",
            percent(p.probability),
            ", ".join(f"{label} {percent(share)}" for label, share in p.next),
        )
        for p in predictions
    )
    return Table(("Example", "Class", "Probability, %", "Next"), lines)
