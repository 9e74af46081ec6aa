"""Searches for augmentation from the command line: what they write and say, killed, resumed, and refused."""

import json
import math
import shutil
import signal
from pathlib import Path

import pytest
import torch

import fphi as package
from cli_helpers import TINY as CLI_TINY
from cli_helpers import fphi, quietly, refused, save_images
from fphi.augmentation import Augmentation, PBAPolicy, Policy, Schedule, load
from fphi.experiment.search.augmenting_result import recommendation, summary_of_augmentations
from fphi.learnable.augmentation import PBASpace
from fphi.learnable.space import Candidate
from fphi.methods.autoaugment import AutoAugment
from fphi.methods.pba import PBA
from leashed import held
from search_helpers import events, result
from waiting import wait_until

Capture = pytest.CaptureFixture[str]

TINY = (
    *("--train-examples", 100, "--validation-examples", 60, "--test-examples", 50),
    *("--child-epochs", 3, "--child-batch-size", 50, "--retrain-epochs", 2, "--retrain-seeds", 2),
)
SEARCHES: dict[str, tuple[object, ...]] = {
    "autoaugment": ("--evaluations", 7, "--batch", 3, "--join", 2),
    "pba": ("--population", 4, "--interval", 1),
    "dada": ("--epochs", 2, "--batch-size", 25, "--control-evaluations", 2),
}


@pytest.fixture(scope="module", params=sorted(SEARCHES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param) / request.param
    quietly("search", request.param, "--out", out, *SEARCHES[request.param], *TINY)
    return Path(out)


def test_what_is_found_augments_in_three_lines(run: Path) -> None:
    augment = load(run)
    images = torch.rand(20, 1, 8, 8)
    assert augment(images).shape == images.shape
    assert load(run / "augmentation.json").policy == augment.policy
    if run.name == "pba":
        assert isinstance(augment.augmenting, Schedule)
        assert [epochs for epochs, _ in augment.augmenting.segments] == [1, 1, 1]
        nothing = PBAPolicy.zero(augment.policy.fill)
        assert augment.augmenting.policy(0) == nothing
        assert augment.stretched(30).augmenting.policy(9) == nothing  # type: ignore[union-attr]
    else:
        assert isinstance(augment.augmenting, Policy)
        assert len(augment.augmenting.sub_policies) == {"autoaugment": 2 * 5, "dada": 25}[run.name]


def test_the_result_has_what_nobody_has_to_search_for(run: Path) -> None:
    content = result(run)
    assert content["kind"] == "augmentation search"
    assert set(content["beside"]) == {"no augmentation", "random policies", "TrivialAugment"}
    for record in (content["retrained"], *content["beside"].values(), content["control"]["retrained"]):
        assert len(record["test_by_seed"]) == 2
        assert record["test_accuracy"] == pytest.approx(sum(record["test_by_seed"]) / 2)
    for name in ("augmentation.json", "augmentation.png", "search.png", "history.csv", "random.csv"):
        assert (run / name).stat().st_size > 100
    assert not (run / "best.safetensors").exists()


def test_a_last_training_that_is_done_is_not_done_again(run: Path, tmp_path: Path) -> None:
    """The file says what came of each: of a search that was killed before its result it is believed."""
    again = Path(shutil.copytree(run, tmp_path / run.name))
    (again / "result.json").unlink()
    path = again / "trainings.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * 5
    changed = [{**line, "test": 0.5} if line["way"] == "TrivialAugment" else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))
    quietly("search", run.name, "--out", again, "--resume")
    tests = {way: record["test_by_seed"] for way, record in result(again)["beside"].items()}
    assert tests.pop("TrivialAugment") == [0.5, 0.5]
    assert tests == {way: result(run)["beside"][way]["test_by_seed"] for way in tests}
    path.write_text(path.read_text().replace('"test": 0.5', '"test": 1.5'))
    (again / "result.json").unlink()
    with pytest.raises(
        AssertionError, match=r"trainings.jsonl is damaged in line \d+ .*these trainings are done again"
    ):
        quietly("search", run.name, "--out", again, "--resume")


