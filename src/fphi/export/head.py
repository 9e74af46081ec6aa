"""Learners that train a linear layer on fixed features: the gradient of its loss has a closed form."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.export.exportable import Exportable, members
from fphi.export.lots import Embedding
from fphi.learnable import GradientLearner, LearningAlgorithm, PretrainedLearner
from fphi.within.optimizers import InnerOptimizer, Parameters, UpdateRule

__all__ = ["exportable_head"]


class _TrainedHead(Exportable):
    """Inner steps on the weights and biases of a layer, by the mean cross-entropy of the support set.

    Args:
        features: the network before it, in evaluation mode.
        rule: the update rule.
        steps: how many.
        head: where it begins; None: at zero, with as many outputs as the task has classes.
    """

    def __init__(self, features: nn.Module, rule: UpdateRule, steps: int, head: nn.Linear | None) -> None:
        super().__init__()
        self.features, self.rule, self.steps, self.head = Embedding(features), rule, steps, head

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        x, queries = (part.flatten(1) for part in self.features(support_x, query_x))
        layer, target = self._begin(support_y, x)
        adapted = {k: p for k, p in layer.items() if self.head is None or p.requires_grad}
        state = self.rule.init(adapted)
        for step in range(self.steps):
            logits = _linear(x, layer)
            # The derivative of the mean of log-sum-exp minus the right logit.
            slope = (logits.softmax(-1) - target) / x.shape[0]
            gradients = {"weight": slope.mT @ x, "bias": slope.sum(0)}
            if isinstance(self.rule, InnerOptimizer) and self.rule.reads_loss:
                state = self.rule.observe(-(logits.log_softmax(-1) * target).sum(-1).mean(), state)
            adapted, state = self.rule.update({k: gradients[k] for k in adapted}, state, adapted, step)
            layer = {**layer, **adapted}
        return _linear(queries, layer)

    def _begin(self, labels: Tensor, x: Tensor) -> tuple[Parameters, Tensor]:
        """The layer before the first step, and the right answers ``[n, ways]``."""
        if self.head is not None:
            own: Parameters = dict(self.head.named_parameters())
            place = torch.arange(self.head.out_features, device=labels.device)
            return own, (labels.unsqueeze(1) == place).to(x.dtype)
        target = members(labels).to(x.dtype)
        weight, bias = x.new_zeros(target.shape[1], x.shape[1]), x.new_zeros(target.shape[1])
        return {"weight": weight, "bias": bias}, target


def _linear(x: Tensor, layer: Parameters) -> Tensor:
    out = x @ layer["weight"].mT
    return out + layer["bias"] if "bias" in layer else out


def exportable_head(learner: LearningAlgorithm) -> Exportable | None:
    """The learner, in evaluation mode, as plain operations; None: it trains something else, or otherwise."""
    if learner.loss is not F.cross_entropy:
        return None
    if type(learner) is PretrainedLearner and learner.adapt_by == "head":
        return _TrainedHead(learner.network, learner.optimizer, learner.steps, None)
    if type(learner) is not GradientLearner or learner.adapts != "head" or learner.test_minibatch is not None:
        return None
    head = learner.network.get_submodule("head")
    if type(head) is not nn.Linear:
        return None
    return _TrainedHead(learner.network.get_submodule("body"), learner.optimizer, learner.test_steps, head)
