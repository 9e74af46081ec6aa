"""A space that needs no training: bits, of which as many as possible should be 1."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from fphi.learnable.space import Decision, FixedSpace, Tokens

LENGTH = 100
BITS = tuple(Decision("bit", 2, part) for part in range(LENGTH))


@dataclass(frozen=True)
class BitSpace(FixedSpace):
    """A hundred of them."""

    name: ClassVar[str] = "bits"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return BITS

    def sample(self, rng: Random) -> Tokens:
        return tuple(rng.randrange(2) for _ in BITS)

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        return self.changed(tokens, rng.randrange(LENGTH), rng)

    def text(self, tokens: Tokens) -> str:
        return "".join(map(str, tokens))

    def parse(self, text: str) -> Tokens:
        return self.check([int(bit) for bit in text])
