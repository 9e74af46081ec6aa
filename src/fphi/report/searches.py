"""The tables of architecture searches beside random search, and a picture of how the searches went."""

import csv
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fphi.errors import FphiError
from fphi.report.files import read_text
from fphi.report.plots import COLOURS, INK, moving_average, new_figure, style_axes, to_png
from fphi.report.search_settings import Settings, settings_of, told_apart
from fphi.report.tables import Table, points
from fphi.run.disk.files import parse_json
from fphi.run.disk.schema import group, number, numbers, require, text, whole

__all__ = ["Search", "draw_searches", "read_result", "read_searches", "searches_section"]

_THIRD = 3
_LONGEST = 1e15  # seconds of a search
_PLACES = 50  # of a curve
_WIDEST = 40  # letters of a name beside a curve
_NONE = "–"


@dataclass(frozen=True)
class Search:
    """One search and its control, from its directory.

    Attributes:
        result: the content of ``result.json``.
        tried: accuracies in the order of the search: of each candidate, or of each epoch's children.
    """

    result: dict[str, Any]
    tried: list[float]

    @property
    def key(self) -> tuple[str, str, Settings]:
        """What is the same for several seeds: the data, the method with its learner, and all settings."""
        learner = f", {self.result['few_shot']}" if self.few_shot else ""
        return self.result["data"], self.result["method"] + learner, settings_of(self.result)

    @property
    def few_shot(self) -> bool:
        """Whether candidates were the networks of a few-shot learner."""
        return "few_shot" in self.result

    @property
    def test(self) -> float | None:
        """Test accuracy of the retrained architecture; None: its training failed."""
        return _test(self.result["retrained"])

    @property
    def control(self) -> float | None:
        """That of random search's."""
        return _test(self.result["control"]["retrained"])

    @property
    def conv4(self) -> float | None:
        """That of Conv4 with as many parameters, of a few-shot search."""
        return _test(self.result["conv4"])

    @property
    def gain(self) -> float | None:
        """What was found less random search's, where both could be trained."""
        return None if self.test is None or self.control is None else self.test - self.control


def _test(retrained: dict[str, Any]) -> float | None:
    return None if "failure" in retrained else float(retrained["test_accuracy"])


def read_searches(folder: Path) -> dict[tuple[str, str], list[Search]]:
    """The searches below ``folder``, grouped by data and method; each group sorted by seed.

    Searches of one method with other settings are groups of their own, whose names say what differs.

    Raises:
        FphiError: there is none, one has no random search beside it, or two are the same with one seed.
    """
    groups: dict[tuple[str, str, Settings], dict[int, Search]] = defaultdict(dict)
    for path in sorted(folder.glob("*/result.json")):
        result = read_result(path)
        if result["control"] is None:
            raise FphiError(f"{path} is of a search without random search beside it; run it with --control")
        search = Search(result, _tried(path.parent / "history.csv"))
        group, seed = groups[search.key], result["seed"]
        if seed in group:
            raise FphiError(
                f"{path} is a search with seed {seed}, as another one of {search.key[1]} on {search.key[0]} "
                f"below {folder}; seeds count once: remove one of the two, or search with another --seed"
            )
        group[seed] = search
    if not groups:
        raise FphiError(f"{folder} holds no searches; give the folder of their directories")
    return {
        (key[0], name): [groups[key][seed] for seed in sorted(groups[key])]
        for key, name in _names(sorted(groups, reverse=True)).items()
    }


def _names(keys: Sequence[tuple[str, str, Settings]]) -> dict[tuple[str, str, Settings], str]:
    """The methods, with what tells searches of the same method on the same data apart."""
    names = {}
    for key in keys:
        alike = [other for other in keys if other[:2] == key[:2]]
        differing = told_apart([settings for *_, settings in alike])[alike.index(key)]
        names[key] = f"{key[1]}, {differing}" if differing else key[1]
    return names


