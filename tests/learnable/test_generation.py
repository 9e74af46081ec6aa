"""Generated classifiers: what a hypernetwork puts out, and what both inner loops of LEO do to it."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comparison_helpers import parameters
from fphi.errors import FphiError
from fphi.learnable import GeneratingLearner, HyperLearner, LEOLearner
from fphi.learnable.generation.gaussian import Gaussian
from fphi.learnable.generation.generating import GeneratedModel, classify
from fphi.learnable.generation.leo import orthogonality
from fphi.learnable.generation.noise import TaskNoise
from fphi.methods.base import Setting
from fphi.methods.hypernetwork import Hypernetwork
from fphi.methods.leo import LEO
from fphi.networks.pairs import PairEncoder
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import Batching, sgd
from learners import WAYS, conv, random_tasks

WIDTH, LATENTS = 6, 4


class Firsts(nn.Module):
    """The first half of a network's outputs: the means."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)
        return out.chunk(2, -1)[0]


def leo(batching: Batching = "vmap", **options: object) -> LEOLearner:
    """On embeddings as they are, in float64 and in training mode."""
    torch.manual_seed(0)
    encoder, decoder = PairEncoder(WIDTH, LATENTS, 2 * LATENTS), nn.Linear(LATENTS, 2 * WIDTH, bias=False)
    usual: dict[str, object] = {"latent_steps": 2, "weight_steps": 2, "kl_weight": 0.3, "latent_std": 0.1}
    usual |= {"encoder_penalty": 0.2, "orthogonality_weight": 0.1, **options}
    return LEOLearner(nn.Flatten(), encoder, decoder, batching=batching, **usual).double()  # type: ignore[arg-type]


def embedded_tasks(batch: int = 3, shots: int = 2, queries: int = 2) -> Task:
    """Tasks of vectors."""

    def examples(each: int) -> Examples:
        x = torch.randn(batch, WAYS * each, WIDTH, dtype=torch.float64)
        return Examples(x, torch.arange(WAYS).repeat_interleave(each).expand(batch, -1).contiguous())

    return Task(examples(shots), examples(queries))


def seeded(seed: int, compute: Callable[[], Tensor]) -> Tensor:
    torch.manual_seed(seed)
    return compute()


# Hypernetworks.


def test_codes_and_weights_as_they_are_give_dot_products_with_class_means() -> None:
    tasks = embedded_tasks()
    support, queries = tasks.support, tasks.query.x
    learner = HyperLearner(nn.Flatten(), nn.Identity(), nn.Identity())
    means = support.x.view(3, WAYS, 2, WIDTH).mean(2)
    torch.testing.assert_close(learner.solve(support, queries), queries @ means.mT)


def test_the_last_weight_of_a_row_is_a_bias() -> None:
    tasks = embedded_tasks()
    plain, biased = (
        HyperLearner(nn.Flatten(), nn.Identity(), decoder)
        for decoder in (nn.Identity(), nn.ConstantPad1d((0, 1), 7))
    )
    a, b = (learner.solve(tasks.support, tasks.query.x) for learner in (plain, biased))
    torch.testing.assert_close(b, a + 7)


def plain_hypernetwork() -> HyperLearner:
    torch.manual_seed(0)
    encoder, decoder = PairEncoder(WIDTH, LATENTS, LATENTS), nn.Linear(LATENTS, WIDTH + 1)
    return HyperLearner(nn.Flatten(), encoder, decoder).double()


BOTH = pytest.mark.parametrize(
    "make", [plain_hypernetwork, lambda: leo().eval()], ids=["hypernetwork", "leo"]
)


@BOTH
def test_examples_given_twice_change_nothing(make: Callable[[], GeneratingLearner]) -> None:
    learner, tasks = make(), embedded_tasks()
    x, y = tasks.support
    twice = Examples(torch.cat([x, x], 1), torch.cat([y, y], 1))
    torch.testing.assert_close(
        learner.solve(twice, tasks.query.x), learner.solve(tasks.support, tasks.query.x)
    )


@BOTH
@pytest.mark.parametrize("shots", [(1, 3, 2), (4, 1, 1)])
def test_classes_may_have_unequal_shots_in_any_order(
    make: Callable[[], GeneratingLearner], shots: tuple[int, ...]
) -> None:
    learner = make()
    y = torch.tensor([label for label, many in enumerate(shots) for _ in range(many)])
    x, queries = (torch.randn(n, WIDTH, dtype=torch.float64) for n in (6, 4))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    answers = learner(Examples(x, y), queries)
    assert answers.shape == (4, 3)
    torch.testing.assert_close(learner(Examples(x[order], y[order]), queries), answers)


