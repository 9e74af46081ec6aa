"""A search on a tabular benchmark: many seeds, in simulated seconds."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import fields
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.config import Config
from fphi.experiment.parser import at_least, flag
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.search.fitting import searchable
from fphi.experiment.search.options import BudgetOptions, TableOptions
from fphi.experiment.search.steps import StoppedError
from fphi.methods.base import Method
from fphi.methods.families.searching import SearchMethod
from fphi.report.tables import Table
from fphi.run.search.loop import Budget, search
from fphi.run.search.processes import ProcessDiedError, Processes
from fphi.run.search.tabular import TabularBenchmark, load_table

__all__ = ["require_fitting_table", "search_table", "summary_of_table"]

_FOR_TWO = 20  # so many searches are worth a second process


def require_fitting_table(
    config: Config, options: TableOptions, given: Collection[str], *, of_directory: bool
) -> None:
    """Raise if a table is asked for together with what it cannot have, or its options without it.

    Args:
        config: of the search.
        options: of the table.
        given: the options that the user gave, as a configuration file names them.
        of_directory: whether the search is to have a directory.
    """
    if options.table is None:
        if "dataset" in given:
            data = "--data" if config.learner is None else "--tasks"
            raise FphiError(f"--dataset is of a table: give --table too, or {data} for what is trained on")
        return
    if config.learner is not None:
        raise FphiError(
            f"--table {options.table} and --few-shot {config.learner[0]}: tables hold no few-shot trainings; "
            "leave --table out to meta-train candidates, or --few-shot to look them up"
        )
    if of_directory:
        raise FphiError("a search on a table leaves no directory; leave --out and --resume out")
    if config.part(ExecutorOptions) != ExecutorOptions():
        raise FphiError("a search on a table evaluates nothing; leave --executor and --workers out")
    unused = [flag(key) for key in _of_trainings(config) if key in given]
    if unused:
        raise FphiError(
            f"a search on a table looks up how its networks were trained; leave {', '.join(unused)} out"
        )


def _of_trainings(config: Config) -> list[str]:
    """The options of all but the method and its budget: of networks, their trainings, what comes of them."""
    kinds = [(key, kind) for key, kind in config.schema.parts if not issubclass(kind, Method | BudgetOptions)]
    return [f"{key}.{field.name}" if key else field.name for key, kind in kinds for field in fields(kind)]  # type: ignore[arg-type]


def search_table(config: Config, options: TableOptions, seeds: int = 1) -> dict[str, Any]:
    """Search with each seed; the accuracies on test data, as JSON has them.

    Raises:
        StoppedError: SIGTERM or Ctrl-C; the search of a seed that was cut short has no result.
        FphiError: the method, the space or the budget does not fit the table.
        DataError: the table is missing or damaged.
    """
    method, limit = config.method, config.part(BudgetOptions)
    assert options.table is not None
    at_least(1, seeds=seeds)
    if not isinstance(method, SearchMethod):
        raise FphiError(f"{config.name} trains a supernet, for which there is no table; leave --table out")
    if limit.evaluations is None and limit.seconds is None:
        raise FphiError("a search on a table needs a budget: give --seconds (simulated) or --evaluations")
    table = load_table(config.space.name, Path(options.table), options.dataset)
    if limit.seconds is not None and not table.has_costs:
        raise FphiError(f"{options.table} knows no costs; give --evaluations in place of --seconds")
    budget = Budget(limit.evaluations, limit.seconds)
    with searchable(config):
        method.optimizer(table.space, limit.seed)  # refuses what does not fit before processes begin
    results = _over_seeds(method, table, budget, range(limit.seed, limit.seed + seeds))
    return _record(config, options, results)


def _record(config: Config, options: TableOptions, results: list[tuple[float, int]]) -> dict[str, Any]:
    tests = [100 * test for test, _ in results]
    return {
        "method": config.name,
        "dataset": options.dataset,
        "seconds": config.part(BudgetOptions).seconds,
        "seeds": len(results),
        "test_accuracy": {
            "mean": round(fmean(tests), 4),
            "std": round(stdev(tests), 4) if len(tests) > 1 else None,
        },
        "evaluations": {"mean": round(fmean(count for _, count in results), 2)},
    }


def summary_of_table(record: dict[str, Any]) -> Table:
    """Beside one another: data, budget, and the test accuracy over seeds."""
    test = record["test_accuracy"]
    spread = "" if test["std"] is None else f" ± {test['std']:.2f} over seeds"
    lines = (
        ("data", record["dataset"]),
        *((("budget", f"{record['seconds']:g} simulated seconds"),) if record["seconds"] else ()),
        ("evaluations", f"{record['evaluations']['mean']:g}"),
        ("seeds", str(record["seeds"])),
        ("test accuracy (%)", f"{test['mean']:.2f}{spread}"),
    )
    return Table(("", record["method"]), lines)


def _over_seeds(
    method: SearchMethod, table: TabularBenchmark, budget: Budget, seeds: range
) -> list[tuple[float, int]]:
    """Test accuracy and evaluations of one search for each seed, on two processes where there are many."""
    some = partial(_some_seeds, method, table, budget)
    if len(seeds) < _FOR_TWO:
        return some(seeds)
    with closing(Processes(2, forked=True)) as workers:
        futures = [workers.submit(some, seeds[i::2]) for i in range(2)]
        try:
            return [result for future in futures for result in future.result()]
        except ProcessDiedError as error:
            raise FphiError(f"half of the searches are lost: {error}; run the command again") from error


def _some_seeds(
    method: SearchMethod, table: TabularBenchmark, budget: Budget, seeds: Sequence[int]
) -> list[tuple[float, int]]:
    results = []
    for seed in seeds:
        optimizer = method.optimizer(table.space, seed)
        history = search(optimizer, table, budget)
        if budget.allows_another(optimizer.asked, history.seconds):
            raise StoppedError(f"in the search of seed {seed}; nothing of it is kept, run the command again")
        assert history.best is not None
        results.append((history.best.outcome.measures["test_accuracy"], len(history.records)))
    return results
