"""Which layer of a network it is that torch cannot differentiate, for a message that says so."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.utils._pytree import tree_leaves, tree_map

from fphi.errors import FphiError
from fphi.within.by_hand import by_hand, second_derivatives
from fphi.within.calls import last_path
from fphi.within.stand_in import original, stand_in

__all__ = ["is_missing_derivative", "no_second_derivative", "require_graph", "require_second_derivatives"]

_SIGNS = ("derivative for", "derivative formula", "differentiate twice", "double backward", "out=...")


def is_missing_derivative(error: Exception) -> bool:
    """Whether torch says by this error that it lacks a derivative."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def no_second_derivative(network: nn.Module, x: Tensor, error: Exception) -> FphiError:
    """The refusal of a network that has no second derivative.

    Args:
        network: ``[n, *input]`` to ``[n, *out]``.
        x: what it was given.
        error: torch's.
    """
    reason = " ".join(str(error).split())[:120]
    return FphiError(
        f"{_culprit(network, x)} has no second derivative in torch ({reason}): take order=1, or another layer"
    )


def require_second_derivatives(network: nn.Module) -> None:
    """Raise an `FphiError` if a layer has second derivatives that are silently wrong.

    Spectral normalisation takes the singular vectors, which it finds in training, for constants.
    """
    for name, module in network.named_modules():
        hooks = module._forward_pre_hooks.values()
        spectral = isinstance(module, _SpectralNorm) or any(isinstance(h, SpectralNorm) for h in hooks)
        if spectral and module.training:
            raise FphiError(
                f"spectral_norm ({name}) has no second derivative in training, for it takes its singular "
                "vectors for constants: take order=1, or another layer"
            )


# By network: the paths, see `last_path`, of which the graph was looked at.
_LOOKED_AT: WeakKeyDictionary[nn.Module, set[int]] = WeakKeyDictionary()


def require_graph(network: nn.Module, gradients: Iterable[Tensor]) -> None:
    """Raise an `FphiError` if a gradient was taken through a function of the user's that has no second one.

    Torch ends its graph there, and goes on without a word as long as another way leads to the parameters.

    Args:
        network: was called last by this thread; each path that its calls take is looked at once.
        gradients: or what was computed with them, to be differentiated.
    """
    paths, path = _LOOKED_AT.setdefault(original(network), set()), last_path()
    if path in paths:
        return
    waiting, seen = [g.grad_fn for g in gradients], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "Error":
            raise FphiError(
                f"{type(network).__name__} uses a function that is marked as once_differentiable and has no "
                "second derivative: take order=1, or another function"
            )
        waiting += [following for following, _ in node.next_functions]
    paths.add(path)


def _culprit(network: nn.Module, x: Tensor) -> str:
    """The innermost layer whose second derivative fails by itself; the network, if none does."""
    copied = stand_in(network, {})
    calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
    if copied is not None:
        for module in copied.modules():
            module.register_forward_pre_hook(
                lambda m, args, kwargs: calls.append((m, args, kwargs)), with_kwargs=True
            )
        with torch.enable_grad(), second_derivatives(True), by_hand(True):
            copied(x)
            found = [type(m).__name__ for m, args, kwargs in reversed(calls) if _fails(m, args, kwargs)]
        if found:
            return found[0]
    return type(network).__name__


def _fails(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    args = tree_map(lambda a: a.detach().requires_grad_() if _is_float(a) else a, args)
    inputs = [*_floats((args, kwargs)), *(p for p in module.parameters() if p.requires_grad)]
    try:
        first = _gradients(_floats(module(*args, **kwargs)), inputs)
        _gradients(first, inputs)
    except RuntimeError:
        return True
    return False


def _gradients(outputs: Iterable[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    total = torch.stack([o.square().sum() for o in outputs]).sum()
    if not total.requires_grad:
        return []
    return list(torch.autograd.grad(total, inputs, create_graph=True, materialize_grads=True))


def _floats(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if _is_float(leaf)]


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
