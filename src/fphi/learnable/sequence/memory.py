"""A recurrent network with an external memory: what was seen stays there, bound to its label."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.ranges import Range, checked

__all__ = ["Memory", "MemoryCore", "access"]

# Norms below this count as this: an empty slot has cosine 0, and a nearly empty one no wild gradient.
_SMALLEST_NORM = 1e-3


class Memory(NamedTuple):
    """The memory of a batch of sequences after some step.

    Attributes:
        contents: ``[B, slots, word]``.
        usage: w^u ``[B, slots]``, how much each slot was read and written of late. No derivative
            passes through it, as it serves only to choose the least used slots.
        reads: w^r ``[B, heads, slots]``, the weights of the last reading.
    """

    contents: Tensor
    usage: Tensor
    reads: Tensor


class _State(NamedTuple):
    """All that a step leaves behind.

    Attributes:
        output: ``[B, hidden + heads*word]``, the controller's output and what was read with it: the
            answer is made of both, and the next step starts from both.
        cell: ``[B, hidden]``, the controller's.
        memory: after the step.
    """

    output: Tensor
    cell: Tensor
    memory: Memory


def access(
    memory: Memory, keys: Tensor, gates: Tensor, decay: float, sharpness: float = 1.0
) -> tuple[Memory, Tensor]:
    """Write to the memory, then read from it with the same keys: least-recently-used access.

    Of n heads each writes its key where it read the last time and to the n least used slots, in the
    proportion σ(gate) to 1 − σ(gate). These n slots are wiped before. They are always exactly n: among
    equally used slots the lower number counts as less used.

    Args:
        memory: left by the step before.
        keys: k ``[B, heads, word]``.
        gates: a ``[B, heads]``, before the sigmoid.
        decay: γ, the part of the usage that remains from step to step.
        sharpness: factor of the cosines before the softmax; the paper has none.

    Returns:
        The memory after the step, and what each head read ``[B, heads, word]``.

    >>> empty = Memory(torch.zeros(1, 4, 2), torch.zeros(1, 4), torch.zeros(1, 1, 4))
    >>> memory, _ = access(empty, keys=torch.ones(1, 1, 2), gates=torch.tensor([[-100.0]]), decay=0.9)
    >>> memory.contents[0, 0].tolist(), memory.contents[0, 1].tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    least_used = _least_used(memory.usage, keys.shape[1])
    writes = torch.lerp(least_used.unsqueeze(1), memory.reads, gates.sigmoid().unsqueeze(2))
    kept = memory.contents * (1 - least_used).unsqueeze(2)
    contents = torch.baddbmm(kept, writes.mT, keys)
    reads = (sharpness * _cosine(keys, contents)).softmax(2)
    with torch.no_grad():
        usage = decay * memory.usage + (reads + writes).sum(1)
    return Memory(contents, usage, reads), reads @ contents


def _least_used(usage: Tensor, count: int) -> Tensor:
    """w^lu ``[B, slots]``: ones at the ``count`` slots that are least used, zeros elsewhere."""
    slots = usage.sort(dim=1, stable=True).indices[:, :count]
    return torch.zeros_like(usage).scatter_(1, slots, 1.0)


def _cosine(keys: Tensor, contents: Tensor) -> Tensor:
    """``[B, heads, slots]`` from ``[B, heads, word]`` and ``[B, slots, word]``."""
    lengths: Tensor = torch.linalg.vector_norm(contents, dim=2).clamp_min(_SMALLEST_NORM).unsqueeze(1)
    return F.normalize(keys, dim=2, eps=_SMALLEST_NORM) @ contents.mT / lengths


class MemoryCore(nn.Module):
    """A memory-augmented network (Santoro, Bartunov, Botvinick, Wierstra, Lillicrap 2016, arXiv 1605.06065).

    An LSTM, the controller, gives a key (within ±1) and a gate for each head; see `access` for what
    they do. It gets what was read in the step before along with its input; the answer comes from its
    state and from what is read now. Every sequence starts with a memory of zeros, never used or read.

    Args:
        inputs: size of an item.
        ways: answers.
        hidden: size of the controller's state.
        slots: number of slots of the memory.
        word: size of a slot.
        heads: read heads; as many keys are written in each step.
        decay: γ of the usage.
        sharpness: see `access`.
    """

    @checked(decay=Range(0, 1, below=True), sharpness=Range(0, open=True))
    def __init__(
        self,
        inputs: int,
        ways: int,
        *,
        hidden: int = 200,
        slots: int = 128,
        word: int = 40,
        heads: int = 4,
        decay: float = 0.95,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        if heads > slots:
            raise FphiError(f"{heads} heads write to {heads} slots, and there are {slots}; give more slots")
        self.hidden, self.slots, self.word, self.heads = hidden, slots, word, heads
        self.decay, self.sharpness = decay, sharpness
        self.reader = nn.Linear(inputs, 4 * hidden)
        self.recurrent = nn.Linear(hidden + heads * word, 4 * hidden, bias=False)
        self.interface = nn.Linear(hidden, heads * (word + 1))
        self.head = nn.Linear(hidden + heads * word, ways)

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Answers to ``past: [B, T, inputs]`` and to each of ``last: [B, Q, inputs]`` after it."""
        # What was written is read again much later: no lower precision, as autocast would choose.
        with torch.autocast(past.device.type, enabled=False):
            return self._read(past.to(self.head.weight.dtype), last.to(self.head.weight.dtype))

    def _read(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        state = self._start(past)
        outputs = []
        for seen in self.reader(past).unbind(1):
            state = self._step(state, seen)
            outputs.append(state.output)
        state = self._step(_for_each_query(state, last.shape[1]), self.reader(last).flatten(0, 1))
        ends = state.output.view(*last.shape[:2], -1)
        return self.head(torch.stack(outputs, 1)), self.head(ends)

    def _step(self, state: _State, seen: Tensor) -> _State:
        """One step; ``seen: [B, 4*hidden]`` is the item's part in the controller's gates."""
        gates = torch.addmm(seen, state.output, self.recurrent.weight.mT)
        into, forget, out, new = gates.chunk(4, 1)
        cell = torch.addcmul(forget.sigmoid() * state.cell, into.sigmoid(), new.tanh())
        hidden = out.sigmoid() * cell.tanh()
        keys, gate = self.interface(hidden).split([self.heads * self.word, self.heads], 1)
        keys = keys.unflatten(1, (self.heads, self.word)).tanh()
        memory, read = access(state.memory, keys, gate, self.decay, self.sharpness)
        return _State(torch.cat([hidden, read.flatten(1)], 1), cell, memory)

    def _start(self, past: Tensor) -> _State:
        batch = past.shape[0]
        memory = Memory(
            past.new_zeros(batch, self.slots, self.word),
            past.new_zeros(batch, self.slots),
            past.new_zeros(batch, self.heads, self.slots),
        )
        output = past.new_zeros(batch, self.hidden + self.heads * self.word)
        return _State(output, past.new_zeros(batch, self.hidden), memory)


def _for_each_query(state: _State, queries: int) -> _State:
    """The same state ``queries`` times for each sequence: leading dimension B to B*Q."""
    output, cell, *memory = (part.repeat_interleave(queries, 0) for part in (*state[:2], *state.memory))
    return _State(output, cell, Memory(*memory))
