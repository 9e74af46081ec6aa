"""Latent embedding optimization: a generated classifier, improved by gradient steps on its code."""

import copy
import warnings
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import AnswersAtTest, Loss, over_network
from fphi.learnable.comparison.classes import members
from fphi.learnable.generation.gaussian import Gaussian
from fphi.learnable.generation.generating import GeneratingLearner, classify
from fphi.learnable.generation.noise import TaskNoise
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.optimizers import InnerOptimizer, Parameters, UpdateRule, learned_rate
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import Batching
from fphi.within.unroll import DerivativeOrder, TaskLosses, descend, last_of

__all__ = ["LEOLearner", "Terms", "orthogonality"]

_PULL = 1e-4  # of a batch whose loss is nan: so much of half the squared parameters is its loss
_NAME = "each"  # of what an inner loop moves: a row for each example


class Terms(NamedTuple):
    """What LEO is trained by, each ``[B]`` but the last, which is a number.

    Attributes:
        query: the loss on the query set.
        divergence: KL of the codes' distribution from N(0, I), the mean over their numbers.
        encoder: ‖stop(z') - z‖², the mean over the codes' numbers: how far the inner loop went from the
            sampled code z. z' counts as a constant, so that the encoder alone is drawn to it.
        decoder: `orthogonality` of the decoder.
    """

    query: Tensor
    divergence: Tensor
    encoder: Tensor
    decoder: Tensor


class _Set(NamedTuple):
    """An embedded support set.

    Attributes:
        x: ``[B, n, d]``.
        y: ``[B, n]``.
        averages: ``[B, ways, n]``, which take the mean over the examples of each class.
        noise: in training; None: nothing is drawn.
    """

    x: Tensor
    y: Tensor
    averages: Tensor
    noise: TaskNoise | None


