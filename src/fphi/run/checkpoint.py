"""What a run keeps on disk: a checkpoint to go on from, and the parameters that were best."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, Union

from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.run.files import Json, read_sealed, write_sealed

__all__ = [
    "BEST",
    "LAST",
    "Checkpoint",
    "Standing",
    "Stateful",
    "load_parameters",
    "load_shared_parameters",
    "pack",
    "read_checkpoint",
    "save_checkpoint",
    "save_parameters",
    "unpack",
]

LAST = "last.safetensors"  # in the run's folder: everything that resume needs
BEST = "best.safetensors"  # in the run's folder: φ that was best on the validation tasks

_FORMAT = 1

Tree: TypeAlias = Union[
    bool, int, float, str, Tensor, "list[Tree]", "tuple[Tree, ...]", "dict[int | str, Tree]", None
]


class Stateful(Protocol):
    """A torch optimizer, or what passes its state on."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass(frozen=True)
class Standing:
    """How far a run is, and what was best on its validation tasks.

    Args:
        step: meta-steps done.
        seconds: time spent in them, over all sessions of the run.
        best_step: meta-steps that had been done when the best parameters were found; None: not validated yet.
        best_accuracy: their accuracy, a fraction; None where the tasks have none.
        best_loss: their mean task loss.
        misses: validations since then.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_accuracy: float | None = None
    best_loss: float | None = None
    misses: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """Everything that resume needs.

    There is no state of a random number generator in it: each meta-step seeds its own.
    """

    standing: Standing
    fingerprint: str
    learner: dict[str, Tensor]
    optimizer: Tree

    def restore(self, learner: nn.Module, optimizer: Stateful) -> None:
        """Put the state back.

        Raises:
            FphiError: the state belongs to another learner or another optimizer.
        """
        _load_into(learner, self.learner, "the checkpoint")
        state: Any = self.optimizer
        try:
            optimizer.load_state_dict(state)
        except (ValueError, KeyError) as error:
            raise FphiError(
                f"the checkpoint's optimizer state does not fit this optimizer ({error}); "
                "resume with the configuration that the run began with"
            ) from error


def save_checkpoint(
    path: Path, learner: nn.Module, optimizer: Stateful, standing: Standing, fingerprint: str = ""
) -> None:
    """Replace the checkpoint at ``path`` atomically.

    Args:
        path: usually RUN/last.safetensors.
        learner: its parameters and buffers are stored.
        optimizer: its ``state_dict()`` is stored.
        standing: how far the run is.
        fingerprint: of the configuration, to be compared on resume.

    Raises:
        FphiError: the disk is full or the folder cannot be written; the old checkpoint is as it was.
    """
    tensors = {f"learner.{name}": tensor for name, tensor in learner.state_dict().items()}
    content: Json = {
        "kind": "checkpoint",
        "format": _FORMAT,
        "standing": asdict(standing),
        "fingerprint": fingerprint,
        "optimizer": pack(optimizer.state_dict(), tensors, "optimizer"),
    }
    write_sealed(path, tensors, content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        FphiError: no such file, damaged, or something other than a checkpoint of this version.
    """
    tensors, content = _read_kind(path, "checkpoint")
    try:
        return Checkpoint(
            standing=Standing(**content["standing"]),
            fingerprint=content["fingerprint"],
            learner=_below("learner.", tensors),
            optimizer=unpack(content["optimizer"], tensors),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise FphiError(f"{path} lacks a part ({error}); train again without --resume") from error


def save_parameters(path: Path, learner: nn.Module, note: Mapping[str, Json] | None = None) -> None:
    """Write a learner's parameters and buffers, with a note in JSON, atomically.

    Equal parameters and notes give files of equal bytes.
    """
    content: Json = {"kind": "parameters", "format": _FORMAT, "note": dict(note or {})}
    write_sealed(path, learner.state_dict(), content)


def load_parameters(path: Path, learner: nn.Module) -> dict[str, Json]:
    """Load parameters and buffers into ``learner``, from ``best.safetensors`` or from a checkpoint.

    Returns:
        The note they were saved with; for a checkpoint, its standing.

    Raises:
        FphiError: no such file, damaged, or of a learner with other names or shapes.
    """
    tensors, content = _read_learner(path)
    _load_into(learner, tensors, str(path))
    note = content.get("standing" if content["kind"] == "checkpoint" else "note")
    return note if isinstance(note, dict) else {}


def load_shared_parameters(path: Path, learner: nn.Module) -> list[str]:
    """Load what agrees in name and shape; the rest of ``learner`` stays as it is.

    Another method's embedding network fits so: learners of one network call its parameters the same. A
    learner within another (that of imaginary data) counts as one on its own.

    Returns:
        The names of the parameters and buffers that were loaded.

    Raises:
        FphiError: no such file, damaged, or no parameter agrees.
    """
    own, (tensors, _) = learner.state_dict(), _read_learner(path)
    theirs = {_without_wrapper(name): tensor for name, tensor in tensors.items()}
    shared = {name: theirs[key] for name in own if (key := _without_wrapper(name)) in theirs}
    shared = {name: tensor for name, tensor in shared.items() if tensor.shape == own[name].shape}
    if not shared:
        problem = _misfit(own, tensors)
        raise FphiError(f"{path} has no parameter in common with this learner: {problem}; choose another run")
    learner.load_state_dict(shared, strict=False)
    return list(shared)


def _without_wrapper(name: str) -> str:
    return name.removeprefix("learner.")


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


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _read_learner(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A learner's parameters and buffers in either kind of file, and the file's description."""
    tensors, content = _read_kind(path, "parameters", "checkpoint")
    return _below("learner.", tensors) if content["kind"] == "checkpoint" else tensors, content


def _read_kind(path: Path, *kinds: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, content = read_sealed(path)
    if not isinstance(content, dict) or content.get("kind") not in kinds:
        raise FphiError(f"{path} holds no {' or '.join(kinds)}; check the path")
    if content.get("format") != _FORMAT:
        raise FphiError(
            f"{path} has format {content.get('format')!r} and this fphi reads {_FORMAT}; "
            "use the version that wrote it"
        )
    return tensors, content


def _load_into(learner: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    problem = _misfit(learner.state_dict(), state)
    if problem:
        raise FphiError(
            f"{source} does not fit this learner: {problem}; use the method and network of its config.yaml"
        )
    learner.load_state_dict(dict(state))


def _misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What keeps ``state`` from being loaded; "" if nothing does."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        return "; ".join(
            f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
            for what, names in (("it lacks", missing), ("it has also", unexpected))
            if names
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            return f"{name} is {list(state[name].shape)} in it and {list(tensor.shape)} here"
    return ""
