"""What a search found: an architecture in a file, and the network with its trained weights."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, SearchSpace, Tokens
from fphi.run.checkpoint import BEST, load_parameters
from fphi.run.few_shot_child import FewShotLearner, FewShotTraining, TakesNorm
from fphi.run.files import replace_file
from fphi.run.history import HISTORY

__all__ = ["ARCHITECTURE", "Architecture", "build", "options_of"]

ARCHITECTURE = "architecture.json"


@dataclass(frozen=True)
class Architecture:
    """An architecture of a space, with all that it takes to build it.

    Args:
        space: with its options.
        tokens: the architecture.
        input_shape: of one example.
        outputs: classes; None: the network gives features.
        learner: the few-shot learner whose network it is; None: it is none's.
    """

    space: SearchSpace
    tokens: Tokens
    input_shape: tuple[int, ...]
    outputs: int | None
    learner: FewShotLearner | None = None

    def build(self) -> nn.Module:
        """The network, freshly initialised."""
        if self.learner is not None:
            assert isinstance(self.space, TakesNorm)
            norm = FewShotTraining(self.learner).norm
            return self.space.network(self.tokens, self.input_shape, self.outputs, norm=norm)
        assert self.outputs is not None
        return self.space.build(self.tokens, self.input_shape, self.outputs)

    def save(self, run: Path) -> None:
        """Write ``architecture.json`` into a folder."""
        content = {
            "space": self.space.name,
            "options": options_of(self.space),
            "tokens": self.tokens,
            "text": self.space.text(self.tokens),
            "input_shape": self.input_shape,
            "outputs": self.outputs,
            **({"learner": self.learner} if self.learner is not None else {}),
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
            content = json.loads(path.read_text(encoding="utf-8"))
            options = {name: _tuples(value) for name, value in content["options"].items()}
            space = SPACES[content["space"]](**options)
            tokens = space.check(content["tokens"])
            outputs, learner = content["outputs"], content.get("learner")
            _require_learner(space, outputs, learner)
            shape = tuple(content["input_shape"])
            if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
                raise FphiError(f"input_shape {list(shape)} is none of an image")
            return cls(space, tokens, shape, outputs and int(outputs), learner)
        except FileNotFoundError as error:
            if (run / HISTORY).is_file():
                raise FphiError(f"the search in {run} has not ended: go on with its --resume") from error
            raise FphiError(
                f"{run} holds no architecture (no {ARCHITECTURE}): give the --out of a search"
            ) from error
        except OSError as error:
            raise FphiError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        except (ValueError, LookupError, TypeError, AttributeError, FphiError) as error:
            raise FphiError(f"{path} is damaged ({' '.join(str(error).split())}); restore it") from error


def options_of(space: SearchSpace) -> dict[str, Any]:
    """A space's options by name, all spaces being dataclasses."""
    return {field.name: getattr(space, field.name) for field in fields(space)}  # type: ignore[arg-type]


def build(run: Path | str) -> nn.Module:
    """The network that a search found, with its retrained weights, ready for inference.

    Args:
        run: the search's directory.

    Returns:
        ``[n, *input_shape]`` to ``[n, classes]``, in evaluation mode; of a search for few-shot learners what
        the learner has learned: an embedding, ``[n, features]``, or with MAML the network before any task.

    Raises:
        FphiError: the search has not ended, or a file of it is missing or damaged.
    """
    module = Architecture.read(Path(run)).build()
    load_parameters(Path(run) / BEST, module)
    return module.eval()


def _require_learner(space: SearchSpace, outputs: int | None, learner: str | None) -> None:
    """Raise unless networks of the space can be such a learner's."""
    known = learner in get_args(FewShotLearner) and isinstance(space, TakesNorm)
    if not known and (learner is not None or outputs is None):
        raise ValueError(f"learner {learner!r} with outputs {outputs} in the space {space.name}")


def _tuples(value: Any) -> Any:
    """JSON has lists only; options of spaces are values that do not change."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
