"""A run tested over turns of its tasks."""

import json
from pathlib import Path

import pytest

from cli_helpers import fphi, refused, trained
from fphi.report.rows import ResultRow, methods_table


def test_a_run_is_tested_over_turns_and_its_own_result_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", "--train-ways", 5, method="prototypical", steps=1)
    assert fphi("evaluate", run, "--test-tasks", 20, "--json") == 0
    plain, kept = json.loads(capsys.readouterr().out), (run / "tests" / "5w1s.json").read_bytes()
    assert fphi("evaluate", run, "--test-tasks", 20, "--turns", 8, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (run / "tests" / "5w1s.json").read_bytes() == kept
    assert json.loads((run / "tests" / "5w1s-turns8.json").read_text()) == result
    assert result["turns"] == 8
    assert result["accuracy"] != plain["accuracy"]
    assert methods_table([ResultRow.from_record(result)]).body[0][0] == "prototypical\nover 8 turns"
    waves = trained(tmp_path / "waves", "--tasks", "sine", "--network", "mlp", steps=1)
    assert "cannot be turned; leave the turns out" in refused(capsys, "evaluate", waves, "--turns", 4)
