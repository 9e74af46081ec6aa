"""Fit, predict, save and load, for examples of every kind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

import fphi
from few_shot_helpers import blobs, image_folder, sound_folder, tone
from fphi import FewShotClassifier, FphiError

_NAMED = {
    # What the checks cannot see here, with the reason.
    "check_array_api_input": "needs SCIPY_ARRAY_API",
    "check_classifier_data_not_an_array": "needs pandas",
}


@pytest.mark.filterwarnings("default")
def test_it_is_an_estimator_as_scikit_learn_has_them() -> None:
    for estimator, check in estimator_checks_generator(FewShotClassifier(learner="means")):
        name = getattr(check, "func", check).__name__
        if name not in _NAMED:
            check(estimator)


def _texts() -> tuple[list[str], list[str]]:
    places = ("Rome", "the bank", "my brother", "our school", "the north", "a friend")
    asked = [f"where is the way to {p}" for p in places] + [f"how much money does {p} cost" for p in places]
    return asked + [f"please play a song about {p}" for p in places], ["way"] * 6 + ["price"] * 6 + [
        "song"
    ] * 6


def _rows(_: Path) -> tuple[Any, Any]:
    return blobs()


def _images(path: Path) -> tuple[Any, Any]:
    files = sorted(image_folder(path).rglob("*.png"))
    return files, [file.parent.name for file in files]


def _pillow(path: Path) -> tuple[Any, Any]:
    files, labels = _images(path)
    return [Image.open(file) for file in files], labels


def _sounds(path: Path) -> tuple[Any, Any]:
    files = sorted(sound_folder(path).rglob("*.wav"))
    return [str(file) for file in files], [file.parent.name for file in files]


def _words(_: Path) -> tuple[Any, Any]:
    return _texts()


@pytest.mark.parametrize("examples", [_rows, _images, _pillow, _sounds, _words])
def test_each_kind_is_learned_and_a_saved_model_answers_alike(
    examples: Callable[[Path], tuple[Any, Any]], tmp_path: Path
) -> None:
    X, y = examples(tmp_path)
    encoder = "words" if examples is _words else None
    model = FewShotClassifier(encoder=encoder).fit(X, y)
    assert model.score(X, y) >= 0.9
    assert "right on" in model.decision_
    model.save(tmp_path / "model.fphi")
    again = FewShotClassifier.load(tmp_path / "model.fphi")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12)
    assert again.decision_ == model.decision_
    assert again.classes_.tolist() == sorted(set(y))


def test_arrays_of_images_and_waveforms_are_read_as_the_files_are(tmp_path: Path) -> None:
    files, y = _images(tmp_path)
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    from_files = FewShotClassifier("means").fit(files, y).predict_proba(files)
    for given in (arrays, np.moveaxis(arrays, 3, 1), torch.from_numpy(arrays / 255.0)):
        model = FewShotClassifier("means").fit(given, y)
        np.testing.assert_allclose(model.predict_proba(given), from_files, atol=1e-9)
    rng = np.random.default_rng(0)
    waves, names = [tone(k, rng) for k in (0, 1, 2) for _ in range(4)], [k for k in "abc" for _ in range(4)]
    heard = FewShotClassifier(sampling_rate=8000).fit(waves, names)
    assert heard.predict([tone(1, rng)]).tolist() == ["b"]


def test_one_example_of_each_class_is_learned_and_nothing_is_claimed_of_it() -> None:
    X, y = blobs(each=1)
    model = FewShotClassifier().fit(X, y)
    assert model.score(*blobs(each=5, seed=3)) > 0.6
    assert "is not known" in model.decision_
    with pytest.raises(FphiError, match="cannot be told here"):
        model.decide(X)


def test_unequal_classes_from_one_example_to_many() -> None:
    rng = np.random.default_rng(0)
    sizes = [1, 2, 5, 40, 300]
    X = np.concatenate(
        [rng.normal(size=(n, 3)) + 6 * np.eye(3)[k % 3] * (1 if k < 3 else -1) for k, n in enumerate(sizes)]
    )
    y = np.repeat(np.arange(5), sizes)
    model = FewShotClassifier().fit(X, y)
    assert all(model.score(X[y == k], y[y == k]) > 0.9 for k in range(5))


def test_classes_that_were_never_shown_are_told_from_known_ones() -> None:
    X, y = blobs(each=8, classes=5)
    known = y != "class 4"
    model = FewShotClassifier().fit(X[known], y[known])
    assert model.fitted_.known is not None
    assert model.fitted_.known.auroc > 0.9
    new, labels = blobs(each=20, classes=5, seed=9)
    decided = model.decide(new)
    assert np.mean([d is None for d in decided[labels == "class 4"]]) > 0.7
    assert np.mean([d is not None for d in decided[labels != "class 4"]]) > 0.7


def test_a_new_class_is_learned_later_and_all_at_once_is_the_same() -> None:
    X, y = blobs(classes=4)
    model = FewShotClassifier("means").fit(X[:18], y[:18])
    model.partial_fit(X[18:], y[18:])
    assert model.classes_.tolist() == ["class 0", "class 1", "class 2", "class 3"]
    at_once = FewShotClassifier("means").fit(X, y)
    assert (model.predict(X) == at_once.predict(X)).all()


def test_answers_depend_neither_on_the_order_of_examples_nor_on_other_questions() -> None:
    X, y = blobs()
    order = np.random.default_rng(0).permutation(len(X))
    one, other = FewShotClassifier("ridge").fit(X, y), FewShotClassifier("ridge").fit(X[order], y[order])
    np.testing.assert_allclose(
        one.fitted_.network(torch.from_numpy(X)), other.fitted_.network(torch.from_numpy(X)), atol=1e-9
    )
    alone = np.concatenate([one.predict_proba(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, one.predict_proba(X), atol=1e-12)


def test_what_adapt_gives_is_a_module_that_answers_alone() -> None:
    X, y = blobs()
    model = FewShotClassifier().fit(X, y)
    module = model.adapt()
    assert isinstance(module, nn.Module)
    probabilities = module(model.features(X)).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-12)


def test_an_encoder_of_ones_own_is_used_and_asked_for_again(tmp_path: Path) -> None:
    X, y = blobs()
    encoder = nn.Linear(4, 6)
    model = FewShotClassifier(encoder=encoder).fit(X.astype(np.float32), y)
    model.save(tmp_path / "m")
    with pytest.raises(FphiError, match="encoder of your own"):
        FewShotClassifier.load(tmp_path / "m")
    again = FewShotClassifier.load(tmp_path / "m", encoder=encoder)
    assert (again.predict(X) == model.predict(X)).all()


def test_a_backbone_with_batch_norm_answers_each_example_alike_alone_or_not() -> None:
    X, y = blobs()
    x = torch.from_numpy(X).float()
    backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
    with pytest.raises(FphiError, match="as they begin"):
        FewShotClassifier(encoder=backbone).fit(X, y)
    backbone(x)  # its statistics are from training now
    model = FewShotClassifier(encoder=backbone).fit(X, y)
    alone = np.concatenate([model.predict_proba(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, model.predict_proba(X), atol=1e-6)
    assert backbone.training


_NEW_PROCESS = """
import sys, numpy as np
from fphi import FewShotClassifier
np.save(sys.argv[2], FewShotClassifier.load(sys.argv[1]).predict_proba(np.load(sys.argv[3])))
"""


def test_a_new_process_answers_without_the_examples(tmp_path: Path) -> None:
    X, y = blobs()
    model = FewShotClassifier().fit(X, y)
    model.save(tmp_path / "m")
    np.save(tmp_path / "X.npy", X)
    paths = [str(tmp_path / name) for name in ("m", "out.npy", "X.npy")]
    subprocess.run([sys.executable, "-c", _NEW_PROCESS, *paths], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.predict_proba(X), atol=1e-6)


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    X, y = blobs()
    FewShotClassifier("means").fit(X, y).save(tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b"means", b"meant"), b"\x80\x04pickle"):
        (tmp_path / "d").write_bytes(damaged)
        with pytest.raises(FphiError):
            FewShotClassifier.load(tmp_path / "d")
    with pytest.raises(NotFittedError):
        FewShotClassifier().save(tmp_path / "n")


@pytest.mark.parametrize(
    ("X", "y", "options", "said"),
    [
        ([[1.0]] * 4, [0, 0, 0, 0], {}, "1 class"),
        ([[1.0]] * 4, [0, 1, 0], {}, "labels"),
        ([[float("inf")]] * 4, [0, 1, 0, 1], {}, "infinity"),
        (np.zeros((4, 2, 2, 7)), [0, 1, 0, 1], {}, "1, 3 or 4 channels"),
        (["a.png", "b.png"], [0, 1], {}, "a.png cannot be read"),
        (["a.png", "b.wav"], [0, 1], {}, "give one kind"),
        ([[1.0], [2.0]], [0, 1], {"learner": "best"}, "choose auto"),
        ([[1.0], [2.0]], [0, 1], {"encoder": "best"}, "choose one of"),
        ([[1.0], [2.0]], [0, 1], {"encoder": "words"}, "choose another encoder"),
        ([[1.0], [2.0]], [0, 1], {"refused": 2.0}, "refused"),
        ([[1.0], [2.0]], [0, 1], {"random_state": -1}, "random_state"),
        ([np.zeros(9), np.zeros(8)], [0, 1], {"sampling_rate": None}, "equal length"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(X: Any, y: Any, options: Any, said: str) -> None:
    with pytest.raises(FphiError, match=said) as raised:
        FewShotClassifier(**options).fit(X, y)
    assert "\n" not in str(raised.value)


def test_features_that_are_not_finite_are_refused_wherever_they_come_from() -> None:
    X, y = blobs()
    model = FewShotClassifier("means", encoder=lambda x: x.float().log()).fit(np.abs(X) + 1, y)
    for call in (model.predict, lambda rows: model.partial_fit(rows, ["class 0"])):
        with pytest.raises(FphiError, match="example 0 features that are not finite"):
            call(np.zeros((1, 4)))
    with pytest.raises(FphiError, match="not finite"):
        FewShotClassifier(encoder=lambda x: x.float().log()).fit(X, y)


def test_a_random_state_of_scikit_learn_is_taken_and_not_saved(tmp_path: Path) -> None:
    X, y = blobs()
    model = FewShotClassifier(random_state=np.random.RandomState(3)).fit(X, y)
    model.save(tmp_path / "m")
    assert FewShotClassifier.load(tmp_path / "m").random_state == 0


def test_the_root_has_it() -> None:
    assert fphi.FewShotClassifier is FewShotClassifier
