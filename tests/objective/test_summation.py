"""Sums in any order, to the same bits."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fphi.objective.summation import sum_of, summand, summed

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def terms(seed: int, count: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Numbers of different sizes, in float64 of very different ones, which nearly cancel."""
    generator = torch.Generator().manual_seed(seed)
    least = -12.0 if dtype == torch.float64 else -2.0
    scale = 10 ** torch.empty(count, 50, dtype=torch.float64).uniform_(least, 3, generator=generator)
    drawn = torch.randn(count, 50, generator=generator, dtype=torch.float64) * scale
    drawn[-1] = 1e-7 * drawn[-1] - drawn[:-1].sum(0)
    return list(drawn.to(dtype))


@DTYPES
@given(seed=st.integers(0, 2**32), count=st.integers(2, 9), cut=st.integers(1, 8), order=st.randoms())
def test_neither_order_nor_division_among_processes_leaves_a_trace(
    dtype: torch.dtype, seed: int, count: int, cut: int, order: Random
) -> None:
    parts = [summand(x, exact=True) for x in terms(seed, count, dtype)]
    together = sum_of(summed(parts), dtype)
    order.shuffle(parts)
    halves = [half for half in (parts[:cut], parts[cut:]) if half]
    assert (sum_of(summed(map(summed, halves)), dtype) == together).all()


@DTYPES
def test_what_is_summed_is_the_sum(dtype: torch.dtype) -> None:
    drawn = terms(0, 5, dtype)
    exact = torch.stack(drawn).double().sum(0)
    for how in (True, False):
        found = sum_of(summed(summand(x, exact=how) for x in drawn), dtype)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-2 * torch.finfo(dtype).eps * 1e5)
    one = drawn[0]
    assert (sum_of(summand(one, exact=True), dtype) == one).all()


def test_numbers_that_are_not_finite_stay_so() -> None:
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=torch.float64)
    for x in (odd, odd.float()):
        assert not sum_of(summand(x, exact=True), x.dtype).isfinite().any()
