"""What a network does in a call beside answering, found out by a call that leaves no trace."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fphi.errors import FphiError
from fphi.within.by_hand import ByHand
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import own_parameters

__all__ = ["Facts", "Writes", "beneath", "is_mapped", "leaves_of", "require_shapes", "tried"]

Answer = Callable[[Mapping[str, Tensor], tuple[Any, ...]], Any]

# Added to a tensor it gives a copy that has a derivative, under ``vmap`` too.
_MARK = torch.zeros((), requires_grad=True)


class Facts(NamedTuple):
    """What calls of a network do.

    Attributes:
        parameters: whether they change parameters in place.
        inputs: whether they change what they are given in place.
        replaces: whether they use functions that `by_hand` replaces, or may do so by chance.
        refusal: why a derivative of them would be wrong; empty: it would not.
    """

    parameters: bool = False
    inputs: bool = False
    replaces: bool = True
    refusal: str = ""


class Writes(TorchDispatchMode):
    """Within it, what is written in place to the memory of some tensors is noticed, by whatever way.

    Attributes:
        met: numbers of the groups that were written to, or got other memory.
    """

    def __init__(self, *groups: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.met: set[int] = set()
        tensors = [(beneath(t), i) for i, group in enumerate(groups) for t in group]
        self._began = [(t, _memory(t), i) for t, i in tensors]
        self._group = {memory: i for _, memory, i in self._began}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to keep torch's compiler out of here torch would load it, for more than a second."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(function._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                written = (_memory(t) for t in tree_leaves(value) if isinstance(t, Tensor))
                self.met |= {self._group[memory] for memory in written if memory in self._group}
        return function(*args, **kwargs)

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)  # type: ignore[no-untyped-call]
        self.met |= {i for t, memory, i in self._began if _memory(t) != memory}


def tried(network: nn.Module, parameters: Mapping[str, Tensor], inputs: Any, answer: Answer) -> Facts | None:
    """The facts of a call, tried by one that leaves parameters, inputs and all generators as they were.

    Args:
        network: is called.
        parameters: by name.
        inputs: of the call.
        answer: calls it with such parameters and inputs.

    Returns:
        None: it failed, and so does the call that counts.
    """
    _require_exchangeable(network)
    own = own_parameters(network)
    kept = [(p, p.detach().clone(), p._version) for p in own.values() if not is_mapped(p)]
    drawn = RandomState.now(generators_of(network))
    for graph in (True, False):  # some have no derivative, and are called without
        facts = _tried(own, parameters, inputs, answer, graph)
        changed = [(p, v) for p, v, version in kept if p._version != version or not torch.equal(p, v)]
        with torch.no_grad():
            for p, value in changed:
                p.data.copy_(value)
        moved = drawn.moved_others() or (drawn.moved() and not any(map(is_mapped, tree_leaves(inputs))))
        drawn.restore()
        torch.clear_autocast_cache()
        if facts is not None:
            return facts._replace(
                parameters=facts.parameters or bool(changed), replaces=facts.replaces or moved
            )
    return None


def _tried(
    own: Mapping[str, Tensor], parameters: Mapping[str, Tensor], inputs: Any, answer: Answer, graph: bool
) -> Facts | None:
    replaced = {id(p) for name, p in own.items() if parameters.get(name, p) is not p}
    with torch.inference_mode(False), torch.set_grad_enabled(graph):
        given = {name: _copied(p, graph) for name, p in parameters.items()}
        x = tree_map(lambda leaf: _copied(leaf, graph) if isinstance(leaf, Tensor) else leaf, inputs)
        leaves = [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]
        try:
            with Writes([*given.values(), *own.values()], leaves) as writes, ByHand() as replacing:
                output = answer(given, x)
        except Exception:  # the call that counts will raise it
            return None
    return Facts(0 in writes.met, 1 in writes.met, replacing.met, _refusal(output, replaced))


def _copied(tensor: Tensor, graph: bool) -> Tensor:
    able = graph and (tensor.is_floating_point() or tensor.is_complex())
    return tensor.detach() + _MARK if able else tensor.detach().clone()


def _refusal(output: Any, replaced: set[int]) -> str:
    """Why derivatives by the parameters, or by what they are replaced by, would be wrong."""
    for node in _graph_of(beneath(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)):
        if type(node).__name__ == "CheckpointFunctionBackward":
            return (
                "computes parts again by a checkpoint with use_reentrant=True, which gives no gradients "
                "within a task: take use_reentrant=False, or the learner's memory='recomputed'"
            )
        if id(getattr(node, "variable", None)) in replaced:
            return (
                "reaches a parameter in a way that cannot be followed, and would not see it adapted: let it "
                "reach all of them through its attributes, as self.layer"
            )
    return ""


def leaves_of(outputs: Iterable[Tensor]) -> list[Tensor]:
    """The tensors at which the graph of ``outputs`` ends, which backward would give a gradient."""
    found = (getattr(node, "variable", None) for node in _graph_of(outputs))
    return [leaf for leaf in found if isinstance(leaf, Tensor)]


def _graph_of(outputs: Iterable[Tensor]) -> Iterator[Any]:
    """Every node of the graph by which ``outputs`` were computed, once."""
    waiting, seen = [output.grad_fn for output in outputs], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [following for following, _ in node.next_functions]


def require_shapes(network: nn.Module) -> None:
    """Raise an `FphiError` if a network has layers that wait for a first batch to tell their shapes."""
    if any(nn.parameter.is_lazy(p) for p in network.parameters()):
        raise FphiError(
            f"{type(network).__name__} has parameters without a shape yet: pass a batch of examples "
            "through it before it is given to a learner"
        )


def _require_exchangeable(network: nn.Module) -> None:
    """Raise an `FphiError` if a network has parameters that others cannot take the place of."""
    require_shapes(network)
    compiled = [m for m in network.modules() if isinstance(m, torch.jit.ScriptModule)]
    if compiled:
        raise FphiError(
            f"{type(compiled[0]).__name__} is made by torch.jit and keeps its parameters to itself, so that "
            "no step could change them: give the module that it was made from"
        )


def is_mapped(tensor: Tensor) -> bool:
    """Whether ``torch.func`` maps or differentiates over it, so that it has no value to look at."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def beneath(tensor: Tensor) -> Tensor:
    """The tensor that all that ``torch.func`` wraps around it is about."""
    while is_mapped(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
