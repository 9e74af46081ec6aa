"""DADA's policy: what is drawn, what that does to images, its derivatives, and what it is in the end."""

import math

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.augmentation import operate
from fphi.learnable.augmentation.dada_space import PAIRS, DadaSpace
from fphi.learnable.augmentation.relaxed_policy import RelaxedPolicy, Sample
from fphi.learnable.relaxed import ControlVariate
from fphi.objective.relax import relax

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ALL_ON, ALL_OFF = 1 - 1e-9, 1e-9  # random numbers by which every switch is on, or off


def sample_of(policy: RelaxedPolicy, number: int, fires: tuple[bool, bool]) -> Sample:
    """The one that has drawn these."""
    count = len(policy.pairs)
    u = torch.full((3 * count,), 0.5, dtype=torch.float64)
    u[2 * number : 2 * number + 2] = torch.tensor([ALL_ON if on else ALL_OFF for on in fires])
    u[2 * count + number] = ALL_ON
    return policy.sample(u, torch.full_like(u, 0.5))


def test_it_begins_as_the_papers() -> None:
    policy = RelaxedPolicy(seed=1)
    assert policy.pairs == PAIRS
    assert {name: tuple(p.shape) for name, p in policy.named_parameters()} == {
        "logits": (105,), "probabilities": (105, 2), "magnitudes": (105, 2),
    }  # fmt: skip
    assert (policy.probabilities == 0.5).all()
    assert (policy.magnitudes == 0.5).all()
    assert float(policy.logits.detach().std()) == pytest.approx(1e-3, rel=0.2)
    assert policy.entropy() == pytest.approx(math.log(105), abs=1e-5)
    assert torch.equal(policy.logits, RelaxedPolicy(seed=1).logits)
    assert not torch.equal(policy.logits, RelaxedPolicy(seed=2).logits)


def test_sub_policies_and_switches_are_drawn_as_often_as_their_probabilities_say() -> None:
    policy, generator, n = RelaxedPolicy(PAIRS[:3]), torch.Generator().manual_seed(0), 1500
    with torch.no_grad():
        policy.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        policy.probabilities.copy_(torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]))
        samples = [policy.draw(generator) for _ in range(n)]
    for number, p in enumerate(policy.logits.softmax(0).tolist()):
        own = [s for s in samples if s.number == number]
        assert abs(len(own) - n * p) < 4 * math.sqrt(n * p * (1 - p))
        fired = torch.stack([s.fires for s in own]).double().mean(0)
        theta = policy.probabilities[number].detach()
        assert bool(((fired - theta).abs() < 4 * (theta * (1 - theta) / len(own)).sqrt()).all())


def test_what_fires_is_done_one_after_the_other() -> None:
    policy = RelaxedPolicy([("Rotate", "Color"), ("Invert", "Solarize")])
    with torch.no_grad():
        policy.magnitudes[0] = torch.tensor([0.9, 0.1])
    chance = policy.chance(6, torch.Generator().manual_seed(0))

    def done(x: Tensor, step: int, name: str, magnitude: float) -> Tensor:
        return operate(name, x, torch.full((6,), magnitude), chance[:, step], scale="fast")

    turned = done(IMAGES, 0, "Rotate", 0.9)
    wanted = {
        (False, False): IMAGES, (True, False): turned, (False, True): done(IMAGES, 1, "Color", 0.1),
        (True, True): done(turned, 1, "Color", 0.1),
    }  # fmt: skip
    for fires, images in wanted.items():
        assert torch.allclose(policy.change(IMAGES, sample_of(policy, 0, fires), chance), images, atol=1e-6)
    inverted = policy.change(IMAGES, sample_of(policy, 1, (True, False)), chance)
    assert torch.allclose(inverted, 1 - IMAGES)


def test_at_its_start_all_that_has_a_neutral_magnitude_changes_nothing() -> None:
    neutral = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Contrast", "Color", "Brightness")
    policy = RelaxedPolicy(list(zip(neutral[::2], neutral[1::2], strict=True)))
    chance = policy.chance(6, torch.Generator().manual_seed(0))
    for number in range(4):
        changed = policy.change(IMAGES, sample_of(policy, number, (True, True)), chance)
        assert torch.allclose(changed, IMAGES, atol=1e-6)


