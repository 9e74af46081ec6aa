"""Networks of others as encoders: any module or callable, and models of timm by name."""

import io
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.encoders.cached import CachedEncoder
from fphi.few_shot.encoders.pictures import Scale, read_pictures, scale_of, scale_told
from fphi.few_shot.in_memory import upright
from fphi.few_shot.items import ExamplesError, Items, Kind
from fphi.learnable.modes import evaluation_mode, has_fresh_statistics
from fphi.run.disk.files import Json
from fphi.tasks.sound import read_wave

__all__ = ["Given", "Timm"]

_AT_ONCE = 64


class Given(Encoder):
    """A module or callable of the caller's own, from a batch of examples to features.

    It gets a tensor of floats where the examples are numbers or an array of images, else a list: of texts; of
    the paths of files; or of Pillow's images and of waveforms (arrays of floats), where these were given, or
    are in a zip. A module is called in ``eval()``. `FewShotClassifier.save` keeps no code: it has to be given
    again when the model is loaded.

    Args:
        call: it.
    """

    name: ClassVar[str] = "given"
    kinds: ClassVar[tuple[Kind, ...]] = ("rows", "images", "texts", "sounds")

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.call = call
        if isinstance(call, nn.Module) and any(map(has_fresh_statistics, call.modules())):
            raise FphiError(
                "the encoder has batch norm layers whose running statistics are as they begin: what it "
                "answers means nothing: train it, or load its state_dict with them"
            )

    def encode(self, items: Items) -> Tensor:
        batches = [self._batch(items, start) for start in range(0, len(items), _AT_ONCE)]
        features = torch.cat([self._features(batch) for batch in batches])
        if len(features) != len(items) or features.dim() < 2:
            raise ExamplesError(
                f"the encoder gave {list(features.shape)} for {len(items)} examples; make it [n, features]"
            )
        return features.flatten(1)

    def _batch(self, items: Items, start: int) -> Any:
        part = items.values[start : start + _AT_ONCE]
        if isinstance(part, np.ndarray):
            return torch.from_numpy(np.asarray(part, np.float32))
        return list(part) if items.archive is None else [_file(items, name) for name in part]

    def _features(self, batch: Any) -> Tensor:
        with torch.no_grad():
            if isinstance(self.call, nn.Module):
                with evaluation_mode(self.call) as network:
                    given = self._answer(network, batch)
            else:
                given = self._answer(self.call, batch)
        return (
            given.detach().cpu().float()
            if isinstance(given, Tensor)
            else torch.from_numpy(np.asarray(given, np.float32))
        )

    def _answer(self, call: Callable[[Any], Any], batch: Any) -> Any:
        try:
            return call(batch)
        except (AttributeError, TypeError) as error:
            if isinstance(batch, Tensor):
                raise
            raise ExamplesError(
                f"the encoder fails on a list of {type(batch[0]).__name__} ({error}); give the examples as "
                "an array, or a function that makes of such a list what the encoder takes"
            ) from error

    def spec(self) -> dict[str, Json]:
        return {}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """There is no code in a file."""
        raise FphiError(
            "this model was fitted with an encoder of your own: give it again, load(path, encoder=…)"
        )


def _file(items: Items, name: str) -> Any:
    """The path of an image or recording; what it holds where it is no file of its own."""
    path = items.files.where(name)
    if os.path.isfile(path):
        return path
    if items.kind == "sounds":
        return read_wave(items.files.read(name), name)[0]
    with Image.open(io.BytesIO(items.files.read(name))) as image:
        return upright(image)


class Timm(CachedEncoder):
    """The features of an image model of the package timm, extra ``timm``.

    Args:
        model: its name there, such as ``resnet18``; or ``NAME=FILE`` with weights of a file (safetensors, or
            a state_dict that torch saved). Else timm looks for the weights in its cache, or fetches them.
        scale: of images of floats or 32 bits, as the first examples fix it; None: of all that are encoded.
    """

    name: ClassVar[str] = "timm"
    kinds: ClassVar[tuple[Kind, ...]] = ("images",)

    def __init__(self, model: str, scale: Scale = None) -> None:
        self.model, self.scale = model, scale

    def learn(self, items: Items) -> Self:
        self.require_kind(items)
        _, reader = read_pictures(items, 8, "rgb")
        made = type(self)(self.model, scale_of(reader))
        made.notes = tuple(reader.notes)
        return made

    def version(self) -> str:
        file = Path(self.model.partition("=")[2])
        return f"{file.stat().st_size}/{file.stat().st_mtime_ns}" if file.is_file() else ""

    def computed(self, items: Items) -> Tensor:
        network, mean, deviation, size = self._built()
        pictures, _ = read_pictures(items, size, "rgb", self.scale)
        found = []
        for part in torch.split(torch.from_numpy(pictures), _AT_ONCE):
            with torch.no_grad():
                found.append(network((part.float() / 255 - mean) / deviation))
        return torch.cat(found)

    def _built(self) -> tuple[nn.Module, Tensor, Tensor, int]:
        if find_spec("timm") is None:
            raise FphiError(f"the encoder timm:{self.model} needs the extra timm: pip install 'fphi[timm]'")
        import timm

        name, _, file = self.model.partition("=")
        if file and not Path(file).is_file():
            raise FphiError(
                f"the encoder timm:{self.model} names weights in {file}, which is no file; check the path"
            )
        try:
            # As pretrained weights, whose classifier timm leaves out itself.
            overlay = {"file": file} if file else None
            network = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
            config = timm.data.resolve_data_config({}, model=network)
        except Exception as error:  # unknown names, no network, weights that do not fit: all of timm's own
            reason = " ".join(str(error).split())[:200]
            raise FphiError(f"timm cannot build {name} ({reason}); check its name and weights") from error
        mean, deviation = (torch.tensor(config[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        return network.eval(), mean, deviation, int(config["input_size"][-1])

    def spec(self) -> dict[str, Json]:
        scale: Json = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return {"model": self.model, "values": scale}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """What `spec` tells."""
        return cls(str(spec["model"]), scale_told(spec))
