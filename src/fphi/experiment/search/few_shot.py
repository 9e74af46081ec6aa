"""A search for the networks of a few-shot learner: candidates are meta-trained as every learner is."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.architecture import Architecture
from fphi.experiment.search.candidate_learners import NetworkLearner, architecture_builder
from fphi.experiment.search.many_tasks import ManyTasks, tasks_for
from fphi.experiment.search.options import MetaOptions
from fphi.experiment.search.problem import ArchitectureProblem, Found
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Tokens
from fphi.methods.base import FewShotMethod
from fphi.networks import Conv4
from fphi.networks.batch_norm import Mode
from fphi.report.compare import paired_difference
from fphi.run.search.retrain import Retrained
from fphi.run.show.say import say
from fphi.tasks.division import Division
from fphi.tasks.options import TaskOptions
from fphi.within.trained import parameter_count

__all__ = ["FewShotProblem", "mean_conv4", "nearest_filters"]

_SMALLEST = 16  # pixels of a side, for the four poolings of Conv4


@dataclass(frozen=True)
class FewShotProblem(ManyTasks, ArchitectureProblem):
    """Candidates are the networks of a few-shot learner."""

    learner: NetworkLearner

    @classmethod
    def load(
        cls,
        space: ArchitectureSpace,
        seed: int,
        options: TaskOptions,
        meta: MetaOptions,
        learner: tuple[str, FewShotMethod],
        division: Division | None = None,
    ) -> "FewShotProblem":
        """With its tasks, see `tasks_for`.

        Raises:
            FphiError: they do not fit, or are too small for Conv4.
        """
        if options.image_size < _SMALLEST:
            raise FphiError(
                f"--image-size is {options.image_size}; Conv4, which the result is compared with, needs at "
                f"least {_SMALLEST}"
            )
        name, method = learner
        tasks = tasks_for(method, options, seed, division)
        return cls(NetworkLearner(method, tasks, meta, space), name, seed, options)

    def architecture(self, tokens: Tokens) -> Architecture:
        asked = _asked(self.learner)
        return Architecture(self.learner.space, tokens, asked[0], asked[1], asked[2])

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"statistics": _asked(self.learner)[2]}

    def retrain(self, found: Found) -> Retrained:
        return self.last_training(architecture_builder(self.learner.space, found.chosen[0]))

    def compared(self, found: Found, retrained: Retrained) -> dict[str, Any]:
        """Conv4 with nearly as many parameters, meta-trained and tested as what was found.

        ``difference``: found minus Conv4, paired by test task.
        """
        shape, outputs, mode = _asked(self.learner)
        filters = nearest_filters(retrained.parameters, shape, outputs, mode)
        steps = self.learner.meta.retrain_steps
        say(f"training Conv4 with {filters} filters for {steps} meta-steps")

        def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
            return mean_conv4(filters, input_shape, outputs, norm)

        trained = self.last_training(build)
        record = {"filters": filters, **trained.to_json()}
        if retrained.by_task is not None and trained.by_task is not None:
            mean, ci95 = paired_difference(trained.by_task, retrained.by_task)
            record["difference"] = {"mean": mean, "ci95": ci95}
        return {"conv4": record}


def _asked(learner: NetworkLearner) -> tuple[tuple[int, ...], int | None, Mode]:
    """What the method asks of its network: shape of an input, outputs, and statistics of its norms."""
    asked: list[tuple[tuple[int, ...], int | None, Mode]] = []

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
        asked.append((input_shape, outputs, norm))
        return Conv4(outputs, channels=input_shape[0], image_size=input_shape[1], filters=1, norm=norm)

    with torch.random.fork_rng(devices=[]):
        learner.method.learner(replace(learner.setting, network=build))
    return asked[0]


def mean_conv4(filters: int, input_shape: tuple[int, ...], outputs: int | None, mode: Mode) -> Conv4:
    """A Conv4 whose features are the means over the image, as those of searched networks are."""
    channels, size, _ = input_shape
    return Conv4(outputs, channels=channels, image_size=size, filters=filters, features="mean", norm=mode)


def nearest_filters(parameters: int, input_shape: tuple[int, ...], outputs: int | None, mode: Mode) -> int:
    """How many filters make the number of parameters of `mean_conv4` closest; of two as close the fewer.

    Args:
        parameters: to come close to.
        input_shape: ``C, H, W`` of a square image.
        outputs: None: features.
        mode: of its batch norms.
    """

    def count(filters: int) -> int:
        with torch.device("meta"):  # nothing is drawn, nothing allocated
            return parameter_count(mean_conv4(filters, input_shape, outputs, mode))

    above = 1
    while count(above) < parameters:
        above += 1
    return min(max(1, above - 1), above, key=lambda filters: abs(count(filters) - parameters))
