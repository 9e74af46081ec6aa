"""What is in a file of the user's: it trains, evaluates and resumes, and runs only when it is named."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fphi as library
from cli_helpers import TINY, evaluated, fphi, quietly, refused, trained
from fphi.experiment.plugins import method_named
from fphi.serve.answering import Learned
from own_file import write_own
from search_helpers import TINY as TINY_SEARCH
from search_helpers import events

Capture = pytest.CaptureFixture[str]
QUICK = (*TINY, "--steps", 3)


def test_a_method_of_a_file_trains_evaluates_and_resumes(tmp_path: Path, capsys: Capture) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    method = f"{own}:Nearest"
    quietly("train", method, "--out", run, "--lr", 0.02, *QUICK)
    assert "method: ../own.py:Nearest" in (run / "config.yaml").read_text()
    result = evaluated(capsys, run, "--method", method, "--test-tasks", 4)
    assert (result["tasks"], result["accuracy"].keys()) == (4, {"inductive"})
    quietly("train", method, "--out", run, "--resume", "--steps", 5)
    assert library.load(run, method=method).get_parameter("map.weight").shape == (8, 784)
    assert (run / "log.csv").read_text().splitlines()[-1].startswith("5,")
    other = trained(tmp_path / "other", steps=1)  # which has none from a file
    assert fphi("compare", other, run, "--method", method, "--test-tasks", 2) == 0


def test_a_file_that_was_edited_is_read_anew(tmp_path: Path) -> None:
    """In one process, as in a notebook; what was made of it before stays what it was."""
    own = write_own(tmp_path)
    text, method = own.read_text(), f"{own}:Nearest"
    before = method_named(method)
    assert method_named(method) is before
    for number in (2, 3):  # as many bytes within the same second: nothing but the text tells them apart
        own.write_text(text.replace("lr: float = 0.01", f"lr: float = 0.0{number}"))
        library.train(method, out=tmp_path / str(number), steps=1, meta_batch=1, validation_tasks=2)
        assert f"\nlr: 0.0{number}\n" in (tmp_path / str(number) / "config.yaml").read_text()
    assert pickle.loads(pickle.dumps(before)) is before is not method_named(method)


def test_a_run_brings_no_code_along(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    quietly("train", "own.py:Nearest", "--out", run, *QUICK)
    own.write_text("raise SystemExit('it ran')")
    said = refused(capsys, "evaluate", run)
    assert said == (
        f"{run} has its method from a file, which runs only when you name it: fphi evaluate {run} "
        "--method own.py:Nearest"
    )
    assert "runs only when you name it: add " in refused(capsys, "train", "--config", run / "config.yaml")


def test_a_network_of_a_file_begins_with_weights_of_a_file(tmp_path: Path, capsys: Capture) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    network = f"{own}:Net"
    weights = {"body.1.weight": torch.full((6, 784), 0.25), "body.1.bias": torch.zeros(6)}
    torch.save(weights, tmp_path / "weights.pt")
    words = ("--network", network, "--weights", tmp_path / "weights.pt", "--outer-lr", 1e-12)
    quietly("train", "maml", "--out", run, *words, *QUICK)
    begun = load_file(run / "best.safetensors")["network.body.1.weight"]
    assert torch.allclose(begun, torch.full((6, 784), 0.25))
    assert "--network" in refused(capsys, "evaluate", run)
    assert evaluated(capsys, run, "--network", network, "--test-tasks", 3)["tasks"] == 3
    quietly("train", "maml", "--out", run, "--resume", "--network", network, "--steps", 4)


@pytest.mark.parametrize("method", ["maml", "prototypical"])
def test_lazy_layers_of_a_network_of_a_file_get_the_size_of_the_examples(
    method: str, tmp_path: Path, capsys: Capture
) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    quietly("train", method, "--out", run, "--network", f"{own}:lazy", *QUICK)
    learner = library.load(run, network=f"{own}:lazy")
    assert learner.get_parameter("network.1.weight").shape == (6, 784)
    assert torch.equal(learner.get_buffer("network.2.running_mean"), torch.zeros(6))
    assert evaluated(capsys, run, "--network", f"{own}:lazy", "--test-tasks", 2)["tasks"] == 2


def test_tasks_of_a_file_are_learned_from_and_tested_on(tmp_path: Path, capsys: Capture) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    tasks = f"{own}:bits"
    quietly("train", "maml", "--tasks", tasks, "--network", "mlp", "--ways", 2, "--out", run, *QUICK)
    result = evaluated(capsys, run, "--tasks", tasks, "--test-tasks", 5)
    sizes = {"protocol": "bits", "ways": 2, "shots": 2, "queries": 2, "tasks": 5}
    assert {name: result[name] for name in sizes} == sizes
    assert (run / "tests" / "2w2s.json").is_file()
    assert evaluated(capsys, run, "--tasks", tasks, "--test-tasks", 5, "--shots", 2) == result


@pytest.mark.parametrize(
    ("asked", "has"),
    [
        (("--ways", 3), "have 2 ways, whatever is asked for: leave --ways out"),
        (("--shots", 20), "have 2 shots, whatever is asked for: leave --shots out"),
        (("--queries", 5), "have 2 queries, whatever is asked for: leave --queries out"),
        (("--seed", 7), "have no seed that an option sets: leave --seed out"),
    ],
)
def test_tasks_of_a_file_have_no_other_size_or_seed(
    tmp_path: Path, capsys: Capture, asked: tuple[object, ...], has: str
) -> None:
    own, run = write_own(tmp_path), tmp_path / "run"
    words = ("--tasks", f"{own}:bits")
    quietly("train", "prototypical", *words, "--network", "mlp", "--out", run, *TINY, "--steps", 1)
    said = refused(capsys, "evaluate", run, *words, "--test-tasks", 2, *asked)
    assert said == f"{asked[0]} {asked[1]}, but the tasks of {own}:bits {has}, or change the file"
    assert not (run / "tests").exists()
    if asked[0] != "--seed":
        again = ("prototypical", *words, "--network", "mlp", "--out", tmp_path / "again")
        assert refused(capsys, "train", *again, *asked) == said
        assert not (tmp_path / "again").exists()


def test_problems_that_say_their_own_size_have_no_other(tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    words = ("--tasks", "quadratics", "--network", "mlp", "--out", run)
    quietly("train", "from-scratch", *words, "--inner-steps", 1)
    assert evaluated(capsys, run, "--test-tasks", 2)["shots"] == 10
    assert "have 10 shots, whatever is asked for" in refused(capsys, "evaluate", run, "--shots", 3)
    assert "are regression, and have no ways" in refused(capsys, "evaluate", run, "--ways", 3)
    assert evaluated(capsys, run, "--test-tasks", 2, "--seed", 7)["seed"] == 7


@pytest.fixture
def lettered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on tasks of a file that is broken now."""
    letters = tmp_path / "letters.py"
    letters.write_text("import fphi\n\nletters = fphi.load_tasks('hershey', ways=3)\n")
    monkeypatch.chdir(tmp_path)
    words = ("--tasks", "letters.py:letters", "--train-ways", 3, "--out", "run")
    quietly("train", "prototypical", *words, *QUICK)
    letters.rename(tmp_path / "kept.py")
    letters.write_text("raise SystemExit('it ran')")
    return Path("run")


