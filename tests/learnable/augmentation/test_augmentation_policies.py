"""Policies: what is drawn for each image, how often, and that nothing but the given numbers decides."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation import (
    OPERATIONS,
    PBA_OPERATIONS,
    PUBLISHED,
    AugmentationPolicy,
    PBAPolicy,
    Policy,
    PolicySpace,
    RandAugment,
    Schedule,
    Step,
    TrivialAugment,
    operate,
    published,
)
from fphi.learnable.augmentation.fixed import EVERYDAY

NAMES = tuple(OPERATIONS)
MIXED = Policy.of(
    [
        [("Rotate", 0.7, 5), ("Invert", 0.4, 0)],
        [("Solarize", 1, 3), ("TranslateX", 0.2, 9)],
        [("Cutout", 0.5, 8)],
        [("SamplePairing", 0.9, 9), ("Color", 0.3, 2)],
    ]
)
FULL = PBAPolicy((10, 5) * 30)
POLICIES: dict[str, AugmentationPolicy] = {
    "policy": MIXED,
    "fast": Policy.of([[("ShearX", 0.5, 0.1), ("Equalize", 0.6, 0.7)]], "fast", (0,)),
    "pba": PBAPolicy((5, 6, 1, 9) * 15),
    "randaugment": RandAugment(3, 7),
    "trivialaugment": TrivialAugment(),
    "trivialaugment narrow": TrivialAugment("autoaugment"),
}
EVERY = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
DRAWS = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 3, size: tuple[int, int] = (9, 11)) -> Tensor:
    return torch.rand(count, channels, *size, generator=seeded(1))


def within(found: float, expected: float, count: int) -> bool:
    """By five standard errors of a share; every draw here is seeded."""
    return abs(found - expected) <= 5 * math.sqrt(max(expected * (1 - expected), 1e-9) / count)


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_numbers_give_the_same_images_and_others_other_ones(
    policy: AugmentationPolicy, channels: int
) -> None:
    x = images(24, channels)
    before, chance = x.clone(), policy.draw(24, seeded())
    state = torch.get_rng_state()
    augmented = policy(x, chance)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert torch.equal(policy(x, policy.draw(24, seeded())), augmented)
    assert not torch.equal(policy(x, policy.draw(24, seeded(7))), augmented)
    assert 0 <= augmented.min() <= augmented.max() <= 1


@EVERY
def test_every_image_is_augmented_as_by_itself(policy: AugmentationPolicy) -> None:
    x, chance = images(16), policy.draw(16, seeded())
    augmented = policy(x, chance)
    for i in range(16):
        assert torch.equal(policy(x[i : i + 1], chance[i : i + 1], others=x)[0], augmented[i])


@EVERY
def test_a_plan_done_step_by_step_gives_the_same(policy: AugmentationPolicy) -> None:
    """Fused or not, in the order of the steps."""
    x, chance = images(30), policy.draw(30, seeded(3))
    plan, one_by_one = policy.plan(chance), x
    for step in range(plan.operations.shape[1]):
        for place, name in enumerate(NAMES):
            on = plan.operations[:, step] == place
            given = plan.magnitudes[:, step], plan.chance[:, step], on
            one_by_one = operate(name, one_by_one, *given, scale=policy.scale, others=x, fill=policy.fill)
    assert torch.equal(policy(x, chance), one_by_one)


def test_probability_0_is_the_identity_and_1_always_fires() -> None:
    x = images(50)
    never = Policy.of([[("Invert", 0, 0), ("Rotate", 0, 9)], [("Cutout", 0, 9)]])
    always = Policy.of([[("Invert", 1, 0), ("Invert", 1, 0), ("Invert", 1, 0)]])
    assert torch.equal(never(x, never.draw(50, seeded())), x)
    torch.testing.assert_close(always(x, always.draw(50, seeded())), 1 - x)
    zero = PBAPolicy.zero()
    assert torch.equal(zero(x, zero.draw(50, seeded())), x)


def test_frequencies_are_the_probabilities() -> None:
    plan = MIXED.plan(MIXED.draw(DRAWS, seeded()))
    for place, (name, share) in enumerate(
        [("Rotate", 0.7), ("Solarize", 1), ("Cutout", 0.5), ("SamplePairing", 0.9)]
    ):
        found = (plan.operations[:, 0] == NAMES.index(name)).double().mean().item()
        assert within(found, share / 4, DRAWS), place
    both = (plan.operations == torch.tensor([NAMES.index("Rotate"), NAMES.index("Invert")])).all(1)
    assert within(both.double().mean().item(), 0.7 * 0.4 / 4, DRAWS)  # independent of one another
    nothing = (plan.operations < 0).all(1).double().mean().item()
    assert within(nothing, (0.3 * 0.6 + 0 + 0.5 + 0.1 * 0.7) / 4, DRAWS)


def test_the_sub_policy_is_drawn_for_each_image_and_not_for_the_batch() -> None:
    plan = MIXED.plan(MIXED.draw(40, seeded()))
    assert len(set(plan.operations[:, 0].tolist())) > 3


def test_each_step_has_its_own_magnitude() -> None:
    plan = MIXED.plan(MIXED.draw(2000, seeded()))
    fired = plan.operations >= 0
    pairs = zip(plan.operations[fired].tolist(), plan.magnitudes[fired].tolist(), strict=True)
    steps = [step for steps in MIXED.sub_policies for step in steps]
    assert {(NAMES[place], m) for place, m in pairs} == {(step.operation, step.magnitude) for step in steps}


def test_signs_are_drawn_for_each_application() -> None:
    policy = Policy.of([[("TranslateX", 1, 1), ("TranslateX", 1, 1)]], fill=(0,))
    x = torch.zeros(4000, 1, 1, 5)
    x[..., 2] = 1
    where = policy(x, policy.draw(4000, seeded())).argmax(3).flatten() - 2
    shares = {shift: (where == shift).double().mean().item() for shift in (-2, 0, 2)}
    assert sum(shares.values()) == 1
    assert all(within(shares[shift], share, 4000) for shift, share in ((-2, 0.25), (0, 0.5), (2, 0.25)))


def test_randaugment_draws_each_of_14_operations_equally_often_with_one_magnitude() -> None:
    policy = RandAugment(2, 7)
    plan = policy.plan(policy.draw(DRAWS, seeded()))
    assert (plan.magnitudes == 7).all()
    counts = Counter(plan.operations.flatten().tolist())
    assert {NAMES[place] for place in counts} == set(EVERYDAY)
    assert len(EVERYDAY) == 14
    assert all(within(count / (2 * DRAWS), 1 / 14, 2 * DRAWS) for count in counts.values())
    twice = (plan.operations[:, 0] == plan.operations[:, 1]).double().mean().item()
    assert within(twice, 1 / 14, DRAWS)


def test_trivialaugment_draws_one_operation_and_one_of_31_magnitudes() -> None:
    policy = TrivialAugment()
    plan = policy.plan(policy.draw(DRAWS, seeded()))
    assert plan.operations.shape == (DRAWS, 1)
    counts = Counter((30 * plan.magnitudes).flatten().tolist())
    assert sorted(round(strength) for strength in counts) == list(range(31))
    assert all(within(count / DRAWS, 1 / 31, DRAWS) for count in counts.values())
    assert TrivialAugment("autoaugment").plan(policy.draw(DRAWS, seeded())).magnitudes.max() == 10


# PBA.


def test_pba_applies_0_1_or_2_operations_with_probability_2_3_and_5_tenths() -> None:
    counts = (FULL.plan(FULL.draw(DRAWS, seeded())).operations >= 0).sum(1)
    for count, share in ((0, 0.2), (1, 0.3), (2, 0.5)):
        assert within((counts == count).double().mean().item(), share, DRAWS)


def test_pba_goes_through_its_entries_in_random_order() -> None:
    plan = FULL.plan(FULL.draw(DRAWS, seeded()))
    for step, applied in ((0, 0.8), (1, 0.5)):
        counts = Counter(plan.operations[:, step].tolist())
        for name in PBA_OPERATIONS:
            assert within(counts[NAMES.index(name)] / DRAWS, applied / 15, DRAWS)


def test_pba_fires_an_entry_with_its_probability_and_magnitude() -> None:
    vector = [0] * 60
    vector[2 * PBA_OPERATIONS.index("Solarize")] = 3
    vector[2 * PBA_OPERATIONS.index("Solarize") + 1] = 4
    vector[30 + 2 * PBA_OPERATIONS.index("Cutout")] = 10  # of the second copy
    vector[30 + 2 * PBA_OPERATIONS.index("Cutout") + 1] = 9
    policy = PBAPolicy(tuple(vector))
    plan = policy.plan(policy.draw(DRAWS, seeded()))
    solarize, cutout = (plan.operations == NAMES.index(name) for name in ("Solarize", "Cutout"))
    assert set(plan.magnitudes[solarize].tolist()) == {4}
    assert set(plan.magnitudes[cutout].tolist()) == {9}
    # Of images with one operation, half of those where both fire get either; with two, both.
    assert within(solarize.any(1).double().mean().item(), 0.5 * 0.3 + 0.3 * 0.3 / 2, DRAWS)
    assert within(cutout.any(1).double().mean().item(), 0.5 + 0.3 * (1 - 0.3 / 2), DRAWS)
    both_ways = plan.operations[(plan.operations >= 0).all(1)]
    assert within((both_ways[:, 0] == NAMES.index("Cutout")).double().mean().item(), 0.5, len(both_ways))


def test_the_order_of_pba_is_the_published_one() -> None:
    assert len(PBA_OPERATIONS) == len(set(PBA_OPERATIONS)) == 15
    assert (PBA_OPERATIONS[0], PBA_OPERATIONS[-1]) == ("Rotate", "Contrast")
    assert set(PBA_OPERATIONS) == set(NAMES) - {"SamplePairing", "Identity"}


# What is refused, and what is published.


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (("Blur", 0.5, 1), "there is no operation 'Blur'"),
        (("Rotate", 1.5, 1), "the probability of Rotate is 1.5; it must be at most 1"),
        (("Rotate", float("nan"), 1), "the probability of Rotate is nan; it must be a finite number"),
        (("Rotate", 0.5, 11), "the magnitude of Rotate is 11; it must be at most 10"),
        (("Rotate", 0.5, -1), "the magnitude of Rotate is -1; it must be at least 0"),
        (("Rotate", "0.5", 1), "the probability of Rotate is '0.5'; it must be a number"),
        (("Rotate", 0.5, None), "the magnitude of Rotate is None; it must be a number"),
        (("Rotate", 0.5, 1, 1), "a policy is made of lists of .operation, probability, magnitude."),
        (7, "a policy is made of lists of .operation, probability, magnitude."),
    ],
)
def test_no_policy_is_made_of_such_a_step(step: Any, message: str) -> None:
    with pytest.raises(FphiError, match=message):
        Policy.of([[("Invert", 1, 0), step]])


def test_magnitudes_are_bounded_by_the_scale_and_a_policy_has_sub_policies() -> None:
    with pytest.raises(FphiError, match="the magnitude of Rotate is 2; it must be at most 1"):
        Policy.of([[("Rotate", 0.5, 2)]], "fast")
    with pytest.raises(FphiError, match="give at least one"):
        Policy.of([])
    with pytest.raises(FphiError, match="scale is 'x'"):
        replace(MIXED, scale="x")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="fill is"):
        replace(MIXED, fill=(300,))
    with pytest.raises(FphiError, match="count is 0; it must be at least 1"):
        RandAugment(0)
    with pytest.raises(FphiError, match="magnitude is 30; it must be at most 10"):
        RandAugment(2, 30)
    with pytest.raises(FphiError, match="scale is 'narrow'"):
        TrivialAugment("narrow")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [0, 1, 59])
def test_pba_refuses_what_is_none_of_its_vectors(place: int) -> None:
    vector: list[Any] = [0] * 60
    for wrong in (-1, 11 if place == 0 else 10, 1.0, True):
        vector[place] = wrong
        with pytest.raises(FphiError, match=f"number {place} of a policy of PBA is {wrong}; it must be"):
            PBAPolicy(tuple(vector))
    with pytest.raises(FphiError, match="has 59 numbers; it must have 60"):
        PBAPolicy((0,) * 59)


def test_values_of_other_types_are_refused() -> None:
    makes: dict[str, Callable[[], object]] = {
        "count is '2'; it must be a whole number": lambda: RandAugment("2"),  # type: ignore[arg-type]
        "magnitude is None; it must be a number": lambda: RandAugment(2, None),  # type: ignore[arg-type]
        "scale is None; it must be one of": lambda: TrivialAugment(None),  # type: ignore[arg-type]
        "fill is 'red'; it must be": lambda: TrivialAugment(fill="red"),  # type: ignore[arg-type]
        "fill is .*; it must be one grey level or three": lambda: TrivialAugment(fill=(1, 2)),
        "a policy of PBA is a list": lambda: PBAPolicy([0] * 60),  # type: ignore[arg-type]
        "sub_policies is .* each of type Step": lambda: Policy((("Rotate",),)),  # type: ignore[arg-type]
        "a policy is made of lists": lambda: Policy.of([("Rotate", 1, 2)]),  # type: ignore[list-item]
        "segments is .*; it must be": lambda: Schedule((("3", MIXED),)),  # type: ignore[arg-type]
    }
    for message, make in makes.items():
        with pytest.raises(FphiError, match=message):
            make()


def test_numbers_of_another_shape_are_refused() -> None:
    x = images(3)
    with pytest.raises(
        FphiError, match=r"the chance is torch.float64 \[2, 7\]; give numbers of shape \[3, 7\]"
    ):
        MIXED(x, MIXED.draw(2))
    good = torch.zeros(3), torch.zeros(3, 2), torch.ones(3, dtype=torch.bool)
    for place, name in enumerate(("magnitudes", "chance", "switches")):
        given = [value if i != place else value[:2] for i, value in enumerate(good)]
        with pytest.raises(FphiError, match=rf"the {name} is torch.\w+ \[2.*; give numbers of shape \[3"):
            operate("Invert", x, *given)


def test_normalised_images_are_no_batch_for_a_policy() -> None:
    policy = RandAugment()
    with pytest.raises(FphiError, match="are not in 0 to 1"):
        policy(images(3) - 0.5, policy.draw(3))


@pytest.mark.parametrize("name", ["autoaugment-cifar10", "autoaugment-svhn"])
def test_published_policies_are_5_searched_ones_of_25_sub_policies(name: str) -> None:
    policy = published(name)
    assert isinstance(policy, Policy)
    assert [len(steps) for steps in policy.sub_policies] == [2] * 25
    space = PolicySpace()
    for start in range(0, 25, 5):
        part = Policy(policy.sub_policies[start : start + 5])
        text = " | ".join(
            " + ".join(f"{s.operation} {s.probability:.1f} {s.magnitude}" for s in steps)
            for steps in part.sub_policies
        )
        assert space.policy(space.parse(text)) == part


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("autoaugment-cifar10", "2a04f4f555b99fb2"),
        ("autoaugment-svhn", "c7dfe7cde356d595"),
        ("pba-cifar10", "831355ae5f26c736"),
        ("pba-svhn", "21595b8e71c7c89d"),
    ],
)
def test_no_number_of_a_published_policy_has_changed(name: str, digest: str) -> None:
    """Since it was compared with the published ones."""
    numbers = re.findall(r"[A-Z][A-Za-z]+|\d+(?:\.\d+)?", repr(published(name)))
    assert hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16] == digest


def test_published_names_lead_to_policies() -> None:
    for name in PUBLISHED:
        assert isinstance(published(name), AugmentationPolicy | Schedule)
    with pytest.raises(FphiError, match="no policy 'x' is known; there are autoaugment-cifar10, "):
        published("x")


def test_first_and_last_sub_policies_are_those_of_the_tables() -> None:
    cifar, svhn = published("autoaugment-cifar10"), published("autoaugment-svhn")
    assert isinstance(cifar, Policy)
    assert isinstance(svhn, Policy)
    assert cifar.sub_policies[0] == (Step("Invert", 0.1, 7), Step("Contrast", 0.2, 6))
    assert cifar.sub_policies[-1] == (Step("TranslateY", 0.7, 9), Step("AutoContrast", 0.9, 1))
    assert svhn.sub_policies[0] == (Step("ShearX", 0.9, 4), Step("Invert", 0.2, 3))
    assert svhn.sub_policies[-1] == (Step("ShearX", 0.7, 2), Step("Invert", 0.1, 5))
