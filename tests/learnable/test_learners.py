"""What every learner must satisfy: each test goes through the whole table."""

import copy
import warnings

import pytest
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable import GradientLearner, LearningAlgorithm, evaluation_mode
from fphi.networks import calibrate
from fphi.objective import meta_gradient
from fphi.run.disk.checkpoint import load_parameters, save_parameters
from fphi.run.meta.evaluate import evaluate
from fphi.tasks.types import Examples, Task
from fphi.within import sgd
from learners import LEARNERS, WAYS, Case, LooksAtValues, random_tasks, separately

every_learner = pytest.mark.parametrize("case", LEARNERS, ids=lambda c: c.name)


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], rtol: float = 1e-8) -> None:
    scale = max(float(g.abs().max()) for g in a.values())
    for name, g in a.items():
        worst = float((b[name] - g).abs().max())
        assert worst <= rtol * scale, f"{name} differs by {worst}, of at most {scale}"


@every_learner
def test_vmapped_equals_looped(case: Case) -> None:
    tasks = random_tasks()
    loss, gradients = meta_gradient(case.build("vmap").double(), tasks, threads=1)
    looped_loss, looped = meta_gradient(case.build("loop").double(), tasks, threads=1)
    torch.testing.assert_close(loss, looped_loss, rtol=1e-10, atol=0)
    assert_same(looped, gradients)


@every_learner
def test_chunks_and_threads_do_not_change_the_gradient(case: Case) -> None:
    """Chunks change no more than the rounding of a sum, and threads no bit."""
    learner, tasks = case.build("vmap").double(), random_tasks()
    loss, whole = meta_gradient(learner, tasks, chunk_size=3, threads=1)
    for chunk_size, threads in ((1, 2), (2, 3)):
        split_loss, split = meta_gradient(learner, tasks, chunk_size=chunk_size, threads=1)
        torch.testing.assert_close(loss, split_loss, rtol=1e-10, atol=0)
        assert_same(whole, split)
        other_loss, other = meta_gradient(learner, tasks, chunk_size=chunk_size, threads=threads)
        assert torch.equal(other_loss, split_loss)
        assert all(torch.equal(other[name], gradient) for name, gradient in split.items())


@every_learner
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_gradient_and_the_answers_of_the_cpu(case: Case) -> None:
    learner, tasks = case.build("vmap").double(), random_tasks()
    loss, gradients = meta_gradient(learner, tasks)
    calibrate(learner, separately(tasks), learner.observe)
    accuracy = evaluate(learner, tasks).transductive
    moved, there = learner.to("cuda"), tasks.to(torch.device("cuda"))
    gpu_loss, on_gpu = meta_gradient(moved, there)
    torch.testing.assert_close(gpu_loss.cpu(), loss, rtol=1e-9, atol=0)
    assert_same(gradients, {name: gradient.cpu() for name, gradient in on_gpu.items()})
    assert torch.equal(evaluate(moved, tasks).transductive, accuracy)


@every_learner
def test_one_task_alone_is_answered_as_in_a_batch(case: Case) -> None:
    learner, tasks = case.build("vmap").double(), random_tasks()
    batch = learner.solve(tasks.support, tasks.query.x)
    for i in range(3):
        alone = learner(Examples(tasks.support.x[i], tasks.support.y[i]), tasks.query.x[i])
        torch.testing.assert_close(alone, batch[i], rtol=1e-9, atol=1e-12)


@every_learner
def test_relabelling_the_support_permutes_the_answers(case: Case) -> None:
    if case.sequence:
        pytest.skip("its inputs have to be renamed too: see test_sequence")
    if case.random_start:
        pytest.skip("its head is drawn for each task")
    learner, tasks = case.build("vmap").double(), random_tasks()
    order = torch.tensor([2, 0, 1])  # class c becomes order[c]
    renamed = copy.deepcopy(learner)
    if not case.metric:  # a learned head must have its outputs renamed too
        state = renamed.state_dict()
        for name, value in state.items():
            outputs = value.dim() > 0 and value.shape[0] == WAYS
            if outputs and ("head." in name or "head/" in name):
                state[name] = torch.empty_like(value).index_copy_(0, order, value)
        renamed.load_state_dict(state)
    before = learner.solve(tasks.support, tasks.query.x)
    after = renamed.solve(Examples(tasks.support.x, order[tasks.support.y]), tasks.query.x)
    torch.testing.assert_close(after[..., order], before, rtol=1e-8, atol=1e-10)


@every_learner
def test_the_order_of_the_support_does_not_matter(case: Case) -> None:
    if not case.order_free:
        pytest.skip("learns from minibatches: the order of the examples is part of it")
    learner, tasks = case.build("vmap").double(), random_tasks()
    order = torch.randperm(tasks.support.x.shape[1])
    shuffled = Examples(tasks.support.x[:, order], tasks.support.y[:, order])
    torch.testing.assert_close(
        learner.solve(shuffled, tasks.query.x),
        learner.solve(tasks.support, tasks.query.x),
        rtol=1e-8,
        atol=1e-10,
    )


@every_learner
def test_query_labels_are_for_the_loss_alone(case: Case) -> None:
    """Answers cannot depend on them: `solve` is not given any."""
    learner, tasks = case.build("vmap").double(), random_tasks()
    other = Task(tasks.support, Examples(tasks.query.x, (tasks.query.y + 1) % WAYS))
    changed = not torch.equal(learner.task_losses(tasks), learner.task_losses(other))
    assert changed == case.reads_labels
    gradients = [meta_gradient(learner, t, threads=1)[1] for t in (tasks, other)]
    differ = any(not torch.equal(a, b) for a, b in zip(*(g.values() for g in gradients), strict=True))
    assert differ == case.uses_query_labels