@pytest.mark.parametrize("norm", ["running", "support", "support+1", "query-batch"])
def test_the_model_of_a_task_answers_without_the_learner(norm: str) -> None:
    torch.manual_seed(0)
    learner = HyperLearner(conv(None, norm=norm), PairEncoder(4, 8, 6), nn.Linear(6, 5)).double().eval()
    tasks = random_tasks(batch=1)
    support, queries = Examples(tasks.support.x[0], tasks.support.y[0]), tasks.query.x[0]
    with torch.no_grad():
        model, expected = learner.adapt(support), learner(support, queries)
    for p in learner.parameters():
        p.data.zero_()
    # The learner's layer is made of features that the queries have normalised too; the model's cannot be.
    assert torch.allclose(model(queries), expected) == (norm != "query-batch")
    assert isinstance(model, nn.Module)
    assert torch.equal(model(queries), copy.deepcopy(model)(queries))


def test_the_model_of_a_task_normalises_as_the_learner_does_whatever_its_mode() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    learner = HyperLearner(network, PairEncoder(4, 8, 6), nn.Linear(6, 5)).double().eval()
    x, y, queries = torch.randn(5, 6).double(), torch.arange(5), torch.randn(7, 6).double()
    model = learner.adapt(Examples(x, y))
    assert isinstance(model, GeneratedModel)
    _, seen = learner.embed(x[None], queries[None])  # in one batch with the support set
    expected = classify(seen, model.weights[None])[0]
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(queries), expected)


@BOTH
def test_no_gradient_is_needed_for_the_model(make: Callable[[], GeneratingLearner]) -> None:
    learner, tasks = make(), embedded_tasks(batch=1)
    support = Examples(tasks.support.x[0], tasks.support.y[0])
    with torch.no_grad():
        there = learner.adapt(support).state_dict()
    here = learner.adapt(support).state_dict()
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_generated_weights_begin_as_large_as_those_of_a_layer() -> None:
    """Glorot's √(2 / (inputs + outputs)), of codes of size 1."""
    torch.manual_seed(0)
    learner = Hypernetwork(bias=False).learner(Setting(5, 1, (1, 28, 28)))
    assert isinstance(learner, HyperLearner)
    weights = learner.decoder(torch.randn(2000, 64))
    assert float(weights.std().detach()) == pytest.approx((2 / (64 + 5)) ** 0.5, rel=0.05)


def test_rows_of_another_length_are_refused() -> None:
    tasks = embedded_tasks()
    encoder = PairEncoder(WIDTH, LATENTS, 5)
    refused: list[tuple[GeneratingLearner, str]] = [
        (
            HyperLearner(nn.Flatten(), nn.Identity(), nn.Linear(WIDTH, 9)),
            "9 generated weights, and an embedding 6 values; .* 6 outputs, or with 7",
        ),
        (LEOLearner(nn.Flatten(), encoder, nn.Linear(LATENTS, 12)), "5 outputs for codes of 4; it needs 8"),
        (
            LEOLearner(nn.Flatten(), encoder, nn.Linear(LATENTS, 10)),
            "6 values, and the decoder has 10 outputs",
        ),
    ]
    for learner, said in refused:
        with pytest.raises(FphiError, match=said):
            learner.double().solve(tasks.support, tasks.query.x)


def test_a_code_is_the_mean_relation_to_all_examples() -> None:
    encoder, x = PairEncoder(WIDTH, LATENTS, 5).double(), torch.randn(4, WIDTH, dtype=torch.float64)
    h = x @ encoder.each.weight.T
    for i in range(4):
        relations = []
        for j in range(4):
            hidden = (encoder.pair.weight @ torch.cat([h[i], h[j]])).relu()
            relations.append(encoder.out.weight @ (encoder.middle.weight @ hidden).relu())
        torch.testing.assert_close(encoder(x)[i], torch.stack(relations).mean(0))


# LEO's distributions and penalties.


def test_the_papers_own_has_as_many_learned_numbers() -> None:
    """Encoder 40,960, relation network 49,152, decoder 81,920, step sizes 704."""
    flat = Setting(5, 1, (640,), lambda shape, outputs, norm: nn.Flatten())
    assert parameters(LEO().learner(flat)) == 172_736


