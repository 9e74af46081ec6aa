"""Networks of any kind: right, or refused in a line that says what to do."""

import functools
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fphi
from fphi import Examples, FphiError, GradientLearner, LearningAlgorithm, Task, evaluate, meta_gradient, sgd
from fphi.learnable.targets import fitting, labels_up_to

looped = pytest.mark.filterwarnings("ignore:tasks are looped over")


def tasks(queries: int = 6) -> Task:
    draw = torch.Generator().manual_seed(0)

    def part(count: int) -> Examples:
        x = torch.randn(2, count, 4, generator=draw, dtype=torch.float64)
        return Examples(x, (torch.arange(count) % 3).expand(2, -1))

    return Task(part(6), part(queries))


class Between(nn.Module):
    """Something done between two linear layers."""

    def __init__(self, done: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.done, self.head = nn.Linear(4, 6), done, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.done(torch.tanh(self.up(x))))
        return out


def maml(network: nn.Module, **options: Any) -> GradientLearner:
    return GradientLearner(network.double(), sgd(0.3), 2, **options)


def odd_on_even(x: Tensor) -> Tensor:
    return torch.stack([x[i] + x[i - 1] if i % 2 else x[i] for i in range(len(x))])


def third_on_fourth(x: Tensor) -> Tensor:
    return torch.cat([x[:2], x[2:3] + x[3:4], x[3:]])


MIXING: list[Callable[[Tensor], Tensor]] = [
    lambda x: x + x.cumsum(0),
    lambda x: x + torch.cat([x[:1] * 0, x[:-1]]),
    lambda x: x + torch.cat([x[:-1] * 0, x[:-1].mean(0, keepdim=True)]),
    lambda x: x - x.amax(0),
    odd_on_even,
    third_on_fourth,
]


@pytest.mark.parametrize("done", MIXING)
@pytest.mark.parametrize("queries", [5, 6])
@looped
def test_a_query_that_depends_on_any_other_is_found(done: Callable[[Tensor], Tensor], queries: int) -> None:
    learner = maml(Between(done))
    given = tasks(queries)
    assert evaluate(learner, given).shares_queries
    learner.eval()
    alone = learner.solve_alone(given.support, given.query.x)
    for kept in range(queries):
        changed = given.query.x + 3 * (torch.arange(queries) != kept)[:, None]
        assert torch.equal(learner.solve_alone(given.support, changed)[:, kept], alone[:, kept])


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.float(), lambda x: x.to(torch.uint8)])
@pytest.mark.parametrize("mixes", [True, False])
def test_numbers_of_tokens_stay_within_the_vocabulary(
    change: Callable[[Tensor], Tensor], mixes: bool
) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.words, self.head = nn.Embedding(10, 4), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            features = self.words(x.long()).flatten(1)
            out: Tensor = self.head(features - features.mean(0) if mixes else features)
            return out

    labels = (torch.arange(6) % 3).expand(2, -1)
    given = Task(*(Examples(change(torch.randint(10, (2, 6, 3))), labels) for _ in range(2)))
    assert evaluate(GradientLearner(Words(), sgd(0.1), 1), given).shares_queries == mixes


