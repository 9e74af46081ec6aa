"""Across-task testing: learn each test task from its support set, score on its query set."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm, evaluation_mode
from fphi.learnable.checking import checked_tasks, explaining
from fphi.learnable.targets import are_labels
from fphi.networks.calibration import calibrate, lacks_statistics
from fphi.objective.meta_gradient import parts_for, size_of_task, split_tasks
from fphi.objective.spreading import default_threads, spread
from fphi.ranges import Range, checked
from fphi.run.disk.finite import require_finite
from fphi.run.meta.confidence import binned_error
from fphi.run.meta.evaluation import Evaluation
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.types import Task
from fphi.within.answers import are_right
from fphi.within.cross_entropy import IGNORED
from fphi.within.randomness import own_randomness
from fphi.within.stand_in import stand_in

__all__ = [
    "How",
    "Measured",
    "calibrate_on",
    "device_of",
    "evaluate",
    "joined",
    "measure",
    "parts_of",
]

# Examples that are evaluated at once: as many as the caches hold, on a CPU; it bounds the memory too.
_EXAMPLES = {"cpu": 256, "other": 4096}


@checked(start=Range(0, 10**15), steps=Range(0, 10_000), threads=Range(1, 1024))
@torch.no_grad()
def evaluate(
    learner: LearningAlgorithm,
    tasks: Task | TaskDistribution,
    *,
    split: str = "test",
    count: int = 600,
    start: int = 0,
    steps: int | None = None,
    inductive: bool = True,
    chunk_size: int | None = None,
    threads: int | None = None,
) -> Evaluation:
    """Evaluate a learner on a batch of tasks, or on tasks ``start … start+count-1`` of a split.

    Where its norm layers of mode ``"running"`` have no statistics yet, a copy of it takes those of the
    distribution's training tasks, see `calibrate_on`.

    Args:
        learner: any learning algorithm; its φ and buffers are not changed.
        tasks: a batch (then ``split``, ``count`` and ``start`` are not used) or a distribution.
        split: of the distribution.
        count: number of tasks.
        start: number of the first task.
        steps: inner steps up to which ``by_step`` goes; None: as many as the learner takes at test.
        inductive: False leaves the inductive accuracy out where it would cost extra passes.
        chunk_size: tasks solved at once; None: by the size of a task.
        threads: see `fphi.meta_gradient`.

    Raises:
        FphiError: an argument or a task is none, the learner's weights are nan or infinite, or it has no
            running statistics and there are no training tasks to take them of.
    """
    how = How(split, steps, inductive, chunk_size, threads)
    return joined([measure(learner, tasks, range(start, start + count), how)])


@dataclass(frozen=True)
class How:
    """How tasks are evaluated: see `evaluate`."""

    split: str = "test"
    steps: int | None = None
    inductive: bool = True
    chunk_size: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured of some tasks, in their order; it can be sent anywhere.

    Args:
        chunks: as they were solved.
        shares_queries: see `Evaluation`.
    """

    chunks: tuple[tuple["_Chunk", dict[str, Tensor]], ...]
    shares_queries: bool


@torch.no_grad()
def measure(learner: LearningAlgorithm, tasks: Task | TaskDistribution, numbers: range, how: How) -> Measured:
    """A part of an evaluation: the tasks of these numbers, or all of a batch; see `evaluate`."""
    split = how.split
    if isinstance(tasks, TaskDistribution) and split not in tasks.splits:
        raise FphiError(f"split is {split!r}; these tasks have {', '.join(tasks.splits)}")
    require_finite(learner.state_dict(), "the learner", learner)
    done: list[tuple[_Chunk, dict[str, Tensor]]] = []
    with evaluation_mode(_with_statistics(learner, tasks)) as answering:
        shares = None
        device = device_of(learner)
        threads = how.threads or default_threads(device)
        chunks = _chunks(learner, tasks, split, numbers, how.chunk_size, device)
        # So many at a time that threads are rarely idle, and tasks are not all in memory.
        while group := list(islice(chunks, 8 * threads)):
            checked = (checked_tasks(learner, chunk.to(device)) for chunk in group)
            group = [part for chunk in checked for part in parts_for(answering, chunk)]
            if shares is None:
                first = group[0]
                with explaining(answering, first.support, first.query.x):
                    shares = answering.shares_queries(first.support, first.query.x)
            evaluated = partial(_evaluate_chunk, how.steps, how.inductive, shares)
            done += spread(answering, group, evaluated, threads)
    if shares is None:
        raise FphiError("the batch holds no task; evaluation needs at least one")
    return Measured(tuple(done), shares)


