"""A classifier for labels that are partly wrong, as scikit-learn has them: a few clean examples guide it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks import MLP
from fphi.optimize.meta_weight_net import DivideBy, MetaWeightNet
from fphi.optimize.reweighting import Reweight
from fphi.optimize.weighted_training import WeighedObjective
from fphi.optimize.weighting import Weighting
from fphi.ranges import Range, checked
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.weighting.arrays import Given, Scale, classes_of, numbers_of, seed_of
from fphi.within.training import NetworkTraining, TrainingFailedError

__all__ = ["Approach", "WeightedClassifier"]

Approach = Literal["reweight", "meta-weight-net"]

_RATE = Range(0, 1000, open=True)


class WeightedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier for labels that are partly wrong, as scikit-learn has them; a few clean examples guide it.

    Args:
        method: "reweight" (arXiv 1803.09050) or "meta-weight-net" (arXiv 1902.07379).
        network: from examples to ``[n, classes]``, in place of a fully connected one; it is copied.
        hidden: widths of the fully connected network.
        epochs: passes over the training examples.
        batch_size: examples of a step.
        clean_batch_size: clean examples of a step, at most.
        lr: of the first step; it falls to 0 along half a cosine. None: 0.1, or 0.03 for Meta-Weight-Net,
            which has to know wrong labels before the network knows them by heart.
        weight_decay: of the network.
        weight_lr: of Meta-Weight-Net's weighting network (paper: 1e-3, for trainings of 60,000 steps).
        divide_by: see `MetaWeightNet`.
        random_state: of everything random: a seed, or a `numpy.random.RandomState` that gives one; None: a
            new one for each fit.

    Attributes:
        classes_: the labels in order.
        sample_weight_: how much each example counted ``[n]``, on average over the training; their mean is 1.
            Those that are clean ones too count 0, and are not part of the mean.
        suspicion_: of each example ``[n]``, 1 less the mean probability of its label during the training; of
            those that are clean ones too, 1 where the clean label is another, else 0.
        label_issues_: the numbers of the examples whose labels are doubted, most suspicious first: where
            the label has at most half of the mean probability that it has for the examples labelled so, and
            another class, which is more probable, at least half of what it has for its own; or where the
            clean label is another.
        weight_net_: Meta-Weight-Net's weighting network, or None: ``weight_net_.curve(losses)`` are the
            weights of examples with these losses.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> right = (X[:, 0] > 0).astype(int)
    >>> y = np.where(rng.random(200) < 0.3, 1 - right, right)
    >>> model = WeightedClassifier(hidden=(16,), epochs=20).fit(X[20:], y[20:], X[:20], right[:20])
    >>> bool(model.score(X, right) > 0.9)
    True
    """

    def __init__(
        self,
        method: Approach = "reweight",
        *,
        network: nn.Module | None = None,
        hidden: Sequence[int] = (128, 128),
        epochs: int = 40,
        batch_size: int = 100,
        clean_batch_size: int = 100,
        lr: float | None = None,
        weight_decay: float = 5e-4,
        weight_lr: float = 0.03,
        divide_by: DivideBy = "number",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method, self.network, self.hidden, self.epochs = method, network, hidden, epochs
        self.batch_size, self.clean_batch_size, self.lr = batch_size, clean_batch_size, lr
        self.weight_decay, self.weight_lr, self.divide_by = weight_decay, weight_lr, divide_by
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, X_clean: ArrayLike, y_clean: ArrayLike) -> "WeightedClassifier":
        """Learn.

        Args:
            X: examples ``[n, …]``. Those that are clean ones too, to the last digit, are not trained on.
            y: their labels ``[n]``, numbers or texts, some of them wrong.
            X_clean: other examples, whose labels can be trusted.
            y_clean: these labels; of each class at least one.

        Raises:
            FphiError: an option or the data do not fit, or the training diverges.
        """
        training, seed = self._training(), seed_of(self.random_state)
        given = Given.read(X, y, X_clean, y_clean)
        classes, scale = classes_of(given.y, given.y_clean), Scale.of(given.X)
        clean = _of_network(given.X_clean, given.y_clean, classes, scale)
        train = _of_network(given.X, given.y, classes, scale)
        data = Supervised("X", train, clean, clean, len(classes))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self._module(given.X.shape[1:], len(classes))
        sizes = (len(train.y), training.batch_size), (len(clean.y), self.clean_batch_size)
        _require_answers(module, data, min(2, *(n // -(-n // size) for n, size in sizes)))
        objective = WeighedObjective(self._begin, clean, len(train.y), self.clean_batch_size, seed)
        try:
            trained = training.train(module, data, seed, objective=objective).module
        except TrainingFailedError as error:
            raise FphiError(f"the training {error}; choose a smaller lr") from error
        # From here on nothing fails: a fit that does leaves everything as it was.
        self.classes_, self._scale, self.module_ = classes, scale, trained
        self._tell(objective, train.y, given)
        self.n_features_in_ = given.X.shape[1]
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each example ``[n]``; see `predict_proba`."""
        probabilities = self.predict_proba(X)
        predicted: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return predicted

    @torch.no_grad()
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probabilities ``[n, classes]`` of ``classes_``.

        Raises:
            NotFittedError: nothing is fitted.
            FphiError: the examples have another shape than those of fit.
        """
        if not hasattr(self, "module_"):
            raise NotFittedError("This WeightedClassifier is not fitted yet; call fit")
        examples = numbers_of("X", X)
        if examples.shape[1:] != self._scale.mean.shape:
            raise FphiError(
                f"an example of X has shape {list(examples.shape[1:])}; those of fit had "
                f"{list(self._scale.mean.shape)}"
            )
        parts = torch.split(self._scale.standardised(examples), 1000)
        logits = torch.cat([self.module_(part) for part in parts])
        probabilities: NDArray[np.float64] = logits.double().softmax(1).numpy()
        return probabilities

    def _training(self) -> NetworkTraining:
        sizes = self.hidden, self.clean_batch_size
        _require_options(self.method, self.network, *sizes, self.lr, self.weight_lr, self.divide_by)
        usual = 0.1 if self.method == "reweight" else 0.03
        return NetworkTraining(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=usual if self.lr is None else self.lr,
            weight_decay=self.weight_decay,
        )

    def _module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        if self.network is not None:
            return deepcopy(self.network)
        return MLP(int(np.prod(shape)), tuple(self.hidden), classes)

    def _begin(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Weighting:
        if self.method == "reweight":
            return Reweight(module, optimizer)
        return MetaWeightNet(module, optimizer, lr=self.weight_lr, divide_by=self.divide_by)

    def _tell(self, objective: WeighedObjective, y: Tensor, given: Given) -> None:
        """What a training has seen of its examples."""
        weighting = objective.weighting
        self.weight_net_ = weighting.net if isinstance(weighting, MetaWeightNet) else None
        self.sample_weight_ = given.of_all_rows(objective.weights.numpy(), np.zeros(len(given.kept)))
        self.suspicion_ = given.of_all_rows(objective.suspicion.numpy(), given.contradicted.astype(float))
        doubted = given.of_all_rows(objective.doubted(y).numpy(), given.contradicted)
        order = np.argsort(-self.suspicion_, kind="stable")
        self.label_issues_ = order[doubted[order]]


def _of_network(X: NDArray[np.float64], y: NDArray[Any], classes: NDArray[Any], scale: Scale) -> Examples:
    return Examples(scale.standardised(X), torch.from_numpy(np.searchsorted(classes, y)))


@checked(lr=_RATE, weight_lr=_RATE)
def _require_options(
    method: Approach,
    network: nn.Module | None,
    hidden: Sequence[int],
    clean_batch_size: int,
    lr: float | None,
    weight_lr: float,
    divide_by: DivideBy,
) -> None:
    """Refuse options that no other part looks at before it needs them."""


def _require_answers(module: nn.Module, data: Supervised, least: int) -> None:
    """Refuse a network that does not answer the examples, or not in the smallest of the minibatches."""
    probe = deepcopy(module)
    for x, training in ((data.train.x[:2], False), (data.train.x[:least], True)):
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                answers = probe.train(training)(x)
        except Exception as error:  # whatever somebody's own network raises
            reason = " ".join(str(error).split())[:200]
            mode, advice = ("training", "larger minibatches") if training else ("use", "one that does")
            raise FphiError(
                f"the network takes no examples {list(x.shape)} in {mode} ({reason}); give {advice}"
            ) from error
        found = list(answers.shape) if isinstance(answers, Tensor) else f"a {type(answers).__name__}"
        if found != [len(x), data.classes]:
            raise FphiError(
                f"the network answers {len(x)} examples with {found}; {data.classes} classes need "
                f"{[len(x), data.classes]}"
            )
