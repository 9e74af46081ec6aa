"""A learning algorithm F: training data and test inputs in, answers out. Its parameters are φ."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fphi.errors import FphiError
from fphi.networks.batch_norm import BatchNorm, network_pass
from fphi.tasks.types import Examples, Task
from fphi.within.task_map import Batching, TaskMap, call_network

__all__ = [
    "LearningAlgorithm",
    "Loss",
    "answers_alone",
    "evaluation_mode",
    "over_network",
    "require_answerable",
    "run_network",
]

# Of one task: predictions [n, ...] and targets [n, ...] to a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]


class LearningAlgorithm(nn.Module):
    """F_φ, the learning algorithm that is learned; a subclass overrides `forward` or `solve`.

    `forward` answers one task and `solve` a batch of them; each is by default written with the
    other. No call changes state: what happens inside depends on φ and on the arguments alone.

    Args:
        loss: scalar loss of one task from predictions and targets.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    def __init__(self, loss: Loss = F.cross_entropy, batching: Batching = "auto") -> None:
        super().__init__()
        self.loss = loss
        self.over_tasks = TaskMap(batching)

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        """Predictions ``[Q, ways]`` for ``query_x: [Q, *input]`` from ``support.x: [n, *input]``."""
        return self.solve(Examples(support.x[None], support.y[None]), query_x[None])[0]

    def solve(self, support: Examples, query_x: Tensor, transductive: bool = True) -> Tensor:
        """Predictions ``[B, Q, ways]`` for a batch of tasks.

        Args:
            support: ``x: [B, n, *input]``, ``y: [B, n]``.
            query_x: ``[B, Q, *input]``.
            transductive: False forbids a query's answer to depend on the other queries.
        """
        if type(self).forward is LearningAlgorithm.forward:
            raise NotImplementedError(
                f"{type(self).__name__} must define forward (one task) or solve (a batch)"
            )
        return self.over_tasks(lambda x, y, q: self.forward(Examples(x, y), q), *support, query_x)

    def task_losses(self, tasks: Task) -> Tensor:
        """lⁿ: the loss ``[B]`` on each task's query set after learning from its support set."""
        return self.losses(self.solve(tasks.support, tasks.query.x), tasks.query.y)

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss ``[B]`` of each task's answers ``[B, Q, ...]``.

        Raises:
            FphiError: a label has no answer that could be right.
        """
        require_answerable(targets, answers.shape[-1])
        return self.over_tasks(self.loss, answers, targets)

    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """The tasks' summed loss, and its gradient for each of `parameters` that requires one."""
        total = self.task_losses(tasks).sum()
        wanted = [p for p in self.parameters() if p.requires_grad]
        return total.detach(), list(torch.autograd.grad(total, wanted, materialize_grads=True))

    def observe(self, task: Task) -> None:
        """Pass one task's examples through what has running statistics, for `calibrate` to take them."""
        examples = torch.cat([task.support.x, task.query.x])
        for network in self.children():
            if "running" in _norm_modes(network):
                network(examples)

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """What can be said of the answers beyond accuracy and loss: by name one value per task ``[B]``."""
        return {}

    @property
    def shares_queries(self) -> bool:
        """Whether a transductive answer may depend on the other queries: on their batch statistics."""
        return any(_uses_query_batch(m) for m in self.modules())

    @property
    def draws(self) -> bool:
        """Whether answers depend on random numbers: on those of dropout, in training."""
        return any(isinstance(m, _DropoutNd) and m.training and m.p > 0 for m in self.modules())


def require_answerable(targets: Tensor, ways: int) -> None:
    """Raise an `FphiError` if a label among ``targets`` is none of 0 … ways-1."""
    if targets.is_floating_point() or not targets.numel() or int(targets.max()) < ways:
        return
    raise FphiError(
        f"a query has the label {int(targets.max())}, and there are answers for 0 to {ways - 1} only: give "
        "the support set examples of its class, or choose a learner of more ways"
    )


def _uses_query_batch(module: nn.Module) -> bool:
    if isinstance(module, BatchNorm):
        return module.mode in ("query-batch", "per-step") or (module.mode == "running" and module.training)
    return isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)


def run_network(
    over_tasks: TaskMap,
    network: nn.Module,
    parameters: dict[str, Tensor] | None,
    support_x: Tensor,
    query_x: Tensor,
    transductive: bool,
    step: int = 0,
) -> Tensor:
    """The network's outputs for the queries ``[B, Q, *out]``, by the rule that its norm layers name.

    Args:
        parameters: by name ``[B, *shape]``; None: the network's own, shared by all tasks.
        support_x: ``[B, n, *input]``, which statistics may be taken from.
    """
    if answers_alone(network, transductive):
        return _each_alone(over_tasks, network, parameters, support_x, query_x, step)
    if "support" not in _norm_modes(network):
        with network_pass(step=step):
            return over_network(over_tasks, network, parameters, query_x)
    rows = support_x.shape[1]
    with network_pass(rows, step):
        together = torch.cat([support_x, query_x], 1)
        return over_network(over_tasks, network, parameters, together)[:, rows:]


def answers_alone(network: nn.Module, transductive: bool) -> bool:
    """Whether each query must pass in a batch of its own, with the support set."""
    shared = any(_uses_query_batch(m) for m in network.modules())
    return "support+1" in _norm_modes(network) or (not transductive and shared)


def _norm_modes(network: nn.Module) -> set[str]:
    return {m.mode for m in network.modules() if isinstance(m, BatchNorm)}


def _each_alone(
    over_tasks: TaskMap,
    network: nn.Module,
    parameters: dict[str, Tensor] | None,
    support_x: Tensor,
    query_x: Tensor,
    step: int,
) -> Tensor:
    """Each query in a batch of its own with the whole support set: inductive, in "support+1" mode."""
    queries = query_x.shape[1]
    with network_pass(step=step):
        answers = [
            over_network(over_tasks, network, parameters, torch.cat([support_x, query_x[:, i : i + 1]], 1))[
                :, -1
            ]
            for i in range(queries)
        ]
    return torch.stack(answers, 1)


def over_network(
    over_tasks: TaskMap, network: nn.Module, parameters: dict[str, Tensor] | None, x: Tensor
) -> Tensor:
    """``network(x)`` for a batch of tasks ``x: [B, n, *input]``."""
    if parameters is None:
        own = dict(network.named_parameters())
        return over_tasks(lambda one: call_network(network, own, one), x)
    return over_tasks(lambda p, one: call_network(network, p, one), parameters, x)


@contextmanager
def evaluation_mode(learner: nn.Module) -> Iterator[None]:
    """``eval()``, but torch's own batch norms go on using batch statistics.

    Learners never move a buffer, so the running statistics of these layers hold nothing.
    """
    was_training = {m: m.training for m in learner.modules()}
    learner.eval()
    for module in learner.modules():
        if isinstance(module, _BatchNorm):
            module.training = True
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