def test_the_divergence_is_that_of_normal_distributions() -> None:
    given = torch.randn(7, 10, dtype=torch.float64)
    gaussian = Gaussian.of(given, 1.0)
    torch.testing.assert_close(gaussian.std, given.chunk(2, -1)[1].clamp(max=1).exp())
    normal, standard = torch.distributions.Normal(*gaussian), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(gaussian.divergence(), torch.distributions.kl_divergence(normal, standard))
    assert torch.equal(Gaussian.of(torch.zeros(3, 4), 1.0).divergence(), torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("s", "std", "expected"),
    [
        (0.0, 0.25, 0.25),
        (0.5, 0.0, 0.6487212707001282),
        (-1.0, 0.0, 1e-10),
        (0.0, 0.0, 1e-10),
        (1e4, 0.0, 1.718281828459045),
    ],
)
def test_standard_deviations_keep_their_bounds(s: float, std: float, expected: float) -> None:
    given = torch.tensor([0.0, s], dtype=torch.float64, requires_grad=True)
    assert float(Gaussian.of(given, std).std.detach()) == pytest.approx(expected, rel=1e-9)


def test_a_sample_is_the_mean_and_as_much_noise_as_its_deviation() -> None:
    drawn = Gaussian(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])).sample(torch.tensor([2.0, -1.0]))
    assert drawn.tolist() == [2.0, -1.0]


def test_an_orthogonal_decoder_has_no_penalty_and_two_alike_columns_half_of_one() -> None:
    basis = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))[0]
    lengths = torch.tensor([1.0, 3.0, 0.2, 7.0], dtype=torch.float64)
    assert float(orthogonality(basis * lengths)) < 1e-28
    # Correlations ±0.6 off the diagonal, of four: 2 · 0.36 / 4.
    assert float(orthogonality(torch.tensor([[1.0, 3.0], [0.0, 4.0]]))) == pytest.approx(0.18)
    assert float(orthogonality(torch.ones(5, 2))) == pytest.approx(0.5)


def test_the_encoder_penalty_draws_the_encoder_alone() -> None:
    """To where the inner loop ended, which counts as a constant: nothing that led there learns from it."""
    learner, tasks = leo(), embedded_tasks(batch=1)
    named = dict(learner.named_parameters())
    penalty = learner.terms(tasks).encoder.sum()
    found = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    reached = {name for name, g in zip(named, found, strict=True) if g is not None and bool(g.any())}
    assert reached == {name for name in named if name.startswith("encoder.")}
    assert float(penalty.detach()) > 0
    assert float(leo(latent_steps=0).terms(tasks).encoder.detach()) == 0


def test_in_training_the_loss_is_the_weighed_sum_of_its_terms_and_else_the_query_loss() -> None:
    learner, tasks = leo(), embedded_tasks()
    torch.manual_seed(3)
    terms = learner.terms(tasks)
    expected = terms.query + 0.3 * terms.divergence + 0.2 * terms.encoder + 0.1 * terms.decoder
    torch.testing.assert_close(seeded(3, lambda: learner.task_losses(tasks)), expected)
    learner.eval()
    before = torch.get_rng_state()
    losses = learner.task_losses(tasks)
    assert torch.equal(torch.get_rng_state(), before)
    answers = learner.solve(tasks.support, tasks.query.x)
    by_hand = torch.stack([F.cross_entropy(a, y) for a, y in zip(answers, tasks.query.y, strict=True)])
    torch.testing.assert_close(losses, by_hand)


def test_gradients_are_clipped_by_entry_and_then_tensor_by_tensor() -> None:
    """Ten entries of 5 become 0.1 each, which is a norm of 0.316, and then 0.1 / √10 each."""
    learner = LEO(weight_decay=0.01).learner(Setting(5, 1, (10,), lambda shape, outputs, norm: nn.Flatten()))
    named = dict(learner.named_parameters())
    optimizer = LEO(weight_decay=0.01).optimizer(learner)
    optimizer.step(learner, {name: torch.full_like(p, 5.0) for name, p in named.items()})
    rates = named["weight_rule.rates.each"].grad
    assert rates is not None
    torch.testing.assert_close(rates, torch.full((10,), 0.1 / 10**0.5))
    norms = [float(p.grad.norm()) for p in named.values() if p.grad is not None]
    assert norms == pytest.approx([0.1] * len(named), rel=1e-4)
    decays = {g["params"][0].dim(): g["weight_decay"] for g in optimizer.optimizer.param_groups}
    assert decays == {1: 0.0, 2: 0.01}


# LEO's inner loops.


