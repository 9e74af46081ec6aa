"""What a classifier may be given, and that a call that fails leaves it as it was."""

import io
import shutil
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from torch import Tensor, nn

from few_shot_helpers import blobs, image_folder, sound_folder, tone
from fphi import BatchNorm, Examples, FewShotClassifier, FphiError, PrototypicalLearner, RelationLearner
from fphi.few_shot.answers import Answers
from fphi.few_shot.own_data import fit_data


@pytest.mark.parametrize(
    ("call", "rows"), [("fit", np.zeros((1, 7))), ("partial_fit", np.array([[1, 2, 3, "x"]], dtype=object))]
)
def test_a_call_that_fails_leaves_the_model_as_it_was(call: str, rows: Any) -> None:
    X, y = blobs()
    model = FewShotClassifier("means").fit(X, y)
    before = model.predict(X)
    with pytest.raises(FphiError):
        getattr(model, call)(rows, ["a new one"])
    assert model.n_features_in_ == 4
    assert (model.predict(X) == before).all()
    with pytest.raises(FphiError):
        model.set_params(learner="nope").fit(X, [f"other {label}" for label in y])
    assert (model.predict(X) == before).all()


def test_waveforms_of_every_type_of_wav_files_are_read_as_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    types: list[tuple[Any, float, float]] = [
        (np.int16, 32767, 0), (np.int32, 2**31 - 256, 0), (np.uint8, 127, 128), (np.float32, 1, 0)
    ]  # fmt: skip
    for dtype, scale, offset in types:
        waves = [(0.9 * scale * tone(k, rng) / 2 + offset).astype(dtype) for k in (0, 0, 1, 1)]
        files = [tmp_path / f"{i}-{np.dtype(dtype).name}.wav" for i in range(4)]
        for file, wave in zip(files, waves, strict=True):
            wavfile.write(file, 8000, wave)
        y = ["low", "low", "high", "high"]
        of_files = FewShotClassifier("means").fit(files, y).features(files)
        model = FewShotClassifier("means", sampling_rate=8000).fit(waves, y)
        assert torch.equal(model.features(waves), of_files)
    with pytest.raises(FphiError, match="uint8, int16 or int32"):
        FewShotClassifier("means", sampling_rate=8000).fit([[70000, 0, -70000]] * 4, y)


def test_names_of_media_that_are_not_read_are_no_texts(tmp_path: Path) -> None:
    names = [f"cat/{i}.png" for i in range(3)] + [f"dog/{i}.png" for i in range(2)] + ["dog/2.heic"]
    with pytest.raises(FphiError, match=r"dog/2\.heic is neither an image nor a WAV file, by its ending"):
        FewShotClassifier().fit(names, ["cat"] * 3 + ["dog"] * 3)
    with pytest.raises(FphiError, match=r"yes/0\.mp3 is neither"):
        FewShotClassifier().fit(["yes/0.mp3", "no/0.mp3"], ["yes", "no"])
    files = sorted(image_folder(tmp_path).rglob("*.png"))
    model = FewShotClassifier("means").fit(files, [file.parent.name for file in files])
    with pytest.raises(FphiError, match="neither an image"):
        model.predict(["a question in words"])
    for file in files[:2]:
        shutil.copy(file, file.with_suffix(""))
    with pytest.raises(FphiError, match="by its ending"):
        FewShotClassifier().fit([str(file.with_suffix("")) for file in files[:2]], ["a", "b"])


def test_texts_may_be_an_array_of_objects() -> None:
    texts = np.array(["a cat sat", "my cat", "two dogs", "a dog ran"], dtype=object)
    model = FewShotClassifier("means", encoder="words").fit(texts, ["cat", "cat", "dog", "dog"])
    assert model.predict(np.array(["the cat"], dtype=object)).tolist() == ["cat"]


def test_pillow_images_are_read_as_their_files_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files, y = [], []
    for k in range(2):
        for i in range(3):
            image = Image.fromarray(rng.integers(0, 60, (20, 30, 3)).astype(np.uint8))
            image.paste((250, 200 * k, 10), (2, 2, 12, 6 + 8 * k))
            exif = image.getexif()
            exif[0x0112] = 6  # to be turned by a quarter
            file = tmp_path / f"{k}-{i}.jpg"
            image.convert("CMYK").save(file, exif=exif)
            files.append(file)
            y.append(str(k))
    model = FewShotClassifier("means").fit(files, y)
    opened = [Image.open(file) for file in files]
    assert torch.equal(model.features(opened), model.features(files))


def test_arrays_are_read_as_the_files_that_were_learned_from(tmp_path: Path) -> None:
    files = sorted(image_folder(tmp_path).rglob("*.png"))
    model = FewShotClassifier("means").fit(files, [file.parent.name for file in files])
    model.save(tmp_path / "m")
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    for given in (arrays, arrays / 255.0, arrays.astype(np.float32)):
        for asked in (model, FewShotClassifier.load(tmp_path / "m")):
            assert torch.equal(asked.features(given), model.features(files))


