"""The loss of a candidate by training it: build, inherit weights, train, validate."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from fphi.learnable.architecture.inheritance import inherit
from fphi.learnable.architecture.space import SearchSpace, Tokens
from fphi.optimize.ask_tell import Candidate
from fphi.run.child_training import ChildError, ChildTraining, TrainedChild, parameter_count
from fphi.run.files import read_sealed, write_sealed
from fphi.run.outcome import WORST, Outcome, failed
from fphi.tasks.hashing import stream_key
from fphi.tasks.supervised import Supervised

__all__ = [
    "ChildTraining",
    "ChoosesInheritance",
    "ChoosesRate",
    "TrainAndTest",
    "TrainedChild",
    "keep_weights",
    "out_of_memory",
    "weights_file",
]


@runtime_checkable
class ChoosesRate(Protocol):
    """A space whose architectures come with a learning rate."""

    def learning_rate(self, tokens: Tokens) -> float:
        """That of the first step."""


@runtime_checkable
class ChoosesInheritance(Protocol):
    """A space whose architectures say whether they take over their parent's weights."""

    def inherits(self, tokens: Tokens) -> bool:
        """Whether this one does."""


@dataclass(frozen=True)
class TrainAndTest:
    """Trains a candidate on ``data.train``; its loss is the error on ``data.validation``. An `Evaluate`.

    The outcome is a function of the candidate and of these fields, in whichever process and order
    candidates are evaluated: what is random comes from ``seed`` and the candidate's number. Its measures
    are ``validation_accuracy``, ``test_accuracy``, ``parameters``, ``epochs`` and, with a folder,
    ``inherited``: how many parameters came from the parent.

    Args:
        space: of the candidates.
        data: of the problem.
        training: how children are trained. Spaces may have a learning rate for each architecture.
        folder: where weights are kept, so that candidates inherit those of their parents; None: every
            candidate is trained from new weights. On a cluster: one that all machines see, by its full path.
        seed: of weights and training.
        test: whether ``test_accuracy`` is taken; a search that is to use its test data once does not.
    """

    space: SearchSpace
    data: Supervised = field(repr=False)
    training: ChildTraining = field(default_factory=ChildTraining)
    folder: Path | None = None
    seed: int = 0
    test: bool = True

    def __call__(self, candidate: Candidate) -> Outcome:
        """The outcome; of a child that cannot be trained it is the worst loss, with the reason."""
        start = time.monotonic()
        try:
            child, measures = self._trained(candidate)
        except ChildError as error:
            return Outcome(WORST, time.monotonic() - start, str(error))
        except Exception as error:
            seconds = time.monotonic() - start
            return out_of_memory(error, seconds) or failed(error, seconds)
        # Testing is no cost of the search, which must not know of it.
        seconds = time.monotonic() - start
        accuracy = child.validation_accuracy
        measures |= {"validation_accuracy": accuracy}
        if self.test:
            measures |= {"test_accuracy": child.test_accuracy()}
        return Outcome(1 - accuracy, seconds, measures=measures)

    def child_seed(self, number: int) -> int:
        """The seed of a candidate's weights and training."""
        return int(stream_key(self.seed, "child", str(number)) >> 1)

    def _trained(self, candidate: Candidate) -> tuple[TrainedChild, dict[str, float]]:
        seed = self.child_seed(candidate.number)
        module = self._built(candidate.tokens, seed)
        measures = {"parameters": float(parameter_count(module)), "epochs": float(self.training.epochs)}
        if self.folder is not None:
            measures["inherited"] = float(self._inherit(module, candidate))
        rate = self.space.learning_rate(candidate.tokens) if isinstance(self.space, ChoosesRate) else None
        child = self.training.train(module, self.data, seed, rate)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_sealed(weights_file(self.folder, candidate.number), module.state_dict(), candidate.number)
        return child, measures

    def _built(self, tokens: Tokens, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.space.build(tokens, self.data.input_shape, self.data.classes)

    def _inherit(self, module: nn.Module, candidate: Candidate) -> int:
        """Take over the parent's weights where they fit; return how many parameters that were."""
        assert self.folder is not None
        if candidate.parent is None:
            return 0
        if isinstance(self.space, ChoosesInheritance) and not self.space.inherits(candidate.tokens):
            return 0
        path = weights_file(self.folder, candidate.parent)
        if not path.exists():  # the parent failed: there is nothing to inherit
            return 0
        state, _ = read_sealed(path)
        taken = set(inherit(module, state))
        return sum(p.numel() for name, p in module.named_parameters() if name in taken)


def weights_file(folder: Path, number: int) -> Path:
    """Where the weights of a candidate are kept."""
    return folder / f"{number:06d}.safetensors"


def keep_weights(folder: Path, numbers: Collection[int]) -> None:
    """Delete the weights of all candidates but these: the dead have no heirs."""
    kept = {weights_file(folder, number) for number in numbers}
    for path in set(folder.glob("*.safetensors")) - kept:
        path.unlink(missing_ok=True)


def out_of_memory(error: Exception, seconds: float) -> Outcome | None:
    """The outcome of a candidate that was too large, if that is what ``error`` says."""
    text = " ".join(str(error).split())
    telling = isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    if not telling and not isinstance(error, MemoryError):
        return None
    return Outcome(WORST, seconds, f"out of memory: {text}"[:500] if text else "out of memory")
