"""Every experiment from the command line: what it writes, and that it does nothing twice."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import fphi
from cli_helpers import fphi as command
from cli_helpers import quietly, refused
from experiments_helpers import KEYS, SMALLER, experimented
from fphi.experiments import StoppedError, experiments
from fphi.experiments.parts.numbers import accuracies, gain_of, mean_of
from fphi.experiments.parts.scale import Scale
from fphi.experiments.parts.trainings import Planned
from fphi.experiments.parts.trainings import _options as options_of
from fphi.tasks.fonts import FontTasks
from fphi.tasks.options import TaskOptions
from own_file import write_own

Capture = pytest.CaptureFixture[str]
NAMES = tuple(experiments())
RUNS = ("config.yaml", "best.safetensors", "log.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, where equal trainings are shared."""
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr("fphi.experiments.optimizer._RULES", ("adam",))
        fewer.setattr("fphi.experiments.classes._COUNTS", (10, 1000))
        return {name: experimented(folder, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_writes_its_picture_its_json_and_its_trainings(
    name: str, folder: Path, records: dict[str, dict[str, Any]]
) -> None:
    record = records[name]
    assert tuple(record) == KEYS
    assert record["experiment"] == name
    assert record["options"]["steps"] == 1
    assert record["findings"]
    assert all(isinstance(line, str) and line for line in record["findings"])
    assert set(record["versions"]) == {"fphi", "torch", "python"}
    for training in record["trainings"]:
        assert set(training) == {"name", "method", "seed", "run", "command"}
        assert all((folder / training["run"] / file).is_file() for file in RUNS)
        assert training["command"].startswith(f"fphi train {training['method']} --out ")
    with Image.open(folder / record["picture"]) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) >= 500


def test_what_is_trained_is_not_trained_again(folder: Path, records: dict[str, dict[str, Any]]) -> None:
    """Neither by the same experiment nor by another that plans the same; the second result is the first."""
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("last.safetensors")}
    assert experimented(folder, "inner-steps") == records["inner-steps"]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("last.safetensors")} == before


