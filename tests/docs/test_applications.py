"""The examples of applications, whole and small."""

import csv
import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import fphi
import intents
import spoken_network
import spoken_words
from few_shot_helpers import sound_folder, write_tone
from fphi.tasks import FeatureTasks


def _sentences(k: int) -> list[str]:
    verbs = ("open", "close", "paint", "sell", "find", "wash", "hide", "lift", "burn", "push", "read", "sing")
    return [f"{verbs[k]} the {noun} for me" for noun in ("door", "box", "lid", "gate", "book", "car")]


def test_intents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(intents._OPTIONS, "from-scratch", {"inner_lr": 0.1, "inner_steps": 2})
    said = {"train": [(text, f"intent {k}") for k in range(10) for text in _sentences(k)]}
    (tmp_path / "clinc150_full.json").write_text(json.dumps(said), encoding="utf-8")
    with (tmp_path / "banking77_test.csv").open("w", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "category"))
        writer.writerows((text, k) for k in (10, 11) for text in _sentences(k))
    data = intents.splits(tmp_path, tmp_path / "cache", each=6, encoder="words")
    assert len(set(data["train"][1])) == 8
    tasks = FeatureTasks(data, ways=2, shots=1, queries=2)
    network = intents.network((tasks.task("train", 0).support.x.shape[1],), None)
    x = tasks.task("train", 0).query.x
    torch.testing.assert_close(network(x), np.exp(2.0) * x)  # to begin with it adds nothing
    accuracy, half = intents.frozen(tasks, "means", 10)
    assert accuracy > 0.6
    assert half > 0
    learner = fphi.PrototypicalLearner(network)
    assert fphi.evaluate(learner, tasks, count=10).accuracy == pytest.approx(accuracy, abs=0.3)
    for method in ("anil", "from-scratch"):
        accuracy, half = intents.learned(method, tasks, 1, tmp_path / "runs", count=3, steps=1)
        assert 0 <= accuracy <= 1
        assert half >= 0


def test_spoken_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_words, "_QUERIES", 2)
    rng = np.random.default_rng(0)
    (tmp_path / "people").mkdir()
    with zipfile.ZipFile(tmp_path / "recordings.zip", "w") as archive:
        for digit in range(10):
            for speaker in "ab":
                for i in range(5):
                    name = f"{digit}_{speaker}_{i}.wav"
                    write_tone(tmp_path / "people" / name, digit % 4, rng)
                    archive.write(tmp_path / "people" / name, name)
    words = sound_folder(tmp_path / "words", each=4, classes=12)
    run = tmp_path / "run"
    fphi.train(
        "prototypical",
        tasks=str(words),
        out=run,
        image_size=32,
        ways=2,
        train_ways=2,
        train_queries=2,
        queries=2,
        steps=1,
        validation_tasks=2,
        threads=1,
    )
    people = spoken_words.People(tmp_path / "recordings.zip")
    support, asked = people.task(0, ways=5, shots=1, queries=2)
    assert len(set(people.speakers[support])) == 1
    assert not set(people.speakers[support]) & set(people.speakers[asked])
    with torch.no_grad():
        found = spoken_words.compare([run], tmp_path / "recordings.zip", tasks=2)
    by_hand = [f"{n} on features by hand" for n in ("means", "ridge", "logistic, C=10")]
    assert [(row["method"], row["shots"]) for row in found] == [
        (name, shots) for shots in (1, 5) for name in (run.name, *by_hand)
    ]
    assert all(0 <= row["accuracy"] <= 1 and row["half_width"] >= 0 for row in found)


def test_spoken_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "spoken_digits").mkdir()
    with zipfile.ZipFile(tmp_path / "spoken_digits" / "recordings.zip", "w") as archive:
        for digit in range(2):
            for speaker in ("theo", "other"):
                for i in range(10):
                    name = f"{digit}_{speaker}_{i}.wav"
                    write_tone(tmp_path / name, digit, rng)
                    archive.write(tmp_path / name, name)
    monkeypatch.setenv("FPHI_DATA", str(tmp_path))
    spoken_network.make(tmp_path / "digits", each=8)
    assert len(list((tmp_path / "digits" / "train").rglob("*_other_*.wav"))) == 16
    assert len(list((tmp_path / "digits" / "test").rglob("*_theo_*.wav"))) == 16
    small: dict[str, Any] = {"evaluations": 1, "control": False, "retrain_epochs": 1, "child": {"epochs": 1}}
    run = tmp_path / "run"
    fphi.train("regularized-evolution", out=run, data=str(tmp_path / "digits"), image_size=32, **small)
    found = spoken_network.compare(run, seeds=2)
    counts = {name: count for name, (count, _) in found.items()}
    assert counts["Conv4"] == pytest.approx(counts["found"], rel=0.2)
    assert all(len(accuracies) == 2 for _, accuracies in found.values())


@pytest.mark.parametrize(
    ("example", "words", "file"),
    [
        (intents, (), "intents/clinc150_full.json"),
        (spoken_network, ("make", "digits"), "spoken_digits/recordings.zip"),
        (spoken_words, ("test", "run"), "spoken_digits/recordings.zip"),
    ],
)
def test_what_needs_data_says_which_variable_names_their_folder(
    example: ModuleType,
    words: tuple[str, ...],
    file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("FPHI_DATA", raising=False)
    monkeypatch.setattr("sys.argv", ["example.py", *words])
    with pytest.raises(SystemExit):
        example.main()
    said = capsys.readouterr().err
    assert f"error: name the folder that has {file}: FPHI_DATA=DIR" in said


@pytest.mark.parametrize("folder", ["examples", "benchmarks"])
def test_no_script_asks_for_its_data_before_it_has_looked_whether_they_are_named(folder: str) -> None:
    for path in (Path(intents.__file__).parents[1] / folder).rglob("*.py"):
        text = path.read_text("utf-8")
        assert 'environ["FPHI_DATA"]' not in text or '"FPHI_DATA" not in os.environ' in text, path
