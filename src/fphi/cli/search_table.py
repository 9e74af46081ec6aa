"""A search on a tabular benchmark: many seeds, in simulated seconds."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from fphi.cli.options import at_least
from fphi.cli.search_config import SearchConfig
from fphi.cli.search_options import TableOptions
from fphi.errors import FphiError
from fphi.methods.searching import SearchMethod
from fphi.report.tables import Table as Printed
from fphi.run.search import Budget, search
from fphi.run.tabular import Table, load_table

__all__ = ["search_table"]

_FOR_TWO = 20  # so many searches are worth a second process


def search_table(config: SearchConfig, options: TableOptions, *, as_json: bool) -> None:
    """Search with each seed, and print the accuracies on test data: one JSON object, or a table.

    Raises:
        FphiError: the method, the space or the budget does not fit the table.
        DataError: the table is missing or damaged.
    """
    method, seeds, limit = config.method, options.seeds, config.budget
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
    method.optimizer(table.space, limit.seed)  # refuses what does not fit before processes begin
    results = _over_seeds(method, table, budget, range(limit.seed, limit.seed + seeds))
    record = _record(config, options, results)
    if as_json:
        print(json.dumps(record))
        return
    _printed(record).show()


def _record(config: SearchConfig, options: TableOptions, results: list[tuple[float, int]]) -> dict[str, Any]:
    tests = [100 * test for test, _ in results]
    return {
        "method": config.name,
        "dataset": options.dataset,
        "seconds": config.budget.seconds,
        "seeds": options.seeds,
        "test_accuracy": {
            "mean": round(fmean(tests), 4),
            "std": round(stdev(tests), 4) if len(tests) > 1 else None,
        },
        "evaluations": {"mean": round(fmean(count for _, count in results), 2)},
    }


def _printed(record: dict[str, Any]) -> Printed:
    test = record["test_accuracy"]
    spread = "" if test["std"] is None else f" ± {test['std']:.2f} over seeds"
    lines = (
        ("data", record["dataset"]),
        *((("budget", f"{record['seconds']:g} simulated seconds"),) if record["seconds"] else ()),
        ("evaluations", f"{record['evaluations']['mean']:g}"),
        ("seeds", str(record["seeds"])),
        ("test accuracy (%)", f"{test['mean']:.2f}{spread}"),
    )
    return Printed(("", record["method"]), lines)


def _over_seeds(method: SearchMethod, table: Table, budget: Budget, seeds: range) -> list[tuple[float, int]]:
    """Test accuracy and evaluations of one search for each seed, on two processes where there are many."""
    if len(seeds) < _FOR_TWO:
        return _some_seeds(method, table, budget, seeds)
    parts = [seeds[i::2] for i in range(2)]
    # A thread each: more would only wait for one another.
    with ProcessPoolExecutor(2, get_context("fork"), torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(_some_seeds, method, table, budget, part) for part in parts]
        return [result for future in futures for result in future.result()]


def _some_seeds(
    method: SearchMethod, table: Table, budget: Budget, seeds: Sequence[int]
) -> list[tuple[float, int]]:
    results = []
    for seed in seeds:
        history = search(method.optimizer(table.space, seed), table, budget)
        assert history.best is not None
        results.append((history.best.outcome.measures["test_accuracy"], len(history.records)))
    return results
