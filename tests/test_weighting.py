"""Classifiers for wrong labels, as scikit-learn has them: better than plain training, and decided by the seed."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

import fphi
from fphi.errors import FphiError
from fphi.tasks.corruption import corrupted
from fphi.tasks.supervised import load_supervised
from fphi.weighting import Approach, MetaWeightNet, Reweight, WeightedClassifier, endless
from fphi.within.training import NetworkTraining

QUICK: dict[str, Any] = {"hidden": (16,), "epochs": 4}


class Noisy:
    """Digits, four in ten of whose labels are drawn anew, with a hundred clean ones."""

    def __init__(self) -> None:
        self.task = corrupted(load_supervised("digits", validation=100), "uniform", 0.4, seed=0)
        data = self.task.data
        self.X, self.y = data.train.x.flatten(1).numpy(), data.train.y.numpy()
        self.X_clean, self.y_clean = data.validation.x.flatten(1).numpy(), data.validation.y.numpy()
        self.X_test, self.y_test = data.test.x.flatten(1).numpy(), data.test.y.numpy()
        self.wrong: NDArray[np.bool_] = self.task.wrong.numpy()

    def fit(self, model: WeightedClassifier) -> WeightedClassifier:
        return model.fit(self.X, self.y, self.X_clean, self.y_clean)


@pytest.fixture(scope="module")
def noisy() -> Noisy:
    return Noisy()


@pytest.mark.parametrize("method", ["reweight", "meta-weight-net"])
def test_it_learns_what_plain_training_cannot_and_finds_the_wrong_labels(
    noisy: Noisy, method: Approach
) -> None:
    model = noisy.fit(WeightedClassifier(method))
    training = NetworkTraining(batch_size=100, lr=0.1, weight_decay=5e-4, epochs=40)
    plain = training.train(fphi.MLP(64, (128, 128), 10), noisy.task.data, 0).test_accuracy()
    assert model.score(noisy.X_test, noisy.y_test) > 0.9 > plain + 0.05
    issues = model.label_issues_
    assert noisy.wrong[issues].mean() > 0.9  # precision
    assert noisy.wrong[issues].sum() > 0.8 * noisy.wrong.sum()  # recall
    assert (np.diff(model.suspicion_[issues]) <= 0).all()
    weights = model.sample_weight_
    assert weights.mean() == pytest.approx(1)
    assert weights[noisy.wrong].mean() < 0.7 * weights[~noisy.wrong].mean()
    assert (model.weight_net_ is None) == (method == "reweight")
    if model.weight_net_ is not None:
        low, high = model.weight_net_.curve([0.1, 5.0])
        assert high < low


@pytest.mark.parametrize("method", ["reweight", "meta-weight-net"])
def test_labels_are_not_doubted_for_want_of_training(method: Approach) -> None:
    """Nor for want of examples; and of wrong ones hardly any is missed."""
    X, y = load_digits(return_X_y=True)

    def doubted(examples: int, **options: Any) -> int:
        end = 100 + examples
        model = WeightedClassifier(method, **options).fit(X[100:end], y[100:end], X[:100], y[:100])
        return len(model.label_issues_)

    assert doubted(1697, epochs=3) < 200
    assert doubted(200) < 10
    X, right = make_blobs(1000, 20, centers=20, random_state=0, cluster_std=2.0)
    y = np.where(np.random.default_rng(0).random(1000) < 0.2, (right + 3) % 20, right)
    model = WeightedClassifier(method, epochs=20).fit(X[100:], y[100:], X[:100], right[:100])
    wrong = (y != right)[100:]
    assert wrong[model.label_issues_].all()
    assert len(model.label_issues_) > 0.97 * wrong.sum()


def test_the_learned_curve_rises_where_classes_are_rare() -> None:
    data = corrupted(load_supervised("digits", validation=100), "none", imbalance=50, seed=0).data
    (X, y), (X_clean, y_clean) = data.train, data.validation
    model = WeightedClassifier("meta-weight-net", lr=0.1).fit(X, y, X_clean, y_clean)
    assert model.weight_net_ is not None
    low, high = model.weight_net_.curve([0.1, 5.0])
    assert high > low


@pytest.mark.parametrize("method", ["reweight", "meta-weight-net"])
def test_the_seed_decides_everything(noisy: Noisy, method: Approach) -> None:
    one = noisy.fit(WeightedClassifier(method, **QUICK))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    same = noisy.fit(WeightedClassifier(method, **QUICK))
    assert torch.equal(torch.get_rng_state(), state)
    other = noisy.fit(WeightedClassifier(method, random_state=1, **QUICK))
    assert np.array_equal(one.predict_proba(noisy.X_test), same.predict_proba(noisy.X_test))
    assert np.array_equal(one.sample_weight_, same.sample_weight_)
    assert not np.array_equal(one.predict_proba(noisy.X_test), other.predict_proba(noisy.X_test))


def test_it_is_one_of_scikit_learn_s_classifiers(noisy: Noisy) -> None:
    """Clones, pipelines, copies; labels may be texts."""
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    model = clone(WeightedClassifier(**QUICK))
    model.fit(noisy.X, names[noisy.y], noisy.X_clean, names[noisy.y_clean])
    assert model.classes_.tolist() == sorted(names)
    probabilities = model.predict_proba(noisy.X_test)
    assert probabilities.sum(1) == pytest.approx(np.ones(len(noisy.X_test)))
    assert (model.predict(noisy.X_test) == model.classes_[probabilities.argmax(1)]).all()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(noisy.X_test), probabilities)
    numbers = noisy.fit(WeightedClassifier(**QUICK))
    shifted = np.empty_like(probabilities)
    shifted[:, np.argsort(np.argsort(names))] = numbers.predict_proba(noisy.X_test)
    assert shifted.shape == probabilities.shape
    line = make_pipeline(MinMaxScaler(), WeightedClassifier(**QUICK))
    scaler = MinMaxScaler().fit(noisy.X)
    line.fit(
        noisy.X,
        noisy.y,
        weightedclassifier__X_clean=scaler.transform(noisy.X_clean),
        weightedclassifier__y_clean=noisy.y_clean,
    )
    assert line.score(noisy.X_test, noisy.y_test) > 0.5


def test_a_pipeline_transforms_the_clean_examples_too(noisy: Noisy) -> None:
    """Where it does not they are refused, but nowhere else."""
    given = {"X_clean": 5 * noisy.X_clean + 20, "y_clean": noisy.y_clean}
    X, X_test = 5 * noisy.X + 20, 5 * noisy.X_test + 20
    with config_context(enable_metadata_routing=True):
        model = WeightedClassifier(**QUICK).set_fit_request(X_clean=True, y_clean=True)
        routed = make_pipeline(MinMaxScaler(), clone(model), transform_input=["X_clean"])
        assert routed.fit(X, noisy.y, **given).score(X_test, noisy.y_test) > 0.5
        with pytest.raises(
            FphiError, match=r"X_clean is elsewhere than X in \d+ of \d+ columns; transform both"
        ):
            make_pipeline(MinMaxScaler(), model).fit(X, noisy.y, **given)


def test_clean_examples_of_honest_data_are_not_refused() -> None:
    """Rare classes, heavy tails, a column of later dates, a column of one value."""
    rng = np.random.default_rng(0)
    y, y_clean = np.arange(200) // 198, np.arange(10) % 2
    X, X_clean = (40 * of[:, None] + rng.standard_cauchy(size=(len(of), 5)) for of in (y, y_clean))
    X[:, 0], X_clean[:, 0] = np.arange(200), 500 + np.arange(10)
    X[:, 1], X_clean[:, 1] = 3.0, np.arange(10)
    assert len(WeightedClassifier(**QUICK).fit(X, y, X_clean, y_clean).classes_) == 2
    with pytest.raises(FphiError, match="X_clean is elsewhere than X in 1 of 1 columns"):
        WeightedClassifier(**QUICK).fit(X[:, :1], y, X_clean[:, :1], y_clean)


def test_any_network_is_copied_and_trained() -> None:
    data = corrupted(load_supervised("digits", validation=100), seed=0).data
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    )
    before = [p.clone() for p in network.parameters()]
    model = WeightedClassifier(network=network, epochs=6).fit(*data.train, *data.validation)
    assert model.score(*data.test) > 0.7
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_an_ordinary_loop_of_ten_lines() -> None:
    data = corrupted(load_supervised("digits", validation=100), seed=0).data
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data.train), 100, shuffle=True)
    clean_loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data.validation), 50, shuffle=True
    )
    for begin in (Reweight, MetaWeightNet):
        torch.manual_seed(0)
        model = fphi.MLP(64, (32,), 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        weighting, clean = begin(model, optimizer), endless(clean_loader)
        for _ in range(6):
            for batch in loader:
                weighting.step(batch, next(clean))
        assert float((model(data.test.x).argmax(1) == data.test.y).float().mean()) > 0.7
    with pytest.raises(FphiError, match="gives no minibatch"):
        next(endless([]))


def small() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    X = np.random.default_rng(0).normal(size=(80, 2))
    return X, (X[:, 0] > 0).astype(np.int64)


def test_a_column_of_one_value_says_nothing() -> None:
    """The mean of many tenths is no tenth, and a tenth in float32 is another number."""
    X, y = small()
    X = np.c_[X, np.full(len(X), 0.1)]
    assert 0 < X[20:, 2].std() < 1e-15
    model = WeightedClassifier(hidden=(16,), epochs=10).fit(X[20:], y[20:], X[:20], y[:20])
    probabilities = model.predict_proba(X)
    assert model.predict_proba(X.astype(np.float32)) == pytest.approx(probabilities, abs=1e-5)


def test_seeds_are_those_of_scikit_learn() -> None:
    X, y = small()

    def answers(seed: Any) -> NDArray[np.float64]:
        return (
            WeightedClassifier(random_state=seed, **QUICK)
            .fit(X[20:], y[20:], X[:20], y[:20])
            .predict_proba(X)
        )

    assert np.array_equal(answers(np.int64(3)), answers(3))
    state = np.random.RandomState(0)
    first = answers(state)
    assert np.array_equal(answers(np.random.RandomState(0)), first)
    assert not np.array_equal(answers(state), first)
    assert not np.array_equal(answers(None), answers(None))
    with pytest.raises(FphiError, match=r"random_state is 1.5; it must be a whole number"):
        answers(1.5)


@pytest.mark.parametrize("method", ["reweight", "meta-weight-net"])
def test_clean_examples_are_not_trained_on_besides(method: Approach) -> None:
    """Two of them among the others: they are told what is known of them, and all is as without them."""
    X, y = small()
    X[0, 0] = 0.0
    without = WeightedClassifier(method, **QUICK).fit(X[20:], y[20:], X[:20], y[:20])
    doubles = np.array([[-0.0, X[0, 1]], X[1]])
    given = np.concatenate([doubles[:1], X[20:50], doubles[1:], X[50:]])
    labels = np.concatenate([[y[0]], y[20:50], [1 - y[1]], y[50:]])
    model = WeightedClassifier(method, **QUICK).fit(given, labels, X[:20], y[:20])
    assert np.array_equal(model.predict_proba(X), without.predict_proba(X))
    others = np.delete(np.arange(62), [0, 31])
    assert np.array_equal(model.sample_weight_[others], without.sample_weight_)
    assert np.array_equal(model.suspicion_[others], without.suspicion_)
    assert (model.sample_weight_[[0, 31]].tolist(), model.suspicion_[[0, 31]].tolist()) == ([0, 0], [0, 1])
    assert model.label_issues_.tolist() == [31, *others[without.label_issues_]]
    few = np.repeat([[0.0], [1.0]], 40, axis=0), np.repeat([0, 1], 40)
    model = WeightedClassifier(method, **QUICK).fit(*few, few[0][::20], few[1][::20])
    assert (model.sample_weight_ == 0).sum() == 4
    with pytest.raises(FphiError, match="all examples of X are among X_clean; give others to train on"):
        WeightedClassifier(method, **QUICK).fit(X[:20], y[:20], X[:20], y[:20])


def test_labels_may_be_whole_numbers_of_floats() -> None:
    X, y = small()
    model = WeightedClassifier(**QUICK).fit(X[20:], y[20:].astype(float), X[:20], y[:20])
    assert model.classes_.tolist() == [0.0, 1.0]
    assert model.predict(X).dtype == np.float64
    numbers = WeightedClassifier(**QUICK).fit(X[20:], y[20:], X[:20], y[:20])
    assert np.array_equal(model.predict_proba(X), numbers.predict_proba(X))


def test_tensors_are_arrays_too() -> None:
    X, y = small()
    tensors = torch.tensor(X, requires_grad=True), torch.tensor(y)
    model = WeightedClassifier(**QUICK).fit(*(t[20:] for t in tensors), *(t[:20] for t in tensors))
    plain = WeightedClassifier(**QUICK).fit(X[20:], y[20:], X[:20], y[:20])
    assert np.array_equal(model.predict_proba(tensors[0]), plain.predict_proba(X))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean_batch_size": 1.5}, "clean_batch_size is 1.5; it must be a whole number"),
        ({"clean_batch_size": None}, "clean_batch_size is None; it must be a whole number"),
        ({"weight_lr": None}, "weight_lr is None; it must be a number"),
        ({"lr": "x"}, "lr is 'x'; it must be a number"),
        ({"hidden": 8}, "hidden is 8; it must be a tuple or a list"),
        ({"hidden": (0,)}, "hidden is .*; it must be of entries that are each at least 1"),
        ({"network": "x"}, "network is 'x'; it must be of type Module or None"),
        ({"network": nn.Linear}, "network is of type type; it must be of type Module or None"),
        ({"network": nn.Linear(2, 3)}, r"answers 2 examples with \[2, 3\]; 2 classes need \[2, 2\]"),
        ({"network": nn.LSTM(2, 2)}, r"answers 2 examples with a tuple; 2 classes need"),
        (
            {"network": nn.Linear(3, 2)},
            r"takes no examples \[2, 2\] in use \(mat1 and mat2 .*; give one that does",
        ),
        ({"network": normed(), "batch_size": 1}, r"\[1, 2\] in training .*; give larger minibatches"),
        ({"network": normed(), "clean_batch_size": 1}, r"\[1, 2\] in training .*; give larger minibatches"),
    ],
)
def test_options_that_nobody_means_are_refused(options: dict[str, Any], message: str) -> None:
    X, y = small()
    with pytest.raises(FphiError, match=message):
        WeightedClassifier(**{**QUICK, **options}).fit(X[20:], y[20:], X[:20], y[:20])


class Worsening(nn.Module):
    """Diverges after some steps."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = nn.Linear(2, 2), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        answers: torch.Tensor = self.inner(x) * (torch.inf if self.calls > 5 else 1)
        return answers


