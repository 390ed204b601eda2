"""What two processes on the CPU find out together, for `tests/test_distributed.py`.

Started once per rank with torchrun's variables; rank 0 writes what it found to the folder named.
The tests call the same functions in one process, for what has to come out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from clustcore.cli.commands import main as cli
from clustcore.datasets import load_samples
from clustcore.defences import inner
from clustcore.defences.adversarial_view import AdversarialView, AdversarialViewConfig
from clustcore.defences.alternating import Alternating, AlternatingConfig
from clustcore.distributed import (
    RankLost,
    agreed,
    average_gradients,
    collect,
    first_main,
    follow_main,
    gather,
    group,
    is_main,
    rank,
    shard,
    world,
)
from clustcore.files import save_npz
from clustcore.maps.projection import ProjectionConfig
from clustcore.models import drc
from clustcore.models.base import Loss, Model, TrainData, Views
from clustcore.models.drc import DRC
from clustcore.pipeline import run as pipeline
from clustcore.pipeline.contents import make_map
from clustcore.pipeline.paths import path_rows, walk
from clustcore.training import loop
from clustcore.training.epoch import Epoch, Progress, TrainConfig, TrainingFailed
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from clustcore.types import PathKey
from tests.conftest import make_blobs
from tests.support.small_recipe import Planes

LOOP = TrainConfig(batch=16, device="cpu", lr=1e-3, precision="float32")
LIMIT = 3  # the epoch, from 0, after which a process is killed


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
    if is_main():
        uneven.grad = torch.ones(2)
    average_gradients([unused, uneven])
    found["unused"] = np.array(unused.grad is None)
    found["uneven"] = collect(uneven.grad.numpy(), 4)
    return found


def model(**settings: Any) -> DRC:
    """A small DRC; without batch statistics, unless told, so that no sample sees another."""
    torch.manual_seed(0)
    given = {"clusters": 3, "width": 4, "norm": "group", "alone": 3, "relabelled": 2, "views": 3}
    built = DRC(DRC.Config(**given | settings))
    stages = built.stages()
    for stage in stages:
        stage.clusters = False  # a few steps find none, and that is no collapse
    built.stages = lambda: stages
    return built


def images(n: int = 64) -> TrainData:
    """Blobs, with clusters for the defences."""
    blobs = make_blobs(n)
    return TrainData(torch.from_numpy((blobs.x * 255).astype(np.uint8)), torch.from_numpy(blobs.y))


def trained(model: Model, **options: Any) -> tuple[dict[str, np.ndarray], Progress]:
    """The weights after training, and how it went."""
    options = {"config": LOOP, "data": images()} | options
    progress = train(model, augment=AugmentConfig(), **options)
    return {name: value.cpu().numpy() for name, value in model.state_dict().items()}, progress


def spread(values: dict[str, np.ndarray]) -> float:
    """The largest difference between the ranks."""
    flat = np.concatenate([value.reshape(-1).astype(np.float64) for value in values.values()])
    every = collect(flat[None], world())
    return float(np.abs(every - every[0]).max())


def adversarial() -> dict[str, np.ndarray]:
    """The averaged loss and gradients of the adversarial view's term."""
    views, config = images(16).x.float() / 255, AdversarialViewConfig(steps=1, eps=0.01)
    mine = shard(len(views))
    built, told = model(), images(16).teacher
    state = {"start": told, "share": torch.tensor(1.0)}
    x, ids = views[mine], torch.arange(len(views))[mine]
    # the attack's start is each process's own: here there is none
    with mock.patch.object(inner, "_draw", lambda x, norm: torch.zeros_like(x)):
        loss = AdversarialView(config, built).term(built, Views(x, x, x.flip(3), ids), state)
    loss.total.backward()
    named = {name: p for name, p in built.named_parameters() if p.grad is not None}
    (mean,) = average_gradients(named.values(), loss.total.detach())
    return {"total": mean.numpy()} | {name: p.grad.numpy() for name, p in named.items()}


def staged() -> dict[str, np.ndarray]:
    """The weights after features, heads and the surest of each cluster."""
    stages = {"alone": 0, "relabelled": 0, "features": 2, "surest": 2, "views": 2}
    heads = {"heads": "scan", "head_steps": 30, "head_starts": 3, "head_neighbours": 5}
    return trained(model(**stages, **heads))[0]