def read_result(path: Path) -> dict[str, Any]:
    """A search's ``result.json``, as far as it is read again.

    Raises:
        FphiError: it cannot be read, or is none.
    """
    try:
        result = group(parse_json(read_text(path)), "the file")
        _check_search(result)
        text(result["data"], "data")
        whole(result["seed"], "seed")
        what = "architecture" if "architecture" in result else "augmentation"
        text(result[what], what)
        if result["control"] is not None:
            _check_search(group(result["control"], "control"))
        if "few_shot" in result:
            text(result["few_shot"], "few_shot")
            whole(result["retrain_steps"], "retrain_steps", 1)
            if what == "architecture":
                conv4 = group(result["conv4"], "conv4")
                whole(conv4["filters"], "filters", 1)
                _check_retrained(conv4)
        else:
            whole(result["retrain_epochs"], "retrain_epochs", 1)
        for other in group(result.get("beside", {}), "beside").values():
            _check_retrained(group(other, "beside"))
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"{path} is damaged ({reason}); delete it, and --resume writes it anew") from error
    return result


def _check_search(result: dict[str, Any]) -> None:
    text(result["method"], "method")
    count = "epochs" if "epochs" in result else "evaluations"
    whole(result[count], count, 1)
    number(result["seconds"], "seconds", 0, _LONGEST)
    number(result["validation_accuracy"], "validation_accuracy", 0, 1)
    if result.get("kendall_tau") is not None:
        number(result["kendall_tau"], "kendall_tau", -1, 1)
    _check_retrained(group(result["retrained"], "retrained"))


def _check_retrained(retrained: dict[str, Any]) -> None:
    whole(retrained["parameters"], "parameters", 0)
    if "failure" in retrained:
        text(retrained["failure"], "failure")
    else:
        number(retrained["test_accuracy"], "test_accuracy", 0, 1)
    for test in _entries(retrained.get("test_by_seed", [])):
        number(test, "test_by_seed", 0, 1)
    if "difference" in retrained:
        numbers(retrained["difference"], "difference")
    if "test_ci95" in retrained:
        number(retrained["test_ci95"], "test_ci95")


def _entries(value: Any) -> list[Any]:
    require(isinstance(value, list), "test_by_seed is no list")
    found: list[Any] = value
    return found


def _tried(path: Path) -> list[float]:
    try:
        return [_accuracy(row) for row in csv.DictReader(read_text(path).splitlines())]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); restore it") from error


def searches_section(groups: dict[tuple[str, str], list[Search]]) -> str:
    """The Markdown between the markers."""
    few_shot = {key: searches for key, searches in groups.items() if searches[0].few_shot}
    plain = {key: searches for key, searches in groups.items() if key not in few_shot}
    header = ("data", "search", "seeds", "its budget", "found", "random search", "difference", "tried")
    body = [_line(*key, searches) for key, searches in plain.items()]
    text = (
        "Test accuracy in per cent of the best architecture, retrained from new weights, mean ± standard "
        "deviation over seeds; beside it the best of random search in the same space at the same number of "
        "evaluations (a supernet's: as given). *Difference*: mean of the pairs, in points. *Tried*: mean "
        "validation accuracy of what the search tried, in its first and in its last third."
    )
    section = f"{text}\n\n{Table(header, tuple(body)).markdown()}"
    return f"{section}\n\n{_few_shot(few_shot)}" if few_shot else section


def _few_shot(groups: dict[tuple[str, str], list[Search]]) -> str:
    kinds = ("found", "random search", "Conv4", "found − Conv4, each seed")
    header = ("tasks", "search, learner", "seeds", "evaluations", *kinds, "tried")
    text = (
        "Few-shot learners: accuracy on test tasks of the best network as their own, meta-trained from new "
        "weights; beside it random search's and Conv4 with as many parameters. *Found − Conv4*: in points, "
        "± 95 % interval over the test tasks, which are the same for both."
    )
    body = [_few_shot_line(*key, searches) for key, searches in groups.items()]
    return f"{text}\n\n{Table(header, tuple(body)).markdown()}"


