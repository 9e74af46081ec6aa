"""Steps with learned weights: the same in both forms, plain where weights are constant; looks ahead move nothing."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from fphi.errors import FphiError
from fphi.learnable.weighting import WeightNet, batch_weights
from fphi.objective.example_weights import primal
from fphi.optimize.meta_weight_net import DivideBy, MetaWeightNet
from fphi.optimize.reweighting import Form, Reweight
from fphi.optimize.weighted_training import WeighedObjective
from fphi.optimize.weighting import Pair, Weighting
from fphi.tasks.types import Examples


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Identity(), nn.Linear(64, 3)
    )


def pair(seed: int, n: int = 9) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    return torch.randn(n, 1, 6, 6, generator=generator, dtype=dtype), torch.randint(
        3, (n,), generator=generator
    )


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_both_forms_take_the_same_steps() -> None:
    torch.set_default_dtype(torch.float64)
    models = [network(), network()]
    product, unrolled = (
        Reweight(models[0], sgd(models[0])),
        Reweight(models[1], sgd(models[1]), form="unrolled"),
    )
    for i in range(4):
        one, other = (form.step(pair(i), pair(100 + i)) for form in (product, unrolled))
        assert torch.allclose(one.weights, other.weights, rtol=1e-6, atol=1e-12)
        assert float(one.clean_loss) == pytest.approx(float(other.clean_loss), rel=1e-6)
    for name, value in models[0].state_dict().items():
        assert torch.allclose(value.double(), models[1].state_dict()[name].double(), rtol=1e-6), name


def test_attention_is_no_matter_to_either_form() -> None:
    """Torch's fast attention has none of the derivatives that are needed; its formula has them all."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(6, 6), nn.Linear(36, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(x)
            answers: Tensor = self.head(scaled_dot_product_attention(x, x, x).flatten(1))
            return answers

    torch.set_default_dtype(torch.float64)
    model = Attending()
    forms = [Reweight(model, sgd(model)), Reweight(model, sgd(model), form="unrolled")]
    one, other = (form.weigh(pair(0), pair(1)).weights for form in forms)
    assert torch.allclose(one, other, rtol=1e-6)


def test_a_step_of_reweighting_is_one_of_the_weighted_losses() -> None:
    torch.set_default_dtype(torch.float64)
    model = network()
    plain = copy.deepcopy(model)
    optimizer = sgd(model)
    weighed = Reweight(model, optimizer).step(pair(0), pair(1))
    assert float(weighed.weights.sum()) == pytest.approx(1)
    assert torch.equal(weighed.weights, batch_weights(weighed.helps))
    other = sgd(plain)
    x, y = pair(0)
    (weighed.weights @ cross_entropy(plain(x), y, reduction="none")).backward()  # type: ignore[no-untyped-call]
    other.step()
    for name, value in plain.state_dict().items():  # running statistics too: of one pass
        assert torch.allclose(model.state_dict()[name].double(), value.double(), rtol=1e-12), name


def test_permuted_examples_have_permuted_weights() -> None:
    torch.set_default_dtype(torch.float64)
    x, y = pair(0)
    order = torch.tensor([3, 1, 8, 0, 2, 7, 5, 4, 6])
    for begin in (Reweight, MetaWeightNet):
        models = network(), network()
        torch.manual_seed(0)
        weights = begin(models[0], sgd(models[0])).weigh((x, y), pair(1)).weights
        torch.manual_seed(0)
        permuted = begin(models[1], sgd(models[1])).weigh((x[order], y[order]), pair(1)).weights
        assert torch.allclose(permuted, weights[order], rtol=1e-9)