def test_what_was_learned_is_used_without_the_file_of_its_tasks(lettered: Path, capsys: Capture) -> None:
    assert library.load(lettered).training is False
    assert Learned(lettered).limits.classes == 20
    assert evaluated(capsys, lettered, "--tasks", "hershey", "--test-tasks", 2)["data"] == "hershey"
    tasks = library.load_tasks("hershey", ways=3)
    assert library.evaluate(lettered, tasks, test_tasks=2)["ways"] == 3
    assert library.evaluate(lettered, "hershey", test_tasks=2)["tasks"] == 2
    assert fphi("train", "maml", "--start-from", lettered, "--network", "conv4-pool", *QUICK) == 0
    assert "its tasks, letters.py:letters, are not named here" in capsys.readouterr().err
    record = evaluated(capsys, Path("runs/maml"), "--test-tasks", 2)
    assert record["start"] == {"run": "run", "method": "prototypical", "frozen": None}


def test_tasks_of_a_file_are_drawn_when_they_are_named(lettered: Path, capsys: Capture) -> None:
    said = refused(capsys, "draw", lettered)
    assert said.endswith("only when you name it: fphi draw run --tasks letters.py:letters")
    assert fphi("draw", lettered, "--tasks", "hershey", "--out", "other") == 0
    Path("kept.py").rename("letters.py")
    assert fphi("draw", lettered, "--tasks", "letters.py:letters") == 0
    assert (lettered / "episode.png").is_file()