def parts_of(
    learner: LearningAlgorithm, tasks: TaskDistribution, how: How, count: int, parts: int
) -> list[range]:
    """The numbers of the first tasks, in parts that are solved in the same chunks as the whole."""
    device = device_of(learner)
    size = how.chunk_size or _fitting(learner, tasks.drawn(how.split, [0]), device)
    chunks = -(-count // size)
    ends = [min(count, size * (chunks * i // parts)) for i in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(ends) if a < b]


_Chunk = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def joined(parts: Sequence[Measured]) -> Evaluation:
    """What was measured of all tasks, in their order."""
    done, shares = [chunk for part in parts for chunk in part.chunks], parts[0].shares_queries
    results, measures = zip(*done, strict=True)
    joined = [torch.cat(parts, dim=-1).cpu() for parts in zip(*results, strict=True)]
    transductive, alone, losses, step_accuracy, step_loss, sure = joined
    by_step = [
        {"step": i, "loss": float(b.mean())} | ({"accuracy": float(a.mean())} if a.numel() else {})
        for i, (a, b) in enumerate(zip(step_accuracy.double(), step_loss.double(), strict=True))
    ]
    everywhere = [name for name in measures[0] if all(name in part for part in measures)]
    told = {name: torch.cat([part[name] for part in measures]).cpu() for name in everywhere}
    error = binned_error(sure[0].double().numpy(), sure[1].double().numpy()) if sure.numel() else None
    return Evaluation(transductive, alone, losses, by_step, shares, told, error)


def _evaluate_chunk(
    steps: int | None, inductive: bool, shares: bool, learner: LearningAlgorithm, tasks: Task
) -> tuple[_Chunk, dict[str, Tensor]]:
    """What is measured of these tasks: as everywhere, and by the learner."""
    with explaining(learner, tasks.support, tasks.query.x):
        return _measured(learner, tasks, steps, inductive, shares), learner.measures(tasks)


def _measured(
    learner: LearningAlgorithm, tasks: Task, steps: int | None, inductive: bool, shares: bool
) -> _Chunk:
    """Transductive and inductive accuracy, loss ``[B]``; accuracy and loss by step ``[steps, B]``."""
    targets = tasks.query.y
    answers = learner.answers_at_test(tasks.support, tasks.query.x, steps, alone=inductive and shares)
    transductive = _accuracy(answers.final, targets)
    alone = transductive if inductive or not shares else transductive[:0]
    if answers.alone is not None:
        alone = _accuracy(answers.alone, targets)
    by_step = [] if answers.by_step is None else list(answers.by_step)
    accuracies = [_accuracy(each, targets) for each in by_step]
    losses = [learner.losses(each, targets) for each in by_step]
    none = targets.new_empty(0, targets.shape[0], dtype=torch.float32)
    return (
        transductive,
        alone,
        learner.losses(answers.final, targets),
        torch.stack(accuracies) if accuracies else none,
        torch.stack(losses) if losses else none,
        _sureness(learner, answers.final, targets),
    )


def _sureness(learner: LearningAlgorithm, answers: Tensor, targets: Tensor) -> Tensor:
    """The largest probability of each answer, and whether it is right ``[2, answers]``; of labels alone."""
    logits = learner.logits(answers.float())
    if logits is None or not are_labels(answers[0], targets[0]) or targets.dim() != 2:
        return answers.new_empty(2, 0)
    counted = targets != IGNORED
    sure = logits.softmax(-1).amax(-1).nan_to_num(0)  # what is not finite is no answer
    return torch.stack([sure[counted], are_right(answers, targets, 2).float()[counted]])


def _accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """The fraction of right answers of each task ``[B]``; empty for targets that are no labels."""
    if not are_labels(predictions[0], targets[0]):
        return predictions.new_empty(0)
    right = are_right(predictions, targets, 2).float()
    counted = targets != IGNORED
    if targets.dim() == 2 and bool(counted.all()):
        return right.mean(1)
    return (right * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)


def _chunks(
    learner: LearningAlgorithm,
    tasks: Task | TaskDistribution,
    split: str,
    numbers: range,
    size: int | None,
    device: torch.device,
) -> Iterator[Task]:
    if isinstance(tasks, Task):
        tasks = checked_tasks(learner, tasks)
        yield from split_tasks(tasks, size or _fitting(learner, tasks, device))
        return
    size = size or _fitting(learner, tasks.drawn(split, numbers[:1]), device)
    for first in range(0, len(numbers), size):
        yield tasks.drawn(split, numbers[first : first + size])


def _fitting(learner: LearningAlgorithm, tasks: Task, device: torch.device) -> int:
    """How many of the tasks to solve at once."""
    shapes = [part.x.shape[1:] for part in tasks]
    examples, values = sum(shape[0] for shape in shapes), sum(math.prod(shape) for shape in shapes)
    at_once = _EXAMPLES["cpu" if device.type == "cpu" else "other"]
    return max(1, at_once // size_of_task(learner, examples, values))


def _with_statistics(learner: LearningAlgorithm, tasks: Task | TaskDistribution) -> LearningAlgorithm:
    """The learner; where nobody has taken its running statistics, a copy that has those of training tasks."""
    if not lacks_statistics(learner):
        return learner
    if isinstance(tasks, Task) or "train" not in tasks.splits:
        raise FphiError(
            "norms of mode 'running' have no statistics yet, and there are no training tasks to take them "
            "of: call fphi.calibrate_on(learner, tasks) after the training, with its tasks"
        )
    copied = stand_in(learner, {id(buffer): buffer.clone() for buffer in learner.buffers()})
    with own_randomness(0, torch.get_num_threads()):
        calibrate_on(copied or learner, tasks)  # as the end of a run does, where it cannot be copied
    return copied or learner


@checked(count=Range(1, 10**6))
def calibrate_on(learner: LearningAlgorithm, tasks: TaskDistribution, count: int = 20) -> None:
    """Set a learner's running statistics from the examples of the first training tasks.

    Norm layers of mode ``"running"`` answer with them in ``eval()``. Runs do this before each validation and
    at the end; a training loop of your own calls it when it is done. Nothing happens in a learner without a
    `BatchNorm` of this mode.

    Args:
        learner: is changed in place.
        tasks: with a split "train".
        count: how many of its tasks.
    """
    device = device_of(learner)
    calibrate(learner, (tasks.task("train", i).to(device) for i in range(count)), learner.observe)


def device_of(learner: LearningAlgorithm) -> torch.device:
    """Where its parameters are; a learner without any is at home on the CPU."""
    return next((p.device for p in learner.parameters()), torch.device("cpu"))
