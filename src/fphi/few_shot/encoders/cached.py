"""Features kept between runs, by the content of what they are of."""

import contextlib
import hashlib
import json
from abc import abstractmethod
from pathlib import Path

from torch import Tensor

from fphi.errors import FphiError
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.items import Items
from fphi.run.disk.files import read_sealed, write_sealed
from fphi.tasks.cache import cache_folder

__all__ = ["CachedEncoder"]


class CachedEncoder(Encoder):
    """An encoder that takes long: what it made of examples is found again by their content.

    A cache that is missing, damaged or cannot be written is done without; see `cache_folder`.
    """

    def encode(self, items: Items) -> Tensor:
        self.require_kind(items)
        path = self._path(items)
        with contextlib.suppress(FphiError, KeyError):
            return read_sealed(path)[0]["features"]
        features = self.computed(items)
        with contextlib.suppress(FphiError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(path, {"features": features}, {"encoder": self.name})
        return features

    @abstractmethod
    def computed(self, items: Items) -> Tensor:
        """The features ``[n, d]``, when they are not there yet."""

    def version(self) -> str:
        """Of the weights, where `spec` does not tell it."""
        return ""

    def _path(self, items: Items) -> Path:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([self.name, self.spec(), self.version()]).encode())
        for content in _contents(items):
            digest.update(hashlib.blake2b(content, digest_size=16).digest())
        return cache_folder() / "features" / f"{digest.hexdigest()}.safetensors"


def _contents(items: Items) -> list[bytes]:
    if items.kind == "texts":
        return [str(text).encode("utf-8", "backslashreplace") for text in items.values]
    return [items.files.read(name) for name in items.names()]