def test_magnitudes_go_straight_through_what_has_fired() -> None:
    policy = RelaxedPolicy([("Rotate", "Solarize"), ("Invert", "Rotate")])
    weight = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for number, counted in ((0, (True, True)), (1, (False, True))):  # Invert has no magnitude
        for fires in ((False, False), (True, False), (False, True), (True, True)):
            magnitudes = torch.tensor([0.3, 0.6], requires_grad=True)
            through = policy.straight_through(IMAGES, sample_of(policy, number, fires), magnitudes)
            assert torch.equal(through, IMAGES)
            (slope,) = torch.autograd.grad((weight * through).sum(), magnitudes)
            on = torch.tensor([a and b for a, b in zip(fires, counted, strict=True)])
            assert torch.allclose(slope, weight.sum() * on)


def mean_value(policy: RelaxedPolicy, values: Tensor) -> Tensor:
    """Of all that can be drawn, ``values[pair, first, second]``."""
    on = torch.stack([1 - policy.probabilities, policy.probabilities], 2).double()
    return torch.einsum("p,pa,pb,pab->", policy.logits.double().softmax(0), on[:, 0], on[:, 1], values)


def test_what_counts_of_relax_has_the_mean_of_the_enumerated_gradient() -> None:
    torch.manual_seed(3)
    policy, n = RelaxedPolicy(PAIRS[:2], spread=1.0), 800
    with torch.no_grad():
        policy.probabilities.copy_(torch.tensor([[0.3, 0.6], [0.7, 0.5]]))
    values = torch.rand(2, 2, 2, dtype=torch.float64)
    wanted = torch.autograd.grad(mean_value(policy, values), list(policy.drawn_by().values()))
    control = ControlVariate(6, hidden=4)
    nn.init.normal_(control.output.weight, std=0.2)
    found: dict[str, list[Tensor]] = {name: [] for name in policy.drawn_by()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        sample = policy.draw(generator)
        value = values[(sample.number, *sample.fires.long())]
        c, conditional = map(control, sample.soft(0.5))
        gradient = relax(value, sample.log_probability, (c, conditional), policy.drawn_by())
        for name, g in policy.counted(gradient, sample).items():
            found[name].append(g.detach())
    for name, exact in zip(found, wanted, strict=True):
        draws = torch.stack(found[name])
        off, error = (draws.mean(0) - exact).abs(), draws.std(0) / math.sqrt(n)
        assert bool((off < 4 * error).all()), (
            f"{name} off by {off.tolist()}, standard errors {error.tolist()}"
        )


def test_only_the_drawn_sub_policys_probabilities_count() -> None:
    policy = RelaxedPolicy(PAIRS[:3])
    gradient = {"logits": torch.ones(3), "probabilities": torch.ones(3, 2)}
    counted = policy.counted(gradient, sample_of(policy, 1, (True, False)))
    assert torch.equal(counted["logits"], torch.ones(3))
    assert counted["probabilities"].tolist() == [[0, 0], [1, 1], [0, 0]]


def test_a_step_out_of_the_ranges_is_taken_back() -> None:
    policy = RelaxedPolicy(PAIRS[:1])
    with torch.no_grad():
        policy.probabilities.copy_(torch.tensor([[-1.0, 2.0]]))
        policy.magnitudes.copy_(torch.tensor([[-1.0, 2.0]]))
    policy.restrict()
    # No probability is 0 or 1: what is never drawn is never learned of.
    assert policy.probabilities.tolist() == [pytest.approx([0.001, 0.999])]
    assert policy.magnitudes.tolist() == [[0, 1]]


def test_the_heaviest_sub_policies_are_the_result() -> None:
    policy, space = RelaxedPolicy(), DadaSpace()
    with torch.no_grad():
        policy.logits[7], policy.logits[50] = 2.0, 3.0
        policy.probabilities[50] = torch.tensor([0.25, 1.0])
        policy.magnitudes[50] = torch.tensor([0.1239, 0.0])
    tokens = policy.derive()
    assert space.check(tokens) == tokens
    assert tokens[:6] == (50, 250, 124, 1000, 0, 7)
    steps = space.policy(tokens).sub_policies
    assert len(steps) == 25
    assert tuple(step.operation for step in steps[0]) == PAIRS[50]
    heaviest = policy.logits.argsort(descending=True)[:25]
    assert tokens[::5] == tuple(heaviest.tolist())


def test_pairs_that_are_none_are_refused() -> None:
    with pytest.raises(FphiError, match="there is no operation 'Blur'; choose of ShearX"):
        RelaxedPolicy([("Rotate", "Blur")])
    with pytest.raises(FphiError, match="there are no pairs of operations"):
        RelaxedPolicy([])
