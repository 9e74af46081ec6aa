"""Training of one network: what its options mean, what it is a function of, and what becomes of one that fails."""

import math
import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.candidate_loss import TrainAndTest
from fphi.objective.outcome import WORST, Outcome
from fphi.run.disk.files import read_sealed
from fphi.run.search.weights import WeightFolder
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.distorting import cut_out, mirrored, shifted
from fphi.within.minibatches import endless_minibatches, rows_of_minibatches
from fphi.within.trained import TrainedNetwork, accuracy
from fphi.within.training import BatchLoss, NetworkTraining, Stretch, TrainingFailedError
from search_fakes import TinySpace, Told, blobs
from waiting import Clock

QUICK = NetworkTraining(epochs=3, batch_size=16, lr=0.1)


@pytest.fixture
def data() -> Supervised:
    return blobs()


def untimed(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0.0)


def zeros(data: Supervised) -> nn.Module:
    """A linear network that begins with weights of 0."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.input_shape), data.classes))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def test_what_changes_images_leaves_the_order_of_minibatches_and_what_options_draw(data: Supervised) -> None:
    """So that a training with a policy is paired with one without; its numbers are a function of the seed."""
    drawn: list[float] = []

    def draws(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        drawn.append(float(torch.rand((), generator=generator)))
        return x

    shifts = replace(QUICK, augment=True)
    plain, drawing, again = (
        shifts.train(zeros(data), data, 5, augment=augment) for augment in (None, draws, draws)
    )
    assert plain.losses == drawing.losses == again.losses
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]
    assert len(set(drawn)) == half


def test_one_epoch_of_one_batch_is_one_step_of_gradient_descent_by_hand(data: Supervised) -> None:
    """With Nesterov momentum m, decay d and weights w: g' = g + d w, and the first step is lr (1 + m) g'."""
    module = zeros(data)
    weight = module[1].weight  # type: ignore[index]
    nn.init.constant_(weight, 0.5)
    w = weight.detach().clone()
    x, y = data.train.x.flatten(1), data.train.y
    answers = (x @ w.T).softmax(-1) - nn.functional.one_hot(y, 3)
    gradient = answers.T @ x / len(y)
    training = NetworkTraining(
        epochs=1, batch_size=1000, lr=0.3, momentum=0.9, weight_decay=0.1, clip_norm=None
    )
    training.train(module, data, 0)
    assert torch.allclose(weight, w - 0.3 * 1.9 * (gradient + 0.1 * w), atol=1e-6)


def test_gradients_are_clipped_before_the_decay(data: Supervised) -> None:
    module = zeros(data)
    plain = {"epochs": 1, "batch_size": 1000, "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    NetworkTraining(**plain, clip_norm=1e-3).train(module, data, 0)  # type: ignore[arg-type]
    step = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert abs(float(step.norm()) - 1e-3) < 1e-6


def test_the_rate_falls_along_half_a_cosine() -> None:
    training = NetworkTraining(lr=0.4, lr_end=0.2)
    assert [training.rate(0.4, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.3, 0.2])
    assert training.rate(0.4, 1 / 3) == pytest.approx(0.2 + 0.2 * 0.75)
    assert replace(training, schedule="constant").rate(0.4, 0.9) == 0.4


@pytest.mark.parametrize(
    ("last", "of_last", "expected"), [(1, "max", 0.5), (3, "max", 0.7), (2, "mean", 0.6), (99, "max", 0.9)]
)
def test_the_accuracy_that_counts(data: Supervised, last: int, of_last: Any, expected: float) -> None:
    child = TrainedNetwork(zeros(data), data, [0.9, 0.1, 0.7, 0.5], [], {}, last, of_last)
    assert child.validation_accuracy == pytest.approx(expected)


def test_training_learns_and_says_so_epoch_by_epoch(data: Supervised) -> None:
    child = replace(QUICK, epochs=12).train(zeros(data), data, 0)
    assert len(child.validation) == len(child.losses) == 12
    assert child.losses[-1] < 0.3 < child.losses[0]
    assert child.validation_accuracy == child.validation[-1] > 0.9
    assert child.test_accuracy() == accuracy(child.module, data.test) > 0.9
    assert not child.module.training


def test_every_example_is_seen_once_an_epoch_in_batches_of_one_size() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = list(rows_of_minibatches(33, -(-33 // 16), generator))
    assert [len(rows) for rows in batches] == [11, 11, 11]  # not 16, 16, 1
    assert torch.cat(batches).sort().values.tolist() == list(range(33))
    examples = Examples(torch.arange(33.0), torch.arange(33))
    endless = endless_minibatches(examples, 16, torch.Generator().manual_seed(0))
    again = [next(endless) for _ in range(6)]
    assert all(torch.equal(batch.y, rows) for batch, rows in zip(again, batches, strict=False))
    assert torch.cat([batch.y for batch in again[3:]]).sort().values.tolist() == list(range(33))
    assert all(torch.equal(batch.x, batch.y.float()) for batch in again)


def test_another_objective_takes_the_place_of_the_mean_cross_entropy(data: Supervised) -> None:
    """It is told which examples it has; without a graph there is no step."""
    seen: list[Tensor] = []

    def twice(module: nn.Module, optimizer: torch.optim.Optimizer) -> BatchLoss:
        def loss(batch: Examples, rows: Tensor) -> Tensor:
            assert torch.equal(batch.y, data.train.y[rows])
            seen.append(rows)
            return 2 * nn.functional.cross_entropy(module(batch.x), batch.y)

        return loss

    plain = replace(QUICK, momentum=0.0, weight_decay=0.0, clip_norm=None)
    double = replace(plain, lr=2 * plain.lr).train(zeros(data), data, 0)
    found = plain.train(zeros(data), data, 0, objective=twice)
    for p, q in zip(found.module.parameters(), double.module.parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.cat(seen).bincount().tolist() == [QUICK.epochs] * len(data.train.y)
    still = plain.train(
        zeros(data), data, 0, objective=lambda module, optimizer: lambda batch, rows: torch.tensor(1.0)
    )
    assert still.losses == [1.0] * QUICK.epochs
    assert all(
        torch.equal(p, q) for p, q in zip(still.module.parameters(), zeros(data).parameters(), strict=True)
    )


def test_modules_are_told_the_progress(data: Supervised) -> None:
    module = nn.Sequential(zeros(data), Told())
    replace(QUICK, epochs=2, batch_size=32).train(module, data, 0)
    heard = module[1].heard
    assert heard == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_a_loss_that_is_not_finite_and_a_time_that_is_up_are_said_so(data: Supervised, clock: Clock) -> None:
    with pytest.raises(
        TrainingFailedError, match=r"diverged: the training loss is (nan|inf) in epoch . of 3"
    ):
        replace(QUICK, lr=1000.0, weight_decay=1000.0, clip_norm=None).train(
            TinySpace().build((2, 0), (1, 4, 4), 3), data, 0
        )
    clock.tick = 0.25
    with pytest.raises(TrainingFailedError, match=r"out of time: 0.5 s were over in epoch 1 of 3"):
        replace(QUICK, limit_seconds=0.5).train(zeros(data), data, 0)


def test_a_child_without_parameters_has_the_accuracy_of_its_answer(data: Supervised) -> None:
    child = QUICK.train(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), data, 0)
    assert child.validation == [child.validation[0]] * 3


def test_options_that_mean_nothing_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"cutout": -1},
    ]
    for options in wrong:
        with pytest.raises(FphiError, match=next(iter(options))):
            NetworkTraining(**options)


def test_shifted_images_are_windows_of_the_padded_ones() -> None:
    x = torch.randn(200, 2, 5, 6)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    windows = {(i, j): padded[..., i : i + 5, j : j + 6] for i in range(3) for j in range(3)}
    moved = shifted(x, 1, torch.Generator().manual_seed(0))
    found = {key: (moved == window).flatten(1).all(1) for key, window in windows.items()}
    assert torch.equal(sum(found.values()), torch.ones(200))  # type: ignore[arg-type]
    assert all(10 <= int(hits.sum()) <= 40 for hits in found.values())


def test_half_of_the_images_are_mirrored_and_holes_reach_over_the_border() -> None:
    x = torch.rand(400, 3, 6, 6) + 1
    given = mirrored(x, torch.Generator().manual_seed(0))
    same, turned = ((given == other).flatten(1).all(1) for other in (x, x.flip(-1)))
    assert torch.equal(same, ~turned)
    assert 160 < int(turned.sum()) < 240
    holes = (cut_out(x, 4, torch.Generator().manual_seed(0)) == 0).all(1)
    assert set(holes.sum((1, 2)).tolist()) == {a * b for a in (2, 3, 4) for b in (2, 3, 4)}


def augmented(channels: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, channels, 8, 8)
    return x, NetworkTraining(augment=True)._augmented(x, torch.Generator().manual_seed(0))


def test_a_training_in_stretches_is_the_whole_one() -> None:
    """One minibatch an epoch, so that its order matters to the last figures alone."""
    data, epochs = blobs(), []
    training = NetworkTraining(epochs=4, batch_size=len(data.train.y), lr=0.2)

    def noted(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        epochs.append(epoch)
        return x

    torch.manual_seed(0)
    whole = nn.Sequential(nn.Flatten(), nn.Linear(data.train.x[0].numel(), data.classes))
    parts = deepcopy(whole)
    trained = training.train(whole, data, 0, augment=noted)
    first = training.train(parts, data, 0, stretch=Stretch(0, 3))
    last = training.train(parts, data, 1, augment=noted, stretch=Stretch(3, 4, first.velocity))
    assert epochs == [0, 1, 2, 3, 3]
    assert [len(first.validation), len(last.validation)] == [3, 1]
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert trained.velocity.keys() == last.velocity.keys() == dict(whole.named_parameters()).keys()
    for name, velocity in trained.velocity.items():
        torch.testing.assert_close(velocity, last.velocity[name])


def test_grey_images_are_not_mirrored() -> None:
    x, grey = augmented(1)
    assert torch.equal(grey, shifted(x, 1, torch.Generator().manual_seed(0)))
    x, coloured = augmented(3)
    assert not torch.equal(coloured, shifted(x, 1, torch.Generator().manual_seed(0)))


def test_an_outcome_is_a_function_of_seed_and_number_alone() -> None:
    evaluate = TrainAndTest(TinySpace(), blobs(noise=3.0), QUICK)
    dropping = [Candidate(number, (2, 1)) for number in range(4)]
    first = [untimed(evaluate(c)) for c in dropping]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = [untimed(pickle.loads(pickle.dumps(evaluate))(c)) for c in reversed(dropping)]
    assert again[::-1] == first
    assert torch.equal(torch.get_rng_state(), state)
    assert len({o.measures["validation_accuracy"] for o in first}) > 1
    assert [untimed(replace(evaluate, seed=1)(c)) for c in dropping] != first


def test_an_outcome_has_the_validation_error_and_the_measures(data: Supervised) -> None:
    outcome = TrainAndTest(TinySpace(), data, replace(QUICK, epochs=8))(Candidate(3, (2, 0)))
    assert outcome.failure == ""
    assert outcome.loss == 1 - outcome.measures["validation_accuracy"] < 0.3
    assert outcome.measures["parameters"] == 16 * 8 + 8 + 8 * 3 + 3
    # Other test labels change the test accuracy and nothing that the search sees.
    wrong = data._replace(test=Examples(data.test.x, (data.test.y + 1) % 3))
    other = TrainAndTest(TinySpace(), wrong, replace(QUICK, epochs=8))(Candidate(3, (2, 0)))
    assert other.loss == outcome.loss
    assert other.measures["test_accuracy"] < 0.3 < outcome.measures["test_accuracy"]


class Slow(TinySpace):
    """Networks whose answers take a second each."""

    def __init__(self, clock: Clock) -> None:
        object.__setattr__(self, "clock", clock)

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = super().build(tokens, input_shape, outputs)
        network.register_forward_hook(self.tick)
        return network

    def tick(self, *_: object) -> None:
        self.clock.now += 1.0  # type: ignore[attr-defined]


def test_an_outcome_has_the_seconds_of_training_and_not_of_testing(data: Supervised, clock: Clock) -> None:
    plain = TrainAndTest(Slow(clock), data, QUICK, test=False)(Candidate(0, (0, 0)))
    assert 0 < plain.seconds == clock.now - 1000.0
    tested = TrainAndTest(Slow(clock), data, QUICK)(Candidate(0, (0, 0)))
    assert tested.seconds == plain.seconds < clock.now - 1000.0 - plain.seconds


class Raises(TinySpace):
    """Networks that cannot be built."""

    def __init__(self, error: Callable[[], object]) -> None:
        object.__setattr__(self, "error", error)

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        self.error()  # type: ignore[attr-defined]
        raise AssertionError


def memory_error() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (memory_error, "out of memory"),
        (lambda: torch.zeros(2**58), "out of memory: "),
        (lambda: torch.zeros(2) @ torch.zeros(3), "RuntimeError: "),
    ],
)
def test_what_cannot_be_built_has_the_worst_loss_and_the_reason(
    data: Supervised, error: Callable[[], object], reason: str
) -> None:
    outcome = TrainAndTest(Raises(error), data, QUICK)(Candidate(0, (0, 0)))
    assert outcome.loss == WORST
    assert outcome.failure.startswith(reason)
    diverged = TrainAndTest(
        TinySpace(), data, replace(QUICK, lr=1000.0, weight_decay=1000.0, clip_norm=None)
    )(Candidate(0, (2, 0)))
    assert (diverged.loss, diverged.failure[:9], diverged.measures) == (WORST, "diverged:", {})


class OwnRate(TinySpace):
    """Architectures with a learning rate of their own: one that changes nothing, and one that learns."""

    def learning_rate(self, tokens: Tokens) -> float:
        return (1e-12, 0.1, 0.1)[tokens[0]]

    def inherits(self, tokens: Tokens) -> bool:
        return tokens[1] == 0


def test_spaces_may_choose_the_learning_rate_and_whether_to_inherit(data: Supervised, tmp_path: Path) -> None:
    weights = WeightFolder(tmp_path)
    evaluate = TrainAndTest(OwnRate(), data, replace(QUICK, weight_decay=0.0), weights)
    parent = evaluate(Candidate(0, (1, 0)))
    assert parent.measures["inherited"] == 0
    kept, _ = read_sealed(weights.file(0))
    # Training at a rate of nearly 0: the output layer's bias, whose shape is the parent's, stays as inherited.
    child = evaluate(Candidate(1, (0, 0), parent=0))
    assert child.measures["inherited"] > 0
    own, _ = read_sealed(weights.file(1))
    assert torch.allclose(own["5.bias"], kept["5.bias"], atol=1e-6)
    assert own["1.weight"].shape != kept["1.weight"].shape
    assert evaluate(Candidate(2, (1, 1), parent=0)).measures["inherited"] == 0
    assert evaluate(Candidate(3, (1, 0), parent=77)).measures["inherited"] == 0  # it failed: nothing is there


def test_a_child_that_inherits_goes_on_where_its_parent_ended(data: Supervised, tmp_path: Path) -> None:
    evaluate = TrainAndTest(TinySpace(), data, QUICK, WeightFolder(tmp_path))
    parent = evaluate(Candidate(0, (2, 0)))
    still = replace(evaluate, training=replace(QUICK, lr=1e-12, weight_decay=0.0))
    child = still(Candidate(1, (2, 0), parent=0))
    assert child.measures["inherited"] == parent.measures["parameters"]
    assert child.loss == parent.loss


def test_norms_keep_the_mean_statistics_of_the_second_half_of_the_last_epoch(data: Supervised) -> None:
    """Before the first layer that learns they are those of the data, after however few steps."""
    norm = nn.BatchNorm2d(data.input_shape[0], affine=False)
    module = nn.Sequential(norm, zeros(data))
    NetworkTraining(epochs=1, batch_size=len(data.train.y) // 4).train(module, data, seed=3)
    rows = torch.randperm(len(data.train.y), generator=torch.Generator().manual_seed(3)).tensor_split(4)
    seen = [data.train.x[part].transpose(0, 1).flatten(1) for part in rows[2:]]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, torch.stack([x.mean(1) for x in seen]).mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, torch.stack([x.var(1) for x in seen]).mean(0), atol=1e-5)
