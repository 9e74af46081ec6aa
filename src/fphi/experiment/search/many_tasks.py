"""Searches over many small tasks: a candidate's loss is a few-shot learner's error on validation tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar, NoReturn

from fphi.errors import FphiError
from fphi.experiment.classes import classes_of
from fphi.experiment.search.candidate_learners import NetworkLearner, PolicyLearner
from fphi.experiment.search.problem import Problem, accuracy_of
from fphi.learnable.augmentation import AugmentationPolicy
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.base import FewShotMethod, NetworkBuilder
from fphi.methods.families.searching import EpochwiseMethod
from fphi.objective.candidate_loss import MetaTrainAndTest
from fphi.run.search.retrain import Retrained
from fphi.run.search.weights import WeightFolder
from fphi.tasks import NAMED, FewShotTasks
from fphi.tasks.division import Division
from fphi.tasks.hashing import stream_key
from fphi.tasks.options import TaskOptions
from fphi.within.trained import parameter_count

__all__ = ["ManyTasks", "tasks_for"]


def tasks_for(
    method: FewShotMethod, options: TaskOptions, seed: int, division: Division | None
) -> FewShotTasks:
    """The tasks, functions of the seed; their classes are those of ``division``, if it is given.

    Raises:
        FphiError: the tasks have no classes, or lack a split.
    """
    if options.train_on_validation:
        raise FphiError(
            "--train-on-validation leaves no validation tasks to judge candidates by; leave it out"
        )
    tasks = options.load(seed, method.train_tasks(options.ways, options.shots), division=division)
    if not isinstance(tasks, FewShotTasks):
        raise FphiError(
            f"--tasks {options.tasks} have no classes: few-shot search takes images; choose omniglot, "
            "hershey or a path"
        )
    missing = sorted({"train", "validation", "test"} - set(tasks.splits))
    if missing:
        raise FphiError(f"the tasks have no split {missing[0]!r}; choose a protocol that has it")
    return tasks


@dataclass(frozen=True)
class ManyTasks(Problem):
    """What all candidates for a few-shot learner have in common.

    Args:
        learner: of a candidate.
        name: of the few-shot method.
        seed: of everything random.
        options: of the tasks.
    """

    rate: ClassVar[str] = "--learner-outer-lr"
    limit: ClassVar[str] = "--limit-seconds"

    learner: NetworkLearner | PolicyLearner
    name: str
    seed: int
    options: TaskOptions

    @property
    def notes(self) -> tuple[str, ...]:
        return self.learner.tasks.notes

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        return {} if self.options.tasks in NAMED else classes_of(self.learner.tasks)

    @property
    def lasting(self) -> tuple[int, str]:
        return self.learner.meta.retrain_steps, "meta-steps"

    def loss(self, weights: WeightFolder | None = None) -> MetaTrainAndTest:
        """Meta-trains candidates from new weights; there is no inheritance."""
        assert weights is None
        return MetaTrainAndTest(self.learner, self.seed)

    def begin(self, method: EpochwiseMethod) -> NoReturn:
        raise FphiError(f"{method.title} trains on one large task; leave --few-shot out")

    def judge(self, found: Tokens) -> float:
        return accuracy_of(self.loss()(Candidate(0, found)))

    def facts(self) -> dict[str, Any]:
        options, meta = self.options, self.learner.meta
        return {
            "data": f"{options.tasks}, {options.ways}-way {options.shots}-shot",
            "few_shot": self.name,
            "protocol": self.learner.tasks.protocol,
            "ways": options.ways,
            "shots": options.shots,
            "tasks": {"validation": meta.validation_tasks, "test": meta.test_tasks},
            "meta_batch": meta.meta_batch,
            "candidate_steps": meta.steps,
            "retrain_steps": meta.retrain_steps,
        }

    def last_training(
        self, network: NetworkBuilder | None = None, policy: AugmentationPolicy | None = None
    ) -> Retrained:
        """Meta-trained from new weights and tested; all meet the same tasks."""
        start = monotonic()
        seed, steps = int(stream_key(self.seed, "retrain") >> 1), self.learner.meta.retrain_steps
        try:
            learner = self.learner.trained(seed, steps, network=network, policy=policy, limit=False)
        except FphiError as error:
            return Retrained(None, 0, None, None, monotonic() - start, str(error))
        seconds = monotonic() - start
        validation = self.learner.accuracy(learner, "validation")
        test = self.learner.accuracies(learner, "test")
        module = getattr(learner, "network", learner)
        mean = float(test.double().mean())
        return Retrained(module, parameter_count(module), validation, mean, seconds, by_task=test)
