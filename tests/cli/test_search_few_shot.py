"""``fphi search --few-shot``: what it writes beside a usual search, how it goes on, and what it refuses."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fphi as package
from cli_helpers import contents, fphi, quietly, refused
from fphi.experiment.search.few_shot import mean_conv4, nearest_filters
from fphi.learnable import GradientLearner, PrototypicalLearner
from fphi.learnable.architecture import SPACES, NASBench201Space
from fphi.methods.table import methods
from fphi.networks import Conv4
from fphi.networks.batch_norm import BatchNorm
from fphi.report.tables import points
from fphi.run.disk.interrupt import Interrupt
from fphi.run.meta.evaluate import evaluate
from fphi.tasks import load_tasks
from fphi.within.trained import parameter_count
from search_helpers import events, result
from waiting import Clock

Capture = pytest.CaptureFixture[str]

TINY = (
    *("--space", "nasbench201", "--channels", 2, "--ways", 3, "--queries", 2, "--steps", 2),
    *("--retrain-steps", 3, "--meta-batch", 2, "--validation-tasks", 4, "--test-tasks", 6),
    *("--evaluations", 3, "--population", 2, "--sample", 2),
)
METHOD = "regularized-evolution"


FEW_WAYS = ("--learner-train-ways", 3)  # a usual training task of the prototypical learner has 60


def searched(out: Path, learner: str, *words: object) -> Path:
    quietly("search", METHOD, "--few-shot", learner, "--out", out, *TINY, *words)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("few-shot") / "run", "prototypical", *FEW_WAYS)


def test_a_few_shot_search_leaves_one_directory(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "command.txt", "history.jsonl", "history.csv", "random.jsonl", "random.csv", "result.json",
        "architecture.json", "architecture.png", "search.png", "best.safetensors",
    }  # fmt: skip
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(float(row["loss"]) == 1 - float(row["validation_accuracy"]) for row in rows)
    for history in ("history.jsonl", "random.jsonl"):  # test tasks are for the networks of the end alone
        assert "test" not in (run / history).read_text()


def test_the_result_compares_with_random_search_and_conv4(run: Path) -> None:
    said = result(run)
    assert said["kind"] == "architecture search"
    assert (said["few_shot"], said["protocol"], said["ways"], said["shots"]) == (
        *("prototypical", "alphabet", 3, 1),
    )
    assert (said["candidate_steps"], said["retrain_steps"]) == (2, 3)
    assert said["tasks"] == {"validation": 4, "test": 6}
    assert (said["evaluations"], said["control"]["evaluations"]) == (3, 3)
    for trained in (said["retrained"], said["control"]["retrained"], said["conv4"]):
        # 6 tasks of 3 classes with 2 queries each
        assert trained["test_accuracy"] * 36 == pytest.approx(round(trained["test_accuracy"] * 36), abs=1e-4)
        assert 0 <= trained["test_ci95"] < 1
    conv4 = said["conv4"]
    own = Conv4(None, filters=conv4["filters"], features="mean")
    assert conv4["parameters"] == parameter_count(own)
    gain = said["retrained"]["test_accuracy"] - conv4["test_accuracy"]
    assert conv4["difference"]["mean"] == pytest.approx(gain, abs=1e-6)
    assert 0 <= conv4["difference"]["ci95"] <= said["retrained"]["test_ci95"] + conv4["test_ci95"]


@pytest.mark.parametrize("outputs", [None, 5])
def test_no_conv4_is_closer_in_parameters(outputs: int | None) -> None:
    def count(filters: int) -> int:
        network = Conv4(outputs, channels=3, image_size=20, filters=filters, features="mean")
        return parameter_count(network)

    for wanted in (1, 700, 1000, 30_000):
        found = mean_conv4(
            nearest_filters(wanted, (3, 20, 20), outputs, "running"), (3, 20, 20), outputs, "running"
        )
        counts = [count(filters) for filters in range(1, 40)]
        assert abs(parameter_count(found) - wanted) == min(abs(c - wanted) for c in counts)
    assert {m.mode for m in found.modules() if isinstance(m, BatchNorm)} == {"running"}
    assert found(torch.zeros(2, 3, 20, 20)).shape == (2, outputs or found.feature_size)


@pytest.mark.parametrize("learner", ["prototypical", "maml"])
def test_build_gives_the_network_that_was_tested(
    learner: Any, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    done = run if learner == "prototypical" else searched(tmp_path / "maml", learner, "--control", "false")
    said, module = result(done), package.load(done)
    assert not module.training
    mode = "running" if learner == "prototypical" else "query-batch"
    assert {m.mode for m in module.modules() if isinstance(m, BatchNorm)} == {mode}
    own = (
        PrototypicalLearner(module)
        if learner == "prototypical"
        else GradientLearner(module, package.sgd(0.4), 1, test_steps=3)
    )
    tasks = load_tasks("hershey", ways=3, queries=2)
    tested = evaluate(own, tasks, count=6, inductive=False)
    assert tested.accuracy == pytest.approx(said["retrained"]["test_accuracy"], abs=1e-6)
    assert fphi("build", done) == 0
    count, ends = said["retrained"]["parameters"], "8 features" if learner == "prototypical" else "3 classes"
    assert f"{count:,} parameters, from 1 x 28 x 28 to {ends}" in capsys.readouterr().out
    damaged = json.loads((done / "architecture.json").read_text())
    for change in ({"norm": "oracle"}, {"space": "nasbench-macro", "tokens": [0] * 8}, {"norm": [1]}):
        (tmp_path / "architecture.json").write_text(json.dumps(damaged | change))
        assert "architecture.json is damaged" in refused(capsys, "build", tmp_path)


def test_the_end_is_a_table_with_intervals(run: Path, capsys: Capture) -> None:
    assert fphi("search", METHOD, "--out", run, "--resume") == 0
    said = " ".join(capsys.readouterr().out.split())
    for trained in (result(run)["retrained"], result(run)["conv4"]):
        assert re.search(rf"{trained['test_accuracy']:.2%} ± {trained['test_ci95']:.2%}", said)
    gain = result(run)["conv4"]["difference"]
    assert points(gain["mean"], gain["ci95"]) in said


def test_a_search_repeated_from_its_configuration_and_stopped_goes_on_to_the_same_end(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "requested", True)  # from the start: one evaluation, or no retraining
        assert fphi("search", METHOD, "--config", run / "config.yaml", "--out", out) == 130
    assert f"go on with: fphi search {METHOD} --out {out} --resume" in capsys.readouterr().err
    assert not (out / "result.json").exists()
    before = contents(out)
    for other, message in (
        (("--few-shot", "maml"), "began with few-shot prototypical, not maml; resume it without --few-shot"),
        (("--steps", "5"), "began with steps 2, not 5; resume it without --steps"),
    ):
        assert message in refused(capsys, "search", METHOD, "--out", out, "--resume", *other)
    assert contents(out) == before
    quietly("search", METHOD, "--out", out, "--resume")
    for file in ("history.jsonl", "random.jsonl"):
        told = [event for event in events(out / file) if "told" in event]
        assert told == [event for event in events(run / file) if "told" in event]
    for file in ("config.yaml", "architecture.json", "best.safetensors"):
        assert (out / file).read_bytes() == (run / file).read_bytes()
    for part in ("conv4", "retrained"):
        again, first = ({k: v for k, v in result(r)[part].items() if k != "seconds"} for r in (out, run))
        assert again == first


def test_the_configuration_names_learner_and_data(run: Path) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    assert (values["few_shot"], values["tasks"], values["ways"]) == ("prototypical", "hershey", 3)
    assert "child" not in values
    assert values["learner"]["distance"] == "euclidean"


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        (
            METHOD,
            "--few-shot oracle",
            r"--few-shot is 'oracle'; it must be one of anil, .*maml, .*prototypical",
        ),
        (
            METHOD,
            "--few-shot mine.py:Mine",
            r"--few-shot is 'mine\.py:Mine', in a file of Python; it must be one of anil, ",
        ),
        (
            "enas",
            "--few-shot maml",
            r"enas trains a supernet, .*: choose one of hierarchical-evol.*reinforce",
        ),
        ("darts", "--few-shot maml", r"darts trains a supernet, and few-shot candidates are meta-trained"),
        ("large-scale-evolution", "--few-shot maml", r"lets children inherit weights, and few-shot"),
        (
            METHOD,
            "--few-shot maml --space nasbench-macro",
            r"space nasbench-macro have batch norms of their own, .*: choose one of nasbench201, cells",
        ),
        (METHOD, "--few-shot maml --space enas-micro", r"space enas-micro have batch norms of their own"),
        (
            METHOD,
            "--few-shot maml --space graphs",
            r"space graphs come with a learning rate, .* their own: choose one of [^g]*, amoebanet",
        ),
        (
            METHOD,
            "--few-shot maml --space nasbench201 --table x --evaluations 5",
            r"--table x and --few-shot maml: tables hold no few-shot trainings; leave --table out to",
        ),
        (
            METHOD,
            "--few-shot maml --tasks sine",
            r"--tasks sine have no classes: .* choose omniglot, hershey",
        ),
        (METHOD, "--few-shot maml --image-size 12", r"--image-size is 12; Conv4, .* needs at least 16"),
        (
            METHOD,
            "--few-shot maml --train-on-validation true",
            r"leaves no validation tasks .*; leave it out",
        ),
        (METHOD, "--few-shot maml --child-epochs 3", r"unrecognized arguments: --child-epochs 3; see"),
        (METHOD, "--ways 3", r"unrecognized arguments: --ways 3; see"),
        (METHOD, "--few-shot maml --steps 0", r"--steps is 0; it must be at least 1"),
        (METHOD, "--few-shot maml --retrain-steps 0", r"--retrain-steps is 0; it must be at least 1"),
        (METHOD, "--few-shot maml --test-tasks 1", r"--test-tasks is 1; it must be at least 2"),
    ],
)
def test_a_wrong_search_says_what_is_possible_and_writes_nothing(
    method: str, words: str, message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(capsys, "search", method, *words.split()))
    assert contents(tmp_path) == {}


def test_candidates_that_cannot_be_trained_are_on_record(
    tmp_path: Path, capsys: Capture, clock: Clock
) -> None:
    clock.tick = 0.5
    words = ("--few-shot", "maml", "--out", tmp_path, *TINY, "--limit-seconds", 0.25)
    assert fphi("search", METHOD, *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(
        r"none of 3 candidates .*: out of time: .*; search anew in another folder with a longer --limit-seconds",
        said,
    )


@pytest.mark.parametrize(
    "space", [name for name, cls in SPACES.items() if hasattr(cls, "network") and name != "graphs"]
)
def test_every_pair_has_options_of_its_own(space: str, capsys: Capture) -> None:
    """No two parts of a search have an option of one name."""
    for method in ("hierarchical-evolution", "nasnet", "random-search", METHOD, "reinforce", "zoph-le"):
        assert method in methods()
        with pytest.raises(SystemExit):
            fphi("search", method, "--space", space, "--few-shot", "maml", "--help")
        assert "--retrain-steps" in capsys.readouterr().out


def test_cells_of_nasbench201_give_features() -> None:
    space = NASBench201Space(channels=2)
    network = space.network((3, 1, 2, 4, 0, 3), (1, 28, 28), None)
    with_head = space.network((3, 1, 2, 4, 0, 3), (1, 28, 28), 5)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 8)
    assert parameter_count(with_head) - parameter_count(network) == 8 * 5 + 5
