"""What a raw error within a learner means: its network or its loss does not take what it was given."""

from typing import NoReturn

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.targets import fitting
from fphi.tasks.types import Examples
from fphi.within.optimizers import InnerOptimizer
from fphi.within.task_map import call_network, is_mapped

__all__ = ["explain", "plain", "reads_labels", "shape_of"]

# What torch and networks raise where something does not fit.
_RAW = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, AttributeError)


def explain(learner: nn.Module, support: Examples, query_x: Tensor | None, error: Exception) -> None:
    """Raise what the user can mend, if an error is one of the network or of the loss on the first task."""
    network = _network(learner)
    if network is None or not isinstance(error, _RAW) or "memory" in str(error):
        return
    if is_mapped(support.x):
        raise FphiError(
            f"{type(learner).__name__} looks at labels and takes gradients of its own, which torch.func "
            "cannot map: call solve with a batch of tasks in place of vmap, and use torch.autograd.grad"
        ) from error
    if "use_reentrant" in str(error):
        raise FphiError(
            f"{type(network).__name__} computes parts again by a checkpoint with use_reentrant=True, which "
            "gives no gradients within a task: take use_reentrant=False, or the learner's memory='recomputed'"
        ) from error
    outputs = support.x
    for name, x in (("query.x", query_x), ("support.x", support.x)):
        if x is not None:
            outputs = _tried(network, name, x)
    if query_x is not None and query_x.shape[1:] != support.x.shape[1:]:
        raise FphiError(
            f"an example of support.x is {shape_of(support.x[0])} and one of query.x {shape_of(query_x[0])}; "
            f"{type(learner).__name__} needs both the same"
        ) from error
    _require_type(learner, network, outputs, error)
    if reads_labels(learner)[0]:
        raise FphiError(
            f"{type(learner).__name__} cannot compare outputs {shape_of(outputs)} of its network "
            f"({_reason(error)}); give it one of the outputs that it was built for"
        ) from error
    _explain_loss(learner, outputs, support.y, error)


def _require_type(learner: nn.Module, network: nn.Module, outputs: Tensor, error: Exception) -> None:
    """Raise if the learner's own layers have another type than what its network gives them."""
    if torch.is_autocast_enabled(outputs.device.type):  # which converts
        return
    others = [network, *(m for m in learner.modules() if isinstance(m, InnerOptimizer))]
    left = {id(p) for other in others for p in other.parameters()}
    kinds = {p.dtype for p in learner.parameters() if id(p) not in left and p.is_floating_point()}
    if kinds and outputs.is_floating_point() and outputs.dtype not in kinds:
        theirs = " and ".join(sorted(map(plain, kinds)))
        raise FphiError(
            f"{type(network).__name__} gives {plain(outputs.dtype)}, and the other layers of "
            f"{type(learner).__name__} are {theirs}: let it give {theirs}, or convert the learner, as "
            f"learner.to({outputs.dtype})"
        ) from error


def _explain_loss(learner: nn.Module, outputs: Tensor, targets: Tensor, error: Exception) -> None:
    """Raise if the network's outputs and the targets of a task are what the loss does not take."""
    loss = getattr(learner, "loss", None)
    try:
        with torch.no_grad():
            value = loss(outputs, fitting(loss, outputs, targets)) if callable(loss) else None
    except FphiError:
        raise
    except Exception as own:
        raise FphiError(
            f"the loss does not take answers {shape_of(outputs)} and targets {shape_of(targets)} of "
            f"{plain(targets.dtype)} ({_reason(own)}); change the loss or the targets"
        ) from error
    if value is not None and (not isinstance(value, Tensor) or value.numel() != 1):
        shape = shape_of(value) if isinstance(value, Tensor) else type(value).__name__
        raise FphiError(f"the loss of a task is {shape}; it must be one number, as the mean is") from error


def _network(learner: nn.Module) -> nn.Module | None:
    inner = getattr(learner, "learner", None)
    network = _network(inner) if isinstance(inner, nn.Module) else getattr(learner, "network", None)
    return network if isinstance(network, nn.Module) else None


def _tried(network: nn.Module, name: str, x: Tensor) -> Tensor:
    """The network's outputs for the examples of one task."""
    own = dict(network.named_parameters())
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            return call_network(network, own, x)
    except FphiError:
        raise
    except Exception as error:
        _refuse(network, name, x, error)


def _refuse(network: nn.Module, name: str, x: Tensor, error: Exception) -> NoReturn:
    if any(t.is_inference() for t in network.state_dict().values()):
        raise FphiError(
            f"the network {type(network).__name__} was made within torch.inference_mode(), whose tensors "
            "have no derivatives: make it outside, or give copy.deepcopy of it, made outside"
        ) from error
    first = next(network.parameters(), x)
    raise FphiError(
        f"the network {type(network).__name__} does not take {name} {shape_of(x)} of {plain(x.dtype)} on "
        f"{x.device} ({_reason(error)}): its parameters are {plain(first.dtype)} on {first.device}; give "
        "examples of the shape and type that it was built for"
    ) from error


def _reason(error: Exception) -> str:
    return f"{' '.join(str(error).split())[:120] or type(error).__name__}"


def reads_labels(learner: nn.Module) -> tuple[bool, int | None]:
    """Whether a learner reads its targets as class numbers, and how many classes it can have."""
    inner = getattr(learner, "learner", None)
    if isinstance(inner, nn.Module):
        return reads_labels(inner)
    return bool(getattr(learner, "reads_labels", False)), getattr(learner, "ways", None)


def shape_of(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def plain(what: object) -> str:
    return str(what).removeprefix("torch.")