def test_random_search_has_as_many_epochs(run: Path) -> None:
    content = result(run)
    expected = {"autoaugment": (7, 7), "pba": (12, 4), "dada": (None, 2)}[run.name]
    assert (content.get("evaluations"), content["control"]["evaluations"]) == expected


def test_a_finished_search_says_its_result_again(run: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert fphi("search", run.name, "--out", run, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out) == result(run)


def test_the_line_of_pba_is_a_chain_in_its_history(run: Path) -> None:
    if run.name != "pba":
        return
    asked = {e["asked"]: e for e in events(run / "history.jsonl") if "asked" in e}
    losses = {e["told"]: e["loss"] for e in events(run / "history.jsonl") if "told" in e}
    last = min(range(8, 12), key=lambda number: (losses[number], number))
    line = [last]
    while asked[line[-1]].get("parent") is not None:
        line.append(asked[line[-1]]["parent"])
    schedule = load(run).augmenting
    assert isinstance(schedule, Schedule)
    tokens = [tuple(asked[number]["tokens"]) for number in line[::-1]]
    policies = [schedule.policy(epoch) for epoch in range(3)]
    assert [policy.vector for policy in policies if isinstance(policy, PBAPolicy)] == tokens


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_killed_and_resumed_is_uninterrupted(name: str, tmp_path: Path, run: Path) -> None:
    """SIGKILL after some candidates, twice: the same history, the same augmentation, the same tests."""
    if run.name != name:
        return
    killed = tmp_path / "killed"
    words: tuple[object, ...] = ("search", name, "--out", killed, *SEARCHES[name], *TINY)
    for kill in range(3):
        waits = tmp_path / f"waits {kill}"
        process = held(waits, 19, *words)  # three epochs of two steps are a candidate of autoaugment
        wait_until(waits.exists, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        words = ("search", name, "--out", killed, "--resume")
    quietly(*words)
    for file in ("history.jsonl", "random.jsonl"):
        assert events(killed / file) == events(run / file)
    assert (killed / "augmentation.json").read_bytes() == (run / "augmentation.json").read_bytes()
    for way in ("no augmentation", "random policies", "TrivialAugment"):
        own, whole = result(killed)["beside"][way], result(run)["beside"][way]
        assert own["test_by_seed"] == whole["test_by_seed"]


def test_processes_find_what_this_process_finds(tmp_path: Path, run: Path) -> None:
    """PBA's rounds wait for one another, so that nothing depends on which process is faster."""
    if run.name != "pba":
        return
    words = ("--out", tmp_path / "there", "--control", "false", "--executor", "processes")
    quietly("search", "pba", *SEARCHES["pba"], *TINY, *words)
    assert (tmp_path / "there/augmentation.json").read_bytes() == (run / "augmentation.json").read_bytes()


def test_other_searches_search_policies_too(tmp_path: Path) -> None:
    words = ("--space", "autoaugment", "--sub-policies", 1, "--evaluations", 3, "--control", "false")
    quietly("search", "regularized-evolution", "--out", tmp_path / "run", *words, *TINY, "--population", 2)
    policy = load(tmp_path / "run").policy
    assert isinstance(policy, Policy)
    assert len(policy.sub_policies) == 1


def test_in_python(tmp_path: Path) -> None:
    found = package.train(
        "pba",
        out=tmp_path / "run",
        train_examples=60,
        validation_examples=30,
        test_examples=30,
        population=2,
        child={"epochs": 2},
        interval=1,
        control=False,
        retrain_epochs=1,
        retrain_seeds=1,
    )
    assert isinstance(found, dict)
    assert found["method"] == "pba"
    assert found["control"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pba --space cells", "pba cannot search the space cells; choose the space pba"),
        ("pba --space autoaugment", "pba cannot search the space autoaugment; choose the space pba"),
        (
            "autoaugment --space cells",
            "autoaugment cannot search the space cells; choose the space autoaugment",
        ),
        ("darts --space autoaugment", "the operations of the space autoaugment cannot be mixed"),
        ("enas --space pba", "the architectures of the space pba have no shared weights"),
        (
            "pba --few-shot maml",
            "pba lets children inherit weights, and few-shot candidates are meta-trained",
        ),
        (
            "dada --few-shot maml",
            "dada is one training, and few-shot candidates are meta-trained one by one",
        ),
        ("autoaugment --network lenet5", "--network is 'lenet5'; choose one of auto, mlp"),
        ("autoaugment --retrain-seeds 0", "--retrain-seeds is 0; it must be"),
        ("pba --child-last-epochs 2", "members of a population are trained in stretches of"),
        ("pba --population 1", "--population is 1; it must be"),
        ("pba --quarter 0.7", "--quarter is 0.7; it must be"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "search", *words.split())
    assert not list(tmp_path.iterdir())


def test_other_commands_say_what_the_folder_holds(run: Path, capsys: Capture) -> None:
    assert "fphi.augmentation.load(" in refused(capsys, "build", run)
    assert "directory of a search" in refused(capsys, "evaluate", run)
    with pytest.raises(package.FphiError, match="finds no network"):
        package.load(run)


def test_images_of_a_folder_in_colour(tmp_path: Path) -> None:
    save_images(tmp_path / "images", classes=2, images=12)
    data = ("--data", tmp_path / "images", "--image-size", 8, "--mode", "rgb", "--retrain-seeds", 1)
    words = ("--child-epochs", 1, "--retrain-epochs", 1, "--evaluations", 2, "--control", "false")
    quietly("search", "autoaugment", "--out", tmp_path / "run", *data, *words)
    assert load(tmp_path / "run")(torch.rand(4, 3, 8, 8)).shape == (4, 3, 8, 8)


def ends(found: float, **others: float) -> str:
    """What is recommended, of mean accuracies of three trainings whose paired differences all are the same."""

    def record(test: float) -> dict[str, object]:
        return {"test_accuracy": test, "test_by_seed": [test - 0.01, test, test + 0.01]}

    names = {"nothing": "no augmentation", "drawn": "random policies", "trivial": "TrivialAugment"}
    beside = {names[key]: record(test) for key, test in others.items() if key != "searched"}
    control = {"retrained": record(others["searched"])} if "searched" in others else None
    return recommendation({"retrained": record(found), "beside": beside, "control": control}, "runs/pba")


def test_what_was_found_is_recommended_only_where_it_clearly_beats_all_else() -> None:
    take = "take what was found: fphi.augmentation.load('runs/pba')"
    assert ends(0.9, nothing=0.8, drawn=0.85, trivial=0.89) == take
    assert ends(0.9, nothing=0.8, drawn=0.85, trivial=0.9).startswith("TrivialAugment does as well")
    better = ends(0.9, nothing=0.8, drawn=0.85, trivial=0.92)
    assert better.startswith("TrivialAugment does better (92.00% against 90.00%)")
    assert 'fphi.augmentation.published("trivialaugment")' in better
    assert "do not augment" in ends(0.9, nothing=0.95, drawn=0.85, trivial=0.92)
    assert "has found nothing that chance does not" in ends(0.9, nothing=0.8, drawn=0.95, trivial=0.92)
    assert ends(0.9, nothing=0.8, trivial=0.8, searched=0.97).startswith("random search does better (97.00%")


def test_a_difference_of_few_trainings_is_not_clear() -> None:
    """0.9, 0.91, 0.92 less 0.89, 0.89, 0.91: the interval of 95 per cent is 4.303 standard errors."""
    found = {"test_accuracy": 0.91, "test_by_seed": [0.9, 0.91, 0.92]}
    other = {"test_accuracy": 0.8967, "test_by_seed": [0.89, 0.89, 0.91]}
    result = {"retrained": found, "beside": {"TrivialAugment": other}, "control": None}
    assert recommendation(result, "run").startswith("TrivialAugment does as well, as far as one can tell")
    one = {
        "retrained": found | {"test_by_seed": [0.91]},
        "beside": {"TrivialAugment": other | {"test_by_seed": [0.7]}},
    }
    assert "as far as one can tell" in recommendation(one | {"control": None}, "run")


def test_a_training_that_fails_in_the_end_is_said() -> None:
    failed = {"test_accuracy": None, "failure": "diverged: the training loss is nan"}
    found = {"test_accuracy": 0.9, "test_by_seed": [0.9]}
    assert "could not be trained with: diverged" in recommendation(
        {"retrained": failed, "beside": {"no augmentation": found}, "control": None}, "run"
    )
    result = {"retrained": found, "beside": {"no augmentation": failed}, "control": None}
    assert "nothing else could be trained" in recommendation(result, "run")
    table = {"method": "pba", "seconds": 1.0, "retrain_epochs": 2, **result}
    assert "diverged" in str(summary_of_augmentations(table))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--child-epochs 3 --interval 3",
            "are one round, after which nothing is explored; give at least two",
        ),
        (
            "--population 4 --evaluations 4",
            "--evaluations is 4; what is found is of whole rounds of 4 members, the first of which explores",
        ),
        ("--population 4 --evaluations 7", "is 7; what is found is of whole rounds of 4 members"),
        ("--population 4 --evaluations 11", "give a multiple of 4 from 8 to 12, or leave it out"),
        ("--population 4 --evaluations 16", "give a multiple of 4 from 8 to 12, or leave it out"),
    ],
)
def test_a_population_that_explores_nothing_is_refused(
    words: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    given = ("--child-epochs", 3, "--interval", 1) if "--interval" not in words else ()
    assert message in refused(capsys, "search", "pba", *given, *words.split(), "--out", tmp_path / "run")


def test_two_rounds_of_a_population_are_a_schedule_of_two_policies() -> None:
    method = PBA(population=4, interval=1)
    method.require_budget(8, 3)
    optimizer = method.optimizer(PBASpace(), 0)
    told = [(optimizer.ask(), 0.1 * i) for i in range(4)]
    for candidate, loss in told:
        optimizer.tell(candidate, loss)
    told += [(optimizer.ask(), 0.5 - 0.1 * i) for i in range(4)]
    policies = method.chosen(told)
    assert len(policies) == 2
    assert any(policies[1])


def test_a_population_with_time_left_ends_with_its_rounds(tmp_path: Path) -> None:
    words = ("--population", 2, "--interval", 1, "--seconds", 1000, "--control", "false")
    quietly("search", "pba", "--out", tmp_path / "run", *words, *TINY)
    assert result(tmp_path / "run")["evaluations"] == 6


def test_children_of_other_searches_begin_anew(tmp_path: Path) -> None:
    words = ("--space", "autoaugment", "--sub-policies", 1, "--evaluations", 6, "--control", "false")
    quietly("search", "large-scale-evolution", "--out", tmp_path / "run", *words, *TINY, "--population", 2)
    assert result(tmp_path / "run")["failures"] == 0


def test_what_failed_is_not_joined() -> None:
    tokens = [(i,) for i in range(4)]
    told = [
        (Candidate(i, t), loss)
        for i, (t, loss) in enumerate(zip(tokens, (1.3, math.inf, 0.2, math.inf), strict=True))
    ]
    assert AutoAugment().chosen(told) == (tokens[2], tokens[0])


def test_without_evaluations_dada_has_no_control(tmp_path: Path) -> None:
    words = ("--epochs", 1, "--control-evaluations", 0)
    quietly("search", "dada", "--out", tmp_path / "run", *words, *TINY)
    assert result(tmp_path / "run")["control"] is None


@pytest.mark.parametrize("search", ["dada", "autoaugment"])
def test_a_network_that_does_not_fit_is_refused(search: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def few(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))\n"
        "def wide(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(63, 10))\n"
    )
    for name, message in (("few", "answers 2 examples with [2, 5]"), ("wide", "fails on examples of shape")):
        words = ("--network", f"{tmp_path / 'nets.py'}:{name}", "--out", tmp_path / "run")
        assert message in refused(capsys, "search", search, *words)