def commands(folder: Path) -> dict[str, Any]:
    """A run trained, mapped and attacked, all by all ranks; the second attack reads the path."""
    place = {"DRIFTMAP_RUNS": str(folder / "runs"), "DRIFTMAP_CACHE": str(folder / "cache")}
    small = ["--model.width", "4", "--model.autoencode", "1", "--model.cluster", "1"]
    # UMAP compiles for longer than all the rest takes
    planes = {"umap": SimpleNamespace(UMAP=Planes)}
    with (
        mock.patch.dict(os.environ, place),
        mock.patch.dict(sys.modules, planes),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        codes = [cli(["train", "dec", "--data", "digits", "--name", "many", *small])]
        run = pipeline.load_run("many", "cpu")
        before = run.map
        quick = ProjectionConfig(steps=20, batch=64, width=8, landmarks=8)
        make_map(run, load_samples("digits", "test"), config=quick)
        assert run.projector is not None
        codes += [cli(["attack", "many", "--attack", "fgsm"]) for _ in range(2)]
    return {"codes": codes, "before": before, "apart": spread({"xy": run.map.xy})}


def others_images() -> str:
    """The message where the last rank has other images."""
    try:
        origin = "a" if is_main() else "b"
        trained(model(), origin=origin)
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def first_served() -> dict[str, Any]:
    """Who does what `first_main` is given, in order; and what rank 0 says to all."""
    began: list[float] = []
    first_main(lambda: (began.append(time.monotonic()), time.sleep(0.2 if is_main() else 0)))
    times = collect(np.array(began), world())
    return {"waited": float(times[-1] - times[0]), "agreed": agreed(rank() + 5.0)}


def mixed() -> dict[str, float]:
    """How far the ranks are apart with batch statistics, and then after a defence that has an
    attacker inside.
    """
    taught = model(norm="batch", width=8, alone=0, taught=3, relabelled=0, weight_t=10.0, views=2)
    fast = dataclasses.replace(LOOP, lr=1e-2)
    weights, _ = trained(taught, config=fast)
    config = AlternatingConfig(epochs=2, every=1, steps=1, warm=1)
    defence = Alternating(config, taught, seed=0)
    guarded, _ = trained(taught, defence=defence)
    inside = {f"inside.{name}": value.numpy() for name, value in defence.state_dict().items()}
    return {"apart": spread(weights), "defended": spread(guarded | inside)}


def failing() -> str:
    """The message where a loss is not a number on the last rank alone."""
    poor = model()
    stages = poor.stages()
    good = stages[0].loss

    def bad(views: Any, state: dict[str, Tensor]) -> Loss:
        loss = good(views, state)
        total = loss.total * (float("nan") if rank() == world() - 1 else 1.0)
        return Loss(total, {"drc": total})

    stages[0].loss = bad
    poor.stages = lambda: stages
    try:
        trained(poor)
    except TrainingFailed as error:
        return str(error)
    return "nothing failed"


def no_memory(do: Callable[..., Any], process: int, times: list[bool]) -> Callable[..., Any]:
    """The same, which finds no memory in one process as often as there is True in `times`."""

    def call(*args: Any) -> Any:
        if rank() == process and times and times.pop():
            raise torch.OutOfMemoryError("no memory")
        return do(*args)

    return call


def halved(device: str = "cpu") -> tuple[dict[str, np.ndarray], list[str]]:
    """The weights, and the warnings, where memory runs out three times: between the exchanges of a
    loss and within its gradient in the last process, in the look after the steps in the first.
    """
    poor, last = model(), world() - 1
    poor.assign.weight.register_hook(no_memory(lambda gradient: None, last, [True]))
    with (
        mock.patch.object(drc, "contrast", no_memory(drc.contrast, last, [True])),
        mock.patch.object(poor, "soft", no_memory(poor.soft, 0, [True])),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        config = dataclasses.replace(LOOP, batch=64, device=device, precision="float32")
        weights, _ = trained(poor, config=config)
    return weights, [str(warning.message) for warning in warned]


def exhausted(folder: Path) -> str:
    """The message where, after the first epoch, no batch finds memory in the last process."""
    poor, times = model(), []
    always = no_memory(drc.contrast, world() - 1, times)
    with (
        mock.patch.object(drc, "contrast", always),
        mock.patch.dict(loop._PAUSE, {"cpu": 1e9}),  # as on a GPU, whose epochs are not saved each
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            trained(poor, folder=folder, on_epoch=lambda epoch: times.extend([True] * 9))
        except TrainingFailed as error:
            return str(error)
    return "nothing failed"


def refused() -> str:
    """The message about a batch that cannot be shared."""
    try:
        trained(model(), config=dataclasses.replace(LOOP, batch=15))
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def measured() -> dict[str, np.ndarray]:
    """A run's scores, clean and attacked, and a path."""
    run, samples = pipeline.load_run("d", "cpu"), load_samples("digits", "test")
    clean = pipeline.evaluate(run.model, samples)
    attacked = pipeline.evaluate(run.model, samples, under="fgsm", eps=0.1)
    rows = path_rows(samples)[:33]
    path = walk(run, samples, rows, PathKey("fgsm", "pixels", "linf"))
    scores = [clean.acc, clean.nmi, attacked.acc, attacked.nmi, attacked.moved.value]
    paths = {f.name: getattr(path, f.name) for f in dataclasses.fields(path)}
    arrays = {name: value for name, value in paths.items() if isinstance(value, np.ndarray)}
    return {"scores": np.array(scores), **arrays}


def kill(epoch: Epoch) -> None:
    """End the last rank as a machine would that loses power."""
    if epoch.epoch == LIMIT and rank() == world() - 1:
        os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path) -> int:
    """Everything, in the order of the tests; at the end a rank is killed."""
    with group("cpu"):
        found = parts()
        weights, progress = trained(model())
        with mock.patch.object(drc, "gather", lambda t: t):
            without, _ = trained(model())
        said = mixed() | {"failing": failing(), "refused": refused()}
        said |= {"others": others_images(), "commands": commands(folder)} | first_served()
        said["history"] = progress.history
        less, said["warned"] = halved()
        said["exhausted"] = exhausted(folder / "exhausted")
        attacked, later = adversarial(), staged()
        seen = measured()
        if is_main():
            save_npz(folder / "parts.npz", found)
            save_npz(folder / "adversarial.npz", attacked)
            save_npz(folder / "staged.npz", later)
            save_npz(folder / "weights.npz", weights)
            save_npz(folder / "without.npz", without)
            save_npz(folder / "halved.npz", less)
            save_npz(folder / "measured.npz", seen)
        (folder / f"said-{rank()}.json").write_text(json.dumps(said))
        try:
            with mock.patch.dict(loop._PAUSE, {"cpu": 1e9}):
                trained(model(), folder=folder / "killed", on_epoch=kill)
        except RankLost as error:
            print(error)
            return 3
    return 0


def on_device(device: str, norm: str, batch: int) -> dict[str, np.ndarray]:
    """The weights after training there, with these layers and batches."""
    config = dataclasses.replace(LOOP, device=device, batch=batch, precision="float32")
    return trained(model(norm=norm), config=config)[0]


def run_on(device: str, folder: Path) -> None:
    """What two GPUs learn; at the end one of them stops in the middle of torch's own exchanges."""
    with group(device):
        found = {f"{norm}-16": on_device(device, norm, 16) for norm in ("group", "batch")}
        found["group-8"], _ = halved(device)
        for name, weights in found.items() if is_main() else ():
            save_npz(folder / f"{name}.npz", weights)
        poor = model(norm="batch")
        stop = no_memory(lambda layer, x: None, world() - 1, [True])
        poor.backbone.layers[2].register_forward_pre_hook(stop)
        try:
            trained(poor, config=dataclasses.replace(LOOP, device=device))
        except TrainingFailed as error:
            (folder / "stopped.txt").write_text(str(error))
            raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        sys.exit(run_on(sys.argv[2], Path(sys.argv[1])))
    sys.exit(run(Path(sys.argv[1])))
