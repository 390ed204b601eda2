"""Training with the compiled model, in a process of its own: a compiler cannot see through the
checks of shapes that pytest puts around every function.

Started as `python -m tests.support.compiled DEVICE FOLDER`; what it found is written to found.json
there.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from clustcore.training.epoch import Epoch, TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.training.test_loop import Cancel, data, make


def run(device: str, folder: Path) -> None:
    """Train without the compiler, with it, and with it in two parts."""
    calls: list[int] = []
    good = torch.compile

    def counted(embed: Any) -> Any:
        fast = good(embed)

        def call(x: Tensor) -> Tensor:
            calls.append(len(x))
            return fast(x)

        return call

    def learned(seed: int = 0, compile: bool = True, until: int = 9, **options: Any) -> Any:
        model, told = make(seed), []

        def tell(epoch: Epoch) -> None:
            told.append((epoch.epoch, epoch.loss))
            if epoch.epoch == until:
                raise Cancel

        config = TrainConfig(batch=16, device=device, lr=3e-3, precision="float32", compile=compile)
        with contextlib.suppress(Cancel):
            train(model, data(), config, AugmentConfig(), on_epoch=tell, **options)
        assert "embed" not in vars(model)
        return torch.cat([p.detach().cpu().reshape(-1) for p in model.parameters()]), told

    with warnings.catch_warnings(record=True) as warned, mock.patch("torch.compile", counted):
        warnings.simplefilter("always")
        plain, slow_told = learned(compile=False)
        assert not calls
        whole, fast_told = learned()
        learned(until=2, folder=folder)
        resumed, rest_told = learned(seed=9, folder=folder)
    begin = torch.cat([p.detach().reshape(-1) for p in make().parameters()])
    found = {
        "sizes": sorted(set(calls)),
        "losses": [[loss for _, loss in told] for told in (slow_told, fast_told)],
        "resumed": [epoch for epoch, _ in rest_told],
        "moved": float((whole - begin).abs().mean()),
        "from_plain": float((whole - plain).abs().mean()),
        "from_whole": float((whole - resumed).abs().mean()),
        "warned": [str(w.message) for w in warned if str(w.message).startswith("compile: ")],
    }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(sys.argv[1], Path(sys.argv[2]))
