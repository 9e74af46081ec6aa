"""The page in one file that opens from disk: a learner that compares, computed in plain JavaScript."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from fphi.errors import FphiError
from fphi.export.layers import Layer, Weights, layers_of
from fphi.learnable import (
    MatchingLearner,
    MetricLearner,
    PrototypicalLearner,
    RelationLearner,
    SiameseLearner,
)
from fphi.learnable.comparison.similarity import Similarity
from fphi.run.disk.files import write_text
from fphi.serve.answering import Learned
from fphi.serve.characters import characters_to_draw
from fphi.serve.web import page_file

__all__ = ["export_html", "render_html"]

_MOST = 1_000_000  # bytes of the file
_REMOTE = "remote.js"  # whose place the network takes


def export_html(run: Path | str, out: Path | str, allowed: Mapping[str, str] | None = None) -> int:
    """Write the page of a run as one file of less than a million bytes, which needs no server.

    Args:
        run: the folder of a training of a learner that compares: prototypical, matching, metric, relation or
            siamese.
        out: the file.
        allowed: what is in files of Python, by option; see `fphi.serve.app`.

    Returns:
        The bytes of the file.

    Raises:
        FphiError: the learner is another, or does not fit.
    """
    learned = Learned(run, allowed)
    page = render_html(learned.learner, learned.description(), str(run))
    write_text(Path(out), page)
    return len(page.encode())


def render_html(learner: nn.Module, description: Mapping[str, Any], name: str = "it") -> str:
    """The page of a learner in evaluation mode, its weights as 4 bytes each, or 3 where there is no room.

    Args:
        learner: one that compares.
        description: of it, see `Learned.description`.
        name: what messages call it.

    Raises:
        FphiError: see `export_html`.
    """
    weights = Weights()
    content = {
        "learner": _learner(learner, weights, name),
        "network": layers_of(learner.get_submodule("network"), weights),
        "description": {**description, "characters": characters_to_draw()},
    }
    size = 0
    for each in (4, 3):
        packed = base64.b64encode(weights.packed(each)).decode()
        page = _page({**content, "bytes": each, "weights": packed})
        size = len(page.encode())
        if size < _MOST:
            return page
    raise FphiError(
        f"{name} has {sum(map(len, weights.values))} weights, which make a page of {size} bytes; at "
        f"most {_MOST} are written: use fphi serve, or train with fewer --filters or another --network"
    )


def _learner(learner: nn.Module, weights: Weights, name: str) -> Layer:
    """How a learner compares what is embedded."""
    if not type(learner).__module__.startswith("fphi.learnable."):  # a subclass may compare in another way
        raise FphiError(
            f"{name} is a {type(learner).__name__} of your own, which a page cannot compute alone"
        )
    if isinstance(learner, PrototypicalLearner):
        return {"kind": "prototypical", **_similarity(learner.similarity)}
    if isinstance(learner, MatchingLearner) and learner.context is None and not learner.prototypes:
        return {"kind": "matching", **_similarity(learner.similarity)}
    if isinstance(learner, MetricLearner):
        return {"kind": "metric", "scale": learner.scale}
    if isinstance(learner, RelationLearner):
        return {"kind": "relation", "layers": layers_of(learner.relation, weights)}
    if isinstance(learner, SiameseLearner):
        return {"kind": "siamese", **_verification(learner, weights)}
    raise FphiError(
        f"{name} is a {type(learner).__name__}, which a page cannot compute alone: it can prototypical, "
        "metric, relation and siamese, and matching without context; fphi serve shows them all"
    )


def _verification(learner: SiameseLearner, weights: Weights) -> Layer:
    return {
        "describe": layers_of(learner.describe, weights),
        "weight": weights.add(learner.verify.weight),
        "bias": learner.verify.bias.item(),
        "factor": 1.0 if learner.sharpness is None else learner.sharpness.exp().item(),
    }


def _similarity(similarity: Similarity) -> Layer:
    if similarity.log_scale is None:
        return {"distance": "euclidean"}
    return {"distance": "cosine", "scale": similarity.log_scale.exp().item()}


def _page(content: Mapping[str, Any]) -> str:
    """The page's own files in one, and a policy that lets nothing else run or be loaded."""
    html = page_file("index.html").decode()
    style = page_file("page.css").decode()
    data = json.dumps(content, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
    network = (files("fphi.export") / "network.js").read_text("utf-8")
    names = re.findall(r'<script src="(\w+\.js)"></script>', html)
    scripts = [network if name == _REMOTE else page_file(name).decode() for name in names]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hashed, scripts))}; style-src {_hashed(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    html = re.sub(r'<script src="\w+\.js"></script>\n', "", html)
    blocks = [f'<script type="application/json" id="learned">{data}</script>']
    blocks += [f"<script>{script}</script>" for script in scripts]
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    html = html.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{head}')
    html = html.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    return html.replace("</body>", "\n".join([*blocks, "</body>"]))


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
