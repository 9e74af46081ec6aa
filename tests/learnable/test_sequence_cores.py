"""The networks that read sequences: causal, exact by hand, and linear in memory."""

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable.sequence.memory import Memory, access
from fphi.learnable.sequence.snail import CausalAttention, DenseBlock, SNAILCore, TemporalConvolution
from fphi.learnable.sequence.standardisation import OnlineStandardisation
from sequence_helpers import CORES, INPUTS, WAYS, T, core_named, every_core, items

# What a core is.


@every_core
def test_a_query_is_the_next_item_of_the_past(name: str) -> None:
    core, sequence = core_named(name), items(T)
    whole, _ = core(sequence, items(1))
    past, last = core(sequence[:, :-1], sequence[:, -1:])
    torch.testing.assert_close(torch.cat([past, last], 1), whole, rtol=1e-10, atol=1e-12)


@every_core
def test_queries_are_answered_as_if_alone(name: str) -> None:
    core, past, last = core_named(name), items(T), items(4)
    together = core(past, last)[1]
    for i in range(4):
        torch.testing.assert_close(
            core(past, last[:, i : i + 1])[1], together[:, i : i + 1], rtol=1e-10, atol=1e-12
        )


@every_core
@pytest.mark.parametrize("t", [0, 3, T - 1])
def test_nothing_depends_on_what_comes_later(name: str, t: int) -> None:
    core, sequence, last = core_named(name), items(T), items(2)
    changed = sequence.clone()
    changed[:, t] += 1
    before, ends = core(sequence, last)
    after, other_ends = core(changed, last)
    assert torch.equal(before[:, :t], after[:, :t])
    assert not torch.isclose(before[:, t:], after[:, t:], rtol=1e-12, atol=0).all(2).any()
    assert not torch.equal(ends, other_ends)


@every_core
def test_the_last_answer_has_a_gradient_to_every_earlier_item(name: str) -> None:
    past = items(T).requires_grad_()
    answers = core_named(name)(past, items(1))[1]
    (gradient,) = torch.autograd.grad(answers[..., 0].sum(), past)
    assert (gradient.abs().sum(2) > 0).all()


# G16, and the memory.


def hand_made() -> tuple[Memory, Tensor, Tensor]:
    def row(*values: float) -> Tensor:
        return torch.tensor([values], dtype=torch.float64)

    contents = torch.tensor([[[1, 0], [5, 5], [0, 1]]], dtype=torch.float64)
    memory = Memory(contents, row(0.3, 0.1, 0.2), row(0.6, 0.3, 0.1)[None])
    return memory, row(2, 0)[None], row(0)


def test_one_step_of_the_memory_by_hand() -> None:
    memory, read = access(*hand_made(), decay=0.9)
    expected = {
        "contents": [[1.6, 0], [1.3, 0], [0.1, 1]],
        "usage": [0.9855640476, 1.1555640476, 0.3988719047],
        "reads": [[0.4155640476, 0.4155640476, 0.1688719047]],
    }
    for name, values in expected.items():
        wanted = torch.tensor([values], dtype=torch.float64)
        torch.testing.assert_close(getattr(memory, name), wanted, rtol=0, atol=1e-10)
    assert read[0, 0].tolist() == pytest.approx([1.2220229286, 0.1688719047], abs=1e-10)


