"""The few-shot learner of a candidate, meta-trained as all are: with its network, or by its policy."""

from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor, nn

from fphi.experiment.search.options import MetaOptions
from fphi.experiment.setup import setting_of
from fphi.learnable import LearningAlgorithm
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.architecture.space import TakesNorm
from fphi.learnable.augmentation import AugmentationPolicy, AugmentationSpace, Schedule
from fphi.learnable.augmentation.task_images import changing, fill_of_tasks
from fphi.learnable.space import Tokens
from fphi.methods.base import FewShotMethod, NetworkBuilder, Setting
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.run.meta.evaluate import evaluate
from fphi.run.meta.loop import meta_train
from fphi.run.meta.training import Training
from fphi.tasks import FewShotTasks
from fphi.within.randomness import own_randomness
from fphi.within.training import OUT_OF_TIME, TrainingFailedError

__all__ = ["MetaTraining", "NetworkLearner", "PolicyLearner", "architecture_builder"]


@dataclass(frozen=True)
class MetaTraining:
    """A few-shot method that is trained again and again, and judged on the same tasks.

    Args:
        method: with its options.
        tasks: with the splits "train" and "validation", and "test" for the end.
        meta: how long, and on how many tasks it is judged.
    """

    method: FewShotMethod
    tasks: FewShotTasks = field(repr=False)
    meta: MetaOptions

    @property
    def setting(self) -> Setting:
        """What the tasks demand of a network."""
        return setting_of(self.tasks)

    def trained(
        self,
        seed: int,
        steps: int,
        *,
        network: NetworkBuilder | None = None,
        policy: AugmentationPolicy | None = None,
        limit: bool = True,
    ) -> LearningAlgorithm:
        """The learner from new weights after its training; all candidates meet the same tasks.

        Args:
            seed: of weights and training.
            steps: meta-steps.
            network: builds the learner's network; None: the method's own.
            policy: of the images of training tasks; None: they stay.
            limit: whether a candidate's time limit counts.

        Raises:
            TrainingFailedError: the time was up.
            FphiError: the loss is not finite.
        """
        seconds = self.meta.limit_seconds if limit else None
        training = Training(
            steps=steps,
            meta_batch=self.meta.meta_batch,
            seed=seed,
            threads=1,
            max_time=None if seconds is None else f"{seconds}s",
        )
        tasks = self.tasks if policy is None else self.tasks.with_training_images(changing(policy))
        with own_randomness(seed, self.meta.threads):
            learner = self.method.learner(replace(self.setting, network=network))
            optimizer = self.method.optimizer(learner)
            if optimizer is None:
                return learner
            done = meta_train(learner, optimizer, tasks, training)
        if done < steps:
            raise TrainingFailedError(
                f"{OUT_OF_TIME}: {seconds:g} s were over in meta-step {done + 1} of {steps}"
            )
        return learner

    def accuracy(self, learner: LearningAlgorithm, split: str) -> float:
        """The mean accuracy on the first tasks of a split."""
        return float(self.accuracies(learner, split).double().mean())

    def accuracies(self, learner: LearningAlgorithm, split: str) -> Tensor:
        """The accuracy on each of the first tasks of a split ``[n]``."""
        count = self.meta.test_tasks if split == "test" else self.meta.validation_tasks
        with own_randomness(0, self.meta.threads):
            return evaluate(learner, self.tasks, split=split, count=count, inductive=False).transductive


@dataclass(frozen=True)
class NetworkLearner(MetaTraining):
    """A candidate is the network; see `CandidateLearner`.

    Args:
        method, tasks, meta: see `MetaTraining`.
        space: whose networks take any normalisation.
    """

    space: ArchitectureSpace

    def learn(self, tokens: Tokens, seed: int) -> LearningAlgorithm:
        """The learner with this network after its training."""
        return self.trained(seed, self.meta.steps, network=architecture_builder(self.space, tokens))


@dataclass(frozen=True)
class PolicyLearner(MetaTraining):
    """A candidate is what is done to the images of training tasks; see `CandidateLearner`.

    Args:
        method, tasks, meta: see `MetaTraining`.
        space: of policies.
    """

    space: AugmentationSpace

    def learn(self, tokens: Tokens, seed: int) -> LearningAlgorithm:
        """The learner after a training on images so augmented."""
        return self.trained(seed, self.meta.steps, policy=self.policy((tokens,)))

    def policy(self, chosen: tuple[Tokens, ...]) -> AugmentationPolicy:
        """What candidates make together."""
        found = self.space.augmentation(chosen, fill=fill_of_tasks(self.tasks))
        assert not isinstance(found, Schedule)
        return found


def architecture_builder(space: ArchitectureSpace, tokens: Tokens) -> NetworkBuilder:
    """Builds an architecture for what a method asks of its network."""
    assert isinstance(space, TakesNorm)
    takes: TakesNorm = space

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
        return takes.network(tokens, input_shape, outputs, partial(BatchNorm, mode=norm))

    return build
