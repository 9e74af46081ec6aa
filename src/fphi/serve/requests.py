"""What a request asks, read from JSON without trust."""

import base64
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from fphi.errors import FphiError

__all__ = ["Asked", "read_asked"]


@dataclass(frozen=True)
class Asked:
    """Images of each class, and one to be told what it is of."""

    classes: list[list[bytes]]
    question: bytes


def read_asked(body: bytes, most_classes: int, most_examples: int, image_bytes: int) -> Asked:
    """Read ``{"classes": [[IMAGE, …], …], "question": IMAGE}``; an image is base64 of its pixels.

    Args:
        body: of the request.
        most_classes: how many there may be.
        most_examples: of all classes together.
        image_bytes: of each image.

    Raises:
        FphiError: it is anything else.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except FphiError:
        raise
    except (ValueError, RecursionError) as error:
        raise FphiError(
            'the body is no JSON; send {"classes": [[IMAGE, …], …], "question": IMAGE}'
        ) from error
    if not isinstance(value, dict) or value.keys() != {"classes", "question"}:
        raise FphiError('the body must be an object with "classes" and "question", and nothing else')
    classes = value["classes"]
    if not isinstance(classes, list) or not all(isinstance(examples, list) for examples in classes):
        raise FphiError('"classes" must be a list of lists of images')
    if len(classes) > most_classes:
        raise FphiError(f"{len(classes)} classes; give at most {most_classes}")
    count = sum(map(len, classes))
    if count > most_examples:
        raise FphiError(f"{count} examples; give at most {most_examples} in all")
    images = [[_image(image, image_bytes) for image in examples] for examples in classes]
    return Asked(images, _image(value["question"], image_bytes))


def _image(value: Any, size: int) -> bytes:
    if not isinstance(value, str):
        raise FphiError(f"an image is of type {type(value).__name__}; give a text, base64 of its pixels")
    try:
        pixels = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise FphiError("an image is no base64; encode its pixels, a byte for each") from error
    if len(pixels) != size:
        raise FphiError(f"an image has {len(pixels)} bytes; give {size}, one for each pixel and channel")
    return pixels


def _refuse_constant(name: str) -> NoReturn:
    raise FphiError(f"{name} is no number of JSON; leave it out")
