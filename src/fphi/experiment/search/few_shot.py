"""A search for the networks of a few-shot learner: candidates are meta-trained as every learner is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.experiment.architecture import Architecture
from fphi.experiment.classes import classes_of
from fphi.experiment.search.options import MetaOptions
from fphi.experiment.search.problem import ArchitectureProblem, Found
from fphi.experiment.setup import setting_of
from fphi.learnable import LearningAlgorithm
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.architecture.space import TakesNorm
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.base import FewShotMethod, NetworkBuilder, Setting
from fphi.methods.families.searching import EpochwiseMethod
from fphi.networks import Conv4
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.objective.candidate_loss import MetaTrainAndTest
from fphi.report.compare import paired_difference
from fphi.run.meta.evaluate import evaluate
from fphi.run.meta.loop import meta_train
from fphi.run.meta.training import Training
from fphi.run.search.retrain import Retrained
from fphi.run.search.weights import WeightFolder
from fphi.run.show.say import say
from fphi.tasks import NAMED, FewShotTasks, TaskDistribution
from fphi.tasks.division import Division
from fphi.tasks.hashing import stream_key
from fphi.tasks.options import TaskOptions
from fphi.within.randomness import own_randomness
from fphi.within.trained import parameter_count
from fphi.within.training import TrainingFailedError

__all__ = ["FewShotProblem", "NetworkLearner", "architecture_builder", "mean_conv4", "nearest_filters"]

_SMALLEST = 16  # pixels of a side, for the four poolings of Conv4


@dataclass(frozen=True)
class NetworkLearner:
    """A few-shot method's learner with any network, meta-trained; see `CandidateLearner`.

    Args:
        space: whose networks take any normalisation.
        method: with its options; its network is the candidate.
        tasks: with the splits "train" and "validation", and "test" for the end.
        shots: support examples of a class.
        meta: how long, and on how many tasks it is judged.
    """

    space: ArchitectureSpace
    method: FewShotMethod
    tasks: TaskDistribution = field(repr=False)
    shots: int
    meta: MetaOptions

    @property
    def setting(self) -> Setting:
        """What the tasks demand of a network."""
        return setting_of(self.tasks, self.shots)

    def learn(self, tokens: Tokens, seed: int) -> LearningAlgorithm:
        """The learner after its training; all candidates meet the same tasks."""
        return self.trained(architecture_builder(self.space, tokens), seed, self.meta.steps)

    def trained(
        self, network: NetworkBuilder, seed: int, steps: int, limit: bool = True
    ) -> LearningAlgorithm:
        """The learner with this network, from new weights.

        Args:
            network: builds it.
            seed: of weights and training.
            steps: meta-steps.
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
        with own_randomness(seed, self.meta.threads):
            learner = self.method.learner(replace(self.setting, network=network))
            optimizer = self.method.optimizer(learner)
            if optimizer is None:
                return learner
            done = meta_train(learner, optimizer, self.tasks, training)
        if done < steps:
            raise TrainingFailedError(
                f"out of time: {seconds:g} s were over in meta-step {done + 1} of {steps}"
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


def architecture_builder(space: ArchitectureSpace, tokens: Tokens) -> NetworkBuilder:
    """Builds an architecture for what a method asks of its network."""
    assert isinstance(space, TakesNorm)
    takes: TakesNorm = space

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
        return takes.network(tokens, input_shape, outputs, partial(BatchNorm, mode=norm))

    return build


@dataclass(frozen=True)
class FewShotProblem(ArchitectureProblem):
    """Many small tasks: a candidate's loss is its error on validation tasks, as the network of a learner."""

    rate = "--learner-outer-lr"

    learner: NetworkLearner
    name: str
    seed: int
    options: TaskOptions

    @classmethod
    def load(
        cls,
        space: ArchitectureSpace,
        seed: int,
        options: TaskOptions,
        meta: MetaOptions,
        learner: tuple[str, FewShotMethod],
        division: Division | None = None,
    ) -> "FewShotProblem":
        """With its tasks, functions of the seed; their classes are those of ``division``, if it is given.

        Raises:
            FphiError: the tasks have no classes, are too small for Conv4, or lack a split.
        """
        if options.image_size < _SMALLEST:
            raise FphiError(
                f"--image-size is {options.image_size}; Conv4, which the result is compared with, needs at "
                f"least {_SMALLEST}"
            )
        if options.train_on_validation:
            raise FphiError(
                "--train-on-validation leaves no validation tasks to judge candidates by; leave it out"
            )
        name, method = learner
        tasks = options.load(seed, method.train_tasks(options.ways, options.shots), division=division)
        if not isinstance(tasks, FewShotTasks):
            raise FphiError(
                f"--tasks {options.tasks} have no classes: few-shot architecture search takes images; choose "
                "omniglot, hershey or a path"
            )
        missing = sorted({"train", "validation", "test"} - set(tasks.splits))
        if missing:
            raise FphiError(f"the tasks have no split {missing[0]!r}; choose a protocol that has it")
        return cls(NetworkLearner(space, method, tasks, options.shots, meta), name, seed, options)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.learner.tasks.notes

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {} if self.options.tasks in NAMED else classes_of(self.learner.tasks)

    @property
    def lasting(self) -> tuple[int, str]:
        return self.learner.meta.retrain_steps, "meta-steps"

    def architecture(self, tokens: Tokens) -> Architecture:
        asked = _asked(self.learner)
        return Architecture(self.learner.space, tokens, asked[0], asked[1], asked[2])

    def loss(self, weights: WeightFolder | None = None) -> MetaTrainAndTest:
        """Meta-trains candidates from new weights; there is no inheritance."""
        assert weights is None
        return MetaTrainAndTest(self.learner, self.seed)

    def begin(self, method: EpochwiseMethod) -> NoReturn:
        raise FphiError(f"{method.title} trains on one large task; leave --few-shot out")

    def judge(self, found: Tokens) -> float:
        return 1 - self.loss()(Candidate(0, found)).loss

    def retrain(self, found: Found) -> Retrained:
        return self._retrained(architecture_builder(self.learner.space, found.chosen[0]))

    def compared(self, found: Found, retrained: Retrained) -> dict[str, Any]:
        """Conv4 with nearly as many parameters, meta-trained and tested as what was found.

        ``difference``: found minus Conv4, paired by test task.
        """
        shape, outputs, mode = _asked(self.learner)
        filters = nearest_filters(retrained.parameters, shape, outputs, mode)
        steps = self.learner.meta.retrain_steps
        say(f"training Conv4 with {filters} filters for {steps} meta-steps")

        def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
            return mean_conv4(filters, input_shape, outputs, norm)

        trained = self._retrained(build)
        record = {"filters": filters, **trained.to_json()}
        if retrained.by_task is not None and trained.by_task is not None:
            mean, ci95 = paired_difference(trained.by_task, retrained.by_task)
            record["difference"] = {"mean": mean, "ci95": ci95}
        return {"conv4": record}

    def facts(self) -> dict[str, Any]:
        options, meta = self.options, self.learner.meta
        return {
            "data": f"{options.tasks}, {options.ways}-way {options.shots}-shot",
            "few_shot": self.name,
            "protocol": self.learner.tasks.protocol,
            "ways": options.ways,
            "shots": options.shots,
            "tasks": {"validation": meta.validation_tasks, "test": meta.test_tasks},
            "statistics": _asked(self.learner)[2],
            "meta_batch": meta.meta_batch,
            "candidate_steps": meta.steps,
            "retrain_steps": meta.retrain_steps,
        }

    def _retrained(self, network: NetworkBuilder) -> Retrained:
        """Meta-trained from new weights and tested; all networks meet the same tasks."""
        start = monotonic()
        seed = int(stream_key(self.seed, "retrain") >> 1)
        try:
            learner = self.learner.trained(network, seed, self.learner.meta.retrain_steps, limit=False)
        except FphiError as error:
            return Retrained(None, 0, None, None, monotonic() - start, str(error))
        seconds = monotonic() - start
        validation = self.learner.accuracy(learner, "validation")
        test = self.learner.accuracies(learner, "test")
        module = learner.get_submodule("network")
        mean = float(test.double().mean())
        return Retrained(module, parameter_count(module), validation, mean, seconds, by_task=test)


def _asked(learner: NetworkLearner) -> tuple[tuple[int, ...], int | None, Mode]:
    """What the method asks of its network: shape of an input, outputs, and statistics of its norms."""
    asked: list[tuple[tuple[int, ...], int | None, Mode]] = []

    def build(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
        asked.append((input_shape, outputs, norm))
        return Conv4(outputs, channels=input_shape[0], image_size=input_shape[1], filters=1, norm=norm)

    with torch.random.fork_rng(devices=[]):
        learner.method.learner(replace(learner.setting, network=build))
    return asked[0]


def mean_conv4(filters: int, input_shape: tuple[int, ...], outputs: int | None, mode: Mode) -> Conv4:
    """A Conv4 whose features are the means over the image, as those of searched networks are."""
    channels, size, _ = input_shape
    return Conv4(outputs, channels=channels, image_size=size, filters=filters, features="mean", norm=mode)


def nearest_filters(parameters: int, input_shape: tuple[int, ...], outputs: int | None, mode: Mode) -> int:
    """How many filters make the number of parameters of `mean_conv4` closest; of two as close the fewer.

    Args:
        parameters: to come close to.
        input_shape: ``C, H, W`` of a square image.
        outputs: None: features.
        mode: of its batch norms.
    """

    def count(filters: int) -> int:
        with torch.device("meta"):  # nothing is drawn, nothing allocated
            return parameter_count(mean_conv4(filters, input_shape, outputs, mode))

    above = 1
    while count(above) < parameters:
        above += 1
    return min(max(1, above - 1), above, key=lambda filters: abs(count(filters) - parameters))
