"""A table in context: rows with classes and rows without go in, the classes come out, in one pass."""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss, each_query_alone
from fphi.learnable.embedding import EmbeddingLearner
from fphi.learnable.sequence.closed_forms import HINTS, hints, precise, ranks, relevance, standardised
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["InContextLearner"]

_ABSENT = -1e9  # the logit of a class that the support has no row of


class Prepared(NamedTuple):
    """A batch of tables as the transformer reads them.

    Attributes:
        columns: ``[B, n + Q, 2 * columns]``, values and ranks, of the most relevant ones first.
        sizes: ``[B, 3]``, logarithms of rows, columns and classes.
        hints: ``[B, n + Q, HINTS, ways]``, by class as the labels number them; None: there are none.
        marks: ``[B, n, ways]``, one-hot classes alike.
        place: ``[B, ways]``, the number that each class has inside.
        classes: ``[B]``, how many the support has.
    """

    columns: Tensor
    sizes: Tensor
    hints: Tensor | None
    marks: Tensor
    place: Tensor
    classes: Tensor


class Block(nn.Module):
    """Every row looks at the support rows, and then at itself: attention and an MLP, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.joined = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, rows: Tensor, support: int) -> Tensor:
        """``rows: [B, n + Q, width]``, of which the first ``support`` are looked at."""
        seen = self.before(rows)
        key, value = self.key_value(seen[:, :support]).chunk(2, 2)
        heads = [
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query(seen), key, value)
        ]
        found = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        rows = rows + self.joined(found)
        out: Tensor = rows + self.mlp(self.between(rows))
        return out


class InContextLearner(EmbeddingLearner):
    """A transformer reads rows with their classes, and the rows to classify: a prior-fitted network.

    Support rows attend to support rows, and query rows to support rows only: no answer depends on another
    query. Positions there are none. (S. Müller and others, *Transformers Can Do Bayesian Inference*, ICLR
    2022, arXiv 2112.10510; N. Hollmann and others, *TabPFN*, ICLR 2023, arXiv 2207.01848.)

    A row is one token: its columns, standardised by the support, and in support rows its class. What a table
    shows in another order means the same, exactly: the order of support rows, for there are no positions; of
    columns, which are sorted by how much of their variance is between classes; and of class numbers, since
    inside classes are numbered by their means. With ``hints``, a token also holds what simple learners in
    closed form expect of its row, each support row left out of its own: the transformer learns when they are
    right, and what they miss. The papers' has none.

    Args:
        network: ``[n, *input]`` to features ``[n, *d]``; for tables ``nn.Flatten()``.
        ways: the most classes. Tasks may have fewer.
        columns: that a token has room for; of wider tables the most relevant ones, while ``hints`` see all.
        width: of a token.
        layers: blocks of attention.
        heads: of each.
        hints: see above.
        sort: whether columns are sorted; the features of a network that is learned with it are better not.
        ensemble: answers whose probabilities are averaged, for each of which the classes are numbered anew.
        loss: scalar loss of one task from logits and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    reads_labels: ClassVar[bool] = True

    @checked(ways=Range(2))
    def __init__(
        self,
        network: nn.Module,
        ways: int,
        *,
        columns: int = 32,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        hints: bool = True,
        sort: bool = True,
        ensemble: int = 1,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.ways, self.columns, self.sort, self.ensemble = ways, columns, sort, ensemble
        self.of_columns, self.of_sizes = nn.Linear(2 * columns, width), nn.Linear(3, width)
        self.of_class = nn.Linear(ways, width, bias=False)
        self.of_hints = nn.Linear(HINTS * ways, width, bias=False) if hints else None
        self.trust = nn.Parameter(torch.ones(HINTS)) if hints else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, ways))

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        """Logits ``[B, Q, ways]``; those of classes that the support set has no row of are -1e9."""
        embedded, queries = self.embed(support.x, query_x)
        table = self._prepared(embedded.flatten(2), queries.flatten(2), support.y)
        absent = table.marks.sum(1)[:, None] == 0
        answers = [self._answers(table, turn).masked_fill(absent, _ABSENT) for turn in range(self.ensemble)]
        if self.ensemble == 1:
            return answers[0]
        return torch.stack([answer.log_softmax(2) for answer in answers]).logsumexp(0)

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)

    def _prepared(self, support: Tensor, queries: Tensor, y: Tensor) -> Prepared:
        n, together = support.shape[1], torch.cat([support, queries], 1)
        x, varies = standardised(support, together)
        marks = F.one_hot(y, self.ways).to(x.dtype)
        place = ranks(support, together) * varies[:, None]
        count, classes = varies.sum(1), (marks.sum(1) > 0).sum(1)
        tells = relevance(place[:, :n], marks)
        hinted = None
        if self.of_hints is not None:
            even = varies * (tells + 0.05 * tells.amax(1, keepdim=True) + 1e-6)
            even = even / even.sum(1, keepdim=True).clamp_min(1e-12)
            hinted = hints(x, place, marks, count, even.to(x.dtype))
        both = [x, place]
        if self.sort:
            order = _by_relevance(torch.where(varies, tells, -1), relevance(support, marks))
            both = [
                part.gather(2, order[:, None, : self.columns].expand(-1, x.shape[1], -1)) for part in both
            ]
        room = (self.columns / count.clamp(1, self.columns).to(x.dtype)).sqrt()[:, None, None]
        both = [F.pad(part[..., : self.columns], (0, max(0, self.columns - x.shape[2]))) for part in both]
        sizes = torch.stack([torch.full_like(count, n), count.clamp_min(1), classes], 1).to(x.dtype).log()
        inside = _places(both[1][:, :n], marks)
        return Prepared(torch.cat(both, 2) * room, sizes, hinted, marks, inside, classes)

    def _answers(self, table: Prepared, turn: int) -> Tensor:
        """Logits ``[B, Q, ways]`` where inside class numbers are moved on by ``turn``."""
        n, there = table.marks.shape[1], table.classes[:, None]
        place = torch.where(table.place < there, (table.place + turn) % there, table.place)
        inside = place.argsort(dim=1)  # [B, ways]: the class of each number inside
        rows = self.of_columns(table.columns) + self.of_sizes(table.sizes)[:, None]
        marks = self.of_class(_by_class(table.marks, inside))
        rows = rows + F.pad(marks, (0, 0, 0, rows.shape[1] - n))
        if self.of_hints is not None and table.hints is not None:
            rows = rows + self.of_hints(_by_class(table.hints, inside).flatten(2))
        for block in self.blocks:
            rows = block(rows, n)
        answers = _by_class(self.head(rows[:, n:]), place)
        if table.hints is not None and self.trust is not None:
            answers = answers + self.trust @ table.hints[:, n:]
        return answers


