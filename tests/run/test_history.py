"""The file of a search's history: what it refuses, and what a disk may do to it."""

import resource
from contextlib import closing
from pathlib import Path

import pytest

from fphi.errors import FphiError
from fphi.run.search.history import History
from fphi.run.search.loop import Budget, search
from search_engines import COUNT, OPTIMIZERS, Counting, searched, told


@pytest.mark.parametrize("other", ["aging", "ppo", "pairwise graphs", "seed"])
def test_a_history_of_another_search_is_refused(tmp_path: Path, other: str) -> None:
    searched(OPTIMIZERS["pairwise"], tmp_path / "h")
    before = (tmp_path / "h").read_bytes()
    optimizer = OPTIMIZERS["pairwise"](2) if other == "seed" else OPTIMIZERS[other](1)
    with (
        pytest.raises(
            FphiError, match=r"holds candidate .* and the search now asks for .*; search anew elsewhere"
        ),
        closing(History(tmp_path / "h")) as history,
    ):
        search(optimizer, Counting(), Budget(COUNT), history=history)
    assert (tmp_path / "h").read_bytes() == before


ASKED = b'{"asked":0,"tokens":[0,0,0,0,0,0],"parent":null}'
TOLD = b'{"told":0,"loss":0.5,"seconds":1,"failure":"","measures":{"a":1},"standing":{}}'


def test_a_history_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_bytes(ASKED + b"\n" + TOLD + b"\n" + b'{"asked":1,"tok')
    History(path).close()
    assert path.read_bytes() == ASKED + b"\n" + TOLD + b"\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"parent":null', b'"parent":"x"', "line 1"),
        (b'"parent":null', b'"mother":null', "line 1 .'parent'"),
        (b"[0,0,0,0,0,0]", b"0", "line 1"),
        (b"[0,0,0,0,0,0]", b"[0,0.5]", "line 1 .0.5 is no whole number"),
        (b'{"asked":0', b'{"asked":true', "line 1 .number is True, no whole number"),
        (ASKED, ASKED + b"\n" + ASKED, "line 2 .candidate 0 is asked for twice"),
        (ASKED, b"5", "line 1"),
        (ASKED, b"", "line 1"),
        (ASKED, b"\xff\x00", "line 1"),
        (ASKED, b"[" * 100_000, "line 1"),
        (b'"told":0', b'"told":1', "line 2 .candidate 1 is told out of turn"),
        (TOLD, TOLD + b"\n" + TOLD, "line 3 .candidate 0 is told out of turn"),
        (b'"loss":0.5', b'"loss":"a"', "line 2 .loss is 'a', no number"),
        (b'"failure":""', b'"failure":0', "line 2 .failure is 0"),
        (b'{"a":1}', b'{"a":[]}', "line 2"),
        (b'"standing":{}', b'"standing":[]', "line 2"),
    ],
)
def test_damage_before_the_end_is_told_with_its_line(
    tmp_path: Path, old: bytes, new: bytes, says: str
) -> None:
    path = tmp_path / "h"
    damaged = (ASKED + b"\n" + TOLD + b"\n").replace(old, new, 1)
    path.write_bytes(damaged)
    with pytest.raises(FphiError, match=f"is damaged in {says}"):
        History(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_ends_a_search_which_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A limit to the size of files is a disk that is full: the last line is written in part."""
    path, make = tmp_path / "h", OPTIMIZERS["aging"]
    history, evaluate = History(path), Counting()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
        with pytest.raises(FphiError, match=r"cannot write .*/h: "):
            search(make(1), evaluate, Budget(COUNT), history=history)
        history.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == 1500
    assert not path.read_bytes().endswith(b"\n")
    done = told(path.read_bytes().splitlines()[:-1])
    resumed, again = searched(make, path)
    assert again.seen == [n for n in range(COUNT) if n not in done]
    assert [r.candidate for r in resumed.records] == [r.candidate for r in searched(make)[0].records]