@pytest.mark.parametrize("normalise", [True, False])
def test_without_steps_it_is_the_hypernetwork_of_its_means(normalise: bool) -> None:
    learner = leo(latent_steps=0, weight_steps=0, normalise=normalise).eval()
    means = HyperLearner(
        nn.Flatten(), Firsts(learner.encoder), Firsts(learner.decoder), normalise=normalise, batching="vmap"
    )
    tasks = embedded_tasks()
    torch.testing.assert_close(
        learner.solve(tasks.support, tasks.query.x), means.solve(tasks.support, tasks.query.x)
    )


def inner_loss(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Of one task with two examples of each class: summed over examples, answers the means over a class's rows."""
    return F.cross_entropy(x @ weights.view(WAYS, 2, WIDTH).mean(1).T, y, reduction="sum")


def test_one_step_of_either_kind_by_hand() -> None:
    """z ← z - α ∂L/∂z, then W ← W - β ∂L/∂W of the decoded weights; each example has its own."""
    learner = leo(latent_steps=1, weight_steps=1, latent_rule=sgd(0.7), weight_rule=sgd(0.3)).eval()
    tasks = embedded_tasks(batch=1)
    x, y = F.normalize(tasks.support.x[0], dim=-1), tasks.support.y[0]

    def decoded(codes: Tensor) -> Tensor:
        return codes @ learner.decoder.weight[:WIDTH].T

    of_class = learner.encoder(x)[:, :LATENTS].view(WAYS, 2, LATENTS).mean(1)
    codes = of_class.repeat_interleave(2, 0)
    moved = codes - 0.7 * torch.autograd.grad(inner_loss(x, y, decoded(codes)), codes)[0]
    weights = decoded(moved)
    tuned = weights - 0.3 * torch.autograd.grad(inner_loss(x, y, weights), weights)[0]
    queries = F.normalize(tasks.query.x[0], dim=-1)
    expected = [queries @ w.view(WAYS, 2, WIDTH).mean(1).T for w in (decoded(codes), weights, tuned)]
    by_step = learner.answers_at_test(tasks.support, tasks.query.x).by_step
    assert by_step is not None
    torch.testing.assert_close(by_step[:, 0], torch.stack(expected))


def test_each_inner_step_lowers_the_support_loss() -> None:
    learner = leo(latent_steps=6, weight_steps=6, latent_rule=sgd(0.1), weight_rule=sgd(0.1)).eval()
    tasks = embedded_tasks(batch=5)
    by_step = learner.answers_at_test(tasks.support, tasks.support.x).by_step
    assert by_step is not None
    assert len(by_step) == 13
    losses = torch.stack([learner.losses(answers, tasks.support.y) for answers in by_step])
    assert bool((losses.diff(dim=0) < 0).all())


def test_step_sizes_are_learned_one_for_each_number_of_a_row() -> None:
    learner = leo()
    sizes = {name: tuple(p.shape) for name, p in learner.named_parameters() if "rule" in name}
    assert sizes == {"latent_rule.rates.each": (LATENTS,), "weight_rule.rates.each": (WIDTH,)}
    _, gradients = meta_gradient(learner, embedded_tasks(), threads=1)
    assert all(bool((gradients[name] != 0).all()) for name in sizes)


def test_a_gradient_that_is_nan_gives_way_to_a_pull_to_zero() -> None:
    """Of 1e-4 times half the squared parameters for each task."""
    learner = leo(loss=lambda answers, y: nn.functional.cross_entropy(answers * 1e200 * 1e200, y))
    tasks = embedded_tasks(batch=2)
    with pytest.warns(UserWarning, match="LEO's loss or gradient is nan"):
        loss, gradients = meta_gradient(learner, tasks, threads=1)
    learned = dict(learner.named_parameters())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, 1e-4 * learned[name].detach())
    squares = sum(float(p.detach().square().sum()) for p in learned.values())
    assert float(loss) == pytest.approx(0.5e-4 * squares)


def test_how_tasks_are_split_up_does_not_change_what_a_nan_costs() -> None:
    """One task of the batch diverges, and the batch has the pull to 0 in its place."""

    def diverging(answers: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(answers, y) * torch.where(y[0] == y[1], torch.nan, 1.0)

    learner = leo(loss=diverging)
    tasks = embedded_tasks(batch=4)
    for part in tasks:
        part.y[1:] = torch.arange(WAYS).repeat(2)  # the first task's begin with two of one class
    found = []
    for size in (1, 2, 4):
        with pytest.warns(UserWarning, match="drawn to 0 a little instead") as warned:
            found.append(meta_gradient(learner, tasks, threads=1, chunk_size=size))
        assert len(warned) == 1
    learned = dict(learner.named_parameters())
    for loss, gradients in found:
        assert torch.equal(loss, found[0][0])
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, 1e-4 * learned[name].detach())


