"""Devices, and the processes (ranks) that train together. The one place that knows Lightning Fabric."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.run.show.say import say

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Accelerator", "Machines", "Precision", "Ranks", "in_first_process", "launch", "started_machines"]

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed"]
T = TypeVar("T")

_FIRST = "FPHI_FIRST_RANK"  # in the environment of the ranks that the first one started: its process
_ENDED = (
    "another training process ended before its time; if it left a message, it is above; "
    "go on from the last checkpoint with --resume"
)
_HAS_LAUNCHED: list[bool] = []  # whether this process has trained on several devices


class Ranks:
    """One of the processes that train together, and how it speaks to the others.

    Without Fabric it is the only one, on the CPU, and every method is free.

    Args:
        fabric: that has started them.
        of_this_machine: how many of them share it.
    """

    def __init__(self, fabric: "Fabric | None" = None, of_this_machine: int = 1) -> None:
        self._fabric, self.of_this_machine = fabric, of_this_machine
        self.rank: int = fabric.global_rank if fabric else 0
        self.size: int = fabric.world_size if fabric else 1
        self.device: torch.device = fabric.device if fabric else torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def share(self, indices: range, whole: int = 1) -> range:
        """This rank's part of ``indices``; the parts are disjoint, and as even as that allows.

        Args:
            indices: what is divided.
            whole: indices that stay together: parts are counted in so many from the first.
        """
        pieces = -(-len(indices) // whole)
        start, end = (pieces * r // self.size * whole for r in (self.rank, self.rank + 1))
        return indices[start:end]

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, the same bits on each of them."""
        if self.size == 1:
            return tensor
        summed = tensor.clone()
        # Not Fabric's, which lets all ranks meet once more before.
        self._speak(lambda: torch.distributed.all_reduce(summed))
        return summed

    def first(self, action: Callable[[], T]) -> T:
        """The first rank's ``action()``, on every rank; no other rank runs it.

        Raises:
            FphiError: the action's, on the first rank. The others end quietly, so that nobody waits
                for a process that has given up.
        """
        fabric = self._fabric
        if fabric is None or self.size == 1:
            return action()
        outcome = _attempt(action) if self.is_first else None
        outcome = self._speak(lambda: fabric.broadcast(outcome))
        if isinstance(outcome, FphiError):
            raise outcome if self.is_first else SystemExit(0)
        return cast(T, outcome)

    def precision(self) -> AbstractContextManager[object]:
        """The context to compute the meta-gradient in: autocast, or nothing."""
        return self._fabric.autocast() if self._fabric else nullcontext()

    def _speak(self, collective: Callable[[], T]) -> T:
        try:
            return collective()
        except RuntimeError as error:
            if self.is_first:
                raise FphiError(_ENDED) from error
            if self._fabric is not None and self._fabric.local_rank == 0:  # of another machine
                say(f"fphi: error: {_ENDED}")
            raise SystemExit(1) from error


@dataclass(frozen=True)
class Machines:
    """Where the processes that train together are.

    Args:
        nodes: machines.
        devices: of each machine, one process each.
    """

    nodes: int = 1
    devices: int = 1

    @property
    def size(self) -> int:
        """Processes."""
        return self.nodes * self.devices


