"""What the tests of ``fphi search`` share: tiny searches, and their histories."""

import json
from pathlib import Path
from typing import Any

from cli_helpers import quietly
from policy_helpers import everything

# 6,561 networks of some 30 parameters, each trained for two steps.
TINY_SPACE = ("--space", "nasbench-macro", "--channels", "1", "--features", "4")
TINY_DATA = ("--train-examples", "100", "--validation-examples", "60", "--test-examples", "50")
TINY = (
    *(*TINY_SPACE, *TINY_DATA, "--child-epochs", "2", "--child-batch-size", "50", "--retrain-epochs", "2"),
    *("--evaluations", "8"),
)
EVOLUTION = ("--population", "3", "--sample", "2")


def searched(out: Path, *words: object) -> Path:
    """A tiny search by evolution."""
    quietly("search", "regularized-evolution", "--out", out, *TINY, *EVOLUTION, *words)
    return out


def events(path: Path) -> list[dict[str, Any]]:
    """A history's events, but for what was measured by a clock."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def result(run: Path) -> dict[str, Any]:
    """``result.json``."""
    content: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return content


def small_table(folder: Path, changed: int = 0) -> Path:
    """A file with all networks of NAS-Bench-Macro; an accuracy is 50 and the sum of the digits."""
    from fphi.learnable.architecture import NASBenchMacroSpace

    space = NASBenchMacroSpace()
    rows = {
        space.text(tokens): {"test_acc": [49 + sum(tokens), 50 + sum(tokens), 51 + sum(tokens)], "params": 10}
        for tokens in everything(space)
    }
    for text in list(rows)[:changed]:
        del rows[text]
    path = folder / "macro.json"
    path.write_text(json.dumps(rows))
    return path