def _by_class(values: Tensor, order: Tensor) -> Tensor:
    """``values: [B, *rows, ways]`` with its last dimension in an order ``[B, ways]``."""
    shape = (len(order), *[1] * (values.dim() - 2), -1)
    return values.gather(values.dim() - 1, order.view(shape).expand_as(values))


def _by_relevance(tells: Tensor, linearly: Tensor) -> Tensor:
    """The columns ``[B, d]``, the most relevant first: by their ranks, and among equals by their values.

    Rounded, so that no rounding error decides: equal ones stay as they come.
    """
    order = (-linearly.round(decimals=8)).argsort(dim=1, stable=True)
    tells = tells.round(decimals=8).gather(1, order)
    return order.gather(1, (-tells).argsort(dim=1, stable=True))


def _places(ranked: Tensor, marks: Tensor) -> Tensor:
    """Numbers ``[B, ways]`` for classes that do not depend on how they are numbered: by a sum of their means.

    Args:
        ranked: ``[B, n, columns]``, ranks of the support's columns.
        marks: ``[B, n, ways]``; classes of which there is no row come last.
    """
    ranked, marks = precise(ranked), precise(marks)
    counts = marks.sum(1)
    turning = torch.arange(1, ranked.shape[2] + 1, dtype=ranked.dtype, device=ranked.device)
    one = ranked @ turning.cos() + ranked.square() @ turning.sin()
    value = (marks.transpose(1, 2) @ one[..., None])[..., 0] / counts.clamp_min(1)
    value = value.round(decimals=8).masked_fill(counts == 0, torch.inf)
    return value.argsort(dim=1, stable=True).argsort(dim=1)
