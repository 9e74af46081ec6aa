"""The published protocols: exact split counts, no character on two sides, rotations, query counts."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fphi.errors import DataError
from fphi.tasks import PROTOCOLS, ClassPool, EpisodeShape, FewShotTasks, TrainingTasks, few_shot_tasks
from fphi.tasks.splits import by_counts, by_fraction, by_group
from omniglot_facts import BACKGROUND, EVALUATION, NAMES, blank_omniglot
from tasks_helpers import labelled_pool

# Classes as sampled from, in training / validation / testing.
COUNTS = {
    "P-MAML": {"train": 1100, "validation": 100, "test": 423},
    "P-REP": {"train": 4400, "validation": 100, "test": 423},
    "P-PROTO": {"train": 4112, "validation": 688, "test": 1692},
    "P-RN": {"train": 1100, "validation": 100, "test": 423},
    "P-PP": {"train": 1150, "validation": 50, "test": 423},
    "P-LAKE": {"train": 792, "validation": 172, "test": 659},
    "P-VIN": {"train": 4400, "validation": 400, "test": 1692},
    "P-MANN": {"train": 4400, "validation": 400, "test": 1692},
    "P-KOCH": {"train": 964, "validation": 277, "test": 382},
    "HW15": {"train": 3200, "validation": 656, "test": 659},
}

# Of what tasks 0, 1 and 1,000,000 of a last training and of the test are made of: kept numbers depend on it.
DIGESTS = {
    "P-MAML": "6333a262",
    "P-REP": "294c62b5",
    "P-PROTO": "3bd0eb57",
    "P-RN": "75d65564",
    "P-PP": "8c0ce9c4",
    "P-LAKE": "97c1656d",
    "P-VIN": "a532f78a",
    "P-MANN": "bd16cbea",
    "P-KOCH": "808a8ee1",
    "HW15": "27e94959",
}


@pytest.fixture(scope="module")
def omniglot() -> ClassPool:
    return blank_omniglot()


def characters(tasks: FewShotTasks, split: str) -> set[str]:
    return {name.split("/rot")[0] for name in tasks.pool(split).names}


def test_the_published_archives_have_964_and_659_characters() -> None:
    assert (sum(BACKGROUND.values()), sum(EVALUATION.values())) == (964, 659)
    assert (len(BACKGROUND), len(EVALUATION), len(set(NAMES))) == (30, 20, 1623)


@pytest.mark.parametrize("name", COUNTS)
def test_split_counts(omniglot: ClassPool, name: str) -> None:
    tasks = few_shot_tasks(omniglot, name, ways=5, shots=1)
    assert {split: len(tasks.pool(split)) for split in tasks.splits} == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_tasks_stay_what_they_were(omniglot: ClassPool, name: str) -> None:
    tasks = few_shot_tasks(omniglot, name, train_on_validation=name != "P-KOCH")
    drawn = [tasks.draw(split, [0, 1, 10**6]) for split in ("train", "test")]
    digest = hashlib.blake2b(b"".join(a.astype("<i8").tobytes() for d in drawn for a in d), digest_size=4)
    assert digest.hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_no_unrotated_character_is_in_two_splits(omniglot: ClassPool, name: str) -> None:
    tasks = few_shot_tasks(omniglot, name, ways=5, shots=1)
    sides = {split: characters(tasks, split) for split in tasks.splits}
    assert not sides["train"] & sides["test"]
    assert not sides["test"] & sides.get("validation", set())
    leak = sides["train"] & sides.get("validation", set())
    # The homework divides rotated classes: hundreds of characters are on both sides, as published.
    assert bool(leak) == (name == "HW15")
    if name != "HW15":
        assert set().union(*sides.values()) == set(NAMES)


def test_prototypical_split_is_the_published_list(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-PROTO", ways=5, shots=1)
    sides = {split: characters(tasks, split) for split in tasks.splits}
    alphabets = {split: {c.split("/")[0] for c in side} for split, side in sides.items()}
    assert {split: len(side) for split, side in sides.items()} == {
        "train": 1028,
        "validation": 172,
        "test": 423,
    }
    assert {split: len(side) for split, side in alphabets.items()} == {
        "train": 33,
        "validation": 5,
        "test": 13,
    }
    assert alphabets["validation"] == {
        "Armenian",
        "Bengali",
        "Early_Aramaic",
        "Hebrew",
        "Mkhedruli_(Georgian)",
    }
    assert alphabets["train"] & alphabets["test"] == {"Gurmukhi"}
    cut = sorted(c for c in sides["test"] if c.startswith("Gurmukhi"))
    assert cut == [f"Gurmukhi/character{n}" for n in (42, 43, 44, 45)]


def test_lake_split_is_as_published_and_within_one_alphabet(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-LAKE", ways=20, shots=1)
    assert set(tasks.pool("train").groups) | set(tasks.pool("validation").groups) == set(BACKGROUND)
    assert not set(tasks.pool("train").groups) & set(tasks.pool("validation").groups)
    assert set(tasks.pool("test").groups) == set(EVALUATION)
    groups = np.array(tasks.pool("test").groups)[tasks.draw("test", range(500)).classes]
    assert (groups == groups[:, :1]).all()
    assert set(groups[:, 0].tolist()) == set(EVALUATION)
    trained = np.array(tasks.pool("train").groups)[tasks.draw("train", range(2000)).classes]
    of_training = set(tasks.pool("train").groups)
    assert set(trained.ravel().tolist()) == {a for a, n in BACKGROUND.items() if n >= 20 and a in of_training}


def test_homework_classes_are_the_four_rotations_of_the_background(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "HW15", ways=5, shots=1)
    both = [*tasks.pool("train").names, *tasks.pool("validation").names]
    expected = {f"{name}/rot{angle}" for name in NAMES[:964] for angle in ("000", "090", "180", "270")}
    assert set(both) == expected
    assert len(both) == 3856
    assert tasks.pool("test").names == NAMES[964:]
    drawn = tasks.draw("train", range(100))
    angles = [int(tasks.pool("train").names[c][-3:]) // 90 for c in drawn.classes.ravel()]
    assert drawn.turns.ravel().tolist() == angles


def test_random_splits_share_their_test_characters(omniglot: ClassPool) -> None:
    tests = [
        characters(few_shot_tasks(omniglot, p, ways=5, shots=1), "test")
        for p in ("P-MAML", "P-REP", "P-RN", "P-PP")
    ]
    assert tests[0] == tests[1] == tests[2] == tests[3]


def test_the_task_seed_moves_no_class_and_the_split_seed_does(omniglot: ClassPool) -> None:
    first, seeded, moved = (
        few_shot_tasks(omniglot, "P-MAML", ways=5, shots=1, seed=s, split_seed=p)
        for s, p in ((0, 0), (7, 0), (0, 7))
    )
    assert first.pool("test").names == seeded.pool("test").names
    assert (first.draw("test", [0]).classes != seeded.draw("test", [0]).classes).any()
    # A fresh split shares 423 * 423 / 1623 = 110 of its 423 test characters with the first by chance.
    assert 60 < len(set(first.pool("test").names) & set(moved.pool("test").names)) < 160


@pytest.mark.parametrize(
    ("name", "ways", "shots", "train", "test"),
    [
        ("P-MAML", 5, 1, 1, 1),
        ("P-MAML", 20, 5, 5, 5),
        ("P-REP", 5, 5, 1, 1),
        ("P-PROTO", 5, 1, 5, 15),
        ("P-RN", 5, 1, 19, 1),
        ("P-RN", 5, 5, 15, 5),
        ("P-RN", 20, 1, 10, 1),
        ("P-RN", 20, 5, 5, 5),
        ("P-PP", 5, 5, 1, 1),
        ("P-LAKE", 20, 1, 1, 1),
        ("HW15", 5, 1, 1, 1),
        ("P-VIN", 5, 5, 5, 5),
        ("P-MANN", 5, 9, 1, 1),
        ("P-KOCH", 20, 1, 1, 1),
    ],
)
def test_query_counts(omniglot: ClassPool, name: str, ways: int, shots: int, train: int, test: int) -> None:
    tasks = few_shot_tasks(omniglot, name, ways=ways, shots=shots)
    assert tasks.shape("train") == EpisodeShape(ways, shots, train)
    assert tasks.shape("test") == EpisodeShape(ways, shots, test)


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("P-MAML", "class", "class"),
        ("P-RN", "episode", "episode"),
        ("P-PP", "class", "none"),
        ("P-REP", "some", "none"),
        ("P-LAKE", "none", "none"),
        ("P-PROTO", "some", "some"),
    ],
)
def test_rotations(omniglot: ClassPool, name: str, train: str, test: str) -> None:
    tasks = few_shot_tasks(omniglot, name, ways=5, shots=1)
    for split, expected in (("train", train), ("test", test)):
        turns = tasks.draw(split, range(200)).turns
        one_angle = bool((turns == turns[:, :1]).all())
        found = "none" if not turns.any() else "episode" if one_angle else "class"
        assert found == ("class" if expected == "some" else expected)


def test_own_sizes_override_the_protocol(omniglot: ClassPool) -> None:
    wide = TrainingTasks(ways=60, queries=5)
    tasks = few_shot_tasks(omniglot, "P-PROTO", ways=20, shots=1, train=wide, queries=3)
    assert tasks.shape("train") == EpisodeShape(60, 1, 5)
    assert tasks.shape("validation") == tasks.shape("test") == EpisodeShape(20, 1, 3)
    assert few_shot_tasks(omniglot, "P-RN", ways=5, shots=1, queries=2).shape("train").queries == 2


def test_training_alone_turns_otherwise_when_told_to(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1, train_rotation="classes")
    assert len(tasks.pool("train")) == 4 * len(
        few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1).pool("train")
    )
    assert (tasks.draw("test", range(50)).turns == 0).all()
    with pytest.raises(DataError, match="rotation 'sideways' of split 'train' is none of none, class"):
        few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1, train_rotation="sideways")


def test_protocols_are_named_by_their_key() -> None:
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_the_siamese_protocol_parts_alphabets_and_drawers(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1)
    drawers = {"train": range(12), "validation": range(12, 16), "test": range(16, 20)}
    alphabets = []
    for split, expected in drawers.items():
        pool = tasks.pool(split)
        alphabets.append(set(pool.groups))
        images = tasks.draw(split, range(300)).images
        assert set((images % 20).flatten().tolist()) == set(expected)
        assert (images % 20 == images[:, :1] % 20).all()  # two people: one drew the shots, one the queries
    assert [len(a) for a in alphabets] == [30, 10, 10]
    assert not set.intersection(*alphabets)
    mixed = few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1, train_within_group=False)
    for drawn, mixing in ((tasks, set()), (mixed, {"train"})):
        for split in drawers:
            of = {drawn.pool(split).groups[c] for c in drawn.draw(split, [0]).classes[0]}
            assert (len(of) > 1) == (split in mixing)


def test_the_published_trials_are_twenty_and_by_two_drawers_each(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1, splits=["test", "trials"])
    drawn = tasks.draw("trials", range(20))
    drawers = drawn.images % 20
    assert (drawers == drawers[:, :1]).all()
    assert (drawers[..., 0] != drawers[..., 1]).all()
    alphabets = [{tasks.pool("trials").groups[c] for c in run} for run in drawn.classes]
    assert all(len(of) == 1 for of in alphabets)
    assert set.union(*alphabets) == set(tasks.pool("test").groups)  # Koch et al. are tested on those of Lake
    assert len(set(drawn.classes.flatten().tolist())) == 200
    with pytest.raises(DataError, match="there are 20 of these tasks, and no number 20; ask for 20"):
        tasks.batch("trials", [3, 20])
    assert "trials" not in few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1).splits


def test_trials_are_for_protocols_sizes_and_data_that_have_them(omniglot: ClassPool) -> None:
    for protocol, ways, message in (
        ("P-LAKE", 5, "the published trials are 20-way 1-shot, not 5-way 1-shot: ask for these"),
        ("P-RN", 20, "protocol P-RN has no published trials; these have: P-KOCH, P-LAKE"),
    ):
        with pytest.raises(DataError, match=message):
            few_shot_tasks(omniglot, protocol, ways=ways, shots=1, splits=["trials"])
    with pytest.raises(DataError, match="the published trials have 1 query of a class, not 5: leave it out"):
        few_shot_tasks(omniglot, "P-KOCH", ways=20, shots=1, splits=["trials"], queries=5)
    rule = replace(PROTOCOLS["P-KOCH"], divide=by_fraction)
    with pytest.raises(
        DataError, match=r"these data lack drawings of 'Tibetan/character\d+', which is in the trials"
    ):
        few_shot_tasks(omniglot.subset(range(1590)), rule, ways=20, shots=1, splits=["trials"])


def test_drawers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(DataError, match=r"'class1' has 3 images; 4 drawers"):
        labelled_pool([5, 3]).drawings(2, 2)


def test_the_order_is_the_protocol_s_or_else_the_method_s(omniglot: ClassPool) -> None:
    for name, of_method, train, test in (
        ("P-VIN", "classes", "classes", "classes"),
        ("P-VIN", "shuffled", "shuffled", "shuffled"),
        ("P-VIN", "stream", "stream", "shuffled"),
        ("P-MANN", "classes", "stream", "stream"),
    ):
        tasks = few_shot_tasks(omniglot, name, ways=5, shots=2, train=TrainingTasks(order=of_method))  # type: ignore[arg-type]
        for split, expected in (("train", train), ("test", test)):
            support, query = tasks.batch(split, range(50))
            in_order = bool((support.y.diff() >= 0).all()), bool((query.y.diff() >= 0).all())
            found = {(True, True): "classes", (False, True): "shuffled", (False, False): "stream"}[in_order]
            assert found == expected


def test_validation_classes_can_join_the_training_classes_and_the_test_stays(omniglot: ClassPool) -> None:
    apart, joined = (
        few_shot_tasks(omniglot, "P-PROTO", ways=5, shots=1, train_on_validation=join)
        for join in (False, True)
    )
    assert joined.splits == ("train", "test")
    assert characters(joined, "train") == characters(apart, "train") | characters(apart, "validation")
    assert len(joined.pool("train")) == 4800  # as published
    assert np.array_equal(joined.draw("test", range(50)).images, apart.draw("test", range(50)).images)


@pytest.mark.parametrize("name", ["P-REP", "P-RN", "P-VIN", "P-MANN"])
def test_development_classes_are_training_classes_that_a_last_training_has_back_in_order(
    omniglot: ClassPool, name: str
) -> None:
    """Where the paper has no validation classes: 100 of its 1,200, those that P-MAML validates on."""
    published = by_counts(omniglot, (1200, 0, 423), 0)
    protocol = PROTOCOLS[name]
    apart, last = (protocol.pools(omniglot, 0, train_on_validation=join) for join in (False, True))
    assert list(last) == ["train", "test"]
    for split, pool in published.items():
        assert last[split].names == pool.names
        assert last[split].starts.tolist() == pool.starts.tolist()
    assert set(apart["train"].names) | set(apart["validation"].names) == set(published["train"].names)
    assert apart["validation"].names == PROTOCOLS["P-MAML"].pools(omniglot, 0)["validation"].names
    assert apart["test"].names == published["test"].names
    first, again = (
        few_shot_tasks(omniglot, name, splits=["test"], train_on_validation=join).draw("test", range(9))
        for join in (False, True)
    )
    assert (first.images == again.images).all()


def test_a_last_training_of_lake_s_protocol_has_the_whole_background(omniglot: ClassPool) -> None:
    tasks = few_shot_tasks(omniglot, "P-LAKE", ways=20, train_on_validation=True)
    assert tasks.splits == ("train", "test")
    assert tasks.pool("train").names == NAMES[:964]


def test_pools_of_different_images_are_not_joined() -> None:
    with pytest.raises(ValueError, match="over the same images"):
        labelled_pool([3]).joined(labelled_pool([3]))


def test_unknown_protocol_lists_the_known_ones(omniglot: ClassPool) -> None:
    with pytest.raises(DataError, match="'P-XX' is none of P-MAML, P-REP"):
        few_shot_tasks(omniglot, "P-XX", ways=5, shots=1)


@pytest.mark.parametrize("name", COUNTS)
def test_omniglot_protocols_refuse_other_data(name: str) -> None:
    with pytest.raises(DataError, match="1623 characters of Omniglot, but the data have 40 classes"):
        few_shot_tasks(labelled_pool([20] * 40), name)


@pytest.mark.parametrize(("classes", "counts"), [(100, (64, 16, 20)), (3, (1, 1, 1)), (10, (6, 2, 2))])
def test_fractions_are_disjoint_and_complete(classes: int, counts: tuple[int, ...]) -> None:
    pools = by_fraction(labelled_pool([1] * classes), split_seed=0)
    assert tuple(len(pools[split]) for split in ("train", "validation", "test")) == counts
    names = [name for pool in pools.values() for name in pool.names]
    assert len(set(names)) == len(names) == classes


def test_two_classes_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="2 classes cannot be divided"):
        by_fraction(labelled_pool([5, 5]), split_seed=0)


def test_a_group_without_a_split_is_refused() -> None:
    with pytest.raises(DataError, match="group 'b' belongs to no split; known groups: a"):
        by_group(labelled_pool([1, 1], ["a", "b"]), {"a": "train"})
