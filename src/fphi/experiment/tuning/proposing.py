"""Which trial is next: what Optuna's TPE proposes, if it was not trained before."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import product
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from fphi.experiment.tuning.dimensions import Dimension, Values

__all__ = ["ExhaustedError", "distributions_of", "proposed", "seed_of"]

_PROPOSALS, _DRAWS = 10, 100  # for one trial: from the trials before, and with those that are drawn blindly


class ExhaustedError(Exception):
    """There is no trial that was not trained before."""


def proposed(
    study: optuna.Study,
    space: Sequence[Dimension],
    seed: tuple[int, int],
    usual: Values,
    is_new: Callable[[dict[str, Any]], bool],
    beside: bool,
) -> dict[str, Any]:
    """Values for a new trial, as Optuna has them.

    Args:
        study: with the trials before.
        space: what is varied.
        seed: of the tuning, and the number of trials so far.
        usual: values that are not drawn.
        is_new: whether these were not trained before.
        beside: whether other trials are being trained.

    Raises:
        ExhaustedError: all were.
    """
    drawn = (_drawn(study, space, seed, again, beside) | dict(usual) for again in range(_DRAWS))
    found = next(filter(is_new, drawn), None) or next(filter(is_new, _counted(space)), None)
    if found is None:
        raise ExhaustedError
    return found


def distributions_of(space: Sequence[Dimension]) -> dict[str, BaseDistribution]:
    """The options as Optuna has them."""
    return {one.name: _distribution(one) for one in space}


def seed_of(seed: int, number: int, again: int = 0) -> int:
    """Of what is sampled for one trial; 32 bits."""
    text = f"{seed} {number} {again}" if again else f"{seed} {number}"
    return int.from_bytes(sha256(text.encode()).digest()[:4])


def _drawn(
    study: optuna.Study, space: Sequence[Dimension], seed: tuple[int, int], again: int, beside: bool
) -> dict[str, Any]:
    """What the trials before propose; nothing new for long, what chance does."""
    own = seed_of(*seed, again)
    sampler: BaseSampler = RandomSampler(own)
    if again < _PROPOSALS:
        sampler = TPESampler(seed=own, constant_liar=beside)
    draw = partial(sampler.sample_independent, study, create_trial(state=TrialState.RUNNING))
    return {name: draw(name, values) for name, values in distributions_of(space).items()}


def _counted(space: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
    """All that there can be; nothing where that cannot be counted."""
    values: Mapping[str, Any] = {one.name: one.values for one in space}
    if None not in values.values():
        yield from (dict(zip(values, each, strict=True)) for each in product(*values.values()))


def _distribution(one: Dimension) -> BaseDistribution:
    if one.choices:
        return CategoricalDistribution(one.choices)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)
