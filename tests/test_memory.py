"""Memory that ran out has one name: a smaller batch follows on a CPU as on a GPU."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from clustcore import memory
from clustcore.models.base import TrainData, everywhere
from clustcore.models.drc import DRC
from clustcore.pipeline.batches import cluster
from clustcore.training.epoch import TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from tests.conftest import make_blobs

# what torch 2.15 says on a CPU
FULL = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 999 bytes. Error code 12 (Cannot allocate memory)"
)


class Small(DRC):
    """A model whose machine has memory for so many images."""

    room = 20

    def embed(self, x):
        """The embedding, where it fits."""
        if len(x) > self.room:
            raise RuntimeError(FULL)
        return super().embed(x)


def make() -> Small:
    torch.manual_seed(0)
    return Small(Small.Config(clusters=3, width=4, alone=1, norm="group"))


def test_torchs_allocator_says_so_in_these_words():
    with pytest.raises(torch.OutOfMemoryError, match="DefaultCPUAllocator"), memory.counted():
        torch.empty(2**62, dtype=torch.uint8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape") as caught, memory.counted():
        raise RuntimeError("shape '[2]' is invalid")
    assert not isinstance(caught.value, torch.OutOfMemoryError)


@given(n=some.integers(0, 60), size=some.integers(1, 64), room=some.integers(0, 64))
def test_each_row_is_asked_about_once_in_order_in_no_more_at_once_than_there_is_room_for(
    n, size, room
):
    asked, batches = [], memory.Batches(size, torch.device("cpu"))

    def ask(rows):
        asked.append(rows.stop - rows.start)
        if asked[-1] > room:
            raise RuntimeError(FULL)
        return list(range(rows.start, rows.stop))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if n and not room:
            with pytest.raises(torch.OutOfMemoryError):
                list(batches.over(n, ask))
            assert batches.size == 1
            return
        found = list(batches.over(n, ask))
    assert [row for rows, answer in found for row in answer] == list(range(n))
    assert all(answer == list(range(rows.start, rows.stop)) for rows, answer in found)
    halved = [size >> i for i in range(size.bit_length()) if min(size >> i, n) > room]
    assert len(said) == len(halved)  # not once more than it takes
    assert batches.size == size >> len(halved)
    asked.clear()
    assert [row for _, answer in batches.over(n, ask) for row in answer] == list(range(n))
    assert all(count <= room for count in asked)  # what was learned holds for the next rows


def test_another_failure_halves_nothing():
    batches = memory.Batches(8, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="shape"):
        list(batches.over(20, lambda rows: torch.zeros(3).view(2)))
    assert batches.size == 8


def test_a_model_is_asked_about_fewer_images_at_once():
    samples = make_blobs(64)
    model = make().eval()
    with pytest.warns(UserWarning, match="out of memory on cpu: going on with batches of 16"):
        found = cluster(model, samples.x, batch=32)
    assert found.z.shape == (64, model.dim)
    pixels = torch.from_numpy((samples.x * 255).astype("uint8"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert everywhere(model, TrainData(pixels), model.embed).shape == (64, model.dim)
    sizes = [500, 250, 125, 62, 31, 15]
    assert [str(w.message) for w in said] == [
        f"out of memory on cpu: going on with batches of {size}" for size in sizes
    ]


def test_training_begins_the_epoch_again_with_half_the_batch():
    model = make()
    pixels = torch.from_numpy((make_blobs(64).x * 255).astype("uint8"))
    for stage in (stages := model.stages()):
        stage.clusters = False
    model.stages = lambda: stages
    config = TrainConfig(batch=32, device="cpu")
    with pytest.warns(UserWarning, match="with a batch of 32: the epoch begins again with 16"):
        progress = train(model, TrainData(pixels), config, AugmentConfig())
    assert progress.batch == 16
    assert [row["batch"] for row in progress.history] == [16]
