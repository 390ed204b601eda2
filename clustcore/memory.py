"""Memory that ran out: one name for it on every device, and what takes fewer rows at once then."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

_Answer = TypeVar("_Answer")


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Memory that ran out is one error on a CPU, too.

    What torch's allocator for CPUs raises where it gets nothing, a plain RuntimeError, is an
    OutOfMemoryError as it is on a GPU.

    Raises:
        torch.OutOfMemoryError: memory ran out within the block.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise torch.OutOfMemoryError(str(error).strip().splitlines()[0]) from None


class Batches:
    """Many rows, so many at once as the device has memory for.

    A training step is no case of it: its batch is part of what is learned, and all processes have
    to halve it together (see `training.loop`).

    Attributes:
        size: rows at once; halved where they were too many, for all that is asked later, too.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size, self.device = size, device

    def over(self, n: int, ask: Callable[[slice], _Answer]) -> Iterator[tuple[slice, _Answer]]:
        """The rows of each batch and what `ask` answers for them, in order, each row once.

        Rows that were too many are asked again in batches of half the size; a warning says so.

        Raises:
            torch.OutOfMemoryError: there is no memory for a single row.
        """
        done = 0
        while done < n:
            rows = slice(done, min(done + self.size, n))
            try:
                with counted():
                    answer = ask(rows)
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self.size //= 2
                warnings.warn(
                    f"out of memory on {self.device}: going on with batches of {self.size}",
                    stacklevel=2,
                )
                continue
            yield rows, answer
            done = rows.stop