def test_a_run_whose_network_is_of_a_file_is_a_start(tmp_path: Path, capsys: Capture) -> None:
    own, start = write_own(tmp_path), tmp_path / "start"
    network = ("--network", f"{own}:Net")
    quietly("train", "maml", *network, "--out", start, *QUICK)
    words = (*network, "--start-from", start)
    said = refused(capsys, "train", "maml", *words, "--protocol", "fraction", "--out", tmp_path / "no")
    assert said.startswith(f"{start} learned from ")
    assert fphi("train", "maml", *words, "--out", tmp_path / "run", *QUICK) == 0
    assert "begins with 4 of 4 tensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train own.py:Missing", r"own.py has no 'Missing'; it has .*Nearest"),
        (
            "train none.py:Nearest",
            r"there is no file none.py, which none.py:Nearest is to be in; check the path",
        ),
        ("train own.py:Net", r"own.py:Net is no method; give a class that is a fphi.FewShotMethod"),
        (
            "train broken.py:Nearest",
            r"broken.py does not run \(NameError: name 'nonsense' is not defined\); mend",
        ),
        (
            "train maml --network own.py:nothing",
            r"own.py:nothing is NoneType, which makes nothing; give a class",
        ),
        (
            "train maml --network own.py:too_large",
            r"own.py:too_large makes a network with lazy layers that does not take examples \[1, 28, 28\] \(",
        ),
        ("train own.py:Lazy", r"NearestExample has parameters without a shape yet: pass a batch of examples"),
        ("train maml --tasks own.py:Net", r"own.py:Net fails when it is called \(TypeError"),
        ("train maml --weights none.pt", r"--weights none.pt is no file; check the path"),
        ("train maml --weights own.py", r"--weights own.py (cannot be read|holds more than tensors)"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_own(tmp_path)
    (tmp_path / "broken.py").write_text("nonsense\n")
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(capsys, *words.split(), "--steps", 1))
    assert not (tmp_path / "runs").exists()


def test_a_plain_help_names_files(capsys: Capture) -> None:
    assert fphi("train") == 0
    assert "FILE.py:NAME" in capsys.readouterr().out


CHAIN = """
from dataclasses import dataclass
from typing import ClassVar
import fphi.optimize
from fphi.learnable.space import Candidate
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method

class Chain(fphi.optimize.SearchOptimizer):
    def propose(self, number, rng):
        return Candidate(number, self.space.sample(rng), parent=number - 1 if number else None)

    def learn(self, candidate, loss):
        pass

@method("chain", paper="each is the next one's parent")
@dataclass(frozen=True)
class ChainSearch(SearchMethod):
    usual_space: ClassVar[str] = "nasbench-macro"
    inherits: ClassVar[bool] = True

    def optimizer(self, space, seed):
        return Chain(space, seed)
"""


def test_children_inherit_from_whatever_parent_an_optimizer_of_a_file_names(tmp_path: Path) -> None:
    """It does not say whose weights are to be kept."""
    own, run = tmp_path / "chain.py", tmp_path / "run"
    own.write_text(CHAIN)
    quietly(
        "search", f"{own}:ChainSearch", "--out", run, *TINY_SEARCH, "--evaluations", 3, "--control", False
    )
    inherited = [event["measures"]["inherited"] for event in events(run / "history.jsonl") if "told" in event]
    assert inherited[0] == 0
    assert min(inherited[1:]) > 0
