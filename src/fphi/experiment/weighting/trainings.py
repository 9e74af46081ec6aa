"""The trainings of a run, an epoch at a time: plainly, on cleaned labels, and with learned weights."""

import time
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.experiment.search.options import NetworkOptions
from fphi.experiment.weighting.options import BesideOptions, WeighedTask
from fphi.experiment.weighting.standing import Row, Standing
from fphi.methods.families.weighting import WeightingMethod
from fphi.optimize.weighted_training import WeighedObjective
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.answers import are_right
from fphi.within.cleaning import confident_issues
from fphi.within.trained import accuracy
from fphi.within.training import NetworkTraining, Stretch, TrainingFailedError

__all__ = ["CLEANED", "PLAIN", "Trainings"]

PLAIN, CLEANED = "plain", "cleaned"
_AT_ONCE = 500  # examples that are answered together


@dataclass(frozen=True)
class Trainings:
    """All trainings of a run; each epoch is a function of the seed and of what those before have left.

    Args:
        task: with wrong labels.
        method: what weighs the examples.
        network: that all of them train, from the same first weights.
        training: the same for all.
        beside: what the method is compared with.
        seed: of everything random.
    """

    task: WeighedTask
    method: WeightingMethod
    network: NetworkOptions
    training: NetworkTraining
    beside: BesideOptions
    seed: int
    _made: dict[str, Supervised] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folds(self) -> list[str]:
        """The names of the trainings that judge a part of the labels each."""
        return [f"fold {i}" for i in range(1, self.beside.folds + 1)] if self.beside.control else []

    @property
    def names(self) -> list[str]:
        """Of all trainings, in their order."""
        own = self.method.title
        return [PLAIN, *self.folds, CLEANED, own] if self.beside.control else [own]

    def require_fitting(self) -> None:
        """Raise an `FphiError` if the network does not take the examples, or has not an answer per class."""
        self.network.require_fitting(self.task.data)

    def next(self, standing: Standing) -> str | None:
        """The training that is going on, or is about to begin; None: all have ended."""
        return next((name for name in self.names if name not in standing.left), None)

    def epoch(self, standing: Standing) -> Row:
        """Train the next epoch; the standing is what it leads to.

        Raises:
            FphiError: the training diverges, or takes longer than it may.
        """
        name = self.next(standing)
        assert name is not None
        number = len(standing.rows_of(name))
        module, began = self._module(standing), time.monotonic()
        row, going = self._stretch(name, number, module, standing)
        row["seconds"] = time.monotonic() - began
        standing.rows.append(row)
        self._check_time(standing, name)
        ended = number + 1 == self.training.epochs
        if ended:
            standing.left[name] = self._left(name, module, going)
        standing.going = {} if ended and self.next(standing) is not None else going
        return row

    def module(self, standing: Standing) -> nn.Module:
        """The network as it stands, in evaluation mode."""
        return self._module(standing).eval()

    def issues(self, standing: Standing) -> Tensor:
        """Which training labels confident learning doubts, bool ``[n]``."""
        return confident_issues(self.probabilities(standing), self.task.data.train.y)

    def probabilities(self, standing: Standing) -> Tensor:
        """Of the classes, ``[n, classes]``, each example's by a network that was not trained on it."""
        data = self.task.data
        found = torch.empty(len(data.train.y), data.classes)
        for name, rows in zip(self.folds, self._parts(), strict=True):
            found[rows] = standing.left[name]["probabilities"]
        return found

    def _stretch(
        self, name: str, number: int, module: nn.Module, standing: Standing
    ) -> tuple[Row, dict[str, Any]]:
        going, data, seed = standing.going, self._data(name, standing), self._seed(f"{name}/{number}")
        objective = self._objective(seed) if name == self.method.title else None
        if objective is not None and going:
            objective.load_state_dict(going["objective"])
        stretch = Stretch(number, number + 1, going.get("velocity", {}))
        training = replace(self.training, limit_seconds=None)  # which is meant of all epochs together
        try:
            trained = training.train(module, data, seed, objective=objective, stretch=stretch)
        except TrainingFailedError as error:
            raise FphiError(f"the training {name!r} {error}; choose a smaller --lr") from error
        row: Row = {"training": name, "epoch": number + 1, "loss": trained.losses[0]}
        row["validation_accuracy"] = trained.validation[0]
        if name not in self.folds:
            row["test_accuracy"] = accuracy(module, data.test)
        after = {"module": dict(module.state_dict()), "velocity": trained.velocity}
        return row, after | ({} if objective is None else {"objective": objective.state_dict()})

    def _objective(self, seed: int) -> WeighedObjective:
        size, examples = self.method.clean_batch_size, len(self.task.data.train.y)
        return WeighedObjective(self.method.begin, self.task.clean, examples, size, seed)

    def _module(self, standing: Standing) -> nn.Module:
        module = self.network.build(self.task.data, self._seed("network"))
        if standing.going:
            module.load_state_dict(standing.going["module"])
        return module

    def _data(self, name: str, standing: Standing) -> Supervised:
        """What a training is given; those without weights train on the clean examples, too."""
        if name == self.method.title:
            return self.task.data
        if name not in self._made:
            self._made.clear()
            self._made[name] = self._with_clean(name, standing)
        return self._made[name]

    def _with_clean(self, name: str, standing: Standing) -> Supervised:
        data = self.task.data
        kept = torch.ones(len(data.train.y), dtype=torch.bool)
        if name == CLEANED:
            kept = ~self.issues(standing)
        elif name in self.folds:
            kept[self._parts()[self.folds.index(name)]] = False
        x, y = (torch.cat([of[kept], clean]) for of, clean in zip(data.train, self.task.clean, strict=True))
        return data._replace(train=Examples(x, y))

    def _parts(self) -> tuple[Tensor, ...]:
        """The examples of each fold."""
        generator = torch.Generator().manual_seed(self._seed("folds"))
        order = torch.randperm(len(self.task.data.train.y), generator=generator)
        return order.tensor_split(len(self.folds))

    def _left(self, name: str, module: nn.Module, going: dict[str, Any]) -> dict[str, Tensor]:
        """What of a network whose training has ended is needed later."""
        train, test = self.task.data.train, self.task.data.test
        if name in self.folds:
            rows = self._parts()[self.folds.index(name)]
            return {"probabilities": _answers(module, train.x[rows]).softmax(1)}
        losses = cross_entropy(_answers(module, train.x), train.y, reduction="none")
        left = {"losses": losses, "right": are_right(_answers(module, test.x), test.y)}
        if name == self.method.title:
            seen = self._objective(0)
            seen.load_state_dict(going["objective"])
            left |= {"weights": seen.weights, "mean_losses": seen.losses, "suspicion": seen.suspicion}
            left["doubted"] = seen.doubted(train.y)
        return left

    def _check_time(self, standing: Standing, name: str) -> None:
        limit = self.training.limit_seconds
        if limit is not None and sum(row["seconds"] for row in standing.rows_of(name)) > limit:
            raise FphiError(
                f"the training {name!r} took longer than --limit-seconds {limit:g}; begin anew with more"
            )

    def _seed(self, purpose: str) -> int:
        return Random(f"{self.seed}/{purpose}").getrandbits(63)


@torch.no_grad()
def _answers(module: nn.Module, x: Tensor) -> Tensor:
    module.eval()
    return torch.cat([module(part) for part in torch.split(x, _AT_ONCE)])
