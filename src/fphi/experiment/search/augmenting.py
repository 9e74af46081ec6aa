"""A search for an augmentation: one network, trained on images that are changed in one way or another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fphi.errors import FphiError
from fphi.experiment.search.options import LastTrainingsOptions, NetworkOptions
from fphi.experiment.search.problem import Found, LargeTask, accuracy_of
from fphi.learnable.augmentation import (
    AugmentationPolicy,
    AugmentationSpace,
    Schedule,
    TrivialAugment,
    augmenting,
    fill_of,
)
from fphi.learnable.augmentation.training_images import require_images_of
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.families.searching import EpochwiseMethod, RelaxedMethod
from fphi.objective.augmentation_loss import AugmentAndGoOn, AugmentAndTest
from fphi.report.policies import described, draw_augmentation
from fphi.run.disk.augmentations import AUGMENTATION, write_augmentation
from fphi.run.disk.files import replace_file
from fphi.run.search.last_trainings import LastTrainings
from fphi.run.search.retrain import Retrained
from fphi.run.search.supernet import SupernetSearch
from fphi.run.search.weights import WeightFolder
from fphi.run.show.say import say
from fphi.tasks.hashing import stream_key
from fphi.within.training import Augment

__all__ = ["NOTHING", "TRAININGS", "TRIVIAL", "AugmentationProblem"]

TRAININGS = "trainings.jsonl"
NOTHING, TRIVIAL = "no augmentation", "TrivialAugment"


@dataclass(frozen=True)
class AugmentationProblem(LargeTask):
    """Candidates are augmentations of the training images of one large task.

    Args:
        space: of the candidates.
        last: the trainings in the end.
        network: that is trained.
        interval: epochs of a candidate that goes on from another.
        out: folder of the search.
    """

    what: ClassVar[str] = "augmentation"

    space: AugmentationSpace
    last: LastTrainingsOptions
    network: NetworkOptions
    interval: int
    out: Path

    def require(self) -> None:
        if self.interval < self.training.epochs and self.training.last_epochs > 1:
            raise FphiError(
                f"--child-last-epochs {self.training.last_epochs}: members of a population are trained in "
                f"stretches of {self.interval} epochs, and judged after each; leave it out"
            )
        require_images_of(self.data)
        self.network.require_fitting(self.data)

    def loss(self, weights: WeightFolder | None = None) -> AugmentAndTest:
        given = self.space, self.network.build, self.data, self.training, self.seed
        if weights is None or self.interval >= self.training.epochs:
            return AugmentAndTest(*given)  # what is trained to its end has nothing to go on from
        return AugmentAndGoOn(*given, weights=weights, epochs=self.interval)

    def begin(self, method: EpochwiseMethod) -> SupernetSearch:
        method.require(self.space)
        assert isinstance(method, RelaxedMethod)
        network = self.network.build(self.data, int(stream_key(self.seed, "network") >> 1))
        return method.begin(self.space, self.data, network, self.seed)

    def judge(self, found: Tokens) -> float:
        return accuracy_of(self.loss()(Candidate(0, found)))

    def augmentation(self, chosen: Sequence[Tokens]) -> AugmentationPolicy | Schedule:
        """What candidates make together; a schedule is of the epochs of the search."""
        ends = [min(self.training.epochs, (1 + i) * self.interval) for i in range(len(chosen))]
        spans = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        return self.space.augmentation(chosen, spans, fill_of(self.data))

    def text(self, found: Found) -> str:
        return described(self.augmentation(found.chosen))

    def write(self, found: Found, out: Path) -> None:
        augmentation = self.augmentation(found.chosen)
        write_augmentation(out / AUGMENTATION, augmentation)
        replace_file(out / "augmentation.png", draw_augmentation(augmentation, self.data))

    def retrain(self, found: Found) -> Retrained:
        augmentation = self.augmentation(found.chosen)
        return self._trained(found.method, lambda seed: augmentation)

    def compared(self, found: Found, retrained: Retrained) -> dict[str, Any]:
        """No augmentation, random policies of the same size, TrivialAugment, with the same first weights."""

        def random(seed: int) -> AugmentationPolicy | Schedule:
            drawing = [Random(f"{seed}/random policy/{i}") for i in range(len(found.chosen))]
            return self.augmentation([self.space.sample(rng) for rng in drawing])

        ways: dict[str, Callable[[int], AugmentationPolicy | Schedule | None]] = {
            NOTHING: lambda seed: None,
            "random policies": random,
            TRIVIAL: lambda seed: TrivialAugment(self.last.trivial_scale, fill_of(self.data)),
        }
        beside = {}
        for name, way in ways.items():
            say(f"training with {name} for {self.last.retrain_epochs} epochs")
            beside[name] = self._trained(name, way).to_json()
        return {"beside": beside}

    def _trained(self, name: str, way: Callable[[int], AugmentationPolicy | Schedule | None]) -> Retrained:
        epochs = self.last.retrain_epochs

        def augment(seed: int) -> Augment | None:
            found = way(seed)
            if isinstance(found, Schedule):
                found = found.stretched(epochs)
            return None if found is None else augmenting(found, self.data)

        trainings = LastTrainings(self.out / TRAININGS, self.network.build, self.data, self.last_training)
        return trainings.by(name, range(self.seed, self.seed + self.last.retrain_seeds), augment)
