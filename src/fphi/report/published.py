"""Omniglot accuracies that the literature prints, to stand beside what was measured here."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["Published", "Setting", "published"]

Setting = Literal["transductive", "inductive", "unstated"]


@dataclass(frozen=True)
class Published:
    """One printed accuracy in per cent; ``text`` keeps the digits as printed, e.g. ``98.7±0.4``.

    ``verified`` is False for a number that nobody checked against the paper or its code.
    """

    method: str
    protocol: str
    ways: int
    shots: int
    setting: Setting
    text: str
    source: str
    note: str = ""
    verified: bool = True

    @property
    def value(self) -> float:
        """The accuracy in per cent, without its interval."""
        return float(self.text.split("±")[0])

    @property
    def interval(self) -> float | None:
        """The half width printed behind ±, in per cent points."""
        parts = self.text.split("±")
        return float(parts[1]) if len(parts) == 2 else None


def _line(key: str, accuracies: str, source: str, note: str = "", verified: bool = True) -> list[Published]:
    """One line of a published table: accuracies at 5w1s, 5w5s, 20w1s, 20w5s; ``-`` where none."""
    method, protocol, setting = key.split()
    sizes = ((5, 1), (5, 5), (20, 1), (20, 5))
    return [
        Published(method, protocol, ways, shots, _SETTINGS[setting], text, source, note, verified)
        for (ways, shots), text in zip(sizes, accuracies.split(), strict=True)
        if text != "-"
    ]


def _beside(key: str, accuracies: str, source: str, own: str, note: str = "") -> tuple[list[Published], ...]:
    """A line of the protocol ``own``, which later tables print beside the numbers of P-PROTO too."""
    method, setting = key.split()
    elsewhere = "; ".join(
        filter(None, [note, f"taken under {own}, and printed beside P-PROTO by later tables"])
    )
    return (
        _line(f"{method} {own} {setting}", accuracies, source, note),
        _line(f"{method} P-PROTO {setting}", accuracies, source, elsewhere),
    )


_SETTINGS: dict[str, Setting] = {s: s for s in get_args(Setting)}
_REPTILE = "Nichol, Achiam, Schulman 2018, arXiv 1803.02999"
_MATCHING = "Vinyals et al., NIPS 2016, arXiv 1606.04080"
_MATCHING_RERUN = (
    "independent rerun: cosine 92.0 / 93.2 / 75.6 / 77.8, squared Euclidean 98.3 / 99.8 / 92.8 / 97.8"
)
_RELATION = "Sung et al., CVPR 2018, arXiv 1711.06025"
_RELATION_RERUN = "independent rerun: 98.02±0.09 / 99.25±0.05 (5 ways)"
_SNAIL = "Mishra et al., ICLR 2018, arXiv 1707.03141"
_HW15 = "NTU ML 2022, homework 15"
_BAR = (
    "an approximate grading bar, not a result: characters without rotations, 640 test tasks; 2021 had no bars"
)

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
        "protocol taken to be MAML's; its own MAML has 93.7±0.7 / 96.4±0.1",
    ),
    _line(
        "meta-sgd P-MAML transductive",
        "99.53±0.26 99.93±0.09 95.9 99.0",
        "Li, Zhou, Chen, Li 2017, arXiv 1707.09835",
        "protocol only approximately MAML's",
    ),
    _line(
        "prototypical P-PROTO inductive",
        "98.8 99.7 96.0 98.9",
        "Snell, Swersky, Zemel, NIPS 2017, arXiv 1703.05175",
        "independent reruns: 98.2 to 98.5 / 99.4 to 99.6 / 95.1 to 95.8 / 98.6",
    ),
    *_beside("matching inductive", "98.1 98.9 93.8 98.5", _MATCHING, "P-VIN", _MATCHING_RERUN),
    _line("siamese P-VIN inductive", "96.7 98.4 88.0 96.5", _MATCHING, "the matching paper's own"),
    _line("siamese P-KOCH inductive", "- - 92.0 -", "Koch, Zemel, Salakhutdinov 2015", "human 95.5"),
    *_beside(
        "relation transductive", "99.6±0.2 99.8±0.1 97.6±0.2 99.1±0.1", _RELATION, "P-RN", _RELATION_RERUN
    ),
    *_beside("snail inductive", "99.07±0.16 99.78±0.09 97.64±0.30 99.36±0.18", _SNAIL, "P-VIN"),
    _line("from-scratch unstated unstated", "52 - - -", "Conv4, source not found", verified=False),
    _line(
        "multi-task unstated unstated",
        "89.3 - - -",
        "Baseline, wyharveychen/CloserLookFewShot",
        "Conv4; about 94 when pre-training stops within 5 epochs",
    ),
    _line("cactus-maml unstated unstated", "68.84 87.78 48.09 73.36", "CACTUs", "no training labels"),
    _line("umtra unstated unstated", "83.80 95.43 74.25 -", "UMTRA", "no training labels"),
    _line("multi-task HW15-2022 transductive", "60 - - -", _HW15, _BAR),
    _line("fomaml HW15-2022 transductive", "70 - - -", _HW15, _BAR),
    _line("maml HW15-2022 transductive", "90 - - -", _HW15, _BAR),
)


_ALL = tuple(entry for line in _LINES for entry in line)


def published(method: str, protocol: str, ways: int, shots: int) -> tuple[Published, ...]:
    """What was printed for exactly this method, protocol and size of task; empty if nothing was.

    Names match whatever their case, and ``_`` matches ``-``. A number of another protocol is not
    offered: protocols move accuracies by more than most methods do.

    >>> [(p.text, p.setting) for p in published("reptile", "P-REP", 5, 1)]
    [('97.68±0.04', 'transductive'), ('95.39±0.09', 'inductive')]
    >>> published("maml", "P-PROTO", 5, 1)
    ()
    """
    key = (_plain(method), _plain(protocol), ways, shots)
    return tuple(p for p in _ALL if (_plain(p.method), _plain(p.protocol), p.ways, p.shots) == key)


def _plain(name: str) -> str:
    return re.sub("_", "-", name).lower()
