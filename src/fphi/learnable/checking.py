"""What a learner is given, checked once, where it comes in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.learnable.explaining import explain, plain, reads_labels, shape_of
from fphi.learnable.targets import labels_up_to
from fphi.tasks.types import Examples, Task
from fphi.within.cross_entropy import IGNORED

__all__ = ["checked_tasks", "checks", "explaining"]

F = TypeVar("F", bound=Callable[..., Any])

_OF_ONE = ("forward", "adapt")  # methods that take one task; the others take a batch
_OF_TASKS = ("task_losses", "summed_gradient")


class _Now(threading.local):
    """Whether this thread is within a call that was checked."""

    inside = False


_now = _Now()


def checks(method: F) -> F:
    """The method of a learner, which checks its examples unless a caller within fphi has checked them."""
    name = method.__name__
    batched, of_tasks = name not in _OF_ONE, name in _OF_TASKS

    @wraps(method)
    def call(learner: Any, given: Any, *others: Any, **named: Any) -> Any:
        if _now.inside:
            return method(learner, given, *others, **named)
        if name == "solve" and not named.pop("transductive", True):
            return learner.solve_alone(given, *others, **named)
        if of_tasks:
            tasks = checked_tasks(learner, given)
            with explaining(learner, *_sides(tasks)):
                return method(learner, tasks, *others, **named)
        query_x = others[0] if others else named.pop("query_x", None)
        if query_x is None and name != "adapt":
            _require_tensor("query.x", query_x)
        support, query = _checked(learner, given, query_x, None, batched)
        arguments = (support, *(() if query is None else (query.x,)), *others[1:])
        with explaining(learner, support, None if query is None else query.x, batched):
            return method(learner, *arguments, **named)

    return cast(F, call)


def checked_tasks(learner: nn.Module, tasks: Task) -> Task:
    """A batch of tasks as the learner needs it: labels of any integer type become int64.

    Raises:
        FphiError: something has a type, shape, count, label or number that it cannot have.
    """
    if not isinstance(tasks, Task):
        raise FphiError(f"the tasks are a {type(tasks).__name__}; give a fphi.Task, or fphi.stack several")
    query = _examples("query", tasks.query)
    support, checked = _checked(learner, tasks.support, query.x, query.y, True)
    assert checked is not None
    return Task(support, checked)


@contextmanager
def explaining(
    learner: nn.Module, support: Examples, query_x: Tensor | None, batched: bool = True
) -> Iterator[None]:
    """Within it nothing is checked again, and an error of the user's network or loss is told as one."""
    before, _now.inside = _now.inside, True
    try:
        with labels_up_to(support.y):
            yield
    except FphiError:
        raise
    except Exception as error:
        lead = 2 if batched else 1
        one = Examples(*(part[0] for part in support)) if batched else support
        explain(learner, one, None if query_x is None else query_x[0] if lead == 2 else query_x, error)
        raise
    finally:
        _now.inside = before


def _sides(tasks: Task) -> tuple[Examples, Tensor]:
    return tasks.support, tasks.query.x


def _checked(
    learner: nn.Module, support: Any, query_x: Any, query_y: Tensor | None, batched: bool
) -> tuple[Examples, Examples | None]:
    """Support and query set; the queries' targets, where none are given, are of no use."""
    lead = 2 if batched else 1
    support = _with_counts("support", _examples("support", support), lead)
    if query_x is None:
        query = None
    else:
        _require_tensor("query.x", query_x)
        if query_y is None:
            query_y = query_x.new_zeros(query_x.shape[:lead], dtype=torch.int64)
            query = _with_counts("query", Examples(query_x, query_y), lead)._replace(y=support.y[..., :0])
        else:
            query = _with_counts("query", Examples(query_x, query_y), lead)
        _require_alike(support, query, batched)
    _require_targets(learner, support, query, lead)
    return support, query


def _examples(name: str, given: Any) -> Examples:
    if not isinstance(given, tuple) or len(given) != 2:
        raise FphiError(f"{name} is a {type(given).__name__}; give fphi.Examples(x, y)")
    for part, value in zip("xy", given, strict=True):
        _require_tensor(f"{name}.{part}", value)
    return Examples(*given)


def _require_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise FphiError(f"{name} is a {type(value).__name__}; give a torch.Tensor")
    if value.layout != torch.strided or value.is_nested or value.is_meta:
        kind = "nested" if value.is_nested else "meta" if value.is_meta else plain(value.layout)
        raise FphiError(f"{name} is a {kind} tensor; give an ordinary one, as name.to_dense() makes it")


def _with_counts(name: str, part: Examples, lead: int) -> Examples:
    """With labels as int64; each input has a target, and there are some of both."""
    x, y = part
    if x.dim() < lead or y.dim() < lead or x.shape[:lead] != y.shape[:lead]:
        begin = "[tasks, examples, …]" if lead == 2 else "[examples, …]"
        raise FphiError(
            f"{name}.x is {shape_of(x)} and {name}.y {shape_of(y)}; both must be {begin}, with a target for "
            "each input"
        )
    if lead == 2 and not x.shape[0]:
        raise FphiError("the batch holds no task; give at least one")
    if not x.shape[lead - 1]:
        raise FphiError(f"{name}.x is {shape_of(x)}, which is no example; give at least one to each task")
    whole = not y.is_floating_point() and not y.is_complex()
    if whole and y.dtype != torch.int64 and (y.dtype != torch.bool or y.dim() == lead):
        y = y.long()
    return Examples(x, y)