def test_an_image_of_levels_is_not_taken_for_fractions_because_it_is_dark() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (6, 12, 12)).astype(np.float32)
    X[0] = rng.integers(0, 2, (12, 12))
    model = FewShotClassifier("means").fit(X, [0, 0, 0, 1, 1, 1])
    assert torch.equal(model.features(X[:1])[0], model.features(X)[0])
    as_bytes = FewShotClassifier("means").fit(X.astype(np.uint8), [0, 0, 0, 1, 1, 1])
    assert torch.equal(as_bytes.features(X.astype(np.uint8)), model.features(X))
    assert torch.equal(as_bytes.features(X[1:] / 255), model.features(X)[1:])
    fractions = FewShotClassifier("means").fit(X / 255, [0, 0, 0, 1, 1, 1])
    assert torch.equal(fractions.features(X[:1] / 255)[0], model.features(X)[0])


def test_an_encoder_of_ones_own_gets_what_it_can_open(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "photos")
    met: list[Any] = []

    def encoder(batch: Any) -> np.ndarray[Any, Any]:
        met.append(batch)
        images = [Image.open(x) if isinstance(x, str) else x for x in batch]
        return np.stack([np.asarray(image.convert("RGB").resize((4, 4))).ravel() / 255 for image in images])

    fitted = fit_data(folder, encoder=encoder)
    assert all(Path(x).is_file() for x in met[0])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    zipped = fit_data(tmp_path / "photos.zip", encoder=encoder)
    assert isinstance(met[-1][0], Image.Image)
    files = sorted(folder.rglob("*.png"))
    assert torch.equal(zipped.model.features(files), fitted.model.features([Image.open(f) for f in files]))
    with pytest.raises(FphiError, match="fails on a list of str"):
        FewShotClassifier("means", encoder=nn.Flatten()).fit(files, [f.parent.name for f in files])
    sounds = sorted(sound_folder(tmp_path / "words").rglob("*.wav"))
    waves = [wavfile.read(file)[1] for file in sounds]
    loud = FewShotClassifier(
        "means", encoder=lambda xs: [[abs(x).max(), x.std()] for x in xs], sampling_rate=8000
    )
    assert loud.fit(waves, [file.parent.name for file in sounds]).features(waves[:2]).shape == (2, 2)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([0, 1, 0, 1], dtype=object), [0, 1]),
        ([True, False, True, False], [False, True]),
        (np.array(["2026-01-01", "2026-01-02"] * 2, dtype="datetime64[D]"), ["2026-01-01", "2026-01-02"]),
        (np.array([date(2026, 1, 1), "b", date(2026, 1, 1), "b"], dtype=object), ["2026-01-01", "b"]),
    ],
)
def test_labels_of_many_types_are_kept(y: Any, classes: list[Any], tmp_path: Path) -> None:
    X = np.array([[0.0, 1], [5, 1], [0, 2], [5, 2]])
    model = FewShotClassifier("means").fit(X, y)
    assert model.classes_.tolist() == classes
    model.save(tmp_path / "m")
    assert FewShotClassifier.load(tmp_path / "m").predict(X).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_label_that_is_missing_is_refused(missing: Any) -> None:
    with pytest.raises(FphiError, match="label 1 of y is missing"):
        FewShotClassifier().fit([[1.0]] * 3, np.array(["a", missing, "b"], dtype=object))


def test_options_of_numpy_and_names_of_columns_are_saved(tmp_path: Path) -> None:
    X, y = blobs()
    options: dict[str, Any] = {"refused": np.float32(0.1), "image_size": np.int64(16)}
    model = FewShotClassifier("means", random_state=np.int64(3), **options).fit(X, y)
    model.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)  # as of a table of pandas
    model.save(tmp_path / "m")
    again = FewShotClassifier.load(tmp_path / "m")
    assert again.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert again.refused == pytest.approx(0.1)


def test_a_picture_in_memory_is_upright() -> None:
    image = Image.new("RGB", (4, 8))
    exif = image.getexif()
    exif[0x0112] = 6
    written = io.BytesIO()
    image.save(written, "JPEG", exif=exif)
    met: list[Any] = []

    def encoder(batch: Any) -> list[list[float]]:
        met.extend(batch)
        return [[1.0, float(i)] for i in range(len(batch))]

    FewShotClassifier("means", encoder=encoder).fit([Image.open(written)] * 2, ["a", "b"])
    assert met[0].size == (8, 4)


class Alike(nn.Module):
    """Relations in 0..1: how near two numbers are."""

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        return (-(queries[:, None] - classes).abs().sum(2)).exp()


def test_relations_answer_with_their_shares() -> None:
    support = Examples(torch.tensor([[0.0], [1.0]]), torch.arange(2))
    answers = Answers(RelationLearner(nn.Identity(), Alike()), support, 2)
    asked = torch.tensor([[0.0], [0.5]])
    relations = Alike()(support.x, asked)
    assert torch.allclose(answers(asked).softmax(1), relations / relations.sum(1, keepdim=True))


def test_a_learner_whose_norms_have_no_statistics_is_told_before_anything_is_learned() -> None:
    X, y = blobs()
    network = nn.Sequential(
        nn.Linear(4, 3), nn.Unflatten(1, (3, 1, 1)), BatchNorm(3, "running"), nn.Flatten()
    )
    with pytest.raises(FphiError, match=r"have no statistics yet: call fphi\.calibrate_on\(learner, tasks\)"):
        FewShotClassifier(PrototypicalLearner(network.double())).fit(X, y)