class OwnNorm(nn.Module):
    """Batch norm that is no layer of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(6))
        self.register_buffer("running_var", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = (cast(Tensor, getattr(self, f"running_{what}")) for what in ("mean", "var"))
        return F.batch_norm(3 * x + 2, mean, variance, training=self.training)


def test_statistics_of_a_foreign_norm_that_hold_nothing_are_not_used() -> None:
    norm = OwnNorm()
    learner = maml(nn.Sequential(nn.Linear(4, 6), norm, nn.Linear(6, 3)))
    fresh = evaluate(learner, tasks()).losses
    torch.testing.assert_close(fresh, learner.task_losses(tasks()).detach())
    assert torch.equal(learner.eval().task_losses(tasks()).detach(), fresh)
    cast(Tensor, norm.running_mean).fill_(0.3)
    assert not torch.equal(evaluate(learner, tasks()).losses, fresh)
    assert not evaluate(learner, tasks()).shares_queries


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient  # type: ignore[no-any-return]


@looped
def test_a_function_that_torch_would_leave_out_of_second_derivatives_is_refused() -> None:
    done = cast(Callable[[Tensor], Tensor], Once.apply)
    with pytest.raises(FphiError, match="marked as once_differentiable and has no second derivative: take"):
        meta_gradient(maml(Between(done)), tasks())
    once = meta_gradient(maml(Between(done), order=1), tasks())[1]
    usual = meta_gradient(maml(Between(torch.square), order=1), tasks())[1]
    for name, gradient in once.items():
        torch.testing.assert_close(gradient, usual[name], rtol=1e-10, atol=1e-12)


@looped
def test_a_checkpoint_gives_gradients_or_is_refused() -> None:
    usual = meta_gradient(maml(Between(torch.sin)), tasks())[1]
    again = maml(Between(lambda x: cast(Tensor, checkpoint(torch.sin, x, use_reentrant=False))))
    for name, gradient in meta_gradient(again, tasks())[1].items():
        torch.testing.assert_close(gradient, usual[name], rtol=1e-10, atol=1e-12)
    reentrant = Between(lambda x: cast(Tensor, checkpoint(torch.sin, x, use_reentrant=True)))
    with pytest.raises(FphiError, match="take use_reentrant=False, or the learner's memory='recomputed'"):
        meta_gradient(maml(reentrant), tasks())


@pytest.mark.parametrize(
    "how", [torch.jit.script, functools.partial(torch.jit.trace, example_inputs=torch.zeros(6, 4))]
)
@pytest.mark.filterwarnings(r"ignore:.*torch\.jit")
def test_a_network_whose_parameters_cannot_be_exchanged_is_refused(how: Callable[..., nn.Module]) -> None:
    with pytest.raises(FphiError, match=r"made by torch\.jit and keeps its parameters to itself"):
        evaluate(GradientLearner(nn.Sequential(how(nn.Linear(4, 3))), sgd(0.1), 1).double(), tasks())


def test_a_rate_that_was_not_made_is_named() -> None:
    network = nn.Linear(4, 3).double().requires_grad_(False)
    learner = GradientLearner(network, fphi.learned_rate(0.1), 1)
    network.requires_grad_(True)
    with pytest.raises(FphiError, match="no learned rate for weight, which required no gradient when"):
        meta_gradient(learner, tasks())


def test_a_label_beyond_the_outputs_is_told_before_torch_looks_at_it() -> None:
    answers, labels = torch.zeros(6, 3), torch.arange(6)
    for loss in (F.cross_entropy, functools.partial(F.cross_entropy, label_smoothing=0.1)):
        with labels_up_to(labels), pytest.raises(FphiError, match=r"label 5, and .* outputs for 0 to 2"):
            fitting(loss, answers, labels)
    with labels_up_to(labels % 3):
        assert fitting(F.cross_entropy, answers, labels % 3).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_not_evaluated_and_an_infinite_mask_is_no_weight(bad: float) -> None:
    network = Between(lambda x: x)
    network.register_buffer("mask", torch.full((3,), -torch.inf))
    learners: list[LearningAlgorithm] = [maml(network), fphi.PrototypicalLearner(network.double())]
    for learner in learners:
        assert evaluate(learner, tasks()).losses.isfinite().all()
    network.up.weight.data[0, 0] = bad
    for learner in learners:
        with pytest.raises(FphiError, match=r"the learner has nan or infinite values in network\.up\.weight"):
            evaluate(learner, tasks())


def test_a_learner_within_a_map_of_the_users_is_refused() -> None:
    given = tasks()
    for learner in (maml(nn.Linear(4, 3)), fphi.PrototypicalLearner(nn.Linear(4, 3).double())):
        answer = functools.partial(lambda learner, x, y, q: learner(Examples(x, y), q), learner)
        with pytest.raises(FphiError, match="call solve with a batch of tasks in place of vmap"):
            torch.func.vmap(answer)(*given.support, given.query.x)


@pytest.mark.parametrize("kind", ["sparse_coo", "nested", "meta"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_of_another_layout_are_refused(kind: str) -> None:
    given = tasks()
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "sparse_coo": Tensor.to_sparse,
        "nested": lambda x: torch.nested.nested_tensor(list(x)),
        "meta": lambda x: x.to("meta"),
    }
    other = Examples(forms[kind](given.query.x), given.query.y)
    with pytest.raises(FphiError, match=rf"query\.x is a {kind} tensor; give an ordinary one"):
        evaluate(maml(nn.Linear(4, 3)), Task(given.support, other))
