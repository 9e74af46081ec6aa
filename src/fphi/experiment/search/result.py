"""What a search leaves: result.json, tables, pictures; and what it says in the end."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from fphi.experiment.architecture import options_of
from fphi.experiment.search.augmenting_result import summary_of_augmentations
from fphi.experiment.search.problem import ArchitectureProblem, Found
from fphi.experiment.search.steps import SearchRun
from fphi.experiment.versions import versions
from fphi.report.compare import paired_difference
from fphi.report.search_curves import epoch_curves, search_curves
from fphi.report.tables import Table, points
from fphi.run.disk.checkpoint import BEST, save_parameters
from fphi.run.disk.files import replace_file, write_text
from fphi.run.search.history_table import to_csv
from fphi.run.search.loop import Budget
from fphi.run.search.retrain import Retrained

__all__ = ["result_of", "summary", "write_curves", "write_rows", "write_weights"]


def write_rows(run: SearchRun, found: Found) -> None:
    """The history as a table."""
    write_text(run.out / "history.csv", to_csv(found.rows))


def write_curves(out: Path, found: Found, control: Found | None) -> None:
    """How both searches went."""
    if control is not None:
        write_text(out / "random.csv", to_csv(control.rows))
    rows = control.rows if control is not None else []
    picture = (
        epoch_curves(found.method, found.rows, found.validation, rows)
        if found.epochs
        else search_curves({found.method: found.rows, **({"random search": rows} if rows else {})})
    )
    replace_file(out / "search.png", picture)


def write_weights(run: SearchRun, retrained: Retrained) -> None:
    """The retrained weights, if there are any, and an architecture to build them by."""
    if retrained.module is not None and isinstance(run.problem, ArchitectureProblem):
        count, unit = run.problem.lasting
        note: Any = {"space": run.space.name, unit: count}
        save_parameters(run.out / BEST, retrained.module, note)


def result_of(
    run: SearchRun,
    results: list[tuple[Found, Retrained]],
    beside: dict[str, Any],
    budget: Budget | None,
    command: str,
) -> dict[str, Any]:
    """The content of ``result.json``; the first result is the search's, the second random search's.

    ``budget`` is that of the evaluations, and random search's; ``beside`` what else there is to compare with.
    """
    records = [_record(run, *result) for result in results]
    control = None
    if len(records) > 1 and budget is not None:
        seconds, count = budget.seconds, budget.evaluations
        said = f"{count} evaluations" if seconds is None else f"{seconds:.1f} s of evaluations"
        control = {"budget": said, **records[1]}
        control |= _paired(results[0][1].by_task, results[1][1].by_task)
    return {
        "kind": f"{run.problem.what} search",
        "space": run.space.name,
        "options": options_of(run.space),
        **run.problem.facts(),
        "seed": run.seed,
        **records[0],
        "control": control,
        **beside,
        "versions": versions(),
        "command": command,
    }


def _paired(found: Tensor | None, control: Tensor | None) -> dict[str, Any]:
    """What was found less the control, on the same test tasks, if there are any."""
    if found is None or control is None:
        return {}
    mean, ci95 = paired_difference(control, found)
    return {"difference": {"mean": mean, "ci95": ci95}}


def _record(run: SearchRun, found: Found, retrained: Retrained) -> dict[str, Any]:
    record: dict[str, Any] = {
        "method": found.method,
        **({"epochs": found.epochs} if found.epochs else {"evaluations": found.evaluations}),
        **_agreement(found),
        "failures": found.failures,
        "seconds": round(found.seconds, 3),
        "validation_accuracy": found.validation,
        run.problem.what: run.problem.text(found),
        "retrained": retrained.to_json(),
    }
    return record


def _agreement(found: Found) -> dict[str, float | None]:
    """Kendall's τ of a search that was asked for it; None: it is not defined, all being equally good."""
    tau = found.rows[-1].get("kendall_tau") if found.epochs else None
    if not isinstance(tau, float):
        return {}
    return {"kendall_tau": None if math.isnan(tau) else tau}


def summary(result: dict[str, Any]) -> Table:
    """The search beside random search, and beside what else there is to compare with."""
    if "beside" in result:
        return summary_of_augmentations(result)
    searches = [result, *([result["control"]] if result["control"] else [])]
    few_shot = "few_shot" in result
    lasting = f"{result['retrain_steps']} meta-steps" if few_shot else f"{result['retrain_epochs']} epochs"
    names = (
        "budget",
        "seconds",
        "best validation accuracy",
        f"test accuracy, retrained {lasting}",
        "parameters",
    )
    columns = [_cells(search) for search in searches]
    header = ["", *(search["method"] for search in searches)]
    if few_shot:
        header.append(f"Conv4, {result['conv4']['filters']} filters")
        columns.append(("", "", "", *_ends(result["conv4"])))
    lines = list(zip(names, *columns, strict=True))
    if "kendall_tau" in result:
        tau = result["kendall_tau"]
        said = "undefined: all are equally good" if tau is None else f"{tau:.2f}"
        lines.append(("Kendall's τ, weights shared and alone", said, *[""] * (len(columns) - 1)))
    if (gain := result.get("conv4", {}).get("difference")) is not None:
        said = points(gain["mean"], gain["ci95"])
        lines.append(("found − Conv4, points", said, *[""] * (len(columns) - 1)))
    return Table(tuple(header), tuple(lines))


def _cells(search: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{search['epochs']} epochs" if "epochs" in search else f"{search['evaluations']} evaluations",
        f"{search['seconds']:.0f}",
        f"{search['validation_accuracy']:.2%}",
        *_ends(search["retrained"]),
    )


def _ends(retrained: dict[str, Any]) -> tuple[str, str]:
    """Test accuracy, with its interval over tasks if there are any, and parameters."""
    spread = f" ± {retrained['test_ci95']:.2%}" if "test_ci95" in retrained else ""
    test = retrained.get("failure") or f"{retrained['test_accuracy']:.2%}{spread}"
    return test, f"{retrained['parameters']:,}"
