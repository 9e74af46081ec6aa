"""A fitted classifier as one file: numbers and plain text, no code."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG
from fphi.few_shot.answers import Inputs
from fphi.few_shot.candidates import Candidate, candidate_of_run, head_of
from fphi.few_shot.encoders import encoder_for, restored_encoder
from fphi.few_shot.fitting import Fitted, Standing
from fphi.few_shot.unknown import KnownRule
from fphi.run.disk.checkpoint import BEST
from fphi.run.disk.files import Json, read_sealed, replace_file, write_sealed, write_text

__all__ = ["read_fitted", "write_fitted"]

_KIND, _FORMAT = "classifier", 1


def write_fitted(path: Path, fitted: Fitted, about: Mapping[str, Json]) -> None:
    """Write what has learned, with what else is to be known of it, atomically.

    Raises:
        FphiError: it has code of the caller's own in it, or the disk is full.
    """
    candidate = fitted.candidate
    if candidate.rule == "given":
        raise FphiError(
            "the learner was given in Python, whose code no file keeps; give the folder of its run instead"
        )
    tensors = {"features": fitted.features, "labels": torch.from_numpy(fitted.labels)}
    tensors |= {f"encoder.{name}": t for name, t in candidate.encoder.tensors().items()}
    config: str | None = None
    if candidate.run is None:
        tensors |= {f"network.{name}": t for name, t in fitted.network.state_dict().items()}
    else:
        config = candidate.run.config
        tensors["run"] = torch.frombuffer(bytearray(candidate.run.parameters), dtype=torch.uint8)
    content: dict[str, Json] = {
        "kind": _KIND,
        "format": _FORMAT,
        "about": dict(about),
        "name": candidate.name,
        "rule": candidate.rule,
        "temperatures": list(getattr(candidate.head, "temperatures", ())),
        "config": config,
        "encoder": {"name": candidate.encoder.name, "spec": candidate.encoder.spec()},
        "classes": fitted.classes,
        "temperature": fitted.temperature,
        "calibration": fitted.calibration,
        "standings": [standing.to_json() for standing in fitted.standings],
        "known": None if fitted.known is None else asdict(fitted.known),
    }
    write_sealed(path, tensors, content)


def read_fitted(path: Path, encoder: object, files: Mapping[str, str]) -> tuple[Fitted, dict[str, Any]]:
    """What `write_fitted` wrote.

    Args:
        path: of the file.
        encoder: the one that it was fitted with, if that was code; None: it was none.
        files: see `fphi.load`.

    Raises:
        FphiError: no such file, damaged, of another kind, or code is missing that it was fitted with.
    """
    tensors, content = read_sealed(path)
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise FphiError(f"{path} is no classifier that fphi fit wrote; check the path")
    if content.get("format") != _FORMAT:
        raise FphiError(
            f"{path} has format {content.get('format')!r}, and this fphi reads {_FORMAT}; "
            "use the version that wrote it"
        )
    try:
        return _restored(tensors, content, encoder, files), content["about"]  # type: ignore[return-value]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(
            f"{path} was put together by something else than fphi ({reason}); do not use it"
        ) from error


def _restored(
    tensors: Mapping[str, Tensor], content: Any, encoder: object, files: Mapping[str, str]
) -> Fitted:
    labels, features, classes = tensors["labels"].numpy(), tensors["features"], int(content["classes"])
    said = content["encoder"]
    own = {name[8:]: t for name, t in tensors.items() if name.startswith("encoder.")}
    if encoder is not None:
        made = encoder_for(encoder, "rows")
    else:
        kind = Inputs.restored if said["name"] == Inputs.name else partial(restored_encoder, said["name"])
        made = kind(said["spec"], own)
    if content["rule"] == "run":
        candidate = replace(_run_candidate(content, tensors["run"], files), encoder=made)
    else:
        head = head_of(content["rule"], [float(t) for t in content["temperatures"]])
        candidate = Candidate(content["name"], content["rule"], made, head)
    state = {name[8:]: t for name, t in tensors.items() if name.startswith("network.")}
    network = candidate.head.restored(state, features, labels, classes, made.unit)
    known = content["known"]
    return Fitted(
        candidate,
        features,
        labels.astype(np.int64),
        classes,
        network,
        float(content["temperature"]),
        tuple(map(Standing.from_json, content["standings"])),
        content["calibration"],
        None if known is None else KnownRule(**known),
    )


def _run_candidate(content: Any, parameters: Tensor, files: Mapping[str, str]) -> Candidate:
    """A run's learner, of the two files that its folder had."""
    with TemporaryDirectory(prefix="fphi-") as folder:
        run = Path(folder)
        write_text(run / CONFIG, content["config"])
        replace_file(run / BEST, parameters.numpy().tobytes())
        return candidate_of_run(run, files, content["name"])
