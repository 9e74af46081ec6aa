"""What the searches with shared weights have in common: a controller, a supernet, and the loop of both."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import torch

from fphi.errors import FphiError
from fphi.learnable.architecture import ArchitectureSpace, SharingSpace, Supernet
from fphi.learnable.policy import Policy
from fphi.learnable.space import Space
from fphi.methods.families.searching import SupernetMethod
from fphi.objective.candidate_loss import TrainAndTest
from fphi.optimize.sharing_phases import ControllerPhase, SharedPhase
from fphi.optimize.weight_sharing import WeightSharing
from fphi.ranges import count, rate
from fphi.run.search.ranking import shared_versus_alone
from fphi.run.search.supernet import SupernetSearch
from fphi.tasks.supervised import Supervised
from fphi.within.training import NetworkTraining

__all__ = ["SharingMethod"]


@dataclass(frozen=True)
class SharingMethod(SupernetMethod):
    """Settings of a search with shared weights.

    Args:
        epochs: of both phases (paper: 150 micro, 310 macro).
        batch_size: images of a training and of a validation minibatch (paper: 160 micro, 128 macro).
        lr: of the shared weights at each restart of the cosine; it falls to a hundredth.
        period: epochs to the first restart, then always twice as many.
        steps: of the controller in each epoch (paper: 30 micro, 50 macro).
        samples: children for each of its steps (paper: 10 micro, 20 macro).
        derive: children that are scored on a validation minibatch in the end; the best is the result.
        tau: architectures, drawn uniformly, that are also trained alone in the end, to compare their
            accuracies with those with shared weights; 0: none. The paper's claim wants at least 20.
        tau_epochs: of training each of them, otherwise with the settings of --child-….
    """

    epochs: int = count(10, 100_000)
    batch_size: int = count(32, 100_000)
    lr: float = rate(0.05)
    period: int = count(10, 100_000)
    steps: int = count(5)
    samples: int = count(10, 100_000)
    derive: int = count(10, 100_000)
    tau: int = count(0, 100_000, least=0)
    tau_epochs: int = count(10, 100_000)

    def __post_init__(self) -> None:
        """Refuse a search that gives nothing."""
        super().__post_init__()
        if min(self.epochs, self.derive) < 1 or self.tau < 0 or self.tau == 1:
            raise FphiError(
                f"epochs={self.epochs}, derive={self.derive}, tau={self.tau}: the first two must be at "
                "least 1, and tau 0 or at least 2"
            )

    @abstractmethod
    def controller(self, space: SharingSpace, seed: int) -> Policy:
        """The policy that is searched with, new."""

    @abstractmethod
    def controller_phase(self) -> ControllerPhase:
        """How it learns."""

    def require(self, space: Space) -> None:
        if not isinstance(space, SharingSpace):
            raise FphiError(
                f"the architectures of the space {space.name} have no shared weights; "
                f"choose the space {self.usual_space}"
            )

    def begin(self, space: ArchitectureSpace, data: Supervised, seed: int) -> WeightSharing:
        """The search at its start.

        Raises:
            FphiError: the architectures of the space cannot share weights.
        """
        self.require(space)
        assert isinstance(space, SharingSpace)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(Random(f"{seed}/supernet").getrandbits(63))
            supernet = space.supernet(data.input_shape, data.classes)
        return WeightSharing(
            supernet,
            self.controller(space, seed),
            data,
            seed,
            epochs=self.epochs,
            derived=self.derive,
            shared=SharedPhase(self.batch_size, self.lr, self.lr / 100, self.period),
            controller=self.controller_phase(),
        )

    def conclude(
        self, search: SupernetSearch, space: Space, data: Supervised, training: NetworkTraining
    ) -> Mapping[str, float]:
        assert isinstance(search, WeightSharing)
        figures = {
            "derived": search.derive(self.derive)[1],
            "children": float(search.children_per_epoch * len(search.rows)),
        }
        return figures | self._agreement(search, data, training)

    def _agreement(
        self, sharing: WeightSharing, data: Supervised, training: NetworkTraining
    ) -> dict[str, float]:
        """Kendall's τ, and the mean time of training one architecture alone, if they were asked for."""
        if not self.tau:
            return {}
        assert isinstance(sharing.supernet, Supernet)
        # The limit of seconds is one of candidates.
        longer = replace(training, epochs=self.tau_epochs, limit_seconds=None)
        alone = TrainAndTest(sharing.supernet.space, data, longer, seed=sharing.seed, test=False)
        ranking = shared_versus_alone(sharing.supernet, data.validation, alone, self.tau, sharing.seed)
        return {"kendall_tau": ranking.tau, "seconds_alone": ranking.seconds / self.tau}