@pytest.mark.parametrize("options", [{"network": Worsening()}, {"network": nn.Linear(2, 3)}, {"epochs": 0}])
def test_a_fit_that_fails_leaves_the_one_before(options: dict[str, Any]) -> None:
    """Other labels, and examples on another scale, of which nothing is to stay."""
    X, y = small()
    model = WeightedClassifier(**QUICK).fit(X[20:], y[20:], X[:20], y[:20])
    before, told = model.predict_proba(X), dict(vars(model))
    names = np.array(["a", "b"])[y]
    with pytest.raises(FphiError):
        model.set_params(**options).fit(50 * X[20:] + 1000, names[20:], 50 * X[:20] + 1000, names[:20])
    model.set_params(**QUICK, lr=None, network=None)
    assert np.array_equal(model.predict_proba(X), before)
    assert model.predict(X).dtype == y.dtype
    assert vars(model).keys() == told.keys()
    assert all(vars(model)[name] is told[name] for name in told if name.endswith("_"))


def test_what_does_not_fit_is_refused(noisy: Noisy) -> None:
    X, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 2
    model = WeightedClassifier(**QUICK)

    def refused(message: str, *data: Any, **options: Any) -> None:
        with pytest.raises(FphiError, match=message):
            WeightedClassifier(**{**QUICK, **options}).fit(*data)

    good = (X, y, X[:4], y[:4])
    refused("method is 'best'; it must be one of reweight, meta-weight-net", *good, method="best")
    refused("epochs is 0", *good, epochs=0)
    refused("lr is -1", *good, lr=-1.0)
    refused("weight_lr is 0; it must be above 0", *good, weight_lr=0.0)
    refused(r"X has shape \[12\]; give examples", X[:, 0], y, X[:4], y[:4])
    refused("X_clean is no array of numbers", X, y, [["a", "b"]], y[:1])
    refused("X has values that are not finite", np.where(X > 2, np.nan, X) * np.inf, y, X[:4], y[:4])
    refused(r"y has shape \[11\] and X 12 examples", X, y[:11], X[:4], y[:4])
    refused("y has labels of type float64", X, y / 2, X[:4], y[:4])
    refused(r"an example of X has shape \[2\] and one of X_clean \[1\]", X, y, X[:4, :1], y[:4])
    refused("all labels of y are 0; there is nothing to tell apart", X, 0 * y, X[:4], y[:4])
    refused("y_clean has no example of class 1; give at least one of each", X, y, X[:4:2], y[:4:2])
    refused("y_clean has the class 7, of which y has no example", X, y, X[:3], [0, 1, 7])
    explodes = nn.Linear(2, 2)
    nn.init.constant_(explodes.weight, 3e38)[0].detach().neg_()
    refused(
        "losses of batch are not finite, and the model's parameters are: check its inputs",
        *good,
        network=explodes,
    )
    refused(r"X is sparse, .*; give X.toarray\(\)", csr_array(X), y, X[:4], y[:4])
    refused(r"X_clean is sparse, .*; give X_clean.toarray\(\)", X, y, csr_array(X[:4]), y[:4])
    refused("y has labels of type float64", X, np.where(y, np.inf, 0), X[:4], y[:4])
    with pytest.raises(NotFittedError, match="This WeightedClassifier is not fitted yet; call fit"):
        model.predict(X)
    model.fit(*good)
    with pytest.raises(FphiError, match=r"an example of X has shape \[3\]; those of fit had \[2\]"):
        model.predict(np.zeros((2, 3)))