class Counting(nn.Linear):
    """Keeps in a buffer how often it was called."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__(2, 2, bias=False)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x)


def test_a_batch_in_which_nothing_helps_is_left_out() -> None:
    """The same examples as the clean ones, all with the other label: not even momentum moves the model."""
    model = Counting()
    weighting = Reweight(model, sgd(model))
    x, y = torch.eye(2), torch.tensor([0, 1])
    assert not weighting.step((x, y), (x, y)).skipped
    before = state(model)
    assert before["passes"] == 1
    weighed = weighting.step((x, 1 - y), (x, y))
    assert weighed.skipped
    assert weighed.weights.tolist() == [0, 0]
    assert bool((weighed.helps < 0).all())
    assert equal(state(model), before)


class Constant(WeightNet):
    """V ≡ ½, whatever the loss; its parameters count for nothing."""

    def forward(self, losses: Tensor) -> Tensor:
        return 0 * super().forward(losses) + 0.5


@pytest.mark.parametrize(("divide_by", "rate"), [("number", 0.2), ("sum", 0.1)])
def test_a_constant_weight_is_plain_descent_at_a_scaled_rate(divide_by: DivideBy, rate: float) -> None:
    torch.set_default_dtype(torch.float64)
    model = network()
    plain = copy.deepcopy(model)
    optimizer, usual = torch.optim.SGD(model.parameters(), rate), torch.optim.SGD(plain.parameters(), 0.1)
    weighting = MetaWeightNet(model, optimizer, net=Constant(), divide_by=divide_by)
    for i in range(3):
        weighting.step(pair(i), pair(100 + i))
        x, y = pair(i)
        usual.zero_grad()
        cross_entropy(plain(x), y).backward()  # type: ignore[no-untyped-call]
        usual.step()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10)


@pytest.mark.parametrize("begin", [Reweight, MetaWeightNet])
def test_only_the_real_pass_moves_the_running_statistics(begin: Callable[..., Weighting]) -> None:
    model, plain = network(), network()
    x, y = pair(0)
    before = [p.clone() for p in model.parameters()]
    begin(model, sgd(model)).weigh((x, y), pair(1))
    plain(x)
    for name, buffer in plain.named_buffers():
        assert torch.allclose(model.get_buffer(name), buffer), name
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


class Assigning(nn.Linear):
    """Keeps its count, and what it answered last, in buffers that it does not change but put others in place of."""

    passes: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__(2, 2, bias=False)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("last", torch.zeros(0, 2))

    def forward(self, x: Tensor) -> Tensor:
        self.passes = self.passes + 1
        self.last = super().forward(x)
        return self.last


@pytest.mark.parametrize("form", ["product", "difference", "unrolled", None])
def test_buffers_that_a_model_puts_others_in_place_of_stay(form: Form | None) -> None:
    own = Assigning()
    model = nn.Sequential(own)
    weighting = MetaWeightNet(model, sgd(model)) if form is None else Reweight(model, sgd(model), form=form)
    x, y = torch.eye(2), torch.tensor([0, 1])
    for i in range(2):
        answers = x @ own.weight.detach().T
        assert not weighting.step((x, y), (x[:1], y[:1])).skipped
        assert own.passes == i + 1
        assert torch.allclose(own.last, answers)
        assert not own.last.requires_grad
    assert set(model.state_dict()) == {"0.weight", "0.passes", "0.last"}


def test_both_passes_of_a_batch_drop_the_same() -> None:
    """With dropout a step is reproducible, and what it looks ahead from is what it steps along."""
    torch.set_default_dtype(torch.float64)
    seen: list[Tensor] = []

    class Watching(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            seen.append(primal(out) != 0)
            return out

    model = network()
    model[4] = Watching(0.5)
    MetaWeightNet(model, sgd(model)).step(pair(0), pair(1))
    real, clean, again = seen
    assert torch.equal(real, again)
    assert not torch.equal(real, clean)


def test_weights_are_detached_from_the_losses_and_divided_by_n() -> None:
    model = network()
    weighed = MetaWeightNet(model, sgd(model)).weigh(pair(0), pair(1))
    assert float(weighed.loss.detach()) == pytest.approx(float((weighed.weights * weighed.losses).mean()))
    losses = torch.ones(3, requires_grad=True)
    net = WeightNet()
    net(losses).sum().backward()
    assert losses.grad is None
    assert net.curve([1.0, 1.0])[0] == pytest.approx(float(net(torch.ones(1)).detach()))


@pytest.mark.parametrize("divide_by", ["number", "sum"])
def test_the_weighting_network_goes_down_the_clean_loss_after_the_step(divide_by: DivideBy) -> None:
    """Its gradient is that of the whole step, written out."""
    torch.set_default_dtype(torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    weighting = MetaWeightNet(model, torch.optim.SGD(model.parameters(), 0.5), divide_by=divide_by)
    (x, y), (x_clean, y_clean) = pair(0), pair(1)
    losses = cross_entropy(model(x), y, reduction="none")
    weights = weighting.net(losses)
    total = (weights * losses).sum() / (len(x) if divide_by == "number" else weights.sum())
    theta = dict(model.named_parameters())
    slopes = torch.autograd.grad(total, list(theta.values()), create_graph=True)
    ahead = {k: p - 0.5 * g for (k, p), g in zip(theta.items(), slopes, strict=True)}
    clean_loss = cross_entropy(functional_call(model, ahead, (x_clean,)), y_clean)
    wanted = torch.autograd.grad(clean_loss, list(weighting.net.parameters()))
    found: list[Tensor] = []
    weighting.adam.register_step_pre_hook(
        lambda *_: found.extend(p.grad.clone() for p in weighting.net.parameters() if p.grad is not None)
    )
    weighed = weighting.weigh(pair(0), pair(1))
    assert all(torch.allclose(g, w, rtol=1e-8, atol=1e-14) for g, w in zip(found, wanted, strict=True))
    assert sum(float(g.abs().sum()) for g in found) > 1e-4
    divisor = len(x) if divide_by == "number" else weighed.weights.sum()
    assert torch.allclose(weighed.shares, weighed.weights / divisor)
    assert float(weighed.loss.detach()) == pytest.approx(float(weighed.shares @ weighed.losses))


def test_the_difference_takes_nearly_the_exact_steps() -> None:
    torch.set_default_dtype(torch.float64)
    found = []
    for derivative in ("exact", "difference"):
        model = network()
        torch.manual_seed(0)
        found.append(MetaWeightNet(model, sgd(model), derivative=derivative).step(pair(0), pair(1)))
    exact, difference = found
    assert torch.allclose(
        exact.helps, difference.helps, rtol=0.05, atol=0.02 * float(exact.helps.abs().max())
    )
    assert torch.allclose(exact.weights, difference.weights, rtol=1e-3)
    assert not torch.equal(exact.helps, difference.helps)


def test_a_training_goes_on_from_its_state_bit_for_bit() -> None:
    def begin() -> tuple[nn.Module, torch.optim.SGD, MetaWeightNet]:
        model = network()
        optimizer = sgd(model)
        return model, optimizer, MetaWeightNet(model, optimizer)

    model, optimizer, weighting = begin()
    for i in range(2):
        weighting.step(pair(i), pair(100 + i))
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict(), weighting.state_dict()))
    weighting.step(pair(5), pair(6))
    other, second, resumed = begin()
    other.load_state_dict(kept[0])
    second.load_state_dict(kept[1])
    resumed.load_state_dict(kept[2])
    resumed.step(pair(5), pair(6))
    assert equal(state(model), state(other))
    assert equal(state(weighting.net), state(resumed.net))
    with pytest.raises(ValueError, match="weighting network is another"):
        MetaWeightNet(model, optimizer, net=WeightNet(3)).load_state_dict(kept[2])
    with pytest.raises(KeyError):
        resumed.load_state_dict({})
    Reweight(model, optimizer).load_state_dict(Reweight(model, optimizer).state_dict())
    with pytest.raises(ValueError, match="no state"):
        Reweight(model, optimizer).load_state_dict(kept[2])


def test_any_loss_of_each_example_and_parameters_that_stay() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = [p.clone() for p in model[0].parameters()]
    x, y = pair(0)

    def loss(answers: Tensor, y: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(answers[:, 0], y, reduction="none")

    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for begin in (Reweight, MetaWeightNet):
        found = begin(model, optimizer, loss=loss).step((x, (y > 0).float()), (x, (y > 0).float()))
        assert found.losses.shape == (9,)
    assert all(torch.equal(p, q) for p, q in zip(model[0].parameters(), before, strict=True))


def test_what_does_not_fit_is_refused() -> None:
    model = network()
    optimizer = sgd(model)
    good = pair(0)
    with pytest.raises(FphiError, match=r"loss of 9 examples has shape \[\]; give one that returns a number"):
        Reweight(model, optimizer, loss=cross_entropy).step(good, good)
    with pytest.raises(FphiError, match="clean is no pair of tensors"):
        Reweight(model, optimizer).step(good, good[0])  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"batch has inputs \[9, 1, 6, 6\] and targets \[8\]"):
        Reweight(model, optimizer).step((good[0], good[1][:8]), good)
    with pytest.raises(FphiError, match="form is 'other'; it must be one of product, difference, unrolled"):
        Reweight(model, optimizer, form="other")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="nothing to train"):
        Reweight(nn.ReLU(), optimizer)
    with pytest.raises(
        FphiError, match=r"the optimizer holds no parameter of the model .*; make it of model"
    ):
        Reweight(model, sgd(network()))
    groups = [
        {"params": [p], "lr": lr} for p, lr in zip(model.parameters(), (0.1, 0.2, 0.1, 0.1), strict=False)
    ]
    uneven = torch.optim.SGD(groups)
    with pytest.raises(FphiError, match=r"learning rates from 0.1 to 0.2; say by virtual_lr"):
        MetaWeightNet(model, uneven).step(good, good)
    MetaWeightNet(model, uneven, virtual_lr=0.1).step(good, good)
    for begin in (Reweight, MetaWeightNet):
        weighting = begin(model, optimizer)
        before = str(weighting.state_dict()), state(model)
        bad = good[0] * float("inf"), good[1]
        for pairs, name in (((bad, good), "batch"), ((good, bad), "clean")):
            with pytest.raises(FphiError, match=f"losses of {name} are not finite, and .*: check its inputs"):
                weighting.step(*pairs)
            assert str(weighting.state_dict()) == before[0]
            assert equal(state(model), before[1])
        broken = copy.deepcopy(model)
        with torch.no_grad():
            next(broken.parameters()).fill_(torch.nan)
        with pytest.raises(FphiError, match="no longer finite: the model diverges; choose a smaller rate"):
            begin(broken, sgd(broken)).step(good, good)


class Mean(nn.Module):
    """Over the words of a text."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_what_has_no_second_derivative_is_weighed_by_a_difference(mode: str) -> None:
    torch.set_default_dtype(torch.float64)
    bag, head = nn.EmbeddingBag(10, 4, mode=mode), nn.Linear(4, 3)
    model = nn.Sequential(bag, head)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randint(10, (8, 3), generator=draw), torch.randint(3, (8,), generator=draw)
    batch, clean = (x, y), (x[:5], y[:5])
    for begin in (Reweight(model, sgd(model)), Reweight(model, sgd(model), form="unrolled")):
        with pytest.raises(FphiError, match=r"no second derivative: weigh by Reweight\(.*form='difference'"):
            begin.weigh(batch, clean)
    with pytest.raises(FphiError, match=r"MetaWeightNet\(.*derivative='difference'"):
        MetaWeightNet(model, sgd(model)).weigh(batch, clean)
    found = Reweight(model, sgd(model), form="difference").weigh(batch, clean)
    assert float(found.weights.sum()) == pytest.approx(1)
    if mode == "mean":
        words = nn.Embedding(10, 4, _weight=bag.weight.detach().clone())
        exact = Reweight(nn.Sequential(words, Mean(), head), sgd(head)).weigh(batch, clean)
        assert torch.allclose(found.helps, exact.helps, rtol=1e-3, atol=1e-4)


