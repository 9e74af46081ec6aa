"""Learners that runs have meta-trained, as candidates beside frozen features."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import fphi
from cli_helpers import fphi as command
from few_shot_helpers import blobs
from fphi import FewShotClassifier, FphiError
from fphi.few_shot.answers import _is_dark
from fphi.few_shot.encoders.texts import Words
from fphi.few_shot.items import Items
from fphi.tasks import FeatureTasks


@pytest.fixture(autouse=True)
def few_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which MAML has to adapt to anew."""
    monkeypatch.setattr("fphi.few_shot.choosing._ANSWERS", 12)
    monkeypatch.setattr("fphi.few_shot.unknown._TRIALS", 3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prototypical network and MAML, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    few = {"tasks": "hershey", "steps": 2, "validation_tasks": 4, "threads": 1}
    fphi.train("prototypical", out=folder / "prototypical", network="mlp", train_ways=5, **few)  # type: ignore[arg-type]
    fphi.train("maml", out=folder / "maml", network="mlp", meta_batch=2, **few)  # type: ignore[arg-type]
    return folder


def _drawings(each: int, seed: int = 0, classes: int = 4) -> tuple[list[Image.Image], list[str]]:
    """Dark lines on paper, one after the other in a direction of their class."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for k in range(classes):
        for _ in range(each):
            image = Image.new("L", (28, 28), 255)
            x, y = rng.integers(6, 14, 2)
            dx, dy = [(12, 0), (0, 12), (10, 10), (6, 3)][k]
            ImageDraw.Draw(image).line([(x, y), (x + dx, y + dy)], fill=0, width=3)
            images.append(image)
            labels.append(f"line {k}")
    return images, labels


@pytest.mark.parametrize("method", ["prototypical", "maml"])
def test_a_run_answers_by_its_learner_and_needs_no_folder_afterwards(
    method: str, runs: Path, tmp_path: Path
) -> None:
    X, y = _drawings(3)
    run = tmp_path / "run"
    shutil.copytree(runs / method, run)
    model = FewShotClassifier(run).fit(X, y)
    codes = np.unique(y, return_inverse=True)[1]
    drawn = torch.from_numpy(np.stack([1 - np.asarray(x, np.float32) / 255 for x in X]))[:, None]  # ink is 1
    support = fphi.Examples(drawn[None], torch.from_numpy(codes)[None])
    by_hand = fphi.load(run).solve_alone(support, drawn[None])[0, :, :4]  # type: ignore[operator]
    expected = (by_hand.double() / model.fitted_.temperature).softmax(1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-5)
    model.save(tmp_path / "model")
    shutil.rmtree(run)
    again = FewShotClassifier.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    inverted = [Image.fromarray(255 - np.asarray(x)) for x in X]  # bright ink is ink too
    np.testing.assert_allclose(again.predict_proba(inverted), model.predict_proba(X), atol=1e-6)


def test_the_best_of_runs_and_frozen_features_is_chosen_and_others_are_told(runs: Path) -> None:
    X, y = _drawings(3)
    model = FewShotClassifier(["auto", runs / "prototypical", runs / "maml"]).fit(X, y)
    names = [standing.name for standing in model.fitted_.standings]
    assert len(names) == 8
    assert f"prototypical of {runs / 'prototypical'}" in names
    assert model.score(*_drawings(5, seed=3)) > 0.7


def test_more_classes_than_a_run_was_trained_for_are_told(runs: Path) -> None:
    X, y = blobs(classes=6)
    images = [Image.fromarray(np.full((28, 28), 40 * k + i, np.uint8)) for k in range(6) for i in range(6)]
    with pytest.raises(FphiError, match="trained for 5 classes, and there are 6"):
        FewShotClassifier(runs / "maml").fit(images, y)
    model = FewShotClassifier(["means", runs / "maml"]).fit(images, y)
    assert "trained for 5 classes" in next(s.failure for s in model.fitted_.standings if s.failure)
    assert model.fitted_.candidate.name == "means on descriptor"
    del X


def test_a_learner_of_texts_is_meta_trained_on_an_encoder_s_features(tmp_path: Path) -> None:
    words = [
        f"{verb} the {noun}" for verb in ("open", "close", "paint") for noun in ("door", "box", "lid", "gate")
    ]
    labels = [text.split()[0] for text in words]
    features = Words().encode(Items("texts", words)).numpy()
    tasks = FeatureTasks({"train": (features, labels)}, ways=3, shots=1, queries=2)
    fphi.train("prototypical", tasks=tasks, out=tmp_path, ways=3, train_ways=3, steps=1, threads=1)
    model = FewShotClassifier(tmp_path, encoder="words").fit(words, labels)
    model.save(tmp_path / "model")
    again = FewShotClassifier.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(words), model.predict_proba(words), atol=1e-6)
    assert "prototypical" in again.decision_


def test_a_learner_given_in_python_answers_but_is_not_saved(tmp_path: Path) -> None:
    X, y = blobs()
    learner = fphi.PrototypicalLearner(fphi.MLP(4, (8,), 8))
    model = FewShotClassifier(learner).fit(X.astype(np.float32), y)
    assert model.predict(X.astype(np.float32)).shape == (18,)
    with pytest.raises(FphiError, match="given in Python"):
        model.save(tmp_path / "m")


def test_what_is_no_run_is_refused(tmp_path: Path, runs: Path) -> None:
    X, y = _drawings(2)
    with pytest.raises(FphiError, match="no run directory"):
        FewShotClassifier(tmp_path).fit(X, y)
    with pytest.raises(FphiError, match="it was trained on pictures"):
        FewShotClassifier(runs / "maml").fit(["some words", "and others"], ["a", "b"])


def test_ink_is_what_there_is_less_of() -> None:
    """On grey paper too, and where it is a frame; paper may be uneven."""
    paper = torch.linspace(0.4, 0.5, 20 * 20).reshape(1, 20, 20)
    frame = torch.zeros(1, 20, 20, dtype=torch.bool)
    frame[:, [0, -1]] = frame[:, :, 0] = frame[:, :, -1] = True
    stroke = torch.zeros_like(frame)
    stroke[:, 4:16, 9:11] = True
    pictures = [
        torch.where(ink, 0.1, ground)
        for ground in (paper, 1 - paper, torch.ones_like(paper))
        for ink in (frame, stroke)
    ]
    assert _is_dark(torch.stack(pictures)).tolist() == [True] * 6
    assert _is_dark(1 - torch.stack(pictures)).tolist() == [False] * 6


def test_a_model_of_a_run_is_saved_again_and_holds_the_run_as_it_was(runs: Path, tmp_path: Path) -> None:
    X, y = _drawings(3)
    run = tmp_path / "run"
    shutil.copytree(runs / "prototypical", run)
    model = FewShotClassifier(run).fit(X, y)
    (run / "best.safetensors").write_bytes(b"something else by now")
    model.save(tmp_path / "first")
    loaded = FewShotClassifier.load(tmp_path / "first")
    loaded.partial_fit(X[:1], ["new"]).save(tmp_path / "second")
    again = FewShotClassifier.load(tmp_path / "second")
    assert again.classes_.tolist() == [*sorted(set(y)), "new"]
    np.testing.assert_array_equal(again.predict_proba(X), loaded.predict_proba(X))


def test_two_learners_of_one_class_both_stand(runs: Path) -> None:
    images, y = _drawings(3)
    X = np.stack([np.asarray(image) for image in images]) / 255
    learners = [fphi.load(runs / "prototypical") for _ in range(2)]
    model = FewShotClassifier([*learners, learners[0], runs / "prototypical"]).fit(X, y)
    names = [standing.name for standing in model.fitted_.standings]
    assert sorted(names)[:2] == ["PrototypicalLearner", "PrototypicalLearner 2"]
    assert len(names) == 3


def test_a_run_with_a_network_of_a_file_answers_where_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef small(shape, outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, outputs or 8))\n"
    )
    network = f"{tmp_path / 'net.py'}:small"
    options: dict[str, Any] = {"network": network, "train_ways": 5, "tasks": "hershey", "steps": 1}
    fphi.train("prototypical", out=tmp_path / "run", validation_tasks=2, threads=1, **options)
    X, y = _drawings(2)
    with pytest.raises(FphiError, match=r"fphi fit DATA --out FILE --learner .*run --network"):
        FewShotClassifier(tmp_path / "run").fit(X, y)
    model = FewShotClassifier(tmp_path / "run", files={"network": network}).fit(X, y)
    model.save(tmp_path / "m")
    again = FewShotClassifier.load(tmp_path / "m", network=network)
    assert (again.predict(X) == model.predict(X)).all()
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        (tmp_path / "lines" / label).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "lines" / label / f"{i}.png")
    out = tmp_path / "of-the-command"
    assert (
        command("fit", tmp_path / "lines", "--out", out, "--learner", tmp_path / "run", "--network", network)
        == 0
    )
    of_command = FewShotClassifier.load(out, network=network)
    np.testing.assert_allclose(of_command.predict_proba(X), model.predict_proba(X), atol=1e-6)
