"""Learners by comparison as plain operations on one task, which an exporter can follow.

Each shares its learner's modules and parameters and answers as its `solve_alone`. What the batched learners
check of their arguments is left out, for a graph raises no errors.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.export.lots import Embedding, Lots, plain
from fphi.learnable import (
    FullContext,
    HyperLearner,
    ImaginaryLearner,
    LearningAlgorithm,
    MatchingLearner,
    MetricLearner,
    NILLearner,
    PretrainedLearner,
    PrototypicalLearner,
    RelationLearner,
    SiameseLearner,
)
from fphi.learnable.comparison.similarity import Similarity
from fphi.learnable.embedding import embedding_size

__all__ = ["Comparison", "Exportable", "exportable_comparison"]


class Exportable(nn.Module):
    """A learner's inductive answers to one task: its `solve_alone`, of any ways, shots and queries."""

    @abstractmethod
    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Answers ``[q, ways]``.

        Args:
            support_x: ``[n, *input]``.
            support_y: ``[n]``, whole numbers from 0, each class with an example.
            query_x: ``[q, *input]``.
        """


class Comparison(Exportable):
    """Embeds, and then compares; a subclass defines `compare`.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.embedding = Embedding(network)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        support, queries = self.embedding(support_x, query_x)
        return self.compare(support, members(support_y), queries, support_y.shape[0])

    @abstractmethod
    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        """Answers ``[q, ways]`` of what is embedded.

        Args:
            support: ``[n, *d]``.
            member: which example is of which class, bool ``[n, ways]``.
            queries: ``[q, *d]``.
            most: no less than the ways; a number that the exporter knows before it knows the labels.
        """


def members(labels: Tensor) -> Tensor:
    """Which example is of which class: bool ``[n, ways]`` of ``labels: [n]``, ways = max(labels) + 1."""
    ways = (labels.max() + 1).item()  # not as an int, which the exporter would take for a constant
    torch._check(ways >= 1)  # type: ignore[no-untyped-call]
    return labels.unsqueeze(1) == torch.arange(ways, device=labels.device)


def class_means(embedded: Tensor, member: Tensor) -> Tensor:
    """``[ways, d]`` of ``embedded: [n, d]`` and ``member: [n, ways]``."""
    weight = member.to(embedded.dtype)
    return weight.mT @ embedded / weight.sum(0).unsqueeze(1)


