"""Learned weights of examples: what a run's result.json says, in words, tables and a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fphi.errors import FphiError
from fphi.report.files import read_text
from fphi.report.plots import COLOURS, INK, new_figure, style_axes, to_png
from fphi.report.seed_runs import LESS, SeedRuns
from fphi.report.tables import Table, points
from fphi.run.disk.files import parse_json
from fphi.run.disk.schema import group, number, require, text, whole

__all__ = [
    "WeightPicture",
    "advice",
    "advice_over_seeds",
    "draw_weights",
    "read_weighting",
    "weighting_summary",
]

_LONGEST = 1e15  # seconds
_RIGHT, _WRONG = COLOURS[0], COLOURS[1]


def read_weighting(path: Path) -> dict[str, Any]:
    """A run's ``result.json``, as far as it is read again.

    Raises:
        FphiError: it cannot be read, or is none.
    """
    try:
        result = group(parse_json(read_text(path)), "the file")
        require(result["kind"] == "example weights", f"kind is {result['kind']!r}"[:60])
        own = text(result["method"], "method")
        for name in ("epochs", "training_examples", "validation_examples", "test_examples"):
            whole(result[name], name, 1)
        whole(result["class_count"], "class_count", 2)
        whole(result["clean_examples"], "clean_examples", 1)
        if result["wrong_labels"] is not None:
            whole(result["wrong_labels"], "wrong_labels", 0, result["training_examples"])
        trainings = group(result["trainings"], "trainings")
        require(own in trainings, f"it has no training {own!r}")
        for record in trainings.values():
            _check_training(group(record, "a training"))
        differences = group(result["differences"], "differences")
        require({*differences, own} == set(trainings), "the differences are of other trainings")
        for difference in differences.values():
            number(group(difference, "a difference")["mean"], "mean", -1, 1)
            number(difference["ci95"], "ci95", 0, 2)
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"{path} is damaged ({reason}); delete it, and --resume writes it anew") from error
    return result


def _check_training(record: dict[str, Any]) -> None:
    for name in ("test_accuracy", "best_test_accuracy", "validation_accuracy", "chosen_test_accuracy"):
        number(record[name], name, 0, 1)
    for name in ("best_epoch", "chosen_epoch"):
        whole(record[name], name, 1)
    number(record["seconds"], "seconds", 0, _LONGEST)
    issues = group(record["issues"], "issues")
    for name in ("found", "found_wrong"):
        if issues[name] is not None:
            whole(issues[name], name, 0)
    if issues["auroc"] is not None:
        number(issues["auroc"], "auroc", 0, 1)


def weighting_summary(result: dict[str, Any]) -> Table:
    """All trainings of a run beside one another."""
    header = ("", *result["trainings"])
    columns = [_cells(record) for record in result["trainings"].values()]
    names = (
        f"test accuracy, epoch {result['epochs']}",
        "best epoch, by the test",
        "epoch by validation",
        "labels doubted",
        "of these wrong",
        "AUROC of the doubt",
        "seconds",
    )
    lines = [line for line in zip(names, *columns, strict=True) if any(line[1:])]
    return Table(header, tuple(lines))


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    issues = record["issues"]
    return (
        f"{record['test_accuracy']:.2%}",
        f"{record['best_test_accuracy']:.2%} ({record['best_epoch']})",
        f"{record['chosen_test_accuracy']:.2%} ({record['chosen_epoch']})",
        "" if issues["found"] is None else f"{issues['found']:,}",
        "" if issues["found_wrong"] is None else f"{issues['found_wrong']:,}",
        "" if issues["auroc"] is None else f"{issues['auroc']:.3f}",
        f"{record['seconds']:.0f}",
    )


def advice(result: dict[str, Any]) -> list[str]:
    """What came out of one seed, a line each, and what to take."""
    own, records = result["method"], result["trainings"]
    wrong, examples = result["wrong_labels"], result["training_examples"]
    known = "" if wrong is None else f", of which {wrong:,} have wrong labels"
    said = [f"{examples:,} training examples{known}; {result['clean_examples']:,} clean ones"]
    controls = {name: record for name, record in records.items() if name != own}
    if not controls:
        return said
    chance = 1 / result["class_count"]
    if max(record["test_accuracy"] for record in records.values()) < 1.5 * chance:
        return [*said, "nothing is learned: all are near chance; choose a smaller --lr, or more --epochs"]
    best = max(controls, key=lambda name: controls[name]["test_accuracy"])
    gain = result["differences"][best]
    apart = f"{points(gain['mean'], gain['ci95'])} points of test accuracy ({own} less {best}, last epoch)"
    if gain["mean"] > gain["ci95"]:
        said += [f"{own} is ahead: {apart}", *_early(result, own)]
    elif gain["mean"] < -gain["ci95"]:
        said.append(f"{best} is ahead: {apart}; take {best}, not {own}")
    else:
        times = records[own]["seconds"] / max(records[best]["seconds"], 1e-3)
        cost = f", which takes {times:.1f} times as long" if times > 1 else ""
        said.append(f"no clear difference: {apart}; {best} does as well as {own}{cost}: take {best}")
    once = "± is of the test examples alone: each was trained once, and another seed may come out otherwise"
    return [*said, f"{once}; --seeds 5 tells"]


def advice_over_seeds(runs: SeedRuns) -> list[str]:
    """What came out of several seeds: the paired differences, and what to take; [] without controls."""
    differences = [name for name in runs.names if LESS in name]
    if not differences:
        return []
    pairs = {name: name.removeprefix("accuracy, ").split(LESS) for name in differences}
    best = max(differences, key=lambda name: runs.interval(f"test accuracy, {pairs[name][1]}")[0])
    own, control = pairs[best]
    mean, ci95 = runs.interval(best)
    if runs.ended < 2:
        alone = "of one seed there is no interval: give --seeds 5"
        return [f"{own} less {control} is {points(mean)} points; {alone}"]
    over = f"points of test accuracy, over {runs.ended} seeds (each seed's difference; 95 %)"
    said = [f"{LESS.join(pairs[name])}: {points(*runs.interval(name))} {over}" for name in differences]
    if mean > ci95:
        return [*said, f"take {own}, which is better than {control}, the better control"]
    if mean < -ci95:
        return [*said, f"take {control}, not {own}"]
    return [*said, f"no clear difference: take {control}, which costs less, or ask more seeds"]


def _early(result: dict[str, Any], own: str) -> list[str]:
    """Whether plain training would do if somebody knew when to stop."""
    plain, last = result["trainings"].get("plain"), result["trainings"][own]["test_accuracy"]
    if plain is None or plain["chosen_test_accuracy"] < last:
        return []
    return [
        f"plain training that is stopped by the validation examples, after epoch {plain['chosen_epoch']}, "
        f"reaches {plain['chosen_test_accuracy']:.2%}: with examples to stop by no weights are needed"
    ]


@dataclass(frozen=True)
class WeightPicture:
    """What is drawn.

    Args:
        losses: of each training example ``[n]``, the mean over the training.
        weights: of each ``[n]``, the mean over the training; their mean is 1.
        wrong: which labels are wrong, bool ``[n]``; None: not known.
        curve: losses with the weight of each, where weights are a function of the loss; None: they are none.
    """

    losses: Tensor
    weights: Tensor
    wrong: Tensor | None
    curve: list[list[float]] | None

    @property
    def groups(self) -> dict[str, tuple[Tensor, str, str]]:
        """The examples by what is known of their labels, with a colour and a marker."""
        if self.wrong is None:
            every = self.losses == self.losses
            return {"all examples": (every, _RIGHT, "o")}
        return {"right labels": (~self.wrong, _RIGHT, "o"), "wrong labels": (self.wrong, _WRONG, "x")}


def draw_weights(name: str, picture: WeightPicture) -> bytes:
    """How much examples count by their loss; below, how many have which loss; 1024 x 896 pixels.

    Args:
        name: of the method.
        picture: see there.
    """
    figure = new_figure(6.4, 5.6)
    figure.set_layout_engine("constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    if picture.curve is not None:
        losses, weights = zip(*picture.curve, strict=True)
        above.plot(losses, weights, color=INK, label=f"{name}, at the end")
        style_axes(above, "weight of a loss")
    else:
        for label, (rows, colour, marker) in picture.groups.items():
            x, y = picture.losses[rows].numpy(), picture.weights[rows].numpy()
            above.scatter(x, y, s=12, alpha=0.5, color=colour, marker=marker, linewidths=0.8, label=label)
        style_axes(above, "mean weight (all: 1)")
    edges = _edges(picture.losses)
    for label, (rows, colour, _) in picture.groups.items():
        style = "stepfilled" if label != "wrong labels" else "step"
        values = picture.losses[rows].numpy()
        below.hist(values, edges, histtype=style, color=colour, alpha=0.7, linewidth=1.6, label=label)
    style_axes(below, "examples", "loss of an example, mean over the training")
    for axes in (above, below):
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return to_png(figure)


def _edges(losses: Tensor, bins: int = 40) -> list[float]:
    top = max(float(losses.max()), 1e-6)
    return [top * i / bins for i in range(bins + 1)]
