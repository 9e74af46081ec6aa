"""None of these: how an example of no known class is told, found by holding classes out on purpose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.choosing import Held
from fphi.few_shot.confidence import Familiarity, familiarity
from fphi.few_shot.heads import Head
from fphi.run.meta.confidence import separation, threshold_at

__all__ = ["KnownRule", "Learning", "known_rule"]

_TRIALS = 24
"""Networks that are learned for it, each without one class."""
_LEAST = 0.6
"""AUROC below which the rule is as good as none: 0.5 is chance."""


@dataclass(frozen=True)
class KnownRule:
    """An example that looks less known than the threshold is of no known class.

    Args:
        kind: how known it looks, see `Familiarity`.
        threshold: below which a given share of held-out examples of known classes lies.
        auroc: how well classes that were held out are told from known ones.
        trials: networks that this was found with.
    """

    kind: Familiarity
    threshold: float
    auroc: float
    trials: int

    @property
    def tells(self) -> bool:
        """Whether it tells enough to be used."""
        return self.auroc >= _LEAST


@dataclass(frozen=True)
class Learning:
    """A learner with what it learns from.

    Args:
        head: the learner.
        x: features ``[n, ...]``.
        y: classes ``[n]`` from 0.
        unit: see `Centred`.
        temperature: by which its logits are divided.
    """

    head: Head
    x: Tensor
    y: NDArray[np.int64]
    unit: bool
    temperature: float

    def scores(
        self,
        learned: NDArray[np.int64],
        asked: Sequence[NDArray[np.int64]],
        kinds: Sequence[Familiarity],
        without: int | None = None,
    ) -> list[dict[Familiarity, NDArray[np.float64]]]:
        """How known examples look after learning from others.

        Args:
            learned: rows of these.
            asked: rows of examples, several lists of them.
            kinds: of familiarity.
            without: a class that no row that is learned from has.
        """
        y, classes = self.y[learned], int(self.y.max()) + 1
        if without is not None:
            y, classes = y - (y > without), classes - 1
        examples = self.x[torch.from_numpy(learned)]
        network = self.head.learn(examples, y, classes, self.unit)
        told = []
        for rows in asked:
            part = self.x[torch.from_numpy(rows)]
            with torch.no_grad():
                logits = network(part).double() / self.temperature
            told.append({kind: familiarity(kind, logits, examples, part, self.unit) for kind in kinds})
        return told


def known_rule(learning: Learning, splits: Sequence[Held], refused: float, seed: int) -> KnownRule | None:
    """The rule for these examples; None: there are fewer than three classes, or none can be held out.

    Args:
        learning: what has learned, from what.
        splits: by which examples of the known classes are held out.
        refused: share of examples of known classes that may fall below the threshold.
        seed: of the classes that are held out.
    """
    classes = int(learning.y.max()) + 1
    if classes < 3 or not splits:
        return None
    kinds: tuple[Familiarity, ...] = ("probability", "energy", "nearness")
    kinds = (
        kinds if learning.x.dim() == 2 else kinds[:2]
    )  # pictures that a learner sees itself are no features
    aurocs = list(_without_a_class(learning, splits, seed, kinds))
    if not aurocs:
        return None
    means = {kind: float(np.mean([auroc[kind] for auroc in aurocs])) for kind in kinds}
    best = max(kinds, key=lambda kind: means[kind])
    # With all classes: a network of fewer is surer of its answers.
    known = [learning.scores(learned, [asked], [best])[0][best] for learned, asked in splits[:_TRIALS]]
    return KnownRule(best, threshold_at(np.concatenate(known), refused), means[best], len(aurocs))


def _without_a_class(
    learning: Learning, splits: Sequence[Held], seed: int, kinds: Sequence[Familiarity]
) -> Iterator[dict[Familiarity, float]]:
    """How well held-out examples are told from those of a class that nothing was learned of."""
    rng = np.random.default_rng(seed)
    y, classes = learning.y, int(learning.y.max()) + 1
    left_out = np.concatenate([rng.permutation(classes) for _ in range(-(-_TRIALS // classes))])[:_TRIALS]
    for k, label in enumerate(left_out):
        learned, asked = (rows[y[rows] != label] for rows in splits[k % len(splits)])
        if len(asked):
            known, unknown = learning.scores(learned, [asked, np.flatnonzero(y == label)], kinds, label)
            yield {kind: separation(known[kind], unknown[kind]) for kind in kinds}
