"""The learners that are chosen among: by name, by the run that meta-trained them, or as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.loading import load_learner, noted_setting, trained_run
from fphi.few_shot.answers import Arrays, Inputs, MetaTrained
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.heads import RULES, Head
from fphi.few_shot.items import Items
from fphi.learnable import LearningAlgorithm
from fphi.tasks.protocols import protocol_named
from fphi.tasks.sources import NAMED

__all__ = ["Candidate", "candidate_of_run", "candidates_for"]

_NAMES = ("means", "ridge", "logistic")


@dataclass(frozen=True)
class Candidate:
    """A learner that may be chosen.

    Args:
        name: for the user.
        rule: the head by its name, "run", or "given".
        encoder: makes its features, and has seen the examples.
        head: makes its network of them.
        run: the folder of the run that it was meta-trained in, where there is one.
    """

    name: str
    rule: str
    encoder: Encoder
    head: Head
    run: Path | None = None


def candidates_for(learner: Any, encoder: Encoder, items: Items, files: Mapping[str, str]) -> list[Candidate]:
    """The candidates that are meant.

    Args:
        learner: see `FewShotClassifier`.
        encoder: of those that learn from frozen features; it has not seen the examples.
        items: the examples.
        files: what of runs is in files of Python, see `fphi.load`.

    Raises:
        FphiError: there is no such learner.
    """
    wanted = list(learner) if isinstance(learner, list | tuple) else [learner]
    if not wanted:
        raise FphiError("learner is an empty list; name at least one")
    found: list[Candidate] = []
    frozen: Encoder | None = None
    for one in wanted:
        if isinstance(one, LearningAlgorithm):
            found.append(Candidate(type(one).__name__, "given", Arrays(), MetaTrained(one.eval())))
        elif isinstance(one, str) and one in ("auto", *_NAMES):
            frozen = frozen or encoder.learn(items)
            rules = [n for n in RULES if one in ("auto", n.partition(",")[0])]
            found += [Candidate(f"{n} on {frozen.name}", n, frozen, RULES[n]) for n in rules]
        elif isinstance(one, str | Path) and Path(one).is_dir():
            candidate = candidate_of_run(Path(one), files)
            if (
                isinstance(candidate.encoder, Inputs)
                and len(candidate.encoder.shape) == 1
                and items.kind != "rows"
            ):  # it was trained on such features
                frozen = frozen or encoder.learn(items)
                candidate = replace(candidate, encoder=frozen)
            found.append(candidate)
        else:
            raise FphiError(
                f"learner is {one!r}; choose auto, {', '.join(_NAMES)}, or give the folder of an fphi train"
            )
    return list({candidate.name: candidate for candidate in found}.values())


def candidate_of_run(run: Path, files: Mapping[str, str], name: str = "") -> Candidate:
    """The learner that a run has meta-trained.

    Args:
        run: its folder.
        files: see `candidates_for`.
        name: for the user; the method and the folder if not given.

    Raises:
        FphiError: the folder holds no run of few-shot classification.
    """
    trained = trained_run(run, dict(files))
    setting = trained.with_network(noted_setting(run, trained))
    if setting.ways is None:
        raise FphiError(f"{run} was trained on regression, and has no classes to tell apart; give another")
    bound = trained.method.bound_to
    head = MetaTrained(
        load_learner(run, trained, setting).eval(),
        setting.ways if "ways" in bound else None,
        setting.shots if "shots" in bound else None,
    )
    ink = None
    if trained.options.tasks in NAMED:
        named = trained.options.protocol
        ink = 0 if named is not None and protocol_named(named).invert else 1
    inputs = Inputs(setting.input_shape, ink)
    return Candidate(name or f"{trained.config.name} of {run}", "run", inputs, head, run)
