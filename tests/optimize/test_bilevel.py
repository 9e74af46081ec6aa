"""DARTS's loop: what a step of α and one of w change, gradients, early stop, resume."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout

from darts_helpers import DATA, SPACES, bilevel, mixture_of, values
from fphi.errors import FphiError
from fphi.learnable.architecture import DartsSpace, EnasMicroSpace, NASBench201Space
from fphi.methods.darts import DARTS
from fphi.methods.table import get_method
from fphi.objective.hypergradient import virtual_step
from fphi.optimize.bilevel import Bilevel, BilevelPhase
from fphi.optimize.epochs import EpochRow
from fphi.run.search.supernet import restore, train_supernet
from fphi.tasks.types import Examples
from supernet_helpers import supernet_search

BOTH = pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
TRAIN = Examples(DATA.train.x[:8], DATA.train.y[:8])
VALIDATION = Examples(DATA.validation.x[:8], DATA.validation.y[:8])


def dropping(space: DartsSpace | NASBench201Space, drop: float = 0.3, **options: Any) -> Bilevel:
    """Of a mixture whose answers are dropped at random."""
    search = bilevel(space, **options)
    search.supernet.register_forward_hook(lambda module, _, out: dropout(out, drop, module.training))
    return search


def in_float64(
    space: DartsSpace | NASBench201Space, smooth: bool = False, drop: float = 0.0
) -> tuple[Bilevel, Examples, Examples]:
    torch.set_default_dtype(torch.float64)
    search = dropping(space, drop)
    for parent in list(search.supernet.modules()) if smooth else []:
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus())
    train, validation = (Examples(e.x.double(), e.y) for e in (TRAIN, VALIDATION))
    for _ in range(2):  # for a momentum that is not 0
        search.weight_step(train)
    return search, train, validation


def errors_of(
    space: DartsSpace | NASBench201Space, scale: float, smooth: bool = False, drop: float = 0.0
) -> tuple[float, float]:
    """How far the finite difference, and the first order, are from the exact gradient."""
    search, train, validation = in_float64(space, smooth, drop)
    gradients = []
    for phase in (BilevelPhase(derivative="exact"), BilevelPhase(scale=scale), BilevelPhase(order=1)):
        search.phase = phase
        parts = search.hypergradient(train, validation).gradient.values()
        gradients.append(torch.cat([part.flatten() for part in parts]))
    wanted, difference, first = gradients
    return float((difference - wanted).norm() / wanted.norm()), float((first - wanted).norm() / wanted.norm())


@BOTH
def test_the_finite_difference_tends_to_the_exact_gradient(space: DartsSpace | NASBench201Space) -> None:
    # So near that no ReLU changes sides on the way.
    difference, first = errors_of(space, 1e-7)
    assert difference < 1e-6
    assert first > 0.1  # the second term is not a small one


def test_the_error_of_the_finite_difference_is_of_second_order() -> None:
    far, near = (errors_of(SPACES[1], scale, smooth=True)[0] for scale in (0.01, 0.001))
    assert near < 1e-4
    assert far == pytest.approx(100 * near, rel=0.1)


def test_without_a_learning_rate_the_second_order_is_the_first() -> None:
    search, train, validation = in_float64(SPACES[1])
    search.sgd.param_groups[0]["lr"] = 0.0
    results = []
    for phase in (BilevelPhase(order=1), BilevelPhase(), BilevelPhase(derivative="exact")):
        search.phase = phase
        results.append(search.hypergradient(train, validation))
    for other in results[1:]:
        assert other.loss == results[0].loss
        assert all(torch.equal(g, results[0].gradient[k]) for k, g in other.gradient.items())


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (SPACES[0], {"derivative": "difference"}), (SPACES[1], {"derivative": "difference"}),
        (SPACES[1], {"derivative": "exact"}), (SPACES[1], {"order": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_a_step_of_alpha_changes_nothing_else(
    space: DartsSpace | NASBench201Space, options: dict[str, Any]
) -> None:
    search = bilevel(space, **options)
    search.weight_step(TRAIN)
    before = values(search.supernet)
    momentum = [search.sgd.state[w]["momentum_buffer"].clone() for w in search.supernet.weights().values()]
    search.alpha_step(TRAIN, VALIDATION)
    after = values(search.supernet)
    # Neither w nor the running statistics of batch norms, bit by bit.
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(
        search.supernet.architecture()
    )
    for buffer, w in zip(momentum, search.supernet.weights().values(), strict=True):
        assert torch.equal(buffer, search.sgd.state[w]["momentum_buffer"])
        assert w.grad is None


def test_a_step_of_the_weights_is_that_of_sgd_and_leaves_alpha() -> None:
    search, twin = (bilevel(SPACES[1], clip_norm=1e9) for _ in range(2))
    w = twin.supernet.weights()
    before = values(search.supernet)
    for _ in range(2):
        ahead = search.ahead()
        loss = cross_entropy(twin.supernet.train()(TRAIN.x), TRAIN.y)
        slopes = torch.autograd.grad(loss, list(w.values()))
        virtual = virtual_step(w, dict(zip(w, slopes, strict=True)), ahead)
        assert search.weight_step(TRAIN) == pytest.approx(loss.item(), rel=1e-5)
        # The virtual step of α is the step that w takes next.
        for name, p in search.supernet.weights().items():
            assert torch.allclose(p, virtual[name], atol=1e-6)
        twin.supernet.load_state_dict(search.supernet.state_dict())
    assert all(torch.equal(before[name], a) for name, a in search.supernet.architecture().items())


def test_the_gradient_of_the_weights_is_clipped() -> None:
    search = bilevel(SPACES[1], clip_norm=1e-3, weight_decay=0.0)
    before = values(search.supernet)
    search.weight_step(TRAIN)
    moved = [(before[k] - w.detach()).flatten() for k, w in search.supernet.weights().items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.025 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("options", [{}, {"derivative": "exact"}, {"order": 1}], ids=str)
def test_what_a_mixture_drops_is_a_function_of_the_seed(options: dict[str, Any]) -> None:
    ends = []
    for other in range(2):
        search = dropping(SPACES[1], **options)
        torch.manual_seed(other)
        before = torch.get_rng_state()
        search.step()
        assert torch.equal(before, torch.get_rng_state())
        ends.append(values(search.supernet))
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_the_terms_of_a_difference_and_the_step_after_them_drop_the_same() -> None:
    search = dropping(SPACES[1])
    loss = search.loss(TRAIN, search.theta, search.supernet.architecture())
    assert search.weight_step(TRAIN) == pytest.approx(loss.item())
    assert errors_of(SPACES[1], 1e-7, drop=0.3)[0] < 1e-6


@pytest.mark.parametrize("options", [{}, {"derivative": "exact"}, {"order": 1}], ids=str)
def test_frozen_weights_stay_and_all_others_learn(options: dict[str, Any]) -> None:
    supernet = mixture_of(SPACES[1])
    frozen, *_ = supernet.weights()
    supernet.get_parameter(frozen).requires_grad_(False)
    before = values(supernet)
    search = Bilevel(supernet, DATA, 0, BilevelPhase(epochs=1, batch_size=8, **options))
    search.step()
    assert {name for name, p in supernet.named_parameters() if torch.equal(p, before[name])} == {frozen}


def test_alphas_optimizer_and_the_cosine_are_the_papers() -> None:
    search = bilevel(SPACES[1], epochs=50)
    group = search.adam.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.5, 0.999), 1e-3)
    assert search.rate(0) == 0.025
    assert search.rate(25) == pytest.approx((0.025 + 0.001) / 2)
    assert search.rate(49) == pytest.approx(0.001 + 0.012 * (1 + math.cos(math.pi * 49 / 50)))
    steps = {id(p) for p in search.sgd.param_groups[0]["params"]}
    assert not steps & {id(a) for a in search.supernet.alphas.values()}


# The loop.


@BOTH
def test_a_resumed_search_is_the_uninterrupted_one(
    space: DartsSpace | NASBench201Space, tmp_path: Path
) -> None:
    quick = {"order": 1, "batch_size": 21} if isinstance(space, DartsSpace) else {}
    whole = bilevel(space, **quick)
    train_supernet(whole)

    def kill(row: dict[str, float], epochs: int) -> None:
        raise KeyboardInterrupt

    broken_off = bilevel(space, **quick)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(broken_off, out=tmp_path, tell=kill)
    resumed = bilevel(space, **quick)
    restore(resumed, tmp_path)
    told: list[tuple[float, int]] = []
    train_supernet(resumed, tell=lambda row, epochs: told.append((row["epoch"], epochs)))
    assert told == [(2, 2)]
    assert resumed.rows == whole.rows
    assert resumed.result() == whole.result()
    ends = [values(search.supernet) for search in (whole, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    for a, b in zip(whole.sgd.state.values(), resumed.sgd.state.values(), strict=True):
        assert torch.equal(a["momentum_buffer"], b["momentum_buffer"])
    other = bilevel(space, seed=6)
    with pytest.raises(FphiError, match="other settings"):
        restore(other, tmp_path)


def test_the_search_learns_and_says_how_it_stands() -> None:
    search = bilevel(SPACES[1], epochs=12, order=1, lr=0.2, alpha_lr=0.05)
    rows = train_supernet(search)
    first, last = rows[0], rows[-1]
    assert set(first) == {
        "epoch", "train_loss", "validation_accuracy", "entropy", "skips_cell", "lr", "collapsed",
    }  # fmt: skip
    assert last["train_loss"] < 0.5 * first["train_loss"]
    assert last["validation_accuracy"] > 0.8
    assert last["entropy"] < first["entropy"]
    assert last["skips_cell"] == search.supernet.skips()["cell"]
    assert not any(row["collapsed"] for row in rows)


def test_a_search_that_collapses_stops_and_gives_what_it_had_before(tmp_path: Path) -> None:
    def collapsing() -> Bilevel:
        """Skip connections grow from epoch to epoch, as by what the validation examples say."""
        search = bilevel(SPACES[1], epochs=9, max_skips=2)
        original = search.alpha_step

        def step(batch: Examples, validation: Examples) -> None:
            original(batch, validation)
            with torch.no_grad():
                edges = len(search.rows) + 1
                search.supernet.alphas["cell"][:, 3] = 1.0
                search.supernet.alphas["cell"][:edges, 1] = 2.0

        search.alpha_step = step  # type: ignore[method-assign]
        return search

    search = collapsing()
    rows = train_supernet(search, out=tmp_path)
    assert [(row["skips_cell"], row["collapsed"]) for row in rows] == [(1, 0), (2, 0), (3, 1)]
    assert search.ended
    assert search.supernet.derive() == (1, 1, 1, 3, 3, 3)
    assert search.result() == (1, 1, 3, 3, 3, 3)
    again = collapsing()
    restore(again, tmp_path)
    assert train_supernet(again) == rows
    assert again.result() == (1, 1, 3, 3, 3, 3)


def test_a_search_that_never_was_good_goes_on() -> None:
    search = bilevel(SPACES[1], max_skips=0)
    with torch.no_grad():
        search.supernet.alphas["cell"][:, 1] = 5.0
    rows = train_supernet(search)
    assert [row["collapsed"] for row in rows] == [0, 0]
    assert search.result() == search.supernet.derive() == (1,) * 6


def test_a_diverging_search_says_so() -> None:
    with pytest.raises(FphiError, match="diverge"):
        bilevel(SPACES[1]).weight_step(Examples(TRAIN.x * torch.inf, TRAIN.y))


@pytest.mark.parametrize("options", [{"epochs": 0}, {"lr": 0.0005}, {"order": 3}, {"max_skips": -1}])
def test_settings_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    name = next(iter(options))
    with pytest.raises(FphiError, match=f"{name}="):
        BilevelPhase(**options)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=f"{name}( is |=)"):
        DARTS(**options)  # type: ignore[arg-type]


# The method.


@BOTH
def test_the_method_runs_and_resumes(space: DartsSpace | NASBench201Space, tmp_path: Path) -> None:
    assert get_method("darts") is DARTS
    method = DARTS(epochs=1, batch_size=21, order=1, supernet_channels=2)
    told: list[EpochRow] = []
    tokens, rows = supernet_search(method, space, DATA, 1, out=tmp_path, tell=lambda row, _: told.append(row))
    assert space.check(tokens) == tokens
    assert told == rows
    assert len(rows) == 1
    network = space.build(tokens, DATA.input_shape, DATA.classes)
    assert network(DATA.test.x).shape == (16, 4)
    again = supernet_search(method, space, DATA, 1, resume=tmp_path, tell=lambda row, _: told.append(row))
    assert again == (tokens, rows)
    assert len(told) == 1
    with pytest.raises(FphiError, match="nothing-here"):
        supernet_search(method, space, DATA, 1, resume=tmp_path / "nothing-here")


def test_spaces_that_cannot_be_mixed_are_refused() -> None:
    with pytest.raises(FphiError, match="enas-micro cannot be mixed; choose the space darts"):
        DARTS().require(EnasMicroSpace())
