"""Step 2 where φ is an augmentation: the error of a network that was trained on images so augmented."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fphi.learnable.augmentation import AugmentationSpace, augmenting, fill_of
from fphi.learnable.space import Candidate
from fphi.objective.candidate_loss import CandidateEpisode, CandidateLoss, CandidateWeights
from fphi.tasks.supervised import Supervised
from fphi.within.training import Augment, NetworkTraining, Stretch, TrainingFailedError

__all__ = ["AugmentAndGoOn", "AugmentAndTest", "NetworkOf"]

# A new network for a large task; its weights are a function of the seed.
NetworkOf = Callable[[Supervised, int], nn.Module]


@dataclass(frozen=True)
class AugmentAndTest(CandidateLoss):
    """A network is trained on ``data.train``, augmented; the loss is its error on ``data.validation``.

    Args:
        space: of the candidates.
        network: that is trained, the same for all candidates but for its first weights.
        data: of the problem.
        training: how it is trained.
        seed: of weights and training.
    """

    space: AugmentationSpace
    network: NetworkOf
    data: Supervised = field(repr=False)
    training: NetworkTraining
    seed: int = 0

    def augment(self, candidate: Candidate) -> Augment:
        """What a candidate does to training images."""
        augmentation = self.space.augmentation((candidate.tokens,), fill=fill_of(self.data))
        return augmenting(augmentation, self.data)

    def episode(self, candidate: Candidate) -> CandidateEpisode:
        seed = self.child_seed(candidate.number)
        augment = self.augment(candidate)
        module = self.network(self.data, seed)
        trained = self.training.train(module, self.data, seed, augment=augment)
        return CandidateEpisode(trained.validation_accuracy, {"epochs": float(self.training.epochs)}, dict)


@dataclass(frozen=True)
class AugmentAndGoOn(AugmentAndTest):
    """A network goes on for some epochs from where the candidate's parent left its own.

    Args:
        space, network, data, training, seed: see `AugmentAndTest`.
        weights: where the networks are kept, with their velocities and the epochs that they have had.
        epochs: of each candidate; a training ends with the epochs of ``training``.
    """

    weights: CandidateWeights = field(kw_only=True)
    epochs: int = field(kw_only=True)

    def episode(self, candidate: Candidate) -> CandidateEpisode:
        seed = self.child_seed(candidate.number)
        augment = self.augment(candidate)
        module = self.network(self.data, seed)
        first, velocity = self._begin(module, candidate)
        end = min(first + self.epochs, self.training.epochs)
        stretch = Stretch(first, end, velocity)
        trained = self.training.train(module, self.data, seed, augment=augment, stretch=stretch)
        state = {f"{_WEIGHTS}{name}": tensor for name, tensor in module.state_dict().items()}
        state |= {f"{_VELOCITY}{name}": tensor for name, tensor in trained.velocity.items()}
        self.weights.save(candidate.number, state | {_EPOCHS: torch.tensor(end)})
        return CandidateEpisode(trained.validation[-1], {"epochs": float(end)}, dict)

    def _begin(self, module: nn.Module, candidate: Candidate) -> tuple[int, dict[str, Tensor]]:
        """Take over what the parent left: the weights; returned are its epochs and its velocity."""
        if candidate.parent is None:
            return 0, {}
        state = self.weights.load(candidate.parent)
        if state is None:
            raise TrainingFailedError(f"candidate {candidate.parent}, which it goes on from, failed")
        module.load_state_dict(_of(state, _WEIGHTS))
        return int(state[_EPOCHS]), _of(state, _VELOCITY)


_WEIGHTS, _VELOCITY, _EPOCHS = "weights.", "velocity.", "epochs"


def _of(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(kind): tensor for name, tensor in state.items() if name.startswith(kind)}
