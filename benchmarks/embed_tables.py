"""Put the weights of a training on tables into the package, in numbers of 16 bits.

``python benchmarks/embed_tables.py RUN`` takes the best weights of ``fphi train in-context --tasks tables``.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

import fphi
from fphi.learnable import InContextLearner
from fphi.learnable.sequence.tables import WEIGHTS


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    learner = fphi.load(options.run)
    if not isinstance(learner, InContextLearner) or learner.of_hints is None:
        raise SystemExit(f"{options.run} is no training of in-context with hints on tables")
    block = learner.blocks[0]
    sizes = {
        "ways": learner.ways,
        "columns": learner.columns,
        "width": learner.head[1].in_features,
        "layers": len(learner.blocks),
        "heads": block.heads,
    }
    state = {name: value.to(torch.float16).contiguous() for name, value in learner.state_dict().items()}
    save_file(state, options.out, {name: str(value) for name, value in sizes.items()})
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
