"""Memory that ran out, by one name on every device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """What torch's allocator for CPUs raises where it gets nothing, a plain RuntimeError, is an
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