class Checkpointed(nn.Module):
    """Its second part is computed again on the way back."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.reentrant = nn.Linear(36, 6), reentrant
        self.rest = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.rest, self.first(x.flatten(1)).relu(), use_reentrant=self.reentrant)
        return found


def test_checkpoints_are_weighed_by_the_unrolled_form() -> None:
    torch.set_default_dtype(torch.float64)
    model = Checkpointed(False)
    with pytest.raises(FphiError, match=r"weigh by Reweight\(…, form='unrolled'\)"):
        Reweight(model, sgd(model)).step(pair(0), pair(1))
    unrolled = Reweight(model, sgd(model), form="unrolled").weigh(pair(0), pair(1))
    difference = Reweight(model, sgd(model), form="difference").step(pair(0), pair(1))
    assert torch.allclose(unrolled.helps, difference.helps, rtol=0.05, atol=0.02)
    model = Checkpointed(True)
    with pytest.raises(FphiError, match="use_reentrant=False"):
        Reweight(model, sgd(model), form="unrolled").step(pair(0), pair(1))


def test_a_model_of_halves_has_weights_of_singles() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).half()
    weighting = MetaWeightNet(model, torch.optim.SGD(model.parameters(), 0.01))
    batch, clean = ((pair(i)[0].half(), pair(i)[1]) for i in (0, 1))
    for _ in range(3):
        weighed = weighting.step(batch, clean)
    assert weighed.weights.dtype == torch.float32
    assert weighed.weights.isfinite().all()
    assert all(p.isfinite().all() for p in model.parameters())


def test_what_a_training_has_seen_of_its_examples() -> None:
    model = network()
    clean = Examples(*pair(1))
    objective = WeighedObjective(Reweight, clean, examples=9, batch_size=5)
    with pytest.raises(FphiError, match="nothing is weighed yet"):
        _ = objective.weighting
    loss_of = objective(model, sgd(model))
    x, y = pair(0)
    rows = torch.tensor([2, 0, 5])
    batch = Examples(x[rows], y[rows])
    with torch.no_grad():
        all_of_them = model(batch.x).softmax(1)
        probabilities = all_of_them[torch.arange(3), batch.y].double()
    loss_of(batch, rows)
    assert torch.allclose(objective.suspicion[rows], 1 - probabilities, atol=1e-6)
    assert torch.allclose(objective.state_dict()["probabilities"][rows], all_of_them, atol=1e-6)
    assert float(objective.weights.mean()) == pytest.approx(1)
    assert objective.weights[[1, 3, 4, 6, 7, 8]].tolist() == [0] * 6
    assert isinstance(objective.weighting, Reweight)


@pytest.mark.parametrize("divide_by", ["number", "sum"])
def test_the_weights_of_a_training_are_what_examples_counted_in_its_losses(divide_by: DivideBy) -> None:
    """By the losses' derivatives in the answers, whatever the weights are divided by."""
    torch.manual_seed(0)
    model, counted = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), torch.zeros(9, dtype=torch.float64)
    objective = WeighedObjective(
        lambda model, optimizer: MetaWeightNet(model, optimizer, lr=0.03, divide_by=divide_by),
        Examples(*pair(1)),
        examples=9,
    )
    (x, y), rows, loss_of = pair(0), torch.arange(9), objective(model, sgd(model))
    answers: list[Tensor] = []
    model.register_forward_hook(lambda *call: answers.append(call[-1]))
    for _ in range(5):
        answers.clear()
        loss = loss_of(Examples(x, y), rows)
        (slopes,) = torch.autograd.grad(loss, [answers[0]])
        counted += (
            slopes.norm(dim=1) / (answers[0].softmax(1) - nn.functional.one_hot(y, 3)).norm(dim=1)
        ).double()
    assert torch.allclose(objective.weights, counted / counted.mean(), rtol=1e-5)
    assert float(objective.weights.std()) > 0.01


