"""Omniglot accuracies that the literature prints, to stand beside what was measured here.

Each is of the protocol that it was taken under, and of no other: protocols move accuracies by more than
most methods do.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

__all__ = ["Published", "Statistics", "published"]

# Whether a query's answer may depend on the other queries.
Statistics = Literal["transductive", "inductive"]


@dataclass(frozen=True)
class Published:
    """One printed accuracy in per cent.

    Attributes:
        method: as in `fphi.methods`.
        protocol: that it was taken under.
        ways, shots: of its tasks.
        statistics: whether a query's answer may depend on the other queries.
        text: the digits as printed, e.g. ``98.7±0.4``.
        source: where it is printed.
        note: what independent reruns found, and the like.
        split: the split of the protocol that it is of.
        measure: what it measures, if not the accuracy of classification.
        differs: why nothing measured here can be subtracted from it; "" if something can.
    """

    method: str
    protocol: str
    ways: int
    shots: int
    statistics: Statistics
    text: str
    source: str
    note: str = ""
    split: str = "test"
    measure: str = ""
    differs: str = ""

    @property
    def value(self) -> float:
        """The accuracy in per cent, without its interval."""
        return float(self.text.split("±")[0])

    @property
    def interval(self) -> float | None:
        """The half width printed behind ±, in per cent points."""
        parts = self.text.split("±")
        return float(parts[1]) if len(parts) == 2 else None


def _line(key: str, accuracies: str, source: str, note: str = "", differs: str = "") -> list[Published]:
    """One line of a published table: accuracies at 5w1s, 5w5s, 20w1s, 20w5s; ``-`` where none."""
    method, protocol, statistics = key.split()
    sizes = ((5, 1), (5, 5), (20, 1), (20, 5))
    return [
        Published(method, protocol, ways, shots, _STATISTICS[statistics], text, source, note, differs=differs)
        for (ways, shots), text in zip(sizes, accuracies.split(), strict=True)
        if text != "-"
    ]


def _by_instance(method: str, accuracies: str) -> list[Published]:
    """Accuracies at the first to fifth and at the tenth instance of a class."""
    one = Published(method, "P-MANN", 5, 9, "inductive", "", _SANTORO)
    numbers = (1, 2, 3, 4, 5, 10)
    pairs = zip(numbers, accuracies.split(), strict=True)
    return [replace(one, text=text, measure=f"instance {number}") for number, text in pairs]


_STATISTICS: dict[str, Statistics] = {s: s for s in get_args(Statistics)}
_REPTILE = "Nichol, Achiam, Schulman 2018, arXiv 1803.02999"
_MATCHING = "Vinyals et al., NIPS 2016, arXiv 1606.04080"
_KOCH = "Koch, Zemel, Salakhutdinov 2015"
_SANTORO = "Santoro et al., ICML 2016, arXiv 1605.06065"

_LINES = (
    _line(
        "maml P-MAML transductive",
        "98.7±0.4 99.9±0.1 95.8±0.3 98.9±0.2",
        "Finn, Abbeel, Levine, ICML 2017, arXiv 1703.03400",
        "independent reruns: 98.1 to 99.1 (5-way 1-shot), 91.0 to 92.8 (20-way 1-shot)",
    ),
    _line(
        "fomaml P-MAML transductive",
        "98.3±0.5 99.2±0.2 89.4±0.5 97.9±0.1",
        _REPTILE,
        "independent reruns: 95.5 to 97.1 (5-way 1-shot), 92.2 (20-way 1-shot)",
    ),
    _line("reptile P-REP transductive", "97.68±0.04 99.48±0.06 89.43±0.14 97.12±0.32", _REPTILE),
    _line(
        "reptile P-REP inductive",
        "95.39±0.09 98.90±0.10 88.14±0.15 96.65±0.33",
        _REPTILE,
        "independent rerun: 95.5 / 98.9 / 88.1 / 96.6",
    ),
    _line(
        "anil P-MAML transductive",
        "- - 96.2±0.5 98.0±0.3",
        "Raghu, Raghu, Bengio, Vinyals, ICLR 2020, arXiv 1909.09157",
        "its own MAML has 93.7±0.7 / 96.4±0.1",
        differs="the protocol is not stated, and taken to be MAML's",
    ),
    _line(
        "meta-sgd P-MAML transductive",
        "99.53±0.26 99.93±0.09 95.9 99.0",
        "Li, Zhou, Chen, Li 2017, arXiv 1707.09835",
        differs="the protocol is only approximately MAML's",
    ),
    _line(
        "prototypical P-PROTO inductive",
        "98.8 99.7 96.0 98.9",
        "Snell, Swersky, Zemel, NIPS 2017, arXiv 1703.05175",
        "independent reruns: 98.2 to 98.5 / 99.4 to 99.6 / 95.1 to 95.8 / 98.6",
    ),
    _line(
        "matching P-VIN inductive",
        "98.1 98.9 93.8 98.5",
        _MATCHING,
        "independent rerun: cosine 92.0 / 93.2 / 75.6 / 77.8, squared Euclidean 98.3 / 99.8 / 92.8 / 97.8",
    ),
    _line("siamese P-VIN inductive", "96.7 98.4 88.0 96.5", _MATCHING, "the matching paper's own"),
    _line(
        "relation P-RN transductive",
        "99.6±0.2 99.8±0.1 97.6±0.2 99.1±0.1",
        "Sung et al., CVPR 2018, arXiv 1711.06025",
        "independent rerun: 98.02±0.09 / 99.25±0.05 (5 ways)",
        differs="the parameters were chosen on test tasks",
    ),
    _line(
        "snail P-VIN inductive",
        "99.07±0.16 99.78±0.09 97.64±0.30 99.36±0.18",
        "Mishra et al., ICLR 2018, arXiv 1707.03141",
    ),
    [
        Published("siamese", "P-KOCH", 20, 1, "inductive", "92.0", _KOCH, "people: 95.5", split="trials"),
        Published("siamese", "P-KOCH", 20, 1, "inductive", "93.42", _KOCH, measure="verification"),
    ],
    _by_instance("mann", "36.4 82.8 91.0 92.6 94.9 98.1"),
    _by_instance("lstm", "24.4 49.5 55.3 61.0 63.6 62.5"),
)


_ALL = tuple(entry for line in _LINES for entry in line)


def published(
    method: str, protocol: str, ways: int | None, shots: int, split: str = "test"
) -> tuple[Published, ...]:
    """What was printed for exactly this method, protocol, size of task and split; empty if nothing was.

    Names match whatever their case, and ``_`` matches ``-``.

    >>> [(p.text, p.statistics) for p in published("reptile", "P-REP", 5, 1)]
    [('97.68±0.04', 'transductive'), ('95.39±0.09', 'inductive')]
    >>> published("maml", "P-PROTO", 5, 1)
    ()
    """
    key = (_plain(method), _plain(protocol), ways, shots, split)
    return tuple(p for p in _ALL if (_plain(p.method), _plain(p.protocol), p.ways, p.shots, p.split) == key)


def _plain(name: str) -> str:
    return re.sub("_", "-", name).lower()
