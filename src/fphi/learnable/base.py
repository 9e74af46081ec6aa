"""A learning algorithm F: training data and test inputs in, answers out. Its parameters are φ."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.checking import checks
from fphi.learnable.modes import evaluation_mode, keep_batch_statistics, uses_query_batch
from fphi.learnable.rows import answers_after, rows_share
from fphi.learnable.targets import AnswersAtTest, fitting, require_answerable, require_scalar
from fphi.networks.batch_norm import network_pass, norm_modes
from fphi.ranges import checked
from fphi.tasks.types import Examples, Task
from fphi.within.calls import call_loss
from fphi.within.stand_in import own_parameters
from fphi.within.task_map import Batching, TaskMap, call_network, is_costly

__all__ = [
    "AnswersAtTest",
    "LearningAlgorithm",
    "Loss",
    "each_query_alone",
    "evaluation_mode",
    "over_network",
    "passes_alone",
    "run_network",
]

# Of one task: predictions [n, ...] and targets [n, ...] to a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]
_CHECKED = {"forward", "adapt", "solve", "solve_alone", "answers_at_test", "task_losses", "summed_gradient"}


class LearningAlgorithm(nn.Module):
    """F_φ, the learning algorithm that is learned; a subclass overrides `forward` or `solve`.

    `forward` answers one task and `solve` a batch of them; each is by default written with the
    other. No call changes state: what happens inside depends on φ and on the arguments alone.

    What changes in the course of training is set in ``set_progress(fraction)``: see `fphi.within.progress`.

    What its public methods are given is checked by `fphi.learnable.checking`, in subclasses too.

    Args:
        loss: scalar loss of one task from predictions and targets.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    # Whether its targets are read as class numbers, one for each example.
    reads_labels: ClassVar[bool] = False
    # The most tasks that are solved together on a CPU where nobody says how many.
    tasks_at_once: ClassVar[int] = 8

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        for name in _CHECKED & vars(cls).keys():
            setattr(cls, name, checks(vars(cls)[name]))

    @checked()
    def __init__(self, loss: Loss = F.cross_entropy, batching: Batching = "auto") -> None:
        super().__init__()
        self.loss = loss
        self.over_tasks = TaskMap(batching)

    @checks
    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        """Predictions ``[Q, ways]`` for ``query_x: [Q, *input]`` from ``support.x: [n, *input]``."""
        return self.solve(Examples(support.x[None], support.y[None]), query_x[None])[0]

    @checks
    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        """Predictions ``[B, Q, ways]`` for a batch of tasks.

        A caller may add ``transductive=False`` to any learner's, which then is `solve_alone`.

        Args:
            support: ``x: [B, n, *input]``, ``y: [B, n]``.
            query_x: ``[B, Q, *input]``.
        """
        if type(self).forward is LearningAlgorithm.forward:
            raise NotImplementedError(
                f"{type(self).__name__} must define forward (one task) or solve (a batch)"
            )
        own = own_parameters(self)
        return self.over_tasks(lambda x, y, q: call_network(self, own, Examples(x, y), q), *support, query_x)

    @checks
    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        """As `solve`, but no query's answer depends on another query: the inductive answers.

        Each query is asked in a task of its own. A network that normalises by batch statistics must see
        support set and query in one batch, or the statistics are those of a single example. Learners
        whose networks all go through `run_network` or `EmbeddingLearner.embed` save time with
        `each_query_alone` in its place.

        Raises:
            FphiError: one of torch's batch norms is given a query by itself, which has no variance.
        """
        try:
            return torch.cat([self.solve(support, query) for query in torch.split(query_x, 1, dim=1)], 1)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise FphiError(
                f"{type(self).__name__} gives its batch norm a single query, which has no variance: pass the "
                "support set and the queries through the network together, or evaluate with inductive=False"
            ) from error

    @checks
    def answers_at_test(
        self, support: Examples, query_x: Tensor, steps: int | None = None, alone: bool = True
    ) -> AnswersAtTest:
        """What is asked of a learner at test: every kind of answer, from as little work as it can be had.

        Args:
            support: see `solve`.
            query_x: see `solve`.
            steps: inner steps up to which the answers by step go; None: as many as the learner takes.
            alone: whether the inductive answers are wanted.
        """
        final = self.solve(support, query_x)
        return AnswersAtTest(final, self.solve_alone(support, query_x) if alone else None)

    @checks
    def task_losses(self, tasks: Task) -> Tensor:
        """lⁿ: the loss ``[B]`` on each task's query set after learning from its support set."""
        return self.losses(self.solve(tasks.support, tasks.query.x), tasks.query.y)

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss ``[B]`` of each task's answers ``[B, Q, ...]``.

        Raises:
            FphiError: a label has no answer that could be right.
        """
        require_answerable(answers, targets)
        return self.over_tasks(self.task_loss, answers, targets)

    def task_loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss of one task; whole-number targets of a regression become its numbers."""
        loss = call_loss(self.loss, answers, fitting(self.loss, answers, targets))
        require_scalar(loss)
        return loss

    def logits(self, answers: Tensor) -> Tensor | None:
        """Answers ``[..., ways]`` as logits: their softmax is how probable each class is.

        As cross-entropy reads them answers are logits already. None: nothing makes probabilities of them.
        """
        return answers

    def examples_at_once(self, tasks: Task) -> int:
        """How many examples of a task are at work at once in training; chunks of tasks are sized by it."""
        return tasks.support.x.shape[1] + tasks.query.x.shape[1]

    def numbers_at_once(self) -> int:
        """How many numbers each task has of its own meanwhile, as its adapted parameters; see there."""
        return 0

    @checks
    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """The tasks' summed loss, and its gradient for each of `parameters` that requires one."""
        wanted = [p for p in own_parameters(self).values() if p.requires_grad]

        def differentiated() -> tuple[Tensor, list[Tensor]]:
            total = self.task_losses(tasks).sum()
            if not total.requires_grad:  # nothing that answers depend on is learned
                return total, [torch.zeros_like(p) for p in wanted]
            return total.detach(), list(torch.autograd.grad(total, wanted, materialize_grads=True))

        return self.over_tasks.attempt(differentiated)

    def require_teaching(self, tasks: Task) -> None:
        """Raise an `FphiError` if a batch of training tasks would teach something else than it is to."""

    def observe(self, task: Task) -> None:
        """Pass one task's examples through what has running statistics, for `calibrate` to take them."""
        examples = torch.cat([task.support.x, task.query.x])
        for network in self.children():
            if "running" in norm_modes(network):
                call_network(network, own_parameters(network), examples)

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """What can be said of the answers beyond accuracy and loss: by name one value per task ``[B]``."""
        return {}

    def shares_queries(self, support: Examples, query_x: Tensor) -> bool:
        """Whether the answer to a query depends on the queries that are answered together with it.

        It does where a norm layer uses the batch of queries. Otherwise it is found by trying the first task.

        Args:
            support: see `solve`.
            query_x: see `solve`.
        """
        if any(map(uses_query_batch, self.modules())):
            return True
        return rows_share(answers_after(self, Examples(support.x[:1], support.y[:1])), query_x)

    def answering(self, support: Examples) -> Callable[[Tensor], Tensor]:
        """What `solve` answers after learning from ``support``, for any queries, which may come later."""
        return partial(self.solve, support)

    def train(self, mode: bool = True) -> Self:
        """As in torch; but torch's norm layers use running statistics only where these hold something.

        No call of a learner moves a buffer, so that is where a network brought them along.
        """
        super().train(mode)
        if not mode:
            keep_batch_statistics(self)
        return self


