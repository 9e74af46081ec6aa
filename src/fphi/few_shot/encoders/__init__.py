"""Encoders: what makes features of examples, by name or given."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fphi.errors import FphiError
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.encoders.columns import Columns
from fphi.few_shot.encoders.modules import Given, Timm
from fphi.few_shot.encoders.pictures import Channels, Descriptor
from fphi.few_shot.encoders.texts import Sentences, SentenceTransformer, Words, sentences_installed
from fphi.few_shot.items import Kind

__all__ = ["Channels", "Descriptor", "Encoder", "encoder_for", "restored_encoder"]

_NAMED: Mapping[str, type[Encoder]] = {
    cls.name: cls for cls in (Columns, Descriptor, Words, Sentences, SentenceTransformer, Timm, Given)
}
_OF_A_MODEL: Mapping[str, Callable[[str], Encoder]] = {
    "timm": Timm,
    "sentence-transformers": SentenceTransformer,
}


def encoder_for(
    chosen: object, kind: Kind, channels: Channels = "auto", image_size: int | None = None
) -> Encoder:
    """The encoder that is meant.

    Args:
        chosen: None for the usual one of this kind of examples, its name, ``timm:MODEL`` or
            ``sentence-transformers:MODEL``, or a module or callable.
        kind: of the examples.
        channels: of images.
        image_size: pixels of a side that the descriptor sees; None: 32.

    Raises:
        FphiError: there is none of that name.
    """
    if isinstance(chosen, Encoder):
        return chosen
    if chosen is not None and not isinstance(chosen, str):
        if not callable(chosen):
            raise FphiError(f"encoder is a {type(chosen).__name__}; give a name, a module or a callable")
        return Given(chosen)
    if chosen is None:
        chosen = {"rows": "columns", "images": "descriptor", "sounds": "descriptor"}.get(kind)
        chosen = chosen or ("sentences" if sentences_installed() else "words")
    name, _, model = chosen.partition(":")
    if name in _OF_A_MODEL and model:
        return _OF_A_MODEL[name](model)
    simple: dict[str, Callable[[], Encoder]] = {
        "columns": Columns,
        "descriptor": lambda: Descriptor(image_size or 32, channels),
        "words": Words,
        "sentences": Sentences,
    }
    if model or name not in simple:
        known = ", ".join([*simple, *(f"{n}:MODEL" for n in _OF_A_MODEL)])
        raise FphiError(f"encoder is {chosen!r}; choose one of {known}, or give a module or a callable")
    return simple[name]()


def restored_encoder(name: str, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Encoder:
    """The encoder of a saved model."""
    made: Encoder = _NAMED[name].restored(spec, tensors)  # type: ignore[attr-defined]
    return made
