"""``fphi search METHOD --few-shot LEARNER``: candidates are networks of a few-shot learner."""

import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, get_args

from fphi.cli.options import TaskOptions, at_least, fields_of
from fphi.cli.search_problem import Problem, ProblemOptions
from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, SearchSpace, Tokens
from fphi.methods import SEARCHES, get_search
from fphi.methods.searching import SearchMethod, SupernetMethod
from fphi.report.compare import paired_difference
from fphi.run.built import Architecture
from fphi.run.few_shot_child import FewShotChild, FewShotLearner, FewShotTraining, TakesNorm
from fphi.run.few_shot_retrain import nearest_conv4, retrain_few_shot
from fphi.run.retrain import Retrained
from fphi.tasks import FewShotTasks

__all__ = ["FewShotOptions", "FewShotProblem", "MetaOptions", "require_few_shot"]

_SMALLEST = 16  # pixels of a side, for the four poolings of Conv4


@dataclass(frozen=True)
class MetaOptions:
    """How candidates are meta-trained and judged, and what is found in the end.

    Args:
        steps: meta-steps of a candidate's training.
        retrain_steps: meta-steps of the last training of the best architecture, and of Conv4, from new
            weights.
        meta_batch: tasks of a meta-step.
        meta_lr: learning rate of the outer loop's Adam at first; it falls to 0 with a cosine.
        inner_lr: learning rate of MAML's inner loop.
        inner_steps: steps of MAML's inner loop in training.
        test_steps: steps of MAML's inner loop on validation and test tasks.
        validation_tasks: tasks that a candidate's error is taken on, the first ones of their split.
        test_tasks: tasks that retrained networks are tested on in the end, the first ones of their split.
        limit_seconds: a candidate whose training takes longer fails; no limit if not given.
        threads: threads of torch for a network's training.
    """

    steps: int = 40
    retrain_steps: int = 200
    meta_batch: int = 4
    meta_lr: float = 2e-3
    inner_lr: float = 0.4
    inner_steps: int = 1
    test_steps: int = 3
    validation_tasks: int = 100
    test_tasks: int = 400
    limit_seconds: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse trainings and tests of nothing; an interval takes two tasks."""
        at_least(1, steps=self.steps, retrain_steps=self.retrain_steps, meta_batch=self.meta_batch)
        at_least(1, inner_steps=self.inner_steps, validation_tasks=self.validation_tasks)
        at_least(1, threads=self.threads)
        at_least(2, test_tasks=self.test_tasks)
        at_least(0, test_steps=self.test_steps)
        for name in ("meta_lr", "inner_lr", "limit_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise FphiError(f"--{name.replace('_', '-')} is {value:g}; it must be above 0")

    def training(self, learner: FewShotLearner) -> FewShotTraining:
        """Of a candidate, which meets no test task."""
        own = {f.name for f in fields(FewShotTraining)} - {"learner", "lr", "test_tasks"}
        shared = {name: getattr(self, name) for name in own}
        return FewShotTraining(learner, lr=self.meta_lr, test_tasks=0, **shared)


@dataclass(frozen=True)
class FewShotOptions(ProblemOptions):
    """Meta-training on few-shot tasks."""

    parts = (TaskOptions, MetaOptions)

    learner: FewShotLearner
    tasks: TaskOptions
    meta: MetaOptions

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(values["few_shot"], fields_of(TaskOptions, values), fields_of(MetaOptions, values))

    def to_dict(self) -> dict[str, Any]:
        return {"few_shot": self.learner, **asdict(self.tasks), **asdict(self.meta)}

    def located(self) -> Self:
        return replace(self, tasks=self.tasks.located())

    def load(self, space: SearchSpace, seed: int) -> "FewShotProblem":
        """The problem with its tasks.

        Raises:
            FphiError: the tasks have no classes, are too small for Conv4, or lack a split.
        """
        if self.tasks.image_size < _SMALLEST:
            raise FphiError(
                f"--image-size is {self.tasks.image_size}; Conv4, which the result is compared with, needs "
                f"at least {_SMALLEST}"
            )
        if self.tasks.train_on_validation:
            raise FphiError(
                "--train-on-validation leaves no validation tasks to judge candidates by; leave it out"
            )
        tasks = self.tasks.load(seed)
        if not isinstance(tasks, FewShotTasks):
            raise FphiError(
                f"--tasks {self.tasks.tasks} have no classes: few-shot architecture search takes images; "
                "choose omniglot, hershey or a path"
            )
        problem = FewShotProblem(space, seed, self, tasks)
        # Refuses missing splits, that of the test too.
        FewShotChild(space, tasks, problem.last_training, seed)
        return problem


@dataclass(frozen=True)
class FewShotProblem(Problem):
    """A candidate's loss is its error on validation tasks, as the network of a learner."""

    rate = "--meta-lr"

    space: SearchSpace
    seed: int
    options: FewShotOptions
    tasks: FewShotTasks

    @property
    def training(self) -> FewShotTraining:
        """Of a candidate."""
        return self.options.meta.training(self.options.learner)

    @property
    def last_training(self) -> FewShotTraining:
        """Of what is tested in the end."""
        meta = self.options.meta
        steps, tasks = meta.retrain_steps, meta.test_tasks
        return replace(self.training, steps=steps, test_tasks=tasks, limit_seconds=None)

    @property
    def lasting(self) -> tuple[int, str]:
        return self.options.meta.retrain_steps, "meta-steps"

    def architecture(self, tokens: Tokens) -> Architecture:
        shape, outputs = self._sizes
        return Architecture(self.space, tokens, shape, outputs, self.options.learner)

    def evaluate(self, weights: Path | None = None) -> FewShotChild:
        """Meta-trains candidates from new weights; there is no inheritance."""
        assert weights is None
        return FewShotChild(self.space, self.tasks, self.training, self.seed)

    def retrain(self, tokens: Tokens) -> Retrained:
        make = self.architecture(tokens).build
        return retrain_few_shot(make, self.tasks, self.last_training, self.seed)

    def rival(self, found: Retrained) -> dict[str, Any]:
        """Conv4 with nearly as many parameters, meta-trained and tested as what was found.

        ``difference``: found minus Conv4, paired by test task.
        """

        def conv4() -> Any:
            return nearest_conv4(found.parameters, *self._sizes, self.training.mode)

        filters = conv4().body[0].conv.out_channels
        steps = self.options.meta.retrain_steps
        print(f"training Conv4 with {filters} filters for {steps} meta-steps", file=sys.stderr, flush=True)
        trained = retrain_few_shot(conv4, self.tasks, self.last_training, self.seed)
        rival = {"filters": filters, **trained.to_json()}
        if found.by_task is not None and trained.by_task is not None:
            mean, ci95 = paired_difference(trained.by_task, found.by_task)
            rival["difference"] = {"mean": mean, "ci95": ci95}
        return {"conv4": rival}

    def facts(self) -> dict[str, Any]:
        options, meta = self.options.tasks, self.options.meta
        return {
            "data": f"{options.tasks}, {options.ways}-way {options.shots}-shot",
            "few_shot": self.options.learner,
            "protocol": self.tasks.protocol,
            "ways": options.ways,
            "shots": options.shots,
            "tasks": {"validation": meta.validation_tasks, "test": meta.test_tasks},
            "statistics": self.training.mode,
            "meta_batch": meta.meta_batch,
            "candidate_steps": meta.steps,
            "retrain_steps": meta.retrain_steps,
        }

    @property
    def _sizes(self) -> tuple[tuple[int, ...], int | None]:
        """``C, H, W`` of an image, and the outputs of a network."""
        shape = tuple(self.tasks.task("train", 0).support.x.shape[1:])
        return shape, self.training.outputs(self.options.tasks.ways)


def require_few_shot(learner: str, method: str, space: type[SearchSpace]) -> None:
    """Raise an `FphiError` unless there is such a learner, and the method can search its networks there."""
    known = get_args(FewShotLearner)
    if learner not in known:
        raise FphiError(f"--few-shot is {learner!r}; it must be one of {', '.join(known)}")
    if not _one_by_one(get_search(method)):
        supernet = issubclass(get_search(method), SupernetMethod)
        why = "trains a supernet" if supernet else "lets children inherit weights"
        able = [name for name, cls in sorted(SEARCHES.items()) if _one_by_one(cls)]
        raise FphiError(
            f"{method} {why}, and few-shot candidates are meta-trained one by one from new weights: "
            f"choose one of {', '.join(able)}"
        )
    if not issubclass(space, TakesNorm):
        able = [name for name, cls in SPACES.items() if issubclass(cls, TakesNorm)]
        raise FphiError(
            f"networks of the space {space.name} have batch norms of their own, and few-shot learners need "
            f"theirs: choose one of {', '.join(able)}"
        )


def _one_by_one(method: type[SearchMethod] | type[SupernetMethod]) -> bool:
    """Whether it has candidates trained one by one, from new weights."""
    return issubclass(method, SearchMethod) and not method.inherits
