"""The last training of a search: its best architecture, from new weights, and then the test."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fphi.learnable.architecture.space import ArchitectureSpace
from fphi.learnable.space import Tokens
from fphi.objective.candidate_loss import ChoosesRate
from fphi.run.meta.evaluation import Interval
from fphi.tasks.hashing import stream_key
from fphi.tasks.supervised import Supervised
from fphi.within.trained import parameter_count
from fphi.within.training import NetworkTraining, TrainingFailedError

__all__ = ["Retrained", "retrain"]


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