def started_machines(environment: Mapping[str, str] = os.environ) -> Machines | None:
    """What ``torchrun`` or ``srun`` has started, this process among it; None: it was started alone.

    Raises:
        FphiError: they are not equally many on each machine.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        size, local = (int(environment[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        return _machines(size, -(-size // local))
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        size, nodes = (int(environment[name]) for name in ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"))
        return _machines(size, nodes) if size > 1 else None
    return None


def _machines(size: int, nodes: int) -> Machines:
    if size % nodes:
        raise FphiError(f"{size} processes on {nodes} machines: start equally many on each")
    return Machines(nodes, size // nodes)


def launch(
    train: Callable[[Ranks], T],
    accelerator: Accelerator = "cpu",
    machines: Machines = Machines(),
    precision: Precision = "32-true",
) -> T:
    """Run ``train`` on every device, one process each, and return what it returned on the first.

    Where ``torchrun`` or SLURM has started the processes, they are what there is. Else, with several devices,
    this command is started again for each further one; those processes run until here, train along, and end
    here. So no function and no object has to be sent to them.

    Args:
        train: called with this process's `Ranks`, in every process.
        accelerator: kind of device.
        machines: how many, and their devices.
        precision: ``"bf16-mixed"`` computes in bfloat16 where that is safe, with parameters in float32.

    Raises:
        FphiError: there is no such device, nobody has started the processes on other machines, others were
            started than are asked for, or this process has trained on several devices before.
    """
    started = started_machines()
    if started is not None and machines not in (Machines(), started):
        raise FphiError(
            f"{started.nodes} machines with {started.devices} processes each were started, and asked for are "
            f"{machines.nodes} with {machines.devices}; leave --nodes and --devices out"
        )
    if started is None and machines.nodes > 1:
        raise FphiError(
            f"{machines.nodes} machines, and nobody has started the processes on them: start this command "
            "with torchrun or srun on each, or leave --nodes out"
        )
    machines = started or machines
    if (accelerator, machines, precision) == ("cpu", Machines(), "32-true"):
        return train(Ranks())
    if machines.size > 1 and _HAS_LAUNCHED:
        raise FphiError(
            "one process trains on several devices only once; start another process for the next run"
        )
    return _launch_fabric(train, accelerator, machines, precision)


def in_first_process() -> bool:
    """Whether this process is the one that writes files and talks to the user; cheap, before `launch` too."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return int(next((os.environ[name] for name in names if name in os.environ), "0")) == 0


def _launch_fabric(
    train: Callable[[Ranks], T], accelerator: Accelerator, machines: Machines, precision: Precision
) -> T:
    from lightning_fabric import Fabric  # takes seconds to import

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces each process
    if started_machines() is None:  # else whoever started the processes ends them
        _watch_each_other()
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=machines.devices,
            num_nodes=machines.nodes,
            precision=precision,
            strategy="ddp" if machines.size > 1 else "auto",
            plugins=[_environment()],
        )
    except Exception as error:  # Fabric has no class of its own for what it cannot set up
        raise FphiError(
            f"cannot run on {machines.devices} device(s) of kind {accelerator!r} with precision {precision}: "
            f"{_line(error)}; try --accelerator cpu{' --devices 1' if machines.devices > 1 else ''}"
        ) from error
    if machines.size > 1:
        _HAS_LAUNCHED.append(True)
    try:
        result = cast(T, fabric.launch(lambda fabric: train(Ranks(fabric, machines.devices))))
    finally:
        # Its threads must be gone before the interpreter is: else the process ends with an abort.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if fabric.global_rank > 0:
        raise SystemExit(0)
    return result


def _environment() -> Any:
    """By what the processes find each other: whoever started them has told them in its own way."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if "TORCHELASTIC_RUN_ID" in os.environ:
        return TorchElasticEnvironment()
    if started_machines() is not None:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def _watch_each_other() -> None:
    """Let no rank wait for one that is gone, before they have met too.

    Fabric kills the first when another has ended with an error, and says so to its own log only. The others
    end here when the first is gone.
    """
    if in_first_process():
        os.environ[_FIRST] = str(os.getpid())
        deaths = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
        deaths.setLevel(logging.INFO)
        deaths.propagate = False
        deaths.handlers = [_SaysThatOneEnded()]
    elif _FIRST in os.environ:
        threading.Thread(target=_end_with, args=(int(os.environ[_FIRST]),), daemon=True).start()


def _end_with(first: int) -> None:
    while os.getppid() == first:
        time.sleep(1)
    os._exit(1)


class _SaysThatOneEnded(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Fabric is about to kill this process."""
        say(f"fphi: error: {_ENDED}")


def _attempt(action: Callable[[], T]) -> T | FphiError:
    try:
        return action()
    except FphiError as error:
        return error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
