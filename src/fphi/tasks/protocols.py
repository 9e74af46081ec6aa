"""The published ways to make tasks from Omniglot, in one table, and two for other data.

A protocol moves accuracies by 1 to 6 points, more than most methods do: its name belongs beside every
number. The random divisions of P-MAML, P-REP, P-RN and P-PP have the papers' counts, but not their
characters, which depend on the order in which the authors' file systems listed folders.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fphi.errors import DataError
from fphi.tasks.episodes import Distortion, Draw, ExampleOrder, Rotation
from fphi.tasks.hershey import SPLIT_OF_SCRIPT
from fphi.tasks.lake import lake_runs
from fphi.tasks.pool import ClassPool
from fphi.tasks.splits import (
    SPLITS,
    Pools,
    background_evaluation,
    background_without_five,
    by_counts,
    by_fraction,
    by_group,
    drawers,
    homework_15,
    prototypical,
)

__all__ = ["PROTOCOLS", "Protocol", "protocol_named"]

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
    """How a paper divides classes and makes tasks.

    Attributes:
        name: as it is written beside a number.
        description: one line for people.
        divide: (pool, split seed) to the pools of the splits.
        train_rotation: quarter turns in training, see `SplitRule`.
        test_rotation: the same in validation and testing.
        train_queries: queries per class in training, from (ways, shots).
        test_queries: the same in validation and testing.
        train_within_group: whether all classes of a training task come from one alphabet.
        test_within_group: the same in validation and testing.
        same_drawers: whether the k-th examples of all classes of a task are by one drawer.
        invert: the protocol's images have paper 1 and ink 0.
        order: of the examples in a task; "classes" leaves it to the method.
        train_distortion: of the images of training tasks.
        trials: from all classes to those of published tasks of 20 ways and 1 shot, and these tasks; they
            are the split "trials", which is loaded only where it is asked for.
        divide_published: the paper's division, where it has no validation classes. Those of ``divide`` are
            then some of its training classes, and a last training is on all of these, in their order.
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
    invert: bool = False
    order: ExampleOrder = "classes"
    train_distortion: Distortion = "none"
    trials: Callable[[ClassPool], tuple[ClassPool, Draw]] | None = None
    divide_published: Callable[[ClassPool, int], Pools] | None = None

    def pools(self, pool: ClassPool, split_seed: int, train_on_validation: bool = False) -> Pools:
        """Return the classes of each split; with ``train_on_validation`` there is no split "validation"."""
        if not train_on_validation:
            return self.divide(pool, split_seed)
        if self.divide_published is not None:
            return self.divide_published(pool, split_seed)
        pools = self.divide(pool, split_seed)
        if "validation" in pools:
            pools["train"] = pools["train"].joined(pools.pop("validation"))
        return pools


_TABLE = (
    Protocol(
        name="P-MAML",
        description="random 1100/100/423 characters, each class of a task rotated, in testing too",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        train_rotation="class",
        test_rotation="class",
    ),
    Protocol(
        name="P-REP",
        description="random 1200/423 characters, rotations are extra training classes, test unrotated",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        divide_published=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        train_queries=_always(1),
        test_queries=_always(1),
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
    ),
    Protocol(
        name="P-RN",
        description="random 1200/423 characters, one rotation per task (paper: models chosen on test)",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        divide_published=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="episode",
        test_rotation="episode",
        train_queries=_relation_training,
        invert=True,
    ),
    Protocol(
        name="P-PP",
        description="random 1150/50/423 characters, each class of a training task rotated",
        divide=lambda pool, seed: by_counts(pool, (1150, 50, 423), seed),
        train_rotation="class",
        train_queries=_always(1),
        test_queries=_always(1),
        invert=True,
    ),
    Protocol(
        name="P-VIN",
        description="random 1200/423 characters, rotations are extra classes (paper: details not given)",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        divide_published=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        test_rotation="classes",
        train_queries=_always(5),
        test_queries=_always(5),
    ),
    Protocol(
        name="P-MANN",
        description="as P-VIN, support and query as one shuffled stream; 9 shots make the paper's episode",
        divide=lambda pool, seed: by_counts(pool, (1100, 100, 423), seed),
        divide_published=lambda pool, seed: by_counts(pool, (1200, 0, 423), seed),
        train_rotation="classes",
        test_rotation="classes",
        train_queries=_always(1),
        test_queries=_always(1),
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
        train_distortion="affine",
        trials=lake_runs,
    ),
    Protocol(
        name="P-LAKE",
        description="964/659 characters by alphabet, all classes of a task from one alphabet; harder",
        divide=lambda pool, seed: background_without_five(pool),
        divide_published=lambda pool, seed: background_evaluation(pool),
        train_queries=_always(1),
        test_queries=_always(1),
        train_within_group=True,
        test_within_group=True,
        same_drawers=True,
        trials=lake_runs,
    ),
    Protocol(
        name="HW15",
        description="3200/656 rotated background classes (rotations leak into validation), 659 for test",
        divide=homework_15,
        train_queries=_always(1),
        test_queries=_always(1),
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
