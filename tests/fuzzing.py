"""What the random tests share: how many, what is drawn, and what is watched over."""

import contextlib
import json
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fphi.errors import FphiError

COUNT = os.environ.get("FPHI_FUZZ")
LONGEST, LARGEST = 30, 2 * 2**30  # seconds of computing and bytes that no input may take
tally: Counter[str] = Counter()  # of what was tried, by hand


def inputs(few: int) -> settings:
    """As many inputs as FPHI_FUZZ says, else a few; the same in every run."""
    return settings(
        max_examples=few if COUNT is None else int(COUNT), derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


@contextlib.contextmanager
def tried(target: str) -> Iterator[None]:
    """One input: it may be refused in one short line, and takes neither 30 seconds nor 2 GB."""
    tally[target] += 1
    before = peak()
    with limited():
        try:
            yield
        except FphiError as error:
            require_line(str(error))
            tally[f"{target}, refused"] += 1
    assert peak() - before < LARGEST, "it took more than 2 GB"


def require_line(message: str) -> None:
    """It is one line that says something, and not at length."""
    assert message.strip()
    assert "\n" not in message
    assert len(message) < 2100, message


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Fail what hangs: seconds of computing, which other work does not prolong, and ten times as many by the clock."""

    def out_of_time(*_: object) -> None:
        raise AssertionError(f"it took more than {LONGEST} seconds")

    kinds = {
        signal.SIGPROF: (signal.ITIMER_PROF, LONGEST),
        signal.SIGALRM: (signal.ITIMER_REAL, 10 * LONGEST),
    }
    before = {sent: signal.signal(sent, out_of_time) for sent in kinds}
    for timer, seconds in kinds.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for sent, (timer, _) in kinds.items():
            signal.setitimer(timer, 0)
            signal.signal(sent, before[sent])


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([10**18, 10**30, 10**40, -1, 2.5, "3", "", "\x1b[2J", "$x$", "a|b", "<b>", "../..", "NaN"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values within."""
    own = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(place for key, value in own for place in places(value, (*at, key)))]


def changed(tree: Any, at: tuple[Any, ...], value: object) -> Any:
    """Another value at one place."""
    if not at:
        return value
    copied = tree.copy()
    copied[at[0]] = changed(tree[at[0]], at[1:], value)
    return copied


@st.composite
def damaged(draw: st.DrawFn, tree: Any) -> bytes:
    """JSON with other values at one or two places, or other bytes."""
    for _ in range(draw(st.integers(1, 2))):
        tree = changed(tree, draw(st.sampled_from(places(tree))), draw(VALUES))
    return draw(scratched(json.dumps(tree).encode()))


@st.composite
def scratched(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes as they are, cut, or with some of them changed."""
    kind = draw(st.sampled_from(["whole", "whole", "cut", "bytes"]))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "bytes" and data:
        at = draw(st.integers(0, len(data) - 1))
        return data[:at] + draw(st.binary(max_size=8)) + data[at + 1 :]
    return data