# What LEO draws in training.


def test_a_seed_decides_what_is_drawn_whatever_the_threads_chunks_and_batching() -> None:
    tasks = embedded_tasks(5)

    def gradients(seed: int, batching: Batching = "vmap", **split: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return meta_gradient(leo_now[batching], tasks, **split)[1]

    leo_now: dict[Batching, LEOLearner] = {"vmap": leo("vmap"), "loop": leo("loop")}
    once = gradients(0, chunk_size=2, threads=1)
    again = gradients(0, chunk_size=2, threads=3)
    assert all(torch.equal(once[name], again[name]) for name in once)
    for other in (gradients(0, chunk_size=5), gradients(0, chunk_size=1), gradients(0, "loop", chunk_size=5)):
        for name in once:
            torch.testing.assert_close(other[name], once[name], rtol=1e-9, atol=1e-12)
    assert not torch.equal(gradients(1, chunk_size=2, threads=1)["decoder.weight"], once["decoder.weight"])


def test_relabelling_in_training_permutes_the_answers() -> None:
    """Each example draws its own numbers, whatever its label."""
    learner, tasks = leo(), embedded_tasks()
    order = torch.tensor([2, 0, 1])
    before = seeded(4, lambda: learner.solve(tasks.support, tasks.query.x))
    renamed = Examples(tasks.support.x, order[tasks.support.y])
    after = seeded(4, lambda: learner.solve(renamed, tasks.query.x))
    torch.testing.assert_close(after[..., order], before)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradient_in_training_is_that_of_finite_differences(dropout: float) -> None:
    """Through samples, dropout and both inner loops, in float64, along a random direction."""
    # Without the encoder penalty, part of whose derivative is left out on purpose.
    learner, tasks = leo(dropout=dropout, latent_std=1.0, encoder_penalty=0.0), embedded_tasks()
    torch.manual_seed(5)
    _, gradients = meta_gradient(learner, tasks, threads=1)
    along = {name: torch.randn_like(g) for name, g in gradients.items()}
    slope = sum(float((gradients[name] * d).sum()) for name, d in along.items())

    def loss(h: float) -> float:
        moved = copy.deepcopy(learner)
        for name, p in moved.named_parameters():
            p.data.add_(along[name], alpha=h)
        return float(seeded(5, lambda: moved.task_losses(tasks).mean().detach()))

    assert (loss(1e-7) - loss(-1e-7)) / 2e-7 == pytest.approx(slope, rel=1e-6)


def test_what_a_task_draws_does_not_depend_on_those_beside_it() -> None:
    torch.manual_seed(0)
    whole = TaskNoise(torch.zeros(3, 1, dtype=torch.float64))
    torch.manual_seed(0)
    parts = [TaskNoise(torch.zeros(count, 1, dtype=torch.float64)) for count in (1, 2)]
    assert torch.equal(whole.normal(4, 2), torch.cat([part.normal(4, 2) for part in parts]))
    kept = whole.kept(0.25, 400)
    assert torch.equal(kept, torch.cat([part.kept(0.25, 400) for part in parts]))
    assert sorted(set(kept.flatten().tolist())) == [0.0, 1 / 0.75]
    assert not torch.equal(kept[0], kept[1])


def test_dropout_and_samples_are_of_the_training_alone() -> None:
    learner, tasks = leo(), embedded_tasks()

    def answers(seed: int) -> Tensor:
        return seeded(seed, lambda: learner.solve(tasks.support, tasks.query.x))

    assert torch.equal(answers(0), answers(0))
    assert not torch.equal(answers(0), answers(1))
    learner.eval()
    assert torch.equal(answers(0), answers(1))


def test_a_frozen_embedding_gets_no_gradient() -> None:
    torch.manual_seed(0)
    encoder, decoder = PairEncoder(4, 4, 8), nn.Linear(4, 8, bias=False)
    learner = LEOLearner(conv(None), encoder, decoder).double()
    learner.network.requires_grad_(False)
    _, gradients = meta_gradient(learner, random_tasks(), threads=1)
    assert {name.split(".")[0] for name in gradients} == {"encoder", "decoder", "latent_rule", "weight_rule"}
