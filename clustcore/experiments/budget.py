"""A plan fitted into the minutes there are.

It is tried on noise, its steps are timed on this device, and the epochs of its stages laid out to
fit.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clustcore.distributed import pick_device
from clustcore.experiments.context import Context
from clustcore.machine import describe
from clustcore.models.base import Model, Stage, TrainData
from clustcore.models.weights import build, save_weights
from clustcore.runs.plan import Plan
from clustcore.training import throughput
from clustcore.training.epoch import TrainConfig, Training, choose_precision, compiled
from clustcore.training.loop import train
from clustcore.training.throughput import Pace
from clustcore.training.views import AugmentConfig

_SPARE = 0.05  # of the time is left aside: a step is not always as fast as it was
_SMOKE = 3  # batches of noise


@dataclass(frozen=True)
class Measured:
    """What a plan's stages cost on a device, in seconds, and how fast that is."""

    ways: dict[str, dict[str, Pace]]  # "eager", and "compiled" where that was tried: by stage
    heads: float  # of the stage that fits heads; 0 without one
    compiling: float  # before the first step
    batches: int  # steps of an epoch
    figures: dict[str, Any]  # views per second and their ratios, for people


def smoke(plan: Plan, shape: tuple[int, int, int], device: torch.device) -> None:
    """A few steps of each stage on noise, saved in a folder that is removed.

    What fails on this machine fails before any image is read.
    """
    batch = TrainConfig.from_dict(plan.train, "train").batch
    config = {name: min(value, 1) for name, value in plan.config.items() if name in _EPOCHS}
    model = _model(plan, shape, config | {"head_steps": _SMOKE})
    stages = model.stages()
    for stage in stages:
        stage.clusters = False  # noise has none
    vars(model)["stages"] = lambda: stages  # found before the class's own
    noise = _noise(_SMOKE * batch, shape)
    # a rate that wants warming up could overflow within these steps
    settings = plan.train | {"minutes": 0.0, "snapshots": 0, "compile": False, "lr": 1e-5}
    with tempfile.TemporaryDirectory() as place:
        train(
            model,
            TrainData(noise, torch.arange(len(noise)) % model.clusters),
            TrainConfig.from_dict(settings | {"device": str(device)}, "train"),
            AugmentConfig.from_dict(plan.augment, "augment"),
            folder=Path(place),
        )
        save_weights(Path(place), model)


# the stages of DRC that are counted in epochs
_EPOCHS = ("features", "alone", "taught", "relabelled", "selflabel", "surest")


def measure(
    plan: Plan,
    pixels: torch.Tensor,
    shares: dict[str, float],
    context: Context,
) -> Measured:
    """Time the plan's stages with a model to throw away.

    They run eager and, on CUDA, compiled too, in about a quarter of the minutes that are left.

    Args:
        pixels: the images (n, c, h, w) uint8.
        shares: the stages to time.
    """
    device, report = pick_device(context.device), context.report
    minutes = max(0.0, context.left()) / 4
    seconds = min(2.0, minutes * 60 / (4 * len(shares)))
    shape = tuple(pixels.shape[1:])
    model = _model(plan, shape, {"head_steps": 10})
    settings = TrainConfig.from_dict(plan.train | {"compile": False}, "train")
    training = throughput.training_of(
        model, pixels, settings, AugmentConfig.from_dict(plan.augment, "augment"), device
    )
    stages = {stage.name: stage for stage in model.stages()}
    first = stages[next(iter(shares))]
    if settings.precision == "auto":
        report(choose_precision(training, first, 0))
    kind = (
        torch.bfloat16
        if (training.precision or settings.precision) == "bfloat16"
        else torch.float32
    )
    ways = {"eager": {name: throughput.pace(training, stages[name], seconds) for name in shares}}
    heads = _heads(plan, model, training.data) if "heads" in stages else 0.0
    compiling = 0.0
    if device.type == "cuda":
        ways["compiled"], compiling = _compiled(training, stages, shares, seconds)
    rates = {
        way: {
            name: throughput.views_of(training, stages[name]) / p.step for name, p in paces.items()
        }
        for way, paces in ways.items()
    }
    for way, found in rates.items():
        said = ", ".join(f"{name} {rate:,.0f}" for name, rate in found.items())
        report(f"views/s, {way}: {said}")
    flops = throughput.flops_of_a_view(training, first)
    peak = throughput.peak(device, kind, 8192 if device.type == "cuda" else 1024)
    way = list(ways)[-1]
    own = ways[way][first.name]
    figures = {
        "machine": describe(device),
        "precision": str(kind).removeprefix("torch."),
        "batch": training.batch,
        "views_per_s": rates,
        "of_resident_step": own.resident / own.step,
        "flops_per_view": flops,
        "peak_flops_per_s": peak,
        "of_peak": rates[way][first.name] * flops / peak,
        "compiling_s": compiling,
        "heads_s": heads,
    }
    report(
        f"{way}, the loop is at {figures['of_resident_step']:.0%} of the same step on one batch, "
        f"and at {figures['of_peak']:.0%} of the peak of products"
    )
    return Measured(ways, heads, compiling, training.batches, figures)


