"""An LSTM that emits architectures answer by answer, each answer knowing all before it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fphi.errors import FphiError
from fphi.learnable.policy import Policy
from fphi.learnable.question import Question
from fphi.learnable.space import Decision, FixedSpace, Space, Tokens
from fphi.ranges import SEED, Range, checked

__all__ = ["LSTMController", "skip_divergence"]

# Architectures that are looked at for their questions, where these depend on the answers.
_EXPLORED = 100


class LSTMController(Policy):
    """An autoregressive policy over any space (Zoph and Le, ICLR 2017, arXiv 1611.01578).

    Before each question the LSTM takes a step, whose input stands for the answer before. A question is
    answered by a softmax with weights of its name. One that points at earlier parts j is answered by
    attention, with scores vᵀ tanh(W_prev h_j + W_curr h_i) of weights of its name: a softmax of them
    picks a part, the sigmoid of one decides on a connection. All connections of a part are decided from
    one and the same h_i. What follows takes the mean of the chosen anchors for its input.

    h_j is the anchor of part j: the output at the step that decides on its connections, as in the paper.
    Where that is the last of its questions, the anchor knows what the part is. A part that is asked about
    no connection has a step of its own for its anchor, after its last answer. Parts that no question
    belongs to, the inputs, have learned vectors.

    Where questions depend on the answers, one may come up that was not foreseen; it then gets weights of
    its own, which `PolicyGradient` hands to its optimizer.

    Args:
        space: any.
        seed: of the initial weights, uniform within ±``spread``.
        hidden: units of a layer of the LSTM, and numbers of an embedding.
        layers: of the LSTM.
        spread: see ``seed``.
        tanh_constant: c of c·tanh(logits), which keeps answers from becoming certain; None: no bound.
        temperature: divides the logits, inside of the tanh; None: 1.

    Raises:
        FphiError: an option is out of its range.
    """

    @checked(seed=SEED, tanh_constant=Range(0, open=True), temperature=Range(0, open=True))
    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        hidden: int = 100,
        layers: int = 1,
        spread: float = 0.1,
        tanh_constant: float | None = None,
        temperature: float | None = None,
    ) -> None:
        super().__init__(space)
        self.seed, self.spread = seed, spread
        self.tanh_constant, self.temperature = tanh_constant, temperature
        with torch.random.fork_rng():  # what the cells begin with comes below, of names and seed
            self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))
        for name, parameter in self.cells.named_parameters():
            parameter.data = self._new(f"cells/{name}", *parameter.shape).data
        self.first = self._new("first", hidden)
        self.unconnected = self._new("unconnected", hidden)
        self.questions, self.inputs = nn.ModuleDict(), nn.ParameterDict()
        foreseen = _foreseen(space)
        for decision in sorted(foreseen, key=lambda d: -d.choices):
            self.question(decision)
        for part in {part for d in foreseen for part in d.about} - {d.part for d in foreseen}:
            self.input_anchor(part)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> list[Tokens]:
        space = self.space
        if isinstance(space, FixedSpace):
            decisions = dict(enumerate(space.decisions))
            return self._sample(count, lambda answers: decisions.get(len(answers)), generator)

        def question(answers: list[Tensor]) -> Decision | None:
            return space.decision(tuple(int(answer) for answer in answers))

        return [self._sample(1, question, generator)[0] for _ in range(count)]

    def score(self, tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        # Those with the same questions together.
        groups: dict[tuple[Decision, ...], list[int]] = defaultdict(list)
        for i, answers in enumerate(tokens):
            groups[self._decisions(answers)].append(i)
        scores = [self._score(asked, [tokens[i] for i in group]) for asked, group in groups.items()]
        order = torch.tensor([i for group in groups.values() for i in group]).argsort().to(self.first.device)
        log_p, entropy = (torch.cat(parts)[order] for parts in zip(*scores, strict=True))
        return log_p, entropy

    def question(self, decision: Decision) -> Question:
        """The weights of a question."""
        key = decision.name.replace(".", " ") + "?"  # a module has no name with a full stop in it
        if key not in self.questions:
            self.questions[key] = Question()
        question = self.questions[key]
        assert isinstance(question, Question)
        question.fit(decision, lambda what, *sizes: self._new(f"{key}/{what}", *sizes), len(self.first))
        return question

    def input_anchor(self, part: int) -> Tensor:
        """The learned vector of a part that no question belongs to."""
        key = f"part {part}"
        if key not in self.inputs:
            self.inputs[key] = self._new(key, len(self.first))
        anchor: Tensor = self.inputs[key]
        return anchor

    def connection_logits(self, score: Tensor) -> Tensor:
        """Logits of no and yes ``[n, 2]`` from the score s ``[n, 1]`` of a connection: yes has σ(s)."""
        return torch.cat([torch.zeros_like(score), score], 1)

    def bounded(self, logits: Tensor, decision: Decision) -> Tensor:
        """The logits of a question's answers, with temperature and tanh constant."""
        if self.temperature is not None:
            logits = logits / self.temperature
        return logits if self.tanh_constant is None else self.tanh_constant * logits.tanh()

    def _new(self, name: str, *sizes: int) -> nn.Parameter:
        """Depends on no other parameter: it is the same whenever it is made."""
        generator = torch.Generator().manual_seed(Random(f"{self.seed}/{name}").getrandbits(63))
        values = torch.empty(sizes).uniform_(-self.spread, self.spread, generator=generator)
        return nn.Parameter(values.to(self._parameters.get("first", values)))

    def _decisions(self, tokens: Tokens) -> tuple[Decision, ...]:
        """What the answers are to; in a space that has grown since, those of its beginning."""
        if isinstance(self.space, FixedSpace):
            return self.space.decisions[: len(tokens)]
        found = (self.space.decision(tokens[:i]) for i in range(len(tokens)))
        return tuple(decision for decision in found if decision is not None)

    def _sample(
        self, count: int, question: Callable[[list[Tensor]], Decision | None], generator: torch.Generator
    ) -> list[Tokens]:
        walk, answers = _Walk(self, count), list[Tensor]()
        while (decision := question(answers)) is not None:
            drawn = torch.multinomial(walk.log_probabilities(decision).exp(), 1, generator=generator)
            answers.append(drawn.squeeze(-1))
            walk.take(decision, answers[-1])
        return [tuple(row) for row in torch.stack(answers, 1).tolist()] if answers else [()] * count

    def distributions(self, decisions: Sequence[Decision], tokens: Sequence[Tokens]) -> list[Tensor]:
        """Log π of each answer ``[n, choices]`` to each of the questions, on the way to ``tokens``."""
        walk = _Walk(self, len(tokens))
        logs = []
        columns = torch.tensor(tokens, dtype=torch.int64, device=self.first.device).unbind(1)
        for decision, answer in zip(decisions, columns, strict=True):
            logs.append(walk.log_probabilities(decision))
            walk.take(decision, answer)
        return logs

    def _score(self, decisions: Sequence[Decision], tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        log_p = entropy = self.first.new_zeros(len(tokens))
        for i, logs in enumerate(self.distributions(decisions, tokens)):
            answers = torch.tensor([one[i] for one in tokens], device=logs.device).unsqueeze(-1)
            log_p = log_p + logs.gather(-1, answers).squeeze(-1)
            entropy = entropy - (logs.exp() * logs).sum(-1)
        return log_p, entropy


class _Walk:
    """Where the controller stands with ``n`` architectures that are asked the same questions."""

    def __init__(self, controller: LSTMController, n: int) -> None:
        self.controller, self.n = controller, n
        zeros = controller.first.new_zeros(n, len(controller.first))
        self.states = [(zeros, zeros) for _ in controller.cells]
        self.input = controller.first.expand(n, -1)
        self.anchors: dict[int, Tensor] = {}
        self.keys: dict[tuple[str, int], Tensor] = {}  # W_prev h_j by question and part
        self.last: Decision | None = None
        # Of the connections so far of this part: the sum of the chosen anchors, and their number.
        self.chosen, self.count = zeros, zeros[:, :1]
        space = controller.space
        # Where nothing points at a part, no step is needed for its anchor.
        self.points = not isinstance(space, FixedSpace) or any(d.about for d in space.decisions)

    @property
    def output(self) -> Tensor:
        """The upper layer's h."""
        return self.states[-1][0]

    def log_probabilities(self, decision: Decision) -> Tensor:
        """Log π of each answer, ``[n, choices]``."""
        self._come_to(decision)
        question = self.controller.question(decision)
        if decision.about:
            keys = torch.stack([self._key(decision.name, part, question) for part in decision.about], 1)
            logits = question.scores(keys, self.output)
            if decision.is_connection:
                logits = self.controller.connection_logits(logits)
        else:
            logits = question.logits(self.output, decision.choices)
        return self.controller.bounded(logits, decision).log_softmax(-1)

    def take(self, decision: Decision, answers: Tensor) -> None:
        """Go on with the answers ``[n]``."""
        self.last = decision
        if decision.is_connection:
            self.chosen = self.chosen + answers.unsqueeze(-1) * self._anchor(decision.about[0])
            self.count = self.count + answers.unsqueeze(-1)
        elif decision.about:
            anchors = torch.stack([self._anchor(part) for part in decision.about], 1)
            self.input = anchors[torch.arange(self.n), answers]
        else:
            self.input = self.controller.question(decision).embedded(answers)

    def _come_to(self, decision: Decision) -> None:
        """Take the steps up to where the question is answered."""
        last = self.last
        if last is not None and last.is_connection:
            if decision.is_connection and decision.part == last.part:
                return
            mean = self.chosen / self.count.clamp(min=1)
            self.input = torch.where(self.count > 0, mean, self.controller.unconnected)
        if last is not None and decision.part != last.part and self.points and last.part not in self.anchors:
            self._step()
            self.anchors[last.part] = self.output
            self.input = self.controller.first.expand(self.n, -1)
        self._step()
        if decision.is_connection:
            self.anchors[decision.part] = self.output
            self.chosen, self.count = torch.zeros_like(self.output), self.output.new_zeros(self.n, 1)

    def _step(self) -> None:
        x = self.input
        for i, cell in enumerate(self.controller.cells):
            self.states[i] = cell(x, self.states[i])
            x = self.states[i][0]

    def _anchor(self, part: int) -> Tensor:
        """h_j, ``[n, hidden]``."""
        if part in self.anchors:
            return self.anchors[part]
        return self.controller.input_anchor(part).expand(self.n, -1)

    def _key(self, name: str, part: int, question: Question) -> Tensor:
        if (name, part) not in self.keys:
            self.keys[name, part] = linear(self._anchor(part), question.attention[0])
        return self.keys[name, part]


def _foreseen(space: Space) -> list[Decision]:
    """The questions of a space, each once; where they depend on the answers, those of some architectures."""
    if isinstance(space, FixedSpace):
        return list(dict.fromkeys(space.decisions))
    found: dict[Decision, None] = {}
    for i in range(_EXPLORED):
        tokens = space.sample(Random(i))
        for place in range(len(tokens)):
            decision = space.decision(tokens[:place])
            assert decision is not None
            found[decision] = None
    return list(found)


def skip_divergence(policy: LSTMController, tokens: Sequence[Tokens], target: float) -> Tensor:
    """How far the probabilities of skip connections are from ``target``, a scalar.

    The Kullback-Leibler divergence of each connection's probability from the target, on the way to each
    architecture; summed over the connections of a layer, and the mean over layers and architectures.
    """
    space = policy.space
    if not isinstance(space, FixedSpace):
        raise FphiError(f"the connections of the space {space.name} depend on the answers; give no target")
    decisions = space.decisions
    layers = {decision.part for decision in decisions if decision.is_connection}
    wanted = torch.tensor([1 - target, target]).log()
    total = torch.zeros(())
    for decision, logs in zip(decisions, policy.distributions(decisions, tokens), strict=True):
        if decision.is_connection:
            total = total + (logs.exp() * (logs - wanted)).sum(-1).mean()
    return total / max(1, len(layers))
