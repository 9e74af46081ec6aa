"""What was decided, in one sentence."""

from fphi.few_shot.fitting import Fitted
from fphi.report.tables import Table, percent

__all__ = ["decision_text", "standings_table"]


def decision_text(fitted: Fitted) -> str:
    """Which learner, by which validation, how sure one may be."""
    name, n, classes = fitted.candidate.name, len(fitted.labels), fitted.classes
    what = f"{name} answers, learned from {n} examples of {classes} classes"
    if not fitted.standings:
        return f"{what}; no class has a second example to try it on, so how often it is right is not known"
    own = next(s for s in fitted.standings if s.name == name)
    others = len(fitted.standings) - 1
    best = f", chosen from {others + 1} learners" if others else ""
    text = (
        f"{what}: {100 * own.accuracy:.1f} % right on {own.answers} answers to held-out examples{best}; "
        f"its probabilities are off by {100 * (fitted.calibration or 0):.1f} points on average"
    )
    if fitted.known is None:
        return f"{text}, and with fewer than three classes it was not tried on examples of none of them"
    if not fitted.known.tells:
        return (
            f"{text}, and examples of unknown classes cannot be told (an AUROC of {fitted.known.auroc:.3f})"
        )
    return f"{text}, and examples of unknown classes are told with an AUROC of {fitted.known.auroc:.3f}"


def standings_table(fitted: Fitted) -> Table:
    """What each candidate reached, best first."""
    order = sorted(fitted.standings, key=lambda s: (-s.accuracy if s.accuracy == s.accuracy else 1, s.loss))
    lines = tuple(
        (s.name, "" if s.failure else percent(s.accuracy), "" if s.failure else f"{s.loss:.3f}", s.failure)
        for s in order
    )
    return Table(("Learner", "Right, %", "Loss", "Left out"), lines).without_empty_columns()