def test_tasks_and_network_of_a_file_are_measured(tmp_path: Path) -> None:
    own = write_own(tmp_path)
    words = ("--tasks", f"{own}:bits", "--network", f"{own}:Net")
    measured = experimented(tmp_path / "out", "inner-steps", *words)["measured"]
    assert measured["chance"] == 0.5
    assert 0 <= measured["trained for 5"]["accuracy"]["inductive"]["mean"] <= 1
    for name in ("stability", "feature-reuse"):
        assert experimented(tmp_path / "out", name, *words)["findings"]
    reptile = experimented(tmp_path / "out", "reptile-gradient", *words)
    assert reptile["measured"]["chance"] == 0.5
    # Two of the four examples that a task learns from: g1 and g2 are not of the same.
    assert all("--inner-batch 2 " in training["command"] for training in reptile["trainings"])


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("classes", (), "tasks of a file come as they are, and no option leaves out some of their training"),
        ("task-augmentation", (), "tasks of a file come as they are, and no option leaves out some"),
        (
            "feature-reuse",
            ("--compared-queries", 3),
            "own.py:bits have 2 queries of a class, whatever is asked for: leave --compared-queries out",
        ),
    ],
)
def test_what_tasks_of_a_file_do_not_have_is_what_is_said(
    name: str, words: tuple[object, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    tasks = f"{write_own(tmp_path)}:bits"
    assert message in refused(capsys, "experiment", name, "--tasks", tasks, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_command_of_the_record_trains_the_same(
    folder: Path, records: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    training = records["classes"]["trainings"][0]
    words = shlex.split(training["command"])[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    quietly(*words)
    one, other = (run / "best.safetensors" for run in (folder / training["run"], tmp_path / "again"))
    assert one.read_bytes() == other.read_bytes()


def test_python_runs_them_by_the_same_names(tmp_path: Path, records: dict[str, dict[str, Any]]) -> None:
    small: dict[str, Any] = {"steps": 1, "meta_batch": 2, "test_tasks": 2, "seeds": 1}
    record = fphi.experiments.run("sine", out=tmp_path, **small)
    assert record["measured"] == records["sine"]["measured"]
    with pytest.raises(fphi.FphiError, match="unknown experiment 'cosine': choose one of"):
        fphi.experiments.run("cosine")


def test_a_stopped_experiment_says_so_and_goes_on(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, records: dict[str, dict[str, Any]]
) -> None:
    words = ("experiment", "sine", "--out", tmp_path, "--meta-batch", 2, "--test-tasks", 3, "--steps", 2)
    with monkeypatch.context() as stopping:
        stopping.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        assert command(*words) == 130
        assert capsys.readouterr().err.splitlines()[-1] == (
            "stopped at step 1 of MAML, seed 0 (1 of 2); the same command goes on"
        )
        with pytest.raises(StoppedError):
            fphi.experiments.run("sine", out=tmp_path, steps=2, meta_batch=2, test_tasks=3)
    assert not (tmp_path / "sine.json").exists()
    assert command(*words) == 0
    gone_on = (tmp_path / "sine.json").read_text("utf-8")
    whole = tmp_path / "whole"
    assert command(*(whole if word is tmp_path else word for word in words)) == 0
    assert (whole / "sine.json").read_text("utf-8").replace("/whole", "") == gone_on


def test_without_a_name_they_are_listed_a_line_each(capsys: Capture) -> None:
    assert command("experiment") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == sorted(NAMES)
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tangent",), "unknown experiment 'tangent': choose one of"),
        (("sine", "--shots", 0), "--shots is 0; it must be at least 1"),
        (("sine", "--tasks", "omniglot"), "--tasks"),
        *(
            (
                (name, "--tasks", "sine"),
                "--tasks sine is regression, and this experiment needs classes: choose",
            )
            for name, kind in experiments().items()
            if kind.tasks is not None
        ),
        (("inner-steps", "--tasks", "quadratics"), "--tasks quadratics is regression"),
        (
            ("feature-reuse", "--ways", 2, "--compared-queries", 1),
            "--compared-queries 1 makes 2 examples of a task, and CKA needs 4; give more",
        ),
        (
            ("reptile-gradient", "--tasks", "fonts"),
            "--tasks fonts has 5 support examples in a training task, and two minibatches need 10",
        ),
        (("optimizer", "--shots", 19), "--shots is 19; it must be at most 18"),
        (("classes", "--tasks", "digits"), "--tasks digits has no training classes to choose from"),
        (
            ("classes", "--train-classes", 5000),
            "5000 training classes: there are 917; ask for at most as many",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert message in refused(capsys, "experiment", *words, "--out", tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_training_is_validated_equally_often_however_long_it_is() -> None:
    plan = Planned("maml", 200, {"inner_steps": 1}, 12)
    for steps, every in ((None, 16), (2000, 166), (5, 1)):
        assert options_of(plan, Scale(steps=steps, test_tasks=1), 0, {})["validate_every"] == every


@pytest.mark.parametrize("scale", [Scale(test_tasks=1), Scale(steps=7, meta_batch=3, test_tasks=1)])
def test_what_is_compared_is_trained_equally(scale: Scale) -> None:
    """The same meta-steps, each on as many examples: without inner steps nothing is learned of supports."""

    def budgets(name: str, **own: Any) -> list[tuple[int, int]]:
        plan = experiments()[name](**own).trainings(TaskOptions())
        found = []
        for planned in plan.values():
            options = options_of(planned, scale, 0, {})
            support = options["shots"] if options["inner_steps"] else 0
            queries = options.get("queries") or options["shots"]
            found.append((options["steps"], options.get("meta_batch", 1) * (support + queries)))
        return found

    for name, shots in (("sine", 5), ("sine", 12), ("domains", 1), ("domains", 10)):
        maml, pooled = budgets(name, shots=shots)
        assert maml == pooled
    steps = [options_of(p, scale, 0, {})["steps"] for p in experiments()["inner-steps"]().trainings(TaskOptions()).values()]  # fmt: skip
    assert len(set(steps)) == 1


def test_so_many_shots_as_the_optimizer_may_have_there_are() -> None:
    assert fphi.load_tasks("digits", ways=10, shots=18).shots == 18
    with pytest.raises(fphi.FphiError, match="19 shots"):
        fphi.load_tasks("digits", ways=10, shots=19)


def test_the_optimizer_is_learned_on_minibatches_of_mnist_too() -> None:
    """All networks on the same problems, in the same minibatches."""
    own: dict[str, Any] = {"data": "mnist"}
    plan = experiments()["optimizer"](**own).trainings(TaskOptions())
    networks = {name: p.options for name, p in plan.items() if "quadratics" not in name}
    assert len(networks) == 1 + 4 * 4
    assert {(o["tasks"], o["shots"], o["inner_batch"], o["inner_steps"]) for o in networks.values()} == {
        ("mnist", 500, 128, 100)
    }


def test_the_smallest_are_of_experiments_that_there_are() -> None:
    assert set(SMALLER) <= set(NAMES)


def test_means_are_over_tasks_of_the_means_over_trainings() -> None:
    one, other = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    found = mean_of([{"loss": one}, {"loss": other}], "loss")
    assert found["mean"] == pytest.approx(0.75)
    assert found["by_seed"] == pytest.approx([0.5, 1.0])
    assert found["ci95"] == pytest.approx(1.96 * (4 * 0.25**2 / 3) ** 0.5 / 2)
    gain = gain_of([{"inductive": other}], [{"inductive": one, "transductive": 1 - one}])
    assert gain["mean"] == pytest.approx(0.5)
    assert gain["ci95"] == pytest.approx(1.96 * (4 * 0.5**2 / 3) ** 0.5 / 2)


def test_of_many_tasks_of_few_domains_the_interval_is_over_domains() -> None:
    """By hand: gains of 1, 0.5 and 0 in three domains, of 1, 2 and 3 tasks, and t of two degrees of freedom."""
    names = ["b", "a", "c", "c", "a", "c"]
    one = torch.tensor([1.0, 0.75, 0.5, 0.5, 0.25, 0.5])
    other = torch.tensor([0.0, 0.0, 0.25, 0.5, 0.0, 0.75])
    gain = gain_of([{"inductive": one}] * 2, [{"inductive": other}] * 2, names)
    assert gain["by_domain"] == pytest.approx({"b": 1.0, "a": 0.5, "c": 0.0})
    assert gain["by_seed"] == pytest.approx([0.5, 0.5])
    assert (gain["mean"], gain["ci95"]) == pytest.approx((0.5, 4.302653 * 0.5 / 3**0.5))
    assert accuracies([{"inductive": one}], names)["transductive"]["by_domain"]["a"] == pytest.approx(0.5)
    assert mean_of([{"loss": one}], "loss", ["a"] * 6)["ci95"] == float("inf")


def test_what_experiments_say_of_themselves_holds(records: dict[str, dict[str, Any]]) -> None:
    """Exact facts among their numbers, whatever the training."""
    sine = records["sine"]["measured"]
    assert sine["task_blind"]["exact"] == pytest.approx(3.0056693556)
    assert sine["task_blind"]["flat_line"] == pytest.approx(4.2516666667)
    assert sine["MAML"]["loss_by_step"][0] == pytest.approx(sine["MAML"]["before"]["mean"])
    assert sine["MAML"]["loss_by_step"][1] == pytest.approx(sine["MAML"]["after_1_step"]["mean"])
    similarity = records["feature-reuse"]["measured"]["similarity"]
    anil = similarity["ANIL"]["cka"]  # whose body does not adapt
    assert all(value == pytest.approx(1) for layer, value in anil.items() if layer != "head")
    assert anil["head"] < 1
    reptile = records["reptile-gradient"]["measured"]
    assert reptile["identity_error"] < 1e-10
    zeroth, first = (reptile["expansion"][key] for key in ("beyond_g2_at_phi", "beyond_first_order"))
    assert zeroth[-1] / zeroth[-3] == pytest.approx(0.1, rel=0.01)  # a tenth of the rate
    assert first[-1] / first[-3] == pytest.approx(0.01, rel=0.1)
    domains = records["domains"]["measured"]
    apart = (
        domains["MAML"]["accuracy"]["transductive"]["mean"]
        - domains["pooled"]["accuracy"]["transductive"]["mean"]
    )
    assert domains["gain"]["mean"] == pytest.approx(apart)
    fonts = set(FontTasks().fonts("test", range(2)))
    assert set(domains["gain"]["by_domain"]) == fonts
    assert set(domains["pooled"]["accuracy"]["transductive"]["by_domain"]) == fonts
    panels = records["optimizer"]["measured"]["loss_by_step"]
    assert {name: len(courses["lstm"]) for name, courses in panels.items()} == {
        "quadratics": 3, "20 units": 5, "40 units": 3, "2 layers": 3, "ReLU": 3
    }  # fmt: skip
    for courses in panels.values():
        starts = [losses[0] for losses in courses.values()]
        assert starts == pytest.approx([starts[0]] * 2)  # all rules begin at the same place
