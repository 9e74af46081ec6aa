"""The network of a run with learned weights of examples."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, Config, written_fingerprint
from fphi.experiment.levels import Levels, on_images, read_levels
from fphi.experiment.search.options import NetworkOptions
from fphi.run.disk.checkpoint import BEST, LAST, load_parameters, read_note
from fphi.run.disk.schema import group, whole
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

__all__ = ["load_weighed"]

_MOST = 65_536  # pixels of a side, classes


def load_weighed(run: Path, config: Config, images: bool = False) -> nn.Module:
    """The network ``[n, *input_shape]`` to ``[n, classes]``, in evaluation mode; its data need not be there.

    Args:
        run: its folder.
        config: there.
        images: whether it is to take images of grey levels 0 … 255, in place of standardised ones.

    Raises:
        FphiError: the run has not ended, or a file of it is missing or damaged.
    """
    if not (run / BEST).is_file():
        what = "has not ended: go on with --resume" if (run / LAST).is_file() else "holds no trained network"
        raise FphiError(f"{run} {what} (no {BEST})")
    note = read_note(run / BEST)
    outline, levels = _outline(run, note)
    module = config.part(NetworkOptions).build(outline, seed=0)
    load_parameters(run / BEST, module)
    if note.get("fingerprint") != written_fingerprint(run):
        raise FphiError(f"{run / CONFIG} was changed after the training; restore it, or train again with it")
    return on_images(run, module, levels) if images else module.eval()


def _outline(run: Path, note: Any) -> tuple[Supervised, Levels | None]:
    """The task without its examples, and by what its images were standardised."""
    try:
        setting = group(note["setting"], "setting")
        shape = [whole(size, "input_shape", 1, _MOST) for size in setting["input_shape"]]
        classes = whole(setting["classes"], "classes", 2, _MOST)
        levels = read_levels(setting, shape[0])
    except (KeyError, TypeError, ValueError) as error:
        raise FphiError(f"{run / BEST} does not say what its network was built for; restore it") from error
    none = Examples(torch.empty(0, *shape), torch.empty(0, dtype=torch.int64))
    return Supervised("", none, none, none, classes), levels
