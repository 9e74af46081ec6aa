"""The state of the random numbers that a network may draw: torch's, NumPy's, Python's and its own."""

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType, NoneType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fphi.within.holding import held_by

__all__ = ["RandomState", "generators_of", "own_randomness", "undisturbed"]

_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = frozenset({int, float, complex, bool, str, bytes, NoneType, Tensor, nn.Parameter, torch.dtype})
_OFTEN_EMPTY = (dict, OrderedDict)
_LIBRARIES = frozenset({"builtins", "torch", "numpy", "fphi", "collections", "functools", "abc", "typing"})


class RandomState(NamedTuple):
    """Where all generators stand, to compare or to go back to.

    Attributes:
        torch: of the CPU, and of each CUDA device in use.
        others: NumPy's and Python's; None: not asked for.
        own: generators of a network, each with its state.
    """

    torch: list[Tensor]
    others: tuple[Any, Any] | None
    own: list[tuple[Any, Any]]

    @classmethod
    def now(cls, own: Iterable[Any] = (), others: bool = True) -> "RandomState":
        """The state at present; ``others`` (NumPy's and Python's) takes 100 µs to ask for."""
        states = [torch.get_rng_state()]
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            states += torch.cuda.get_rng_state_all()
        both = (np.random.get_state(), random.getstate()) if others else None
        return cls(states, both, [(g, _state(g)) for g in own])

    def restore(self) -> None:
        """Go back to it."""
        torch.set_rng_state(self.torch[0])
        if len(self.torch) > 1:
            torch.cuda.set_rng_state_all(self.torch[1:])
        if self.others is not None:
            np.random.set_state(self.others[0])
            random.setstate(self.others[1])
        for generator, state in self.own:
            _set_state(generator, state)

    def moved_others(self) -> bool:
        """Whether NumPy's or Python's generator has been drawn from since."""
        return not _same(self.others, (np.random.get_state(), random.getstate()))

    def moved(self) -> bool:
        """Whether anything has been drawn since."""
        now = RandomState.now([g for g, _ in self.own], self.others is not None)
        return (
            any(not torch.equal(a, b) for a, b in zip(self.torch, now.torch, strict=False))
            or not _same(self.others, now.others)
            or any(not _same(a, b) for (_, a), (_, b) in zip(self.own, now.own, strict=True))
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves the generators of torch, NumPy and Python where they stood, whatever is seeded or drawn."""
    before = RandomState.now()
    try:
        yield
    finally:
        before.restore()


def generators_of(module: nn.Module) -> list[Any]:
    """The generators that a module can reach: in attributes, lists, objects, closures, its file's names."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting: list[Any] = [module]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind in _PLAIN or (kind in _OFTEN_EMPTY and not value) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, _KINDS):
            found[id(value)] = value
        elif isinstance(value, type):
            waiting += [] if _is_of_a_library(value) else [*value.__bases__, *vars(value).values()]
        elif not isinstance(value, ModuleType):
            waiting += [*held_by(value), *named_by(value), kind]
    return list(found.values())


def named_by(value: Any) -> list[Any]:
    """What the code of a user's function finds by name in its file: generators, and functions of his own."""
    if not isinstance(value, FunctionType) or _is_of_a_library(value):
        return []
    named = (value.__globals__.get(name) for name in value.__code__.co_names)
    return [v for v in named if isinstance(v, (FunctionType, *_KINDS))]


def _is_of_a_library(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] in _LIBRARIES


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return all(_same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@contextmanager
def own_randomness(seed: int, threads: int) -> Iterator[None]:
    """Torch's generator seeded and its threads set, within."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
