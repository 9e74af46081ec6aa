"""Learned rules as torch's optimizers: bit for bit the inner optimizer's steps, kept and gone on with."""

import copy
import io
import pickle
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
from fphi.within import (
    InnerOptimizer,
    LSTMMetaLearner,
    LSTMOptimizer,
    UpdateRule,
    adam,
    learned_momentum,
    learned_rate,
    sgd,
)
from fphi.within.drop_in import RuleOptimizer
from fphi.within.tuned_rate import TunedRate
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
    "tuned": lambda: TunedRate(LSTMMetaLearner(rate=0.2)),
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


def test_weight_decay_is_decoupled_as_in_adamw() -> None:
    """Per group and with a schedule; AdamW multiplies its decay by its step size, which a rule has not."""
    models, rate, decay = (network(), network()), 0.01, 5.0
    ours = RuleOptimizer(
        [{"params": models[0][0].parameters(), "weight_decay": rate * decay}, {"params": models[0][2].parameters()}],  # type: ignore[index]
        adam(rate),
    )  # fmt: skip
    theirs = torch.optim.AdamW(
        [{"params": models[1][0].parameters(), "weight_decay": decay}, {"params": models[1][2].parameters()}],  # type: ignore[index]
        lr=rate,
        weight_decay=0.0,
    )
    schedules = [torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5) for o in (ours, theirs)]
    draw = torch.Generator().manual_seed(3)
    for _ in range(4):
        for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        for optimizer, schedule in zip((ours, theirs), schedules, strict=True):
            optimizer.step()
            schedule.step()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    kept = ours.state_dict()
    for group in kept["param_groups"]:
        del group["weight_decay"]  # a state of before there was any
    ours.load_state_dict(kept)
    assert [group["weight_decay"] for group in ours.param_groups] == [0.0, 0.0]


def test_options_that_a_rule_does_not_have_are_refused() -> None:
    """They were ignored in groups; what torch's schedulers write there is none of them."""
    model = network()
    known = "and groups of them have lr and weight_decay"
    with pytest.raises(FphiError, match=f"^maximize, momentum: an update rule has no such option.* {known}"):
        RuleOptimizer([{"params": model.parameters(), "momentum": 0.9, "maximize": True}], sgd(0.1))
    with pytest.raises(FphiError, match=f"^momentum: .* {known}"):
        RuleOptimizer(model.parameters(), sgd(0.1), momentum=0.9)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="weight_decay is 10; it must be at most 1"):
        RuleOptimizer(model.parameters(), sgd(0.1), weight_decay=10.0)
    optimizer = RuleOptimizer(model[0].parameters(), sgd(0.1))  # type: ignore[index]
    with pytest.raises(FphiError, match="the weight_decay of a group is -1; it must be at least 0"):
        optimizer.add_param_group({"params": model[2].parameters(), "weight_decay": -1})  # type: ignore[index]
    assert len(optimizer.param_groups) == 1
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=9, cycle_momentum=False)
    torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.1)
    optimizer.add_param_group({**optimizer.param_groups[0], "params": [*model[2].parameters()]})  # type: ignore[index]
    assert len(optimizer.param_groups) == 2


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


@EVERY
def test_a_copy_of_any_kind_goes_on_as_the_original(name: str) -> None:
    trained, data = learner(name), list(batches(4))
    model = network()
    optimizer = optimizer_for(model, trained)
    train(model, optimizer, iter(data[:2]))
    file = io.BytesIO()
    torch.save((model, optimizer), file)
    copies = [
        copy.deepcopy((model, optimizer)),
        pickle.loads(pickle.dumps((model, optimizer))),
        torch.load(io.BytesIO(file.getvalue()), weights_only=False),
    ]
    whole = train(model, optimizer, iter(data[2:]))
    for other, its in copies:
        assert all(map(torch.equal, train(other, its, iter(data[2:])), whole))


@EVERY
def test_parameters_of_several_dtypes_are_moved_each_by_its_own(name: str) -> None:
    """And so they are where the model is converted between two steps."""
    trained = learner(name)
    models = {"whole": network(), "mixed": network(), "late": network(), "double": network().double()}
    models["mixed"][2].double()  # type: ignore[index]
    reached = {}
    for kind, model in models.items():
        optimizer = optimizer_for(model, trained)
        for step in range(2):
            if kind == "late" and step:
                model.double()
            for p in model.parameters():
                p.grad = torch.full_like(p, 0.5)
            optimizer.step(loss=0.7)
        reached[kind] = [p.detach() for p in model.parameters()]
    assert [p.dtype for p in reached["mixed"]] == [torch.float32] * 2 + [torch.float64] * 2
    assert all(map(torch.equal, reached["mixed"], [*reached["whole"][:2], *reached["double"][2:]]))
    for late, double in zip(reached["late"], reached["double"], strict=True):
        assert late.dtype == torch.float64
        torch.testing.assert_close(late, double, rtol=1e-5, atol=1e-6)


