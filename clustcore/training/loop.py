"""One training loop for every model and defence.

It is label-free, seeded and resumable, runs on one process or many, and stops with a reason when it
collapses or diverges.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clustcore import memory
from clustcore.defences.base import Defence
from clustcore.distributed import (
    PeerOutOfMemory,
    average_gradients,
    collect,
    follow_main,
    group,
    is_main,
    out_of_memory,
    pick_device,
    wait,
    world,
)
from clustcore.models.base import Model, Stage, TrainData
from clustcore.training.epoch import (
    Epoch,
    Progress,
    Snapshot,
    TrainConfig,
    Training,
    TrainingFailed,
    compiled,
    copied,
    optimiser_of,
    run_epoch,
    settle,
)
from clustcore.training.resume import (
    drop_later,
    load_resume,
    save_resume,
    save_snapshot,
    write_history,
)
from clustcore.training.views import AugmentConfig

__all__ = ["Epoch", "Progress", "TrainConfig", "TrainingFailed", "pick_device", "train"]

# seconds between two saves of a training, by device: a GPU's epochs are short
_PAUSE = {"cuda": 20.0}
_SAVING = 0.01  # share of the time that saves may take there


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
    """Run the model's stages, or a defence's on a trained model.

    With a folder, every epoch is saved there (on CUDA every few, and the last whole one before it
    stops or fails) and a later call goes on from the last one, on any number of processes.

    Under `torchrun` each process takes its rows of every batch, and the weights are those of one
    process with the whole batch; only what a loss draws at random is each process's own. Where a
    device runs out of memory, all begin the epoch again with half the batch, and a warning says so.

    Args:
        model: is trained in place, on the device that the config names.
        data: the images, and the clusters that training is told, if any.
        config: the loop's settings.
        augment: how far a view may stray from its image.
        folder: where it is saved.
        defence: what a trained model is to be defended with; `data.teacher` then holds the model's
            own clusters.
        origin: says what is trained on what; a saved state of another origin is refused.
        on_epoch: called after each epoch; may raise to stop (the epoch is saved first).
        on_step: called with (batch, batches) within an epoch.

    Returns:
        The progress; `finished` is False where the time limit came first.

    Raises:
        TrainingFailed: a loss was not finite, nearly all samples fell into one cluster, or not even
            the smallest batch found memory (of several GPUs with batch statistics: the first one).
        RankLost: another process ended.
        ValueError: fewer images than one batch needs, or a batch that the processes cannot share.

    Examples:
        >>> from clustcore.models.dec import DEC, DECConfig
        >>> config = DECConfig(
        ...     clusters=2, dim=2, width=2, input_shape=(1, 8, 8), autoencode=2, cluster=1
        ... )
        >>> x = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
        >>> x[::2, :, :4] = 255  # half of the images are bright above
        >>> loop = TrainConfig(batch=16, device="cpu", precision="float32")
        >>> progress = train(DEC(config), TrainData(x), loop, AugmentConfig())
        >>> progress.finished, [row["stage"] for row in progress.history]
        (True, ['autoencode', 'autoencode', 'cluster'])
    """
    if len(data) < 2:
        raise ValueError(f"training data: expected at least 2 images, got {len(data)}")
    if defence is None:
        model.check(data)
    with group(config.device) as device, _denormals_flushed():
        torch.manual_seed(config.seed)
        modules: list[Model | Defence] = [model] if defence is None else [model, defence]
        for module in modules:
            module.to(device)
        if device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        told = None if data.teacher is None else data.teacher.to(device)
        data = TrainData(data.x.to(device), told, config.seed, on_step)
        training = Training(model, data, config, augment, modules, config.batch, on_step=on_step)
        stages = model.stages() if defence is None else defence.stages(model)
        training.total = sum(stage.epochs for stage in stages)
        if not training.total:
            raise ValueError(
                f"{type(model).__name__}: expected a stage with epochs, got none: the model would "
                "stay as it was drawn"
            )
        loop = _Loop(training, stages, defence, folder, origin)
        with _synchronised(model, device), _one_attacker(defence):
            return loop.run(on_epoch)


class _Loop:
    """The epochs of all stages, and what is saved of them."""

    def __init__(
        self,
        training: Training,
        stages: list[Stage],
        defence: Defence | None,
        folder: Path | None,
        origin: str,
    ) -> None:
        self.training, self.stages, self.defence = training, stages, defence
        self.folder, self.origin = folder, origin
        self.progress, self.optimiser_state = Progress(batch=training.batch), None
        if folder is not None:
            found = load_resume(folder, training.model, stages, origin, defence)
            self.progress, self.optimiser_state = found or (self.progress, self.optimiser_state)
        training.batch = self.progress.batch = min(training.batch, self.progress.batch)
        _check_shares(self.progress, min(training.batch, len(training.data)), origin)
        if folder is not None and is_main():
            drop_later(folder, self.progress.history)
        follow_main(training.tensors())
        if training.config.compile:
            training.fast = compiled(training.model.embed)
        self.started = self.saved = time.monotonic()
        self.took = 0.0  # seconds of the last save
        self.unsaved = False  # whether an epoch is whole that the resume state does not have
        self.optimiser: torch.optim.Optimizer | None = None  # the stage's
        self.before: _Before | None = None  # what an epoch that is not whole yet goes back to

    def run(self, on_epoch: Callable[[Epoch], None] | None) -> Progress:
        """All epochs there still are, or those that the time limit leaves.

        Where they end early, the last whole one is kept.
        """
        try:
            return self._run(on_epoch)
        except BaseException:
            self._rescue()
            raise

    def _run(self, on_epoch: Callable[[Epoch], None] | None) -> Progress:
        progress, stages = self.progress, self.stages
        while progress.stage < len(stages):
            stage = stages[progress.stage]
            self.optimiser = optimiser_of(self.training)
            if self.optimiser_state is not None:
                _load(self.optimiser, self.optimiser_state)
                self.optimiser_state = None
            while progress.epoch < stage.epochs:
                if self._late():
                    if not self.training.settled and progress.history:
                        settle(self.training)  # it may be judged as it stands
                    self._rescue()
                    return progress
                done = sum(s.epochs for s in stages[: progress.stage]) + progress.epoch
                epoch, snapshot = self._epoch(stage, done)
                progress.history.append(epoch.row())
                progress.epoch += 1
                if is_main() and self.folder is not None:  # an epoch that collapsed is shown, too
                    write_history(self.folder, progress.history)
                # what a defence starts from is clustered already
                if stage.clusters and (self.defence or progress.epoch == stage.epochs):
                    advice = "a weaker defence" if self.defence else "other weights of the losses"
                    _check_collapse(epoch, advice)
                if progress.epoch == stage.epochs:
                    progress.stage, progress.epoch = progress.stage + 1, 0
                self.before, self.unsaved = None, self.folder is not None
                self._save_epoch(epoch, snapshot)
                if on_epoch is not None:
                    on_epoch(epoch)
                if progress.epoch == 0:
                    break
        progress.finished = True
        self.training.model.eval()
        return progress

    def _late(self) -> bool:
        # rank 0's clock counts
        limit = self.training.config.minutes * 60
        late = bool(limit) and time.monotonic() - self.started > limit
        return bool(collect(np.array([late]), world())[0])

    def _epoch(self, stage: Stage, done: int) -> tuple[Epoch, Snapshot | None]:
        # again with half the batch where memory runs out in any process, from where it began: what
        # `memory.Batches` does for rows that are only asked would mix two batch sizes here, and
        # halve in one process alone
        while True:
            try:
                self.before = None  # its memory first
                self.before = _Before(self, stage)
                with memory.counted():
                    found = run_epoch(
                        self.training, stage, self.optimiser, self.progress.epoch, done
                    )
                wait()  # it is whole where it is whole in every process
                return found
            except torch.OutOfMemoryError as error:
                elsewhere = isinstance(error, PeerOutOfMemory)
            # not within the except block: the error holds on to what filled the memory
            self._halve(f"stage {stage.name!r}, epoch {done}", elsewhere)

    def _halve(self, place: str, elsewhere: bool) -> None:
        training, alone = self.training, _shares_statistics(self.training.model)
        if not (elsewhere or alone):
            out_of_memory()
        place += f": out of memory on {'another process' if elsewhere else training.device}"
        asked, half = training.batch, world() * (training.batch // world() // 2)
        few = half < 2 * world()  # batch statistics take two images
        if few or alone:
            raise TrainingFailed(
                f"{place} with {asked} images in a batch; the last whole epoch is kept; try "
                + ("another device" if few else f"--train.batch {half}")
            )
        if self.before is not None:
            self.before.restore()
        training.batch = self.progress.batch = half
        if is_main():
            warnings.warn(
                f"{place} with a batch of {asked}: the epoch begins again with {half}", stacklevel=2
            )

    def _save_epoch(self, epoch: Epoch, snapshot: Snapshot | None) -> None:
        if self.folder is None or not is_main():
            return
        every = self.training.config.snapshots
        if every and epoch.epoch % every == 0 and snapshot is not None:
            save_snapshot(self.folder, epoch.epoch, snapshot)
        last = self.progress.stage == len(self.stages)
        pause = _PAUSE.get(self.training.device.type, 0.0)
        if pause:
            pause = max(pause, self.took / _SAVING)
        if last or time.monotonic() - self.saved >= pause:
            self._save(self.folder)

    def _rescue(self) -> None:
        # the whole epochs since the last save; others may have ended, so none is waited for. Where
        # rank 0 may wait within torch for this process, which every rank could be, each saves
        folder = self.folder if self.unsaved else None
        if folder is not None and (is_main() or _shares_statistics(self.training.model)):
            if self.before is not None:
                self.before.restore()
            self._save(folder)

    def _save(self, folder: Path) -> None:
        model, stages, progress = self.training.model, self.stages, self.progress
        began = time.monotonic()
        save_resume(folder, model, stages, self.optimiser, progress, self.origin, self.defence)
        self.saved, self.unsaved = time.monotonic(), False
        self.took = self.saved - began


class _Before:
    """All that an epoch changes, as it was."""

    def __init__(self, loop: _Loop, stage: Stage) -> None:
        inner = None if loop.defence is None else loop.defence.inner
        self.training, self.stage, self.progress = loop.training, stage, loop.progress
        self.place = (self.progress.stage, self.progress.epoch, len(self.progress.history))
        self.owners = [*self.training.modules, loop.optimiser, *([] if inner is None else [inner])]
        self.states = [copied(owner.state_dict()) for owner in self.owners]
        self.state = copied(stage.state)

    def restore(self) -> None:
        """Bring it back, and leave no gradient in memory."""
        for owner, state in zip(self.owners, self.states, strict=True):
            owner.load_state_dict(state)
        self.stage.state = self.state
        self.progress.stage, self.progress.epoch, epochs = self.place
        del self.progress.history[epochs:]
        for parameter in self.training.parameters:
            parameter.grad = None
        if self.training.device.type == "cuda":
            torch.cuda.empty_cache()


def _load(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimiser.load_state_dict(state)
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:  # channels_last too: one kernel takes all at once
                values[name] = torch.empty_like(parameter).copy_(value)


@contextlib.contextmanager
def _denormals_flushed() -> Iterator[None]:
    # numbers next to 0, as dying units make them, slow a CPU tenfold; the rest of the process may
    # need them
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def _synchronised(model: Model, device: torch.device) -> Iterator[None]:
    # batch statistics of all ranks together, where torch can: on CUDA. The layers come back with
    # the same tensors, so that neither names nor weights change
    if world() == 1 or device.type != "cuda":
        yield
        return
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d))
    ]
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    try:
        yield
    finally:
        for parent, name, child in layers:
            setattr(parent, name, child.train(parent.training))


def _shares_statistics(model: Model) -> bool:
    # torch's own exchanges, which no process is told in that another one ran out of memory
    return any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


@contextlib.contextmanager
def _one_attacker(defence: Defence | None) -> Iterator[None]:
    # an attacker that learns inside a defence learns from every rank's images
    inner = None if defence is None else defence.inner
    if inner is None or world() == 1:
        yield
        return
    weights = [p for group in inner.param_groups for p in group["params"]]

    def average(*_: Any) -> None:
        average_gradients(weights)

    hook = inner.register_step_pre_hook(average)
    try:
        yield
    finally:
        hook.remove()


def _check_shares(progress: Progress, batch: int, origin: str) -> None:
    # every rank compares all, so that all of them stop
    if batch % world():
        raise ValueError(
            f"train.batch: expected a multiple of the {world()} processes, got {batch} images"
        )
    what = int(hashlib.sha256(origin.encode()).hexdigest()[:15], 16)
    every = collect(np.array([[progress.stage, progress.epoch, what]]), world())
    if (every[:, 2] != every[0, 2]).any():
        raise ValueError(
            "training: expected the same images and settings in every process, got different ones"
        )
    if (every != every[0]).any():
        raise ValueError(
            "resume state: expected the same on every machine, got different epochs; the folder of "
            "the run has to be one that all of them share"
        )


def _check_collapse(epoch: Epoch, advice: str) -> None:
    share = max(epoch.sizes) / max(1, sum(epoch.sizes))
    if share > 0.95:
        raise TrainingFailed(
            f"stage {epoch.stage!r}, epoch {epoch.epoch}: clusters: expected samples in more than "
            f"one, got {share:.0%} in one: the clustering has collapsed; try {advice}"
        )
