"""However a training ends, the whole epochs before its end are kept, and the same call goes on."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clustcore.distributed import RankLost
from clustcore.models.base import Loss
from clustcore.models.dec import DEC
from clustcore.training import epoch as steps
from clustcore.training import loop
from clustcore.training.epoch import Epoch, TrainConfig, TrainingFailed
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.training.test_loop import Cancel, data

CONFIG = TrainConfig(batch=2, device="cpu", lr=3e-3)  # no smaller one where memory runs out
WHOLE = 2  # epochs before a training fails in its third, the first one of its second stage


def make(seed: int = 0) -> DEC:
    torch.manual_seed(seed)
    return DEC(DEC.Config(clusters=3, dim=4, width=4, autoencode=WHOLE, cluster=1))


def weights_after(model: DEC, **options: Any) -> dict[str, torch.Tensor]:
    train(model, data(16), CONFIG, AugmentConfig(), **options)
    return model.state_dict()


@functools.cache
def undisturbed() -> dict[str, torch.Tensor]:
    return weights_after(make())


def in_the_loss(change: Callable[[DEC, Loss], Loss]) -> Callable[..., None]:
    """The second stage's loss, changed."""

    def arrange(model: DEC, patch: pytest.MonkeyPatch) -> None:
        stages = model.stages()
        good = stages[1].loss
        stages[1].loss = lambda views, state: change(model, good(views, state))
        model.stages = lambda: stages

    return arrange


def raising(error: type[BaseException]) -> Callable[[DEC, Loss], Loss]:
    def change(model: DEC, loss: Loss) -> Loss:
        raise error("in a step")

    return change


def collapsing(model: DEC, loss: Loss) -> Loss:
    with torch.no_grad():
        model.centroids.fill_(100.0)
        model.centroids[0] = 0
    return loss


def between_epochs(error: type[BaseException]) -> Callable[..., None]:
    def arrange(model: DEC, patch: pytest.MonkeyPatch) -> None:
        calls = iter([False] * WHOLE)

        def late(self: Any) -> bool:
            for value in calls:
                return value
            raise error("between two epochs")

        patch.setattr(loop._Loop, "_late", late)

    return arrange


def in_an_exchange(model: DEC, patch: pytest.MonkeyPatch) -> None:
    good, calls = steps.average_gradients, iter(range(WHOLE * 8 + 3))  # 8 steps in an epoch

    def average(*tensors: torch.Tensor) -> list[torch.Tensor]:
        for _ in calls:
            return good(*tensors)
        raise RankLost("one has ended")

    patch.setattr(steps, "average_gradients", average)


def nothing(model: DEC, patch: pytest.MonkeyPatch) -> None:
    pass


def cancel(epoch: Epoch) -> None:
    if epoch.epoch + 1 == WHOLE:
        raise Cancel("after an epoch")


# what happens: the error, its message, and the epochs that the history then shows
ENDS: dict[str, tuple[Callable[..., None], type[BaseException], str, int]] = {
    "a loss is not finite": (
        in_the_loss(lambda model, loss: Loss(loss.total * float("nan"), loss.parts)),
        TrainingFailed,
        "'cluster', epoch 2: loss: expected a finite number",
        WHOLE,
    ),
    "collapse": (in_the_loss(collapsing), TrainingFailed, "has collapsed", WHOLE + 1),
    "no memory": (
        in_the_loss(raising(torch.OutOfMemoryError)),
        TrainingFailed,
        "epoch 2: out of memory on cpu with 2 images",
        WHOLE,
    ),
    "interrupted": (in_the_loss(raising(KeyboardInterrupt)), KeyboardInterrupt, "in a step", WHOLE),
    "interrupted between": (between_epochs(KeyboardInterrupt), KeyboardInterrupt, "between", WHOLE),
    "an error": (in_the_loss(raising(RuntimeError)), RuntimeError, "in a step", WHOLE),
    "a rank lost": (in_an_exchange, RankLost, "one has ended", WHOLE),
    "a rank lost between": (between_epochs(RankLost), RankLost, "between", WHOLE),
    "on_epoch": (nothing, Cancel, "after an epoch", WHOLE),
}


@pytest.mark.parametrize("pause", [0.0, 1e9])  # as on a CPU; as on a GPU, whose epochs are short
@pytest.mark.parametrize("what", ENDS)
def test_the_whole_epochs_before_the_end_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, pause: float
):
    monkeypatch.setitem(loop._PAUSE, "cpu", pause)
    arrange, error, message, shown = ENDS[what]
    model = make()
    with monkeypatch.context() as patch:
        arrange(model, patch)
        with pytest.raises(error, match=message):
            weights_after(model, folder=tmp_path, on_epoch=cancel if what == "on_epoch" else None)
    with (tmp_path / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(shown))
    told: list[Epoch] = []
    weights = weights_after(make(seed=9), folder=tmp_path, on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == [WHOLE]
    for name, value in undisturbed().items():
        assert torch.equal(weights[name], value), name
