"""``--start-from RUN``: a training may begin with another's parameters, if they have not seen its tests."""

from dataclasses import replace
from pathlib import Path

from fphi.cli.runs import RunConfig
from fphi.errors import FphiError

__all__ = ["located_start", "require_fair_start"]


def located_start(config: RunConfig) -> RunConfig:
    """With the path of the run to start from in full, so that it is found from any folder."""
    start = config.training.start_from
    if start is None:
        return config
    return replace(config, training=replace(config.training, start_from=str(Path(start).absolute())))


def require_fair_start(config: RunConfig) -> None:
    """Refuse a run to start from whose training classes may be classes that ``config`` is judged by.

    Raises:
        FphiError: it is no run, or it learned from the same data divided otherwise.
    """
    if config.training.start_from is None:
        return
    start = Path(config.training.start_from)
    begun, own = RunConfig.read(start).tasks, config.tasks
    if begun.tasks != own.tasks:
        return
    ours, theirs = (o.protocol or getattr(o.load(seed=0), "protocol", "") for o in (own, begun))
    if ours != theirs:
        raise FphiError(
            f"{start} learned {own.tasks} under protocol {theirs}, and here it is {ours}: classes it learned "
            f"from may be test classes here; train the start with --protocol {ours} too"
        )
    if begun.train_on_validation and not own.train_on_validation:
        raise FphiError(
            f"{start} learned from the validation classes too: add --train-on-validation true, or train "
            "the start without"
        )