@pytest.mark.parametrize("begin", [Reweight, MetaWeightNet])
def test_a_training_goes_on_with_what_its_objective_has_seen(begin: type[Weighting]) -> None:
    model, clean, (x, y) = network(), Examples(*pair(1)), pair(0)
    batches = [torch.tensor([2, 0, 5]), torch.tensor([1, 3, 4])]

    def objective() -> WeighedObjective:
        return WeighedObjective(begin, clean, examples=9, batch_size=100)

    torch.manual_seed(0)
    whole = objective()
    loss_of = whole(model, sgd(model))
    first, second = (loss_of(Examples(x[rows], y[rows]), rows) for rows in batches)
    torch.manual_seed(0)
    halves = [objective(), objective()]
    assert torch.equal(
        halves[0](model, sgd(model))(Examples(x[batches[0]], y[batches[0]]), batches[0]), first
    )
    halves[1].load_state_dict(halves[0].state_dict())
    assert torch.equal(halves[1].losses, halves[0].losses)
    loss_of = halves[1](model, sgd(model))
    # Clean minibatches of another order are the same sums in another order.
    assert torch.allclose(loss_of(Examples(x[batches[1]], y[batches[1]]), batches[1]), second, rtol=1e-5)
    assert torch.allclose(halves[1].weights, whole.weights, rtol=1e-5)
    assert torch.equal(halves[1].suspicion, whole.suspicion)


