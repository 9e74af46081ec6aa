"""Grey levels and the published trials from the command line, on Omniglot itself."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import fphi, refused, trained
from fphi.errors import DataError
from fphi.report.rows import ResultRow, methods_table
from fphi.report.tables import points
from fphi.tasks import FewShotTasks, load_tasks

Capture = pytest.CaptureFixture[str]
needs_data = pytest.mark.skipif(not os.environ.get("FPHI_DATA"), reason="FPHI_DATA is unset: no real data")
KOCH = ("--tasks", "omniglot", "--protocol", "P-KOCH", "--ways", 20, "--image-size", 16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grey = ("--image-reduction", "area", "--train-distortion", "elastic", "--learn-by", "matching")
    return trained(tmp_path_factory.mktemp("run") / "run", *KOCH, *grey, method="siamese", steps=1)


@pytest.mark.data
@needs_data
def test_a_run_is_tested_on_all_published_trials(run: Path, capsys: Capture) -> None:
    assert fphi("evaluate", run, "--split", "trials", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["tasks"], result["ways"], result["shots"], result["queries"]) == (20, 20, 1, 1)
    assert (result["split"], result["images"]) == ("trials", "16×16 grey")
    kept = json.loads((run / "tests" / "20w1s-trials.json").read_text())
    assert (kept["split"], kept["accuracy"]) == ("trials", result["accuracy"])
    table = methods_table([ResultRow.from_record(result)])
    line = dict(zip(table.header, table.body[0], strict=True))
    assert line["Tasks"] == "P-KOCH, trials, 16×16 grey\n20-way 1-shot\n20 tasks, seed 0"
    assert result["accuracy"].keys() == {"inductive"}  # no queries share statistics
    gap = points(result["accuracy"]["inductive"]["mean"] - 0.92)
    assert line["Published"] == f"92.0 ({gap})"
    validation = methods_table([ResultRow.from_record(result | {"split": "validation"})])
    assert "Published" not in validation.header
    assert fphi("draw", run) == 0  # whose classes are shown in the size that the network knows


@pytest.mark.data
@needs_data
def test_what_the_trials_are_not_is_said(run: Path, capsys: Capture) -> None:
    for words, message in (
        (("--test-tasks", 30), "--split trials has 20 tasks; give --test-tasks 20 at most, or leave it out"),
        (("--ways", 5), "the published trials are 20-way 1-shot, not 5-way 1-shot: ask for these"),
        (("--queries", 4), "the published trials have 1 query of a class, not 4: leave it out"),
    ):
        assert refused(capsys, "evaluate", run, "--split", "trials", *words) == message


@pytest.mark.data
@needs_data
def test_grey_levels_come_from_the_whole_drawing() -> None:
    tasks = load_tasks("omniglot", ways=2, image_size=15, image_reduction="area", splits=["test"])
    assert isinstance(tasks, FewShotTasks)
    assert tasks.pool("test").images.shape[-2:] == (105, 105)
    seen = tasks.batch("test", range(30)).query.x
    assert seen.shape[-2:] == (15, 15)
    assert len(np.unique(seen.numpy())) > 20


@pytest.mark.parametrize("name", ["hershey", "sine"])
def test_grey_levels_of_other_data_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="image reduction 'area' is for omniglot alone: leave it out"):
        load_tasks(name, image_reduction="area")
