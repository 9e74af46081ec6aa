"""Imaginary data: a generator extends the support set, trained with the learner that learns from it."""

import torch
from torch import Tensor, nn

from fphi.learnable.base import LearningAlgorithm, each_query_alone
from fphi.learnable.comparison.classes import OfEqualWays, members
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task

__all__ = ["Generator", "ImaginaryLearner"]


class Generator(nn.Module):
    """G(x, z): from an embedding and noise another embedding of the same class.

    A ReLU network of three layers that begins as the identity in x for embeddings that are not negative
    (as after a ReLU): the noise comes in through weights that are small at first.

    Args:
        width: of the embeddings, and of the noise.
        noise: first standard deviation of the weights on the noise.
    """

    @checked()
    def __init__(self, width: int, noise: float = 0.01) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(size, width) for size in (2 * width, width, width)])
        for layer in self.layers:
            nn.init.eye_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        first = self.layers[0].weight
        with torch.no_grad():
            first[:, width:].normal_(std=noise)  # type: ignore[index]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """``x: [..., width]`` and ``z: [..., width]`` to ``[..., width]``."""
        out = torch.cat([x, z], -1)
        for layer in self.layers:
            out = layer(out).relu()
        return out


class ImaginaryLearner(OfEqualWays, LearningAlgorithm):
    """Learn from the support set and what is imagined of it (Wang et al. 2018, arXiv 1801.05401).

    φ = the generator's parameters and those of the learner that is taught with its examples; the loss on
    the real queries trains both. With ``generated=0`` this is the learner alone.

    Noise is drawn anew for each example in training. In `eval()` mode it is the same for every task and
    class, so that an answer is a function of the task.

    Args:
        learner: what learns from real and imagined examples; its embeddings are vectors, not negative.
        generator: embeddings ``[..., d]`` and noise ``[..., d]`` to embeddings.
        generated: imagined examples of each class.
    """

    @checked(generated=Range(0))
    def __init__(self, learner: ComparisonLearner, generator: nn.Module, generated: int = 5) -> None:
        super().__init__(learner.loss, learner.over_tasks.batching)
        self.learner, self.generator, self.generated = learner, generator, generated

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded, queries = self.embed(support.x, query_x)
        return self.learner.compare(self.extended(Examples(embedded, support.y)), queries)

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)

    def embed(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """As the learner embeds them, see `EmbeddingLearner.embed`."""
        return self.learner.embed(support_x, query_x)

    def extended(self, support: Examples) -> Examples:
        """The embedded support set ``x: [B, n, d]`` and ``generated`` more of each class."""
        if self.generated == 0:
            return support
        seeds = self._seeds(support.y)  # [B, ways, generated]
        at = torch.arange(len(seeds), device=seeds.device)[:, None]
        x = support.x[at, seeds.flatten(1)]
        labels = torch.arange(seeds.shape[1], device=seeds.device).repeat_interleave(self.generated)
        imagined = self.generator(x, self.noise(x))
        return Examples(
            torch.cat([support.x, imagined], 1), torch.cat([support.y, labels.expand(len(x), -1)], 1)
        )

    def _seeds(self, labels: Tensor) -> Tensor:
        """Which support example each imagined one comes from: those of its class in turn."""
        member = members(labels)  # [B, n, ways]
        # The examples of a class first, in the order of the support set, and then all others.
        ranked = member.mT.int().argsort(dim=-1, descending=True, stable=True)  # [B, ways, n]
        turn = torch.arange(self.generated, device=labels.device) % member.sum(1).unsqueeze(2)
        return ranked.gather(2, turn)

    def noise(self, x: Tensor) -> Tensor:
        """Noise z ~ N(0, I) ``[B, ways * generated, d]``, drawn task by task: chunks do not change it."""
        if self.training:
            return torch.stack([torch.randn(x.shape[1:], dtype=x.dtype, device=x.device) for _ in x])
        draw = torch.Generator().manual_seed(0)
        one_class = torch.randn(self.generated, x.shape[2], generator=draw, dtype=torch.float64)
        return one_class.to(x).repeat(x.shape[1] // self.generated, 1).expand(x.shape)

    def observe(self, task: Task) -> None:
        self.learner.observe(task)
