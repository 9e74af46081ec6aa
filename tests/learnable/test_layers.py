"""The one table of torch's layers: each gives the meta-gradient of finite differences, or is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fphi import Examples, FphiError, GradientLearner, Task, evaluate, meta_gradient, sgd

WAYS, LENGTH, WIDTH = 2, 4, 4


class Around(nn.Module):
    """A layer between two linear ones: ``[n, length, width]`` to answers ``[n, ways]``."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.up, self.layer, self.call = nn.Linear(WIDTH, WIDTH), layer, call
        self.head = nn.LazyLinear(WAYS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.call(self.layer, torch.tanh(self.up(x)))).flatten(1))
        return out


@dataclass(frozen=True)
class Case:
    """``call`` takes the layer and ``x: [n, length, width]``; ``refused``: what the refusal says."""

    build: Callable[[], nn.Module]
    call: Callable[[nn.Module, Tensor], Tensor] = lambda layer, x: layer(x)
    refused: str = ""


def rows_first(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.mT).mT  # type: ignore[no-any-return]


def image(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.mT.reshape(*x.mT.shape[:2], 2, 2))  # type: ignore[no-any-return]


def volume(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.mT.reshape(*x.mT.shape[:2], 2, 2, 1))  # type: ignore[no-any-return]


def flat(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.flatten(1))  # type: ignore[no-any-return]


def first_of(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0]  # type: ignore[no-any-return]


def itself(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x, x, x)[0]  # type: ignore[no-any-return]


