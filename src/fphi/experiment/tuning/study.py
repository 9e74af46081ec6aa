"""The trials of a tuning, as Optuna keeps them in a file: proposed, measured, pruned, gone on with."""

import math
import sqlite3
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fphi.errors import FphiError
from fphi.experiment.tuning.dimensions import Dimension, Value, Values
from fphi.experiment.tuning.proposing import distributions_of, proposed, seed_of
from fphi.experiment.tuning.result import Record

__all__ = ["OpenTrial", "Study"]

Same = Callable[[Values], Hashable]

_TRIES = 3
_ENOUGH = 4  # trials that were not pruned, below which nothing is said of importance
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}


class Study:
    """The trials in one file, which no other process uses meanwhile.

    What trial n is given depends on the seed, n and the trials before it alone; so a tuning that was stopped
    goes on as if it never was.

    Args:
        path: of the file, SQLite; made if missing.
        name: of the study in it.
        space: what is varied.
        seed: of what is sampled.
        maximize: whether a greater value is the better one.
        prune_after: whole trials before the first may be pruned.
        warmup: steps before which none is.

    Raises:
        FphiError: the file is damaged, of another Optuna, or of another tuning.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        space: Sequence[Dimension],
        seed: int,
        *,
        maximize: bool,
        prune_after: int,
        warmup: int,
    ) -> None:
        self.path, self.space, self.seed = path, space, seed
        with self.asked():
            # The path stays out of the URL, in which some characters mean something.
            engine: dict[str, Any] = {"creator": partial(sqlite3.connect, str(path)), "poolclass": NullPool}
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine)
            others = [] if name in (names := optuna.get_all_study_names(storage)) else names
            self._require(not others, f"of {', '.join(others)}, not {name}")
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize" if maximize else "minimize",
                pruner=optuna.pruners.MedianPruner(prune_after, warmup),
                load_if_exists=True,
            )
            kept = self._study.direction.name.lower()
            self._require(kept == ("maximize" if maximize else "minimize"), f"which was to {kept}")
            self._require_same_space()

    def _require_same_space(self) -> None:
        """Raise if a trial was sampled from other options or values than these."""
        wanted = distributions_of(self.space)
        for trial in self._trials():
            found = trial.distributions
            for name, values in found.items():
                self._require(
                    wanted.get(name) == values, f"whose trial {trial.number} has {name} of {values}"
                )
            left = [name for name in wanted if name not in found]
            ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            self._require(not (ended and left), f"whose trial {trial.number} has no {', '.join(left)}")

    def _require(self, holds: bool, other: str) -> None:
        if not holds:
            raise FphiError(
                f"{self.path} is a study of another tuning, {other}: restore that of this one, or tune in "
                "another folder"
            )

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Within it Optuna is silent, and what is wrong with its file is said in one line."""
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError, RuntimeError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise FphiError(
                f"{self.path} cannot be used ({reason}); check the disk, or tune in another folder"
            ) from error
        finally:
            optuna.logging.set_verbosity(before)

    @property
    def finished(self) -> int:
        """Trials that have ended, one way or another."""
        return sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in self._trials())

    def next(
        self, usual: Values, beside: Collection[int] = (), same: Same = lambda values: tuple(values.items())
    ) -> "OpenTrial":
        """The trial that a process left when it ended, else a new one; the very first has the usual values.

        Args:
            usual: of the options that are varied, as far as they are among their values.
            beside: numbers of the trials that are being trained elsewhere.
            same: gives what is equal for values with which the same is trained.

        Raises:
            ExhaustedError: all that can be trained was, or is being.
        """
        with self.asked():
            for left in self._trials(TrialState.RUNNING):
                if left.number in beside:
                    continue
                if len(left.params) == len(self.space):
                    return OpenTrial(self, self._study, left)
                self._study.tell(left.number, state=TrialState.FAIL)  # it ended before all was sampled
            known = {same(self.values(trial.params)) for trial in self._trials(*_STATES)}
            params = proposed(
                self._study,
                self.space,
                (self.seed, self.finished + len(beside)),
                {} if known else usual,
                lambda params: same(self.values(params)) not in known,
                bool(beside),
            )
            # Noted at once with all of them: a process that ends leaves nothing half sampled.
            distributions = distributions_of(self.space)
            self._study.add_trial(
                create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
            )
            return OpenTrial(self, self._study, self._trials()[-1])

    def records(self) -> list[Record]:
        """All trials so far, in their order."""
        with self.asked():
            return [self._record(trial) for trial in self._trials() if trial.state in _STATES]

    def importance(self) -> dict[str, float]:
        """How much of the differences between whole trials each option explains (fANOVA), the most first.

        It is empty where there are too few trials, or all came out alike.
        """
        with self.asked():
            values = [trial.value for trial in self._trials(TrialState.COMPLETE)]
            if len(values) < _ENOUGH or len(set(values)) == 1:
                return {}
            if len(self.space) == 1:
                return {self.space[0].name: 1.0}
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed_of(self.seed, 0))
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
            return {name: float(share) for name, share in found.items()}

    def values(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Those that a trial is trained with, in the order of the space."""
        return {one.name: one.rounded(params[one.name]) for one in self.space}

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _record(self, trial: FrozenTrial) -> Record:
        reason = trial.user_attrs.get("reason")
        accuracy, loss = trial.user_attrs.get("measured", (None, None))
        return Record(
            trial.number,
            _STATES[trial.state] if reason is None else "failed",
            self.values(trial.params) if len(trial.params) == len(self.space) else {},
            accuracy,
            loss,
            max(trial.intermediate_values, default=None),
            reason,
        )


class OpenTrial:
    """A trial that is being trained.

    Args:
        study: that it is of.
        optuna_study: the same, as Optuna has it.
        trial: as it stands; one that another process left has begun.
    """

    def __init__(self, study: Study, optuna_study: optuna.Study, trial: FrozenTrial) -> None:
        self._study = study
        self._trial = optuna.trial.Trial(optuna_study, trial._trial_id)
        self._tell = optuna_study.tell
        self._reported = set(trial.intermediate_values)
        self._begun: list[int] = list(trial.user_attrs.get("begun", ()))
        self.number = trial.number
        self.values = study.values(trial.params)

    def begin(self, step: int) -> bool:
        """Note that a process trains it from ``step`` on; False: three have, and each ended there.

        Args:
            step: meta-steps that are done.
        """
        if self._begun[-_TRIES:] == [step] * _TRIES:
            return False
        self._begun.append(step)
        with self._study.asked():
            self._trial.set_user_attr("begun", self._begun)
        return True

    def is_behind(self) -> bool:
        """Whether its best value so far is worse than the median of the others' at the same step."""
        with self._study.asked():
            return bool(self._reported) and self._trial.should_prune()

    def report(self, step: int, value: float, accuracy: float | None, loss: float) -> bool:
        """Note what a validation has measured; whether the trial is behind.

        Args:
            step: meta-steps done.
            value: what is tuned.
            accuracy: a fraction.
            loss: mean task loss.
        """
        if step in self._reported:  # by the process that it goes on from
            return False
        self._reported.add(step)
        with self._study.asked():
            self._measured(accuracy, loss)
            self._trial.report(value, step)
        return self.is_behind()

    def complete(self, value: float, accuracy: float | None, loss: float) -> None:
        """It has come to its end."""
        with self._study.asked():
            self._measured(accuracy, loss)
            self._tell(self.number, value)

    def prune(self) -> None:
        """It was behind."""
        with self._study.asked():
            self._tell(self.number, state=TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """It was refused or diverged: as bad as a trial can be, so that the sampler turns away."""
        with self._study.asked():
            self._trial.set_user_attr("reason", reason)
            self._tell(self.number, state=TrialState.PRUNED)

    def _measured(self, accuracy: float | None, loss: float) -> None:
        self._trial.set_user_attr("measured", [accuracy, loss if math.isfinite(loss) else None])
