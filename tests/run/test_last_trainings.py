"""The last trainings of a search for augmentation: kept one by one, and stopped between two."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fphi.networks import MLP
from fphi.run.disk.interrupt import StoppedError
from fphi.run.search.last_trainings import LastTrainings
from fphi.tasks.supervised import Supervised, load_supervised
from fphi.within.training import Augment, NetworkTraining


def trainings(path: Path) -> LastTrainings:
    data = load_supervised("digits", train=100, validation=50, test=50)

    def network(data: Supervised, seed: int) -> MLP:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MLP(64, (8,), 10)

    return LastTrainings(path / "trainings.jsonl", network, data, NetworkTraining(epochs=1, batch_size=50))


def test_a_signal_ends_them_after_the_training_that_it_came_in(tmp_path: Path) -> None:
    begun: list[int] = []

    def augment(stop: bool) -> Callable[[int], Augment]:
        def of_seed(seed: int) -> Augment:
            begun.append(seed)

            def unchanged(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
                if stop:
                    signal.raise_signal(signal.SIGTERM)
                return x

            return unchanged

        return of_seed

    made = trainings(tmp_path)
    with pytest.raises(StoppedError):
        made.by("plain", range(3), augment(stop=True))
    assert begun == [0]
    found = made.by("plain", range(3), augment(stop=False))
    assert begun == [0, 1, 2]
    undisturbed = trainings(tmp_path / "other")
    (tmp_path / "other").mkdir()
    assert undisturbed.by("plain", range(3), lambda seed: None).by_seed == found.by_seed