class LEOLearner(GeneratingLearner):
    """Gradient steps on a code, from which a classifier is decoded (Rusu et al. 2019, arXiv 1807.05960).

    φ = the encoder (with its relation network), the decoder, the step sizes of both inner loops, and the
    embedding network unless it is frozen. The encoder gives a normal distribution of codes, with the mean
    over each class's examples; the decoder gives a normal distribution of weights for each code. Every
    example has a code and weights of its own: an answer is the mean over a class's.

    In training codes and weights are sampled, weights anew at each step, and embedded examples have dropout
    wherever they are read. In ``eval()`` both are the means and nothing is dropped. With no steps of either
    kind it is then a `HyperLearner` of the means.

    The inner loss is summed over the support set, not averaged, as in the authors' code: the usual step
    sizes are for that.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, or to feature maps, which are flattened.
        encoder: the embedded support set ``[n, d]`` to ``[n, 2c]``, for each number of a code a
            mean and an s, see `Gaussian.of`.
        decoder: a linear layer of codes ``[n, c]`` to ``[n, 2d]``: the same for each weight.
        latent_rule: the update rule of codes; None: a learned rate for each of their numbers, 1 at first.
        weight_rule: that of weights; None: a learned rate for each of their numbers, 0.001 at first.
        latent_steps: inner steps on the codes.
        weight_steps: inner steps on the decoded weights, after these.
        dropout: share of an embedding's numbers that is set to 0 in training.
        latent_std: the standard deviation of a code's number where s = 0, see `Gaussian.of`.
        kl_weight: β, of the codes' divergence from N(0, I).
        encoder_penalty: γ, of the squared distance between the first code and the last.
        orthogonality_weight: λ₂, of the decoder's `orthogonality`.
        normalise: whether embeddings are scaled to length 1.
        loss: scalar loss of one task from logits and labels, for support and query alike.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    @checked(latent_steps=Range(0), weight_steps=Range(0), dropout=Range(0, 1, below=True))
    def __init__(
        self,
        network: nn.Module,
        encoder: nn.Module,
        decoder: nn.Linear,
        *,
        latent_rule: UpdateRule | None = None,
        weight_rule: UpdateRule | None = None,
        latent_steps: int = 5,
        weight_steps: int = 5,
        dropout: float = 0.3,
        latent_std: float = 0.0,
        kl_weight: float = 1e-3,
        encoder_penalty: float = 1e-9,
        orthogonality_weight: float = 1e-3,
        normalise: bool = True,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, normalise=normalise, loss=loss, batching=batching)
        self.encoder, self.decoder = encoder, decoder
        self.latent_rule = _rule(latent_rule, 1.0, decoder.in_features)
        self.weight_rule = _rule(weight_rule, 1e-3, decoder.out_features // 2)
        self.latent_steps, self.weight_steps = latent_steps, weight_steps
        self.dropout, self.latent_std = dropout, latent_std
        self.kl_weight, self.encoder_penalty = kl_weight, encoder_penalty
        self.orthogonality_weight = orthogonality_weight

    def generate(self, support: Examples) -> Tensor:
        own = self._read(support)
        last = last_of(self._trajectory(own))
        return own.averages @ last

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded, queries = self.embed(support.x, query_x)
        own = self._read(Examples(embedded, support.y))
        last = last_of(self._trajectory(own))
        return self._answers(queries, last, own)

    @torch.no_grad()
    def answers_at_test(
        self, support: Examples, query_x: Tensor, steps: int | None = None, alone: bool = True
    ) -> AnswersAtTest:
        """See `LearningAlgorithm.answers_at_test`; the steps on codes come first, then those on weights."""
        embedded, queries = self.embed(support.x, query_x)
        own = self._read(Examples(embedded, support.y))
        by_step = [self._answers(queries, weights, own) for weights in self._trajectory(own)]
        inductive = self.solve_alone(support, query_x) if alone else None
        return AnswersAtTest(by_step[-1], inductive, torch.stack(by_step))

    def task_losses(self, tasks: Task) -> Tensor:
        if not self.training:
            return super().task_losses(tasks)
        terms = self.terms(tasks)
        return (
            terms.query
            + self.kl_weight * terms.divergence
            + self.encoder_penalty * terms.encoder
            + self.orthogonality_weight * terms.decoder
        )

    def mended_gradient(self, loss: Tensor, gradients: Parameters) -> tuple[Tensor, Parameters]:
        """See `MendsGradient`; where it is nan, a small pull to 0, as in the paper.

        A sampled code that the inner loop makes diverge so costs one step, of which a warning tells.
        """
        if not any(bool(value.isnan().any()) for value in (loss, *gradients.values())):
            return loss, gradients
        warnings.warn("LEO's loss or gradient is nan: φ is drawn to 0 a little instead", stacklevel=2)
        own = own_parameters(self)
        learned = {name: own[name].detach() for name in gradients}
        total = torch.stack([p.square().sum() for p in learned.values()]).sum()
        return _PULL / 2 * total.to(loss), {name: _PULL * p for name, p in learned.items()}

    def terms(self, tasks: Task) -> Terms:
        """The parts of the loss, which `task_losses` weighs in training."""
        embedded, queries = self.embed(tasks.support.x, tasks.query.x)
        own = self._read(Examples(embedded, tasks.support.y))
        codes = self._encoded(own)
        first = self._sampled(codes, own)
        *_, last = self._codes(own, first)
        *_, weights = self._fine_tuned(own, self._decoded(last, own))
        return Terms(
            self.losses(self._answers(queries, weights, own), tasks.query.y),
            codes.divergence().mean((1, 2)),
            (last.detach() - first).square().mean((1, 2)),
            orthogonality(self.decoder.weight),
        )

    def _read(self, support: Examples) -> _Set:
        """The embedded support set ``[B, n, d]`` with what the inner loops need besides."""
        width = self.decoder.out_features // 2
        if support.x.shape[2] != width:
            raise FphiError(
                f"embeddings have {support.x.shape[2]} values, and the decoder has {2 * width} outputs, for "
                f"{width} weights: build it with {2 * support.x.shape[2]}"
            )
        member = members(support.y).to(support.x.dtype)
        averages = (member / member.sum(1, keepdim=True)).mT
        noise = TaskNoise(support.x) if self.training else None
        return _Set(ordinary(support.x), ordinary(support.y), averages, noise)

    def _encoded(self, own: _Set) -> Gaussian:
        """The distribution of each example's code ``[B, n, c]``: that of its class."""
        each = over_network(self.over_tasks, self.encoder, None, self._dropped(own.x, own.noise))
        latents = self.decoder.in_features
        if each.shape[2] != 2 * latents:
            raise FphiError(
                f"the encoder has {each.shape[2]} outputs for codes of {latents}; it needs {2 * latents}"
            )
        of_class = own.averages @ each
        labels = own.y.unsqueeze(2).expand(-1, -1, 2 * latents)
        return Gaussian.of(of_class.gather(1, labels), self.latent_std)

    def _decoded(self, codes: Tensor, own: _Set) -> Tensor:
        """Each example's weights ``[B, n, d]``, sampled in training.

        Where s = 0 their standard deviation is that with which a layer of d inputs and as many outputs as
        there are ways begins (Glorot).
        """
        width, ways = own.x.shape[2], own.averages.shape[1]
        return self._sampled(Gaussian.of(self.decoder(codes), (2 / (width + ways)) ** 0.5), own)

    def _trajectory(self, own: _Set) -> Iterator[Tensor]:
        """Weights ``[B, n, d]`` as they are decoded at first, and after each step of either kind."""
        for codes in self._codes(own, self._sampled(self._encoded(own), own)):
            weights = self._decoded(codes, own)
            yield weights
        steps = self._fine_tuned(own, weights)
        next(steps)  # these are told of
        yield from steps

    def _codes(self, own: _Set, first: Tensor) -> Iterator[Tensor]:
        """Codes ``[B, n, c]`` before the first and after each step of the loop over codes."""

        def losses(now: Parameters) -> Tensor:
            return self._support_losses(self._decoded(now[_NAME], own), own)

        yield from self._descended(losses, self.latent_rule, {_NAME: first}, self.latent_steps)

    def _fine_tuned(self, own: _Set, first: Tensor) -> Iterator[Tensor]:
        """Weights ``[B, n, d]`` before the first and after each step of the loop over weights."""

        def losses(now: Parameters) -> Tensor:
            return self._support_losses(now[_NAME], own)

        yield from self._descended(losses, self.weight_rule, {_NAME: first}, self.weight_steps)

    def _descended(
        self, losses: TaskLosses, rule: UpdateRule, now: Parameters, steps: int
    ) -> Iterator[Tensor]:
        order: DerivativeOrder = 2 if torch.is_grad_enabled() else 0
        state = rule.init(now)
        yield now[_NAME]
        for step in range(steps):
            take = partial(descend, losses, rule, now, state, step, order)
            now, state = self.over_tasks.attempt(take)
            yield now[_NAME]

    def _support_losses(self, weights: Tensor, own: _Set) -> Tensor:
        """Summed over the examples ``[B]``."""
        return own.x.shape[1] * self.over_tasks(self.task_loss, self._answers(own.x, weights, own), own.y)

    def _answers(self, features: Tensor, weights: Tensor, own: _Set) -> Tensor:
        """Logits ``[B, Q, ways]``: the mean over each class's weights of dot products with ``[B, Q, d]``."""
        return classify(self._dropped(features, own.noise), own.averages @ weights)

    def _sampled(self, distribution: Gaussian, own: _Set) -> Tensor:
        if own.noise is None:
            return distribution.mean
        return distribution.sample(own.noise.normal(*distribution.mean.shape[1:]))

    def _dropped(self, x: Tensor, noise: TaskNoise | None) -> Tensor:
        return x if noise is None or self.dropout == 0 else x * noise.kept(self.dropout, *x.shape[1:])


def orthogonality(weight: Tensor) -> Tensor:
    """The mean squared difference of a linear layer's correlations from I, a number.

    Args:
        weight: ``[outputs, inputs]``; its columns are to be orthogonal, the ways in which the inputs move the
            outputs. Their lengths do not matter.

    >>> orthogonality(2 * torch.eye(3)[:, :2])
    tensor(0.)
    """
    columns = F.normalize(weight, dim=0)
    correlations = columns.mT @ columns
    return (correlations - torch.eye(len(correlations)).to(correlations)).square().mean()


def _rule(given: UpdateRule | None, rate: float, size: int) -> UpdateRule:
    """A copy of the update rule, whose learned rates are ``size`` numbers: the same for all rows."""
    rule = learned_rate(rate) if given is None else copy.deepcopy(given)
    if isinstance(rule, InnerOptimizer):
        rule.register({_NAME: torch.empty(size)})
    return rule
