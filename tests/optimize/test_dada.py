"""DADA's loop: what a step of the policy and one of the network change, gradients, a search, resume."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.learnable.augmentation.dada_space import PAIRS, DadaSpace
from fphi.learnable.augmentation.relaxed_policy import RelaxedPolicy
from fphi.optimize.dada import Augmented, Dada
from fphi.optimize.dada_phase import DadaPhase
from fphi.run.search.supernet import restore, train_supernet
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

SIDE = 6
MEAN, DEVIATION = torch.full((1, 1, 1), 120.0), torch.full((1, 1, 1), 60.0)


def shades(n: int, seed: int) -> Examples:
    """Dark images, and light ones that are the dark ones inverted."""
    y = torch.arange(n) % 2
    noise = torch.randn(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    grey = 0.5 + 0.25 * (2 * y - 1)[:, None, None, None] + 0.1 * noise
    return Examples((255 * grey.clamp(0, 1) - MEAN) / DEVIATION, y)


DATA = Supervised("shades", shades(40, 1), shades(32, 2), shades(32, 3), 2, levels=(MEAN, DEVIATION))
DESTROYING = [("Invert", "Identity"), ("Identity", "Identity")]


def network(kind: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 6), kind(), nn.Linear(6, 2))


def awkward() -> nn.Module:
    """With running statistics, and with random numbers of its own."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 2)
    )


def search(
    pairs: list[tuple[str, str]] | None = None, net: nn.Module | None = None, seed: int = 5, **options: Any
) -> Dada:
    phase = DadaPhase(**({"epochs": 3, "batch_size": 8, "shift": False} | options))
    policy = RelaxedPolicy(pairs or list(PAIRS[70:75]), seed=seed)
    return Dada(net or network(), DATA, seed, phase, policy)


def batches(found: Dada, seed: int = 0) -> tuple[Augmented, Examples]:
    """One that is augmented, after two steps of the network for a momentum that is not 0."""
    train, validation = (Examples(e.x[:8], e.y[:8]) for e in (DATA.train, DATA.validation))
    dtype = next(found.module.parameters()).dtype
    train, validation = (Examples(e.x.to(dtype), e.y) for e in (train, validation))
    for _ in range(2):
        found.weight_step(train)
    return found.augment(train, torch.Generator().manual_seed(seed)), validation


def everything(found: Dada) -> dict[str, Tensor]:
    """All that the search holds, by name."""
    state = {name: t.clone() for name, t in found.module.state_dict().items()}
    optimizers = {"w": found.sgd, "policy": found.adam, "control": found.control_adam}
    for name, optimizer in optimizers.items():
        for index, kept in optimizer.state_dict()["state"].items():
            state |= {f"{name} {index} {key}": torch.as_tensor(v).clone() for key, v in kept.items()}
    return state


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {
        name
        for name in a.keys() | b.keys()
        if not (a.keys() & b.keys() & {name}) or not torch.equal(a[name], b[name])
    }


# Gradients.


def test_the_finite_difference_tends_to_the_exact_derivative() -> None:
    """By a factor of the training loss, and by the magnitudes that go straight through."""
    torch.set_default_dtype(torch.float64)
    found = [search([("Rotate", "Solarize")], derivative=d, scale=1e-4) for d in ("difference", "exact")]
    both = []
    for each in found:
        with torch.no_grad():
            each.policy.probabilities.fill_(0.999)
        batch, validation = batches(each)
        assert batch.sample.fires.all()
        both.append(each.value(batch, validation))
    for near, exact in zip(*both, strict=True):
        assert float(exact.abs().min()) > 1e-4
        assert torch.allclose(near, exact, rtol=1e-6)


def test_the_value_is_minus_the_rate_times_the_product_of_two_gradients() -> None:
    torch.set_default_dtype(torch.float64)
    found = search(DESTROYING, derivative="exact", lr=0.05, momentum=0.8, weight_decay=0.01)
    batch, validation = batches(found)
    net, weights = found.module.network, list(found.theta.values())
    assert isinstance(net, nn.Module)

    def slopes(examples: Examples) -> tuple[Tensor, ...]:
        return torch.autograd.grad(cross_entropy(net(examples.x), examples.y), weights)

    here = slopes(batch.examples)
    value, _ = found.value(batch, validation)
    before = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, slope in zip(weights, here, strict=True):
            w.sub_(0.05 * (0.8 * found.sgd.state[w]["momentum_buffer"] + slope + 0.01 * w))
    there = slopes(validation)
    product = sum(float((a * b).sum()) for a, b in zip(here, there, strict=True))
    assert float(value) == pytest.approx(-0.05 * product, rel=1e-10)
    with torch.no_grad():
        for w, old in zip(weights, before, strict=True):
            w.copy_(old)


