"""None of these: how an example of no known class is told, found by holding classes out on purpose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.choosing import Held
from fphi.few_shot.confidence import Familiarity, familiarity, separation, threshold_at
from fphi.few_shot.heads import Head

__all__ = ["KnownRule", "known_rule"]

_TRIALS = 24
"""Networks that are learned for it, each without one class."""

Scores = dict[Familiarity, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class KnownRule:
    """An example that looks less known than the threshold is of no known class.

    Args:
        kind: how known it looks, see `Familiarity`.
        threshold: below which a given share of examples of known classes lies.
        auroc: how well classes that were held out are told from known ones.
        trials: networks that this was found with.
    """

    kind: Familiarity
    threshold: float
    auroc: float
    trials: int


def known_rule(
    head: Head,
    x: Tensor,
    y: NDArray[np.int64],
    unit: bool,
    splits: Sequence[Held],
    temperature: float,
    refused: float,
    seed: int,
) -> KnownRule | None:
    """The rule for these examples; None: there are fewer than three classes, or none can be held out.

    Args:
        head: the learner.
        x: features ``[n, ...]``.
        y: classes ``[n]`` from 0.
        unit: see `Centred`.
        splits: by which examples of the known classes are held out.
        temperature: of the logits.
        refused: share of examples of known classes that may fall below the threshold.
        seed: of the classes that are held out.
    """
    if int(y.max()) < 2 or not splits:
        return None
    kinds: tuple[Familiarity, ...] = ("probability", "energy", "nearness")
    kinds = kinds if x.dim() == 2 else kinds[:2]  # pictures that a learner sees for itself are no features
    scores = list(_without_a_class(head, x, y, unit, splits, temperature, seed, kinds))
    if not scores:
        return None
    aurocs = {kind: float(np.mean([separation(*score[kind]) for score in scores])) for kind in kinds}
    best = max(kinds, key=lambda kind: aurocs[kind])
    known = np.concatenate([score[best][0] for score in scores])
    return KnownRule(best, threshold_at(known, refused), aurocs[best], len(scores))


def _without_a_class(
    head: Head,
    x: Tensor,
    y: NDArray[np.int64],
    unit: bool,
    splits: Sequence[Held],
    temperature: float,
    seed: int,
    kinds: Sequence[Familiarity],
) -> Iterator[Scores]:
    """How known held-out examples look, and all examples of a class that nothing was learned of."""
    rng = np.random.default_rng(seed)
    classes = int(y.max()) + 1
    left_out = np.concatenate([rng.permutation(classes) for _ in range(-(-_TRIALS // classes))])[:_TRIALS]
    for k, label in enumerate(left_out):
        learned, asked = (rows[y[rows] != label] for rows in splits[k % len(splits)])
        if not len(asked):
            continue
        examples = x[torch.from_numpy(learned)]
        network = head.learn(examples, y[learned] - (y[learned] > label), classes - 1, unit)
        features = [x[torch.from_numpy(rows)] for rows in (asked, np.flatnonzero(y == label))]
        with torch.no_grad():
            logits = [network(part).double() / temperature for part in features]
        known, unknown = (
            {kind: familiarity(kind, answers, examples, part, unit) for kind in kinds}
            for answers, part in zip(logits, features, strict=True)
        )
        yield {kind: (known[kind], unknown[kind]) for kind in kinds}
