"""The space of DADA: its pairs, how it is written, and the policies that it stands for."""

from random import Random

import pytest

from fphi.errors import FphiError
from fphi.learnable.augmentation.dada_space import PAIRS, DadaSpace
from fphi.learnable.augmentation.policy import Policy

SPACE, SMALL = DadaSpace(), DadaSpace(sub_policies=2)
TEXT = "ShearX 0.500 0.250 + Cutout 1.000 0.000 | Rotate 0.001 0.999 + Invert 0.123 0.456"


def test_there_are_105_pairs_of_15_operations() -> None:
    assert len(set(PAIRS)) == 105
    assert len({name for pair in PAIRS for name in pair}) == 15
    assert all(a != b and "SamplePairing" not in (a, b) and (b, a) not in PAIRS for a, b in PAIRS)
    assert SPACE.size == (105 * 1001**4) ** 25


def test_what_is_written_is_read_back_and_different_for_different_tokens() -> None:
    rng, texts = Random(0), set()
    for _ in range(50):
        tokens = SPACE.sample(rng)
        assert SPACE.parse(SPACE.text(tokens)) == tokens
        texts |= {SPACE.text(tokens), SPACE.text(SPACE.mutate(tokens, rng))}
    assert len(texts) == 100


def test_a_policy_is_what_its_text_says() -> None:
    tokens = SMALL.parse(TEXT)
    assert SMALL.text(tokens) == TEXT
    wanted = [
        [("ShearX", 0.5, 0.25), ("Cutout", 1.0, 0.0)],
        [("Rotate", 0.001, 0.999), ("Invert", 0.123, 0.456)],
    ]
    assert SMALL.policy(tokens) == Policy.of(wanted, "fast")
    assert SMALL.policy(tokens, fill=(0,)).fill == (0,)


@pytest.mark.parametrize(
    "text",
    ["", TEXT.split(" | ", maxsplit=1)[0], TEXT + " | " + TEXT, TEXT.replace("Rotate", "Blur"), TEXT.replace("0.999", "1.001"),
     TEXT.replace("0.999", "0.99"), TEXT.replace(" + ", " - "), TEXT.replace("Rotate", "Invert"),
     TEXT.replace("ShearX", "SamplePairing"), TEXT.replace("0.456", "")],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match=r"is no policy of 2 pairs of operations; write each as 'ShearX"):
        SMALL.parse(text)


def test_tokens_of_another_space_are_refused() -> None:
    with pytest.raises(FphiError, match="token 105 at place 0 is no answer to 'pair'"):
        SMALL.policy((105, 0, 0, 0, 0) * 2)
    with pytest.raises(FphiError, match="too few"):
        SPACE.policy((0, 0, 0, 0, 0))
