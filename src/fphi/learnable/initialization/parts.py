"""What ``adapts="head"`` takes for granted of a network: that it is its head after its body, nothing else."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks.batch_norm import trial_pass
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import original, own_parameters
from fphi.within.task_map import call_network
from fphi.within.trial import is_mapped

__all__ = ["require_head_after_body"]

# By network, its modes in which it was seen to be head after body: copies of it in threads need no trial.
_SEEN: WeakKeyDictionary[nn.Module, set[bool]] = WeakKeyDictionary()


def require_head_after_body(network: nn.Module, x: Tensor) -> None:
    """Tried on one task's inputs ``x: [n, *input]``, once in each mode of the network.

    Raises:
        FphiError: the network does something besides ``head(body(x))``, or its two parts share a parameter
            that would be adapted in one of them alone.
    """
    seen = _SEEN.setdefault(original(network), set())
    if network.training in seen:
        return
    body, head = network.get_submodule("body"), network.get_submodule("head")
    in_body = {id(p) for p in own_parameters(body).values()}
    for name, p in own_parameters(head).items():
        if p.requires_grad and id(p) in in_body:
            raise FphiError(
                f"body and head of {type(network).__name__} share the parameter head.{name}, which "
                "adapts='head' would change in the head alone: give each its own, or adapts='all'"
            )
    if is_mapped(x):
        return
    drawn = RandomState.now(generators_of(network))
    with trial_pass(), torch.no_grad():
        whole = call_network(network, own_parameters(network), x)
        drawn.restore()
        features = call_network(body, own_parameters(body), x)
        by_parts = call_network(head, own_parameters(head), features)
        drawn.restore()
    if not _equal(whole, by_parts):
        raise FphiError(
            f"{type(network).__name__} does not answer as head(body(x)), which adapts='head' computes: move "
            "what its forward does besides into body or head, or take adapts='all'"
        )
    seen.add(network.training)


def _equal(a: Tensor, b: Tensor) -> bool:
    """Up to rounding; what is not finite has errors of its own."""
    if a.shape != b.shape:
        return False
    near = torch.finfo(a.dtype).eps ** 0.5 if a.is_floating_point() else 0.0
    size = float(a.abs().nan_to_num(0, 0, 0).max()) if a.numel() else 0.0
    return bool(torch.isclose(a, b, rtol=near, atol=near * size, equal_nan=True).all())
