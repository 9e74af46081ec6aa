"""Answers of a network with the parameters of a task."""

from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import run_network
from fphi.networks.batch_norm import network_pass, norm_modes
from fphi.within.optimizers import Parameters
from fphi.within.task_map import TaskMap, call_network

__all__ = ["answers_with"]


def answers_with(
    network: nn.Module,
    parameters: Parameters,
    x: Tensor,
    support_x: Tensor | None,
    over_tasks: TaskMap,
    step: int,
) -> Tensor:
    """Outputs ``[m, ways]`` for ``x: [m, *input]``, all of one task and answered together.

    Args:
        network: is called.
        parameters: by name, those of the task.
        x: the questions.
        support_x: ``[n, *input]``, where norm layers take statistics from the support set.
        over_tasks: how tasks are batched.
        step: inner steps done.

    Raises:
        FphiError: norm layers need the support set, and it is not given.
    """
    if support_x is not None:
        own = {name: p[None] for name, p in parameters.items()}
        return run_network(over_tasks, network, own, support_x[None], x[None], step)[0]
    needing = norm_modes(network) & {"support", "support+1"}
    if needing:
        raise FphiError(
            f"norm layers of mode {needing.pop()!r} take statistics from the support set: "
            "predict(parameters, x, support_x=support.x)"
        )
    with network_pass(step=step):
        return call_network(network, parameters, x)
