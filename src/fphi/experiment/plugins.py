"""What a user brings along in a file of Python, ``FILE.py:NAME``; it runs when it is named, never else."""

import copy
import inspect
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.methods.base import Method
from fphi.methods.table import get_method
from fphi.tasks import TaskDistribution

__all__ = ["in_file", "is_in_file", "load_network", "load_object", "load_tasks_object", "method_named"]

C = TypeVar("C", bound=type)
_NAMED = re.compile(r"(.+\.py):(\w+)")


def is_in_file(text: object) -> bool:
    """Whether this names something in a file of Python.

    >>> is_in_file("mine.py:Nearest"), is_in_file("maml")
    (True, False)
    """
    return isinstance(text, str) and _NAMED.fullmatch(text) is not None


def in_file(text: str, change: Callable[[str], str]) -> str:
    """``FILE.py:NAME`` with another path of the file."""
    match = _NAMED.fullmatch(text)
    assert match is not None
    return f"{change(match[1])}:{match[2]}"


def load_object(named: str) -> Any:
    """What a file has under a name; it is run once in a process, and again when it has changed.

    Raises:
        FphiError: there is no such file, it does not run, or it has nothing of that name.
    """
    match = _NAMED.fullmatch(named)
    if match is None:
        raise FphiError(f"{named!r} names nothing in a file; write it as FILE.py:NAME")
    path = Path(match[1]).absolute()
    if not path.is_file():
        raise FphiError(f"there is no file {match[1]}, which {named} is to be in; check the path")
    module = _module(path)
    if not hasattr(module, match[2]):
        public = ", ".join(name for name in vars(module) if not name.startswith("_"))
        raise FphiError(f"{match[1]} has no {match[2]!r}; it has {public or 'nothing'}")
    return getattr(module, match[2])


def _module(path: Path) -> ModuleType:
    """Named after the file and its text: the same elsewhere, another when it is edited."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FphiError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    name = f"fphi_file_{path.stem}_{sha256(str(path).encode() + text).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    try:
        # Not by its loader, which takes compiled code of as long a text of the same second for this one's.
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        reason = " ".join(str(error).split())
        raise FphiError(f"{path} does not run ({type(error).__name__}: {reason}); mend it") from error
    return module


def method_named(named: str) -> type[Method]:
    """A method of the table, or of a file.

    Raises:
        FphiError: there is none, or what is there is no method.
    """
    if not is_in_file(named):
        return get_method(named)
    found = load_object(named)
    if not (isinstance(found, type) and issubclass(found, Method)) or inspect.isabstract(found):
        raise FphiError(
            f"{named} is no method; give a class that is a fphi.FewShotMethod, with all its steps"
        )
    if "title" not in vars(found):
        found.title, found.paper, found.arxiv = named.rpartition(":")[2], "", ""
    return found


def load_tasks_object(named: str) -> TaskDistribution:
    """A distribution over tasks, or what makes one without arguments, from a file."""
    found = load_object(named)
    tasks = found if isinstance(found, TaskDistribution) else _called(named, found)
    if not isinstance(tasks, TaskDistribution):
        raise FphiError(f"{named} is no fphi.TaskDistribution, and makes none; it is {type(tasks).__name__}")
    return tasks


def load_network(named: str) -> Callable[..., nn.Module]:
    """Builds a network of a file for ``(input_shape, outputs)``; see `_built` for what the file may have."""
    found = load_object(named)
    return lambda input_shape, outputs, norm: _built(named, found, input_shape, outputs)


def _built(named: str, found: Any, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
    """A copy of a module, or what a class or function makes of (input_shape, outputs), or of nothing."""
    if isinstance(found, nn.Module):
        return _with_shapes(named, copy.deepcopy(found), input_shape)
    network = _called(named, found, input_shape, outputs)
    if not isinstance(network, nn.Module):
        raise FphiError(f"{named} makes no torch.nn.Module, but {type(network).__name__}")
    return _with_shapes(named, network, input_shape)


def _with_shapes(named: str, network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """The network, whose lazy layers have got their parameters by the shape of an example."""
    if not any(nn.parameter.is_lazy(p) for p in network.parameters()):
        return network
    was_training = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():  # in eval(), where norm layers take no notice of what is no example
            network.eval()(torch.zeros(2, *input_shape))
    except Exception as error:  # of somebody's own network, whatever it is
        raise FphiError(
            f"{named} makes a network with lazy layers that does not take examples {list(input_shape)} "
            f"({' '.join(str(error).split())[:120]}); give it layers of these sizes"
        ) from error
    for module, training in was_training.items():
        module.training = training
    return network


def _called(named: str, found: Any, *arguments: object) -> Any:
    """What it makes of the arguments, or without any where it takes none."""
    if not callable(found):
        raise FphiError(f"{named} is {type(found).__name__}, which makes nothing; give a class or a function")
    try:
        taken = arguments if _takes(found, len(arguments)) else ()
        return found(*taken)
    except FphiError:
        raise
    except Exception as error:
        raise FphiError(
            f"{named} fails when it is called ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error


def _takes(found: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(found).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
