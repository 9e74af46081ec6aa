"""Tables of benchmarks that are damaged or made to do harm: refused in a line that says what is in them."""

import csv
import gzip
import io
import json
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest

from fphi.errors import DataError
from fphi.learnable.architecture import NASBench201Space
from fphi.run.search.tabular import load_nasbench201, load_nasbench_macro

COLUMNS = ("arch_str", "c10_val12", "c100_val12", "in16_val12", "c10_test200", "c100_test200", "in16_test200")
COSTS = ("time12_train50k_s", "time12_test10k_total_s", "cost_c10valid12_s")

Rows = list[dict[str, Any]]
Entries = dict[str, dict[str, Any]]


def rows(count: int | None = 9) -> Rows:
    space = NASBench201Space()
    usual = dict.fromkeys(COLUMNS[1:], 50.0) | dict.fromkeys(COSTS, 100.0)
    cells = islice(product(range(5), repeat=6), count)
    return [{"arch_str": space.text(tokens), **usual} for tokens in cells]


def entries() -> Entries:
    return {"".join(digits): {"test_acc": [90.0, 91.0], "params": 10} for digits in product("012", repeat=8)}


def table_201(path: Path, of: Rows) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(of[0]))
    writer.writeheader()
    writer.writerows(of)
    path.write_text(text.getvalue())
    return path


def test_whole_tables_are_read(tmp_path: Path) -> None:
    table = load_nasbench201(table_201(tmp_path / "table", rows(None)), "cifar100")
    assert len(table.entries) == NASBench201Space().size
    assert {(e.validation, e.seconds) for e in table.entries.values()} == {(0.5, 100 + 0.5 * 100 / 12)}
    (tmp_path / "macro").write_text(json.dumps(entries()))
    macro = load_nasbench_macro(tmp_path / "macro")
    assert {e.validation for e in macro.entries.values()} == {0.905}


@pytest.mark.parametrize("column", ["c10_val12", "in16_test200"])
@pytest.mark.parametrize("value", ["nan", "-5", "1000", "inf", "100.5", "", "None", "ninety"])
def test_an_accuracy_is_between_0_and_100(tmp_path: Path, column: str, value: str) -> None:
    changed = rows()
    changed[7][column] = value
    with pytest.raises(DataError, match=r"table is no table of NAS-Bench-201 \(.*\); fetch it again"):
        load_nasbench201(table_201(tmp_path / "table", changed))


@pytest.mark.parametrize(
    ("column", "dataset"),
    [
        ("cost_c10valid12_s", "cifar10"),
        ("time12_train50k_s", "cifar100"),
        ("time12_train50k_s", "imagenet16-120"),
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "1e999"])
def test_a_search_pays_for_what_it_looks_up(tmp_path: Path, column: str, dataset: str, value: str) -> None:
    """A budget of seconds is never spent where an evaluation costs none."""
    changed = rows()
    changed[-1][column] = value
    with pytest.raises(DataError, match=r"no table of NAS-Bench-201 \(a cost or size of"):
        load_nasbench201(table_201(tmp_path / "table", changed), dataset)


@pytest.mark.parametrize(("place", "of"), [(1, 0), (8, 3), (5, 8)])
def test_a_row_stands_once(tmp_path: Path, place: int, of: int) -> None:
    doubled = rows()
    doubled[place] = {**doubled[of], "c10_val12": 99.0}
    with pytest.raises(DataError, match="two rows for the architecture"):
        load_nasbench201(table_201(tmp_path / "table", doubled))


@pytest.mark.parametrize(
    "entry",
    [
        {"test_acc": [90, float("nan")], "params": 10},
        {"test_acc": [-5], "params": 10},
        {"test_acc": [1000, 90], "params": 10},
        {"test_acc": [], "params": 10},
        {"test_acc": "931", "params": 10},
        {"test_acc": {"1": 90}, "params": 10},
        {"test_acc": [True], "params": 10},
        {"test_acc": [90], "params": 0},
        {"test_acc": [90], "params": -3},
        {"test_acc": [90], "params": None},
        {"test_acc": [90]},
        [90],
        None,
    ],
)
def test_an_entry_of_json_is_checked_alike(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "table").write_text(json.dumps({"00000001": entry}))
    with pytest.raises(DataError, match="is no table of NAS-Bench-Macro"):
        load_nasbench_macro(tmp_path / "table")


def test_an_entry_of_json_stands_once(tmp_path: Path) -> None:
    text = json.dumps(entries())
    (tmp_path / "table").write_text(text[:-1] + ', "00000001": {"test_acc": [99], "params": 1}}')
    with pytest.raises(DataError, match="two entries '00000001'"):
        load_nasbench_macro(tmp_path / "table")


NO_JSON = (
    b"",
    b"\xff\xfe",
    b"[",
    b"[1, 2]",
    b"3",
    b"null",
    b'"text"',
    b"{'a': 1}",
    b"[" * 100_000,
    b"9" * 5000,
)


@pytest.mark.parametrize("content", NO_JSON, ids=range(len(NO_JSON)))
@pytest.mark.parametrize("load", [load_nasbench201, load_nasbench_macro])
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, load: Any, content: bytes) -> None:
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(DataError, match="fetch it again") as caught:
        load(tmp_path / "table")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("load", [load_nasbench201, load_nasbench_macro])
def test_a_table_that_unpacks_without_end_is_read_up_to_a_bound(tmp_path: Path, load: Any) -> None:
    megabyte = gzip.compress(bytes(2**20))
    (tmp_path / "table").write_bytes(megabyte * 65)
    with pytest.raises(DataError, match=r"table unpacks to more than 67108864 bytes"):
        load(tmp_path / "table")
