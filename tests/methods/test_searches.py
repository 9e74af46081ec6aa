"""What searches say of themselves, and REINFORCE on NAS-Bench-201: how far its policy comes."""

import os
from pathlib import Path
from statistics import fmean

import pytest

from fphi.experiment.search.options import spaces
from fphi.learnable.policy import IndependentPolicy
from fphi.methods.darts import DARTS
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod
from fphi.methods.random_search import RandomSearchMethod
from fphi.methods.reinforce import Reinforce
from fphi.methods.table import methods
from fphi.optimize import PolicyGradient
from fphi.run.search.loop import Budget, search
from fphi.run.search.tabular import Benchmark201, load_nasbench201

SEARCHES = [cls for cls in methods().values() if issubclass(cls, SearchMethod | EpochwiseMethod)]


@pytest.mark.parametrize("method", SEARCHES, ids=lambda cls: cls.title)
def test_every_search_has_a_space_and_names_its_paper_s_budget(
    method: type[SearchMethod | EpochwiseMethod],
) -> None:
    assert method.usual_space in spaces()
    assert bool(method.paper_budget) == (method is not RandomSearchMethod)  # it is the control of others
    if issubclass(method, EpochwiseMethod):
        assert method().control_evaluations >= 10


def test_darts_says_which_of_its_orders_it_is() -> None:
    assert DARTS().variant == "darts (first order)"
    assert DARTS(order=2).variant == "darts (second order)"
    assert RandomSearchMethod().variant == "random-search"


@pytest.mark.parametrize("method", SEARCHES, ids=lambda cls: cls.title)
def test_a_search_that_learns_nothing_says_so(method: type[SearchMethod | EpochwiseMethod]) -> None:
    """An evolution that ends before its first child, a controller before its first update is of any use."""
    if not issubclass(method, SearchMethod):
        return
    usual = method()
    assert usual.doubt(usual.evaluations(24)) == usual.doubt(None) == ""
    if not method.drawn_by:
        return
    few = getattr(usual, method.drawn_by)
    assert usual.doubt(few + 1) == ""
    assert usual.doubt(few).startswith("nothing is learned in this search")
    assert f"a smaller --{method.drawn_by}" in usual.doubt(few)


def test_no_search_but_these_needs_no_first_candidates() -> None:
    free = {cls.title for cls in SEARCHES if issubclass(cls, SearchMethod) and not cls.drawn_by}
    assert free == {"random-search", "reinforce", "pba"}  # the last one refuses such budgets


# REINFORCE on NAS-Bench-201.

FILE = Path(os.environ.get("FPHI_DATA", "")) / "nasbench201" / "nasbench201.csv.gz"
needs_data = pytest.mark.skipif("FPHI_DATA" not in os.environ, reason="FPHI_DATA names no folder")


@pytest.fixture(scope="module")
def table() -> Benchmark201:
    return load_nasbench201(FILE)


def course(table: Benchmark201, rate: float, seed: int) -> tuple[float, float, float]:
    """Mean validation accuracy in the first and in the last quarter, and the policy's surest answer then."""
    optimizer = Reinforce(lr=rate).optimizer(table.space, seed)
    history = search(optimizer, table, Budget(seconds=12_000))
    accuracies = [100 * (1 - record.outcome.loss) for record in history.records]
    quarter = len(accuracies) // 4
    assert isinstance(optimizer, PolicyGradient)
    assert isinstance(optimizer.policy, IndependentPolicy)
    surest = float(optimizer.policy.log_probabilities().detach().exp().max())
    return fmean(accuracies[:quarter]), fmean(accuracies[-quarter:]), surest


@pytest.mark.data
@needs_data
def test_the_published_rate_leaves_reinforce_s_policy_near_uniform_and_a_larger_one_does_not(
    table: Benchmark201,
) -> None:
    """With 0.01 it finds what random search finds: a hundred small steps leave every answer unsure."""
    published, larger = ([course(table, rate, seed) for seed in range(10)] for rate in (0.01, 0.1))
    assert max(surest for *_, surest in published) < 0.3  # uniform: 0.2
    assert min(surest for *_, surest in larger) > 0.5
    gains = [fmean(last - first for first, last, _ in found) for found in (published, larger)]
    assert gains[0] < 4
    assert gains[1] > gains[0] + 3
