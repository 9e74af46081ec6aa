"""What a search for augmentation says in the end: beside what nobody has to search for, and which to take."""

from statistics import fmean, stdev
from typing import Any

from fphi.experiment.search.augmenting import NOTHING, TRIVIAL
from fphi.report.tables import Table, points

__all__ = ["recommendation", "summary_of_augmentations"]

_RANDOM = "random search"
# Of Student's distribution with 1, 2, … degrees of freedom, for intervals of 95 %; beyond the normal one's.
_QUANTILES = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL = 1.96


def summary_of_augmentations(result: dict[str, Any]) -> Table:
    """A line for each way of augmenting: test accuracies, and the paired differences with 95 % intervals."""
    found = result["retrained"]
    lines = [(result["method"], f"{result['seconds']:.0f} s", _test(found), "")]
    for name, other in _others(result).items():
        seconds = f"{result['control']['seconds']:.0f} s" if name == _RANDOM else ""
        gain = _gain(found, other)
        said = "" if gain is None else points(gain[0], gain[1] if gain[1] < 1 else None)
        lines.append((name, seconds, _test(other), said))
    if "few_shot" in result:
        test = f"test accuracy, {result['retrain_steps']} meta-steps"
    else:
        seeds = len(found.get("test_by_seed", ()))
        test = f"test accuracy, {result['retrain_epochs']} epochs, {seeds} seeds"
    return Table(("", "search", test, "found − it, points (95 %)"), tuple(lines))


def recommendation(result: dict[str, Any], run: str) -> str:
    """Which augmentation to take: what was found only where it clearly beats whatever else there is.

    Args:
        result: of the search.
        run: the folder of the search.
    """
    found = result["retrained"]
    others = {name: other for name, other in _others(result).items() if "failure" not in other}
    if "failure" in found:
        return f"what was found could not be trained with: {found['failure']}"
    if not others:
        return f"nothing else could be trained; what was found: fphi.augmentation.load({run!r})"
    best = max(others, key=lambda name: float(others[name]["test_accuracy"]))
    own, test = found["test_accuracy"], others[best]["test_accuracy"]
    mean, ci95 = _gain(found, others[best]) or (own - test, 1.0)
    if mean > ci95:
        return f"take what was found: fphi.augmentation.load({run!r})"
    does = "does better" if mean < -ci95 else "does as well, as far as one can tell"
    said = f"{best} {does} ({test:.2%} against {own:.2%})"
    if best == TRIVIAL:
        return f'{said} without a search: take fphi.augmentation.published("trivialaugment")'
    if best == NOTHING:
        return f"{said}: do not augment, or search longer"
    return f"{said}: the search has found nothing that chance does not; search longer"


def _others(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The last trainings by other ways, by name; random search's with its paired difference, if any."""
    others: dict[str, dict[str, Any]] = dict(result["beside"])
    control = result["control"]
    if control is None:
        return others
    paired = {"difference": control["difference"]} if "difference" in control else {}
    return {_RANDOM: {**control["retrained"], **paired}, **others}


def _test(retrained: dict[str, Any]) -> str:
    if "failure" in retrained:
        return str(retrained["failure"])
    spread = f" ± {100 * retrained['test_ci95']:.2f}" if "test_ci95" in retrained else ""
    return f"{retrained['test_accuracy']:.2%}{spread}"


def _gain(found: dict[str, Any], other: dict[str, Any]) -> tuple[float, float] | None:
    """By how much what was found is better, and half of the 95 % interval; None: there are no pairs.

    Of one training there is no interval: it could be anything.
    """
    if "difference" in other:
        return other["difference"]["mean"], other["difference"]["ci95"]
    pairs = list(zip(found.get("test_by_seed", ()), other.get("test_by_seed", ()), strict=False))
    if not pairs:
        return None
    gains = [one - another for one, another in pairs]
    if len(gains) == 1:
        return gains[0], 1.0
    freedom = len(gains) - 1
    quantile = _QUANTILES[freedom - 1] if freedom <= len(_QUANTILES) else _NORMAL
    return fmean(gains), quantile * stdev(gains) / len(gains) ** 0.5
