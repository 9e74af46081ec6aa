"""From examples to what answers: try the candidates, take the best, and find out how sure it may be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.few_shot.candidates import Candidate
from fphi.few_shot.choosing import Trial, best_of, held_out, try_head
from fphi.few_shot.confidence import Familiarity, familiarity
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.heads import PARTS, TOGETHER, Mixed, averaged
from fphi.few_shot.in_context import IN_CONTEXT
from fphi.few_shot.items import ExamplesError, Items
from fphi.few_shot.threads import one_thread_for
from fphi.few_shot.unknown import KnownRule, Learning, known_rule

__all__ = ["Fitted", "Standing", "fit"]


@dataclass(frozen=True)
class Standing:
    """What a candidate reached on held-out examples.

    Args:
        name: of the candidate.
        accuracy: share of right answers.
        loss: negative log-likelihood of its calibrated answers.
        answers: how many there were.
        failure: why it could not be tried; "": it could.
    """

    name: str
    accuracy: float = float("nan")
    loss: float = float("nan")
    answers: int = 0
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, in which there is no NaN."""
        numbers = {"accuracy": self.accuracy, "loss": self.loss}
        tried = {key: None if self.failure else value for key, value in numbers.items()}
        return {"name": self.name, **tried, "answers": self.answers, "failure": self.failure}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        numbers = {k: float("nan") if said[k] is None else float(said[k]) for k in ("accuracy", "loss")}
        return cls(
            str(said["name"]),
            numbers["accuracy"],
            numbers["loss"],
            int(said["answers"]),
            str(said["failure"]),
        )


@dataclass(frozen=True)
class Fitted:
    """What has learned the examples, and what is known of it.

    Args:
        candidate: that was chosen.
        features: of all examples ``[n, ...]``.
        labels: their classes ``[n]``, from 0.
        classes: how many there are.
        network: features to logits ``[n, classes]``.
        temperature: by which logits are divided.
        standings: of all candidates; empty where nothing could be held out.
        calibration: error of the calibrated probabilities on held-out examples; None likewise.
        known: how an example of no known class is told; None: there were too few classes or examples.
    """

    candidate: Candidate
    features: Tensor
    labels: NDArray[np.int64]
    classes: int
    network: nn.Module
    temperature: float
    standings: tuple[Standing, ...]
    calibration: float | None
    known: KnownRule | None

    def answers(self, items: Items) -> tuple[Tensor, NDArray[np.bool_] | None]:
        """Calibrated logits ``[m, classes]``, and whether each example is of a known class.

        None in place of that where `known` is, or tells too little.
        """
        logits, known = self.scored(items)
        rule = self.known
        return logits, None if rule is None or not rule.tells else known >= rule.threshold

    def scored(self, items: Items) -> tuple[Tensor, NDArray[np.float64]]:
        """Calibrated logits ``[m, classes]``, and how known each example looks ``[m]``, by `known`'s kind."""
        features = _encoded(self.candidate.encoder, items)
        kind: Familiarity = "probability" if self.known is None else self.known.kind
        with torch.no_grad(), one_thread_for(max(features.numel(), self.features.numel())):
            logits = self.network(features).double() / self.temperature
            return logits, familiarity(kind, logits, self.features, features, self.candidate.encoder.unit)

    def extended(
        self, items: Items, labels: NDArray[np.int64], more: NDArray[np.int64], classes: int
    ) -> "Fitted":
        """Having learned more examples, by the same learner.

        Args:
            items: these.
            labels: of the examples of before ``[n]``, numbered anew.
            more: of these.
            classes: how many there are now.
        """
        features = torch.cat([self.features, _encoded(self.candidate.encoder, items)])
        y = np.concatenate([labels, more])
        with one_thread_for(features.numel()):
            network = self.candidate.head.learn(features, y, classes, self.candidate.encoder.unit)
        return replace(self, features=features, labels=y, classes=classes, network=network)

    def alone(self) -> nn.Module:
        """The network, whose answers are divided by the temperature."""
        return nn.Sequential(self.network, Scaled(self.temperature)).eval()


