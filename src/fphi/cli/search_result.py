"""What a search leaves: result.json, tables, pictures; and what it says in the end."""

from pathlib import Path
from typing import Any

from fphi.cli.runs import versions
from fphi.cli.search_config import SearchConfig
from fphi.cli.search_steps import Found, Setting
from fphi.report.architecture import draw_architecture
from fphi.report.files import write_text
from fphi.report.search_curves import epoch_curves, search_curves
from fphi.report.tables import Table
from fphi.run.built import Architecture, options_of
from fphi.run.checkpoint import BEST, save_parameters
from fphi.run.files import replace_file
from fphi.run.history_table import to_csv
from fphi.run.retrain import Retrained
from fphi.run.search import Budget

__all__ = ["architecture", "result_of", "summary", "write_curves", "write_found", "write_weights"]


def architecture(setting: Setting, found: Found) -> Architecture:
    """What was found, with all that it takes to build it."""
    data = setting.data
    return Architecture(setting.config.space, found.tokens, data.input_shape, data.classes)


def write_found(setting: Setting, found: Found) -> None:
    """The architecture, its picture, and the history as a table."""
    architecture(setting, found).save(setting.out)
    replace_file(
        setting.out / "architecture.png", draw_architecture(setting.config.space.graphs(found.tokens))
    )
    write_text(setting.out / "history.csv", to_csv(found.rows))


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


def write_weights(setting: Setting, retrained: Retrained) -> None:
    """The retrained weights, if there are any."""
    if retrained.child is not None:
        note: Any = {"space": setting.config.space.name, "epochs": len(retrained.child.validation)}
        save_parameters(setting.out / BEST, retrained.child.module, note)


def result_of(
    setting: Setting, results: list[tuple[Found, Retrained]], budget: Budget, command: str
) -> dict[str, Any]:
    """The content of ``result.json``; the first result is the search's, the second random search's.

    ``budget`` is that of the evaluations, and random search's.
    """
    config, data = setting.config, setting.data
    records = [_record(config, *result) for result in results]
    said = (
        f"{budget.evaluations} evaluations"
        if budget.seconds is None
        else f"{budget.seconds:.1f} s of evaluations"
    )
    control = {"budget": said, **records[1]} if len(records) > 1 else None
    return {
        "kind": "architecture search",
        "space": config.space.name,
        "options": options_of(config.space),
        "data": data.name,
        "examples": {part: len(getattr(data, part).y) for part in ("train", "validation", "test")},
        "candidate_epochs": config.child.epochs,
        "retrain_epochs": config.control.retrain_epochs,
        "seed": config.budget.seed,
        **records[0],
        "control": control,
        "versions": versions(),
        "command": command,
    }


def _record(config: SearchConfig, found: Found, retrained: Retrained) -> dict[str, Any]:
    record: dict[str, Any] = {
        "method": found.method,
        **({"epochs": found.epochs} if found.epochs else {"evaluations": found.evaluations}),
        "failures": found.failures,
        "seconds": round(found.seconds, 3),
        "validation_accuracy": found.validation,
        "architecture": config.space.text(found.tokens),
        "retrained": {
            "parameters": retrained.parameters,
            "validation_accuracy": retrained.validation,
            "test_accuracy": retrained.test,
            "seconds": round(retrained.seconds, 3),
            **({"failure": retrained.failure} if retrained.failure else {}),
        },
    }
    return record


def summary(result: dict[str, Any]) -> Table:
    """The search beside random search."""
    searches = [result, *([result["control"]] if result["control"] else [])]
    of_the_last = f"test accuracy, retrained {result['retrain_epochs']} epochs"
    names = ("budget", "seconds", "best validation accuracy", of_the_last, "parameters")
    columns = [_cells(search) for search in searches]
    header = ("", *(search["method"] for search in searches))
    return Table(header, tuple(zip(names, *columns, strict=True)))


def _cells(search: dict[str, Any]) -> tuple[str, ...]:
    retrained = search["retrained"]
    return (
        f"{search['epochs']} epochs" if "epochs" in search else f"{search['evaluations']} evaluations",
        f"{search['seconds']:.0f}",
        f"{search['validation_accuracy']:.2%}",
        retrained.get("failure") or f"{retrained['test_accuracy']:.2%}",
        f"{retrained['parameters']:,}",
    )
