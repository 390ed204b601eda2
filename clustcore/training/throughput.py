"""How fast a model learns on a device, and what holds it back.

Its loop stands beside the same step on one batch that stays where it is, and beside the largest
rate of products that the device shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from clustcore.models.base import Model, Stage, TrainData, Views
from clustcore.training.epoch import (
    Job,
    TrainConfig,
    compiled,
    draw,
    fast_steps,
    finish,
    gradients,
    optimiser_of,
    order,
)
from clustcore.training.views import AugmentConfig

_WARM = 3  # steps before those that count
_MOST = 200  # steps that count
_RATE = 1e-5  # of learning: at a rate that wants warming up, numbers could overflow meanwhile


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of one stage's parts."""

    begin: float  # what comes before each epoch
    step: float  # a step, its views drawn for it
    resident: float  # a step on a batch that is there

    def epoch(self, batches: int) -> float:
        """Seconds of a whole epoch; the look after it is small beside it."""
        return self.begin + batches * self.step


def job_of(
    model: Model,
    x: Tensor,
    config: TrainConfig,
    augment: AugmentConfig,
    device: torch.device,
) -> Job:
    """A model ready to be stepped, as `train` sets it up; the images go to the device."""
    model.to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    data = TrainData(x.to(device), None, config.seed)
    job = Job(model, data, config, augment, [model], min(config.batch, len(x)))
    if config.compile:
        job.fast = compiled(model.embed)
    return job


def pace(job: Job, stage: Stage, seconds: float = 2.0) -> Pace:
    """Time a stage for about so many seconds each way, after a few steps to warm up.

    The model learns a little meanwhile: it is one to throw away.
    """
    began = time.monotonic()
    if stage.begin is not None:
        stage.state = stage.begin(job.data, 0, stage.state)
    finish(job.device)
    begin = time.monotonic() - began
    whole = stepped(job, stage, _drawn(job, stage), seconds)
    one = next(_drawn(job, stage))
    return Pace(begin, whole, stepped(job, stage, itertools.repeat(one), seconds))


def stepped(job: Job, stage: Stage, batches: Iterator[Views], seconds: float) -> float:
    """Seconds of a step, over at most so many seconds."""
    optimiser = optimiser_of(job)
    for group in optimiser.param_groups:
        group["lr"] = _RATE
    job.model.train()
    with fast_steps(job):
        for number, views in enumerate(batches, 1 - _WARM):
            gradients(job, stage, views)
            optimiser.step()
            if number == 0:
                finish(job.device)
                began = time.monotonic()
            if number % 5 == 0:  # a GPU is ahead of the clock
                finish(job.device)
            if number == _MOST or (number > 0 and time.monotonic() - began > seconds):
                break
        finish(job.device)
    return (time.monotonic() - began) / number


def views_of(job: Job, stage: Stage) -> int:
    """Views that a step of this stage learns from."""
    return job.batch * (job.model.views + (stage.strong is not None))


def flops_of_a_view(job: Job, stage: Stage) -> float:
    """Operations of a view's step, counted."""
    from torch.utils.flop_counter import FlopCounterMode

    views = next(_drawn(job, stage))
    with FlopCounterMode(display=False) as counter:
        gradients(job, stage, views)
    return counter.get_total_flops() / views_of(job, stage)


def peak(device: torch.device, kind: torch.dtype, side: int) -> float:
    """Operations per second of one large product: the best of twenty."""
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    return 2 * side**3 / min(_timed(lambda: a @ b, device) for _ in range(20))


def _timed(work: Callable[[], Tensor], device: torch.device) -> float:
    finish(device)
    began = time.monotonic()
    work()
    finish(device)
    return time.monotonic() - began


def _drawn(job: Job, stage: Stage) -> Iterator[Views]:
    # batch after batch, epoch after epoch, in full size
    stage = dataclasses.replace(stage, scale=None)
    for epoch in itertools.count():
        for ids in order(job, epoch):
            yield draw(job, stage, ids, epoch)
