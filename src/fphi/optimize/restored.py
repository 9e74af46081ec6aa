"""The state of a torch optimizer, put back only if a step of this optimizer could have left it so."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["restore_optimizer"]

_MOST = 2**53  # steps, which optimizers count in floats


def restore_optimizer(
    optimizer: torch.optim.Optimizer, state: Any, stepped: bool = False, *, some: bool = False
) -> None:
    """Load ``state`` into ``optimizer``; of its settings only the rates count, the others must agree.

    Args:
        optimizer: freshly built over its parameters.
        state: a ``state_dict`` of such an optimizer, from a file.
        stepped: whether it has taken a step: then every parameter that requires a gradient has its part.
        some: that at least one has it is enough: there may be parameters that nothing depends on.

    Raises:
        ValueError, KeyError, TypeError: the state does not fit; the optimizer is as it was.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [_group(now, saved) for now, saved in zip(own, state["param_groups"], strict=True)]
    if not isinstance(state["state"], dict):
        raise TypeError("its state holds no values by parameter")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    after = _after_a_step(optimizer) if state["state"] or stepped else {}
    for index, values in state["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            raise ValueError(f"it has a state of parameter {str(index)[:20]}, which is none")
        _require_alike(index, values, after.get(index, {}))
    due = [i for i, p in enumerate(parameters) if stepped and p.requires_grad and after.get(i)]
    missing = [i for i in due if i not in state["state"]]
    if missing and not (some and len(missing) < len(due)):
        raise ValueError(f"it lacks the state of parameter {missing[0]}")
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _group(own: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group with the rate that was saved."""
    for name, value in own.items():
        if name in saved and name != "lr" and _plain(saved[name]) != _plain(value):
            raise ValueError(f"its {name} is not {str(value)[:40]}")
    if saved["params"] != own["params"]:
        raise ValueError("its parameters are others")
    rate = saved["lr"]
    if type(rate) not in (int, float) or not 0 <= rate < math.inf:
        raise ValueError(f"its lr is {str(rate)[:20]}")
    return {**own, "lr": rate}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _after_a_step(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """What a copy keeps of each parameter once it has taken a step."""
    copied = copy.deepcopy(optimizer)
    for group in copied.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    step = type(copied).step
    getattr(step, "__wrapped__", step)(copied)  # without the hooks that torch wraps it in: none was taken
    kept: dict[int, dict[str, Any]] = copied.state_dict()["state"]
    return kept


def _require_alike(index: int, values: Any, own: dict[str, Any]) -> None:
    """Raise unless these are of the names, kinds and shapes that the optimizer keeps of this parameter."""
    if not isinstance(values, dict) or values.keys() != own.keys():
        raise ValueError(f"it keeps other values of parameter {index} than {', '.join(own) or 'none'}")
    for name, value in values.items():
        mine = own[name]
        alike = type(value) is type(mine)
        if isinstance(value, Tensor) and isinstance(mine, Tensor):
            alike = value.shape == mine.shape and value.dtype == mine.dtype
        if not alike or (name == "step" and not 0 <= float(value) <= _MOST):
            raise ValueError(f"its {name} of parameter {index} is none")
