"""The other libraries, imported where they are needed; one that cannot be used says why."""

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["MissingPeerError", "import_peer"]

_INSTALL = {
    "higher": "pip install 'fphi[benchmarks]'",
    "torchopt": "pip install 'fphi[benchmarks]'",
    "easyfsl": "pip install --no-deps easyfsl",
}


class MissingPeerError(Exception):
    """A library of the comparison is not installed, or does not run beside this torch."""


def import_peer(name: str) -> Any:
    """The module ``higher``, ``torchopt`` or ``easyfsl``.

    Raises:
        MissingPeerError: it cannot be imported.
    """
    try:
        return _import_easyfsl() if name == "easyfsl" else importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name == name:
            raise MissingPeerError(f"not installed: {_INSTALL[name]}") from problem
        raise MissingPeerError(f"cannot be imported: {problem}") from problem
    except (ImportError, OSError, AttributeError, RuntimeError) as problem:
        raise MissingPeerError(f"cannot be imported: {problem}") from problem


def _import_easyfsl() -> Any:
    """``easyfsl.methods``, with a stand-in for torchvision while it is imported.

    It takes the blocks of a ResNet from there for backbones that are not used here, and torchvision
    is a large package that pins torch.
    """
    if "torchvision" in sys.modules or "easyfsl.methods" in sys.modules:
        return importlib.import_module("easyfsl.methods")
    stand_ins = _torchvision()
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("easyfsl.methods")
    finally:
        for name in stand_ins:  # nobody else shall take it for the real one
            del sys.modules[name]


def _torchvision() -> dict[str, ModuleType]:
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet")
    modules = {name: ModuleType(name) for name in names}
    for block in ("BasicBlock", "Bottleneck", "conv1x1", "conv3x3"):
        setattr(modules["torchvision.models.resnet"], block, object)
    return modules
