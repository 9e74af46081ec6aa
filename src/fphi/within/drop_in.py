"""An update rule as one of torch's optimizers, for an ordinary training loop."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fphi.errors import FphiError
from fphi.ranges import Range, require_number
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule

__all__ = ["RuleOptimizer"]


class RuleOptimizer(Optimizer):
    """Steps of an update rule, learned or not, for the parameters of any model.

    With ``lr`` 1 a step is the rule's to the last bit; another number makes it so many times as long, and is
    what torch's schedulers of the learning rate change. Parameters without a gradient stay as they are. What
    the rule has learned is not in the ``state_dict``: that is in its run.

    Args:
        params: as every optimizer of torch takes them: parameters, pairs of name and parameter, or groups.
        rule: it is copied, to where the parameters are, and learns no more.
        lr: the factor of its steps.
        learned_for: the parameters that it was learned with, in their order; they count where a rule is not
            shared (see `InnerOptimizer.is_shared`).

    Raises:
        FphiError: the rule belongs to parameters of other shapes.

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
    ) -> None:
        require_number("lr", lr, Range(0))
        shared = not isinstance(rule, InnerOptimizer) or rule.is_shared
        self._known = None if shared else [*(learned_for or {}).items()]
        self._names: dict[Tensor, str] = {}
        super().__init__(params, {"lr": lr})
        if self._known is not None and len(self._names) < len(self._known):
            self._refuse(f"{len(self._names)} parameters, and the rule has learned for {len(self._known)}")
        self.rule = copy.deepcopy(rule)
        if isinstance(self.rule, nn.Module):
            first = next(iter(self._names))
            self.rule.requires_grad_(False).to(first.device, first.dtype)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As every optimizer of torch; the parameters count on."""
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            self._names[parameter] = self._name(parameter, len(self._names))

    def _name(self, parameter: Tensor, at: int) -> str:
        """What the rule calls the model's parameter number ``at``."""
        if self._known is None:
            return str(at)
        if at >= len(self._known):
            self._refuse(f"more than the {len(self._known)} parameters that the rule has learned for")
        name, like = self._known[at]
        if like.shape != parameter.shape:
            self._refuse(f"{list(parameter.shape)} where the rule has learned for {name} {list(like.shape)}")
        return name

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, loss: Tensor | float | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients anew, and returns it.
            loss: that the gradients are of, for a rule that reads it; that of the closure, if there is one.

        Returns:
            What the closure returned.

        Raises:
            FphiError: the rule reads the loss, and there is none; or it has learned for other shapes.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = loss = closure()
        self._require_loss(loss)
        for group in self.param_groups:
            by_step: dict[int, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_step.setdefault(self.state[p].get("step", 0), []).append(p)
            for step, moving in by_step.items():
                self._move(moving, step, group["lr"], loss)
        return returned

    def _move(self, parameters: list[Tensor], step: int, factor: float, loss: Any) -> None:
        """One step of parameters that all have made ``step`` of them."""
        named = {self._names[p]: p for p in parameters}
        now: Parameters = {name: p.detach() for name, p in named.items()}
        gradients: Parameters = {name: p.grad for name, p in named.items() if p.grad is not None}
        state = self._state(named, now) if step else self.rule.init(now)
        if isinstance(self.rule, InnerOptimizer) and self.rule.reads_loss:
            first = next(iter(now.values()))
            state = self.rule.observe(torch.as_tensor(loss, dtype=first.dtype, device=first.device), state)
        moved, state = self.rule.update(gradients, state, now, step)
        for name, p in named.items():
            p.copy_(moved[name] if factor == 1 else p + factor * (moved[name] - p))
            self.state[p]["step"] = step + 1
            for part, values in state.items():
                self.state[p][part] = values[name]

    def _state(self, named: dict[str, Tensor], now: Parameters) -> State:
        parts = [part for part in self.state[next(iter(named.values()))] if part != "step"]
        return {part: {name: self.state[p][part] for name, p in named.items()} for part in parts}

    def _require_loss(self, loss: object) -> None:
        if loss is None and isinstance(self.rule, InnerOptimizer) and self.rule.reads_loss:
            raise FphiError(
                f"{type(self.rule).__name__} reads the loss: call step(loss=loss), or step(closure)"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise FphiError(
            f"the model has {what}: a rule with numbers of its own for each parameter serves only the "
            "network that it was learned with; give that, or learn a rule that all parameters share"
        )