def _similar(similarity: nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    out: Tensor = similarity(queries.unsqueeze(0), keys.unsqueeze(0))
    return out.squeeze(0)


def _attended_labels(similarities: Tensor, member: Tensor) -> Tensor:
    attention = similarities.log_softmax(-1).unsqueeze(-1)  # [q, n, 1]
    return attention.masked_fill(~member.unsqueeze(0), -torch.inf).logsumexp(1)


class _Prototypical(Comparison):
    def __init__(self, learner: PrototypicalLearner) -> None:
        super().__init__(learner.network)
        self.similarity = learner.similarity

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        return _similar(self.similarity, queries, class_means(support, member))


class _Centroids(Comparison):
    def __init__(self, learner: PretrainedLearner) -> None:
        super().__init__(learner.network)
        self.similarity = Similarity(learner.distance, learner.scale).requires_grad_(False)

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        return _similar(self.similarity, queries.flatten(1), class_means(support.flatten(1), member))


class _Matching(Comparison):
    def __init__(self, learner: MatchingLearner) -> None:
        super().__init__(learner.network)
        self.similarity, self.context = learner.similarity, learner.context
        self.prototypes = learner.prototypes

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        keys = support
        if self.prototypes:  # as the classes first appear
            order = member.int().argmax(0).argsort()
            keys = class_means(support, member)[order]
            member = order.unsqueeze(1) == torch.arange(member.shape[1], device=order.device)
        if self.context is not None:
            keys = _in_context(self.context, keys, most if self.prototypes else None)
            queries = self.context.attend(keys.unsqueeze(0), queries.unsqueeze(0)).squeeze(0)
        return _attended_labels(_similar(self.similarity, queries, keys), member)


def _in_context(context: FullContext, keys: Tensor, filled: int | None) -> Tensor:
    """Keys ``[k, d]`` as `FullContext` embeds a support set.

    Args:
        context: see above.
        keys: see above.
        filled: the exporter takes no LSTM over a sequence whose length depends on the labels; then zeros fill
            it up to this length, after the keys for the LSTM that reads forth, and before them for the one
            that reads back.
    """
    if filled is None:
        forth, back = context.support_lstm(keys.unsqueeze(0))[0].squeeze(0).chunk(2, dim=-1)
    else:
        missing = filled - keys.shape[0]
        zeros = keys.new_zeros(missing, keys.shape[1])
        after, before = (
            context.support_lstm(torch.cat(parts).unsqueeze(0))[0].squeeze(0)
            for parts in ((keys, zeros), (zeros, keys))
        )
        forth, back = after[: keys.shape[0]].chunk(2, dim=-1)[0], before[missing:].chunk(2, dim=-1)[1]
    read: Tensor = keys + forth + back
    return read


class _NIL(Comparison):
    def __init__(self, learner: NILLearner) -> None:
        super().__init__(learner.network.get_submodule("body"))

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        examples, asked = (F.normalize(part.flatten(1), dim=-1) for part in (support, queries))
        return _attended_labels(asked @ examples.mT, member)


class _Metric(Comparison):
    def __init__(self, learner: MetricLearner) -> None:
        super().__init__(learner.network)
        self.scale = learner.scale

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        means = class_means(F.normalize(support, dim=-1), member)
        return self.scale * (F.normalize(queries, dim=-1) @ F.normalize(means, dim=-1).mT)


class _Siamese(Comparison):
    def __init__(self, learner: SiameseLearner) -> None:
        super().__init__(learner.network)
        self.describe, self.verify, self.sharpness = learner.describe, learner.verify, learner.sharpness

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        first, second = self.describe(support), self.describe(queries)
        apart = (second.unsqueeze(1) - first.unsqueeze(0)).abs()  # [q, n, d]
        likeness = F.linear(apart, self.verify.weight).squeeze(-1)
        factor = 1 if self.sharpness is None else self.sharpness.exp()
        certain = (factor * likeness + self.verify.bias).unsqueeze(-1)
        return certain.masked_fill(~member.unsqueeze(0), -torch.inf).amax(1)


class _Relation(Comparison):
    def __init__(self, learner: RelationLearner) -> None:
        super().__init__(learner.network)
        self.lots = Lots()
        self.relation = plain(learner.relation, self.lots)

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        flat = member.to(support.dtype).mT @ support.flatten(1)
        self.lots.count, self.lots.rows = queries.shape[0], member.shape[1]  # a query and all classes
        out: Tensor = self.relation(torch.unflatten(flat, 1, support.shape[1:]), queries)
        return out


class _Imaginary(Comparison):
    noise: Tensor  # [generated, d]

    def __init__(self, learner: ImaginaryLearner, taught: Comparison, input_shape: tuple[int, ...]) -> None:
        super().__init__(learner.learner.network)
        self.taught, self.generator, self.generated = taught, learner.generator, learner.generated
        width = embedding_size(learner.learner.network, input_shape)
        one_class = torch.zeros(1, learner.generated, width, dtype=torch.float64)
        self.register_buffer("noise", learner.noise(one_class)[0] if learner.generated else one_class[0])

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        if self.generated:
            support, member = self._extended(support, member)
        return self.taught.compare(support, member, queries, most)

    def _extended(self, support: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        """Each class's examples in turn are what the imagined ones come from."""
        ways, imagined = member.shape[1], torch.arange(self.generated, device=member.device)
        place = member.int().cumsum(0).mT.unsqueeze(1) - 1  # [ways, 1, n]
        turn = imagined % member.sum(0).unsqueeze(1)  # [ways, generated]
        seed = member.mT.unsqueeze(1) & (place == turn.unsqueeze(2))
        x = (seed.to(support.dtype) @ support).flatten(0, 1)
        noise = self.noise.to(x.dtype).expand(ways, -1, -1).flatten(0, 1)
        of = torch.eye(ways, dtype=torch.bool, device=member.device).unsqueeze(1)
        labels = of.expand(-1, self.generated, -1).flatten(0, 1)
        return torch.cat([support, self.generator(x, noise)]), torch.cat([member, labels])


class _Hyper(Comparison):
    def __init__(self, learner: HyperLearner) -> None:
        super().__init__(learner.network)
        self.encoder, self.decoder = plain(learner.encoder, Lots()), plain(learner.decoder, Lots())
        self.normalise = learner.normalise

    def compare(self, support: Tensor, member: Tensor, queries: Tensor, most: int) -> Tensor:
        examples, asked = support.flatten(1), queries.flatten(1)
        if self.normalise:
            examples, asked = F.normalize(examples, dim=-1), F.normalize(asked, dim=-1)
        weights = self.decoder(class_means(self.encoder(examples), member))
        width = asked.shape[1]
        logits: Tensor = asked @ weights[:, :width].mT + weights[:, width:].sum(-1)
        return logits


_FAMILIES: dict[type[LearningAlgorithm], Callable[..., Comparison]] = {
    PrototypicalLearner: _Prototypical,
    MatchingLearner: _Matching,
    MetricLearner: _Metric,
    SiameseLearner: _Siamese,
    RelationLearner: _Relation,
    HyperLearner: _Hyper,
    NILLearner: _NIL,
}


def exportable_comparison(learner: LearningAlgorithm, input_shape: tuple[int, ...]) -> Comparison | None:
    """The learner, in evaluation mode, as plain operations; None: there are none for it.

    A subclass may compare in another way, so there must be an entry for the very class.

    Args:
        learner: see above.
        input_shape: of an example.
    """
    if type(learner) is ImaginaryLearner:
        taught = exportable_comparison(learner.learner, input_shape)
        return None if taught is None else _Imaginary(learner, taught, input_shape)
    if type(learner) is PretrainedLearner and learner.adapt_by == "centroids":
        return _Centroids(learner)
    family = _FAMILIES.get(type(learner))
    return None if family is None else family(learner)
