"""The answers of the page are the learner's own inductive ones; what a method is bound to is kept to."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fphi
from asking import RESULTS, image
from cli_helpers import refused
from fphi.learnable import PrototypicalLearner
from fphi.report.embedding import principal_components
from fphi.serve.answering import Learned
from fphi.serve.characters import CODES, FONT, characters_to_draw
from fphi.serve.look import look_of
from fphi.tasks import Examples
from fphi.tasks.hershey import SPLIT_OF_SCRIPT, characters
from fphi.tasks.options import TaskOptions


@pytest.fixture(scope="module")
def maml() -> Learned:
    return Learned(RESULTS / "P-MAML/maml")


@pytest.fixture(scope="module")
def prototypical() -> Learned:
    return Learned(RESULTS / "P-PROTO/prototypical")


@pytest.fixture(scope="module")
def relation() -> Learned:
    return Learned(RESULTS / "P-PROTO/relation-5s")


def as_task(classes: list[list[bytes]], asked: bytes) -> tuple[Examples, torch.Tensor]:
    """As a learner takes it."""
    rows = [torch.tensor(list(i), dtype=torch.float32) / 255 for images in classes for i in images]
    labels = [label for label, images in enumerate(classes) for _ in images]
    x = torch.stack(rows).view(1, -1, 1, 28, 28)
    return Examples(x, torch.tensor([labels])), (torch.tensor(list(asked)) / 255).view(1, 1, 1, 28, 28)


CLASSES = [[image(0), image(5)], [image(2)], [image(3)]]


@torch.no_grad()
def test_answers_are_the_inductive_ones_among_the_classes_that_are_there(maml: Learned) -> None:
    answer = maml.answer(CLASSES, image(2))
    scores = maml.learner.solve_alone(*as_task(CLASSES, image(2)))[0, 0]
    assert len(scores) == 5
    assert answer.probabilities == pytest.approx(scores[:3].softmax(0).tolist())  # the other two are masked
    assert answer.plane is None


def test_the_last_step_is_the_answer(maml: Learned) -> None:
    answer = maml.answer(CLASSES, image(2))
    assert answer.steps is not None
    assert isinstance(maml.learner, fphi.GradientLearner)
    assert len(answer.steps) == maml.learner.test_steps + 1
    assert answer.steps[-1] == pytest.approx(answer.probabilities, abs=1e-6)
    assert all(sum(step) == pytest.approx(1) for step in answer.steps)
    assert answer.steps[0] != pytest.approx(answer.probabilities, abs=0.01)  # learning changed something


def test_an_answer_is_the_same_again_and_leaves_randomness_alone(maml: Learned) -> None:
    state = torch.get_rng_state()
    assert maml.answer(CLASSES, image(2)) == maml.answer(CLASSES, image(2))
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_the_plane_is_that_of_the_embeddings(prototypical: Learned) -> None:
    answer = prototypical.answer(CLASSES, image(2))
    support, asked = as_task(CLASSES, image(2))
    assert isinstance(prototypical.learner, PrototypicalLearner)
    embedded = torch.cat(prototypical.learner.embed(support.x, asked), 1)[0]
    points, share = principal_components(embedded)
    assert answer.plane is not None
    assert torch.allclose(torch.tensor(answer.plane.support), points[:4], atol=1e-4)
    assert answer.plane.question == pytest.approx(points[4].tolist(), abs=1e-4)
    assert answer.plane.means[0] == pytest.approx(points[:2].mean(0).tolist(), abs=1e-4)
    assert answer.plane.share == pytest.approx(share.tolist(), abs=1e-4)


def test_equal_images_have_a_plane_too(prototypical: Learned) -> None:
    answer = prototypical.answer([[image(1)], [image(1)]], image(1))
    assert answer.probabilities == pytest.approx([0.5, 0.5])
    assert answer.plane is not None
    assert answer.plane.question == pytest.approx([0, 0], abs=1e-3)


def test_relations_are_made_to_sum_to_one(relation: Learned) -> None:
    classes = [[image(2 * c)] * 5 for c in range(3)]
    with torch.no_grad():
        scores = relation.learner.solve_alone(*as_task(classes, image(2)))[0, 0]
    assert relation.answer(classes, image(2)).probabilities == pytest.approx((scores / scores.sum()).tolist())


def test_a_method_is_kept_to_what_it_is_bound_to(maml: Learned, relation: Learned) -> None:
    assert (maml.limits.classes, maml.limits.bound, maml.limits.shots) == (5, True, None)
    assert (relation.limits.classes, relation.limits.bound, relation.limits.shots) == (20, False, 5)
    with pytest.raises(
        fphi.FphiError, match="6 classes; give 2 to 5: maml is bound to the ways of its training"
    ):
        maml.answer([[image()]] * 6, image())
    with pytest.raises(
        fphi.FphiError, match="a class has 4 examples; relation is bound to the 5 of its training"
    ):
        relation.answer([[image()] * 5, [image()] * 4], image())


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((), "0 classes; give 2 to 20"),
        ((1,), "1 classes"),
        ((1,) * 21, "21 classes"),
        ((1, 0), "class 2 has no example"),
        ((100, 1), "101 examples; give at most 100"),
    ],
)
def test_more_than_the_limits_is_refused(prototypical: Learned, counts: tuple[int, ...], reason: str) -> None:
    with pytest.raises(fphi.FphiError, match=reason):
        prototypical.answer([[image()] * count for count in counts], image())


def test_images_of_another_size_are_refused(prototypical: Learned) -> None:
    with pytest.raises(fphi.FphiError, match="an image has 783 bytes; give 784"):
        prototypical.answer([[image()], [image()[1:]]], image())


def test_looks_follow_the_data() -> None:
    omniglot = look_of(TaskOptions("omniglot"), (1, 28, 28))
    assert (omniglot.kind, omniglot.grid, omniglot.reduction, omniglot.invert) == (
        "strokes",
        105,
        "nearest",
        False,
    )
    assert look_of(TaskOptions("omniglot", protocol="P-REP"), (1, 28, 28)).invert
    assert look_of(TaskOptions("omniglot", image_reduction="area"), (1, 20, 20)) == replace(
        omniglot, reduction="area", size=20
    )
    assert look_of(TaskOptions("hershey"), (1, 28, 28)).grid == 56
    photos = look_of(TaskOptions("some/folder"), (3, 84, 84))
    assert (photos.kind, photos.channels, photos.size) == ("pictures", 3, 84)


@pytest.mark.parametrize(
    ("tasks", "shape"), [("digits", (1, 8, 8)), ("quadratics", (10,)), ("x", (1, 28, 20)), ("x", (2, 28, 28))]
)
def test_what_nobody_draws_is_refused(tasks: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(fphi.FphiError, match=r"which nobody draws|draws square ones only"):
        look_of(TaskOptions(tasks), shape)


def test_the_characters_are_forty_test_characters_in_a_box() -> None:
    known = {place for place in characters().values() if SPLIT_OF_SCRIPT[place[0]] == "test"}
    assert {(FONT, chr(code)) for code in CODES} <= known
    drawn = characters_to_draw()
    assert len({str(strokes) for strokes in drawn}) == len(drawn) == 40
    assert all(len(stroke) % 2 == 0 for strokes in drawn for stroke in strokes)


def test_runs_that_are_none_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is no run directory" in refused(capsys, "serve", tmp_path)
    assert "regression" in refused(capsys, "serve", sine(tmp_path / "sine"))
    run = RESULTS / "P-PROTO/prototypical"
    for port in ("-1", "65536", "x"):
        assert "port" in refused(capsys, "serve", run, "--port", port)
    for host in ("256.1.1.1", "no.host.invalid", "ö..x", "fe80::x"):
        assert f"of {host} is not to be had" in refused(capsys, "serve", run, "--host", host)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'fphi[serve]'" in refused(capsys, "serve", run)


def sine(out: Path) -> Path:
    """A run on regression."""
    fphi.train("maml", tasks="sine", out=out, steps=1, meta_batch=1, validation_tasks=1, shots=2)
    return out
