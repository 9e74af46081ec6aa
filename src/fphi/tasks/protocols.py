"""The published ways to make tasks from Omniglot, in one table, and two for other data.

A protocol moves accuracies by 1 to 6 points, more than most methods do: its name belongs beside every
number. The random divisions of P-MAML, P-REP, P-RN and P-PP have the papers' counts, but not their
characters, which depend on the order in which the authors' file systems listed folders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fphi.errors import DataError
from fphi.tasks.episodes import Distortion, EpisodeShape, Order, Rotation
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.hershey import SPLIT_OF_SCRIPT
from fphi.tasks.pool import ClassPool
from fphi.tasks.splits import (
    SPLITS,
    Pools,
    background_evaluation,
    by_counts,
    by_fraction,
    by_group,
    chosen,
    drawers,
    homework_15,
    prototypical,
)

__all__ = ["PROTOCOLS", "Protocol", "few_shot_tasks", "protocol_named"]

QueryRule = Callable[[int, int], int]  # queries per class, from (ways, shots)


def _same_as_shots(ways: int, shots: int) -> int:
    return shots


def _always(count: int) -> QueryRule:
    return lambda ways, shots: count


def _relation_training(ways: int, shots: int) -> int:
    """The paper's four settings; elsewhere as many as shots, which is also its rule for testing."""
    return {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}.get((ways, shots), shots)


@dataclass(frozen=True)
class Protocol:
    """How tasks are made and how the published numbers were taken.

    Attributes:
        name: as it is written beside a number.
        description: one line for people.
        divide: (pool, split seed) to the pools of the splits.
        train_rotation, test_rotation: quarter turns in training, and in validation and testing.
        train_queries, test_queries: queries per class, from (ways, shots).
        train_within_group, test_within_group: whether all classes of a task come from one alphabet, in
            training, and in validation and testing.
        same_drawers: whether the k-th examples of all classes of a task are by one drawer.
        test_tasks: how many test tasks the published numbers average.
        transductive: whether the published number lets a query see the other queries.
        batch_norm: which statistics normalise the queries.
        invert: the protocol's images have paper 1 and ink 0.
        order: of the examples in a task; "classes" leaves it to the method.
        train_distortion: of the images of training tasks.
    """

    name: str
    description: str
    divide: Callable[[ClassPool, int], Pools]
    train_rotation: Rotation = "none"
    test_rotation: Rotation = "none"
    train_queries: QueryRule = _same_as_shots
    test_queries: QueryRule = _same_as_shots
    train_within_group: bool = False
    test_within_group: bool = False
    same_drawers: bool = False
    test_tasks: int = 600
    transductive: bool = False
    batch_norm: str = "either; give both"
    invert: bool = False
    order: Order = "classes"
    train_distortion: Distortion = "none"


