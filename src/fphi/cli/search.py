"""``fphi search METHOD``: architecture search."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

from fphi.cli.options import Parser, at_least, fields_of
from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES
from fphi.methods import SEARCHES, get_search
from fphi.methods.searching import SearchMethod
from fphi.run.search import Budget, search
from fphi.run.tabular import Table, load_nasbench201

__all__ = ["run"]


@dataclass(frozen=True)
class TableOptions:
    """A tabular benchmark in place of training.

    Args:
        table: file of a tabular benchmark; without it candidates are trained.
        dataset: the table's data set: cifar10, cifar100 or imagenet16-120.
        seeds: searches, with seeds from --seed on; a table only.
    """

    table: str | None = None
    dataset: str = "cifar10"
    seeds: int = 1


@dataclass(frozen=True)
class BudgetOptions:
    """When the search ends.

    Args:
        evaluations: architectures evaluated; any number if not given.
        seconds: that evaluations may cost together, simulated ones with a table; any if not given.
        seed: of everything random.
    """

    evaluations: int | None = None
    seconds: float | None = None
    seed: int = 0


def run(arguments: list[str]) -> int:
    """Parse the command, search, print a table or one JSON object."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    method = get_search(name)
    parser = Parser(f"search {name}", f"Search architectures by {name}. {method.paper}.")
    parser.add_argument("--space", type=str, default=method.usual_space, help=f"one of {', '.join(SPACES)}")
    for cls in (BudgetOptions, TableOptions, method):
        parser.add_dataclass(cls)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    o = parser.read(rest)
    at_least(1, seeds=o.seeds)
    chosen, budget, tables = fields_of(method, o), fields_of(BudgetOptions, o), fields_of(TableOptions, o)
    if tables.table is None or not isinstance(chosen, SearchMethod):
        raise FphiError("--table is missing")
    return _search_table(chosen, budget, tables, o.json)


def _search_table(method: SearchMethod, budget: BudgetOptions, options: TableOptions, as_json: bool) -> int:
    assert options.table is not None
    table = load_nasbench201(Path(options.table), options.dataset)
    limit = Budget(budget.evaluations, budget.seconds)
    seeds = range(budget.seed, budget.seed + options.seeds)
    results = _over_seeds(method, table, limit, seeds)
    tests = [test for test, _ in results]
    record = {
        "method": method.title,
        "dataset": options.dataset,
        "seconds": budget.seconds,
        "seeds": options.seeds,
        "test_accuracy": {
            "mean": round(100 * fmean(tests), 4),
            "std": round(100 * stdev(tests), 4) if len(tests) > 1 else None,
        },
        "evaluations": {"mean": round(fmean([count for _, count in results]), 2)},
    }
    print(json.dumps(record))
    return 0


def _over_seeds(method: SearchMethod, table: Table, budget: Budget, seeds: range) -> list[tuple[float, int]]:
    """Test accuracy and evaluations of one search for each seed, on two processes where there are many."""
    if len(seeds) < 20:
        return _some_seeds(method, table, budget, seeds)
    parts = [seeds[i::2] for i in range(2)]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
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


def _usage() -> str:
    names = "\n".join(f"  {name:<24}{cls.paper}" for name, cls in sorted(SEARCHES.items()))
    end = "fphi search METHOD --help lists a method's options."
    return f"usage: fphi search METHOD [options]\n\nmethods:\n{names}\n\n{end}"
