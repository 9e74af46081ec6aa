"""Learned rules as torch's optimizers: bit for bit the inner optimizer's steps, kept and gone on with."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fphi
from fphi import FphiError
from fphi.learnable import GradientLearner
from fphi.tasks.types import Examples
from fphi.within import LSTMMetaLearner, LSTMOptimizer, UpdateRule, adam, learned_momentum, learned_rate, sgd
from fphi.within.drop_in import RuleOptimizer
from fphi.within.unroll import descend


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def batches(count: int) -> Iterator[Examples]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield Examples(torch.randn(8, 6, generator=draw), torch.randint(3, (8,), generator=draw))


RULES: dict[str, Callable[[], UpdateRule]] = {
    "sgd": lambda: sgd(0.1),
    "adam": lambda: adam(0.01),
    "one rate": lambda: learned_rate(0.1, per="all"),
    "a rate each": lambda: learned_rate((0.05, 0.2)),
    "momentum": lambda: learned_momentum(0.1, 0.9),
    "momentum each": lambda: learned_momentum((0.05, 0.2), 0.5, "parameter", nesterov=True),
    "lstm": lambda: LSTMOptimizer(scale=0.1),
    "meta-learner": lambda: LSTMMetaLearner(rate=0.2),
    "stacked": lambda: LSTMMetaLearner(rate=0.2, stacked=True),
}
EVERY = pytest.mark.parametrize("name", RULES)


def learner(name: str) -> GradientLearner:
    torch.manual_seed(2)
    return GradientLearner(network(), RULES[name](), 5, order=1)


def optimizer_for(model: nn.Module, of: GradientLearner) -> RuleOptimizer:
    return RuleOptimizer(model.parameters(), of.optimizer, learned_for=of.adaptable)


def train(model: nn.Module, optimizer: RuleOptimizer, data: Iterator[Examples]) -> list[Tensor]:
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=loss)
    return [p.detach().clone() for p in model.parameters()]


@EVERY
def test_its_steps_are_the_inner_optimizer_s_to_the_last_bit(name: str) -> None:
    trained, model = learner(name), network()
    reached = train(model, optimizer_for(model, trained), batches(5))
    now = {k: p.detach()[None] for k, p in trained.adaptable.items()}
    state = trained.optimizer.init(now)
    for step, (x, y) in enumerate(batches(5)):

        def losses(parameters: dict[str, Tensor], x: Tensor = x, y: Tensor = y) -> Tensor:
            one = {k: p[0] for k, p in parameters.items()}
            return F.cross_entropy(torch.func.functional_call(trained.network, one, (x,)), y)[None]

        now, state = descend(losses, trained.optimizer, now, state, step, 0)
    assert all(torch.equal(p, now[k][0]) for k, p in zip(now, reached, strict=True))


@EVERY
def test_a_training_that_was_kept_goes_on_bit_for_bit(name: str) -> None:
    trained, data = learner(name), list(batches(6))
    model = network()
    whole = train(model, optimizer_for(model, trained), iter(data))
    first = network()
    optimizer = optimizer_for(first, trained)
    train(first, optimizer, iter(data[:3]))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    kept = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = network()
    again.load_state_dict(kept["model"])
    resumed = optimizer_for(again, trained)
    resumed.load_state_dict(kept["optimizer"])
    assert all(map(torch.equal, train(again, resumed, iter(data[3:])), whole))


def test_groups_have_factors_of_their_own_and_schedulers_change_them() -> None:
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}]  # type: ignore[index]
    optimizer = RuleOptimizer(groups, sgd(0.5), lr=0.25)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for factor in (0.25, 0.125):
        gradients = [torch.ones_like(p) for p in model.parameters()]
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        optimizer.step()
        schedule.step()
        moved = (0.0, 0.0, 0.5 * factor, 0.5 * factor)
        for p, old, by in zip(model.parameters(), before, moved, strict=True):
            torch.testing.assert_close(old - p, torch.full_like(p, by))
        before = [p.detach().clone() for p in model.parameters()]


def test_a_parameter_without_a_gradient_stays_and_counts_its_own_steps() -> None:
    """As in torch's Adam, whose corrections depend on the number of steps."""
    models = network(), network()
    ours = RuleOptimizer(models[0].parameters(), adam(0.01))
    theirs = torch.optim.Adam(models[1].parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(3)
    for step in range(4):
        gradients = [torch.randn(p.shape, generator=draw) for p in models[0].parameters()]
        for model in models:
            for i, (p, g) in enumerate(zip(model.parameters(), gradients, strict=True)):
                p.grad = None if (i + step) % 3 == 0 else g
        ours.step()
        theirs.step()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_closure_gives_the_loss() -> None:
    model, (batch,) = network(), batches(1)
    optimizer = RuleOptimizer(model.parameters(), LSTMMetaLearner())

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch.x), batch.y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == before
    with pytest.raises(FphiError, match=r"LSTMMetaLearner reads the loss: call step\(loss=loss\)"):
        optimizer.step()


def test_a_rule_with_numbers_of_its_own_serves_its_network_alone() -> None:
    trained = learner("a rate each")
    for model, message in (
        (nn.Linear(6, 5), "2 parameters, and the rule has learned for 4"),
        (nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), r"\[4, 6\] where .* for 0.weight \[5, 6\]"),
        (nn.Sequential(network(), nn.Linear(3, 3)), "more than the 4 parameters"),
    ):
        with pytest.raises(FphiError, match=message):
            optimizer_for(model, trained)
    with pytest.raises(FphiError, match="lr is -1; it must be at least 0"):
        RuleOptimizer(network().parameters(), sgd(0.1), lr=-1)


def test_a_run_s_rule_trains_any_model_in_an_ordinary_loop(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {"steps": 1, "meta_batch": 1, "validation_tasks": 2, "inner_steps": 1, "filters": 4}
    fphi.train("lstm-meta-learner", out=run, **options)  # type: ignore[arg-type]
    loaded, model = fphi.load(run), network()
    assert isinstance(loaded, GradientLearner)
    reached = train(model, fphi.optim.load(run)(model.parameters()), batches(3))
    other = network()
    assert all(map(torch.equal, train(other, RuleOptimizer(other.parameters(), loaded.optimizer), batches(3)), reached))  # fmt: skip
    double = network().double()
    fphi.optim.load(run)(double.parameters())  # the rule follows the parameters
    fphi.train("prototypical", out=tmp_path / "other", steps=1, validation_tasks=2, train_ways=5)
    with pytest.raises(FphiError, match="of a PrototypicalLearner, which takes no gradient steps"):
        fphi.optim.load(tmp_path / "other")