def lay_out(plan: Plan, shares: dict[str, float], measured: Measured, minutes: float) -> Plan:
    """The plan with as many epochs of each stage as fit into its share of the minutes.

    It has no more than the plan asks for, and is compiled where more of them fit so.

    Raises:
        ValueError: not one epoch of each fits; the message says how many minutes would do.
    """
    found, took, least = {}, {}, {}
    for way, paces in measured.ways.items():
        fixed = measured.heads + (measured.compiling if way == "compiled" else 0.0)
        have = minutes * 60 * (1 - _SPARE) - fixed
        costs = {name: paces[name].epoch(measured.batches) for name in shares}
        epochs = {name: int(share * have / costs[name]) for name, share in shares.items()}
        most = max(costs[name] / share for name, share in shares.items())
        least[way] = (most + fixed) / 60 / (1 - _SPARE)
        if min(epochs.values()) >= 1:
            found[way] = {name: min(n, plan.config[name]) for name, n in epochs.items()}
            took[way] = fixed + sum(n * costs[name] for name, n in found[way].items())
    if not found:
        way = min(least, key=least.__getitem__)
        costs = {name: measured.ways[way][name].epoch(measured.batches) for name in shares}
        said = ", ".join(f"{name} {cost:.3g} s" for name, cost in costs.items())
        raise ValueError(
            f"--minutes: expected {math.ceil(least[way] * 100) / 100:g} or more from here on, for "
            f"an epoch of each stage on this device ({said}), got {minutes:.3g}"
        )
    # the same epochs in less time are better, too
    way = max(found, key=lambda way: (sum(found[way].values()), -took[way]))
    return dataclasses.replace(
        plan, config=plan.config | found[way], train=plan.train | {"compile": way == "compiled"}
    )


def _compiled(
    training: Training, stages: dict[str, Stage], shares: dict[str, float], seconds: float
) -> tuple[dict[str, Pace], float]:
    # the paces, and how long the first steps took
    training.fast = compiled(training.model.embed)
    began = time.monotonic()
    paces = {name: throughput.pace(training, stages[name], seconds) for name in shares}
    took = time.monotonic() - began - 2 * seconds * len(shares)
    training.fast = None
    return paces, max(0.0, took)


def _heads(plan: Plan, model: Model, data: TrainData) -> float:
    # from two short fits, that many steps apart
    times = []
    for steps in (10, 60):
        model.config = dataclasses.replace(model.config, head_steps=steps)
        (fit,) = (stage.begin for stage in model.stages() if stage.begin and stage.name == "heads")
        began = time.monotonic()
        fit(data, 0, {})
        times.append(time.monotonic() - began)
    each = max(0.0, times[1] - times[0]) / 50
    steps = type(model.config).from_dict(plan.config, "config").head_steps
    return times[0] + each * steps


def _model(plan: Plan, shape: tuple[int, ...], change: dict[str, Any]) -> Model:
    config = {"input_shape": list(shape)} | plan.config | change
    torch.manual_seed(0)
    return build(plan.model_name, config)


def _noise(n: int, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