def random_memory(heads: int = 2, slots: int = 7, word: int = 4) -> tuple[Memory, Tensor, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(3, *shape, dtype=torch.float64)

    memory = Memory(normal(slots, word), normal(slots).exp(), normal(heads, slots).softmax(2))
    return memory, normal(heads, word), normal(heads)


def test_read_weights_sum_to_one_and_an_empty_memory_is_read_evenly() -> None:
    memory, _ = access(*random_memory(), decay=0.9)
    torch.testing.assert_close(memory.reads.sum(2), torch.ones(3, 2, dtype=torch.float64))
    empty = Memory(torch.zeros(1, 4, 2), torch.zeros(1, 4), torch.zeros(1, 1, 4))
    memory, read = access(empty, torch.zeros(1, 1, 2), torch.zeros(1, 1), decay=0.9)
    assert memory.reads.tolist() == [[[0.25] * 4]]
    assert read.tolist() == [[[0, 0]]]


def test_without_decay_the_usage_is_that_of_the_last_step() -> None:
    memory, keys, gates = random_memory()
    after, _ = access(memory, keys, gates, decay=0)
    # Of two heads each has read with weights of sum 1, and written with σ of those and 1 - σ to two slots.
    sums = 2 + (gates.sigmoid() + 2 * (1 - gates.sigmoid())).sum(1)
    torch.testing.assert_close(after.usage.sum(1), sums)
    other, _ = access(memory._replace(usage=memory.usage * 2), keys, gates, decay=0)  # the same order
    assert torch.equal(after.usage, other.usage)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_as_many_slots_as_heads_are_wiped_even_of_equally_used_ones(heads: int) -> None:
    memory, keys, gates = random_memory(heads)
    level = memory._replace(usage=torch.ones_like(memory.usage), reads=torch.zeros_like(memory.reads))
    after, _ = access(level, keys, gates, decay=0.9)
    written = ((1 - gates.sigmoid()).unsqueeze(2) * keys).sum(1, keepdim=True)
    assert torch.equal(after.contents[:, heads:], memory.contents[:, heads:])
    torch.testing.assert_close(
        after.contents[:, :heads], written.expand(-1, heads, -1), rtol=1e-12, atol=1e-15
    )


def test_the_numbering_of_the_slots_does_not_matter() -> None:
    memory, keys, gates = random_memory()
    order = torch.randperm(7)
    shuffled = Memory(memory.contents[:, order], memory.usage[:, order], memory.reads[:, :, order])
    (after, read), (other, same_read) = (access(m, keys, gates, 0.9) for m in (memory, shuffled))
    torch.testing.assert_close(same_read, read)
    torch.testing.assert_close(other.contents, after.contents[:, order])
    torch.testing.assert_close(other.usage, after.usage[:, order])
    torch.testing.assert_close(other.reads, after.reads[:, :, order])


def test_the_gradient_through_a_memory_step_is_right() -> None:
    memory, keys, gates = random_memory()

    def step(contents: Tensor, reads: Tensor, keys: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        after, read = access(Memory(contents, memory.usage, reads), keys, gates, 0.9, sharpness=2.0)
        return after.contents, read

    leaves = [t.requires_grad_() for t in (memory.contents, memory.reads, keys, gates)]
    assert torch.autograd.gradcheck(step, leaves)


# Standardisation.


def test_an_item_is_standardised_by_those_up_to_it_and_what_is_learned() -> None:
    standardise = OnlineStandardisation(2, weight=2.0).double()
    with torch.no_grad():
        standardise.mean.copy_(torch.tensor([1.0, -1.0]))
        standardise.log_variance.copy_(torch.tensor([4.0, 0.25]).log())
    past, last = torch.randn(3, 5, 2, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    found, ends = standardise(past, last)
    # Two items with the learned mean and variance: the mean, one learned deviation above and below.
    mean, deviation = torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5])
    learned = torch.stack([mean - deviation, mean + deviation]).double()
    for b in range(3):
        for t in range(5):
            seen = torch.cat([learned, past[b, : t + 1]])
            wanted = (past[b, t] - seen.mean(0)) / seen.std(0, correction=0)
            torch.testing.assert_close(found[b, t], wanted)
        for q in range(4):
            seen = torch.cat([learned, past[b], last[b, q : q + 1]])
            torch.testing.assert_close(ends[b, q], (last[b, q] - seen.mean(0)) / seen.std(0, correction=0))


def test_equal_items_are_standardised_without_infinities() -> None:
    found, _ = OnlineStandardisation(1, weight=1e-6)(torch.full((1, 50, 1), 3.0), torch.full((1, 1, 1), 3.0))
    assert found.isfinite().all()
    found.sum().backward()


# SNAIL's parts.


@pytest.mark.parametrize(
    ("ways", "shots", "channels"),
    [(5, 1, [69, 101, 485, 613, 997, 1253]), (20, 5, [84, 116, 1012, 1140, 2036, 2292])],
)
def test_channels_as_in_the_paper(ways: int, shots: int, channels: list[int]) -> None:
    core = SNAILCore(64 + ways, ways, length=ways * shots + 1)
    assert core.channels == channels
    answers, last = core(torch.zeros(1, ways * shots, 64 + ways), torch.zeros(1, 2, 64 + ways))
    assert (answers.shape, last.shape) == ((1, ways * shots, ways), (1, 2, ways))


@pytest.mark.parametrize(
    ("length", "dilations"), [(2, [1]), (6, [1, 2, 4]), (8, [1, 2, 4]), (9, [1, 2, 4, 8])]
)
def test_convolutions_reach_the_first_item_and_no_further(length: int, dilations: list[int]) -> None:
    layers = TemporalConvolution(2, length, filters=3).double()
    assert [block.dilation for block in layers.blocks] == dilations
    past = torch.randn(1, 20, 2, dtype=torch.float64, requires_grad=True)
    _, last = layers(past, torch.randn(1, 1, 2, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(last.sum(), past)
    reach = (gradient.abs().sum(2)[0] > 0).tolist()
    assert reach == [False] * (20 - sum(dilations)) + [True] * sum(dilations)
    assert sum(dilations) >= length - 1


def test_a_dense_block_is_a_gated_causal_convolution() -> None:
    block, past = DenseBlock(4, 3, dilation=2).double(), torch.randn(2, 7, 4, dtype=torch.float64)
    kernel = torch.stack([block.earlier.weight, block.now.weight], 2)
    padded = nn.functional.pad(past.mT, (2, 0))
    value, gate = nn.functional.conv1d(padded, kernel, block.now.bias, dilation=2).mT.chunk(2, 2)
    expected = torch.cat([past, value.tanh() * gate.sigmoid()], 2)
    torch.testing.assert_close(block(past, past[:, :1])[0], expected)


def test_attention_weighs_itself_and_the_earlier_items() -> None:
    layer, past = CausalAttention(4, d_k=5, d_v=3).double(), torch.randn(1, 6, 4, dtype=torch.float64)
    query, key, value = layer.project(past).split([5, 5, 3], 2)
    for t in range(6):
        weights = (query[0, t] @ key[0, : t + 1].T / 5**0.5).softmax(0)
        torch.testing.assert_close(layer(past, past[:, :1])[0][0, t, 4:], weights @ value[0, : t + 1])


# Memory.


def kept_elements(core: nn.Module, length: int) -> int:
    """Numbers that the backward pass keeps, each tensor's storage counted once, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in core.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        core(torch.randn(1, length, INPUTS), torch.randn(1, 1, INPUTS))[1].sum()
    return sum(kept.values())


@every_core
def test_memory_grows_in_a_line_with_the_sequence(name: str) -> None:
    torch.manual_seed(0)
    core = SNAILCore(INPUTS, WAYS, length=513) if name == "snail" else CORES[name]()
    quarter, half, whole = (kept_elements(core, n) for n in (128, 256, 512))
    assert whole - half == pytest.approx(2 * (half - quarter), rel=0.02)


def test_keys_begin_as_queries_and_are_learned_apart() -> None:
    torch.manual_seed(0)
    attention, past, last = CausalAttention(16, 8, 4), torch.randn(1, 5, 16), torch.randn(1, 2, 16)
    query, key, _ = attention.project(past).split(attention.sizes, 2)
    assert torch.equal(query, key)
    sum(out.square().sum() for out in attention(past, last)).backward()
    gradient = attention.project.weight.grad
    assert gradient is not None
    assert not torch.allclose(gradient[:8], gradient[8:16])
