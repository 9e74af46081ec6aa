"""The methods that learn optimizers: gone on with bit for bit, and their rules among those of other methods."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import fphi
from fphi.learnable import GradientLearner, OptimizerLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods import get_method
from fphi.methods.base import Setting
from fphi.methods.families.problems import Units, problem_network
from fphi.methods.lstm_meta_learner import LSTMMetaLearnerMethod
from fphi.methods.lstm_optimizer import LSTMOptimizerMethod
from fphi.methods.tuned_optimizer import RuleName, TunedOptimizer
from fphi.tasks.types import Examples, Task
from fphi.within import LSTMMetaLearner, LSTMOptimizer

SHORT: dict[str, dict[str, Any]] = {
    "learned-momentum": {"inner_steps": 2, "network": "mlp", "nesterov": True, "meta_batch": 1},
    "lstm-meta-learner": {"inner_steps": 2, "network": "conv4-stride", "filters": 4, "stacked": True},
    "lstm-optimizer": {"inner_steps": 4, "unroll": 3, "hidden": 3, "inner_batch": 2},
    "tuned-optimizer": {"inner_steps": 3, "rule": "rmsprop"},
}


@pytest.mark.parametrize("name", SHORT)
def test_a_training_in_two_parts_is_that_in_one(name: str, tmp_path: Path) -> None:
    options = {"meta_batch": 2, "validation_tasks": 1, "schedule": "constant", **SHORT[name]}
    options |= {"tasks": "digits", "ways": 3, "shots": 2}
    fphi.train(name, out=tmp_path / "whole", steps=3, **options)
    fphi.train(name, out=tmp_path / "parts", steps=1, **options)
    fphi.train(name, out=tmp_path / "parts", steps=3, resume=True)
    whole, parts = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(parts[key], value) for key, value in whole.items())
    learned = {key.split(".")[1] for key in whole if key.startswith("learner.")}
    assert learned == ({"optimizer"} if "optimizer" in name else {"network", "optimizer"})
    tasks = fphi.load_tasks("digits", ways=3, shots=2).batch("test", range(2))
    once, again = fphi.load(tmp_path / "whole"), fphi.load(tmp_path / "whole")
    assert isinstance(once, GradientLearner)
    assert isinstance(again, GradientLearner)
    answers = once.solve(tasks.support, tasks.query.x)
    assert torch.equal(answers, again.solve(tasks.support, tasks.query.x))


def test_an_option_that_is_left_out_fits_the_problem() -> None:
    quadratic, digits = Setting(None, 10, (10,)), Setting(10, 10, (1, 8, 8))
    for setting, p, scale in ((quadratic, None, 0.3), (digits, 10.0, 0.1)):
        rule = LSTMOptimizerMethod().learner(setting).optimizer
        assert isinstance(rule, LSTMOptimizer)
        assert (rule.p, rule.scale) == (p, scale)
    given = LSTMOptimizerMethod(preprocessing=5.0, scale=0.01).learner(quadratic).optimizer
    assert isinstance(given, LSTMOptimizer)
    assert (given.p, given.scale) == (5.0, 0.01)
    assert TunedOptimizer(rule="sgd").variant == "tuned-optimizer, sgd"


def problems() -> Task:
    return Task(
        *(
            Examples(e.x.double(), e.y.double())
            for e in fphi.load_tasks("quadratics").batch("train", range(4))
        )
    )


def tuned(rule: RuleName, rate: float) -> LearningAlgorithm:
    method = TunedOptimizer(rule=rule, inner_lr=rate, inner_steps=6)
    return method.learner(Setting(None, 10, (10,))).double()


def way(learner: LearningAlgorithm, tasks: Task) -> float:
    return float(fphi.meta_gradient(learner, tasks, threads=1)[0])


@pytest.mark.parametrize("rule", get_args(RuleName))
def test_a_rate_is_tuned_by_the_slope_of_the_whole_way(rule: RuleName) -> None:
    """At rates below the best, where a derivative with the gradients as constants is positive."""
    tasks = problems()
    for rate in (0.003, 0.006):
        learner = tuned(rule, rate)
        loss, gradients = fphi.meta_gradient(learner, tasks, threads=1)
        slope = float(gradients["optimizer.logarithm"])
        there, back = (way(tuned(rule, rate * math.exp(sign * 1e-3)), tasks) for sign in (1, -1))
        assert slope == pytest.approx((there - back) / 2e-3, rel=0.03)
        assert slope < 0
        parts = fphi.meta_gradient(learner, tasks, threads=2, chunk_size=1)
        assert float(parts[0]) == pytest.approx(float(loss), rel=1e-12)
        assert float(parts[1]["optimizer.logarithm"]) == pytest.approx(slope, rel=1e-9)


def test_a_slope_is_finite_where_gradients_all_but_vanish() -> None:
    """Two layers of sigmoids: a derivative through the steps of RMSprop is not."""
    tasks = fphi.load_tasks("digits", ways=10, shots=2).batch("train", range(2))
    method = TunedOptimizer(rule="rmsprop", inner_lr=0.3, inner_steps=60, unit_layers=2)
    _, gradients = fphi.meta_gradient(method.learner(Setting(10, 10, (1, 8, 8))), tasks, threads=1)
    assert bool(gradients["optimizer.logarithm"].isfinite())


def test_a_rate_that_is_tuned_comes_near_the_best_also_from_where_all_diverges() -> None:
    tasks, grid = problems(), [0.003 * 1.3**i for i in range(12)]
    best = min(way(tuned("sgd", rate), tasks) for rate in grid)
    for start in (0.0005, 1.0):
        learner = tuned("sgd", start)
        outer = TunedOptimizer(rule="sgd", outer_lr=0.3).optimizer(learner)
        for step in range(40):
            loss, gradients = fphi.meta_gradient(learner, tasks, threads=1)
            assert bool(loss.isfinite())
            outer.step(learner, gradients, step / 40)
        assert way(learner, tasks) < 1.03 * best


def test_the_meta_learner_of_the_paper_has_its_sizes() -> None:
    """A network of 32 filters, and an LSTM of 20 units with two gates that read 22 numbers each."""
    learner = LSTMMetaLearnerMethod(inner_rate=0.011).learner(Setting(5, 1, (1, 28, 28)))
    sizes = {name: p.numel() for name, p in learner.named_parameters()}
    network = sum(size for name, size in sizes.items() if name.startswith("network."))
    assert network == 32 * 9 + 3 * 32 * 32 * 9 + 4 * 3 * 32 + 32 * 5 + 5
    assert sum(sizes.values()) - network == 4 * 20 * (4 + 20 + 1) + 2 * (22 + 1)
    rule = learner.optimizer
    assert isinstance(rule, LSTMMetaLearner)
    assert learner.order == 1
    for gate, low, high in (("forget", 4, 5), ("take", -5.0, -4.0)):
        bias = float(rule.gate(gate).linear.bias.detach())
        assert low - 1e-2 <= bias <= high + 1e-2
    stacked = LSTMMetaLearnerMethod(stacked=True)
    assert stacked.variant == "lstm-meta-learner, stacked"
    assert get_method("lstm-meta-learner") is LSTMMetaLearnerMethod


def test_the_small_network_has_the_units_that_are_asked_for() -> None:
    """Counted by hand; where nobody asks, one layer of 20 sigmoid units as before."""
    digits = Setting(10, 10, (1, 8, 8))
    for units, expected in (
        (None, 64 * 20 + 20 + 20 * 10 + 10),
        (Units(40), 64 * 40 + 40 + 40 * 10 + 10),
        (Units(layers=2), 64 * 20 + 20 + 20 * 20 + 20 + 20 * 10 + 10),
    ):
        network = problem_network("auto", digits, units)
        assert sum(p.numel() for p in network.parameters()) == expected
        assert any(isinstance(m, torch.nn.Sigmoid) for m in network.children())
    relu = LSTMOptimizerMethod(activation="relu", units=5, unit_layers=3).learner(digits)
    assert isinstance(relu, GradientLearner)
    kinds = [type(m) for m in relu.network.children()]
    assert kinds.count(torch.nn.ReLU) == 3
    assert torch.nn.Sigmoid not in kinds


@pytest.mark.parametrize(
    ("setting", "network"),
    [
        (Setting(None, 5, (1,)), "auto"),
        (Setting(10, 2, (1, 8, 8)), "auto"),
        (Setting(10, 2, (1, 28, 28)), "conv4-stride"),
        (
            Setting(10, 2, (3,), network=lambda shape, outputs, norm: nn.Linear(shape[0], outputs or 1)),
            "auto",
        ),
    ],
    ids=["sine", "small", "named", "of a file"],
)
def test_all_rules_of_all_seeds_begin_at_the_same_place(setting: Setting, network: str) -> None:
    starts = []
    support = Examples(torch.linspace(0, 1, 8).reshape(2, 4, 1), torch.zeros(2, 4))
    for seed in (0, 1):
        for chosen in (LSTMOptimizerMethod(network=network, hidden=3), TunedOptimizer(network=network)):
            torch.manual_seed(seed)
            learner = chosen.learner(setting)
            assert isinstance(learner, OptimizerLearner)
            starts.append(learner._begin(support))
    assert all(torch.equal(other[name], p) for other in starts for name, p in starts[0].items())


def test_making_a_network_moves_no_generator() -> None:
    before = torch.get_rng_state()
    TunedOptimizer().learner(Setting(None, 5, (1,)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rule_is_tested_on_other_networks_than_it_was_learned_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"tasks": "digits", "ways": 3, "shots": 2, "inner_steps": 2, "hidden": 3}
    fphi.train("lstm-optimizer", out=tmp_path, steps=1, meta_batch=1, validation_tasks=1, **options)
    own = fphi.evaluate(tmp_path, test_tasks=2)
    other = fphi.evaluate(tmp_path, test_tasks=2, units=7, test_steps=4)
    assert len(own["by_step"]) == 3
    assert len(other["by_step"]) == 5
    assert own["by_step"][0] != other["by_step"][0]


@pytest.mark.parametrize(
    ("name", "options", "settled"),
    [
        ("tuned-optimizer", {"rule": "sgd"}, {"inner_lr": 0.01}),
        ("lstm-optimizer", {"hidden": 3}, {"preprocessing": 0.0, "scale": 0.3}),
    ],
)
def test_a_rule_is_tested_on_other_tasks_as_the_one_that_was_trained(
    name: str, options: dict[str, Any], settled: dict[str, Any], tmp_path: Path
) -> None:
    """What was left open is what it came to on quadratics, where it was trained, and on digits nothing else."""
    short = {"inner_steps": 2, "steps": 1, "meta_batch": 1, "validation_tasks": 1, **options}
    digits: dict[str, Any] = {"tasks": "digits", "ways": 3, "shots": 2, "test_tasks": 1}
    fphi.train(name, out=tmp_path, tasks="quadratics", **short)
    left_open = fphi.evaluate(tmp_path, **digits)
    assert left_open["by_step"] == fphi.evaluate(tmp_path, **digits, **settled)["by_step"]


def test_a_rule_that_was_trained_on_networks_is_itself_on_quadratics(tmp_path: Path) -> None:
    """It reads preprocessed gradients there too, and fits its parameters."""
    options: dict[str, Any] = {"tasks": "digits", "ways": 3, "shots": 2, "inner_steps": 2, "hidden": 3}
    fphi.train("lstm-optimizer", out=tmp_path, steps=1, meta_batch=1, validation_tasks=1, **options)
    others: tuple[dict[str, Any], ...] = ({}, {"preprocessing": 10.0, "scale": 0.1}, {"scale": 0.3})
    there = [
        fphi.evaluate(tmp_path, tasks="quadratics", test_tasks=1, **other)["by_step"] for other in others
    ]
    assert there[0] == there[1] != there[2]
    for ways in (3, 5):  # it is bound to no network, and so to no number of outputs
        assert fphi.evaluate(tmp_path, ways=ways, test_tasks=1)["ways"] == ways
