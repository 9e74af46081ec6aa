"""The kernels compute what torch computes, with every derivative up to the third, whatever the shape."""

from statistics import median

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fphi.native.convolution import Geometry, convolve
from fphi.native.first_layer import PLANES, first_layer, patch_moments
from fphi.native.library import kernel
from fphi.native.norm_pool import NormPool, norm_pool
from native_helpers import derivatives, deviation, needs_kernels, numbers

pytestmark = needs_kernels

small = st.integers(1, 3)
side = st.integers(3, 9)
few = settings(max_examples=25, deadline=None, derandomize=True)


def convolve_by_torch(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    weights = weight.expand(len(x), *weight.shape[1:])
    maps = [
        F.conv2d(a.permute(0, 3, 1, 2), w, None, geometry.stride, geometry.padding).permute(0, 2, 3, 1)
        for a, w in zip(x, weights, strict=True)
    ]
    return torch.stack(maps)


@few
@given(small, small, side, side, st.sampled_from([1, 3, 5, 16, 32, 48]), st.sampled_from([16, 48]),
       st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.booleans())  # fmt: skip
def test_convolution(
    tasks: int, n: int, H: int, W: int, C: int, outputs: int, stride: int, padding: int, shared: bool
) -> None:
    geometry = Geometry(stride, padding)
    x = numbers(tasks, n, H, W, C, seed=1)
    weight = numbers(1 if shared else tasks, outputs, C, 3, 3, seed=2)
    found, right = (
        derivatives(lambda x, w, f=f: f(x, w, geometry), (x, weight), 3)
        for f in (convolve, convolve_by_torch)
    )
    assert deviation(found, right) < 1e-13


def norm_pool_by_torch(
    z: Tensor, scale: Tensor, shift: Tensor, given: tuple[Tensor, Tensor] | None, spec: NormPool
) -> Tensor:
    own = z[:, : spec.own]
    mean, rstd = given or (own.mean((1, 2, 3)), (own.var((1, 2, 3), correction=0) + spec.eps).rsqrt())
    mean, gain, shift = (a[:, None, None, None] for a in (mean, rstd * scale, shift))
    y = ((z - mean) * gain + shift).relu()
    pooled = F.max_pool2d(y.flatten(0, 1).permute(0, 3, 1, 2), spec.window).permute(0, 2, 3, 1)
    return pooled.reshape(*y.shape[:2], *pooled.shape[1:])


@few
@given(small, st.integers(1, 4), st.integers(2, 7), st.integers(2, 7), st.sampled_from([16, 32]),
       st.sampled_from([1, 2]), st.integers(0, 4))  # fmt: skip
def test_norm_and_pool(tasks: int, n: int, H: int, W: int, C: int, window: int, own: int) -> None:
    spec = NormPool(window, min(own, n), 1e-5)
    z, scale, shift = numbers(tasks, n, H, W, C, seed=1), numbers(tasks, C, seed=2), numbers(tasks, C, seed=3)
    known = None if spec.own else (numbers(tasks, C, seed=4), numbers(tasks, C, seed=5).exp())
    found, right = (
        derivatives(lambda *inputs, f=f: f(*inputs, known, spec), (z, scale, shift), 3)
        for f in (lambda *given: norm_pool(*given)[0], norm_pool_by_torch)
    )
    assert deviation(found, right) < 1e-11


def patches_by_torch(x: Tensor) -> Tensor:
    """Of planes ``[T, n, P, H + 2, W + 2]``, their 3x3 patches ``[T, n, H, W, 9 P]``."""
    return x.unfold(3, 3, 1).unfold(4, 3, 1).permute(0, 1, 3, 4, 2, 5, 6).flatten(4)


def first_layer_by_torch(x: Tensor, u: Tensor) -> Tensor:
    maps = torch.einsum("tnhwk,tko->tnohw", patches_by_torch(x), u[:, 1:])
    maps = maps + u[:, 0][:, None, :, None, None]
    pooled = F.max_pool2d(maps.flatten(0, 1).relu(), 2)
    return pooled.reshape(*x.shape[:2], *pooled.shape[1:]).permute(0, 1, 3, 4, 2)


planes = st.sampled_from(PLANES)


@few
@given(small, small, planes, st.integers(2, 9), st.integers(2, 9), st.sampled_from([16, 64]))
def test_first_layer(tasks: int, n: int, P: int, H: int, W: int, outputs: int) -> None:
    x = F.pad(numbers(tasks, n, P, H, W, seed=1), (1, 1, 1, 1))
    found, right = (
        derivatives(lambda u, f=f: f(x, u), (numbers(tasks, 1 + 9 * P, outputs, seed=2),), 3)
        for f in (first_layer, first_layer_by_torch)
    )
    assert deviation(found, right) < 1e-12


@few
@given(small, small, planes, st.integers(2, 9), st.integers(2, 40), st.booleans())
def test_patch_moments(tasks: int, n: int, P: int, H: int, W: int, far: bool) -> None:
    away = torch.arange(1, P + 1).mul(100)[:, None, None] if far else 0
    x = F.pad(numbers(tasks, n, P, H, W, seed=1) + away, (1, 1, 1, 1))
    mean, covariance = patch_moments(x, n)
    patches = patches_by_torch(x).flatten(1, 3)
    right = torch.stack([torch.cov(p.T, correction=0) for p in patches])
    assert deviation([mean, covariance], [patches.mean(1), right]) < 1e-11


@pytest.mark.parametrize(("P", "H", "W"), [(1, 28, 28), (3, 32, 32), (3, 84, 84), (3, 13, 9)])
def test_the_first_layer_in_float32_is_as_near_as_torchs(P: int, H: int, W: int) -> None:
    """Medians over draws: where rounding makes another pixel win a window, either is off by far more."""

    def by_torchs_layers(x: Tensor, u: Tensor) -> Tensor:
        weight = u[0, 1:].reshape(P, 3, 3, -1).permute(3, 0, 1, 2)
        return F.max_pool2d(F.conv2d(x[0], weight, u[0, 0]).relu(), 2).permute(0, 2, 3, 1)[None]

    found: list[float] = []
    torchs: list[float] = []
    for seed in range(5):
        x = F.pad(numbers(1, 4, P, H, W, seed=seed), (1, 1, 1, 1))
        u = numbers(1, 1 + 9 * P, 64, seed=seed + 10)
        right = derivatives(lambda u, x=x: by_torchs_layers(x, u), (u,), 2)
        for deviations, f in ((found, first_layer), (torchs, by_torchs_layers)):
            single = derivatives(lambda u, x=x, f=f: f(x.float(), u), (u.float(),), 2)
            deviations.append(deviation(single, right))
    assert median(found) < 2 * median(torchs)
    assert median(found) < 2e-6


@pytest.mark.parametrize("side", [28, 14, 7, 3])
def test_float32_is_as_near_as_torchs(side: int) -> None:
    x, weight = numbers(2, 5, side, side, 64, seed=1), numbers(2, 64, 64, 3, 3, seed=2)
    right = derivatives(lambda x, w: convolve_by_torch(x, w, Geometry(1, 1)), (x, weight), 2)
    single = x.float(), weight.float()
    torchs, found = (
        derivatives(lambda x, w, f=f: f(x, w, Geometry(1, 1)), single, 2)
        for f in (convolve_by_torch, convolve)
    )
    assert deviation(found, right) < 2 * deviation(torchs, right)


def test_too_little_memory_is_an_error() -> None:
    x, sizes = numbers(16, seed=1), (1, 1, 0, 4, 4, 2**29, 2**29)  # tasks, shared, no image, and many filters
    with pytest.raises(MemoryError, match="no memory left for the native kernel convolve"):
        kernel("convolve", x, x, None, None, x, *sizes, 1, 0)