def _require_alike(support: Examples, query: Examples, batched: bool) -> None:
    if batched and support.x.shape[0] != query.x.shape[0]:
        raise FphiError(
            f"there are {support.x.shape[0]} support sets and {query.x.shape[0]} query sets; "
            "each task needs one of both"
        )
    for what in ("dtype", "device"):
        one, other = getattr(support.x, what), getattr(query.x, what)
        if one != other:
            raise FphiError(
                f"support.x has {what} {plain(one)} and query.x {plain(other)}; give both the same"
            )
    if query.y.numel() and support.y.is_floating_point() != query.y.is_floating_point():
        raise FphiError(
            f"support.y are {plain(support.y.dtype)} and query.y {plain(query.y.dtype)}; give both the same"
        )


def _require_targets(learner: nn.Module, support: Examples, query: Examples | None, lead: int) -> None:
    """Labels that the learner reads are class numbers from 0, and no number is nan or infinite."""
    reads, ways = reads_labels(learner)
    named = {"support": support} if query is None else {"support": support, "query": query}
    tensors = {f"{side}.{part}": t for side, e in named.items() for part, t in zip("xy", e, strict=True)}
    if reads:
        for name in ("support.y", "query.y"):
            if name in tensors and tensors[name].numel():
                _require_class_numbers(name, tensors[name], lead, type(learner).__name__)
    bounds = _bounds({name: t for name, t in tensors.items() if t.numel() and not t.is_complex()})
    for name, (low, high) in bounds.items():
        if tensors[name].is_floating_point():
            if not torch.isfinite(tensors[name]).all():
                raise FphiError(f"{name} holds {_first_not_finite(tensors[name])}; leave such examples out")
        elif name.endswith("y") and low < 0 and (reads or getattr(learner, "loss", None) is cross_entropy):
            _require_no_negative(name, tensors[name], lead, may_ignore=not reads)
        elif name == "support.y" and reads:
            _require_below(name, high, ways, support.x.shape[lead - 1])
        elif name == "query.y" and reads and ways is None and high > bounds["support.y"][1]:
            raise FphiError(
                f"a query has the label {high:.0f}, and there are answers for 0 to "
                f"{bounds['support.y'][1]:.0f} only: give the support set examples of its class"
            )


def _require_class_numbers(name: str, y: Tensor, lead: int, learner: str) -> None:
    if y.dim() != lead:
        raise FphiError(
            f"{name} is {shape_of(y)}, and {learner} reads one class number for each example: "
            "of one-hot targets give y.argmax(-1)"
        )
    if y.is_floating_point() or y.is_complex():
        raise FphiError(f"{name} are {plain(y.dtype)}, and {learner} reads class numbers: give y.long()")


@torch.no_grad()
def _bounds(tensors: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Of whole numbers the lowest and the highest; of others only those with nan or infinity are named.

    What is looked at comes from the device in one transfer.
    """
    looked: list[Tensor] = []
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            total = tensor.sum().double()
            looked += [total, total]
        elif name.endswith("y") and tensor.dtype == torch.int64:
            looked += [bound.double() for bound in tensor.aminmax()]
        else:
            looked += [torch.zeros((), dtype=torch.float64, device=tensor.device)] * 2
    try:
        values: list[float] = torch.stack(looked).tolist()
    except RuntimeError:  # within a vmap of the user's there is no value to look at
        return {}
    pairs = zip(tensors, zip(values[::2], values[1::2], strict=True), strict=True)
    return {
        name: pair for name, pair in pairs if not (tensors[name].is_floating_point() and abs(pair[0]) < 1e300)
    }


def _first_not_finite(tensor: Tensor) -> str:
    place = (~tensor.isfinite()).nonzero()[0].tolist()
    return f"{tensor[tuple(place)].item()} at {place}"


def _require_no_negative(name: str, y: Tensor, lead: int, *, may_ignore: bool) -> None:
    ignored = y == IGNORED if may_ignore else torch.zeros_like(y, dtype=torch.bool)
    negative = y[(y < 0) & ~ignored]
    if negative.numel():
        also = f" ({IGNORED}, which losses ignore, is for learners by gradient)" if not may_ignore else ""
        raise FphiError(f"{name} has the label {int(negative[0])}; number the classes from 0{also}")
    if ignored.flatten(lead - 1).all(-1).any():
        raise FphiError(f"all of {name} of a task is {IGNORED}, which is ignored; give it at least one label")


def _require_below(name: str, high: float, ways: int | None, examples: int) -> None:
    if ways is not None and high >= ways:
        raise FphiError(
            f"tasks of {high + 1:.0f} ways for a learner that was built for {ways}, the size of its input "
            f"and output: test it with at most {ways} ways, or train one with ways={high + 1:.0f}"
        )
    if ways is None and high >= examples:
        raise FphiError(
            f"{name} has the label {high:.0f}, and {examples} examples cannot be of so many classes: number "
            "the classes from 0 to ways - 1"
        )
