"""What two processes on the CPU find out together, for `tests/test_distributed.py`.

Started once per rank with torchrun's variables; rank 0 writes what it found to the folder named.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clustcore.distributed import (
    average_gradients,
    collect,
    follow_main,
    gather,
    group,
    main,
    rank,
    shard,
    world,
)
from clustcore.runs import save_npz


def contrast(rows: Tensor, all_rows: Tensor) -> Tensor:
    """A loss that sees the whole batch: each row against all others."""
    return (rows @ all_rows.T).logsumexp(1).mean()


def linear() -> torch.nn.Linear:
    """The same on every rank and in the test."""
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3)


def batch() -> Tensor:
    """Eight rows of five."""
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(1))


def gradients(gathered: bool) -> dict[str, np.ndarray]:
    """The averaged loss and gradients of a loss of the batch beside a mean over the rows."""
    layer, x = linear(), batch()
    rows = layer(x[shard(len(x))])
    every = gather(rows) if gathered else rows
    loss = contrast(every, every) + rows.square().mean()
    loss.backward()
    (mean,) = average_gradients(layer.parameters(), loss.detach())
    return {"loss": mean.numpy(), "weight": layer.weight.grad, "bias": layer.bias.grad}


def parts() -> dict[str, np.ndarray]:
    """Each function of `distributed` once."""
    found: dict[str, np.ndarray] = {"world": np.array(world())}
    for name, flag in (("with", True), ("without", False)):
        found |= {f"{name}.{key}": np.asarray(v) for key, v in gradients(flag).items()}
    for n in (0, 1, 7, 8):
        mine = np.arange(n)[shard(n)]
        found[f"rows.{n}"] = collect(mine, n)
        found[f"sizes.{n}"] = collect(np.array([len(mine)]), world())
    for kind in (np.float16, np.uint8, bool):
        values = np.arange(14).reshape(7, 2).astype(kind)
        found[f"kind.{kind.__name__}"] = collect(values[shard(7)], 7)
    weights = torch.full((2, 3, 4, 4), float(rank() + 1)).to(memory_format=torch.channels_last)
    count = torch.tensor(rank() + 1)
    follow_main([weights, count])
    found["followed"] = collect(np.array([float(weights.sum()), float(count)]), 4)
    unused, uneven = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    if main():
        uneven.grad = torch.ones(2)
    average_gradients([unused, uneven])
    found["unused"] = np.array(unused.grad is None)
    found["uneven"] = collect(uneven.grad.numpy(), 4)
    return found


def run(folder: Path) -> None:
    """Everything, in the order of the tests."""
    with group("cpu"):
        found = parts()
        if main():
            save_npz(folder / "parts.npz", found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]))
