"""A search for what is done to the images of training tasks: the learner stays, and meets changed tasks."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fphi.experiment.search.augmenting import NOTHING, TRIVIAL
from fphi.experiment.search.candidate_learners import PolicyLearner
from fphi.experiment.search.many_tasks import ManyTasks, tasks_for
from fphi.experiment.search.options import MetaOptions
from fphi.experiment.search.problem import Found
from fphi.learnable.augmentation import AugmentationPolicy, AugmentationSpace, TrivialAugment
from fphi.learnable.augmentation.task_images import fill_of_tasks
from fphi.methods.base import FewShotMethod
from fphi.report.compare import paired_difference
from fphi.report.policies import described, draw_policy
from fphi.run.disk.augmentations import AUGMENTATION, write_augmentation
from fphi.run.disk.files import replace_file
from fphi.run.disk.interrupt import stoppable
from fphi.run.search.retrain import Retrained
from fphi.run.show.say import say
from fphi.tasks.division import Division
from fphi.tasks.options import TaskOptions

__all__ = ["TaskAugmentationProblem"]

_SHOWN = 10  # images


@dataclass(frozen=True)
class TaskAugmentationProblem(ManyTasks):
    """Candidates are policies for the images of training tasks, support sets and queries."""

    what: ClassVar[str] = "augmentation"

    learner: PolicyLearner

    @classmethod
    def load(
        cls,
        space: AugmentationSpace,
        seed: int,
        options: TaskOptions,
        meta: MetaOptions,
        learner: tuple[str, FewShotMethod],
        division: Division | None = None,
    ) -> "TaskAugmentationProblem":
        """With its tasks, see `tasks_for`."""
        name, method = learner
        tasks = tasks_for(method, options, seed, division)
        return cls(PolicyLearner(method, tasks, meta, space), name, seed, options)

    def require(self) -> None:
        fill_of_tasks(self.learner.tasks)

    def text(self, found: Found) -> str:
        return described(self.learner.policy(found.chosen))

    def write(self, found: Found, out: Path) -> None:
        policy = self.learner.policy(found.chosen)
        write_augmentation(out / AUGMENTATION, policy)
        images = self.learner.tasks.task("train", 0).support.x[:_SHOWN]
        replace_file(out / "augmentation.png", draw_policy(policy, images))

    def retrain(self, found: Found) -> Retrained:
        return self.last_training(policy=self.learner.policy(found.chosen))

    def compared(self, found: Found, retrained: Retrained) -> dict[str, Any]:
        """No augmentation, a random policy of the same size, and TrivialAugment, on the same tasks.

        ``difference``: found minus it, paired by test task.
        """
        space, fill = self.learner.space, fill_of_tasks(self.learner.tasks)
        drawn = tuple(
            space.sample(Random(f"{self.seed}/random policy/{i}")) for i in range(len(found.chosen))
        )
        ways: dict[str, AugmentationPolicy | None] = {
            NOTHING: None,
            "random policies": self.learner.policy(drawn),
            TRIVIAL: TrivialAugment(fill=fill),
        }
        beside = {}
        for name, policy in ways.items():
            say(f"training with {name} for {self.learner.meta.retrain_steps} meta-steps")
            with stoppable("before the end of the retraining"):
                trained = self.last_training(policy=policy)
            record = trained.to_json()
            if retrained.by_task is not None and trained.by_task is not None:
                mean, ci95 = paired_difference(trained.by_task, retrained.by_task)
                record["difference"] = {"mean": mean, "ci95": ci95}
            beside[name] = record
        return {"beside": beside}