_TABLE = (
    Protocol(
        name="P-MAML",
        description="random 1100/100/423 characters, each class of a task rotated, in testing too",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        train_rotation="class",
        test_rotation="class",
        transductive=True,
        batch_norm="statistics of the query batch",
    ),
    Protocol(
        name="P-REP",
        description="random 1200/-/423 characters, rotations are extra training classes, test unrotated",
        divide=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        train_queries=_always(1),
        test_queries=_always(1),
        test_tasks=10_000,
        transductive=True,
        batch_norm="inductive: support and one query; transductive: the N queries together",
        invert=True,
    ),
    Protocol(
        name="P-PROTO",
        description="fixed 1028/172/423 characters, rotations are extra classes in every split",
        divide=lambda pool, seed: prototypical(pool),
        train_rotation="classes",
        test_rotation="classes",
        train_queries=_always(5),
        test_queries=_always(15),
        test_tasks=1000,
        batch_norm="running statistics of training",
    ),
    Protocol(
        name="P-RN",
        description="random 1200/-/423 characters, one rotation per task (paper: models chosen on test)",
        divide=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="episode",
        test_rotation="episode",
        train_queries=_relation_training,
        test_tasks=1000,
        transductive=True,
        batch_norm="statistics of the query batch",
        invert=True,
    ),
    Protocol(
        name="P-PP",
        description="random 1150/50/423 characters, each class of a training task rotated",
        divide=lambda pool, seed: by_counts(pool, (1150, 50, 423), seed),
        train_rotation="class",
        train_queries=_always(1),
        test_queries=_always(1),
        transductive=True,
        batch_norm="statistics of the query batch, at every step",
        invert=True,
    ),
    Protocol(
        name="P-VIN",
        description="random 1200/-/423 characters, rotations are extra classes (paper: details not given)",
        divide=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        test_rotation="classes",
        train_queries=_always(5),
        test_queries=_always(5),
        test_tasks=1000,
    ),
    Protocol(
        name="P-MANN",
        description="as P-VIN, support and query as one shuffled stream; 9 shots make the paper's episode",
        divide=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        test_rotation="classes",
        train_queries=_always(1),
        test_queries=_always(1),
        test_tasks=1000,
        order="stream",
    ),
    Protocol(
        name="P-KOCH",
        description="30/10/10 alphabets, 12/4/4 drawers, a task from one alphabet, distorted in training",
        divide=lambda pool, seed: drawers(pool),
        train_queries=_always(1),
        test_queries=_always(1),
        train_within_group=True,
        test_within_group=True,
        same_drawers=True,
        test_tasks=400,
        train_distortion="affine",
    ),
    Protocol(
        name="P-LAKE",
        description="964/-/659 characters by alphabet, all classes of a task from one alphabet; harder",
        divide=lambda pool, seed: background_evaluation(pool),
        train_queries=_always(1),
        test_queries=_always(1),
        train_within_group=True,
        test_within_group=True,
        same_drawers=True,
        test_tasks=400,
    ),
    Protocol(
        name="HW15",
        description="3200/656 rotated background classes (rotations leak into validation), 659 for test",
        divide=homework_15,
        train_queries=_always(1),
        test_queries=_always(1),
        transductive=True,
        batch_norm="statistics of the query batch",
        invert=True,
    ),
    Protocol(
        name="fraction",
        description="any data: 64/16/20 per cent of the classes at random",
        divide=by_fraction,
    ),
    Protocol(
        name="folders",
        description="any data: the folders train, validation and test as they are",
        divide=lambda pool, seed: by_group(pool, {split: split for split in SPLITS}),
    ),
    Protocol(
        name="alphabet",
        description="Hershey characters: whole scripts go to one split",
        divide=lambda pool, seed: by_group(pool, SPLIT_OF_SCRIPT),
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _TABLE}


def protocol_named(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        DataError: listing the names that exist.
    """
    if name not in PROTOCOLS:
        raise DataError(f"protocol {name!r} is none of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def few_shot_tasks(
    source_pool: ClassPool,
    protocol: str | Protocol,
    ways: int,
    shots: int,
    seed: int = 0,
    train_shape: EpisodeShape | None = None,
    queries: int | None = None,
    split_seed: int = 0,
    train_order: Order = "classes",
    train_on_validation: bool = False,
    splits: Sequence[str] | None = None,
    image_size: int | None = None,
    train_rotation: Rotation | None = None,
    train_distortion: Distortion | None = None,
    train_within_group: bool | None = None,
) -> FewShotTasks:
    """Return the tasks of a protocol over a pool.

    Args:
        source_pool: all classes, undivided.
        protocol: a name in ``PROTOCOLS``, or a protocol of your own.
        ways, shots: of validation and test tasks, and of training tasks unless ``train_shape`` is given.
        seed: of the tasks.
        train_shape: of training tasks, where a method trains on other sizes than it is tested on.
        queries: per class; by default the protocol's numbers.
        split_seed: of the division into splits; kept apart from ``seed``.
        train_order: of the examples in training tasks, where the protocol leaves it to the method; a
            method that takes another than "classes" gets shuffled support sets to be tested on.
        train_on_validation: validation classes join the training classes, for a last training when all
            has been chosen; the test tasks stay the same.
        splits: those that tasks are wanted of, and must be large enough for them; None: all.
        image_size: see ``FewShotTasks``; None: that of the pool.
        train_rotation, train_distortion, train_within_group: of training tasks, in place of the protocol's.

    Raises:
        DataError: if the protocol or a split does not exist, or does not fit the data.
    """
    rule = protocol_named(protocol) if isinstance(protocol, str) else protocol
    rule = replace(
        rule,
        train_rotation=train_rotation or rule.train_rotation,
        train_distortion=train_distortion or rule.train_distortion,
        train_within_group=rule.train_within_group if train_within_group is None else train_within_group,
    )
    pools = rule.divide(source_pool, split_seed)
    if train_on_validation and "validation" in pools:
        pools["train"] = pools["train"].joined(pools.pop("validation"))
    pools = pools if splits is None else chosen(pools, splits)
    train = train_shape or EpisodeShape(ways, shots, _queries(queries, rule.train_queries, ways, shots))
    test = EpisodeShape(ways, shots, _queries(queries, rule.test_queries, ways, shots))
    return FewShotTasks(
        pools,
        {split: train if split == "train" else test for split in pools},
        seed=seed,
        rotation={s: rule.train_rotation if s == "train" else rule.test_rotation for s in pools},
        order={s: _order(rule, train_order, s) for s in pools},
        distortion={"train": rule.train_distortion},
        within_group={s: rule.train_within_group if s == "train" else rule.test_within_group for s in pools},
        same_drawers=dict.fromkeys(pools, rule.same_drawers),
        image_size=image_size,
        invert=rule.invert,
        protocol=rule.name,
    )


def _order(rule: Protocol, of_method: Order, split: str) -> Order:
    if rule.order != "classes" or of_method == "classes":
        return rule.order
    return of_method if split == "train" else "shuffled"


def _queries(asked: int | None, rule: QueryRule, ways: int, shots: int) -> int:
    return rule(ways, shots) if asked is None else asked
