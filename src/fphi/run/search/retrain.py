"""The last training of a search: its best architecture, from new weights, and then the test."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from fphi.learnable.architecture.space import ArchitectureSpace
from fphi.learnable.space import Tokens
from fphi.objective.augmentation_loss import NetworkOf
from fphi.objective.candidate_loss import ChoosesRate
from fphi.run.meta.evaluate import Interval
from fphi.tasks.hashing import stream_key
from fphi.tasks.supervised import Supervised
from fphi.within.trained import parameter_count
from fphi.within.training import Augment, NetworkTraining, TrainingFailedError

__all__ = ["Retrained", "retrain", "retrain_augmented"]


@dataclass(frozen=True)
class Retrained:
    """An architecture trained anew.

    Args:
        module: the trained network; None: it could not be trained.
        parameters: how many numbers it has learned.
        validation: accuracy on the validation examples, or tasks.
        test: accuracy on the test examples, or tasks.
        seconds: of the training.
        failure: why there is no network.
        by_task: accuracy on each test task ``[n]``; None: there are no tasks.
        by_seed: test accuracy of each of several trainings, of which ``validation`` and ``test`` are means.
    """

    module: nn.Module | None
    parameters: int
    validation: float | None
    test: float | None
    seconds: float
    failure: str = ""
    by_task: Tensor | None = None
    by_seed: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What ``result.json`` says of it."""
        return {
            "parameters": self.parameters,
            "validation_accuracy": self.validation,
            "test_accuracy": self.test,
            **({"test_ci95": Interval.of(self.by_task).ci95} if self.by_task is not None else {}),
            **({"test_by_seed": list(self.by_seed)} if self.by_seed else {}),
            "seconds": round(self.seconds, 3),
            **({"failure": self.failure} if self.failure else {}),
        }


def retrain(
    space: ArchitectureSpace, tokens: Tokens, data: Supervised, training: NetworkTraining, seed: int
) -> Retrained:
    """Train an architecture from new weights and test it; weights and order depend on the seed alone."""
    own = int(stream_key(seed, "retrain") >> 1)
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own)
        module = space.build(tokens, data.input_shape, data.classes)
    count = parameter_count(module)
    rate = space.learning_rate(tokens) if isinstance(space, ChoosesRate) else None
    try:
        child = training.train(module, data, own, rate)
    except TrainingFailedError as error:
        return Retrained(None, count, None, None, time.monotonic() - start, str(error))
    seconds = time.monotonic() - start
    return Retrained(child.module, count, child.validation_accuracy, child.test_accuracy(), seconds)


def retrain_augmented(
    network: NetworkOf,
    augment: Callable[[int], Augment | None],
    data: Supervised,
    training: NetworkTraining,
    seeds: Sequence[int],
) -> Retrained:
    """Train a network on augmented images, once for each seed, and test it.

    Args:
        network: that is trained.
        augment: of a seed, what is done to training images; None: nothing.
        data: of the problem.
        training: how it is trained.
        seeds: of weights, order and augmentation: equal seeds, equal first weights.
    """
    start = time.monotonic()
    validation, test, module = [], [], None
    for seed in seeds:
        own = int(stream_key(seed, "retrain") >> 1)
        module = network(data, own)
        try:
            trained = training.train(module, data, own, augment=augment(seed))
        except TrainingFailedError as error:
            count = parameter_count(module)
            return Retrained(None, count, None, None, time.monotonic() - start, str(error))
        validation.append(trained.validation_accuracy)
        test.append(trained.test_accuracy())
    assert module is not None
    seconds = time.monotonic() - start
    return Retrained(
        module, parameter_count(module), fmean(validation), fmean(test), seconds, by_seed=tuple(test)
    )