def test_operations_that_change_nothing_have_no_gradient_on_average() -> None:
    """Every sample has the same value, so its mean times the gradient of the log-probability is 0."""
    found = search([("Identity", "Identity")] * 3)
    first, validation = batches(found)
    values = set()
    for seed in range(20):
        batch = first._replace(sample=found.policy.draw(torch.Generator().manual_seed(seed)))
        value, by_magnitudes = found.value(batch, validation)
        values.add(float(value))
        assert not by_magnitudes.any()
    assert len(values) == 1
    assert values != {0.0}


def test_a_sample_that_destroys_the_classes_hurts_and_one_that_does_nothing_helps() -> None:
    found = search(DESTROYING, batch_size=40)
    for seed in range(10):
        batch = found.augment(DATA.train, torch.Generator().manual_seed(seed))
        inverted = batch.sample.number == 0 and bool(batch.sample.fires[0])
        assert torch.allclose(batch.examples.x, DATA.train.x, atol=1e-5) != inverted
        value, _ = found.value(batch, DATA.validation)
        assert (float(value) > 0) == inverted


def test_once_c_has_learned_the_gradient_of_the_choices_has_less_variance_than_reinforces() -> None:
    """Where values are a function of what is drawn: one that hurts, and three others that help."""
    found, generator = search(DESTROYING), torch.Generator().manual_seed(0)
    for step in range(400):
        if step == 200:
            found._squares.clear()
        sample = found.policy.draw(generator)
        hurts = sample.number == 0 and bool(sample.fires[0])
        found.choices(sample, torch.tensor(1e-4 if hurts else -3e-5))
    row = found.figures()
    assert row["square"] < 0.8 * row["square_reinforce"], row


# Steps.


@pytest.mark.parametrize("derivative", ["difference", "exact"])
def test_a_step_of_the_policy_changes_neither_the_network_nor_its_statistics(derivative: str) -> None:
    found = search(net=awkward(), derivative=derivative)
    batch, validation = batches(found)
    before = everything(found)
    found.policy_step(batch, validation)
    changed = different(before, everything(found))
    assert {name.split(".")[0].split(" ")[0] for name in changed} == {"policy", "control"}
    assert all(w.grad is None for w in found.theta.values())


def test_the_value_is_the_same_again_though_the_network_draws_random_numbers() -> None:
    found = search(net=awkward())
    batch, validation = batches(found)
    first, second = (found.value(batch, validation) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_only_the_drawn_sub_policy_is_learned_of_but_by_its_weight() -> None:
    found = search()
    batch, validation = batches(found)
    before = everything(found)
    found.policy_step(batch, validation)
    after, drawn = everything(found), batch.sample.number
    for name in ("policy.probabilities", "policy.magnitudes"):
        moved = (after[name] != before[name]).any(1).tolist()
        assert moved == [i == drawn and (name == "policy.probabilities" or moved[i]) for i in range(5)]
    assert (after["policy.logits"] != before["policy.logits"]).all()


def test_the_policys_optimizer_is_the_papers() -> None:
    group = search().adam.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (5e-3, (0.5, 0.999), 0)
    found = search(epochs=20)
    assert found.rate(0) == 0.1
    assert found.rate(10) == pytest.approx(0.05)


def test_reinforce_is_relax_before_its_control_variate_has_learned() -> None:
    ends = []
    for estimator in ("relax", "reinforce"):
        found = search(estimator=estimator)
        found.policy_step(*batches(found))
        ends.append(everything(found))
    assert {name.split(".")[0].split(" ")[0] for name in different(*ends)} == {"control"}


def test_images_are_moved_and_mirrored_before_the_policy_and_cut_out_after() -> None:
    parts = (Examples(e.x.expand(-1, 3, -1, -1), e.y) for e in (DATA.train, DATA.validation, DATA.test))
    train, validation, test = parts
    colour = Supervised("colours", train, validation, test, 2, levels=(MEAN, DEVIATION))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2))
    ramp = torch.linspace(-1, 1, SIDE).expand(64, 3, SIDE, SIDE)
    batch = Examples(ramp, torch.zeros(64, dtype=torch.int64))
    nothing = RelaxedPolicy([("Identity", "Identity")])
    for cutout in (0, 2):
        found = Dada(net, colour, 0, DadaPhase(shift=True, cutout=cutout), nothing)
        x = found.augment(batch, torch.Generator().manual_seed(0)).examples.x
        mirrored = (x.flip(-1) - ramp).abs().flatten(1).amax(1) < 1e-5
        kept = (x - ramp).abs().flatten(1).amax(1) < 1e-5
        # With a side of 6 nothing is moved, as an eighth of it is no pixel.
        assert bool((mirrored ^ kept).all()) == (cutout == 0)
        if cutout:
            assert bool(((x == 0).sum((1, 2, 3)) >= 3).all())