def _few_shot_line(data: str, method: str, searches: Sequence[Search]) -> tuple[str, ...]:
    seeds, budget, found, control, _, tried = _line(data, method, searches)[2:]
    gains = (search.result["conv4"].get("difference") for search in searches)
    each = ", ".join(_NONE if gain is None else points(gain["mean"], gain["ci95"]) for gain in gains)
    beside = _spread(search.conv4 for search in searches)
    return data, method, seeds, budget.removesuffix(" evaluations"), found, control, beside, each, tried


def _line(data: str, method: str, searches: Sequence[Search]) -> tuple[str, ...]:
    thirds = [np.array_split(search.tried, _THIRD) for search in searches]
    begin, end = (statistics.mean(float(third[i].mean()) for third in thirds) for i in (0, -1))
    gains = [search.gain for search in searches if search.gain is not None]
    return (
        data,
        method,
        str(len(searches)),
        _budget(searches[0].result),
        _spread(search.test for search in searches),
        _spread(search.control for search in searches),
        points(statistics.mean(gains)) if gains else _NONE,
        f"{100 * begin:.1f} → {100 * end:.1f}",
    )


def _budget(result: dict[str, Any]) -> str:
    if "epochs" in result:
        return f"{result['epochs']} epochs (random: {result['control']['evaluations']})"
    given = str(result["control"].get("budget", ""))
    of_time = given.endswith(" s of evaluations")
    return given.removesuffix(" of evaluations") if of_time else f"{result['evaluations']} evaluations"


def _spread(values: Iterable[float | None]) -> str:
    """Mean and deviation of those that there are, and how many are not there."""
    given = list(values)
    numbers = [100 * value for value in given if value is not None]
    if not numbers:
        return _NONE
    mean, missing = f"{statistics.mean(numbers):.1f}", len(given) - len(numbers)
    spread = mean if len(numbers) == 1 else f"{mean} ± {statistics.stdev(numbers):.1f}"
    return f"{spread} ({missing} failed)" if missing else spread


def _accuracy(row: dict[str, str]) -> float:
    """Of what was tried, not of what a population kept of it."""
    if row.get("loss"):
        return 1 - float(row["loss"])
    return float(row.get("accuracy") or row["validation_accuracy"])


def draw_searches(groups: dict[tuple[str, str], list[Search]]) -> bytes:
    """The accuracy of what is tried over the search, smoothed, mean over seeds; a panel for each data set."""
    data = list(dict.fromkeys(data for data, _ in groups))
    methods = sorted({method for _, method in groups})
    figure = new_figure(6.4, 3.2 * len(data))
    figure.set_layout_engine("constrained")
    panels = dict(zip(data, figure.subplots(len(data), 1, squeeze=False)[:, 0], strict=True))
    for (name, method), searches in groups.items():
        colour = COLOURS[methods.index(method) % len(COLOURS)]
        dashed = "--" if methods.index(method) >= len(COLOURS) else "-"
        curve = 100 * np.mean([_curve(search.tried) for search in searches], axis=0)
        label = textwrap.fill(method, _WIDEST)
        panels[name].plot(np.linspace(0, 100, _PLACES), curve, dashed, color=colour, label=label)
    for name, axes in panels.items():
        style_axes(axes, f"{name}: tried, validation (%)", "part of the search (%)")
        axes.legend(frameon=False, labelcolor=INK, fontsize=7, ncols=2)
    return to_png(figure)


def _curve(tried: Sequence[float]) -> NDArray[np.float64]:
    smooth = moving_average(tried, max(2, len(tried) // 4))
    return np.interp(np.linspace(0, 1, _PLACES), np.linspace(0, 1, len(smooth)), smooth)
