"""One process or many: the little that training and measuring ask of `torch.distributed`.

Under `torchrun` each process (a rank) holds the whole model and works on its part of the rows. In a
single process every function here answers at once, so that nobody has to ask which it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

T = TypeVar("T")


class RankLost(RuntimeError):
    """Another process of the job ended or cannot be reached, so that this one cannot go on."""


class PeerOutOfMemory(torch.OutOfMemoryError):
    """Another process ran out of memory in the middle of what all do together (`out_of_memory`)."""


def world() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes: rank 0."""
    return rank() == 0


def pick_device(name: str) -> torch.device:
    """The device of this name; `auto` takes CUDA, then MPS, then the CPU.

    A CUDA device has its number: `cuda` is the first, and of several processes on one machine each
    takes one of its own.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else mps
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(f"a device of kind {device.type}")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r}: expected one of this machine, got: {reason}") from None
    return device


@contextlib.contextmanager
def group(device: str) -> Iterator[torch.device]:
    """Join the other processes for the length of the block, where `torchrun` started several.

    It gives the device of this one; within another block of its kind it does no more than that.

    CPU tensors travel by gloo, CUDA tensors by NCCL.

    Raises:
        ValueError: no such device here.
        RankLost: another process ended within the block.
    """
    if world() > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield _chosen(device)
        return
    with _told():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    before, finished = signal.getsignal(signal.SIGTERM), False
    try:
        if not torch.cuda.is_available():  # a process that waits for a GPU would not hear it
            signal.signal(signal.SIGTERM, _stopped)
        yield _chosen(device)
        finished = True
    finally:
        signal.signal(signal.SIGTERM, before)
        if finished or not torch.cuda.is_available():  # NCCL would wait for what never comes
            dist.destroy_process_group()


def shard(n: int) -> slice:
    """The rows of n that are this rank's.

    They are contiguous, in the order of ranks, as many for each as for any other or one more.
    """
    each, more = divmod(n, world())
    start = rank() * each + min(rank(), more)
    return slice(start, start + each + (rank() < more))


def collect(array: Shaped[np.ndarray, "m ..."], n: int) -> Shaped[np.ndarray, "n ..."]:
    """All ranks' arrays joined in the order of ranks, each being the rank's `shard` of n rows."""
    if world() == 1:
        return array
    # all of one length, as the collective wants it; a shard is at most one row shorter
    longest = -(-n // world())
    mine = torch.zeros((longest, *array.shape[1:]), dtype=torch.from_numpy(array[:0]).dtype)
    mine[: len(array)] = torch.from_numpy(array)
    parts = _all_gather(mine).view(world(), *mine.shape)
    each, more = divmod(n, world())
    return np.concatenate([p[: each + (r < more)].numpy() for r, p in enumerate(parts)])


def gather(t: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """All ranks' rows, in the order of ranks, with their gradients; n is the same on all.

    A loss of the whole batch is computed from it on each rank. The gradient of a row is the sum
    over the ranks' losses, so that averaging the weights' gradients over ranks
    (`average_gradients`) gives those of one process with the whole batch, for such a loss as for a
    mean over the rank's own rows.
    """
    return t if world() == 1 else _Gather.apply(t)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        return _all_gather(t.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        _all_well()
        with _told():
            dist.all_reduce(total)
        return total[shard(len(total))]


def wait() -> None:
    """Go on when every rank has come this far."""
    if world() > 1:
        _all_gather(torch.zeros(1))


def agreed(value: bool | float) -> float:
    """What rank 0 says: for what a clock or a file decides, which others may see otherwise."""
    said = torch.tensor(value, dtype=torch.float64)
    follow_main([said])
    return float(said)


def first_main(do: Callable[[], T]) -> T:
    """Every rank does the same, rank 0 before the others, so that they find what it fetched."""
    try:
        if is_main():
            return do()
    finally:
        wait()  # where it failed, too: the others then see for themselves
    return do()


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor], *also: Tensor) -> list[Tensor]:
    """Give each parameter the mean of its gradients over the ranks, in one message.

    Args:
        also: numbers () whose means over the ranks are returned.
    """
    parameters = list(parameters)
    if world() == 1:
        return list(also)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([t.detach().reshape(-1).float() for t in (*gradients, *also)])
    _all_well()
    with _told():
        dist.all_reduce(flat)
    flat /= world()
    parts = flat.split([t.numel() for t in (*gradients, *also)])
    for parameter, mean in zip(parameters, parts, strict=False):
        # what no rank has a gradient of keeps none: the optimiser leaves it alone
        if parameter.grad is not None:
            parameter.grad.copy_(mean.view_as(parameter))
        elif bool(mean.any()):
            parameter.grad = mean.view_as(parameter).to(parameter)
    return [part.view(()) for part in parts[len(parameters) :]]


@torch.no_grad()
def follow_main(tensors: Iterable[Tensor]) -> None:
    """Fill the tensors of every rank with those of rank 0."""
    if world() == 1:
        return
    tensors = list(tensors)
    values = [tensor.detach().contiguous() for tensor in tensors]  # of channels_last a copy
    _all_well()
    for tensor, value in zip(tensors, values, strict=True):
        with _told():
            dist.broadcast(value, 0)
        tensor.copy_(value)


def out_of_memory() -> None:
    """Tell the others that this process ran out of memory.

    Each raises `PeerOutOfMemory` where it is, and all go on together from there.
    """
    with contextlib.suppress(PeerOutOfMemory):  # the own word comes back
        _all_well(False)


def _all_well(well: bool = True) -> None:
    # Before each exchange a word of every process. One that ran out of memory says so where the
    # others speak next, so that nobody waits in an exchange that it does not come to. For this
    # every exchange has its memory before its word. The word lies on the CPU: no GPU waits for it.
    if world() == 1:
        return
    word = torch.tensor(0.0 if well else 1.0)
    with _told():
        dist.all_reduce(word)
    if word:
        raise PeerOutOfMemory("another process ran out of memory")


def _all_gather(t: Tensor) -> Tensor:
    # all ranks' rows in one tensor: a list of tensors would need memory within the exchange
    rows = t.new_empty((world() * len(t), *t.shape[1:]))
    _all_well()
    with _told():
        dist.all_gather_into_tensor(rows, t)
    return rows


def _chosen(device: str) -> torch.device:
    chosen = pick_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        if world() > 1:  # NCCL takes memory at its first exchange: while there is some
            with _told():
                dist.all_reduce(torch.zeros(1, device=chosen))
    return chosen


@contextlib.contextmanager
def _told() -> Iterator[None]:
    # torch says which socket closed; the user asks what became of the job
    try:
        yield
    except (torch.OutOfMemoryError, RankLost):
        raise
    except RuntimeError as error:
        # without the place in C++ and the advice
        reason = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise _lost(f"expected to reach the others, got: {reason}; one has ended") from error


def _stopped(*_: object) -> None:
    raise _lost("told to stop, as all are where one has ended")


def _lost(what: str) -> RankLost:
    return RankLost(
        f"process {rank()} of {os.environ.get('WORLD_SIZE', '1')}: {what}. The same command, on "
        "any number of processes, starts again; training goes on from its last saved epoch"
    )
