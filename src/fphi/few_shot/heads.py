"""From features to classes: small networks that a few examples give, without any step of gradient descent."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "PARTS",
    "RULES",
    "TOGETHER",
    "Centred",
    "ClassMeans",
    "Head",
    "LinearAnswers",
    "Logistic",
    "Means",
    "Mixed",
    "Ridge",
    "Together",
    "averaged",
    "rule_named",
]


class Centred(nn.Module):
    """Features ``[n, d]`` less their mean over the examples, each column or each row scaled.

    Args:
        width: d.
        unit: whether rows are brought to length 1 (SimpleShot, arXiv 1911.04623), as features of one kind
            are; else columns to a deviation of 1, as those of a table.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, unit: bool = True) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(width, dtype=torch.float64))

    @classmethod
    def of(cls, x: Tensor, unit: bool) -> "Centred":
        """With the mean and the deviations of ``x: [n, d]``; those of a constant column are 1."""
        made = cls(x.shape[1], unit)
        made.mean = x.double().mean(0)
        if not unit:
            spread = x.double().std(0, correction=0)
            made.deviation = torch.where(spread > 1e-9 * made.mean.abs().clamp(min=1), spread, 1.0)
        return made

    def forward(self, x: Tensor) -> Tensor:
        centred = (x.double() - self.mean) / self.deviation
        return F.normalize(centred, dim=1) if self.unit else centred


class ClassMeans(nn.Module):
    """Minus the squared distance of each row to each class's mean."""

    means: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x @ self.means.T - self.means.square().sum(1) - x.square().sum(1, keepdim=True)


class LinearAnswers(nn.Module):
    """``x @ weight.T + bias``, in double precision."""

    weight: Tensor
    bias: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, width, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(classes, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class Together(nn.Module):
    """The mean of the calibrated log-probabilities that several networks of the same input give.

    Args:
        parts: these networks, each giving logits ``[n, classes]``.
        temperatures: by which the logits of each are divided.
    """

    temperatures: Tensor

    def __init__(self, parts: Sequence[nn.Module], temperatures: Sequence[float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return averaged([part(x) for part in self.parts], self.temperatures.tolist())


def averaged(logits: Sequence[Tensor], temperatures: Sequence[float]) -> Tensor:
    """The mean ``[n, classes]`` of the calibrated log-probabilities of several logits ``[n, classes]``."""
    parts = [(own.double() / t).log_softmax(1) for own, t in zip(logits, temperatures, strict=True)]
    return torch.stack(parts).mean(0)


class Head(ABC):
    """A rule that makes a network for features of labelled examples.

    Attributes:
        usual_temperature: by which logits are divided where no example can be held out to find it.
    """

    usual_temperature: ClassVar[float] = 1.0

    @abstractmethod
    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        """The network from features ``[n, d]`` to logits ``[n, classes]``.

        Args:
            x: features of the examples ``[n, d]``.
            y: their classes ``[n]``, of each at least one.
            classes: how many there are.
            unit: see `Centred`.
        """

    @abstractmethod
    def outline(self, width: int, classes: int, unit: bool) -> nn.Module:
        """A network of the same form that has learned nothing, to load a state into."""


@dataclass(frozen=True)
class Means(Head):
    """The nearest class mean, in centred features."""

    usual_temperature: ClassVar[float] = 0.2

    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        centred = Centred.of(x, unit)
        rows, answers = centred(x), ClassMeans(classes, x.shape[1])
        member = F.one_hot(torch.from_numpy(y), classes).double()
        answers.means = (member.T @ rows) / member.sum(0)[:, None]
        return nn.Sequential(centred, answers)

    def outline(self, width: int, classes: int, unit: bool) -> nn.Module:
        return nn.Sequential(Centred(width, unit), ClassMeans(classes, width))


class _Linear(Head):
    """A head that ends in a linear map; the penalty is the same in any rotation of the features."""

    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        centred = Centred.of(x, unit)
        rows = centred(x).numpy()
        basis = _span(rows)
        weight, bias = self.fitted(rows @ basis.T if basis is not None else rows, y, classes)
        answers = LinearAnswers(classes, x.shape[1])
        answers.weight = torch.from_numpy(
            np.ascontiguousarray(weight @ basis if basis is not None else weight)
        )
        answers.bias = torch.from_numpy(np.broadcast_to(bias, (classes,)).copy())
        return nn.Sequential(centred, answers)

    def outline(self, width: int, classes: int, unit: bool) -> nn.Module:
        return nn.Sequential(Centred(width, unit), LinearAnswers(classes, width))

    @abstractmethod
    def fitted(
        self, rows: NDArray[np.float64], y: NDArray[np.int64], classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights ``[classes, d]`` and biases ``[classes]`` for rows ``[n, d]``."""


def _span(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Directions ``[n, d]`` that all rows lie in, where they are fewer than columns: nothing else matters."""
    if rows.shape[1] <= rows.shape[0]:
        return None
    basis: NDArray[np.float64] = np.linalg.qr(rows.T)[0].T
    return basis


@dataclass(frozen=True)
class Ridge(_Linear):
    """Least squares to 1 and -1, the penalty that which is best when each example is left out in turn."""

    def fitted(
        self, rows: NDArray[np.float64], y: NDArray[np.int64], classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from sklearn.linear_model import RidgeCV

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a matrix near to singular, at the smallest penalties
            model = RidgeCV(alphas=np.logspace(-3, 4, 15)).fit(rows, 2.0 * np.eye(classes)[y] - 1)
        return model.coef_, model.intercept_


@dataclass(frozen=True)
class Logistic(_Linear):
    """Logistic regression.

    Args:
        C: how weak the penalty is, as scikit-learn has it.
    """

    C: float = 1.0

    def fitted(
        self, rows: NDArray[np.float64], y: NDArray[np.int64], classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations that have not converged: what it does decides
            model = LogisticRegression(C=self.C, max_iter=300).fit(rows, y)
        weight, bias = model.coef_, model.intercept_
        if classes == 2:  # one line tells two classes apart
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return weight, bias


@dataclass(frozen=True)
class Mixed(Head):
    """The heads of ``PARTS``, whose calibrated log-probabilities are averaged.

    Args:
        temperatures: of each.
    """

    temperatures: tuple[float, ...]

    def learn(self, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool) -> nn.Module:
        return Together([RULES[name].learn(x, y, classes, unit) for name in PARTS], self.temperatures)

    def outline(self, width: int, classes: int, unit: bool) -> nn.Module:
        return Together([RULES[name].outline(width, classes, unit) for name in PARTS], self.temperatures)


RULES: Mapping[str, Head] = {
    "means": Means(),
    "ridge": Ridge(),
    **{f"logistic, C={C:g}": Logistic(C) for C in (1, 10, 100)},
}
"""What ``learner="auto"`` chooses among, on any features."""
PARTS = ("means", "ridge", "logistic, C=10")
"""Rules that differ in kind, whose mean answers unless one rule is clearly better."""
TOGETHER = "together"
"""The name of that rule."""


def rule_named(name: str, temperatures: Sequence[float] = ()) -> Head:
    """The head of a name in ``RULES``, or of ``TOGETHER`` with the temperatures of its parts."""
    return Mixed(tuple(temperatures)) if name == TOGETHER else RULES[name]