@EVERY
def test_a_scalar_is_moved_as_the_one_entry_of_a_vector(name: str) -> None:
    """Such as the temperature of a model that compares texts with images."""
    rule, reached = RULES[name](), []
    for shape in ((), (1,)):
        parameter = nn.Parameter(torch.full(shape, 1.5))
        torch.manual_seed(2)
        if isinstance(rule, InnerOptimizer):
            rule.register({"scale": parameter})
        optimizer = RuleOptimizer([parameter], rule, learned_for={"scale": parameter})
        for gradient in (0.7, -0.2):
            parameter.grad = torch.full(shape, gradient)
            optimizer.step(loss=0.7)
        assert parameter.shape == shape
        reached.append(parameter.item())
    assert reached[0] == pytest.approx(reached[1], rel=1e-6)
    assert reached[0] != 1.5


def test_names_decide_which_numbers_a_parameter_has_in_any_order() -> None:
    trained = learner("a rate each")
    moved = []
    for turned in (False, True):
        model = network()
        before = {k: p.detach().clone() for k, p in model.named_parameters()}
        pairs = [*model.named_parameters()]
        optimizer = RuleOptimizer(
            pairs[::-1] if turned else pairs, trained.optimizer, learned_for=trained.adaptable
        )
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        moved.append({k: before[k] - p.detach() for k, p in model.named_parameters()})
    assert all(torch.equal(moved[0][k], moved[1][k]) for k in moved[0])
    head = {k: p for k, p in trained.adaptable.items() if k.startswith("2.")}
    part = nn.Linear(5, 3)
    for given, message in (
        ([("2.weight", part.weight), ("3.bias", part.bias)], r"3\.bias, and .* for no parameter of that"),
        ([("2.weight", part.bias)], r"\[3\] where the rule has learned for 2.weight \[3, 5\]"),
        (
            [*network().named_parameters()],
            r"0.weight, and .* learned with, 2.weight, 2.bias; give these as pairs",
        ),
        ([("2.bias", part.bias), ("2.bias", nn.Parameter(torch.ones(3)))], "2.bias twice"),
    ):
        with pytest.raises(FphiError, match=message):
            RuleOptimizer(given, trained.optimizer, learned_for=head)
    optimizer = RuleOptimizer([("2.bias", part.bias)], trained.optimizer, learned_for=head)
    with pytest.raises(FphiError, match=r"3\.weight, and"):
        optimizer.add_param_group({"params": [("3.weight", part.weight)]})
    assert len(optimizer.param_groups) == 1


def test_what_no_step_can_be_made_of_is_refused() -> None:
    embedding = nn.Embedding(4, 3, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(FphiError, match=r"of a parameter \[4, 3\] is sparse, .* with sparse=False"):
        RuleOptimizer(embedding.parameters(), sgd(0.1)).step()
    model = network()
    train(model, RuleOptimizer(model.parameters(), sgd(0.1)), batches(1))
    theirs = torch.optim.Adam(model.parameters())
    theirs.step()
    for rule, message in (
        (adam(0.1), "with step, exp_avg, exp_avg_sq: give one of Adam, with mean, square, step"),
        (sgd(0.1), "of another optimizer, .*: give one of SGD, with step"),
    ):
        with pytest.raises(FphiError, match=message):
            RuleOptimizer(model.parameters(), rule).load_state_dict(theirs.state_dict())
    reading = RuleOptimizer(model.parameters(), LSTMMetaLearner())
    with pytest.raises(
        FphiError, match=r"the loss has the shape \[2, 1\]; give one number, as loss.mean\(\)"
    ):
        reading.step(loss=torch.ones(2, 1))
    with pytest.raises(FphiError, match="the lr of a group is -1; it must be at least 0"):
        RuleOptimizer([{"params": model.parameters(), "lr": -1.0}], sgd(0.1))


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
    decaying = fphi.optim.load(run)(double.parameters(), lr=0.5, weight_decay=0.1)
    assert [(group["lr"], group["weight_decay"]) for group in decaying.param_groups] == [(0.5, 0.1)]
    with pytest.raises(FphiError, match="maximize: an update rule has no such option"):
        fphi.optim.load(run)(double.parameters(), maximize=True)  # type: ignore[arg-type]
    fphi.train("prototypical", out=tmp_path / "other", steps=1, validation_tasks=2, train_ways=5)
    with pytest.raises(FphiError, match="of a PrototypicalLearner, which takes no gradient steps"):
        fphi.optim.load(tmp_path / "other")
