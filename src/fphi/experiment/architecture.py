"""What a search found: an architecture in a file, and the network with its trained weights."""

import json
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.levels import Levels, levels_json, on_images, read_levels
from fphi.learnable.architecture import SPACES, ArchitectureSpace
from fphi.learnable.architecture.space import TakesNorm
from fphi.learnable.space import Space, Tokens
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.run.disk.augmentations import AUGMENTATION
from fphi.run.disk.checkpoint import BEST, load_parameters, require_fitting
from fphi.run.disk.files import parse_json, replace_file
from fphi.run.disk.schema import group, number, shortened, text, whole
from fphi.run.search.history import HISTORY

__all__ = ["ARCHITECTURE", "Architecture", "load_architecture", "options_of"]

ARCHITECTURE = "architecture.json"
_MOST = 4096  # layers, filters, pixels of a side, classes: no search here comes near
# Files of before name the learner, which decided the statistics.
_FORMERLY: dict[object, Mode] = {"prototypical": "running", "maml": "query-batch"}


@dataclass(frozen=True)
class Architecture:
    """An architecture of a space, with all that it takes to build it.

    Args:
        space: with its options.
        tokens: the architecture.
        input_shape: of one example.
        outputs: classes; None: the network gives features.
        norm: where the statistics of its batch norms come from, as a few-shot learner's network; None: they
            are torch's own.
        levels: by which images of grey levels were standardised for it; None: nothing tells.
    """

    space: ArchitectureSpace
    tokens: Tokens
    input_shape: tuple[int, ...]
    outputs: int | None
    norm: Mode | None = None
    levels: Levels | None = None

    @property
    def text(self) -> str:
        """It in one line."""
        return self.space.text(self.tokens)

    def build(self) -> nn.Module:
        """The network, freshly initialised."""
        if self.norm is not None:
            assert isinstance(self.space, TakesNorm)
            norm = partial(BatchNorm, mode=self.norm)
            return self.space.network(self.tokens, self.input_shape, self.outputs, norm=norm)
        assert self.outputs is not None
        return self.space.build(self.tokens, self.input_shape, self.outputs)

    def outline(self) -> nn.Module:
        """The network without its numbers, which takes no memory.

        Raises:
            FphiError: its sizes are none of a network.
        """
        try:
            with torch.device("meta"):
                return self.build()
        except (RuntimeError, OverflowError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise FphiError(f"no network can be built of this architecture ({reason}); restore it") from error

    def save(self, run: Path) -> None:
        """Write ``architecture.json`` into a folder."""
        content = {
            "space": self.space.name,
            "options": options_of(self.space),
            "tokens": self.tokens,
            "text": self.text,
            "input_shape": self.input_shape,
            "outputs": self.outputs,
            **({"norm": self.norm} if self.norm is not None else {}),
            **levels_json(self.levels),
        }
        replace_file(run / ARCHITECTURE, json.dumps(content, indent=2).encode() + b"\n")

    @classmethod
    def read(cls, run: Path) -> "Architecture":
        """Read what `save` wrote.

        Raises:
            FphiError: there is none, or it is damaged.
        """
        path = run / ARCHITECTURE
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            options = {name: _option(name, value) for name, value in group(content["options"]).items()}
            space = SPACES[text(content["space"], "space")](**options)
            tokens = space.check([whole(token) for token in content["tokens"]])
            outputs = content["outputs"]
            if outputs is not None:
                whole(outputs, "outputs", 1, _MOST)
            norm = content.get("norm") or _FORMERLY.get(content.get("learner"))
            _require_norm(space, outputs, norm)
            shape = tuple(content["input_shape"])
            if len(shape) != 3:
                raise FphiError(f"input_shape {shortened(shape)} is none of an image")
            shape = tuple(whole(size, "input_shape", 1, _MOST) for size in shape)
            return cls(space, tokens, shape, outputs, norm, read_levels(content, shape[0]))
        except FileNotFoundError as error:
            if (run / AUGMENTATION).is_file():
                raise FphiError(
                    f"{run} is of a search for augmentation, which finds no network: "
                    f"fphi.augmentation.load({str(run)!r}) is what it found"
                ) from error
            if (run / HISTORY).is_file():
                raise FphiError(
                    f"the search in {run} has found nothing yet: --resume goes on, or says why it cannot"
                ) from error
            raise FphiError(
                f"{run} holds no architecture (no {ARCHITECTURE}): give the --out of a search"
            ) from error
        except OSError as error:
            raise FphiError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        except (ValueError, LookupError, TypeError, AttributeError, FphiError) as error:
            raise FphiError(f"{path} is damaged ({' '.join(str(error).split())}); restore it") from error


def options_of(space: Space) -> dict[str, Any]:
    """A space's options by name, all spaces being dataclasses."""
    return {field.name: getattr(space, field.name) for field in fields(space)}  # type: ignore[arg-type]


def load_architecture(run: Path, images: bool = False) -> nn.Module:
    """The network that a search found, with its retrained weights, ready for inference.

    Args:
        run: the search's directory.
        images: whether it is to take images of grey levels 0 … 255, in place of standardised ones.

    Returns:
        ``[n, *input_shape]`` to ``[n, classes]``, in evaluation mode; of a search for few-shot learners what
        the learner has learned: an embedding, ``[n, features]``, or with MAML the network before any task.

    Raises:
        FphiError: the search has not ended, or a file of it is missing or damaged.
    """
    architecture = Architecture.read(run)
    require_fitting(run / BEST, architecture.outline())
    module = architecture.build()
    load_parameters(run / BEST, module)
    return on_images(run, module, architecture.levels) if images else module.eval()


def _require_norm(space: ArchitectureSpace, outputs: int | None, norm: str | None) -> None:
    """Raise unless networks of the space can be built so."""
    known = norm in get_args(Mode) and isinstance(space, TakesNorm)
    if not known and (norm is not None or outputs is None):
        raise ValueError(f"norm {norm!r} with outputs {outputs} in the space {space.name}")


def _option(name: str, value: Any) -> Any:
    """JSON has lists only; options of spaces are values that do not change, of sizes that can be built."""
    if isinstance(value, list):
        return tuple(_option(name, item) for item in value)
    if type(value) in (int, float):
        number(value, name, -_MOST, _MOST)
    elif value is not None and type(value) is not bool:
        text(value, name)
    return value
