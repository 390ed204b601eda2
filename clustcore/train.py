"""One training loop for every model and defence: label-free, seeded, resumable, stopping with a
reason when it collapses or diverges.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clustcore.augment import AugmentConfig, view
from clustcore.checkpoint import load_resume, save_resume, write_history
from clustcore.defences.base import Defence
from clustcore.distributed import pick_device
from clustcore.models.base import Loss, Model, Stage, TrainData, Views
from clustcore.types import Config, setting


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """The loop's own settings. Epochs belong to the model's stages."""

    batch: int = setting(256, "images in a batch", range=(2, 65536))
    lr: float = setting(1e-3, "Adam's learning rate at its highest", range=(1e-7, 1))
    weight_decay: float = setting(0.0, "decoupled weight decay", range=(0, 1), rare=True)
    seed: int = setting(0, "seed of weights, order and views", range=(0, 2**31 - 1))
    minutes: float = setting(
        0.0, "stop after this many minutes (0: no limit)", range=(0, 1e6), unit="min"
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: str = setting(
        "auto",
        "of the products; auto: bfloat16 on CUDA, float32 elsewhere. A CPU with AMX is twice as "
        "fast in bfloat16, another one slower",
        choices=("auto", "float32", "bfloat16"),
        rare=True,
    )


class TrainingFailed(RuntimeError):
    """Training stopped by itself: diverged or collapsed.

    The message says what, in which epoch, and what to try.
    """


@dataclass(frozen=True)
class Epoch:
    """What the history keeps of one epoch."""

    epoch: int  # over all stages, from 0
    stage: str
    loss: float
    parts: dict[str, float]
    sizes: tuple[int, ...]  # samples in each cluster, counted on the views of this epoch
    entropy_mean: float  # entropy of the mean assignment / ln k: 1 = balanced
    entropy_sample: float  # mean entropy of an assignment / ln k: 0 = decided
    confidence: float  # mean of the largest soft assignment
    seconds: float
    total: int  # epochs there will be

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
        }
        return values | {f"part_{name}": value for name, value in self.parts.items()}


@dataclass
class Progress:
    """Where training stands; saved after every epoch."""

    stage: int = 0
    epoch: int = 0  # within the stage
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


def train(
    model: Model,
    data: TrainData,
    config: TrainConfig,
    augment: AugmentConfig,
    *,
    defence: Defence | None = None,
    folder: Path | None = None,
    origin: str = "",
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Progress:
    """Run the model's stages, or a defence's on a trained model. With a folder, every epoch is
    saved there and a later call goes on from the last one.

    Args:
        defence: what a trained model is to be defended with; `data.teacher` then holds the model's
            own clusters.
        origin: says what is trained on what; a saved state of another origin is refused.
        on_epoch: called after each epoch; may raise to stop (the epoch is saved first).
        on_step: called with (batch, batches) within an epoch.

    Returns:
        The progress; `finished` is False where the time limit came first.

    Raises:
        TrainingFailed: a loss was not finite, or nearly all samples fell into one cluster.
        ValueError: fewer images than one batch needs.
    """
    device = pick_device(config.device)
    if len(data) < 2:
        raise ValueError(f"training data: expected at least 2 images, got {len(data)}")
    torch.manual_seed(config.seed)
    model.to(device)
    told = None if data.teacher is None else data.teacher.to(device)
    data = TrainData(data.x.to(device), told)
    modules: list[torch.nn.Module] = [model]
    if defence is not None:
        modules.append(defence.to(device))
    stages = model.stages() if defence is None else defence.stages(model)
    total = sum(stage.epochs for stage in stages)
    if not total:
        raise ValueError(
            f"{type(model).__name__}: expected a stage with epochs, got none: the model would stay "
            "as it was drawn"
        )
    progress, optimiser_state = Progress(), None
    if folder is not None:
        found = load_resume(folder, model, stages, origin, defence)
        progress, optimiser_state = found or (progress, optimiser_state)
    started = time.monotonic()
    with _denormals_flushed():
        while progress.stage < len(stages):
            stage = stages[progress.stage]
            optimiser = torch.optim.AdamW(
                [p for module in modules for p in module.parameters() if p.requires_grad],
                lr=config.lr,
                weight_decay=config.weight_decay,
            )
            if optimiser_state is not None:
                optimiser.load_state_dict(optimiser_state)
                optimiser_state = None
            while progress.epoch < stage.epochs:
                if config.minutes and time.monotonic() - started > config.minutes * 60:
                    return progress
                done = sum(s.epochs for s in stages[: progress.stage]) + progress.epoch
                epoch = _epoch(
                    model,
                    stage,
                    data,
                    config,
                    augment,
                    optimiser,
                    progress.epoch,
                    done,
                    total,
                    on_step,
                )
                progress.history.append(epoch.row())
                progress.epoch += 1
                # what a defence starts from is clustered already
                if stage.clusters and (defence is not None or progress.epoch == stage.epochs):
                    advice = (
                        "other weights of the losses" if defence is None else "a weaker defence"
                    )
                    _check_collapse(epoch, advice)
                if progress.epoch == stage.epochs:
                    progress.stage, progress.epoch = progress.stage + 1, 0
                if folder is not None:
                    write_history(folder, progress.history)
                    save_resume(folder, model, stages, optimiser, progress, origin, defence)
                if on_epoch is not None:
                    on_epoch(epoch)
                if progress.epoch == 0:
                    break
    progress.finished = True
    model.eval()
    return progress


@contextlib.contextmanager
def _denormals_flushed() -> Iterator[None]:
    # numbers next to 0, as dying units make them, slow a CPU tenfold; the rest of the process may
    # need them
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _epoch(
    model: Model,
    stage: Stage,
    data: TrainData,
    config: TrainConfig,
    augment: AugmentConfig,
    optimiser: torch.optim.Optimizer,
    stage_epoch: int,
    done: int,
    total: int,
    on_step: Callable[[int, int], None] | None,
) -> Epoch:
    began = time.monotonic()
    if stage.begin is not None:
        stage.state = stage.begin(data, stage_epoch, stage.state)
    # what a loss draws belongs to the epoch, so that a resumed run draws the same
    torch.manual_seed(config.seed * 1_000_003 + done)
    model.train()
    device = data.x.device
    auto = "bfloat16" if device.type == "cuda" else "float32"
    half = (auto if config.precision == "auto" else config.precision) == "bfloat16"
    batches = max(1, len(data) // config.batch)
    sums: dict[str, Tensor] = {}
    mean, entropy, confidence = torch.zeros(model.clusters, device=device), 0.0, 0.0
    sizes = torch.zeros(model.clusters, dtype=torch.long, device=device)
    for step, ids in enumerate(_order(len(data), config.batch, config.seed, done, device)):
        for group in optimiser.param_groups:
            group["lr"] = (
                config.lr * stage.lr * _schedule(stage_epoch + step / batches, stage.epochs)
            )
        x = data.x[ids].float() / 255
        first, second = (
            view(x, ids, augment, seed=config.seed, epoch=done, index=index) for index in (0, 1)
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = stage.loss(Views(x, first, second, ids), stage.state)
        _check_finite(loss, stage.name, done)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        for name, part in {"loss": loss.total, **loss.parts}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + part.detach()
        if on_step is not None:
            on_step(step + 1, batches)
    # the diagnostics look at a fixed sample of clean images: cheap, and comparable from epoch to
    # epoch
    model.eval()
    with torch.no_grad():
        sample = data.x[:: max(1, len(data) // 2000)]
        p = torch.cat([model.soft(model.embed(x.float() / 255)) for x in sample.split(1000)])
        if not torch.isfinite(p).all():
            raise TrainingFailed(
                f"stage {stage.name!r}, epoch {done}: weights: expected finite assignments, got "
                "NaN; the last whole epoch is kept; try a lower learning rate"
            )
        mean = p.mean(0)
        entropy = float(-(p * p.clamp_min(1e-12).log()).sum(1).mean())
        confidence = float(p.max(1).values.mean())
        sizes = torch.bincount(p.argmax(1), minlength=model.clusters)
    scale = math.log(model.clusters)
    averages = {name: float(value) / batches for name, value in sums.items()}
    return Epoch(
        epoch=done,
        stage=stage.name,
        loss=averages.pop("loss"),
        parts=averages,
        sizes=tuple(int(n) for n in sizes),
        entropy_mean=float(-(mean * mean.clamp_min(1e-12).log()).sum()) / scale,
        entropy_sample=entropy / scale,
        confidence=confidence,
        seconds=time.monotonic() - began,
        total=total,
    )


def _order(n: int, batch: int, seed: int, epoch: int, device: torch.device) -> Iterator[Tensor]:
    # drawn on the CPU, so that every device sees the same order; the last, smaller batch is left
    # out
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator).to(device)
    for i in range(max(1, n // batch)):
        yield order[i * batch : (i + 1) * batch]


def _schedule(epoch: float, epochs: int) -> float:
    # a tenth of the stage to warm up (one epoch at most), then half a cosine down to 2 %
    warm = min(1.0, epochs / 10)
    if epoch < warm:
        return max(0.02, epoch / warm)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (epoch - warm) / max(1e-9, epochs - warm)))


def _check_finite(loss: Loss, stage: str, epoch: int) -> None:
    if torch.isfinite(loss.total):
        return
    bad = [name for name, part in loss.parts.items() if not torch.isfinite(part)]
    raise TrainingFailed(
        f"stage {stage!r}, epoch {epoch}: loss: expected a finite number, got "
        f"{loss.total.item()} (part {', '.join(bad) or 'total'}); the last whole epoch is kept; "
        "try a lower learning rate"
    )


def _check_collapse(epoch: Epoch, advice: str) -> None:
    share = max(epoch.sizes) / max(1, sum(epoch.sizes))
    if share > 0.95:
        raise TrainingFailed(
            f"stage {epoch.stage!r}, epoch {epoch.epoch}: clusters: expected samples in more than "
            f"one, got {share:.0%} in one: the clustering has collapsed; try {advice}"
        )
