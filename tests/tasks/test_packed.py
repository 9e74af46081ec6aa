"""Gzipped files and headers that claim more than there is: bounds are checked before anything is allocated."""

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from fphi.errors import DataError
from fphi.tasks.idx import read_idx
from fphi.tasks.packed import read_packed


def header(*sizes: int) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + b"".join(n.to_bytes(4, "big") for n in sizes)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "sizes", [(2**32 - 1,), (2**31, 2**31), (60_000, 10_000, 10_000), (1,) * 100, (0, 5), (5, 0), ()]
)
def test_an_array_of_sizes_that_none_has_is_refused(
    tmp_path: Path, sizes: tuple[int, ...], packed: bool
) -> None:
    content = header(*sizes) + b"\0"
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError, match=rf"file claims {len(sizes)} dimensions and \d+ bytes, not 1 to 8"
        ):
            read_idx(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extra", [1, 1000, 2**22])
def test_no_more_is_unpacked_than_the_header_claims(tmp_path: Path, extra: int) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(header(2, 3) + bytes(6 + extra)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"holds 7 bytes or more, not 6 for \(2, 3\)"):
            read_idx(tmp_path / "file.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_file_of_at_most_the_bound_is_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]))
    assert read_packed(tmp_path / "packed", 100) == content
    if size:
        assert read_packed(tmp_path / "plain", 100) == content


@pytest.mark.parametrize("size", [101, 10_000, 2**24])
def test_a_file_of_more_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(bytes(size)))
    with pytest.raises(DataError, match="packed unpacks to more than 100 bytes"):
        read_packed(tmp_path / "packed", 100)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is no file"):
        read_packed(tmp_path / "pipe", 100)