class Scaled(nn.Module):
    """Logits divided by a temperature, in double precision."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        return logits.double() / self.temperature


def _encoded(encoder: Encoder, items: Items) -> Tensor:
    """The features of examples; no learner can do with others than finite ones."""
    features = encoder.encode(items)
    finite = torch.isfinite(features).flatten(1).all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise ExamplesError(
            f"the encoder {encoder.name} gives example {row} features that are not finite; mend it"
        )
    return features


def fit(
    items: Items, y: NDArray[np.int64], candidates: Sequence[Candidate], refused: float, seed: int
) -> Fitted:
    """Choose and learn.

    Args:
        items: the examples.
        y: their classes ``[n]``, from 0, each with at least one.
        candidates: that are chosen among; with one, nothing is chosen, but it is tried all the same.
        refused: see `KnownRule`.
        seed: of the splits.

    Raises:
        ExamplesError: no candidate can learn them.
    """
    encoders = {id(c.encoder): c.encoder for c in candidates}
    features = {key: _encoded(encoder, items) for key, encoder in encoders.items()}
    with one_thread_for(max(x.numel() for x in features.values())):
        return _chosen(candidates, features, y, refused, seed)


def _chosen(
    candidates: Sequence[Candidate],
    features: dict[int, Tensor],
    y: NDArray[np.int64],
    refused: float,
    seed: int,
) -> Fitted:
    """`fit`, given the features by the ``id`` of their encoder."""
    classes = int(y.max()) + 1
    splits = held_out(y, seed)
    if not splits:
        return _untried(candidates, features, y, classes)
    trials, standings = dict[str, Trial](), list[Standing]()
    for c in candidates:
        try:
            trials[c.name] = try_head(c.head, features[id(c.encoder)], y, classes, c.encoder.unit, splits)
        except FphiError as error:
            standings.append(Standing(c.name, failure=str(error)))
    if not trials:
        raise ExamplesError("; ".join(f"{s.name}: {s.failure}" for s in standings))
    mixtures = list(_mixtures(candidates, trials))
    standings += [Standing(name, t.accuracy, t.loss, len(t.labels)) for name, t in trials.items()]
    whole = [c.name for c in candidates if c.rule == IN_CONTEXT and c.name in trials]
    name = best_of(trials, [c.name for c in mixtures] + whole)
    best = next(c for c in (*candidates, *mixtures) if c.name == name)
    x, unit, trial = features[id(best.encoder)], best.encoder.unit, trials[name]
    network = best.head.learn(x, y, classes, unit)
    known = known_rule(Learning(best.head, x, y, unit, trial.temperature), splits, refused, seed)
    return Fitted(best, x, y, classes, network, trial.temperature, tuple(standings), trial.calibration, known)


def _mixtures(candidates: Sequence[Candidate], trials: dict[str, Trial]) -> Iterator[Candidate]:
    """Of each encoder on which all of ``PARTS`` were tried their mean, whose trial is entered too."""
    by_encoder: dict[int, dict[str, Candidate]] = {}
    for c in candidates:
        by_encoder.setdefault(id(c.encoder), {})[c.rule] = c
    for of in by_encoder.values():
        if set(PARTS) <= of.keys():
            parts = [trials[of[rule].name] for rule in PARTS]
            temperatures = tuple(part.temperature for part in parts)
            name = f"{TOGETHER} on {of[PARTS[0]].encoder.name}"
            logits = averaged([part.logits for part in parts], temperatures)
            trials[name] = Trial(logits, parts[0].labels, parts[0].examples)
            yield Candidate(name, TOGETHER, of[PARTS[0]].encoder, Mixed(temperatures))


def _untried(
    candidates: Sequence[Candidate], features: Mapping[int, Tensor], y: NDArray[np.int64], classes: int
) -> Fitted:
    """With a single example of each class nothing can be held out: the first that can learns them."""
    failures = []
    for c in candidates:
        x = features[id(c.encoder)]
        try:
            network = c.head.learn(x, y, classes, c.encoder.unit)
        except FphiError as error:
            failures.append(f"{c.name}: {error}")
        else:
            return Fitted(c, x, y, classes, network, c.head.usual_temperature, (), None, None)
    raise ExamplesError("; ".join(failures))
