"""The one table of all learners, and the small problems that they are put through."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fphi.learnable import (
    ClassPretext,
    FullContext,
    Generator,
    GradientLearner,
    HyperLearner,
    ImaginaryLearner,
    ImplicitLearner,
    InContextLearner,
    LearningAlgorithm,
    LEOLearner,
    LSTMCore,
    MatchingLearner,
    MemoryCore,
    MetricLearner,
    NILLearner,
    OnlineStandardisation,
    OptimizerLearner,
    Pretext,
    PretrainedLearner,
    PrototypicalLearner,
    RelationLearner,
    ReptileLearner,
    SequenceLearner,
    SiameseLearner,
    SNAILCore,
    TurnPretext,
    ViewPretext,
)
from fphi.learnable.comparison.metric import MetricLoss
from fphi.learnable.initialization.pretrained import Adapt
from fphi.learnable.initialization.step_weights import AnnealedWeights
from fphi.learnable.sequence.learner import Labels
from fphi.learnable.turning import TurningLearner
from fphi.networks import MLP, BatchNorm, Conv4, ConvBlock
from fphi.networks.pairs import PairEncoder
from fphi.networks.relation import RelationModule, RelationNorm
from fphi.tasks.types import Examples, Task
from fphi.within import (
    Batching,
    LSTMMetaLearner,
    LSTMOptimizer,
    adam,
    learned_momentum,
    learned_rate,
    sgd,
)

WAYS, SIZE = 3, 16


@dataclass(frozen=True)
class Case:
    """A learner under test.

    ``build(batching)`` makes it afresh. ``metric`` learners have no head: their answers follow a
    relabelling of the support set exactly. ``order_free``: the order of the support does not matter.
    ``sequence`` learners read labels too: their inputs have to be renamed with their outputs, and what
    they learn takes longer; `test_sequence` has these tests. ``random_start`` learners have a head that is
    drawn for each task: outputs cannot be renamed in it. After ``steps`` of Adam at the rate ``lr`` it has
    learned a small problem by far. ``pooled`` learners train on minibatches whose labels are of all classes,
    or are not read at all (``reads_labels``).
    """

    name: str
    build: Callable[[Batching], LearningAlgorithm]
    metric: bool = False
    order_free: bool = True
    uses_query_labels: bool = True
    sequence: bool = False
    random_start: bool = False
    steps: int = 20
    lr: float = 0.01
    pooled: bool = False
    reads_labels: bool = True


def conv(
    ways: int | None = WAYS,
    downsample: Literal["pool", "stride"] = "pool",
    norm: str = "query-batch",
    filters: int = 4,
) -> Conv4:
    """With 4 filters it goes the general way, with 16 through the native kernels."""
    torch.manual_seed(0)
    return Conv4(ways, image_size=SIZE, filters=filters, downsample=downsample, norm=norm)  # type: ignore[arg-type]


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(SIZE * SIZE, (8,), 4)


class TorchNorms(nn.Module):
    """An ordinary network of torch's own layers, with every norm layer that torch has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Tanh(),
            nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.InstanceNorm2d(4, affine=True), nn.Tanh(),
            nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.Tanh(),
            nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 8), nn.RMSNorm(8), nn.BatchNorm1d(8), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(8, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class LooksAtValues(nn.Module):
    """A network whose control flow depends on its input, which no vmap can follow."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(SIZE * SIZE, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out * 2 if bool(x.sum() > 0) else out


def plus_plus(norm: str, batching: Batching) -> LearningAlgorithm:
    plain = norm == "per-step"
    rule, network = (
        learned_rate(0.2 if plain else 0.1, per="tensor", steps=2),
        conv(norm=norm, filters=16 if plain else 4),
    )
    learner = GradientLearner(network, rule, 2, step_weights=AnnealedWeights(0.1), batching=batching)
    learner.set_progress(0.0)
    return learner


def metric(loss: MetricLoss, batching: Batching) -> LearningAlgorithm:
    return MetricLearner(conv(None), metric_loss=loss, scale=8, batching=batching)


def relation(norm: RelationNorm, batching: Batching) -> LearningAlgorithm:
    torch.manual_seed(0)
    maps = nn.Sequential(
        *(ConvBlock(inputs, 4, "pool", BatchNorm(4, norm)) for inputs in (1, 4)),
        ConvBlock(4, 4, "none", BatchNorm(4, norm)),
    )
    return RelationLearner(maps, RelationModule(4, 4, 8, norm=norm), batching=batching)


def imagining(batching: Batching) -> LearningAlgorithm:
    learner = PrototypicalLearner(conv(None), batching=batching)
    # In eval() its noise is fixed; what it draws in training has a test of its own.
    return ImaginaryLearner(learner, Generator(4, noise=0.1), 3).eval()


def hypernetwork(batching: Batching, *, bias: bool = True) -> LearningAlgorithm:
    torch.manual_seed(0)
    encoder, decoder = PairEncoder(4, 8, 6), nn.Linear(6, 4 + bias)
    return HyperLearner(conv(None), encoder, decoder, batching=batching)


def leo(batching: Batching) -> LearningAlgorithm:
    torch.manual_seed(0)
    encoder, decoder = PairEncoder(4, 4, 8), nn.Linear(4, 8, bias=False)
    # What it draws in training has tests of its own, and so has the loss that it has there alone.
    return LEOLearner(conv(None), encoder, decoder, latent_steps=2, weight_steps=2, batching=batching).eval()


def sequence(
    core: Callable[[], nn.Module], labels: Labels, batching: Batching, *, standardise: bool = True
) -> LearningAlgorithm:
    network = conv(None, norm="support" if labels == "given" else "running")
    standard = OnlineStandardisation(4) if standardise else None
    return SequenceLearner(network, core(), WAYS, labels=labels, standardise=standard, batching=batching)


def in_context(network: nn.Module, batching: Batching, *, ensemble: int = 1) -> LearningAlgorithm:
    torch.manual_seed(0)
    return InContextLearner(
        network, WAYS, columns=8, width=16, layers=1, heads=2, ensemble=ensemble, batching=batching
    )


def lstm() -> LSTMCore:
    return LSTMCore(4 + WAYS, WAYS, hidden=32)


def snail() -> SNAILCore:
    return SNAILCore(4 + WAYS, WAYS, length=2 * WAYS + 1)


def memory() -> MemoryCore:
    return MemoryCore(4 + WAYS, WAYS, hidden=32, slots=16, word=8, heads=2, sharpness=10.0)


def optimizing(batching: Batching) -> LearningAlgorithm:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 8), nn.Tanh(), nn.Linear(8, WAYS))
    rule = LSTMOptimizer(5, scale=0.3)
    return OptimizerLearner(network, rule, 4, unroll=None, order=2, batching=batching)


def pretrained(pretext: Callable[[int], Pretext], adapt: Adapt, batching: Batching) -> LearningAlgorithm:
    filters = 16 if adapt == "all" or pretext is TurnPretext else 4
    network = conv(None, filters=filters, norm="running" if adapt == "head" else "query-batch")
    return PretrainedLearner(
        network, pretext(filters), adapt=adapt, optimizer=sgd(0.4), steps=3, batching=batching
    )


def of_classes(width: int) -> Pretext:
    return ClassPretext(width, 6)


SEQUENCE = {"order_free": False, "sequence": True}
UNLABELLED = {"pooled": True, "reads_labels": False, "uses_query_labels": False}


def context() -> FullContext:
    torch.manual_seed(0)
    return FullContext(4, reads=3)


LEARNERS = [
    Case("maml", lambda b: GradientLearner(conv(filters=16), sgd(0.4), 2, batching=b)),
    Case("maml-strided", lambda b: GradientLearner(conv(downsample="stride", filters=16), sgd(0.4), 2, batching=b)),
    Case("maml-support-norm", lambda b: GradientLearner(conv(norm="support", filters=16), sgd(0.4), 2, batching=b)),
    Case("maml-support+1-norm", lambda b: GradientLearner(conv(norm="support+1"), sgd(0.4), 2, batching=b), steps=25, lr=0.02),
    Case("maml-torch-norms", lambda b: GradientLearner(TorchNorms(), sgd(0.1), 2, batching=b), steps=40),
    Case("maml-recomputed", lambda b: GradientLearner(conv(filters=16), sgd(0.4), 2, memory="recomputed", batching=b)),
    Case("maml-momentum", lambda b: GradientLearner(conv(), sgd(0.2, momentum=0.9), 3, batching=b)),
    Case("fomaml", lambda b: GradientLearner(conv(filters=16), sgd(0.4), 2, order=1, batching=b)),
    Case("anil", lambda b: GradientLearner(conv(filters=16), sgd(0.4), 3, adapts="head", batching=b)),
    Case("nil", lambda b: NILLearner(conv(filters=16), sgd(0.4), 3, adapts="head", batching=b), steps=60),
    Case("imaml", lambda b: ImplicitLearner(conv(filters=16), sgd(0.2), 4, strength=1.0, batching=b), steps=40),
    Case("meta-sgd", lambda b: GradientLearner(conv(), learned_rate((0.2, 0.4)), 1, batching=b), steps=40),
    Case("maml++", lambda b: plus_plus("per-step", b)),
    Case("maml++-running", lambda b: plus_plus("per-step-running", b), steps=40),
    Case("learned-momentum", lambda b: GradientLearner(conv(), learned_momentum(0.3, 0.3), 3, batching=b)),
    Case("lstm-optimizer", lambda b: GradientLearner(conv(), LSTMOptimizer(8, p=3.0, scale=0.1), 3, batching=b), steps=40),
    Case("lstm-meta-learner", lambda b: GradientLearner(conv(), LSTMMetaLearner(5, rate=0.4), 2, batching=b), steps=25, lr=0.02),
    Case(
        "lstm-meta-learner, first order",
        lambda b: GradientLearner(conv(norm="support"), LSTMMetaLearner(5, rate=0.4), 2, order=1, batching=b),
        steps=40,
    ),
    Case(
        "lstm-meta-learner, stacked",
        lambda b: GradientLearner(conv(), LSTMMetaLearner(5, rate=0.4, stacked=True), 2, batching=b),
        steps=25,
        lr=0.02,
    ),
    Case("optimizer-learner", optimizing, order_free=False, random_start=True),
    Case(
        "reptile",
        lambda b: ReptileLearner(conv(filters=16), adam(0.01, (0.0, 0.999)), 6, order=1, minibatch=4, batching=b),
        order_free=False,
        uses_query_labels=False,
    ),
    Case("prototypical", lambda b: PrototypicalLearner(conv(None, filters=16), batching=b), metric=True),
    Case("prototypical-running", lambda b: PrototypicalLearner(conv(None, norm="running"), batching=b), metric=True),
    Case("prototypical-cosine", lambda b: PrototypicalLearner(conv(None), distance="cosine", batching=b), metric=True),
    Case("matching", lambda b: MatchingLearner(conv(None, filters=16), batching=b), metric=True),
    Case("matching-euclidean", lambda b: MatchingLearner(conv(None), distance="euclidean", batching=b), metric=True),
    Case(
        "matching-context",
        lambda b: MatchingLearner(conv(None), context=context(), batching=b),
        metric=True,
        order_free=False,
    ),
    Case(
        "prototype-matching",
        lambda b: MatchingLearner(conv(None), context=context(), prototypes=True, batching=b),
        metric=True,
        order_free=False,
    ),
    Case("relation", lambda b: relation("query-batch", b), metric=True, steps=25, lr=0.02),
    Case("relation-running", lambda b: relation("running", b), metric=True, steps=25, lr=0.02),
    Case("siamese", lambda b: SiameseLearner(conv(None), 4, batching=b), metric=True),
    Case(
        "siamese, matching",
        lambda b: SiameseLearner(conv(None), 4, learn_by="matching", batching=b),
        metric=True,
    ),
    Case("siamese, sigmoids", lambda b: SiameseLearner(conv(None), 4, features=6, batching=b), metric=True),
    Case(
        "prototypical, over turns",
        lambda b: TurningLearner(PrototypicalLearner(conv(None), batching=b), 4),
        metric=True,
    ),
    Case("contrastive", lambda b: metric("contrastive", b), metric=True),
    Case("triplet", lambda b: metric("triplet", b), metric=True),
    Case("additive-margin", lambda b: metric("additive-margin", b), metric=True),
    Case("arcface", lambda b: metric("arcface", b), metric=True),
    Case("sphereface", lambda b: metric("sphereface", b), metric=True),
    Case("imaginary", imagining, metric=True, order_free=False),
    Case("hypernetwork", hypernetwork, metric=True, steps=25, lr=0.02),
    Case("hypernetwork without bias", lambda b: hypernetwork(b, bias=False), metric=True, steps=40),
    Case("leo", leo, metric=True, steps=25, lr=0.02),
    Case("lstm-given", lambda b: sequence(lstm, "given", b), **SEQUENCE),
    Case("lstm", lambda b: sequence(lstm, "shifted", b), **SEQUENCE),
    Case("mann", lambda b: sequence(memory, "shifted", b), **SEQUENCE),
    Case("mann-as-it-is", lambda b: sequence(memory, "shifted", b, standardise=False), **SEQUENCE),
    Case("snail", lambda b: sequence(snail, "given", b), **SEQUENCE),
    Case("in-context", lambda b: in_context(nn.Flatten(), b, ensemble=2), metric=True, steps=30),
    Case("in-context, embedded", lambda b: in_context(conv(None), b), metric=True),
    Case("multi-task", lambda b: pretrained(of_classes, "centroids", b), metric=True, pooled=True, steps=40),
    Case("multi-task, head", lambda b: pretrained(of_classes, "head", b), metric=True, pooled=True, steps=40),
    Case("multi-task, all", lambda b: pretrained(of_classes, "all", b), metric=True, pooled=True, steps=40),
    Case("rotation", lambda b: pretrained(TurnPretext, "centroids", b), metric=True, **UNLABELLED),
    Case("simclr", lambda b: pretrained(ViewPretext, "centroids", b), metric=True, **UNLABELLED),
    Case("prototypical-mlp", lambda b: PrototypicalLearner(mlp(), batching=b), metric=True),
]  # fmt: skip


def random_tasks(
    batch: int = 3, shots: int = 2, queries: int = 2, dtype: torch.dtype = torch.float64
) -> Task:
    """Tasks of noise: no learner can know anything of them."""

    def examples(per_class: int) -> Examples:
        x = torch.rand(batch, WAYS * per_class, 1, SIZE, SIZE, dtype=dtype)
        return Examples(x, torch.arange(WAYS).repeat_interleave(per_class).expand(batch, -1).contiguous())

    return Task(examples(shots), examples(queries))


def separately(tasks: Task) -> list[Task]:
    """The tasks of a batch, one by one."""
    return [Task(*(Examples(e.x[i], e.y[i]) for e in tasks)) for i in range(len(tasks.query.y))]


def easy_tasks(batch: int, seed: int, *, pooled: bool = False) -> Task:
    """Tasks that can be learned: classes are stripes of six kinds under noise, their labels drawn anew.

    Where they are ``pooled``, a label is the number of its kind in all of them.
    """
    draw = torch.Generator().manual_seed(seed)
    axis = torch.linspace(0, 2 * torch.pi, SIZE)
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    kinds = torch.stack(
        [torch.sin(f * (a * xs + b * ys)) for f in (2, 4) for a, b in ((0, 1), (1, 0), (1, 1))]
    )
    chosen = torch.stack([torch.randperm(len(kinds), generator=draw)[:WAYS] for _ in range(batch)])

    def examples(per_class: int) -> Examples:
        x = kinds[chosen].unsqueeze(2).repeat_interleave(per_class, 1)
        noise = 0.7 * torch.randn(x.shape, generator=draw)
        labels = chosen if pooled else torch.arange(WAYS).expand(batch, -1)
        return Examples(x + noise, labels.repeat_interleave(per_class, 1))

    return Task(examples(2), examples(2))
