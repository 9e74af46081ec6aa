"""A trained learner as the page asks it: pictures of a few classes, a question, and the answer."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.experiment.loading import WITHOUT_TASKS, load_learner, noted_setting, trained_run
from fphi.experiment.setup import FewShotRun
from fphi.learnable import ImaginaryLearner, LearningAlgorithm
from fphi.learnable.base import each_query_alone
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.report.embedding import principal_components
from fphi.serve.look import Look, look_of
from fphi.tasks import Examples
from fphi.within.randomness import undisturbed

__all__ = ["MOST_CLASSES", "MOST_EXAMPLES", "Answer", "Learned", "Limits", "Plane"]

MOST_CLASSES = 20
MOST_EXAMPLES = 100
"""Of all classes together."""


@dataclass(frozen=True)
class Limits:
    """What can be asked of a learner.

    Attributes:
        classes: the most there may be.
        examples: the most of all classes together.
        shots: how many each class must have; None: any number.
        bound: whether it is the training that limits the classes.
    """

    classes: int
    examples: int
    shots: int | None
    bound: bool


@dataclass(frozen=True)
class Plane:
    """Embeddings by their first two principal components.

    Attributes:
        support: of each example, in the order of the classes.
        means: of each class.
        question: of the question.
        share: of the variance along either axis.
    """

    support: list[list[float]]
    means: list[list[float]]
    question: list[float]
    share: list[float]


@dataclass(frozen=True)
class Answer:
    """What a learner answers to one question.

    Attributes:
        probabilities: of each class that has examples.
        steps: the same after 0, 1, … inner steps; None: there are no steps.
        plane: where examples and question lie; None: the learner does not compare embeddings.
    """

    probabilities: list[float]
    steps: list[list[float]] | None
    plane: Plane | None


class Learned:
    """What a run has learned, ready to be asked; several threads may ask it, one after the other.

    Args:
        run: the folder of a few-shot training.
        allowed: what is in files of Python, by option; see `Config.read`.

    Raises:
        FphiError: it is no such run, or its tasks are not of square images.
    """

    @undisturbed()
    def __init__(self, run: Path | str, allowed: Mapping[str, str] | None = None) -> None:
        self.run = Path(run)
        self.trained: FewShotRun = trained_run(self.run, allowed, needed=WITHOUT_TASKS)
        setting = self.trained.with_network(noted_setting(self.run, self.trained))
        if setting.ways is None:
            raise FphiError(f"{run} is a run on regression, whose answers are no classes: choose another run")
        self.look: Look = look_of(self.trained.options, setting.input_shape)
        self.learner: LearningAlgorithm = load_learner(self.run, self.trained, setting).eval()
        method = self.trained.method
        ways = "ways" in method.bound_to
        self.limits = Limits(
            classes=min(setting.ways, MOST_CLASSES) if ways else MOST_CLASSES,
            examples=MOST_EXAMPLES,
            shots=setting.shots if "shots" in method.bound_to else None,
            bound=ways,
        )
        self._one_at_a_time = threading.Lock()

    @property
    def image_bytes(self) -> int:
        """Of one image, a byte for each pixel and channel."""
        return self.look.channels * self.look.size**2

    def description(self) -> dict[str, Any]:
        """What the page has to know, as JSON can hold it."""
        config, options = self.trained.config, self.trained.options
        known = ("omniglot", "hershey", "fonts")
        return {
            "method": config.name,
            "paper": self.trained.method.paper,
            "tasks": options.tasks if options.tasks in known else "images",
            "look": asdict(self.look),
            "limits": asdict(self.limits),
        }

    def answer(self, classes: Sequence[Sequence[bytes]], question: bytes) -> Answer:
        """The inductive answer to a question.

        Args:
            classes: the images of each class; an image is a byte for each channel, row and column.
            question: an image.

        Raises:
            FphiError: there are more than `limits` allows, or the learner cannot learn from these.
        """
        self._require_within_limits([len(examples) for examples in classes])
        labels = [label for label, examples in enumerate(classes) for _ in examples]
        x = self._images([image for examples in classes for image in examples])
        support = Examples(x[None], torch.tensor(labels)[None])
        with self._one_at_a_time:
            return self._answer(support, self._images([question])[None])

    @undisturbed()
    @torch.no_grad()
    def _answer(self, support: Examples, question: Tensor) -> Answer:
        """Of one task, ``support.x: [1, n, *input]`` and ``question: [1, 1, *input]``."""
        ways = int(support.y.max()) + 1
        plain = type(self.learner).solve_alone is LearningAlgorithm.solve_alone
        with nullcontext() if plain else each_query_alone(self.learner):  # by step too
            answers = self.learner.answers_at_test(support, question)
        assert answers.alone is not None
        final = self._probabilities(answers.alone[0, 0, :ways])
        rows = () if answers.by_step is None else answers.by_step[:, 0, 0, :ways].unbind()
        steps = [self._probabilities(row) for row in rows] or None
        return Answer(final, steps, self._plane(support, question))

    def _probabilities(self, scores: Tensor) -> list[float]:
        """Of the scores ``[ways]``."""
        if bool((scores.isnan() | scores.isposinf()).any() or scores.isneginf().all()):
            raise FphiError("the learner's answer is not finite; try other examples")
        logits = self.learner.logits(scores.double())
        if logits is None:
            raise FphiError(f"{type(self.learner).__name__} answers with no probabilities; serve another run")
        values: list[float] = logits.softmax(0).tolist()
        return values

    def _plane(self, support: Examples, question: Tensor) -> Plane | None:
        learner: nn.Module = self.learner
        if not isinstance(learner, ComparisonLearner | ImaginaryLearner):
            return None
        with each_query_alone(learner):
            examples, asked = (part[0].flatten(1) for part in learner.embed(support.x, question))
        both = torch.cat([examples, asked])
        if both.shape[1] < 2 or not bool(both.isfinite().all()):
            return None
        points, share = principal_components(both)
        labels = support.y[0]
        means = [points[:-1][labels == label].mean(0).tolist() for label in range(int(labels.max()) + 1)]
        return Plane(points[:-1].tolist(), means, points[-1].tolist(), share.tolist())

    def _require_within_limits(self, counts: Sequence[int]) -> None:
        limits = self.limits
        if not 2 <= len(counts) <= limits.classes:
            why = f": {self.trained.config.name} is bound to the ways of its training" if limits.bound else ""
            raise FphiError(f"{len(counts)} classes; give 2 to {limits.classes}{why}")
        if 0 in counts:
            raise FphiError(f"class {counts.index(0) + 1} has no example; give at least one of each class")
        if sum(counts) > limits.examples:
            raise FphiError(f"{sum(counts)} examples; give at most {limits.examples} in all")
        wrong = next((count for count in counts if limits.shots not in (None, count)), None)
        if wrong is not None:
            raise FphiError(
                f"a class has {wrong} examples; {self.trained.config.name} is bound to the {limits.shots} of "
                "its training: give as many of each"
            )

    def _images(self, images: Sequence[bytes]) -> Tensor:
        """``[n, channels, size, size]`` in 0..1."""
        look, size = self.look, self.image_bytes
        for image in images:
            if len(image) != size:
                raise FphiError(
                    f"an image has {len(image)} bytes; give {size}, one for each pixel and channel"
                )
        flat = torch.frombuffer(bytearray(b"".join(images)), dtype=torch.uint8)
        return flat.view(len(images), look.channels, look.size, look.size).float().div_(255)