def unweighted(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


def both(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x, x.flip(1))  # type: ignore[no-any-return]


def one_step(layer: nn.Module, x: Tensor) -> Tensor:
    out = layer(x[:, 0])
    return out[0] if isinstance(out, tuple) else out  # type: ignore[no-any-return]


def words(layer: nn.Module, x: Tensor) -> Tensor:
    """Words that the input decides, beside the input, so that the layer below has a gradient too."""
    return layer((x > 0).long()[:, :, 0]).flatten(1).sum(1, keepdim=True) + x.flatten(1)  # type: ignore[no-any-return]


def attention() -> nn.MultiheadAttention:
    return nn.MultiheadAttention(WIDTH, 2, batch_first=True)


def encoder(**options: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(
        WIDTH, 2, 6, dropout=0.0, batch_first=True, activation="gelu", **options
    )


def decoder() -> nn.Module:
    return nn.TransformerDecoderLayer(WIDTH, 2, 6, dropout=0.0, batch_first=True, activation="gelu")


def transformer() -> nn.Module:
    return nn.Transformer(WIDTH, 2, 1, 1, 6, dropout=0.0, batch_first=True, activation="gelu")


def old_norm(kind: Callable[..., nn.Module], **options: int) -> Callable[[], nn.Module]:
    return lambda: kind(nn.Linear(WIDTH, WIDTH), **options)


TWICE = "order=1"

TABLE = {
    "BatchNorm1d": Case(lambda: nn.BatchNorm1d(WIDTH), rows_first),
    "BatchNorm1d-affine": Case(lambda: nn.BatchNorm1d(WIDTH, affine=False), rows_first),
    "BatchNorm1d-untracked": Case(lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False), rows_first),
    "BatchNorm1d-cumulative": Case(lambda: nn.BatchNorm1d(WIDTH, momentum=None), rows_first),
    "BatchNorm2d": Case(lambda: nn.BatchNorm2d(WIDTH), image),
    "BatchNorm3d": Case(lambda: nn.BatchNorm3d(WIDTH), volume),
    "InstanceNorm1d": Case(lambda: nn.InstanceNorm1d(WIDTH, affine=True), rows_first),
    "InstanceNorm1d-tracked": Case(lambda: nn.InstanceNorm1d(WIDTH, track_running_stats=True), rows_first),
    "InstanceNorm2d": Case(lambda: nn.InstanceNorm2d(WIDTH, affine=True), image),
    "InstanceNorm3d": Case(lambda: nn.InstanceNorm3d(WIDTH, affine=True), volume),
    "GroupNorm": Case(lambda: nn.GroupNorm(2, WIDTH), rows_first),
    "LayerNorm": Case(lambda: nn.LayerNorm(WIDTH)),
    "RMSNorm": Case(lambda: nn.RMSNorm(WIDTH)),
    "LocalResponseNorm": Case(lambda: nn.LocalResponseNorm(2), image),
    "CrossMapLRN2d": Case(lambda: nn.CrossMapLRN2d(2), image, TWICE),
    "MultiheadAttention": Case(attention, itself),
    "MultiheadAttention-unweighted": Case(attention, unweighted),
    "MultiheadAttention-more": Case(
        lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True), itself
    ),
    "TransformerEncoderLayer": Case(encoder),
    "TransformerEncoderLayer-first": Case(lambda: encoder(norm_first=True)),
    "TransformerEncoder": Case(lambda: nn.TransformerEncoder(encoder(), 2, enable_nested_tensor=False)),  # type: ignore[arg-type]
    "TransformerDecoderLayer": Case(decoder, both),
    "TransformerDecoder": Case(lambda: nn.TransformerDecoder(decoder(), 1), both),  # type: ignore[arg-type]
    "Transformer": Case(transformer, both),
    "RNN": Case(lambda: nn.RNN(WIDTH, 3, batch_first=True), first_of),
    "RNN-two": Case(lambda: nn.RNN(WIDTH, 3, num_layers=2, bidirectional=True, batch_first=True), first_of),
    "LSTM": Case(lambda: nn.LSTM(WIDTH, 3, batch_first=True), first_of),
    "LSTM-projected": Case(lambda: nn.LSTM(WIDTH, 3, proj_size=2, batch_first=True), first_of),
    "GRU": Case(lambda: nn.GRU(WIDTH, 3, bidirectional=True, batch_first=True), first_of),
    "RNNCell": Case(lambda: nn.RNNCell(WIDTH, 3), one_step),
    "LSTMCell": Case(lambda: nn.LSTMCell(WIDTH, 3), one_step),
    "GRUCell": Case(lambda: nn.GRUCell(WIDTH, 3), one_step),
    "Embedding": Case(lambda: nn.Embedding(2, 3), words),
    "Embedding-padded": Case(lambda: nn.Embedding(2, 3, padding_idx=0), words),
    "Embedding-renormalised": Case(lambda: nn.Embedding(2, 3, max_norm=0.5), words),
    "Embedding-sparse": Case(lambda: nn.Embedding(2, 3, sparse=True), words),
    "EmbeddingBag-sum": Case(lambda: nn.EmbeddingBag(2, 3, mode="sum"), words, TWICE),
    "EmbeddingBag-mean": Case(lambda: nn.EmbeddingBag(2, 3), words, TWICE),
    "EmbeddingBag-max": Case(lambda: nn.EmbeddingBag(2, 3, mode="max"), words, TWICE),
    "EmbeddingBag-sparse": Case(lambda: nn.EmbeddingBag(2, 3, mode="sum", sparse=True), words, TWICE),
    "Bilinear": Case(lambda: nn.Bilinear(WIDTH, WIDTH, 3), both),
    "PReLU": Case(lambda: nn.PReLU(WIDTH), rows_first),
    "Conv1d": Case(lambda: nn.Conv1d(WIDTH, 3, 2), rows_first),
    "Conv2d": Case(lambda: nn.Conv2d(WIDTH, 3, 2), image),
    "Conv3d": Case(lambda: nn.Conv3d(WIDTH, 3, (2, 2, 1)), volume),
    "ConvTranspose1d": Case(lambda: nn.ConvTranspose1d(WIDTH, 3, 2), rows_first),
    "ConvTranspose2d": Case(lambda: nn.ConvTranspose2d(WIDTH, 3, 2), image),
    "ConvTranspose3d": Case(lambda: nn.ConvTranspose3d(WIDTH, 3, 2), volume),
    "weight_norm": Case(lambda: parametrizations.weight_norm(nn.Linear(WIDTH, 3))),
    "weight_norm-columns": Case(lambda: parametrizations.weight_norm(nn.Linear(WIDTH, 3), dim=1)),
    "weight_norm-whole": Case(lambda: parametrizations.weight_norm(nn.Linear(WIDTH, 3), dim=None)),  # type: ignore[arg-type]
    "weight_norm-conv": Case(lambda: parametrizations.weight_norm(nn.Conv1d(WIDTH, 3, 2)), rows_first),
    "spectral_norm": Case(lambda: parametrizations.spectral_norm(nn.Linear(WIDTH, 3), n_power_iterations=60), refused=TWICE),
    "orthogonal-cayley": Case(lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH), orthogonal_map="cayley")),
    "orthogonal-exp": Case(lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH), orthogonal_map="matrix_exp")),
    "orthogonal-householder": Case(lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH), orthogonal_map="householder")),
}  # fmt: skip


