"""What holds for one thread alone, or within a ``with`` statement, and has to hold elsewhere too."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

__all__ = [
    "cache_of_parametrizations",
    "can_be_entered_elsewhere",
    "ordinary",
    "own_cache",
    "surroundings",
]

_DEVICES = ("cpu", "cuda")


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy to take derivatives with: inference mode makes some that have none."""
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor


def can_be_entered_elsewhere() -> bool:
    """Whether another thread would compute as this one does, in `surroundings`.

    It would not within torch's cache of parametrizations, within a mode that replaces torch's functions, as
    ``with torch.device(…)`` does, or with hooks for what the backward pass needs.
    """
    modes = (_get_current_function_mode(), _get_current_dispatch_mode())  # type: ignore[no-untyped-call]
    if parametrize._cache_enabled:
        return False
    return modes == (None, None) and torch._C._autograd._top_saved_tensors_default_hooks(True) is None


@contextmanager
def own_cache() -> Iterator[None]:
    """Within it what torch has cached of parametrizations is not seen: it goes by a module's ``id``, and
    that of a copy may have been another's.
    """
    if not parametrize._cache_enabled:
        yield
        return
    before, fresh = parametrize._cache, {}  # type: ignore[var-annotated]
    parametrize._cache = fresh
    try:
        yield
    finally:
        if parametrize._cache is fresh:  # nobody else has left it meanwhile
            parametrize._cache = before


def cache_of_parametrizations() -> object:
    """Another one once somebody has left ``parametrize.cached()``, of which all threads share one."""
    return parametrize._cache


def surroundings() -> Callable[[], AbstractContextManager[None]]:
    """Enters, where and when it is called, what is at work now: mixed precision, derivatives or none."""
    gradients = torch.is_grad_enabled()
    precision = [
        (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)) for device in _DEVICES
    ]

    @contextmanager
    def entered() -> Iterator[None]:
        with ExitStack() as stack:
            for device, dtype, enabled in precision:
                if enabled != torch.is_autocast_enabled(device) or dtype != torch.get_autocast_dtype(device):
                    stack.enter_context(torch.autocast(device, dtype, enabled))
            stack.enter_context(torch.set_grad_enabled(gradients))
            yield

    return entered
