"""The loss of an augmentation: what it is a function of, and how candidates go on from their parents."""

from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable.augmentation import PBAPolicy, PBASpace, PolicySpace, Schedule, augmenting, fill_of
from fphi.learnable.space import Candidate
from fphi.objective.augmentation_loss import AugmentAndGoOn, AugmentAndTest
from fphi.run.search.weights import WeightFolder
from fphi.tasks.supervised import Supervised, load_supervised
from fphi.within.training import NetworkTraining, Stretch

TRAINING = NetworkTraining(epochs=4, batch_size=64)
SPACE = PBASpace()


def digits() -> Supervised:
    return load_supervised("digits", train=200, validation=100, test=100)


def network(data: Supervised, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
        )


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_the_policy_that_changes_nothing_is_training_without_one() -> None:
    data = digits()
    loss = AugmentAndTest(SPACE, network, data, TRAINING)
    seed = loss.child_seed(0)
    plain, augmented = network(data, seed), network(data, seed)
    nothing = augmenting(SPACE.augmentation([SPACE.start(Random(0))]), data)
    numbers = PBAPolicy.zero().numbers

    def drawn(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        torch.rand(len(x), numbers, dtype=torch.float64, generator=generator)
        return x

    first = TRAINING.train(plain, data, seed, augment=drawn)
    second = TRAINING.train(augmented, data, seed, augment=nothing)
    assert first.losses == pytest.approx(second.losses, rel=1e-3)


def test_augmented_images_are_those_of_the_policy_standardised_again() -> None:
    data = digits()
    assert data.levels is not None
    mean, deviation = data.levels
    policy = PolicySpace().augmentation([PolicySpace().sample(Random(4))])
    x = data.train.x[:50]
    found = augmenting(policy, data)(x, 0, torch.Generator().manual_seed(3))
    images = ((x * deviation + mean) / 255).clamp(0, 1)
    chance = policy.draw(50, torch.Generator().manual_seed(3))
    torch.testing.assert_close((found * deviation + mean) / 255, policy(images, chance), atol=1e-5, rtol=0)
    assert not torch.allclose(found, x, atol=0.1)


def test_a_schedule_augments_by_the_policy_of_the_epoch() -> None:
    data = digits()
    strong = SPACE.sample(Random(1))
    augment = augmenting(SPACE.augmentation([SPACE.start(Random(0)), strong], [2, 1]), data)
    x = data.train.x[:50]
    early = augment(x, 1, torch.Generator().manual_seed(0))
    late = augment(x, 2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(early, x, atol=1e-5, rtol=0)
    assert not torch.allclose(late, x, atol=0.1)


def test_a_lineage_is_one_training_with_its_schedule(tmp_path: Path) -> None:
    """The candidates of a line leave what the stretches of one training leave, to the last bit."""
    data = digits()
    loss = AugmentAndGoOn(SPACE, network, data, TRAINING, 5, weights=WeightFolder(tmp_path), epochs=2)
    policies = [SPACE.start(Random(0)), SPACE.sample(Random(1))]
    line = [Candidate(1, policies[0]), Candidate(7, policies[1], 1)]
    outcomes = [loss(candidate) for candidate in line]
    assert [outcome.measures["epochs"] for outcome in outcomes] == [2, 4]
    module = network(data, loss.child_seed(1))
    schedule = SPACE.augmentation(policies, [2, 2], fill_of(data))
    assert isinstance(schedule, Schedule)
    augment = augmenting(schedule, data)
    velocity: dict[str, Tensor] = {}
    for candidate, (first, end) in zip(line, ((0, 2), (2, 4)), strict=True):
        seed = loss.child_seed(candidate.number)
        velocity = TRAINING.train(
            module, data, seed, augment=augment, stretch=Stretch(first, end, velocity)
        ).velocity
    left = WeightFolder(tmp_path).load(7)
    assert left is not None
    for name, tensor in state(module).items():
        assert torch.equal(left[f"weights.{name}"], tensor), name
    for name, tensor in velocity.items():
        assert torch.equal(left[f"velocity.{name}"], tensor), name


def test_two_that_go_on_from_one_parent_begin_with_the_same_weights(tmp_path: Path) -> None:
    """With the same policy they differ by their order alone; the parent's file stays as it was."""
    data = digits()
    loss = AugmentAndGoOn(SPACE, network, data, TRAINING, weights=WeightFolder(tmp_path), epochs=2)
    start = SPACE.start(Random(0))
    loss(Candidate(0, start))
    before = (tmp_path / "000000.safetensors").read_bytes()
    one, again = (loss(Candidate(2, start, 0)) for _ in range(2))
    assert one.loss == again.loss
    assert (tmp_path / "000000.safetensors").read_bytes() == before


def test_one_whose_parent_failed_fails_too(tmp_path: Path) -> None:
    loss = AugmentAndGoOn(SPACE, network, digits(), TRAINING, weights=WeightFolder(tmp_path), epochs=2)
    outcome = loss(Candidate(5, SPACE.start(Random(0)), 3))
    assert "candidate 3, which it goes on from, failed" in outcome.failure


def test_the_last_round_ends_with_the_training(tmp_path: Path) -> None:
    loss = AugmentAndGoOn(SPACE, network, digits(), TRAINING, weights=WeightFolder(tmp_path), epochs=3)
    start = SPACE.start(Random(0))
    ends = [loss(Candidate(0, start)), loss(Candidate(1, start, 0))]
    assert [outcome.measures["epochs"] for outcome in ends] == [3, 4]