# The search.


def test_what_destroys_the_classes_becomes_rare() -> None:
    found = search(DESTROYING, epochs=8, policy_lr=0.05, batch_size=4)
    rows = train_supernet(found)
    destroying = float(found.policy.logits.detach().softmax(0)[0])
    assert destroying < 0.4
    assert float(found.policy.probabilities.detach()[0, 0]) < 0.2
    assert found.result()[0] == 1
    assert rows[-1]["validation_accuracy"] > 0.95
    assert rows[-1]["entropy"] < rows[0]["entropy"] < math.log(2)
    assert set(rows[0]) == {
        "epoch", "train_loss", "validation_accuracy", "entropy", "square", "square_reinforce", "lr",
    }  # fmt: skip


def test_a_resumed_search_is_the_uninterrupted_one_after_every_epoch(tmp_path: Path) -> None:
    whole, ends = search(net=awkward(), shift=True), []
    train_supernet(whole, tell=lambda row, epochs: ends.append(everything(whole)))

    def kill(row: dict[str, float], epochs: int) -> None:
        raise KeyboardInterrupt

    for epoch in range(3):
        torch.manual_seed(epoch)  # what has been drawn elsewhere does not matter
        parts = search(net=awkward(), shift=True)
        if epoch:
            restore(parts, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            train_supernet(parts, out=tmp_path, tell=kill)
        assert not different(everything(parts), ends[epoch])
    assert parts.rows == whole.rows
    assert parts.ended
    assert parts.result() == whole.result()


def test_a_search_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    train_supernet(search(epochs=1), out=tmp_path)
    for other in (search(epochs=1, seed=6), search(epochs=2), search(DESTROYING, epochs=1)):
        with pytest.raises(FphiError, match="other settings"):
            restore(other, tmp_path)
    for name in ("w", "policy", "control"):
        found = search(epochs=1)
        restore(found, tmp_path)
        state = found.state_dict()
        state[name] = {**state[name], "state": {}}
        with pytest.raises(ValueError, match="lacks the state of parameter 0"):
            search(epochs=1).load_state_dict(state)


def test_the_result_is_of_dadas_space() -> None:
    found = Dada(network(), DATA, 0, DadaPhase(epochs=1, batch_size=40))
    train_supernet(found)
    space = DadaSpace()
    assert space.check(found.result()) == found.result()
    assert len(space.policy(found.result()).sub_policies) == 25


def test_torchs_own_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    net = awkward()
    torch.manual_seed(3)
    search(net=net, epochs=1).step()
    assert torch.equal(torch.rand(2), expected)


# Refusals.


def test_a_diverging_search_says_so() -> None:
    found = search()
    batch, validation = batches(found)
    with pytest.raises(FphiError, match="diverges"):
        found.value(batch, Examples(validation.x * torch.inf, validation.y))


def test_what_is_no_image_is_refused() -> None:
    for data in (
        DATA._replace(levels=None),
        DATA._replace(train=Examples(torch.zeros(4, 7), torch.zeros(4))),
    ):
        with pytest.raises(FphiError, match="and augmentation takes images"):
            Dada(network(), data)


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"lr": -0.1}, {"momentum": 1.0}, {"policy_lr": -1.0}, {"temperature": 0.0},
     {"scale": 0.0}, {"cutout": -1}, {"sub_policies": 0}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(FphiError, match=f"{next(iter(options))}="):
        DadaPhase(**options)  # type: ignore[arg-type]
