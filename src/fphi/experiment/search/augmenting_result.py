"""What a search for augmentation says in the end: beside what nobody has to search for, and which to take."""

from statistics import fmean, stdev
from typing import Any

from fphi.experiment.search.augmenting import NOTHING, TRIVIAL
from fphi.report.tables import Table, points

__all__ = ["recommendation", "summary_of_augmentations"]


def summary_of_augmentations(result: dict[str, Any]) -> Table:
    """A line for each way of augmenting: what it took to find, and test accuracies over the seeds."""
    found = result["retrained"]
    lines = [(result["method"], f"{result['seconds']:.0f} s", *_cells(found, None))]
    if result["control"]:
        control = result["control"]
        cells = _cells(control["retrained"], found)
        lines.append(("random search", f"{control['seconds']:.0f} s", *cells))
    lines += [(name, "", *_cells(other, found)) for name, other in result["beside"].items()]
    if "few_shot" in result:
        test = f"test accuracy, {result['retrain_steps']} meta-steps"
    else:
        seeds = len(found.get("test_by_seed", ()))
        test = f"test accuracy, {result['retrain_epochs']} epochs, {seeds} seeds"
    return Table(("", "search", test, "found − it, points"), tuple(lines))


def _cells(retrained: dict[str, Any], found: dict[str, Any] | None) -> tuple[str, str]:
    if "failure" in retrained:
        return retrained["failure"], ""
    spread = f" ± {100 * retrained['test_ci95']:.2f}" if "test_ci95" in retrained else ""
    test = f"{retrained['test_accuracy']:.2%}{spread}"
    if (gain := retrained.get("difference")) is not None:
        return test, points(gain["mean"], gain["ci95"])
    if found is None or "failure" in found or "test_by_seed" not in found:
        return test, ""
    pairs = zip(found["test_by_seed"], retrained["test_by_seed"], strict=True)
    gains = [100 * (one - other) for one, other in pairs]
    spread = f" ± {stdev(gains) / len(gains) ** 0.5:.2f}" if len(gains) > 1 else ""
    return test, f"{fmean(gains):+.2f}{spread}".replace("-", "−")


def recommendation(result: dict[str, Any], run: str) -> str:
    """Which augmentation to take: what was found only where nothing simpler does as well on test examples.

    Args:
        result: of the search.
        run: the folder of the search.
    """
    tests = {name: other.get("test_accuracy", 0.0) for name, other in result["beside"].items()}
    own = result["retrained"].get("test_accuracy", 0.0)
    best = max(tests, key=lambda name: tests[name])
    if own > tests[best]:
        return f"take what was found: fphi.augmentation.load({run!r})"
    said = f"{best} does as well or better ({tests[best]:.2%} against {own:.2%})"
    if best == TRIVIAL:
        return f'{said} without a search: take fphi.augmentation.published("trivialaugment")'
    if best == NOTHING:
        return f"{said}: do not augment, or search longer"
    return f"{said}: the search has found nothing that random policies have not; search longer"
