"""The outer loop, in one process: its tasks, its steps, what it keeps, and that resuming changes nothing."""

import csv
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.optimize import GradientDescent
from fphi.run.disk.checkpoint import load_parameters
from fphi.run.disk.directory import claim
from fphi.run.disk.files import read_sealed
from fphi.run.meta.loop import Training, TrainingResult, train
from run_fakes import SIZE, FakeLearner, FakeTasks, momentum, run
from waiting import Clock

SHORT = Training(steps=24, meta_batch=4, validate_every=7, log_every=3)


def sgd(learner: LearningAlgorithm, lr: float = 0.1) -> GradientDescent:
    return GradientDescent(torch.optim.SGD(learner.parameters(), lr))


def rows(out: Path) -> list[dict[str, str]]:
    """The rows of log.csv, without the time, which no two runs share."""
    with (out / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def state(out: Path) -> tuple[dict[str, bytes], object]:
    """All bits of the checkpoint but the time."""
    tensors, content = read_sealed(out / "last.safetensors")
    assert isinstance(content, dict)
    standing = content["standing"]
    assert isinstance(standing, dict)
    standing.pop("seconds")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, content


def signal_at(steps: set[int], number: int = signal.SIGTERM) -> FakeTasks:
    """Tasks that have a signal sent to this process while these meta-steps draw them."""

    def at(indices: Sequence[int]) -> None:
        if indices[0] // SHORT.meta_batch in steps:
            steps.remove(indices[0] // SHORT.meta_batch)
            signal.raise_signal(number)

    return FakeTasks(at=at)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeLearner, TrainingResult]:
    """A run that nothing interrupts."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, *run(out, SHORT)


def test_steps_follow_the_closed_form(tmp_path: Path) -> None:
    """Without dropout and momentum, t steps on the tasks 0, 1, 2, … are this by hand."""
    learner = FakeLearner(dropout=0.0, dtype=torch.float64)
    w = learner.vector.detach().clone()
    training = Training(steps=3, meta_batch=2, validate_every=0)
    tasks = FakeTasks(dtype=torch.float64)
    train(learner, sgd(learner), tasks, training, tmp_path / "run", progress=False)

    for step in range(3):
        batch = FakeTasks(dtype=torch.float64).batch("train", [2 * step, 2 * step + 1]).query
        x, y = batch.x.reshape(6, SIZE), batch.y.reshape(6)
        w -= 0.1 * 2 / 6 * x.T @ (x @ w + 0.25 - y)
    torch.testing.assert_close(learner.vector.detach(), w, rtol=1e-12, atol=0)


def test_each_task_is_drawn_once_and_in_order(tmp_path: Path) -> None:
    drawn: list[int] = []
    run(tmp_path / "run", SHORT, tasks=FakeTasks(at=drawn.extend))
    assert drawn == list(range(SHORT.steps * SHORT.meta_batch))


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, SHORT.steps - 1), min_size=1, max_size=4), st.booleans())
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    whole: tuple[Path, FakeLearner, TrainingResult], stops: set[int], often: bool
) -> None:
    """With dropout, momentum, a schedule, and a validation that draws random numbers."""
    training = replace(SHORT, checkpoint_seconds=0.0 if often else 1e9)
    with tempfile.TemporaryDirectory() as folder:
        out, left, reached = Path(folder) / "run", set(stops), []
        learner, result = run(out, training, tasks=signal_at(left))
        while result.interrupted:
            reached.append(result.step)
            learner, result = run(out, training, tasks=signal_at(left), resume=True)

        expected_out, expected, expected_result = whole
        assert reached == [stop + 1 for stop in sorted(stops) if stop + 1 < SHORT.steps]
        assert torch.equal(learner.vector, expected.vector)
        assert replace(result, seconds=0) == replace(expected_result, seconds=0)
        assert state(out) == state(expected_out)
        assert (out / "best.safetensors").read_bytes() == (expected_out / "best.safetensors").read_bytes()
        assert rows(out) == rows(expected_out)


def test_the_log_has_a_row_for_each_third_step_each_validation_and_the_last(
    whole: tuple[Path, FakeLearner, TrainingResult],
) -> None:
    logged = rows(whole[0])
    assert [int(row["step"]) for row in logged] == [1, 3, 6, 7, 9, 12, 14, 15, 18, 21, 24]
    assert [int(row["step"]) for row in logged if row["validation_loss"]] == [1, 7, 14, 21, 24]


@pytest.mark.parametrize(
    ("steps", "every", "at"),
    [
        (60, 25, [3, 25, 50, 60]),  # early: after 5 % of the steps
        (60, 100, [3, 60]),
        (60, 4, [3, *range(4, 61, 4)]),
        (60, 3, list(range(3, 61, 3))),  # unless a regular one is there or before
        (60, 2, list(range(2, 61, 2))),
        (60, 0, [60]),  # or the end alone is asked for
        (5, 3, [1, 3, 5]),
        (1, 3, [1]),
    ],
)
def test_it_validates_regularly_at_the_end_and_early_once(
    steps: int, every: int, at: list[int], tmp_path: Path
) -> None:
    run(tmp_path / "run", replace(SHORT, steps=steps, meta_batch=1, validate_every=every))
    assert [int(row["step"]) for row in rows(tmp_path / "run") if row["validation_loss"]] == at


def test_a_logged_loss_is_that_of_the_step_s_batch_before_its_update(tmp_path: Path) -> None:
    learner = FakeLearner(dropout=0.0)
    expected = learner.task_losses(FakeTasks().batch("train", range(4))).mean().item()
    train(learner, sgd(learner), FakeTasks(), replace(SHORT, steps=1), tmp_path / "run", progress=False)
    assert float(rows(tmp_path / "run")[0]["train_loss"]) == pytest.approx(expected, rel=1e-6)


class Script:
    """A validation whose outcomes are given; it notes the parameters that it saw."""

    def __init__(self, *outcomes: tuple[float | None, float]) -> None:
        self.outcomes, self.seen = list(outcomes), list[Tensor]()

    def __call__(self, learner: LearningAlgorithm) -> tuple[float | None, float]:
        self.seen.append(next(learner.parameters()).detach().clone())
        return self.outcomes[len(self.seen) - 1]


NAN = float("nan")
# When a training of the tests below validates: early, then after every second step.
VALIDATED_AFTER = (1, 2, 4, 6, 8)


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        # the loss decides; of equals, the first
        ([(0.4, 1.5), (0.5, 1.0), (0.7, 0.3), (0.9, 0.4), (0.6, 0.3)], 2),
        ([(None, 3.0), (None, 2.0), (None, 1.0), (None, 1.5)], 2),  # as it does without an accuracy
        ([(NAN, 4.0), (NAN, 2.0), (NAN, 3.0), (NAN, 1.0)], 3),
        ([(None, NAN), (None, NAN), (None, 5.0), (None, NAN)], 2),  # what is not a number is never best
        ([(None, 1.0), (None, 2.0), (None, 1.0), (None, NAN)], 0),  # the early one counts as the others do
    ],
)
def test_the_best_validation_chooses_the_final_parameters(
    outcomes: list[tuple[float | None, float]], best: int, tmp_path: Path
) -> None:
    learner, script = FakeLearner(), Script(*outcomes)
    training = replace(SHORT, steps=VALIDATED_AFTER[len(outcomes) - 1], validate_every=2)
    result = train(learner, sgd(learner), FakeTasks(), training, tmp_path / "run", validate=script)
    assert len(script.seen) == len(outcomes)
    assert result.best_step == VALIDATED_AFTER[best]
    assert result.validation_loss == outcomes[best][1]
    assert torch.equal(learner.vector, script.seen[best])
    stored = FakeLearner()
    assert load_parameters(tmp_path / "run" / "best.safetensors", stored)["step"] == result.best_step
    assert torch.equal(stored.vector, script.seen[best])


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ([(0.7, 0.1), (0.8, 0.2), (0.9, 0.5), (0.85, 0.1)], 2),  # the accuracy, whatever the losses say
        # of equals the lower loss, of equal ones the first
        ([(0.8, 0.4), (0.8, 0.3), (0.8, 0.2), (0.8, 0.2)], 2),
        ([(None, 0.4), (None, 0.3), (None, 0.2), (None, 0.4)], 2),  # there is none: the loss
        ([(NAN, 0.2), (NAN, 0.3), (0.1, 9.0), (0.1, NAN)], 2),
        ([(0.9, 0.5), (0.8, 0.2), (0.9, 0.5), (0.85, 0.1)], 0),  # the early one counts as the others do
    ],
)
def test_best_by_accuracy(outcomes: list[tuple[float | None, float]], best: int, tmp_path: Path) -> None:
    learner, script = FakeLearner(), Script(*outcomes)
    training = replace(SHORT, steps=VALIDATED_AFTER[len(outcomes) - 1], validate_every=2, best_by="accuracy")
    result = train(learner, sgd(learner), FakeTasks(), training, tmp_path / "run", validate=script)
    assert len(script.seen) == len(outcomes)
    assert (result.best_step, result.validation_accuracy) == (VALIDATED_AFTER[best], outcomes[best][0])
    assert torch.equal(learner.vector, script.seen[best])


def test_a_result_prints_as_a_line() -> None:
    best = TrainingResult(20, 61.2, 14, 0.9812, 0.0625, interrupted=False, stopped_early=True)
    assert str(best) == (
        "20 steps in 61 s, stopped early; best after 14: validation loss 0.0625, accuracy 98.1 %"
    )
    sine = TrainingResult(3, 0.4, 2, None, 0.5, interrupted=True, stopped_early=False)
    assert str(sine) == "3 steps in 0 s, interrupted; best after 2: validation loss 0.5"
    blind = TrainingResult(3, 1.0, None, None, None, interrupted=False, stopped_early=False)
    assert str(blind) == "3 steps in 1 s; never validated"


def test_patience_counts_what_best_by_compares(tmp_path: Path) -> None:
    script = Script((0.5, 5.0), (0.6, 6.0), (0.7, 7.0), (0.7, 7.0), (0.6, 1.0), (0.9, 0.0))
    training = replace(SHORT, steps=100, validate_every=1, patience=2, best_by="accuracy")
    learner = FakeLearner()
    result = train(learner, sgd(learner), FakeTasks(), training, tmp_path / "run", validate=script)
    assert (result.step, result.best_step, result.stopped_early) == (5, 3, True)


def test_an_unknown_best_by_is_refused() -> None:
    with pytest.raises(FphiError, match="best_by is 'acc'; it must be one of loss, accuracy"):
        replace(SHORT, best_by="acc")  # type: ignore[arg-type]


def test_dropout_is_off_in_validation_and_on_again_after_it(tmp_path: Path) -> None:
    modes: list[bool] = []

    def validate(learner: LearningAlgorithm) -> tuple[None, float]:
        modes.append(learner.training)
        return None, 0.0

    learner = FakeLearner()
    train(learner, sgd(learner), FakeTasks(), SHORT, tmp_path / "run", validate=validate)
    assert modes == [False] * 5
    assert learner.training


def test_without_validation_the_last_parameters_are_the_best(tmp_path: Path) -> None:
    learner = FakeLearner()
    result = train(learner, sgd(learner), FakeTasks(), SHORT, tmp_path / "run")
    assert (result.step, result.best_step, result.interrupted) == (SHORT.steps, None, False)
    stored = FakeLearner()
    load_parameters(tmp_path / "run" / "best.safetensors", stored)
    assert torch.equal(stored.vector, learner.vector)


def test_patience_counts_validations_without_improvement(tmp_path: Path) -> None:
    losses = [5.0, 6.0, 4.0, 4.0, 7.0, 1.0]
    script = Script(*[(None, loss) for loss in losses])
    learner, training = FakeLearner(), replace(SHORT, steps=100, validate_every=3, patience=2)
    out = tmp_path / "run"
    result = train(learner, sgd(learner), FakeTasks(), training, out, validate=script)
    assert (result.step, result.best_step, result.stopped_early) == (15, 9, True)
    assert torch.equal(learner.vector, script.seen[2])
    again = train(learner, sgd(learner), FakeTasks(), training, out, validate=script, resume=True)
    assert (again, len(script.seen)) == (result, 5)  # a run that is over stays over


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_is_not_caught_afterwards(
    number: int, tmp_path: Path
) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    _, result = run(tmp_path / "run", SHORT, tasks=signal_at({4}, number))
    assert (result.step, result.interrupted) == (5, True)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_second_ctrl_c_ends_the_run_at_once(tmp_path: Path) -> None:
    def at(indices: Sequence[int]) -> None:
        if indices[0] == 8:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", SHORT, tasks=FakeTasks(at=at))
    assert run(tmp_path / "run", SHORT, resume=True)[1].step == SHORT.steps


def test_a_run_may_be_in_any_thread(tmp_path: Path) -> None:
    steps: list[int] = []
    thread = threading.Thread(target=lambda: steps.append(run(tmp_path / "run", SHORT)[1].step))
    thread.start()
    thread.join()
    assert steps == [SHORT.steps]


def test_a_task_that_is_not_finite_stops_with_its_step_and_what_to_do(tmp_path: Path) -> None:
    out, training = tmp_path / "run", replace(SHORT, checkpoint_seconds=0.0)
    with pytest.raises(FphiError, match=r"meta-step 11: support\.y holds nan at \[0, 0\]; leave such"):
        run(out, training, tasks=FakeTasks(poison=41))
    tensors, content = read_sealed(out / "last.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert isinstance(content, dict)
    assert isinstance(content["standing"], dict)
    assert content["standing"]["step"] == 10
    assert run(out, training, resume=True)[1].step == SHORT.steps  # with the tasks mended


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    class Steep(FakeLearner):
        def task_losses(self, tasks: object) -> Tensor:
            return (self.vector - self.vector.detach()).abs().sqrt().sum().reshape(1)

    learner = Steep()
    with pytest.raises(FphiError, match="the gradient of vector became nan or infinite in meta-step 1;"):
        train(learner, sgd(learner), FakeTasks(), replace(SHORT, meta_batch=1), tmp_path / "run")
    assert learner.vector.isfinite().all()


def test_a_run_is_never_overwritten_and_one_folder_has_one_writer(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(FphiError, match="there is no run to resume in"):
        run(out, SHORT, resume=True)
    run(out, SHORT)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(FphiError, match=r"already holds a run \(last\.safetensors\); choose another folder"):
        run(out, SHORT)
    with claim(out, resume=True), pytest.raises(FphiError, match="another process is training in"):
        run(out, SHORT, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_resume_demands_the_configuration_that_the_run_began_with(tmp_path: Path) -> None:
    learner = FakeLearner()
    arguments = (learner, momentum(learner), FakeTasks(), SHORT, tmp_path / "run")
    train(*arguments, fingerprint="a")
    with pytest.raises(FphiError, match="was trained with another configuration"):
        train(*arguments, fingerprint="b", resume=True)
    assert train(*arguments, fingerprint="a", resume=True).step == SHORT.steps


def test_the_caller_s_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path / "run", SHORT)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_is_another_run(tmp_path: Path, whole: tuple[Path, FakeLearner, TrainingResult]) -> None:
    other, _ = run(tmp_path / "run", replace(SHORT, seed=1))
    assert not torch.equal(other.vector, whole[1].vector)


def test_mixed_precision_rounds_the_computation_and_keeps_the_parameters_in_float32(tmp_path: Path) -> None:
    def final(precision: str, name: str) -> Tensor:
        learner = FakeLearner(dropout=0.0)
        training = replace(SHORT, precision=precision)  # type: ignore[arg-type]
        train(learner, sgd(learner), FakeTasks(), training, tmp_path / name)
        return learner.vector.detach()

    exact, mixed = final("32-true", "a"), final("bf16-mixed", "b")
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    torch.testing.assert_close(mixed, exact, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"checkpoint_seconds": NAN}, "checkpoint_seconds is nan; it must be a finite number"),
        ({"meta_batch": 2, "devices": 3}, "meta_batch is 2 and devices 3; each device needs a task"),
    ],
)
def test_impossible_options_are_refused_with_their_value(options: dict[str, int], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        Training(**options)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(FphiError, match=r"cannot run on 1 device.s. of kind 'mps'.*--accelerator cpu"):
        run(tmp_path / "run", replace(SHORT, accelerator="mps"))


def test_a_step_that_is_not_done_in_time_is_given_up(
    tmp_path: Path, whole: tuple[Path, FakeLearner, TrainingResult], clock: Clock
) -> None:
    """φ is as before it; and a training that goes on takes it again, as if it had never been stopped."""

    def at(indices: Sequence[int]) -> None:
        clock.now += 1 if indices[0] < 12 * SHORT.meta_batch else 100

    short = replace(SHORT, max_time="50s")
    _, result = run(tmp_path / "run", short, tasks=FakeTasks(at=at))
    assert (result.step, result.interrupted) == (12, False)
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert rows(tmp_path / "run")[-1]["step"] == "12"
    _, result = run(tmp_path / "run", SHORT, resume=True)
    assert result.step == SHORT.steps
    assert state(tmp_path / "run")[0] == state(whole[0])[0]