def problem() -> Task:
    draw = torch.Generator().manual_seed(0)

    def part() -> Examples:
        x = torch.randn(2, 4, LENGTH, WIDTH, generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(4) % WAYS).expand(2, -1))

    return Task(part(), part())


def learner_of(case: Case, order: Literal[1, 2]) -> GradientLearner:
    torch.manual_seed(0)
    network = Around(case.build(), case.call).double()
    network(problem().support.x[0])  # the size of the last layer; it shortens rows that are too long as well
    with torch.no_grad():
        for parameter in network.layer.parameters():
            parameter.mul_(1.2)
    return GradientLearner(network, sgd(0.3), 2, order=order)


def steps_of(learner: GradientLearner) -> list[dict[str, Tensor]]:
    """How far adaptation moves each parameter, by task."""
    tasks = problem()
    with torch.no_grad():
        start = {k: p.clone() for k, p in learner.network.named_parameters()}
        one = [Examples(tasks.support.x[i], tasks.support.y[i]) for i in range(2)]
        ended = [learner.adapt(support) for support in one]
    return [{k: (p - start[k]).detach() for k, p in end.items()} for end in ended]


def difference(
    learner: GradientLearner, parameter: Tensor, entry: int, moved: list[dict[str, Tensor]] | None
) -> float:
    """The derivative of the loss at adapted parameters, by the initial ones: at order 1 these move alone, and
    the adapted ones stay ``moved`` from them.
    """
    tasks = problem()

    def loss(step: float) -> float:
        with torch.no_grad():
            parameter.view(-1)[entry] += step
            if moved is None:
                value = float(learner.task_losses(tasks).mean())
            else:
                at = [{k: p + shift[k] for k, p in learner.network.named_parameters()} for shift in moved]
                answers = [learner.predict(at[i], tasks.query.x[i]) for i in range(2)]
                value = float(learner.losses(torch.stack(answers), tasks.query.y).mean())
            parameter.view(-1)[entry] -= step
        return value

    return (loss(1e-5) - loss(-1e-5)) / 2e-5


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore:tasks are looped over", "ignore:There is a performance drop")
def test_the_meta_gradient_is_that_of_finite_differences_or_refused(name: str, order: Literal[1, 2]) -> None:
    case = TABLE[name]
    learner = learner_of(case, order)
    if case.refused and order == 2:
        with pytest.raises(FphiError, match=f"{name.split('-', maxsplit=1)[0]}.*{case.refused}"):
            meta_gradient(learner, problem())
        return
    _, gradients = meta_gradient(learner, problem())
    learner.over_tasks.batching = "loop"
    for path, looped in meta_gradient(learner, problem())[1].items():
        torch.testing.assert_close(gradients[path], looped, rtol=1e-7, atol=1e-10)
    moved = steps_of(learner) if order == 1 else None
    for path, parameter in learner.named_parameters():
        entry = parameter.numel() // 2
        expected = difference(learner, parameter, entry, moved)
        assert float(gradients[path].view(-1)[entry]) == pytest.approx(expected, rel=1e-4, abs=1e-7), path


@pytest.mark.parametrize("name", [n for n, case in TABLE.items() if not case.refused])
@pytest.mark.filterwarnings("ignore:tasks are looped over", "ignore:There is a performance drop")
def test_evaluation_leaves_the_layer_as_it_was(name: str) -> None:
    learner = learner_of(TABLE[name], 2)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    objects = [*learner.parameters(), *learner.buffers()]
    once, again = (evaluate(learner, problem()).losses for _ in range(2))
    assert torch.equal(once, again)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    assert all(a is b for a, b in zip(objects, [*learner.parameters(), *learner.buffers()], strict=True))
