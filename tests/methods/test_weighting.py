"""What the methods that learn the weights of examples say of themselves."""

import shlex
from dataclasses import fields

import pytest
import torch
from torch import nn

from fphi.experiment.schema import Schema
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.meta_weight_net import MetaWeightNetMethod
from fphi.methods.reweight import LearningToReweight
from fphi.methods.table import methods
from fphi.optimize.meta_weight_net import MetaWeightNet
from fphi.optimize.reweighting import Reweight
from fphi.tasks.types import Examples
from fphi.within.training import NetworkTraining

METHODS = [cls for cls in methods().values() if issubclass(cls, WeightingMethod)]


def network() -> tuple[nn.Module, torch.optim.SGD]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return module, torch.optim.SGD(module.parameters(), 0.1)


def test_both_are_there() -> None:
    assert sorted(cls.title for cls in METHODS) == ["meta-weight-net", "reweight"]


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.title)
def test_every_one_has_a_usual_training_and_its_paper_s(method: type[WeightingMethod]) -> None:
    assert method.usual_training.keys() <= {f.name for f in fields(NetworkTraining)}
    parser = Schema.named(method.title).parser("train")
    usual = parser.check({})
    assert {name: usual[name] for name in method.usual_training} == method.usual_training
    said = method.paper_training.partition(": ")[2]
    parser.read(shlex.split(said))  # which raises where an option is none


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.title)
def test_every_one_weighs_each_example_of_a_minibatch(method: type[WeightingMethod]) -> None:
    weighting = method().begin(*network())
    x, y = torch.randn(7, 1, 2, 2), torch.arange(7) % 3
    weighed = weighting.weigh(Examples(x, y), Examples(x[:3], y[:3]))
    assert weighed.weights.shape == (7,)
    assert bool((weighed.weights >= 0).all())
    assert float(weighed.weights.sum()) > 0


def test_options_reach_what_they_are_for() -> None:
    method = MetaWeightNetMethod(
        weight_lr=0.5, weight_net_decay=0.25, weight_net_units=7, divide_by="sum", derivative="difference"
    )
    weighting = method.begin(*network())
    assert isinstance(weighting, MetaWeightNet)
    (group,) = weighting.adam.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert (weighting.divide_by, weighting.derivative) == ("sum", "difference")
    assert sum(p.numel() for p in weighting.net.parameters()) == 3 * 7 + 1
    weighting = LearningToReweight(form="unrolled").begin(*network())
    assert isinstance(weighting, Reweight)
    assert weighting.form == "unrolled"
