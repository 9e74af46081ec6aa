"""What a run keeps on disk: a checkpoint to go on from, and the parameters that were best."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from fphi.errors import FphiError
from fphi.optimize.restored import restore_optimizer
from fphi.run.disk.files import Json, read_sealed, write_sealed
from fphi.run.disk.finite import require_finite
from fphi.run.disk.packing import Tree, pack, unpack
from fphi.run.disk.schema import text
from fphi.run.disk.state import TrainingState

__all__ = [
    "BEST",
    "LAST",
    "Checkpoint",
    "Stateful",
    "TrainingState",
    "has_begun",
    "keep_parameters",
    "load_parameters",
    "load_shared_parameters",
    "read_checkpoint",
    "read_note",
    "require_fitting",
    "save_checkpoint",
    "save_parameters",
    "sign_again",
]

LAST = "last.safetensors"  # in the run's folder: everything that resume needs
BEST = "best.safetensors"  # in the run's folder: φ that was best on the validation tasks

_FORMAT = 1


class Stateful(Protocol):
    """A torch optimizer, or what passes its state on."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """Everything that resume needs.

    There is no state of a random number generator in it: each meta-step seeds its own.
    """

    state: TrainingState
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
            if isinstance(optimizer, Optimizer):
                restore_optimizer(optimizer, state, stepped=self.state.step > 0)
            else:
                optimizer.load_state_dict(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise FphiError(
                f"the checkpoint's optimizer state does not fit this optimizer ({reason}); "
                "resume with the configuration that the run began with"
            ) from error


def save_checkpoint(
    path: Path, learner: nn.Module, optimizer: Stateful, state: TrainingState, fingerprint: str = ""
) -> None:
    """Replace the checkpoint at ``path`` atomically.

    Args:
        path: usually RUN/last.safetensors.
        learner: its parameters and buffers are stored.
        optimizer: its ``state_dict()`` is stored.
        state: how far the run is.
        fingerprint: of the configuration, to be compared on resume.

    Raises:
        FphiError: the disk is full or the folder cannot be written; the old checkpoint is as it was.
    """
    tensors = {f"learner.{name}": tensor for name, tensor in learner.state_dict().items()}
    content: Json = {
        "kind": "checkpoint",
        "format": _FORMAT,
        "standing": state.to_json(),
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
            state=TrainingState.from_json(content["standing"]),
            fingerprint=text(content["fingerprint"], "fingerprint"),
            learner=_below("learner.", tensors),
            optimizer=unpack(content["optimizer"], tensors),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"{path} lacks a part ({reason}); train again without --resume") from error


def has_begun(out: Path) -> bool:
    """Whether the training in a folder has kept a step."""
    return (out / LAST).is_file() and read_checkpoint(out / LAST).state.step > 0


def save_parameters(path: Path, learner: nn.Module, note: Mapping[str, Json] | None = None) -> None:
    """Write a learner's parameters and buffers, with a note in JSON, atomically.

    Equal parameters and notes give files of equal bytes.
    """
    content: Json = {"kind": "parameters", "format": _FORMAT, "note": dict(note or {})}
    write_sealed(path, learner.state_dict(), content)


def keep_parameters(source: Path, target: Path, note: Mapping[str, Json], half_over: int = 1_000_000) -> bool:
    """Copy parameters with another note, in half precision if they are large.

    Args:
        source: what `save_parameters` or `save_checkpoint` wrote.
        target: the copy, which `load_parameters` reads as it does the original.
        note: in place of the one there.
        half_over: bytes; where the parameters take more, weights of two and more dimensions become float16.
            Norms, statistics and biases stay as they are.

    Returns:
        Whether weights were rounded so: then a number that was measured with the original is not theirs.

    Raises:
        FphiError: no such file, damaged, or the copy cannot be written.
    """
    tensors, _ = _read_learner(source)
    halved = sum(tensor.nbytes for tensor in tensors.values()) > half_over
    if halved:
        large = {name for name, t in tensors.items() if t.is_floating_point() and t.ndim > 1}
        tensors = {name: t.half() if name in large else t for name, t in tensors.items()}
    write_sealed(target, tensors, {"kind": "parameters", "format": _FORMAT, "note": dict(note)})
    return halved


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


def require_fitting(path: Path, learner: nn.Module) -> None:
    """Raise an `FphiError` if the parameters in a file do not fit, before memory is taken for a learner."""
    tensors, _ = _read_learner(path)
    _require_fit(learner, tensors, str(path))


def read_note(path: Path) -> dict[str, Json]:
    """The note that parameters were saved with.

    Raises:
        FphiError: no such file, or a damaged one.
    """
    _, content = _read_kind(path, "parameters", "checkpoint")
    note = content.get("note")
    return note if isinstance(note, dict) else {}


def sign_again(path: Path, fingerprint: str) -> None:
    """Give a checkpoint, or parameters, another fingerprint: they belong to that configuration from then on.

    Raises:
        FphiError: no such file, or a damaged one.
    """
    tensors, content = _read_kind(path, "parameters", "checkpoint")
    if content["kind"] == "parameters":
        content = {**content, "note": {**read_note(path), "fingerprint": fingerprint}}
    else:
        content = {**content, "fingerprint": fingerprint}
    write_sealed(path, tensors, content)


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
    require_finite(shared, str(path), learner)
    learner.load_state_dict(shared, strict=False)
    return list(shared)


def _without_wrapper(name: str) -> str:
    return name.removeprefix("learner.")


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
    _require_fit(learner, state, source)
    learner.load_state_dict(dict(state))


def _require_fit(learner: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    problem = _misfit(learner.state_dict(), state)
    if problem:
        raise FphiError(
            f"{source} does not fit this learner: {problem}; use the method and network of its config.yaml"
        )
    require_finite(state, source, learner)


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
        if _kind(tensor) != _kind(state[name]):
            return f"{name} is of {state[name].dtype} in it and of {tensor.dtype} here"
    return ""


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """Numbers of one kind fit into one another: halves into floats, no float into counts."""
    return tensor.is_floating_point(), tensor.is_complex()
