"""What operations and policies are given, looked at before they begin."""

from numbers import Integral, Real
from typing import Any

from torch import Tensor

from fphi.errors import FphiError
from fphi.ranges import Range

__all__ = [
    "Fill", "checked_fill", "make_plain", "require_between", "require_images", "require_numbers",
    "require_range",
]  # fmt: skip

Fill = tuple[float, ...]

_LEVEL = Range(0, 255)
_SLACK = 1e-3  # by which interpolation may have gone beyond


def require_images(images: Tensor) -> None:
    """Refuse what is no batch of images of floats.

    Raises:
        FphiError: it is none.
    """
    _require_tensor("images", images)
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.dtype.is_floating_point:
        raise FphiError(
            f"images are {images.dtype} {list(images.shape)}; give floats in 0 to 1 of shape [n, C, H, W] "
            "with one channel or three"
        )
    if 0 in images.shape[2:]:
        raise FphiError(f"images have shape {list(images.shape)}; give them at least one pixel")


def require_range(images: Tensor) -> None:
    """Refuse images that are normalised, or in grey levels.

    Raises:
        FphiError: they are not in 0 to 1.
    """
    if images.numel() == 0:
        return
    least, most = (float(bound) for bound in images.detach().aminmax())
    if not -_SLACK <= least <= most <= 1 + _SLACK:
        raise FphiError(
            f"images are not in 0 to 1, but from {least:g} to {most:g}; augment them before normalising them"
        )


def require_numbers(name: str, given: Tensor, *shape: int) -> None:
    """Refuse what is no tensor of numbers of this shape.

    Raises:
        FphiError: it is none.
    """
    _require_tensor(name, given)
    if tuple(given.shape) != shape or given.dtype.is_complex:
        raise FphiError(f"{name} is {given.dtype} {list(given.shape)}; give numbers of shape {list(shape)}")


def require_between(name: str, given: Tensor, most: float) -> None:
    """Refuse numbers that are not from 0 to ``most``.

    Raises:
        FphiError: one is not.
    """
    found = given.detach()
    wrong = found[~((found >= 0) & (found <= most))]
    if len(wrong):
        raise FphiError(f"{name} is {float(wrong[0]):g}; it must be from 0 to {most:g}")


def checked_fill(fill: Fill) -> Fill:
    """The fill, if it is one grey level or three.

    Raises:
        FphiError: it is not.
    """
    if len(fill) not in (1, 3) or any(_LEVEL.refusal(level) for level in fill):
        raise FphiError(f"fill is {fill}; it must be one grey level or three, from 0 to 255")
    return tuple(fill)


def make_plain(policy: object, *names: str) -> None:
    """Turn numpy's numbers into Python's and lists into tuples, in fields of a frozen dataclass."""
    for name in names:
        object.__setattr__(policy, name, _plain(getattr(policy, name)))


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _require_tensor(name: str, given: object) -> None:
    if not isinstance(given, Tensor):
        raise FphiError(f"{name}: a {type(given).__name__} was given; give a tensor")
