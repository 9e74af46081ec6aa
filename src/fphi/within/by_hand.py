"""Functions of torch whose second derivatives are missing or wrong, written with those that have them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["ByHand", "by_hand", "second_derivatives"]

# Whether what is computed now will be differentiated twice.
_TWICE: ContextVar[bool] = ContextVar("twice", default=False)


@contextmanager
def second_derivatives(wanted: bool) -> Iterator[None]:
    """Within it networks are called such that their derivatives have derivatives, if ``wanted``."""
    token = _TWICE.set(wanted)
    try:
        yield
    finally:
        _TWICE.reset(token)


def by_hand(wanted: bool) -> "ByHand | nullcontext[None]":
    """Within it torch's functions are replaced, if ``wanted``."""
    return ByHand() if wanted else nullcontext()


class ByHand(TorchFunctionMode):
    """Replaces functions; torch takes no fused path through attention in ``eval()`` while it is on.

    Attributes:
        met: whether one of the functions was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.met = _TWICE.get(), False

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function in _FOR_SECOND:
            self.met = True
            function = _FOR_SECOND[function] if self.twice else function
        elif function in _ROWS:
            replaced = _plain_rows(function, *args, **(kwargs or {}))
            self.met |= replaced is not None
            function = replaced or function
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


def _plain_rows(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Callable[..., Tensor] | None:
    """In place of ``F.embedding`` or ``F.embedding_bag``; None where it does as it is.

    Torch's rule for ``vmap`` keeps the padding of the first task alone, and rows that are too long are
    shortened in place, as if that had no derivative. Gradients are dense here.
    """
    given = _ROWS[function].bind(*args, **kwargs).arguments
    padding = given.get("padding_idx") if function is F.embedding else None
    if padding is None and given.get("max_norm") is None and not given.get("sparse"):
        return None
    weight = given["weight"]
    if given.get("max_norm") is not None:
        weight = _shortened(weight, given.pop("max_norm"), given.get("norm_type", 2.0))
    if padding is not None:
        del given["padding_idx"]
        kept = torch.arange(weight.shape[0], device=weight.device) == padding % weight.shape[0]
        weight = torch.where(kept.unsqueeze(1), weight.detach(), weight)
    given |= {"weight": weight, "sparse": False}
    return lambda *_, **__: function(**given)


def _shortened(rows: Tensor, longest: float, order: float) -> Tensor:
    lengths = torch.linalg.vector_norm(rows, order, dim=1, keepdim=True)
    return torch.where(lengths > longest, rows * (longest / (lengths + 1e-7)), rows)


_HEADS = signature(F.multi_head_attention_forward)
_ROWS = {function: signature(function) for function in (F.embedding, F.embedding_bag)}
_FOR_SECOND: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _heads,
    torch._weight_norm: _weight_norm,
}
