"""A kernel's tasks are spread over threads: how many changes no bit, nor who calls at the same time."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import Tensor

from fphi.native.convolution import Geometry, convolve
from fphi.native.first_layer import first_layer, patch_moments
from fphi.native.library import kernel_threads
from fphi.native.norm_pool import NormPool, norm_pool
from native_helpers import derivatives, needs_kernels, numbers

pytestmark = needs_kernels

TASKS = 11  # more than there are groups of tasks that share a filter


def convolved(shared: bool, geometry: Geometry, channels: int) -> list[Tensor]:
    x, w = (
        numbers(TASKS, 2, 6, 6, channels, seed=1),
        numbers(1 if shared else TASKS, 16, channels, 3, 3, seed=2),
    )
    return derivatives(lambda x, w: convolve(x, w, geometry), (x, w), 2)


def normalised() -> list[Tensor]:
    z, scale, shift = (
        numbers(TASKS, 2, 6, 6, 16, seed=1),
        numbers(TASKS, 16, seed=2),
        numbers(TASKS, 16, seed=3),
    )
    spec = NormPool(2, 2, 1e-5)
    return derivatives(lambda z, a, b: norm_pool(z, a, b, None, spec)[0], (z, scale, shift), 2)


def of_images() -> list[Tensor]:
    x = numbers(TASKS, 2, 1, 8, 8, seed=1)
    layer = derivatives(lambda u: first_layer(x, u), (numbers(TASKS, 10, 16, seed=2),), 2)
    return [*patch_moments(x, 2), *layer]


CASES: dict[str, Callable[[], list[Tensor]]] = {
    "Winograd": partial(convolved, False, Geometry(1, 1), 16),
    "Winograd, one filter": partial(convolved, True, Geometry(1, 1), 16),
    "patches": partial(convolved, False, Geometry(2, 1), 3),
    "patches, one filter": partial(convolved, True, Geometry(2, 1), 3),
    "norm": normalised,
    "first layer": of_images,
}


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    alone = CASES[name]()
    assert any(a.any() for a in alone)
    for threads in (2, 5):
        with kernel_threads(threads):
            assert all(map(torch.equal, CASES[name](), alone))


def test_callers_at_the_same_time_do_not_disturb_each_other() -> None:
    alone = {name: case() for name, case in CASES.items()}

    def call(name: str) -> bool:
        with kernel_threads(3):
            return all(all(map(torch.equal, CASES[name](), alone[name])) for _ in range(20))

    with ThreadPoolExecutor(len(CASES)) as pool:
        assert list(pool.map(call, CASES)) == [True] * len(CASES)


def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import os, torch
from fphi.native.convolution import Geometry, convolve
from fphi.native.library import kernel_threads
torch.set_num_threads(1)
x, w = torch.rand(8, 2, 6, 6, 16), torch.rand(8, 16, 16, 3, 3)
with kernel_threads(3):
    before = convolve(x, w, Geometry(1, 1))
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(convolve(x, w, Geometry(1, 1)), before) else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(convolve(x, w, Geometry(1, 1)), before)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
