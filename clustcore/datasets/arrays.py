"""The door for images as arrays: every loader, and a user's own array, becomes `Samples` here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clustcore.types import Samples


def samples(
    x: Any,
    y: Any = None,
    *,
    name: str = "own",
    split: str = "test",
    class_names: tuple[str, ...] = (),
    skipped: tuple[str, ...] = (),
) -> Samples:
    """Check images and labels, and bring them to float32 in [0, 1].

    Args:
        x: (n, c, h, w), or (n, h, w) for grey images, with c 1 or 3; uint8 counts from 0 to 255,
            floats lie in [0, 1].
        y: (n,) whole numbers from 0, or None.
        name: Which data set this is.
        split: Which part of it.
        class_names: One per label, where classes have names.
        skipped: Files that could not be read, by name.

    Raises:
        ValueError: a shape, type or value that images or labels cannot have; the message says
            which.

    Examples:
        >>> x = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
        >>> samples(x, y=np.arange(20) % 4, name="mine")
        Samples('mine', 'test', 20 images of 1 x 28 x 28, 4 classes)
        >>> samples(x / 100)
        Traceback (most recent call last):
        ValueError: own: images: expected values from 0 to 1, got ...
    """
    x = np.asarray(x)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"{name}: images: expected shape (n, 1 or 3, h, w), got {x.shape}")
    if x.dtype == np.uint8:
        # in one step, since there can be gigabytes of it, and row-major, however it was read
        x = np.divide(x, np.float32(255), dtype=np.float32, order="C")
    elif x.dtype.kind == "f":
        bad = ~((x >= 0) & (x <= 1)).all(axis=(1, 2, 3))  # NaN compares false: it is bad too
        if bad.any():
            row = int(bad.argmax())
            low, high = x[row].min(), x[row].max()
            raise ValueError(
                f"{name}: images: expected values from 0 to 1, got {low} to {high} in image {row}"
            )
        x = x.astype(np.float32)
    else:
        raise ValueError(f"{name}: images: expected uint8 or floats, got {x.dtype}")
    if y is not None:
        y = np.asarray(y)
        top = len(class_names) - 1 if class_names else np.iinfo(np.int64).max
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: labels: expected {len(x)} whole numbers, got {y.dtype} of shape {y.shape}"
            )
        if y.min() < 0 or y.max() > top:
            raise ValueError(f"{name}: labels: expected 0 to {top}, got {y.min()} to {y.max()}")
        y = y.astype(np.int64)
    return Samples(x, y, np.arange(len(x)), name, class_names, split, skipped)


def merged(
    split: str, read: Callable[[str], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split; of "all": of train, then of test.

    Args:
        split: "train", "test" or "all".
        read: gives the images and labels of one of the first two.

    Examples:
        >>> parts = {"train": (np.zeros(3), np.zeros(3)), "test": (np.ones(2), np.ones(2))}
        >>> merged("all", lambda split: parts[split])[1].tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0]
    """
    if split != "all":
        return read(split)
    x, y = zip(read("train"), read("test"), strict=True)
    return np.concatenate(x), np.concatenate(y)
