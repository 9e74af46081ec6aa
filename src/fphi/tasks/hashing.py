"""Random numbers that are a function of their place, not of what was drawn before.

A number is addressed by (seed, stream name, task index, position) and computed by the SplitMix64
generator (Steele, Lea, Flood, OOPSLA 2014), started for every task at a hash of its address. There is
no generator object and no state, so tasks can be made in any order, in any batch, in any process.
"""

import hashlib
import operator
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError

__all__ = ["draw_distinct", "normal", "permutation", "stream_key", "task_indices", "uniform"]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(seed: int, *names: str) -> np.uint64:
    """Return the key of a stream of random numbers; equal in every process and on every machine.

    >>> int(stream_key(0, "train", "ways"))
    14092933316500765740
    """
    text = "/".join([str(seed), *names])
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def task_indices(indices: Sequence[int]) -> NDArray[np.int64]:
    """Return the task numbers as an array [B].

    Raises:
        DataError: they are no list of whole numbers, or one of them is negative or has more than 63 bits.
    """
    many = hasattr(indices, "__getitem__") and getattr(indices, "shape", (1,)) != ()
    if not many or isinstance(indices, str | bytes | Mapping):
        raise DataError(f"the task numbers are {indices!r:.60}; give a list or a range of them")
    whole = [_whole(index) for index in indices]
    if whole and min(whole) < 0:
        raise DataError(f"task index {min(whole)} is negative; tasks are numbered from 0")
    if whole and max(whole) >= 2**63:
        raise DataError(f"task index {max(whole)} is too large; tasks are numbered up to {2**63 - 1}")
    return np.array(whole, dtype=np.int64)


def _whole(index: object) -> int:
    if type(index) is int:
        return index
    try:
        if "bool" in str(getattr(index, "dtype", type(index))):
            raise TypeError
        return operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"task index {index!r:.60} is no whole number; tasks are numbered from 0") from None


def uniform(key: np.uint64, indices: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return [B, count] uniform numbers in [0, 1), multiples of 2**-53; row b depends on indices[b] only.

    >>> key = stream_key(0, "train", "ways")
    >>> a, b = uniform(key, np.array([7, 8]), 3), uniform(key, np.array([8]), 2)
    >>> bool((a[1, :2] == b[0]).all())
    True
    """
    start = _mix(indices.astype(np.uint64) * _GAMMA ^ key)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    bits = _mix(start[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(key: np.uint64, indices: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return [B, count] normal numbers of mean 0 and variance 1; row b depends on indices[b] only.

    Two of them are made of one word of 64 bits (Box and Muller), which is fast and goes to 6.7 at most.

    >>> bool(abs(normal(stream_key(0), np.arange(100), 100).std() - 1) < 0.02)
    True
    """
    start = _mix(indices.astype(np.uint64) * _GAMMA ^ key)
    bits = _mix(start[:, None] + np.arange(1, (count + 1) // 2 + 1, dtype=np.uint64) * _GAMMA)
    one = ((bits >> np.uint64(32)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    other = (bits & np.uint64(0xFFFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0**-32)
    length = np.sqrt(-2 * np.log(np.minimum(one, np.float32(1))))
    both = np.stack([length * np.cos(other), length * np.sin(other)], axis=2)
    return both.reshape(len(indices), -1)[:, :count]


def draw_distinct(u: NDArray[np.float64], n: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Map uniform numbers to distinct integers: the last axis is k different ones of 0..n-1.

    Every ordered selection is equally likely. Draw j picks one of the n-j values that are left, counted
    in increasing order: the r-th of them is r plus the number of earlier picks at or below it.

    Args:
        u: uniform numbers in [0, 1), [..., k].
        n: how many there are to choose from, a number or an array [...]; at least k.

    >>> draw_distinct(np.array([[0.0, 0.0, 0.0], [0.99, 0.5, 0.99]]), 3).tolist()
    [[0, 1, 2], [2, 1, 0]]
    """
    k = u.shape[-1]
    left = np.asarray(n)[..., None] - np.arange(k)
    picks = (u * left).astype(np.int64)
    for j in range(1, k):
        # In increasing order, earlier pick t has t earlier picks below it, so s_t - t unpicked values.
        earlier = np.sort(picks[..., :j], axis=-1) - np.arange(j)
        picks[..., j] += (earlier <= picks[..., j, None]).sum(axis=-1)
    return picks


def permutation(n: int, seed: int, *names: str) -> NDArray[np.int64]:
    """Return a random permutation of 0..n-1, a function of the seed and the names.

    >>> sorted(permutation(4, 0, "split").tolist())
    [0, 1, 2, 3]
    """
    numbers = uniform(stream_key(seed, *names), np.zeros(1, dtype=np.int64), n)[0]
    return np.argsort(numbers, kind="stable").astype(np.int64)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection of 64-bit words that flips each output bit with chance 1/2."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
