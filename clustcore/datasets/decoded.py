"""Image files decoded to one array of counts, and kept on disk so that this is done once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clustcore import locations
from clustcore.config import digest
from clustcore.datasets.images import read_images


def cache_folder() -> Path:
    """Where decoded images are kept: `images/` in the folder of all caches."""
    return locations.cache_folder() / "images"


def decode(files: Sequence[Path], name: str, title: str, size: int) -> UInt8[np.ndarray, "n 3 s s"]:
    """The central squares of colour images, resized to `size` pixels.

    They are read from the cache where none of the files has changed. What comes from the cache is
    read-only and stays on disk.

    Args:
        name: What the cached file's name begins with.
        title: What the images belong to, for the message.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    stats = [file.stat() for file in files]
    about = [
        (str(file.absolute()), stat.st_mtime_ns, stat.st_size)
        for file, stat in zip(files, stats, strict=True)
    ]
    cached = cache_folder() / f"{name}-{digest(size, about)}.npy"
    shape = (len(files), 3, size, size)
    if (x := _read(cached, shape)) is None:
        x, bad = read_images(files, size, 3)
        for row, reason in bad.items():
            raise ValueError(f"{files[row]}: expected an image of {title}, got {reason}")
        _write(cached, x)
    return x


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:  # mapped, not read: the door copies it into floats anyway
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none yet, or damaged: decode again
        return None
    return x if x.shape == shape and x.dtype == np.uint8 else None


def _write(path: Path, x: np.ndarray) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, x)
            os.replace(part, path)
        except OSError:
            os.unlink(part)
