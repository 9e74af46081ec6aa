"""Learners by comparison: their networks of torch's own layers, and one task's gradient by each system.

Tasks come class by class; where they have one shot, a class's mean or sum is its one example.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi import Examples, LearningAlgorithm
from fphi.learnable import FullContext, MatchingLearner, RelationLearner
from fphi.learnable.comparison.similarity import Similarity
from fphi.networks.relation import RelationModule, relation_embedding
from loops import Accumulate
from peers import import_peer
from problem import PlainBlock, PlainConv4

__all__ = [
    "PlainMatching",
    "PlainRelation",
    "matching_by_easyfsl",
    "matching_by_hand",
    "matching_learner",
    "prototypical_by_easyfsl",
    "prototypical_by_hand",
    "relation_by_easyfsl",
    "relation_by_hand",
    "relation_learner",
]

_WIDTH = 64
_READS = 5  # as many as support examples, which is what easyfsl does


class PlainMatching(nn.Module):
    """The parts of a matching network with full context; parameters are named as in fphi."""

    def __init__(self) -> None:
        super().__init__()
        self.network = PlainConv4(None)
        self.similarity = Similarity("cosine")
        self.context = FullContext(_WIDTH, _READS)


class _PlainModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.block = PlainBlock(2 * _WIDTH), PlainBlock(_WIDTH)
        self.hidden, self.out = nn.Linear(_WIDTH, 8), nn.Linear(8, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        maps = self.block(self.pair(pairs)).flatten(1)
        return torch.sigmoid(self.out(self.hidden(maps).relu()))


class PlainRelation(nn.Module):
    """The embedding and the relation module; parameters are named as in fphi."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            PlainBlock(1, padding=0),
            PlainBlock(_WIDTH, padding=0),
            PlainBlock(_WIDTH, pool=False),
            PlainBlock(_WIDTH, pool=False),
        )
        self.relation = _PlainModule()


def matching_learner() -> LearningAlgorithm:
    """With fphi's own Conv4."""
    return MatchingLearner(fphi.Conv4(None), context=FullContext(_WIDTH, _READS))


def relation_learner() -> LearningAlgorithm:
    """With fphi's own networks, normalised by the batch at hand as the peers'."""
    return RelationLearner(relation_embedding(norm="query-batch"), RelationModule(norm="query-batch"))


def prototypical_by_hand(network: nn.Module) -> Accumulate:
    """One pass for support and query, class means, minus squared distances."""

    def accumulate(support: Examples, query: Examples) -> None:
        shown, queries = _embedded(network, support, query)
        centers = shown.view(int(support.y.max()) + 1, -1, shown.shape[1]).mean(1)
        distances = (queries[:, None] - centers).square().sum(-1)
        torch.autograd.backward(F.cross_entropy(-distances, query.y))

    return accumulate


def prototypical_by_easyfsl(network: nn.Module) -> Accumulate:
    """The classifier of easyfsl on features of one pass, its distances squared.

    Left to itself it embeds support and query apart (other batch statistics) and does not square:
    another gradient. The pass costs less in one piece.
    """
    classifier: Any = import_peer("easyfsl").PrototypicalNetworks()

    def accumulate(support: Examples, query: Examples) -> None:
        shown, queries = _embedded(network, support, query)
        classifier.process_support_set(shown, support.y)
        torch.autograd.backward(F.cross_entropy(-classifier(queries).square(), query.y))

    return accumulate


def matching_by_hand(parts: nn.Module) -> Accumulate:
    """Full context, and the attention of one task."""
    network, context = parts.get_submodule("network"), parts.get_submodule("context")
    scale = parts.get_parameter("similarity.log_scale")

    def accumulate(support: Examples, query: Examples) -> None:
        keys, queries = (x[0] for x in context(*(x[None] for x in _embedded(network, support, query))))
        cosines = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T
        torch.autograd.backward(F.cross_entropy(scale.exp() * cosines, query.y))

    return accumulate


def matching_by_easyfsl(parts: nn.Module) -> Accumulate:
    """The classifier of easyfsl with the same LSTMs, on features of one pass."""
    classifier: Any = import_peer("easyfsl").MatchingNetworks(
        feature_dimension=_WIDTH,
        support_encoder=parts.get_submodule("context.support_lstm"),
        query_encoder=parts.get_submodule("context.query_lstm"),
    )
    network = parts.get_submodule("network")

    def accumulate(support: Examples, query: Examples) -> None:
        shown, queries = _embedded(network, support, query)
        classifier.process_support_set(shown, support.y)
        torch.autograd.backward(F.nll_loss(classifier(queries), query.y))

    return accumulate


def relation_by_hand(parts: nn.Module) -> Accumulate:
    """All pairs of a query and a class, concatenated, through the relation module."""
    network, relation = parts.get_submodule("network"), parts.get_submodule("relation")

    def accumulate(support: Examples, query: Examples) -> None:
        classes, queries = _embedded(network, support, query)
        pairs = torch.cat(
            [
                classes.expand(len(queries), *classes.shape),
                queries[:, None].expand(-1, len(classes), *[-1] * (queries.dim() - 1)),
            ],
            2,
        )
        relations = relation(pairs.flatten(0, 1)).view(len(queries), len(classes))
        torch.autograd.backward(_squared_error(relations, query.y))

    return accumulate


def relation_by_easyfsl(parts: nn.Module) -> Accumulate:
    """The classifier of easyfsl with the same relation module, on maps of one pass."""
    classifier: Any = import_peer("easyfsl").RelationNetworks(
        feature_dimension=_WIDTH, relation_module=parts.get_submodule("relation")
    )
    network = parts.get_submodule("network")

    def accumulate(support: Examples, query: Examples) -> None:
        classes, queries = _embedded(network, support, query)
        classifier.process_support_set(classes, support.y)
        torch.autograd.backward(_squared_error(classifier(queries), query.y))

    return accumulate


def _embedded(network: nn.Module, support: Examples, query: Examples) -> tuple[Tensor, Tensor]:
    together = network(torch.cat([support.x, query.x]))
    return together[: len(support.y)], together[len(support.y) :]


def _squared_error(relations: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(relations, F.one_hot(labels, relations.shape[1]).to(relations.dtype))
