"""DADA as a method: its settings, and what it searches."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.augmentation import DadaSpace, PolicySpace
from fphi.methods.dada import DADA
from fphi.methods.table import get_method
from fphi.optimize.dada_phase import DadaPhase
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples


def data() -> Supervised:
    def part() -> Examples:
        return Examples(torch.rand(12, 1, 4, 4), torch.arange(12) % 2)

    levels = torch.full((1, 1, 1), 100.0), torch.full((1, 1, 1), 50.0)
    return Supervised("grey", part(), part(), part(), 2, levels=levels)


def test_its_options_are_the_settings_of_the_search() -> None:
    assert get_method("dada") is DADA
    assert {f.name for f in fields(DadaPhase)} - {f.name for f in fields(DADA)} == {"sub_policies"}
    wanted = DadaPhase(epochs=7, batch_size=32, policy_lr=0.3, cutout=2, shift=True, sub_policies=4)
    assert DADA(epochs=7, policy_lr=0.3, cutout=2, shift=True).phase(4) == wanted


def test_it_searches_policies_of_as_many_pairs_as_the_space_has() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    space = DadaSpace(sub_policies=3)
    search = DADA(epochs=1, batch_size=6).begin(space, data(), network, 0)
    search.step()
    assert search.ended
    assert search.module.network is network
    policy = space.augmentation([search.result()])
    assert (len(policy.sub_policies), policy.scale) == (3, "fast")
    assert len(space.augmentation([search.result()] * 2).sub_policies) == 6


def test_other_spaces_and_settings_are_refused() -> None:
    with pytest.raises(FphiError, match="dada cannot search the space autoaugment; choose the space dada"):
        DADA().begin(PolicySpace(), data(), nn.Flatten(), 0)
    with pytest.raises(FphiError, match="temperature is 0"):
        DADA(temperature=0.0)
