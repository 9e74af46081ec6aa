"""``fphi build RUN``: the network that a search found."""

import shlex
from pathlib import Path

import torch
from torch import nn

from fphi.cli.arguments import require_no_folder
from fphi.errors import FphiError
from fphi.experiment.architecture import Architecture, load_architecture
from fphi.experiment.parser import Parser
from fphi.report.tables import Table
from fphi.run.disk.files import disk_errors, replace_file
from fphi.within.trained import parameter_count

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print the layers of a search's network, and write its weights where that is asked for."""
    parser = Parser("build", "Show the network that a search found, and write its weights.")
    parser.add_argument("run", type=Path, help="the search's directory, its --out")
    parser.add_argument("--out", type=Path, help="write the weights here, as safetensors")
    o = parser.read(arguments)
    require_no_folder(o.out)
    if not o.run.is_dir():
        raise FphiError(f"{o.run} is no folder: give the --out of an fphi search")
    found = Architecture.read(o.run)
    module = load_architecture(o.run)
    if o.out is not None:
        _write(o.out, module)
    _layers(module).show()
    shape = " x ".join(map(str, found.input_shape))
    print(f"{found.space.name}: {found.space.text(found.tokens)}")
    print(
        f"{parameter_count(module):,} parameters, from {shape} to {_outputs(found, found.outline().eval())}"
    )
    if o.out is not None:
        print(f"weights in {shlex.quote(str(o.out))}")
    return 0


def _layers(module: nn.Module) -> Table:
    """The modules that have parameters of their own, with the shapes of these."""
    lines = []
    for name, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        if own:
            shapes = ", ".join("x".join(map(str, p.shape)) for p in own)
            lines.append((name, type(part).__name__, shapes, f"{sum(p.numel() for p in own):,}"))
    return Table(("Layer", "Kind", "Shapes", "Parameters"), tuple(lines))


def _outputs(found: Architecture, module: nn.Module) -> str:
    if found.outputs is not None:
        return f"{found.outputs} classes"
    with torch.no_grad():
        return f"{module(torch.zeros(1, *found.input_shape, device='meta')).shape[1]} features"


def _write(path: Path, module: nn.Module) -> None:
    from safetensors.torch import save

    # Clones, because safetensors refuses tensors that share memory.
    state = {name: tensor.detach().contiguous().clone() for name, tensor in module.state_dict().items()}
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(state))