def test_labels_are_doubted_by_the_mean_of_the_training() -> None:
    """Of two passes each: the fourth is unlike class 1, which has 0.55 on average, and like class 0 with 0.8."""
    objective = WeighedObjective(Reweight, Examples(torch.eye(2), torch.arange(2)), examples=4)
    y = torch.tensor([0, 0, 1, 1])
    with pytest.raises(FphiError, match=r"no answers \[n, classes\] were seen"):
        objective.doubted(y)
    first = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3]])
    second = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    state = {"skipped": 0, "weighting": {}, "seen": torch.full((4, 4), 2.0, dtype=torch.float64)}
    objective.load_state_dict(state | {"probabilities": first + second})
    assert objective.doubted(y).tolist() == [False, False, False, True]


def test_an_objective_takes_no_state_of_another() -> None:
    clean = Examples(*pair(1))
    objective = WeighedObjective(Reweight, clean, examples=9)
    model = network()
    objective(model, sgd(model))
    state = objective.state_dict()
    for wrong in (
        {"seen": torch.zeros(4, 8, dtype=torch.float64)},
        {"seen": torch.zeros(4, 9)},
        {"seen": None},
        {"probabilities": torch.zeros(8, 3)},
        {"probabilities": torch.zeros(9)},
        {"probabilities": 1},
        {"skipped": -1},
        {"skipped": True},
        {"weighting": None},
    ):
        with pytest.raises(ValueError, match=r"it does not say|is of others|are of other examples"):
            objective.load_state_dict(state | wrong)
    objective.load_state_dict(state | {"weighting": {"net": {}}})
    with pytest.raises(ValueError, match="have no state"):
        objective(model, sgd(model))
