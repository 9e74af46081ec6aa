"""What a run has learned about stepping, as one of torch's optimizers for any training loop."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Never

from torch import Tensor

from fphi.errors import FphiError
from fphi.experiment.loading import load as load_run
from fphi.learnable import GradientLearner
from fphi.within.drop_in import RuleOptimizer

__all__ = ["LoadedRule", "RuleOptimizer", "load"]


class LoadedRule:
    """Makes optimizers of one learned update rule: call it with the parameters of a model.

    Args:
        learner: whose inner optimizer it is.
    """

    def __init__(self, learner: GradientLearner) -> None:
        self.rule, self.learned_for = learner.optimizer, learner.adaptable

    def __call__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float = 1.0,
        weight_decay: float = 0.0,
        **others: Never,
    ) -> RuleOptimizer:
        """The optimizer of these parameters, whose steps are ``lr`` times the rule's: see `RuleOptimizer`."""
        return RuleOptimizer(params, self.rule, lr, self.learned_for, weight_decay, **others)


def load(run: Path | str, **files: Any) -> LoadedRule:
    """The inner optimizer of a run, to be called with a model's parameters as torch's own optimizers are.

    ``fphi.optim.load("runs/lstm-optimizer")(model.parameters())`` gives a ``torch.optim.Optimizer``. A rule
    that all parameters share (an LSTM, one rate for all) serves any model; one with a number for each tensor
    or parameter only the network that it was learned with. A rule that reads the loss, as the LSTM
    meta-learner, is told it: ``optimizer.step(loss=loss)``.

    Args:
        run: the folder of a training of a learner that takes gradient steps.
        files: ``method`` and ``network`` where these are in files of Python, see `fphi.load`.

    Raises:
        FphiError: there is no such run, or its learner takes no gradient steps.
    """
    learner = load_run(run, **files)
    if not isinstance(learner, GradientLearner):
        raise FphiError(
            f"{run} is of a {type(learner).__name__}, which takes no gradient steps; give a run of a method "
            "that learns an update rule, such as lstm-optimizer or meta-sgd"
        )
    return LoadedRule(learner)
