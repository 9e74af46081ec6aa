"""The tasks of a protocol over a pool of classes."""

from collections.abc import Sequence

from fphi.errors import DataError
from fphi.tasks.affine import Reduction
from fphi.tasks.episodes import Draw, EpisodeShape, Order, Rotation
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.pool import ClassPool
from fphi.tasks.protocols import PROTOCOLS, Protocol, QueryRule, TrainingChanges, protocol_named
from fphi.tasks.splits import chosen

__all__ = ["few_shot_tasks"]


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
    image_reduction: Reduction = "nearest",
    changes: TrainingChanges | None = None,
) -> FewShotTasks:
    """Return the tasks of a protocol over a pool.

    Args:
        source_pool: all classes, undivided.
        protocol: a name in ``PROTOCOLS``, or a protocol of your own.
        ways, shots: of validation and test tasks, and of training tasks unless ``train_shape`` is given.
        seed: of the tasks; "trials" have none.
        train_shape: of training tasks, where a method trains on other sizes than it is tested on.
        queries: per class; by default the protocol's numbers.
        split_seed: of the division into splits; kept apart from ``seed``.
        train_order: of the examples in training tasks, where the protocol leaves it to the method; a
            method that takes another than "classes" gets shuffled support sets to be tested on.
        train_on_validation: validation classes join the training classes, for a last training when all
            has been chosen; the test tasks stay the same.
        splits: those that tasks are wanted of, and must be large enough for them; None: all but "trials", the
            published test tasks of protocols that have them.
        image_size, image_reduction: see ``FewShotTasks``; a size of None: that of the pool.
        changes: to the protocol's training tasks.

    Raises:
        DataError: if the protocol or a split does not exist, or does not fit the data.
    """
    published = protocol_named(protocol) if isinstance(protocol, str) else protocol
    rule = (changes or TrainingChanges()).applied_to(published)
    pools = rule.divide(source_pool, split_seed)
    if train_on_validation and "validation" in pools:
        pools["train"] = pools["train"].joined(pools.pop("validation"))
    turned: dict[str, Rotation] = {"train": rule.train_rotation, "trials": "none"}
    fixed = {}
    if splits is not None and "trials" in splits:
        pools["trials"], fixed["trials"] = _trials(rule, source_pool, ways, shots, queries)
    pools = pools if splits is None else chosen(pools, splits)
    train = train_shape or EpisodeShape(ways, shots, _queries(queries, rule.train_queries, ways, shots))
    test = EpisodeShape(ways, shots, _queries(queries, rule.test_queries, ways, shots))
    return FewShotTasks(
        pools,
        {split: {"train": train, "trials": EpisodeShape(ways, shots, 1)}.get(split, test) for split in pools},
        seed=seed,
        rotation={s: turned.get(s, rule.test_rotation) for s in pools},
        order={s: _order(rule, train_order, s) for s in pools},
        distortion={"train": rule.train_distortion},
        within_group={s: rule.train_within_group if s == "train" else rule.test_within_group for s in pools},
        same_drawers=dict.fromkeys(pools, rule.same_drawers),
        image_size=image_size,
        image_reduction=image_reduction,
        invert=rule.invert,
        protocol=rule.name,
        fixed=fixed,
    )


def _trials(
    rule: Protocol, pool: ClassPool, ways: int, shots: int, queries: int | None
) -> tuple[ClassPool, Draw]:
    if rule.trials is None:
        with_trials = ", ".join(p.name for p in PROTOCOLS.values() if p.trials is not None)
        raise DataError(f"protocol {rule.name} has no published trials; these have: {with_trials}")
    if (ways, shots) != (20, 1):
        raise DataError(f"the published trials are 20-way 1-shot, not {ways}-way {shots}-shot: ask for these")
    if queries not in (None, 1):
        raise DataError(f"the published trials have 1 query of a class, not {queries}: leave it out")
    return rule.trials(pool)


def _order(rule: Protocol, of_method: Order, split: str) -> Order:
    if rule.order != "classes" or of_method == "classes":
        return rule.order
    return of_method if split == "train" else "shuffled"


def _queries(asked: int | None, rule: QueryRule, ways: int, shots: int) -> int:
    return rule(ways, shots) if asked is None else asked
