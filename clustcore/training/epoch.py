"""One epoch of training: the settings of the loop, its batches and steps, and what is kept of it.

The images stay on the device as bytes; views are drawn there; nothing within an epoch waits for a
GPU but a look at the losses now and then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int64, UInt8
from torch import Tensor, nn

from clustcore.config import Config, setting
from clustcore.distributed import (
    agreed,
    average_gradients,
    collect,
    follow_main,
    rank,
    shard,
    world,
)
from clustcore.models import base
from clustcore.models.base import Model, Stage, TrainData, Views
from clustcore.training.views import AugmentConfig, view

LOSS_CHECK_STEPS = 50  # steps between two checks of the losses of a GPU, each of which waits for it
_SAMPLE = 2000  # images that the diagnostics look at, about
# of a device's time, at most this share is for looking how the model stands: a GPU's epochs are
# short, and are not all looked at; elsewhere each is
_DIAGNOSING = {"cuda": 0.03}


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """The loop's own settings. Epochs belong to the model's stages."""

    batch: int = setting(256, "images in a batch, all processes together", range=(2, 65536))
    lr: float = setting(1e-3, "learning rate at its highest", range=(1e-7, 10))
    optimiser: str = setting(
        "adam",
        "adam, with decoupled weight decay; sgd, with Nesterov's momentum .9: for deep networks, "
        "at rates a hundred times as high",
        choices=("adam", "sgd"),
        rare=True,
    )
    weight_decay: float = setting(0.0, "weight decay", range=(0, 1), rare=True)
    warmup: float = setting(
        1.0,
        "epochs in which a stage's learning rate rises, at most a tenth of the stage",
        range=(0, 100),
        rare=True,
    )
    seed: int = setting(0, "seed of weights, order and views", range=(0, 2**31 - 1))
    minutes: float = setting(
        0.0, "stop after this many minutes (0: no limit)", range=(0, 1e6), unit="min"
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: str = setting(
        "auto",
        "of the products; auto: whichever makes a step faster on this device, timed at the start "
        "and whenever training goes on",
        choices=("auto", "float32", "bfloat16"),
        rare=True,
    )
    compile: bool = setting(
        False, "compile the model's embedding: a minute at the start, faster steps", rare=True
    )
    snapshots: int = setting(
        1, "epochs between two snapshots of the embedding (0: none)", range=(0, 10_000), rare=True
    )


class TrainingFailed(RuntimeError):
    """Training stopped by itself: diverged, collapsed, or out of memory.

    The message says what, in which epoch, and what to try.
    """


@dataclass(frozen=True)
class Epoch:
    """What the history keeps of one epoch."""

    epoch: int  # over all stages, from 0
    stage: str
    loss: float
    parts: dict[str, float]
    sizes: tuple[int, ...]  # images in each cluster, of those the diagnostics look at
    entropy_mean: float  # entropy of the mean assignment / ln k: 1 = balanced
    entropy_sample: float  # mean entropy of an assignment / ln k: 0 = decided
    confidence: float  # mean of the largest soft assignment
    seconds: float
    total: int  # epochs there will be
    views_per_s: float  # of the steps alone, all processes together
    batch: int  # images in a batch, all processes together
    views: int  # that it learned from
    precision: str  # of the products
    note: str = ""  # what the loop has decided in it, in a sentence

    def row(self) -> dict[str, Any]:
        """One line of history.csv."""
        values = {
            "epoch": self.epoch,
            "stage": self.stage,
            "loss": self.loss,
            "entropy_mean": self.entropy_mean,
            "entropy_sample": self.entropy_sample,
            "confidence": self.confidence,
            "used": sum(size > 0 for size in self.sizes),
            "sizes": " ".join(map(str, self.sizes)),
            "seconds": round(self.seconds, 2),
            "views_per_s": round(self.views_per_s),
            "batch": self.batch,
            "views": self.views,
            "precision": self.precision,
        }
        return values | {f"part_{name}": value for name, value in self.parts.items()}


@dataclass
class Progress:
    """Where training stands; saved after every epoch."""

    stage: int = 0
    epoch: int = 0  # within the stage
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False
    batch: int = 0  # images in a batch; smaller than asked for where memory ran out


@dataclass(frozen=True)
class Snapshot:
    """A fixed sample of the clean images, as the model sees them after an epoch."""

    rows: Int64[np.ndarray, " m"]
    z: Float16[np.ndarray, "m d"]
    p: Float32[np.ndarray, "m k"]
    labels: UInt8[np.ndarray, " m"]


@dataclass
class Training:
    """What is trained, on what: the same for every epoch but for `batch`."""

    model: Model
    data: TrainData  # on the device
    config: TrainConfig
    augment: AugmentConfig
    modules: list[nn.Module]  # the model, and a defence's own networks
    batch: int  # images in a batch, all processes together
    total: int = 0  # epochs there will be
    on_step: Callable[[int, int], None] | None = None
    fast: Callable[[Tensor], Tensor] | None = None  # the model's embedding, compiled
    precision: str = ""  # what "auto" came to; "": not timed yet
    settled: bool = False  # whether the statistics are those of the clean images
    snapshot: Snapshot | None = None  # what the last diagnosis saw
    diagnosed: tuple[float, float] = (0.0, 0.0)  # when that was, and how long it took

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return self.data.x.device

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return max(1, len(self.data) // self.batch)

    @functools.cached_property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return [p for module in self.modules for p in module.parameters() if p.requires_grad]

    def tensors(self) -> list[Tensor]:
        """Weights and buffers of all modules."""
        return [value for module in self.modules for value in module.state_dict().values()]


def optimiser_of(training: Training) -> torch.optim.Optimizer:
    """What the config asks for; one kernel for all weights on CUDA."""
    config, fused = training.config, training.device.type == "cuda"
    common = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.optimiser == "sgd":
        return torch.optim.SGD(training.parameters, momentum=0.9, nesterov=True, **common)
    return torch.optim.AdamW(training.parameters, **common)


def run_epoch(
    training: Training, stage: Stage, optimiser: torch.optim.Optimizer, stage_epoch: int, done: int
) -> tuple[Epoch, Snapshot | None]:
    """Train epoch `stage_epoch` of a stage, `done` epochs having gone before it in all.

    It comes with what was seen of the model after it, where that was looked at. Sizes and entropies
    are the last look's.

    Every rank takes its rows of each batch, and all end with the same weights and figures.

    Raises:
        TrainingFailed: a loss or an assignment was not finite.
    """
    began = time.monotonic()
    if stage.begin is not None:
        if not training.settled:
            settle(training)
        stage.state = stage.begin(training.data, stage_epoch, stage.state)
        follow_main([*training.tensors(), *stage.state.values()])
    means, note, seen, views_per_s = {}, "", 0, 0.0
    if stage.loss is None:
        means, stage.state = {name: float(value) for name, value in stage.state.items()}, {}
    else:
        if training.config.precision == "auto" and not training.precision:
            note = choose_precision(training, stage, done)
        torch.manual_seed(seed_of(training.config.seed, done))
        training.model.train()
        training.settled = False
        stepping = time.monotonic()
        with fast_steps(training):
            means = _steps(training, stage, optimiser, stage_epoch, done)
        views = training.model.views + (stage.strong is not None)
        seen = training.batches * min(training.batch, len(training.data)) * views
        views_per_s = seen / (time.monotonic() - stepping)
    snapshot, new = training.snapshot, None
    if snapshot is None or _is_due(training, last=stage_epoch + 1 == stage.epochs):
        diagnosing = time.monotonic()
        settle(training)
        follow_main(training.tensors())
        training.model.eval()
        training.snapshot = snapshot = new = diagnose(training, stage, done)
        training.diagnosed = (time.monotonic(), time.monotonic() - diagnosing)
    entropy_mean, entropy_sample, confidence = _spread(snapshot.p)
    sizes = np.bincount(snapshot.labels, minlength=training.model.clusters)
    epoch = Epoch(
        epoch=done,
        stage=stage.name,
        loss=means.pop("loss"),
        parts=means,
        sizes=tuple(int(size) for size in sizes),
        entropy_mean=entropy_mean,
        entropy_sample=entropy_sample,
        confidence=confidence,
        seconds=time.monotonic() - began,
        total=training.total,
        views_per_s=views_per_s,
        batch=training.batch,
        views=seen,
        precision=_precision(training),
        note=note,
    )
    return epoch, new


def _is_due(training: Training, last: bool) -> bool:
    share = _DIAGNOSING.get(training.device.type)
    if share is None or last:
        return True
    when, took = training.diagnosed
    return bool(agreed(took <= share * (time.monotonic() - when)))


def seed_of(seed: int, done: int) -> int:
    """What a loss draws from in epoch `done`.

    It belongs to epoch and rank, so that a resumed run draws the same.

    Ranks differ in the low 32 bits, which are all that the CPU's generator reads.
    """
    return seed * 1_000_003 + done + rank() * 0x9E3779B1 % 2**31


def draw(
    training: Training, stage: Stage, ids: Int64[Tensor, " n"], done: int, stage_epoch: int = 0
) -> Views:
    """The images of these rows and their views in epoch `done`, made on the device.

    That epoch is the stage's `stage_epoch`.
    """
    x = training.data.x[ids].float() / 255
    scale = 1.0 if stage.scale is None else stage.scale(stage_epoch)
    ways = [training.augment] * training.model.views
    if stage.strong is not None:
        ways.append(dataclasses.replace(training.augment, **stage.strong))
    made = [
        view(x, ids, way, seed=training.config.seed, epoch=done, index=index, scale=scale)
        for index, way in enumerate(ways)
    ]
    strong = made.pop() if stage.strong is not None else None
    first, second, *more = made
    return Views(x, first, second, ids, tuple(more), strong)


def gradients(training: Training, stage: Stage, views: Views) -> dict[str, Tensor]:
    """Leave the gradient of a batch's loss in the weights; gives the loss and its parts.

    All are means over the ranks.
    """
    half = _precision(training) == "bfloat16"
    with torch.autocast(training.device.type, torch.bfloat16, enabled=half):
        loss = stage.criterion(views, stage.state)
    for parameter in training.parameters:
        parameter.grad = None
    loss.total.backward()
    named = {"loss": loss.total, **loss.parts}
    means = average_gradients(training.parameters, *(value.detach() for value in named.values()))
    return dict(zip(named, means, strict=True))


def _precision(training: Training) -> str:
    if training.config.precision != "auto":
        return training.config.precision
    return training.precision or "float32"


def choose_precision(training: Training, stage: Stage, done: int) -> str:
    """Time two steps of each precision, keep the faster for the training, and say so.

    One step comes before, to warm up. No weight changes. Of several processes the first decides.

    On a CPU the steps are short ones, and what is much slower at once is not asked again: there
    bfloat16 may take ten times as long.
    """
    cpu = training.device.type == "cpu"
    rows = next(order(training, done))
    if cpu:
        rows = rows[: 32 // world() * world()]
    views = draw(training, stage, rows[shard(len(rows))], done)
    # a defence's attacker learns within the loss
    inner = [m.inner for m in training.modules if getattr(m, "inner", None) is not None]
    owners = [*training.modules, *inner]
    before, state = [copied(owner.state_dict()) for owner in owners], copied(stage.state)
    found: dict[str, float] = {}
    training.model.train()
    for training.precision in ("float32", "bfloat16"):
        times: list[float] = []
        while len(times) < 3:
            times.append(agreed(_timed(training, stage, views)))
            if cpu and found and times[0] > 3 * found["float32"]:
                break
        found[training.precision] = min(times[1:] or times)
    for owner, values in zip(owners, before, strict=True):
        owner.load_state_dict(values)
    stage.state = state
    for parameter in training.parameters:
        parameter.grad = None
    training.precision, other = sorted(found, key=found.__getitem__)
    return (
        f"precision: {training.precision}, {found[training.precision]:.3g} s a step of "
        f"{len(rows)} images; {other} takes {found[other]:.3g} s on this device"
    )


def _timed(training: Training, stage: Stage, views: Views) -> float:
    finish(training.device)
    began = time.monotonic()
    gradients(training, stage, views)
    finish(training.device)
    return time.monotonic() - began


def copied(state: Any) -> Any:
    """A state of tensors in dictionaries, as it is now."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return state


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _steps(
    training: Training, stage: Stage, optimiser: torch.optim.Optimizer, stage_epoch: int, done: int
) -> dict[str, float]:
    # the means of the loss and its parts
    sums: dict[str, Tensor] = {}
    every = 1 if training.device.type == "cpu" else LOSS_CHECK_STEPS
    for step, ids in enumerate(order(training, done)):
        rate = _schedule(
            stage_epoch + step / training.batches, stage.epochs, training.config.warmup
        )
        for group in optimiser.param_groups:
            group["lr"] = training.config.lr * stage.lr * rate
        views = draw(training, stage, ids[shard(len(ids))], done, stage_epoch)
        for name, mean in gradients(training, stage, views).items():
            sums[name] = sums[name] + mean if name in sums else mean
        if step % every == 0 or step + 1 == training.batches:
            _check_finite(sums, stage.name, done)
        optimiser.step()
        if training.on_step is not None:
            training.on_step(step + 1, training.batches)
    return {name: float(value) / training.batches for name, value in sums.items()}


