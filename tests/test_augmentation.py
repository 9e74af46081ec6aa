"""Augmentation for any training loop: batches, single images, epochs, and its files."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fphi
from fphi import FphiError
from fphi.augmentation import (
    PUBLISHED,
    Augmentation,
    AugmentationPolicy,
    PBAPolicy,
    Policy,
    RandAugment,
    Schedule,
    TrivialAugment,
    load,
    load_log,
    published,
)
from fphi.learnable.augmentation import Plan
from pillow_operations import MODES, picture

BUSY = RandAugment(2, 6)
INVERT = Policy.of([[("Invert", 1, 0)]])
EVERY: dict[str, Callable[[], AugmentationPolicy | Schedule]] = {
    **PUBLISHED,
    "fast": lambda: Policy.of([[("ShearX", 0.1, 0.37), ("Color", 1, 1)], [("Invert", 0.5, 0)]], "fast", (0,)),
    "empty": lambda: Policy(((), ())),
    "mixed": lambda: Schedule(
        ((3, BUSY), (1, PBAPolicy((3, 4) * 30, (1, 2, 3.5))), (9, TrivialAugment("fast")))
    ),
}


class Pictures(Dataset[torch.Tensor]):
    """Pillow images, augmented one by one when they are asked for."""

    def __init__(self, augment: Augmentation) -> None:
        self.augment = augment

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.augment(Image.fromarray(picture("RGB", (16, 16), index)))
        return torch.from_numpy(np.array(image))


def epoch(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.cat(list(DataLoader(Pictures(Augmentation(BUSY)), batch_size=5, shuffle=True)))


def test_the_same_seed_gives_the_same_epoch() -> None:
    assert torch.equal(epoch(0), epoch(0))
    assert not torch.equal(epoch(0), epoch(1))


def test_a_generator_or_torchs_own_numbers_decide() -> None:
    x, augment = torch.rand(6, 3, 8, 8), Augmentation(BUSY)
    own = torch.Generator().manual_seed(3)
    state = torch.get_rng_state()
    first = augment(x, own)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(augment(x, own.manual_seed(3)), first)
    torch.manual_seed(3)
    assert torch.equal(augment(x), first)
    assert not torch.equal(augment(x), first)


@pytest.mark.parametrize("mode", MODES)
def test_a_pillow_image_is_augmented_as_its_pixels_are(mode: str) -> None:
    pixels = picture(mode, (20, 30))
    image, augment = Image.fromarray(pixels), Augmentation(BUSY)
    floats = torch.from_numpy(pixels).reshape(20, 30, -1).permute(2, 0, 1).float() / 255
    for seed in range(20):
        own = torch.Generator().manual_seed(seed)
        found = augment(image, own)
        assert (found.mode, found.size) == (mode, (30, 20))
        expected = augment(floats, own.manual_seed(seed))
        assert expected.shape == floats.shape
        levels = (255 * expected).round().permute(1, 2, 0).byte().numpy().reshape(pixels.shape)
        assert np.array_equal(np.asarray(found), levels)
        batch = augment(torch.from_numpy(levels).reshape(1, 20, 30, -1).permute(0, 3, 1, 2), own)
        assert batch.dtype == torch.uint8
    assert np.array_equal(np.asarray(image), pixels)


def test_in_evaluation_mode_nothing_is_changed() -> None:
    model = torch.nn.Sequential(Augmentation(INVERT), torch.nn.Flatten())
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(model(x), 1 - x.flatten(1))
    assert torch.equal(model.eval()(x), x.flatten(1))
    assert model.state_dict() == {}


def test_a_policy_of_nothing_changes_nothing() -> None:
    x = torch.rand(4, 3, 5, 5)
    assert torch.equal(Augmentation(EVERY["empty"]())(x), x)


def test_a_schedule_goes_by_the_epoch() -> None:
    augment = Augmentation(Schedule(((2, PBAPolicy.zero()), (1, INVERT))))
    x = torch.rand(3, 3, 4, 4)
    for number, changed in ((0, False), (1, False), (2, True), (50, True)):
        augment.set_epoch(number)
        assert torch.equal(augment(x), x) is not changed
    longer = augment.stretched(30)
    longer.set_epoch(19)
    assert torch.equal(longer(x), x)
    with pytest.raises(FphiError, match="epoch is -1; it must be at least 0"):
        augment.set_epoch(-1)
    assert repr(augment) == "Augmentation(2 policies, 3 epochs)"
    assert repr(Augmentation(INVERT).stretched(9)) == "Augmentation(Policy)"


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_a_loader_keeps_hear_the_epoch(start: str) -> None:
    augment = Augmentation(Schedule(((1, PBAPolicy.zero()), (1, INVERT))))
    plain = torch.arange(60, dtype=torch.uint8).reshape(5, 1, 3, 4)
    pictures: Any = list(plain)
    how: dict[str, Any] = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": start}
    loader = DataLoader(pictures, batch_size=None, collate_fn=augment, **how)
    other = copy.deepcopy(augment)
    for number, expected in enumerate((plain, 255 - plain)):
        augment.set_epoch(number)
        assert torch.equal(torch.stack(list(loader)), expected)
    assert (augment.epoch, other.epoch) == (1, 0)
    assert augment.state_dict() == {}


def test_copies_and_pickles_augment_alike() -> None:
    augment, x = Augmentation(EVERY["mixed"]()), torch.rand(5, 3, 6, 6)
    augment.set_epoch(3)
    own = torch.Generator().manual_seed(0)
    expected = augment(x, own)
    for other in (copy.deepcopy(augment), pickle.loads(pickle.dumps(augment))):
        assert torch.equal(other(x, own.manual_seed(0)), expected)
        other.set_epoch(0)
        assert augment.epoch == 3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (Image.new("RGBA", (4, 4)), "an image is of mode RGBA; make it one of L or RGB by convert()"),
        (Image.new("1", (4, 4)), "an image is of mode 1; make it"),
        (torch.rand(4, 4), r"give floats in 0 to 1 of shape \[n, C, H, W\]"),
        (torch.rand(2, 4, 4, 4), "with one channel or three"),
        (torch.ones(2, 1, 4, 4, dtype=torch.int64), "with one channel or three"),
        (torch.randn(2, 1, 4, 4), "are not in 0 to 1, but from .*; augment them before normalising them"),
        (torch.full((1, 1, 2, 2), torch.nan), "are not in 0 to 1, but from nan to nan"),
        (np.zeros((2, 1, 4, 4)), r"images are a ndarray; give a tensor \[n, C, H, W\]"),
        ([Image.new("L", (4, 4))], "images are a list; give a tensor"),
        (None, "images are a NoneType; give a tensor"),
        (torch.rand(2, 3, 0, 4), "give them at least one pixel"),
        (Image.new("RGB", (0, 7)), "an image is of 0x7 pixels; give one of at least one"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, message: str) -> None:
    with pytest.raises(FphiError, match=message):
        Augmentation(BUSY)(images)


def test_no_images_and_images_of_one_pixel_are_images_too() -> None:
    augment = published("randaugment")
    assert augment(torch.rand(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    for _ in range(20):
        assert augment(torch.rand(8, 1, 1, 1)).shape == (8, 1, 1, 1)


def test_what_is_no_policy_and_no_generator_is_refused() -> None:
    for policy in ("trivialaugment", None, Augmentation(BUSY)):
        with pytest.raises(FphiError, match=r"policy is .*; it must be of type AugmentationPolicy or"):
            Augmentation(policy)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"generator is a int; give a torch.Generator, or None"):
        Augmentation(BUSY)(torch.rand(1, 1, 2, 2), 5)
    for wrong in (["x"], None):
        with pytest.raises(FphiError, match=r"name is .*; it must be a text"):
            published(wrong)  # type: ignore[arg-type]
    for epochs in (0, 1.5, "3"):
        for name in ("pba-cifar10", "trivialaugment"):
            with pytest.raises(FphiError, match=r"epochs is .*; it must be"):
                published(name).stretched(epochs)  # type: ignore[arg-type]


# Files.


@pytest.mark.parametrize("name", EVERY)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    augment = Augmentation(EVERY[name]())
    path = tmp_path / "new" / "policy.json"
    augment.save(path)
    assert load(path).augmenting == augment.augmenting
    assert load(str(path)).augmenting == augment.augmenting
    before = path.read_bytes()
    load(path).save(path)
    assert path.read_bytes() == before


def test_numbers_of_numpy_and_lists_are_saved_as_any_others(tmp_path: Path) -> None:
    fill: Any = [np.float32(0), np.int64(3), 5]
    five: Any = np.float32(5)
    steps: Any = [[("Rotate", np.float64(0.5), np.int64(2))]]
    vector: Any = tuple(np.arange(60) % 3)
    segments: Any = [
        [2, Policy.of(steps, fill=fill)],
        [1, RandAugment(2, five, fill)],
        [3, PBAPolicy(vector)],
    ]
    schedule = Schedule(segments)
    Augmentation(schedule).save(tmp_path / "policy.json")
    assert load(tmp_path / "policy.json").augmenting == schedule
    assert hash(schedule) == hash(load(tmp_path / "policy.json").augmenting)


def saved(folder: Path, name: str = "fast") -> dict[str, Any]:
    Augmentation(EVERY[name]()).save(folder / "policy.json")
    content: dict[str, Any] = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augmentation": "magic"}, "augmentation is 'magic', none of schedule, policy, pba, "),
        ({"augmentation": ["policy"]}, "augmentation is .'policy'., none of"),
        ({"scale": "loud"}, "scale is 'loud'; it must be one of"),
        ({"scale": ["fast"]}, "scale is .'fast'.; it must be one of"),
        ({"fill": [300]}, "fill is 300, not in 0..255"),
        ({"fill": [True]}, "fill is True, no number"),
        ({"fill": [1, 2]}, "it must be one grey level or three"),
        ({"fill": 3}, "fill is 3, no list"),
        ({"sub_policies": []}, "sub_policies has 0 entries"),
        ({"sub_policies": [[["Rotate", 1, 0.5]] * 17]}, "a sub-policy has 17 entries, not 0 to 16"),
        ({"sub_policies": [[["Rotate", 1]]]}, "a step has 2 entries, not 3 to 3"),
        ({"sub_policies": [[["Blur", 1, 0]]]}, "there is no operation 'Blur'"),
        ({"sub_policies": [[["Rotate", "1", 0]]]}, "probability is '1', no number"),
        ({"sub_policies": [[["Rotate", 2, 0]]]}, "the probability of Rotate is 2; it must be at most 1"),
        ({"sub_policies": [[["Rotate", 1, 7]]]}, "the magnitude of Rotate is 7; it must be at most 1"),
        ({"sub_policies": [[[["Rotate"], 1, 0]]]}, "operation is .'Rotate'., no text"),
        ({"more": 1}, "it has .* and must have"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    content = {**saved(tmp_path), **changes}
    (tmp_path / "policy.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FphiError, match=rf"policy.json holds no augmentation \(.*{reason}.*\); correct it"):
        load(tmp_path / "policy.json")


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([], "segments has 0 entries"),
        ([{"epochs": 0, "policy": {}}], "epochs is 0, not in 1..1000000000"),
        ([{"epochs": 1, "policy": {"augmentation": "schedule", "segments": []}}], "augmentation is 'schedule', none of"),
        ([{"epochs": 1}], "a segment has .'epochs'., no epochs and policy"),
        ([7], "a segment is 7, no values by name"),
        ([{"epochs": 1, "policy": {"augmentation": "pba", "fill": [0], "vector": [1.5] * 60}}], "vector is 1.5, no whole"),
        ([{"epochs": 1, "policy": {"augmentation": "pba", "fill": [0], "vector": [1] * 59}}], "has 59 numbers"),
    ],
)  # fmt: skip
def test_a_schedule_that_says_something_else_is_refused(
    segments: list[Any], reason: str, tmp_path: Path
) -> None:
    content = {**saved(tmp_path, "mixed"), "segments": segments}
    (tmp_path / "policy.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FphiError, match=rf"policy.json holds no augmentation \(.*{reason}"):
        load(tmp_path / "policy.json")


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"augmentation": "policy", "augmentation": "pba"}', b"[" * 100_000, b"\xff\xfe", b" " * (2**24 + 1)],
    ids=["empty", "list", "cut", "twice", "deep", "no text", "long"],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_one_line(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(raw)
    for read in (load, lambda path: load_log(path, 200)):
        with pytest.raises(FphiError, match=r"policy\.json") as caught:
            read(tmp_path / "policy.json")
        assert "\n" not in str(caught.value)
    for missing in (tmp_path, tmp_path / "nothing.json", "a\0b"):
        with pytest.raises(FphiError, match="cannot read"):
            load(missing)


def test_a_policy_of_ones_own_augments_but_has_no_file(tmp_path: Path) -> None:
    class Mine(AugmentationPolicy):
        scale, fill, numbers = "autoaugment", (0,), 2

        def plan(self, chance: torch.Tensor) -> Plan:
            invert = torch.full((len(chance), 1), 6)
            return Plan(invert, torch.zeros_like(chance[:, :1]), chance[:, None])

    augment, x = Augmentation(Mine()), torch.rand(2, 1, 3, 3)
    assert torch.equal(augment(x), 1 - x)
    with pytest.raises(FphiError, match="a Mine cannot be saved; save one of fphi's own policies"):
        augment.save(tmp_path / "mine.json")


def test_a_log_of_pba_is_loaded(tmp_path: Path) -> None:
    zero, one = [0] * 60, [1] * 60
    (tmp_path / "pba.txt").write_text(f"['1', '0', 4, 5, {zero}, {one}]\n", encoding="utf-8")
    augment = load_log(tmp_path / "pba.txt", 9)
    assert augment.augmenting == Schedule(((5, PBAPolicy.zero()), (4, PBAPolicy(tuple(one)))))
    with pytest.raises(
        FphiError, match=r"pba.txt: the log of PBA goes back from epoch 5 to 3; check epochs=3"
    ):
        load_log(tmp_path / "pba.txt", 3)


def test_it_is_found_in_fphi() -> None:
    assert fphi.augmentation.load is load
    with pytest.raises(FphiError, match="no policy 'none' is known"):
        fphi.augmentation.published("none")
