"""A classifier for a few examples of each class, as scikit-learn has them: fit, predict, save."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.few_shot.candidates import candidates_for
from fphi.few_shot.encoders import Channels, encoder_for
from fphi.few_shot.fitting import Fitted, fit
from fphi.few_shot.items import ExamplesError, Items, items_of
from fphi.few_shot.labels import all_or_nothing, labels_of, plain
from fphi.few_shot.reading import Source
from fphi.few_shot.saving import read_fitted, write_fitted
from fphi.few_shot.telling import decision_text
from fphi.ranges import Range, require_number
from fphi.run.disk.files import Json
from fphi.within.randomness import undisturbed

__all__ = ["FewShotClassifier"]

_SEED = Range(0, 2**63 - 1)  # numpy takes no negative ones


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns classes from a few examples of each: rows of numbers, images, texts or recordings.

    Args:
        learner: "auto" for the best of class means, ridge and logistic regression on frozen features and, of
            tables, the transformer that reads them in context; "means", "ridge", "logistic" or "in-context"
            for one of these; the folder of an ``fphi train``, whose learner
            answers then, or such a learner; or a list of these, of which the best is chosen.
        encoder: what makes features: None for the usual one, a name ("words", "sentences", "descriptor",
            "columns", "timm:MODEL", "sentence-transformers:MODEL"), or a module or callable.
        channels: of images: "auto" keeps colour where the examples have it; "grey", "rgb".
        image_size: pixels of a side that the descriptor sees; None: 32.
        sampling_rate: samples of a waveform per second, where X are waveforms.
        refused: share of examples of known classes that `decide` may take for none of them.
        random_state: of the splits by which is chosen.
        files: ``method`` and ``network`` of a run that has these in files of Python, see `fphi.load`.

    Attributes:
        classes_: the labels in order.
        fitted_: what has learned, and what is known of it: see `Fitted`.
        decision_: which learner was chosen, by which validation, and how sure one may be, in one sentence.

    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 3)), np.repeat(["a", "b"], 10)
    >>> X[:10] += 5
    >>> model = FewShotClassifier().fit(X, y)
    >>> model.predict([[5.0, 5.0, 5.0], [0.0, 0.0, 0.0]]).tolist()
    ['a', 'b']
    """

    def __init__(
        self,
        learner: Any = "auto",
        encoder: Any = None,
        *,
        channels: Channels = "auto",
        image_size: int | None = None,
        sampling_rate: int | None = None,
        refused: float = 0.05,
        random_state: Any = 0,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.learner, self.encoder, self.channels, self.image_size = learner, encoder, channels, image_size
        self.sampling_rate, self.refused, self.random_state = sampling_rate, refused, random_state
        self.files = files

    @undisturbed()
    def fit(self, X: Any, y: Any) -> Self:
        """Choose a learner by repeated splits of these examples alone, and learn from all of them.

        Args:
            X: rows ``[n, columns]``; images ``[n, H, W]``, ``[n, C, H, W]`` or ``[n, H, W, C]``; or a list of
                paths, of texts, of Pillow's images, or of waveforms.
            y: labels ``[n]``, numbers or texts, of each class at least one.

        Raises:
            FphiError: an option, the examples or the labels do not fit.
        """
        require_number("refused", self.refused, Range(0, 1, below=True))
        with all_or_nothing(self):
            items = self._items(X, reset=True)
            labels = labels_of(y, len(items))
            self.classes_, codes = np.unique(labels, return_inverse=True)
            if len(self.classes_) < 2:
                only = self.classes_[0]
                raise ExamplesError(f"y has 1 class, {only!s}; give examples of at least two classes")
            encoder = encoder_for(self.encoder, items.kind, self.channels, self.image_size)
            candidates = candidates_for(self.learner, encoder, items, self.files or {})
            self.fitted_: Fitted = fit(items, codes.astype(np.int64), candidates, self.refused, self._seed())
            self.kind_, self.source_ = items.kind, Source(items.columns)
            self.levels_ = items.are_float_levels
        return self

    @undisturbed()
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn further examples, of new classes too, by the learner that `fit` chose.

        Its temperature, its threshold for `decide` and what `decision_` tells stay those of `fit`.

        Args:
            X: see `fit`.
            y: see `fit`.
            classes: not used: a class is learned when its first example comes.

        Raises:
            FphiError: see `fit`.
        """
        if not hasattr(self, "fitted_"):
            return self.fit(X, y)
        items = self._items(X, reset=False)
        labels = labels_of(y, len(items))
        known = self.classes_[self.fitted_.labels]
        classes, codes = np.unique(np.concatenate([known, labels]), return_inverse=True)
        before, new = np.split(codes.astype(np.int64), [len(known)])
        self.fitted_ = self.fitted_.extended(items, before, new, len(classes))
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each example ``[n]``."""
        best = self.answers(X)[0].argmax(1).numpy()
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Calibrated probabilities ``[n, classes]`` of ``classes_``."""
        probabilities: NDArray[np.float64] = self.answers(X)[0].softmax(1).numpy()
        return probabilities

    def decide(self, X: Any) -> NDArray[Any]:
        """The class of each example ``[n]``, or None where it is of none of them.

        Raises:
            FphiError: there was nothing to learn this from, or it could not be learned.
        """
        logits, known = self.answers(X)
        if known is None:
            raise FphiError(
                "examples of none of the classes cannot be told here: that takes at least three classes, of "
                "which some have two examples, and features that tell them apart; use predict"
            )
        decided: NDArray[Any] = self.classes_[logits.argmax(1).numpy()].astype(object)
        decided[~known] = None
        return decided

    def familiarity(self, X: Any) -> NDArray[np.float64]:
        """How known each example looks ``[n]``, the more the larger: `decide` has a threshold of it."""
        fitted = self._fitted()
        return fitted.scored(self._items(X, reset=False))[1]

    def answers(self, X: Any) -> tuple[Tensor, NDArray[np.bool_] | None]:
        """Calibrated logits ``[n, classes]``, and whether each example is of one of the classes.

        None in place of that where nothing could be held out to learn it from.
        """
        fitted = self._fitted()
        return fitted.answers(self._items(X, reset=False))

    def adapt(self) -> nn.Module:
        """What answers, alone: a module from `features` to calibrated logits ``[n, classes]``."""
        return self._fitted().alone()

    def features(self, X: Any) -> Tensor:
        """What the encoder makes of examples: the input of `adapt`'s module."""
        fitted = self._fitted()
        return fitted.candidate.encoder.encode(self._items(X, reset=False))

    @property
    def decision_(self) -> str:
        """See the class."""
        return decision_text(self._fitted())

    def save(self, path: Path | str) -> None:
        """Write all of this to one file, which `load` reads without the examples, the run, or any code.

        Raises:
            FphiError: the learner was given in Python, or the disk is full.
        """
        fitted = self._fitted()
        labels: list[Json] = [plain(value) for value in self.classes_]
        of_code = ("learner", "encoder", "files")
        options = {key: plain(value) for key, value in self.get_params().items() if key not in of_code}
        if not isinstance(self.random_state, int):  # it has done its part
            options["random_state"] = 0
        about: dict[str, Json] = {"classes": labels, "type": self.classes_.dtype.str, "kind": self.kind_}
        about["source"] = {"columns": list(self.source_.columns), "text": self.source_.text}
        about |= {
            "columns": getattr(self, "n_features_in_", None),
            "options": options,
            "levels": self.levels_,
        }
        about["names"] = list(getattr(self, "feature_names_in_", ()))
        write_fitted(Path(path), fitted, about)

    @classmethod
    def load(cls, path: Path | str, *, encoder: Any = None, **files: str) -> Self:
        """What `save` wrote. Runs no code from the file.

        Args:
            path: of the file.
            encoder: the one it was fitted with, where that was a module or callable.
            files: ``method`` and ``network`` where the run had these in files of Python, see `fphi.load`.

        Raises:
            FphiError: no such file, damaged, or something that it needs is missing.
        """
        fitted, about = read_fitted(Path(path), encoder, files)
        made = cls(**about["options"])
        dtype = np.dtype(about["type"])
        made.classes_ = np.array(about["classes"], dtype=dtype)
        made.kind_, made.fitted_ = about["kind"], fitted
        made.source_ = Source(tuple(about["source"]["columns"]), about["source"]["text"])
        if about["columns"] is not None:
            made.n_features_in_ = about["columns"]
        if about.get("names"):
            made.feature_names_in_ = np.array(about["names"], dtype=object)
        made.levels_ = bool(about.get("levels"))
        return made

    def _fitted(self) -> Fitted:
        if not hasattr(self, "fitted_"):
            raise NotFittedError(
                "This FewShotClassifier is not fitted yet; call fit, or FewShotClassifier.load"
            )
        return self.fitted_

    def _items(self, X: Any, reset: bool) -> Items:
        kind = None if reset else self.kind_
        items = items_of(X, kind, self.sampling_rate)
        if kind is not None and items.kind != kind:
            raise ExamplesError(f"X are {items.kind}, and fit had {kind}; give such")
        if items.kind != "rows":
            if not len(items):
                raise ExamplesError(f"X has no example of {items.kind}; give at least one")
            # Levels of 0 to 255 that are all dark are not taken for fractions of 1.
            return replace(items, scale=1) if not reset and self.levels_ else items
        return Items("rows", self._rows(X, reset), None, items.columns)

    def _rows(self, X: Any, reset: bool) -> NDArray[Any]:
        if isinstance(X, Items):
            X = X.values
        elif isinstance(X, Tensor):
            X = X.detach().cpu().numpy()
        try:
            rows: NDArray[Any] = validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan"
            )
        except ValueError as error:
            raise ExamplesError(" ".join(str(error).split())) from error
        return rows

    def _seed(self) -> int:
        from sklearn.utils import check_random_state

        if isinstance(self.random_state, int | np.integer):
            require_number("random_state", int(self.random_state), _SEED)
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