def settle(training: Training) -> None:
    """Measure batch normalisation's running statistics on the clean images: see `base.settle`."""
    base.settle(training.model, training.data, min(1000, max(2, training.batch // world())))
    training.settled = True


@torch.no_grad()
def diagnose(training: Training, stage: Stage, done: int) -> Snapshot:
    """How the model sees a fixed sample of the clean images.

    It is cheap, and comparable from epoch to epoch.

    Raises:
        TrainingFailed: an assignment is not finite.
    """
    rows = np.arange(0, len(training.data), max(1, len(training.data) // _SAMPLE))
    mine = torch.from_numpy(rows[shard(len(rows))]).to(training.device)
    found = []
    for ids in mine.split(min(1000, training.batch)):
        z = training.model.embed(training.data.x[ids].float() / 255)
        found.append((z.half().cpu(), training.model.soft(z).float().cpu()))
    z, p = (collect(torch.cat(parts).numpy(), len(rows)) for parts in zip(*found, strict=True))
    if not np.isfinite(p).all():
        raise TrainingFailed(
            f"stage {stage.name!r}, epoch {done}: weights: expected finite assignments, got "
            "NaN; the last whole epoch is kept; try a lower learning rate"
        )
    return Snapshot(rows, z, p, p.argmax(1).astype(np.uint8))


def _spread(p: Float32[np.ndarray, "m k"]) -> tuple[float, float, float]:
    # the first two in units of ln k
    mean, scale = p.mean(0), math.log(p.shape[1])
    balance, own = (-(q * np.log(q.clip(1e-12))).sum(-1).mean() for q in (mean, p))
    return float(balance) / scale, float(own) / scale, float(p.max(1).mean())


def compiled(embed: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An embedding, compiled; where that fails, a warning says so and it stays as it was."""
    fast = [torch.compile(embed)]

    def call(x: Tensor) -> Tensor:
        try:
            return fast[0](x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what the compiler raises, too
            if fast[0] is embed:
                raise
            reason = str(error).strip().splitlines()[0]
            warnings.warn(f"compile: {reason}; training goes on without", stacklevel=2)
            fast[0] = embed
            return embed(x)

    return call


@contextlib.contextmanager
def fast_steps(training: Training) -> Iterator[None]:
    """Convolutions chosen by trial on CUDA, and the model with its compiled embedding.

    For the steps alone, as what else looks at the model comes in other sizes.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = training.device.type == "cuda"
    if training.fast is not None:
        vars(training.model)["embed"] = training.fast  # found before the class's own
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
        if training.fast is not None:
            del vars(training.model)["embed"]


def order(training: Training, epoch: int) -> Iterator[Tensor]:
    """The rows of each batch of an epoch, counted over all stages."""
    # drawn on the CPU, so that every device sees the same order; the last, smaller batch is left
    # out
    generator = torch.Generator().manual_seed(training.config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(training.data), generator=generator).to(training.device)
    for i in range(training.batches):
        yield order[i * training.batch : (i + 1) * training.batch]


def _schedule(epoch: float, epochs: int, warmup: float) -> float:
    # a tenth of the stage to warm up (`warmup` epochs at most), then half a cosine down to 2 %
    warm = min(warmup, epochs / 10)
    if epoch < warm:
        return max(0.02, epoch / warm)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (epoch - warm) / max(1e-9, epochs - warm)))


def _check_finite(sums: dict[str, Tensor], stage: str, epoch: int) -> None:
    # a sum over the epoch so far: what was not finite once stays so
    loss = float(sums["loss"])
    if math.isfinite(loss):
        return
    bad = [name for name, part in sums.items() if name != "loss" and not torch.isfinite(part)]
    raise TrainingFailed(
        f"stage {stage!r}, epoch {epoch}: loss: expected a finite number, got "
        f"{loss} (part {', '.join(bad) or 'total'}); the last whole epoch is kept; "
        "try a lower learning rate"
    )
