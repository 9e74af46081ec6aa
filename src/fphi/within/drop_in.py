"""An update rule as one of torch's optimizers, for an ordinary training loop."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Never, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fphi.errors import FphiError
from fphi.ranges import Range, require_number
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule

__all__ = ["RuleOptimizer"]

_Kind: TypeAlias = tuple[torch.device, torch.dtype]
# What torch and its schedulers of the learning rate write into groups, beside what the optimizer declares.
_WRITTEN = frozenset({"params", "param_names", "initial_lr", "max_lr", "min_lr", "swa_lr"})
_DECAY = Range(0, 1)


class RuleOptimizer(Optimizer):
    """Steps of an update rule, learned or not, for the parameters of any model.

    With ``lr`` 1 a step is the rule's to the last bit; another number makes it so many times as long, and is
    what torch's schedulers of the learning rate change. Parameters without a gradient stay as they are. What
    the rule has learned is not in the ``state_dict``: that is in its run. Groups may have an ``lr`` and a
    ``weight_decay`` of their own; all else that a step depends on is the rule's.

    Weight decay is decoupled from the rule, which has no step size to multiply it by: a step takes the share
    ``lr * weight_decay`` of each parameter away, beside what the rule does. So it is in the paper (Loshchilov
    and Hutter, ICLR 2019), where ``lr`` is the schedule's factor; for ``torch.optim.AdamW(lr=a,
    weight_decay=b)`` it is ``a * b``.

    Args:
        params: as every optimizer of torch takes them: parameters, pairs of name and parameter, or groups.
        rule: it is copied, to where the parameters are, and learns no more.
        lr: the factor of its steps.
        learned_for: the parameters that it was learned with, in their order; they count where a rule is not
            shared (see `InnerOptimizer.is_shared`). Those of the model are known by their names where these
            are given, in any order, and else by their places, all of them.
        weight_decay: the share of each parameter that a step takes away, times ``lr``.
        others: options of other optimizers, which are refused.

    Raises:
        FphiError: the rule belongs to parameters of other names or shapes, or an option is not known.

    >>> from fphi.within import sgd
    >>> model = nn.Linear(3, 2)
    >>> optimizer = RuleOptimizer(model.parameters(), sgd(0.1))
    >>> model(torch.ones(4, 3)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        rule: UpdateRule,
        lr: float = 1.0,
        learned_for: Mapping[str, Tensor] | None = None,
        weight_decay: float = 0.0,
        **others: Never,
    ) -> None:
        _require_known(others)
        require_number("lr", lr, Range(0))
        require_number("weight_decay", weight_decay, _DECAY)
        shared = not isinstance(rule, InnerOptimizer) or rule.is_shared
        known = {name: list(like.shape) for name, like in (learned_for or {}).items()}
        self._known = None if shared else known
        self._names: dict[Tensor, str] = {}
        self._rules: dict[_Kind, UpdateRule] = {}
        self.rule = copy.deepcopy(rule)
        if isinstance(self.rule, nn.Module):
            self.rule.requires_grad_(False)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        if not self._by_name and self._known is not None and len(self._names) < len(self._known):
            self._refuse(f"{len(self._names)} parameters, and the rule has learned for {len(self._known)}")

    def __getstate__(self) -> dict[str, Any]:
        """All that a copy needs, which torch's own leaves out."""
        own = {"rule": self.rule, "_known": self._known, "_names": self._names, "_rules": {}}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Groups that were kept before there was weight decay have none."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("weight_decay", 0.0)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As every optimizer of torch; parameters without names count on."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _require_known(group.keys() - self.defaults.keys() - _WRITTEN)
            require_number("the lr of a group", float(group["lr"]), Range(0))
            require_number("the weight_decay of a group", float(group["weight_decay"]), _DECAY)
            for place, parameter in enumerate(group["params"]):
                self._names[parameter] = self._name(parameter, group.get("param_names", ())[place:])
        except FphiError:
            self.param_groups.pop()
            raise

    @property
    def _by_name(self) -> bool:
        return any("param_names" in group for group in self.param_groups)

    def _name(self, parameter: Tensor, given: Sequence[str]) -> str:
        """What the rule calls the next of the model's parameters, which may be the first of ``given``."""
        at = len(self._names)
        if self._known is None:
            return str(at)
        if not given and at >= len(self._known):
            self._refuse(f"more than the {len(self._known)} parameters that the rule has learned for")
        name = given[0] if given else list(self._known)[at]
        if name not in self._known:
            self._refuse(f"{name}, and the rule has learned for no parameter of that name")
        if name in self._names.values():
            self._refuse(f"{name} twice")
        if self._known[name] != list(parameter.shape):
            self._refuse(f"{list(parameter.shape)} where the rule has learned for {name} {self._known[name]}")
        return name

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer of torch.

        Raises:
            FphiError: it is the state of another optimizer.
        """
        first, name = next(iter(self._names.items()))
        wanted = {"step", *self._rule((first.device, first.dtype)).init({name: first.detach()})}
        for kept in filter(None, state_dict["state"].values()):
            if set(kept) != wanted or type(kept["step"]) is not int:
                raise FphiError(
                    f"this is the state of another optimizer, with {', '.join(map(str, kept))}: give one of "
                    f"{type(self.rule).__name__}, with {', '.join(sorted(wanted))}"
                )
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, loss: Tensor | float | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients anew, and returns it.
            loss: that the gradients are of, for a rule that reads it; that of the closure, if there is one.

        Returns:
            What the closure returned.

        Raises:
            FphiError: the rule reads the loss, and there is none, or more than one number; or a gradient is
                sparse.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = loss = closure()
        self._require_loss(loss)
        for group in self.param_groups:
            alike: dict[tuple[int, _Kind], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    self._require_dense(p)
                    kind = p.device, p.dtype
                    alike.setdefault((self.state[p].get("step", 0), kind), []).append(p)
            for (step, kind), moving in alike.items():
                self._move(moving, step, self._rule(kind), group, loss)
        return returned

    def _move(
        self, parameters: list[Tensor], step: int, rule: UpdateRule, group: Mapping[str, Any], loss: Any
    ) -> None:
        """One step of parameters of one kind that all have made ``step`` of them."""
        named = {self._names[p]: p for p in parameters}
        now: Parameters = {name: p.detach() for name, p in named.items()}
        gradients: Parameters = {name: p.grad for name, p in named.items() if p.grad is not None}
        state = self._state(named) if step else rule.init(now)
        if isinstance(rule, InnerOptimizer) and rule.reads_loss:
            first = next(iter(now.values()))
            state = rule.observe(torch.as_tensor(loss).detach().reshape(()).to(first), state)
        moved, state = rule.update(gradients, state, now, step)
        factor, decay = float(group["lr"]), group["weight_decay"]
        for name, p in named.items():
            reached = moved[name].sub(p, alpha=decay) if decay else moved[name]
            p.copy_(reached) if factor == 1 else p.lerp_(reached, factor)
            self.state[p]["step"] = step + 1
            for part, values in state.items():
                self.state[p][part] = values[name]

    def _rule(self, kind: _Kind) -> UpdateRule:
        """The rule for parameters of this device and dtype."""
        if not isinstance(self.rule, nn.Module):
            return self.rule
        if kind not in self._rules:
            self._rules[kind] = copy.deepcopy(self.rule).to(*kind)
        return self._rules[kind]

    def _state(self, named: dict[str, Tensor]) -> State:
        """The parameters', where they are now: a model can have been moved since the last step."""
        parts = [part for part in self.state[next(iter(named.values()))] if part != "step"]
        return {part: {name: self.state[p][part].to(p) for name, p in named.items()} for part in parts}

    def _require_dense(self, parameter: Tensor) -> None:
        if parameter.grad is not None and parameter.grad.layout is not torch.strided:
            raise FphiError(
                f"the gradient of a parameter {list(parameter.shape)} is sparse, and update rules take dense "
                "ones: make the embedding with sparse=False"
            )

    def _require_loss(self, loss: Any) -> None:
        if not isinstance(self.rule, InnerOptimizer) or not self.rule.reads_loss:
            return
        if loss is None:
            raise FphiError(
                f"{type(self.rule).__name__} reads the loss: call step(loss=loss), or step(closure)"
            )
        if torch.as_tensor(loss).numel() != 1:
            raise FphiError(f"the loss has the shape {list(loss.shape)}; give one number, as loss.mean()")

    def _refuse(self, what: str) -> NoReturn:
        names = f", {', '.join(self._known)}" if self._known else ""
        raise FphiError(
            f"the model has {what}: a rule with numbers of its own for each parameter serves only those "
            f"that it was learned with{names}; give these as pairs of name and parameter, or learn a rule "
            "that all parameters share"
        )


def _require_known(others: Collection[str]) -> None:
    if others:
        raise FphiError(
            f"{', '.join(sorted(others))}: an update rule has no such option, and would ignore it; "
            "parameters and groups of them have lr and weight_decay, and the rule says all else about a step"
        )
