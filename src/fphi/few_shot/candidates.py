"""The learners that are chosen among: by name, by the run that meta-trained them, or as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG
from fphi.experiment.loading import WITHOUT_TASKS, load_learner, noted_setting, own_files, trained_run
from fphi.few_shot.answers import Arrays, Inputs, MetaTrained
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.heads import RULES, Head, rule_named
from fphi.few_shot.in_context import IN_CONTEXT, InContext
from fphi.few_shot.items import Items
from fphi.learnable import LearningAlgorithm
from fphi.networks.calibration import lacks_statistics
from fphi.report.files import read_text
from fphi.run.disk.checkpoint import BEST
from fphi.tasks.protocols import protocol_named
from fphi.tasks.sources import NAMED

__all__ = ["Candidate", "RunFiles", "candidate_of_run", "candidates_for", "head_of"]

_NAMES = ("means", "ridge", "logistic", IN_CONTEXT)


@dataclass(frozen=True, repr=False)
class RunFiles:
    """What a run's learner is made of, as it was when it was read.

    Args:
        config: the text of its configuration.
        parameters: the bytes of its best ones.
    """

    config: str
    parameters: bytes

    @classmethod
    def of(cls, run: Path) -> Self:
        """The files of a run's folder."""
        return cls(read_text(run / CONFIG), (run / BEST).read_bytes())


@dataclass(frozen=True)
class Candidate:
    """A learner that may be chosen.

    Args:
        name: for the user.
        rule: the head by its name, "run", or "given".
        encoder: makes its features, and has seen the examples.
        head: makes its network of them.
        run: that it was meta-trained in, where there is one.
    """

    name: str
    rule: str
    encoder: Encoder
    head: Head
    run: RunFiles | None = None


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
    given = list(learner) if isinstance(learner, list | tuple) else [learner]
    wanted = [one for i, one in enumerate(given) if not any(one is before for before in given[:i])]
    if not wanted:
        raise FphiError("learner is an empty list; name at least one")
    found: list[Candidate] = []
    frozen: Encoder | None = None
    for one in wanted:
        if isinstance(one, LearningAlgorithm):
            if lacks_statistics(one):
                raise FphiError(
                    "norms of mode 'running' in the learner have no statistics yet: call "
                    "fphi.calibrate_on(learner, tasks) with the tasks that it was trained on"
                )
            found.append(Candidate(type(one).__name__, "given", Arrays(), MetaTrained(one.eval())))
        elif isinstance(one, str) and one in ("auto", *_NAMES):
            frozen = frozen or encoder.learn(items)
            rules = [n for n in RULES if one in ("auto", n.partition(",")[0])]
            if one == IN_CONTEXT or (one == "auto" and items.kind == "rows"):
                rules.append(IN_CONTEXT)
            found += [Candidate(f"{n} on {frozen.name}", n, frozen, head_of(n)) for n in rules]
        elif isinstance(one, str | Path) and Path(one).is_dir():
            own = files if len(wanted) == 1 else own_files(Path(one), files)
            candidate = candidate_of_run(Path(one), own)
            if (
                isinstance(candidate.encoder, Inputs)
                and len(candidate.encoder.shape) == 1
                and items.kind != "rows"
            ):  # it was trained on such features
                frozen = frozen or encoder.learn(items)
                candidate = replace(candidate, encoder=frozen)
            else:
                candidate = replace(candidate, encoder=candidate.encoder.learn(items))
            found.append(candidate)
        else:
            raise FphiError(
                f"learner is {one!r}; choose auto, {', '.join(_NAMES)}, or give the folder of an fphi train"
            )
    return _named_apart(found)


def _named_apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """What is meant twice once, and learners given in Python, which may be of one class, by numbers."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        name, number = candidate.name, 1
        while candidate.rule == "given" and name in found:
            number += 1
            name = f"{candidate.name} {number}"
        found[name] = replace(candidate, name=name)
    return list(found.values())


def head_of(rule: str, temperatures: Sequence[float] = ()) -> Head:
    """What makes a network of features, by the name of the rule; `rule_named` knows of ``temperatures``."""
    return InContext() if rule == IN_CONTEXT else rule_named(rule, temperatures)


def candidate_of_run(run: Path, files: Mapping[str, str], name: str = "") -> Candidate:
    """The learner that a run has meta-trained.

    Args:
        run: its folder.
        files: see `candidates_for`.
        name: for the user; the method and the folder if not given.

    Raises:
        FphiError: the folder holds no run of few-shot classification.
    """
    trained = trained_run(run, dict(files), f"fphi fit DATA --out FILE --learner {run}", WITHOUT_TASKS)
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
    return Candidate(name or f"{trained.config.name} of {run}", "run", inputs, head, RunFiles.of(run))
