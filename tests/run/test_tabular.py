"""Tabular benchmarks on the real files: their known figures, and random search in closed form."""

import gzip
import json
import math
import os
from pathlib import Path
from random import Random
from statistics import fmean, median, stdev

import pytest
import torch

from fphi.learnable.architecture import NASBench201Space, NASBenchMacroSpace
from fphi.learnable.space import Tokens
from fphi.optimize import RandomSearch
from fphi.run.search.loop import Budget, search
from fphi.run.search.tabular import (
    DATASETS_201,
    Benchmark201,
    BenchmarkMacro,
    load_nasbench201,
    load_nasbench_macro,
)

ROOT = Path(os.environ.get("FPHI_DATA", ""))
FILE_201, FILE_MACRO = (
    ROOT / "nasbench201" / "nasbench201.csv.gz",
    ROOT / "nasbench_macro" / "cifar10.json.gz",
)
needs_data = pytest.mark.skipif(
    not (os.environ.get("FPHI_DATA") and FILE_201.exists() and FILE_MACRO.exists()),
    reason="FPHI_DATA names no folder with nasbench201/ and nasbench_macro/",
)


@pytest.fixture(scope="module")
def table() -> Benchmark201:
    return load_nasbench201(FILE_201)


@pytest.fixture(scope="module")
def macro() -> BenchmarkMacro:
    return load_nasbench_macro(FILE_MACRO)


@pytest.mark.data
@needs_data
def test_columns_of_nasbench201(table: Benchmark201) -> None:
    """Minimum, mean, median and maximum of the signal, the result and the costs on CIFAR-10."""
    entries = table.entries.values()
    columns = {
        "validation": [100 * e.validation for e in entries],
        "test": [100 * e.tests["test_accuracy"] for e in entries],
        "seconds": [e.seconds for e in entries],
    }
    figures = {name: (min(v), fmean(v), median(v), max(v)) for name, v in columns.items()}
    assert figures["validation"] == pytest.approx((9.7120, 68.8517, 72.2780, 84.8920), abs=1e-4)
    assert figures["test"] == pytest.approx((10.0, 87.0629, 90.7450, 94.3733), abs=1e-4)
    assert figures["seconds"] == pytest.approx((30.891, 112.820, 112.418, 211.580), abs=1e-3)


@pytest.mark.data
@needs_data
def test_named_cells_of_nasbench201(table: Benchmark201) -> None:
    space = NASBench201Space()
    named = {
        (1,) * 6: (54.2967, 15.6067, 16.3222),
        (0,) * 6: (10, 1, 0.8333),
        (3,) * 6: (93.76, 71.1067, 41.4444),
        space.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"):
            (94.3733, 73.22, 46.7111),
    }  # fmt: skip
    for tokens, expected in named.items():
        tests = table.entries[tokens].tests
        measured = [100 * tests[f"test_accuracy_{prefix}"] for prefix in DATASETS_201.values()]
        assert measured == pytest.approx(expected, abs=1e-4)


def best_of(table: Benchmark201, n: int) -> tuple[float, float]:
    """Mean and deviation of the test accuracy of the best of n draws with replacement."""
    ranked = sorted(table.entries.values(), key=lambda e: e.validation)
    chances = [((i + 1) / len(ranked)) ** n - (i / len(ranked)) ** n for i in range(len(ranked))]
    tests = [100 * e.tests["test_accuracy"] for e in ranked]
    mean = sum(p * t for p, t in zip(chances, tests, strict=True))
    return mean, math.sqrt(sum(p * (t - mean) ** 2 for p, t in zip(chances, tests, strict=True)))


@pytest.mark.data
@needs_data
def test_random_search_is_its_closed_form(table: Benchmark201) -> None:
    assert best_of(table, 107)[0] == pytest.approx(93.749, abs=2e-3)
    for n, seeds in ((1, 400), (10, 400), (100, 100)):
        found = []
        for seed in range(seeds):
            best = search(RandomSearch(table.space, seed), table, Budget(n)).best
            assert best is not None
            found.append(100 * best.outcome.measures["test_accuracy"])
        mean, deviation = best_of(table, n)
        assert abs(fmean(found) - mean) < 3 * deviation / math.sqrt(seeds), n
        assert len(found) == seeds
        assert stdev(found) < 2 * deviation


@pytest.mark.data
@needs_data
def test_figures_of_nasbench_macro(macro: BenchmarkMacro) -> None:
    accuracies = {tokens: 100 * entry.validation for tokens, entry in macro.entries.items()}
    values = list(accuracies.values())
    assert (min(values), fmean(values), median(values), max(values)) == pytest.approx(
        (45.3633, 90.2466, 90.9900, 93.1267), abs=1e-4
    )
    assert accuracies[(0,) * 8] == min(values)
    assert accuracies[NASBenchMacroSpace().parse("22212220")] == pytest.approx(max(values))
    assert len(values) == 6561


@pytest.mark.data
@needs_data
def test_networks_of_nasbench_macro_have_as_many_parameters_as_the_benchmarks() -> None:
    rows = json.loads(gzip.decompress(FILE_MACRO.read_bytes()))
    space = NASBenchMacroSpace(channels=32, features=1280)
    for text in Random(0).sample(sorted(rows), 30):
        network = space.build(space.parse(text), (3, 32, 32), 10)
        assert sum(p.numel() for p in network.parameters()) == rows[text]["params"], text


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 9, 13)])
def test_networks_of_the_macro_space_run_and_learn(shape: tuple[int, ...]) -> None:
    space, rng = NASBenchMacroSpace(channels=2, features=8), Random(0)
    for _ in range(5):
        network = space.build(space.sample(rng), shape, 5)
        logits = network(torch.randn(4, *shape))
        assert logits.shape == (4, 5)
        logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_macro_space_has_a_digit_for_each_layer() -> None:
    space, rng = NASBenchMacroSpace(), Random(0)
    assert space.size == 6561
    for _ in range(50):
        tokens = space.sample(rng)
        assert space.parse(space.text(tokens)) == tokens
        changed: Tokens = space.check(space.mutate(tokens, rng))
        assert sum(a != b for a, b in zip(tokens, changed, strict=True)) == 1
