"""Nested dictionaries, lists and tuples with tensors in them, as JSON beside named tensors."""

from collections.abc import Mapping
from typing import TypeAlias, Union

from torch import Tensor

from fphi.run.disk.files import Json

__all__ = ["Tree", "pack", "unpack"]

Tree: TypeAlias = Union[
    bool, int, float, str, Tensor, "list[Tree]", "tuple[Tree, ...]", "dict[int | str, Tree]", None
]


def pack(tree: object, tensors: dict[str, Tensor], prefix: str) -> Json:
    """A tree as JSON; its tensors go into ``tensors``, under names that begin with ``prefix``.

    Keys keep their type (torch's optimizers number their parameters), and tuples stay tuples.

    >>> pack({0: (0.9, None)}, {}, "optimizer")
    {'dict': [[0, {'tuple': [0.9, None]}]]}
    """
    match tree:
        case Tensor():
            name = f"{prefix}.{len(tensors)}"
            tensors[name] = tree
            return {"tensor": name}
        case dict():
            return {"dict": [[key, pack(value, tensors, prefix)] for key, value in tree.items()]}
        case list() | tuple():
            return {type(tree).__name__: [pack(item, tensors, prefix) for item in tree]}
        case None | bool() | int() | float() | str():
            return tree
    raise TypeError(f"a checkpoint cannot hold {type(tree).__name__}: {tree!r}")


def unpack(packed: Json, tensors: Mapping[str, Tensor]) -> Tree:
    """The inverse of `pack`.

    >>> unpack(pack({0: (0.9, None)}, {}, "optimizer"), {})
    {0: (0.9, None)}
    """
    match packed:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"dict": list(items)}:
            return {_key(item): unpack(_value(item), tensors) for item in items}
        case {"list": list(items)}:
            return [unpack(item, tensors) for item in items]
        case {"tuple": list(items)}:
            return tuple(unpack(item, tensors) for item in items)
        case None | bool() | int() | float() | str():
            return packed
    raise TypeError(f"not a packed tree: {packed!r}")


def _key(item: Json) -> int | str:
    match item:
        case [int(key) | str(key), _]:
            return key
    raise TypeError(f"not a key and a value: {item!r}")


def _value(item: Json) -> Json:
    match item:
        case [_, value]:
            return value
    raise TypeError(f"not a key and a value: {item!r}")
