"""How a drawing becomes an image such as a learner was trained on."""

from dataclasses import dataclass
from typing import Literal

from fphi.errors import FphiError
from fphi.tasks.affine import Reduction
from fphi.tasks.omniglot import ORIGINAL_SIDE
from fphi.tasks.options import TaskOptions
from fphi.tasks.protocols import PROTOCOLS, Protocol

__all__ = ["Look", "look_of"]


@dataclass(frozen=True)
class Look:
    """What the images of a data set look like.

    Attributes:
        kind: "strokes": drawings are scaled to the size that the data's have, and centred. "pictures": an
            image is the whole pad, black on white, or a picture that is dropped there.
        size: pixels of a side of the learner's images.
        channels: 1, or 3 for red, green and blue.
        invert: whether images are turned over, so that the protocol's ink is 0 and its paper 1.
        grid: pixels of a side of the finer image that strokes are drawn in, which is then reduced.
        pen: width of a stroke in these.
        body: longer side of a drawing in these, where drawings are scaled.
        reduction: "nearest": a pixel is the nearest of the finer image; "area": the mean over its area.
    """

    kind: Literal["strokes", "pictures"]
    size: int
    channels: int
    invert: bool
    grid: int
    pen: float
    body: float
    reduction: Reduction


def look_of(options: TaskOptions, input_shape: tuple[int, ...]) -> Look:
    """What the images of these tasks look like.

    Args:
        options: of the tasks.
        input_shape: of one example.

    Raises:
        FphiError: they are no square images of grey levels or colours.
    """
    if options.tasks in ("digits", "mnist") or len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise FphiError(
            f"the learner takes examples {list(input_shape)} of {options.tasks}, which nobody draws: choose "
            "a run on omniglot, hershey, fonts or a folder of images"
        )
    channels, height, width = input_shape
    if height != width:
        raise FphiError(
            f"the learner's images are {height} x {width} pixels; the page draws square ones only"
        )
    protocol = PROTOCOLS.get(options.protocol or "")
    if options.tasks == "omniglot":
        reduction = options.image_reduction
        grid = ORIGINAL_SIDE
        return Look("strokes", height, channels, _inverts(protocol), grid, 5.0, 0.6 * grid, reduction)
    if options.tasks in ("hershey", "fonts"):
        return Look("strokes", height, channels, _inverts(protocol), 2 * height, 3.0, 1.32 * height, "area")
    grid = 4 * height if height <= 128 else height
    return Look("pictures", height, channels, _inverts(protocol), grid, grid / 20, float(grid), "area")


def _inverts(protocol: Protocol | None) -> bool:
    return protocol is not None and protocol.invert
