"""Torch's optimizers without torch's compiler, which they load only to keep it away from themselves."""

import inspect
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

__all__ = ["uncompiled"]

K = TypeVar("K", bound=Optimizer)

_KEPT_AWAY = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def uncompiled(kind: type[K]) -> type[K]:
    """The same optimizer; a program that compiles nothing starts a second sooner with it.

    Args:
        kind: a class such as ``torch.optim.Adam``.
    """
    known: Any = kind
    return cast(type[K], _made(known))


@cache
def _made(kind: Any) -> Any:
    step = inspect.unwrap(kind.step)

    @torch.no_grad()
    def without_gradients(self: Optimizer, closure: Any = None) -> Any:
        return step(self, closure)

    own: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _KEPT_AWAY}
    own |= {"step": without_gradients, "__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), own)