def run_network(
    over_tasks: TaskMap,
    network: nn.Module,
    parameters: dict[str, Tensor] | None,
    support_x: Tensor,
    query_x: Tensor,
    step: int = 0,
) -> Tensor:
    """The network's outputs for the queries ``[B, Q, *out]``, by the rule that its norm layers name.

    Args:
        over_tasks: how tasks are batched.
        network: ``[n, *input]`` to ``[n, *out]``.
        parameters: by name ``[B, *shape]``; None: the network's own, shared by all tasks.
        support_x: ``[B, n, *input]``, which statistics may be taken from.
        query_x: ``[B, Q, *input]``.
        step: inner steps done, for norm layers of mode ``per-step``.
    """
    rows = support_x.shape[1]

    def together(own: dict[str, Tensor] | None, support: Tensor, queries: Tensor) -> Tensor:
        if "support" not in norm_modes(network):
            with network_pass(step=step):
                return over_network(over_tasks, network, own, queries)
        with network_pass(rows, step):
            return over_network(over_tasks, network, own, torch.cat([support, queries], 1))[:, rows:]

    first = None if parameters is None else {name: p[:1] for name, p in parameters.items()}
    if not passes_alone(network, partial(together, first, support_x[:1]), query_x):
        return together(parameters, support_x, query_x)
    with network_pass(step=step):
        batches = (torch.cat([support_x, query], 1) for query in torch.split(query_x, 1, dim=1))
        answers = [over_network(over_tasks, network, parameters, batch)[:, rows] for batch in batches]
    return torch.stack(answers, 1)


# The learner whose queries are to pass alone, in this thread.
_ASKED_ALONE: ContextVar[nn.Module | None] = ContextVar("asked_alone", default=None)


@contextmanager
def each_query_alone(learner: nn.Module) -> Iterator[None]:
    """Within it, networks whose outputs for one query depend on others get each query in a batch of its own.

    That batch holds the support set too, as with norm layers of mode ``support+1``. It is `run_network`,
    `EmbeddingLearner.embed` and the like that keep to it; a plain call of a network does not.
    """
    token = _ASKED_ALONE.set(learner)
    try:
        yield
    finally:
        _ASKED_ALONE.reset(token)


def passes_alone(network: nn.Module, outputs: Callable[[Tensor], Tensor], queries: Tensor) -> bool:
    """Whether each query must pass in a batch of its own, with the support set.

    Args:
        network: with norm layers of mode ``support+1`` it must; any other if `each_query_alone` asks for it.
        outputs: the network's outputs ``[1, Q, *out]`` for queries of the first task ``[1, Q, *input]``, to
            find out whether they depend on each other.
        queries: ``[B, Q, *input]``.
    """
    if "support+1" in norm_modes(network):
        return True
    asked = _ASKED_ALONE.get()
    if asked is None or not any(network is module for module in asked.modules()):
        return False
    return any(uses_query_batch(m) for m in network.modules()) or rows_share(outputs, queries)


def over_network(
    over_tasks: TaskMap, network: nn.Module, parameters: dict[str, Tensor] | None, x: Tensor
) -> Tensor:
    """``network(x)`` for a batch of tasks ``x: [B, n, *input]``."""
    costly = is_costly(network, x)
    if parameters is None:
        own = own_parameters(network)
        return over_tasks(lambda one: call_network(network, own, one), x, costly=costly)
    return over_tasks(lambda p, one: call_network(network, p, one), parameters, x, costly=costly)