@every_learner
def test_inductive_answers_do_not_depend_on_other_queries(case: Case) -> None:
    tasks = random_tasks(2, queries=1)
    with evaluation_mode(case.build("vmap").double()) as learner:
        together = learner.solve_alone(tasks.support, tasks.query.x)
        for i in range(tasks.query.x.shape[1]):
            alone = learner.solve_alone(tasks.support, tasks.query.x[:, i : i + 1])
            torch.testing.assert_close(alone[:, 0], together[:, i], rtol=1e-9, atol=1e-11)


@every_learner
def test_the_answers_at_test_are_those_of_each_way_of_asking(case: Case) -> None:
    tasks = random_tasks(2, queries=1)
    with evaluation_mode(case.build("vmap").double()) as learner, torch.no_grad():
        answers = learner.answers_at_test(tasks.support, tasks.query.x)
        torch.testing.assert_close(answers.final, learner.solve(tasks.support, tasks.query.x))
        torch.testing.assert_close(answers.alone, learner.solve_alone(tasks.support, tasks.query.x))
        if answers.by_step is not None:
            assert torch.equal(answers.by_step[-1], answers.final)
        assert learner.answers_at_test(tasks.support, tasks.query.x, alone=False).alone is None


@every_learner
def test_transductive_answers_depend_on_other_queries_exactly_where_it_is_said(case: Case) -> None:
    tasks = random_tasks()
    with evaluation_mode(case.build("vmap").double()) as learner:
        together = learner.solve(tasks.support, tasks.query.x)
        fewer = learner.solve(tasks.support, tasks.query.x[:, :3])
        same = torch.allclose(together[:, :3], fewer, rtol=1e-9, atol=1e-11)
        assert same == (not learner.shares_queries(tasks.support, tasks.query.x))


@every_learner
def test_saved_and_loaded_answers_the_same(case: Case, tmp_path: object) -> None:
    learner, other = case.build("vmap"), case.build("vmap")
    for p in learner.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    tasks = random_tasks(dtype=torch.float32)
    path = tmp_path / "phi.safetensors"  # type: ignore[operator]
    save_parameters(path, learner)
    load_parameters(path, other)
    assert torch.equal(learner.solve(tasks.support, tasks.query.x), other.solve(tasks.support, tasks.query.x))


@every_learner
def test_no_call_changes_state_nor_threads_an_evaluation(case: Case) -> None:
    learner, tasks = case.build("vmap").double(), random_tasks(2, shots=1, queries=1)
    calibrate(learner, separately(tasks), learner.observe)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    meta_gradient(learner, tasks, chunk_size=1, threads=2)
    tests = []
    for threads in (1, 2):
        torch.manual_seed(0)
        tests.append(evaluate(learner, tasks, chunk_size=1, threads=threads).per_task())
    for name, value in learner.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(torch.equal(values, tests[1][name]) for name, values in tests[0].items())


@every_learner
def test_gradient_equals_finite_differences(case: Case) -> None:
    """The meta-gradient along a random direction, in float64, against central differences."""
    learner, tasks = case.build("vmap").double(), random_tasks()
    firsts = ("fomaml", "reptile", "imaml", "siamese, matching", "first order")
    if any(name in case.name for name in firsts):
        pytest.skip("its update is by design not the gradient of the task loss")
    _, gradients = meta_gradient(learner, tasks, threads=1)
    along = {k: torch.randn_like(g) for k, g in gradients.items()}
    slope = sum(float((gradients[k] * d).sum()) for k, d in along.items())
    # So near that no unit crosses a kink on the way.
    assert differences(learner, tasks, along, 1e-9) == pytest.approx(slope, rel=1e-4)


def differences(learner: LearningAlgorithm, tasks: Task, along: dict[str, Tensor], h: float) -> float:
    losses = []
    for sign in (1, -1):
        moved = copy.deepcopy(learner)
        for name, p in moved.named_parameters():
            p.data.add_(along[name], alpha=sign * h)
        losses.append(float(moved.task_losses(tasks).mean().detach()))
    return (losses[0] - losses[1]) / (2 * h)


def test_a_network_that_cannot_be_vmapped_is_looped_over_with_one_warning() -> None:
    tasks = random_tasks()
    learner = GradientLearner(LooksAtValues(), sgd(0.1), 2).double()
    with pytest.warns(UserWarning, match=r"looped over.*cannot be vmapped"):
        _, gradients = meta_gradient(learner, tasks, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta_gradient(learner, tasks, threads=2, chunk_size=1)
    reference = GradientLearner(LooksAtValues(), sgd(0.1), 2, batching="loop").double()
    assert_same(meta_gradient(reference, tasks, threads=1)[1], gradients)


def test_an_error_of_the_network_itself_is_told_as_one() -> None:
    learner = GradientLearner(torch.nn.Linear(7, WAYS), sgd(0.1), 1).double()
    with pytest.raises(
        FphiError, match=r"network Linear does not take query\.x .*cannot be multiplied"
    ) as told:
        meta_gradient(learner, random_tasks(), threads=1)
    assert isinstance(told.value.__cause__, RuntimeError)


def test_a_seed_decides_dropout_in_any_number_of_threads() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(256, WAYS))
    learner, tasks = GradientLearner(network, sgd(0.1), 1).double(), random_tasks(4)

    def gradients(threads: int, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return meta_gradient(learner, tasks, chunk_size=1, threads=threads)[1]

    once, again, other = gradients(1, seed=0), gradients(3, seed=0), gradients(3, seed=1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["network.2.weight"], other["network.2.weight"])
