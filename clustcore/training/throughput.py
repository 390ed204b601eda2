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
    TrainConfig,
    Training,
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


def training_of(
    model: Model,
    x: Tensor,
    config: TrainConfig,
    augment: AugmentConfig,
    device: torch.device,
) -> Training:
    """A model ready to be stepped, as `train` sets it up; the images go to the device."""
    model.to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    data = TrainData(x.to(device), None, config.seed)
    training = Training(model, data, config, augment, [model], min(config.batch, len(x)))
    if config.compile:
        training.fast = compiled(model.embed)
    return training


def pace(training: Training, stage: Stage, seconds: float = 2.0) -> Pace:
    """Time a stage for about so many seconds each way, after a few steps to warm up.

    The model learns a little meanwhile: it is one to throw away.
    """
    began = time.monotonic()
    if stage.begin is not None:
        stage.state = stage.begin(training.data, 0, stage.state)
    finish(training.device)
    begin = time.monotonic() - began
    whole = stepped(training, stage, _drawn(training, stage), seconds)
    one = next(_drawn(training, stage))
    return Pace(begin, whole, stepped(training, stage, itertools.repeat(one), seconds))


def stepped(training: Training, stage: Stage, batches: Iterator[Views], seconds: float) -> float:
    """Seconds of a step, over at most so many seconds."""
    optimiser = optimiser_of(training)
    for group in optimiser.param_groups:
        group["lr"] = _RATE
    training.model.train()
    with fast_steps(training):
        for number, views in enumerate(batches, 1 - _WARM):
            gradients(training, stage, views)
            optimiser.step()
            if number == 0:
                finish(training.device)
                began = time.monotonic()
            if number % 5 == 0:  # a GPU is ahead of the clock
                finish(training.device)
            if number == _MOST or (number > 0 and time.monotonic() - began > seconds):
                break
        finish(training.device)
    return (time.monotonic() - began) / number


def views_of(training: Training, stage: Stage) -> int:
    """Views that a step of this stage learns from."""
    return training.batch * (training.model.views + (stage.strong is not None))


def flops_of_a_view(training: Training, stage: Stage) -> float:
    """Operations of a view's step, counted."""
    from torch.utils.flop_counter import FlopCounterMode

    views = next(_drawn(training, stage))
    with FlopCounterMode(display=False) as counter:
        gradients(training, stage, views)
    return counter.get_total_flops() / views_of(training, stage)


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


def _drawn(training: Training, stage: Stage) -> Iterator[Views]:
    # batch after batch, epoch after epoch, in full size
    stage = dataclasses.replace(stage, scale=None)
    for epoch in itertools.count():
        for ids in order(training, epoch):
            yield draw(training, stage, ids, epoch)
