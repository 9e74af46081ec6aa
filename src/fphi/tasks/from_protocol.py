"""How a protocol makes the tasks of each split, with numbers that fit the classes that there are."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fphi.errors import DataError
from fphi.tasks.episodes import EpisodeShape, ExampleOrder, SplitRule, TrainingTasks, counted, group_sizes
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import PROTOCOLS, Protocol

__all__ = ["split_rules", "trial_rule"]


def split_rules(
    protocol: Protocol,
    pools: Mapping[str, ClassPool],
    ways: int,
    shots: int,
    queries: int | None,
    train: TrainingTasks,
) -> tuple[dict[str, SplitRule], list[str]]:
    """Return how the tasks of each split are made, and lines that say which tasks became smaller.

    Args:
        protocol: its rotations, distortions and orders, and its numbers of queries where nobody asks.
        pools: the classes of each split.
        ways: classes of a validation or test task.
        shots: support examples of each of them.
        queries: query examples of a class, in every split; None: the protocol's number, or as many as the
            smallest class has beyond the shots.
        train: what the method asks of its training tasks.
    """
    rules, smaller = {}, defaultdict(list)
    for split, pool in pools.items():
        if split == "train":
            wanted = _training_shape(protocol, ways, shots, queries, train)
            shape = _fitting_ways_and_shots(protocol, wanted, pool, ways, train)
            # A method's own number counts as asked for, unless it says that fewer will do.
            asked = queries is not None if train.queries is None else not train.at_most
        else:
            shape = wanted = _test_shape(protocol, ways, shots, queries)
            asked = queries is not None
        shape = shape if asked else _fitting_queries(shape, pool)
        if shape != wanted:
            smaller[_difference(wanted, shape)].append("training" if split == "train" else split)
        rules[split] = _rule(protocol, split, shape, train.order)
    return rules, [f"{_listed(of)} tasks have {what}, as the data allow" for what, of in smaller.items()]


def trial_rule(
    protocol: Protocol, pool: ClassPool, ways: int, shots: int, queries: int | None, order: ExampleOrder
) -> tuple[ClassPool, SplitRule]:
    """Return the classes of a protocol's published trials, and the rule with all of these tasks.

    Args:
        protocol: one that has trials.
        pool: all classes, undivided.
        ways: classes of a task, which has to be 20.
        shots: support examples of each of them, which has to be 1.
        queries: query examples of each of them, which has to be 1 or None.
        order: of the examples in the method's training tasks.

    Raises:
        DataError: the protocol has no trials, they have another size, or the pool lacks their drawings.
    """
    if protocol.trials is None:
        with_trials = ", ".join(p.name for p in PROTOCOLS.values() if p.trials is not None)
        raise DataError(f"protocol {protocol.name} has no published trials; these have: {with_trials}")
    if (ways, shots) != (20, 1):
        raise DataError(f"the published trials are 20-way 1-shot, not {ways}-way {shots}-shot: ask for these")
    if queries not in (None, 1):
        raise DataError(f"the published trials have 1 query of a class, not {queries}: leave it out")
    tried, fixed = protocol.trials(pool)
    rule = _rule(protocol, "trials", EpisodeShape(ways, shots, 1), order)
    return tried, replace(rule, rotation="none", fixed=fixed)


def _rule(protocol: Protocol, split: str, shape: EpisodeShape, of_method: ExampleOrder) -> SplitRule:
    if split == "train":
        return SplitRule(
            shape,
            rotation=protocol.train_rotation,
            order=of_method if protocol.order == "classes" else protocol.order,
            distortion=protocol.train_distortion,
            within_group=protocol.train_within_group,
            same_drawers=protocol.same_drawers,
        )
    # A method that reads a sequence in training is tested on one, and all queries of a class are kept.
    of_test: ExampleOrder = "classes" if of_method == "classes" else "shuffled"
    return SplitRule(
        shape,
        rotation=protocol.test_rotation,
        order=of_test if protocol.order == "classes" else protocol.order,
        within_group=protocol.test_within_group,
        same_drawers=protocol.same_drawers,
    )


def _test_shape(protocol: Protocol, ways: int, shots: int, queries: int | None) -> EpisodeShape:
    return EpisodeShape(ways, shots, protocol.test_queries(ways, shots) if queries is None else queries)


def _training_shape(
    protocol: Protocol, ways: int, shots: int, queries: int | None, train: TrainingTasks
) -> EpisodeShape:
    """What is asked for, by the method, else by the user, else by the protocol."""
    queries = queries if train.queries is None else train.queries
    if queries is None and train.ways not in (None, ways):
        raise DataError(
            f"--train-ways {train.ways} needs --train-queries too; null for both gives the protocol's "
            "training tasks"
        )
    ways = ways if train.ways is None else train.ways
    shots = shots if train.shots is None else train.shots
    return EpisodeShape(ways, shots, protocol.train_queries(ways, shots) if queries is None else queries)


def _fitting_ways_and_shots(
    protocol: Protocol, wanted: EpisodeShape, pool: ClassPool, test_ways: int, train: TrainingTasks
) -> EpisodeShape:
    """With fewer ways and shots where the method takes fewer and the data have no more."""
    if not train.at_most or not len(pool):
        return wanted
    shots = min(wanted.shots, max(1, int(pool.sizes.min()) - 1))
    if train.ways is None:
        return replace(wanted, shots=shots)
    # Within groups: as many ways as half of the groups have, since with all classes of the largest group, no
    # other would be trained on. But as many as a test task has, if any group has them.
    sizes = np.sort(group_sizes(pool, protocol.train_rotation, protocol.train_within_group))
    most = max(2, int(sizes[len(sizes) // 2]), min(test_ways, int(sizes[-1])))
    return replace(wanted, ways=min(wanted.ways, most), shots=shots)


def _fitting_queries(shape: EpisodeShape, pool: ClassPool) -> EpisodeShape:
    """With as many queries as the smallest class has images beyond the shots, if these are fewer."""
    if not len(pool):
        return shape
    return replace(shape, queries=min(shape.queries, max(1, int(pool.sizes.min()) - shape.shots)))


def _difference(wanted: EpisodeShape, shape: EpisodeShape) -> str:
    return " and ".join(
        f"{counted(getattr(shape, plural), singular, plural)} instead of {getattr(wanted, plural)}"
        for singular, plural in (("way", "ways"), ("shot", "shots"), ("query", "queries"))
        if getattr(shape, plural) < getattr(wanted, plural)
    )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
