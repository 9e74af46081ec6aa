"""``classes.json``: the class names of each split travel with a run or search on a folder of images."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from fphi.errors import FphiError
from fphi.report.files import read_text
from fphi.run.disk.files import parse_json
from fphi.tasks import FewShotTasks, TaskDistribution
from fphi.tasks.division import Division

__all__ = ["CLASSES", "classes_of", "classes_text", "classes_told", "read_division"]

CLASSES = "classes.json"


def classes_of(tasks: TaskDistribution) -> Mapping[str, Sequence[str]]:
    """The names of the classes of each split; none of tasks without classes by name."""
    return tasks.classes if isinstance(tasks, FewShotTasks) else {}


def classes_told(tasks: TaskDistribution, split: str) -> dict[str, str]:
    """The classes of a split in short, for a record: equal texts, equal names and numbers of images."""
    if not isinstance(tasks, FewShotTasks):
        return {}
    pool = tasks.pool(split)
    named = json.dumps([*zip(pool.names, pool.sizes.tolist(), strict=True)], ensure_ascii=False)
    digest = sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return {"classes": f"{len(pool)} with {pool.sizes.sum()} images ({digest})"}


def classes_text(classes: Mapping[str, Sequence[str]]) -> str:
    """What the file holds."""
    return json.dumps(classes, ensure_ascii=False, indent=1) + "\n"


def read_division(run: Path) -> Division | None:
    """The classes of each split of a run; None: it was trained on data that do not change.

    Raises:
        FphiError: the file is damaged.
    """
    path = run / CLASSES
    if not path.is_file():
        return None
    try:
        content = parse_json(read_text(path), once=True)
    except ValueError as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); restore it") from error
    names = [name for of in content.values() for name in of] if _is_division(content) else []
    if not names or len(set(names)) < len(names):
        raise FphiError(f"{path} does not hold each class in one split; restore it")
    return Division({split: tuple(of) for split, of in content.items()})


def _is_division(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(of, list) and all(isinstance(name, str) for name in of) for of in content.values()
    )
