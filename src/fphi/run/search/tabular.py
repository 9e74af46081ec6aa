"""Tabular benchmarks: every architecture of a space was trained beforehand, and a look-up takes its place."""

import csv
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from fphi.errors import DataError, FphiError
from fphi.learnable.architecture.nasbench201 import NASBench201Space
from fphi.learnable.architecture.nasbench_macro import NASBenchMacroSpace
from fphi.learnable.architecture.space import ArchitectureSpace
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.outcome import Outcome
from fphi.run.disk.files import parse_json
from fphi.tasks.packed import read_packed

__all__ = ["DATASETS_201", "TabularBenchmark", "load_nasbench201", "load_nasbench_macro", "load_table"]

# The data sets by name, with the prefix of their columns.
DATASETS_201 = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}

# Bytes of a table: these have 3 million and 1 million.
_LARGEST = 2**26


class TabularBenchmark(ABC):
    """What each architecture of a space would come to, by its tokens."""

    space: ArchitectureSpace
    # Whether it knows what an evaluation costs.
    has_costs: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, candidate: Candidate) -> Outcome:
        """The outcome of a candidate, as an `Evaluate`; its measures hold ``test_accuracy``."""


@dataclass(frozen=True)
class _Entry:
    validation: float
    seconds: float
    tests: dict[str, float]


class Benchmark201(TabularBenchmark):
    """NAS-Bench-201: the signal is the validation accuracy after 12 epochs, the cost that of reaching it.

    ``test_accuracy`` of an outcome is that after 200 epochs, which the search must not see; so are
    ``test_accuracy_c10`` and so on, on every data set.
    """

    def __init__(self, entries: dict[Tokens, _Entry], dataset: str) -> None:
        self.space = NASBench201Space()
        self.entries, self.dataset = entries, dataset

    def __call__(self, candidate: Candidate) -> Outcome:
        entry = self.entries[candidate.tokens]
        return Outcome(1 - entry.validation, entry.seconds, measures=entry.tests)


class BenchmarkMacro(TabularBenchmark):
    """NAS-Bench-Macro: CIFAR-10 test accuracy, the mean of three trainings; it has no costs.

    The benchmark has no validation accuracies: the signal is what is reported in the end.
    """

    has_costs = False

    def __init__(self, entries: dict[Tokens, _Entry]) -> None:
        self.space = NASBenchMacroSpace()
        self.entries = entries

    def __call__(self, candidate: Candidate) -> Outcome:
        entry = self.entries[candidate.tokens]
        return Outcome(1 - entry.validation, entry.seconds, measures=entry.tests)


def load_table(space: str, path: Path, dataset: str | None = None) -> TabularBenchmark:
    """The tabular benchmark of a space.

    Args:
        space: nasbench201 or nasbench-macro.
        path: its file.
        dataset: of those in it; None: cifar10.

    Raises:
        FphiError: the space has no table, or its table no such data set.
        DataError: the table is missing, damaged, or incomplete.
    """
    if space == NASBench201Space.name:
        return load_nasbench201(path, dataset or "cifar10")
    if space != NASBenchMacroSpace.name:
        known = f"{NASBench201Space.name} and {NASBenchMacroSpace.name}"
        raise FphiError(f"the space {space} has no table: {known} have; leave --table out to train")
    if dataset not in (None, "cifar10"):
        raise FphiError(f"unknown data set {dataset!r}: NAS-Bench-Macro has cifar10")
    return load_nasbench_macro(path)


def load_nasbench_macro(path: Path) -> BenchmarkMacro:
    """Read the table of NAS-Bench-Macro, a JSON object with an entry for each of the 6,561 networks.

    Args:
        path: the file, gzipped or not.

    Raises:
        DataError: it is missing, damaged, or incomplete.
    """
    space = NASBenchMacroSpace()
    entries: dict[Tokens, _Entry] = {}
    try:
        rows = parse_json(_text(path), once=True)
        for text, row in rows.items():
            accuracy = fmean(map(_accuracy, _list(row["test_acc"])))
            measures = {"test_accuracy": accuracy, "parameters": _positive(row["params"])}
            _enter(entries, space.parse(text), _Entry(accuracy, 0.0, measures))
    except (AttributeError, LookupError, TypeError, ValueError, FphiError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is no table of NAS-Bench-Macro ({_one_line(error)}); fetch it again"
        ) from error
    return BenchmarkMacro(_complete(entries, space.size, path))


def load_nasbench201(path: Path, dataset: str = "cifar10") -> Benchmark201:
    """Read the table of NAS-Bench-201, a CSV file with a row for each of the 15,625 cells.

    Args:
        path: the file, gzipped or not.
        dataset: cifar10, cifar100 or imagenet16-120: the data of the signal and of the result. The costs
            of the latter two are modelled on the measured ones of CIFAR-10: training on all 50,000 images
            (151,700) and validation on 5,000 (3,000), at equal time for each image.

    Raises:
        DataError: it is missing, damaged, or incomplete.
    """
    if dataset not in DATASETS_201:
        raise FphiError(f"unknown data set {dataset!r}: choose one of {', '.join(DATASETS_201)}")
    prefix = DATASETS_201[dataset]
    space = NASBench201Space()
    entries: dict[Tokens, _Entry] = {}
    try:
        for row in csv.DictReader(io.StringIO(_text(path))):
            tests = {f"test_accuracy_{p}": _accuracy(row[f"{p}_test200"]) for p in DATASETS_201.values()}
            tests["test_accuracy"] = tests[f"test_accuracy_{prefix}"]
            entry = _Entry(_accuracy(row[f"{prefix}_val12"]), _seconds(row, prefix), tests)
            _enter(entries, space.parse(row["arch_str"]), entry)
    except (KeyError, TypeError, ValueError, csv.Error, FphiError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is no table of NAS-Bench-201 ({_one_line(error)}); fetch it again"
        ) from error
    return Benchmark201(_complete(entries, space.size, path), dataset)


def _complete(entries: dict[Tokens, _Entry], size: int, path: Path) -> dict[Tokens, _Entry]:
    if len(entries) != size:
        raise DataError(f"{path} has {len(entries)} of {size} architectures; fetch it again")
    return entries


def _enter(entries: dict[Tokens, _Entry], tokens: Tokens, entry: _Entry) -> None:
    if tokens in entries:
        raise ValueError(f"two rows for the architecture {tokens}")
    entries[tokens] = entry


def _accuracy(per_cent: object) -> float:
    """As a fraction."""
    number = _number(per_cent)
    if not 0 <= number <= 100:
        raise ValueError(f"an accuracy of {number} per cent")
    return number / 100


def _positive(value: object) -> float:
    """A cost or a size: a search that pays nothing has no end."""
    number = _number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"a cost or size of {number}")
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{str(value)[:50]} in place of a number")
    return float(value)


def _list(value: object) -> Iterable[object]:
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:50]} in place of a list of accuracies")
    return value


def _seconds(row: dict[str, str], prefix: str) -> float:
    if prefix == "c10":
        return _positive(row["cost_c10valid12_s"])
    train, each_test = _positive(row["time12_train50k_s"]), _positive(row["time12_test10k_total_s"]) / 12
    return train + 0.5 * each_test if prefix == "c100" else 3.034 * train + 0.3 * each_test


def _text(path: Path) -> str:
    if not path.exists():
        raise DataError(f"there is no table {path}; give the path of the file")
    try:
        return read_packed(path, _LARGEST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read ({_one_line(error)}); fetch it again") from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
    return " ".join(str(error).split())[:200] or type(error).__name__
