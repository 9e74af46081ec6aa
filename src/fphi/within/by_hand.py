"""Functions of torch whose second derivatives are missing or wrong, written with those that have them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["by_hand", "second_derivatives"]

# Whether what is computed now will be differentiated twice.
_TWICE: ContextVar[bool] = ContextVar("twice", default=False)

# By network and mode: whether it uses any of these functions, which is found out at its first call.
_USES: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()


@contextmanager
def second_derivatives(wanted: bool) -> Iterator[None]:
    """Within it networks are called such that their derivatives have derivatives, if ``wanted``."""
    token = _TWICE.set(wanted)
    try:
        yield
    finally:
        _TWICE.reset(token)


def by_hand(network: nn.Module, training: bool) -> AbstractContextManager[None]:
    """Within it torch's functions are replaced where a call of ``network`` needs it."""
    known = _USES.setdefault(network, {})
    if known.get(training, True):
        return _replacing(known, training)
    return nullcontext()


@contextmanager
def _replacing(known: dict[bool, bool], training: bool) -> Iterator[None]:
    with _ByHand(_TWICE.get()) as mode:
        yield
    known[training] = known.get(training, False) or mode.met


class _ByHand(TorchFunctionMode):
    """Replaces functions; torch takes no fused path through attention in ``eval()`` while it is on.

    Attributes:
        met: whether one of the functions was called.
    """

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice, self.met = twice, False

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function in _REPLACED:
            self.met = True
            function = _REPLACED[function] if self.twice else function
        return function(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """``F.scaled_dot_product_attention`` by its formula."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    formula = torch.ops.aten._scaled_dot_product_attention_math
    answer: Tensor = formula(query, key, value, attn_mask, dropout_p, is_causal, **options)[0]
    return answer


def _heads(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """``F.multi_head_attention_forward``, which takes its fused path only where no weights are asked for."""
    given = _HEADS.bind(*args, **kwargs)
    asked = given.arguments.get("need_weights", True)
    given.arguments["need_weights"] = True
    output, weights = F.multi_head_attention_forward(*given.args, **given.kwargs)
    return output, weights if asked else None


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``torch._weight_norm``: g v / ‖v‖, the norms taken over all dimensions but ``dim``; -1: over all."""
    others = [d for d in range(v.dim()) if dim == -1 or d != dim % v.dim()]
    return v * (g / v.square().sum(others, keepdim=True).sqrt())


_HEADS = signature(F.multi_head_attention_forward)
_REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _heads,
    torch._weight_norm: _weight_norm,
}
