"""A task read as a sequence: one general network is trained until it is a learning algorithm."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import Loss, each_query_alone
from fphi.learnable.embedding import EmbeddingLearner
from fphi.learnable.sequence.standardisation import OnlineStandardisation
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.answers import are_right
from fphi.within.task_map import Batching

__all__ = ["Labels", "SequenceLearner", "accuracy_by_instance"]

Labels = Literal["given", "shifted"]

_INSTANCES = 10  # presentations of a class that are told of: as many as the table of the MANN paper has
_SURELY_NO_CHANCE = 4  # random streams that have equal labels throughout: practically never


class SequenceLearner(EmbeddingLearner):
    """Reads the support set as a sequence and answers each query as a last item of its own.

    φ = the embedding network, ``standardise`` and the ``core``. An item is an embedding beside a one-hot
    label:

    ===========  ======================  ====================  ======================================
    ``labels``   item t of the support   the query's item      trained on
    ===========  ======================  ====================  ======================================
    ``given``    x_t and y_t             x and zeros           the query set (SNAIL)
    ``shifted``  x_t and y_{t-1}         x and the last y      every answer to one stream of support
                                                               and query set together (MANN)
    ===========  ======================  ====================  ======================================

    A label that came with its own example would be the answer, so ``given`` has a loss only at the
    queries. A query is never part of another query's sequence.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, or to feature maps, which are flattened.
        core: called as ``core(past, last)`` with the common past ``[B, T, d + ways]`` and Q alternative
            last items ``[B, Q, d + ways]``, each following the past alone; gives answers
            ``[B, T, ways]`` and ``[B, Q, ways]``, the one to item t from items 0..t.
        ways: the labels that the core can read and answer. Tasks may have fewer.
        labels: see above.
        standardise: of the embeddings, before the core reads them; None: they are read as they are.
        dropout: share of the (standardised) embeddings' features that is set to 0 in training. A core that
            sees all of them comes to know the training classes by heart.
        loss: scalar loss of one task from logits and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    reads_labels: ClassVar[bool] = True

    @checked(ways=Range(2), dropout=Range(0, 1))
    def __init__(
        self,
        network: nn.Module,
        core: nn.Module,
        ways: int,
        *,
        labels: Labels = "shifted",
        standardise: OnlineStandardisation | None = None,
        dropout: float = 0.0,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.core = core
        self.standardise = standardise
        self.dropout = nn.Dropout(dropout)
        self.ways = ways
        self.labels = labels

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded, queries = self._read(*self.embed(support.x, query_x))
        marks = self._marks(support.y, embedded)
        if self.labels == "given":
            with_past, with_query = marks, torch.zeros_like(marks[:, :1])
        else:
            with_past, with_query = _one_later(marks), marks[:, -1:]
        past = torch.cat([embedded, with_past], 2)
        last = torch.cat([queries, with_query.expand(-1, queries.shape[1], -1)], 2)
        answers: Tensor = self.core(past, last)[1]
        return answers

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)

    def online(self, x: Tensor, y: Tensor) -> Tensor:
        """Answers ``[B, T, ways]`` to a stream ``x: [B, T, *input]`` whose labels ``y: [B, T]`` come late.

        The answer to item t is given before y_t is known: it depends on x_0..x_t and y_0..y_{t-1}.
        (Batch statistics, where the norm layers take them, are of the whole stream.)

        Raises:
            FphiError: the learner was built for ``labels="given"``, the stream has fewer than two
                items, or it has more ways than the learner.
        """
        if y.shape[1] < 2:
            raise FphiError(f"a stream of {y.shape[1]} has nothing to learn from: give at least 2 examples")
        return self._stream(*self.embed(x[:, :-1], x[:, -1:]), y)

    def task_losses(self, tasks: Task) -> Tensor:
        if self.labels == "given":
            return super().task_losses(tasks)
        return self.over_tasks(self.task_loss, *self._tasks_online(tasks))

    def require_teaching(self, tasks: Task) -> None:
        y = torch.cat([tasks.support.y, tasks.query.y], 1)
        if self.labels == "shifted" and len(y) >= _SURELY_NO_CHANCE and bool((y == y[:1]).all()):
            raise FphiError(
                f"all {len(y)} streams have the same labels at the same places, so that labels would be "
                'learned from them: train on fphi.tasks.shuffled(tasks, "stream")'
            )

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """Of ``shifted`` labels the accuracy by instance, `accuracy_by_instance` of each task as one stream.

        "instance 1" is at the first presentation of a class, where only elimination helps, and so on up
        to 10 or the rarest class's count.
        """
        if self.labels == "given":
            return {}
        x, y = (torch.cat(both, 1) for both in zip(*tasks, strict=True))
        # In one random order for all tasks: a set that comes class by class asks the same again and again.
        order = torch.randperm(y.shape[1], generator=torch.Generator().manual_seed(0)).to(y.device)
        return accuracy_by_instance(self.online(x[:, order], y[:, order]), y[:, order])

    def _tasks_online(self, tasks: Task) -> tuple[Tensor, Tensor]:
        """Answers to support and query set read as one stream, and the labels of all of it."""
        y = torch.cat([tasks.support.y, tasks.query.y], 1)
        return self._stream(*self.embed(tasks.support.x, tasks.query.x), y), y

    def _stream(self, first: Tensor, rest: Tensor, y: Tensor) -> Tensor:
        if self.labels == "given":
            raise FphiError(
                "labels='given' show each label beside its example, so a stream would answer itself: "
                "build the learner with labels='shifted', or ask for answers to queries"
            )
        whole = torch.cat([first, rest], 1)
        embedded = torch.cat(self._read(whole[:, :-1], whole[:, -1:]), 1)
        items = torch.cat([embedded, _one_later(self._marks(y, embedded))], 2)
        return torch.cat(self.core(items[:, :-1], items[:, -1:]), 1)

    def _read(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings as the core gets them, ``[B, T, d]`` and ``[B, Q, d]``."""
        past, last = past.flatten(2), last.flatten(2)
        if self.standardise is not None:
            past, last = self.standardise(past, last)
        return self.dropout(past), self.dropout(last)

    def _marks(self, y: Tensor, like: Tensor) -> Tensor:
        """One-hot labels ``[B, n, ways]`` of ``y: [B, n]``, in the floating-point type of ``like``."""
        most = int(y.max()) + 1
        if most > self.ways:
            raise FphiError(
                f"tasks of {most} ways for a learner that was built for {self.ways}, the size of its input "
                f"and output: test it with at most {self.ways} ways, or train one with ways={most}"
            )
        return F.one_hot(y, self.ways).to(like.dtype)


def _one_later(marks: Tensor) -> Tensor:
    """``[B, T, ways]`` moved on by one step; nothing is known at the first."""
    return F.pad(marks[:, :-1], (0, 0, 1, 0))


def accuracy_by_instance(answers: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Per task ``[B]`` the accuracy at those positions where a class is presented for the k-th time.

    For k = 1, 2, … up to 10, or to the count of the class that is rarest in any task.

    Args:
        answers: ``[B, T, ways]``.
        labels: ``[B, T]``.

    >>> stream = torch.tensor([[0, 1, 1, 0]])
    >>> always_one = torch.tensor([0.0, 1.0]).expand(1, 4, 2)
    >>> accuracy_by_instance(always_one, stream)
    {'instance 1': tensor([0.5000]), 'instance 2': tensor([0.5000])}
    """
    seen = F.one_hot(labels).cumsum(1)  # [B, T, classes]
    instance = seen.gather(2, labels.unsqueeze(2)).squeeze(2)
    counts = seen[:, -1]
    right = are_right(answers, labels).float()
    accuracies = {}
    for k in range(1, min(_INSTANCES, int(counts[counts > 0].min())) + 1):
        here = (instance == k).float()
        accuracies[f"instance {k}"] = (right * here).sum(1) / here.sum(1)
    return accuracies