def test_a_learner_without_a_network_of_that_name(tmp_path: Path) -> None:
    words = ("--few-shot", "imaginary", "--steps", 1, "--retrain-steps", 1, "--meta-batch", 1)
    more = ("--validation-tasks", 2, "--test-tasks", 2, "--evaluations", 1, "--control", "false")
    quietly("search", "autoaugment", *words, *more, "--learner-train-ways", 5, "--out", tmp_path / "run")
    assert result(tmp_path / "run")["few_shot"] == "imaginary"


def test_help_has_the_paper_s_own_budget(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        fphi("search", "pba", "--help")
    assert "As in the paper: 16 members, 200 epochs" in " ".join(capsys.readouterr().out.split())


FEW_SHOT = (
    *("--few-shot", "prototypical", "--learner-network", "conv4-stride", "--learner-train-ways", 5),
    *("--steps", 2, "--retrain-steps", 3, "--meta-batch", 2, "--validation-tasks", 8, "--test-tasks", 8),
)


def test_a_policy_for_training_tasks_is_searched_and_used(tmp_path: Path) -> None:
    """It is applied to support sets and queries of training tasks, and of no others."""
    out = tmp_path / "search"
    quietly("search", "autoaugment", *FEW_SHOT, "--evaluations", 3, "--join", 1, "--out", out)
    content = result(out)
    assert content["few_shot"] == "prototypical"
    for other in content["beside"].values():
        difference = content["retrained"]["test_accuracy"] - other["test_accuracy"]
        assert other["difference"]["mean"] == pytest.approx(difference)
    policy = load(out).policy
    assert isinstance(policy, Policy)
    assert len(policy.sub_policies) == 5
    words = ("--network", "conv4-stride", "--train-ways", 5, *CLI_TINY)
    quietly("train", "prototypical", "--augmentation", out, "--steps", 2, "--out", tmp_path / "run", *words)
    assert "augmentation: ../search" in (tmp_path / "run/config.yaml").read_text()
    losses = (tmp_path / "run/log.csv").read_text()
    quietly("train", "prototypical", "--steps", 2, "--out", tmp_path / "plain", *words)
    assert (tmp_path / "plain/log.csv").read_text() != losses


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "maml --augmentation pba-cifar10",
            "pba-cifar10 is a schedule, which goes by the epochs of one large task",
        ),
        (
            "maml --augmentation nowhere",
            "is 'nowhere', which is no file or folder, and none of autoaugment-cifar10",
        ),
        (
            "maml --tasks sine --augmentation trivialaugment",
            "--augmentation trivialaugment is for tasks of images",
        ),
    ],
)
def test_what_cannot_augment_tasks_is_refused(
    words: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert message in refused(capsys, "train", *words.split(), "--out", tmp_path / "run")


def test_a_training_goes_on_with_the_policy_that_it_began_with(tmp_path: Path, capsys: Capture) -> None:
    """The file may have become another since."""
    policy, run = tmp_path / "policy.json", tmp_path / "run"
    Augmentation(Policy.of([[("Rotate", 1, 3)]])).save(policy)
    words = ("--network", "conv4-stride", *CLI_TINY, "--augmentation", policy)
    quietly("train", "maml", "--steps", 2, "--out", run, *words)
    quietly("train", "maml", "--steps", 3, "--out", run, "--resume")
    Augmentation(Policy.of([[("Rotate", 1, 4)]])).save(policy)
    message = refused(capsys, "train", "maml", "--steps", 4, "--out", run, "--resume")
    assert "what --augmentation names has changed since" in message
