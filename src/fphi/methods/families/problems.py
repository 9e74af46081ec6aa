"""Networks that learned optimizers are learned on, and the options that their methods share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import nn

from fphi.learnable.optimizer.optimizer_learner import OptimizerLearner
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.families.networks import ScheduleName, build_network
from fphi.ranges import count, weight
from fphi.within.optimizers import UpdateRule

__all__ = ["Activation", "ProblemMethod", "Units", "is_quadratic", "problem_network"]

Activation = Literal["sigmoid", "relu"]

_SIDE = 8  # pixels of an image that the small network sees
_SPREAD = 0.01  # of the numbers that it starts from, as in the paper


def is_quadratic(setting: Setting) -> bool:
    """Whether examples are vectors and targets numbers: a linear map makes a quadratic problem of them."""
    return setting.ways is None and len(setting.input_shape) == 1 and setting.input_shape[0] > 1


@dataclass(frozen=True)
class Units:
    """The layers before the last of the small network.

    Args:
        units: of a layer.
        layers: of them.
        activation: what they do.
    """

    units: int = 20
    layers: int = 1
    activation: Activation = "sigmoid"


def problem_network(name: str, setting: Setting, hidden: Units | None = None) -> nn.Module:
    """The network that a problem is to train.

    ``"auto"`` is the paper's: one layer of 20 sigmoid units, or as ``hidden`` says, before which larger
    images are averaged down to 8x8; where the problem is quadratic a linear map; on single numbers the MLP
    that is usual there.
    """
    hidden = hidden or Units()
    if name != "auto" or setting.network is not None or setting.input_shape == (1,):
        return build_network("mlp" if name == "auto" else name, setting, "query-batch")
    if is_quadratic(setting):
        return nn.Linear(setting.input_shape[0], setting.outputs, bias=False)
    if len(setting.input_shape) == 1:
        return _small(nn.Identity(), setting.input_shape[0], setting.outputs, hidden)
    channels, height, width = setting.input_shape
    smaller = nn.Identity() if max(height, width) <= _SIDE else nn.AdaptiveAvgPool2d(_SIDE)
    sides = height * width if max(height, width) <= _SIDE else _SIDE * _SIDE
    return _small(smaller, channels * sides, setting.outputs, hidden)


def _small(first: nn.Module, inputs: int, outputs: int, hidden: Units) -> nn.Module:
    sizes = [inputs, *[hidden.units] * hidden.layers]
    layers: list[nn.Module] = [first, nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU() if hidden.activation == "relu" else nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


@dataclass(frozen=True)
class ProblemMethod(FewShotMethod):
    """A system whose φ is how to train a network from a random start.

    Args:
        inner_steps: steps in training.
        test_steps: steps at test; null: as in training.
        unroll: steps that are differentiated together, from which on the state goes on and no derivative
            does; null: all.
        stretches: how many of them a meta-step differentiates: all, or one, drawn anew for each, for which
            the steps before it are taken without derivatives.
        inner_batch: support examples of a step; null: all.
        start: deviation of the numbers that the network starts from; null: 0.01, and that of its own layers
            for networks that are named and on single numbers.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        network: the network that is trained: auto (one layer of 20 sigmoid units; on quadratics a linear
            map), or one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp, koch.
        units: of a layer of that small network.
        unit_layers: layers of such units in it.
        activation: of its units.
    """

    removed: ClassVar[Mapping[str, object]] = {}
    fits_any: ClassVar[bool] = True  # the rule, whatever network it trains

    inner_steps: int = count(40, 10_000, least=0)
    test_steps: int | None = count(None, 10_000, least=0)
    unroll: int | None = count(20, 10_000)
    stretches: Literal["all", "one"] = "all"
    inner_batch: int | None = count(None)
    start: float | None = weight(None)
    outer_lr: float = weight(0.01)
    schedule: ScheduleName = "cosine"
    network: str = "auto"
    units: int = count(20, 10_000)
    unit_layers: int = count(1, 100)
    activation: Activation = "sigmoid"

    @property
    def asked(self) -> Collection[str]:
        """The network, its start, its minibatches and how long it is trained are the problem itself."""
        problem = ("test_steps", "inner_batch", "start", "network", "units", "unit_layers", "activation")
        return problem if self.test_steps is not None else ("inner_steps", *problem)

    def idle(self, setting: Setting) -> Collection[str]:
        own, whole = super().idle(setting), self.unroll is None or self.unroll >= self.inner_steps
        return (*own, "stretches") if whole else own  # one stretch is all

    def trained_by(
        self, rule: UpdateRule, setting: Setting, learner: type[OptimizerLearner] = OptimizerLearner
    ) -> OptimizerLearner:
        """The learner whose rule is ``rule``."""
        small = self.network == "auto" and setting.network is None and setting.input_shape != (1,)
        usual = _SPREAD if small else None
        return learner(
            self._form(setting),
            rule,
            self.inner_steps,
            unroll=self.unroll,
            stretches=self.stretches,
            start=usual if self.start is None else self.start,
            loss=setting.loss,
            test_steps=self.test_steps,
            minibatch=self.inner_batch,
        )

    def _form(self, setting: Setting) -> nn.Module:
        """The network, whose numbers say where starts are about: the same for every rule and every seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return problem_network(
                self.network, setting, Units(self.units, self.unit_layers, self.activation)
            )
