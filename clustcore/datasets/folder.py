"""Any folder of images: `root/*.png`, or one sub-folder per class, `root/<class>/*.png`.

Either may lie below `root/train` and `root/test`. Files from strangers are expected here: only a
few raster formats are opened, size is checked before anything is decoded, and a file that cannot be
read is named and skipped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustcore.datasets.arrays import samples
from clustcore.datasets.images import header, read_images
from clustcore.types import Samples

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SIDES = {1: 28, 3: 32}  # pixels by channels, where no size is asked for
MAX_SIZE = 256
MAX_IMAGES = 100_000  # of one folder, in its sub-folders too
MAX_VALUES = 2**28  # of all images together, after resizing: 1 GiB as float32


def load(
    name: str,
    split: str,
    root: Path | None = None,
    download: bool = False,
    *,
    size: int | None = None,
    channels: int | None = None,
    base: str | Path | None = None,
    limit: int = MAX_IMAGES,
) -> Samples:
    """The images of a folder, each its central square, resized; sub-folders give the labels.

    Without sub-folders `train` and `test` there is one split, "all", and both names answer with it.
    The default is colour where any image has colour, and 28 pixels for grey or 32 for colour.

    Raises:
        ValueError: no such folder, a root outside `base`, a size or channels out of range, more
            than `limit` images or `MAX_VALUES` values, fewer than two that can be read, or a single
            class (then its own folder is what to name).

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cats", "dogs"):
        ...     (root / name).mkdir()
        ...     for i in range(2):
        ...         Image.new("L", (40, 30), 60 * i).save(root / name / f"{i}.png")
        >>> found = load("pets", "train", root, size=16)
        >>> found.x.shape, found.y.tolist(), found.class_names, found.split
        ((4, 1, 16, 16), [0, 0, 1, 1], ('cats', 'dogs'), 'all')
    """
    if root is None:
        raise ValueError("data set 'folder': expected root=<folder of images>, got none")
    _check_options(size, channels)
    allowed = None if base is None else Path(base).resolve()
    if allowed and not root.resolve().is_relative_to(allowed):
        raise ValueError(f"{root}: expected a folder inside {allowed}, got {root.resolve()}")
    if (root / "train").is_dir() and (root / "test").is_dir():
        if split == "all":
            raise ValueError(f"{root}: expected split train or test, which it has, got 'all'")
        root = root / split
    else:
        split = "all"
    files, labels, classes = find(root, limit)

    kept, skipped, colour = [], [], False
    for i, file in enumerate(files):
        try:
            if allowed and not file.resolve().is_relative_to(allowed):
                raise ValueError(f"a link out of {allowed}")
            colour |= header(file)[2]
            kept.append(i)
        except ValueError as error:
            skipped.append(f"{file.relative_to(root)}: {error}")
    channels = channels or (3 if colour else 1)
    size = size or SIDES[channels]

    shape = (len(kept), channels, size, size)
    if math.prod(shape) > MAX_VALUES:
        raise ValueError(f"{root}: expected at most {MAX_VALUES} values, got images of {shape}")
    x, bad = read_images([files[i] for i in kept], size, channels)
    skipped += [f"{files[kept[row]].relative_to(root)}: {reason}" for row, reason in bad.items()]
    good = [i for row, i in enumerate(kept) if row not in bad]
    if len(good) < 2:
        why = f"; not read: {'; '.join(skipped[:3])}" if skipped else ""
        raise ValueError(f"{root}: expected at least 2 images to cluster, got {len(good)}{why}")
    y = None if labels is None else labels[good]
    if bad:
        x = np.delete(x, list(bad), axis=0)
    return samples(x, y, name=name, split=split, class_names=classes, skipped=tuple(skipped))


def _check_options(size: int | None, channels: int | None) -> None:
    if size is not None and not 8 <= size <= MAX_SIZE:
        raise ValueError(f"data set 'folder': size: expected 8 to {MAX_SIZE}, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"data set 'folder': channels: expected 1 or 3, got {channels}")


def find(
    root: Path, limit: int = MAX_IMAGES
) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """Image files of `root` and its direct sub-folders, sorted.

    There are labels where all of them lie in sub-folders.

    Raises:
        ValueError: none at all, more than `limit`, or all in one sub-folder.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for file in ("cats/1.png", "cats/2.png", "dogs/1.jpg", "dogs/notes.txt"):
        ...     (root / file).parent.mkdir(exist_ok=True)
        ...     (root / file).touch()
        >>> files, labels, classes = find(root, limit=100)
        >>> [file.name for file in files], labels.tolist(), classes
        (['1.png', '2.png', '1.jpg'], [0, 0, 1], ('cats', 'dogs'))
    """
    files = list_images(root)
    groups = [
        (folder.name, found)
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
        if (found := list_images(folder))
    ]
    total = len(files) + sum(len(found) for _, found in groups)
    if total == 0:
        kinds = ", ".join(SUFFIXES)
        raise ValueError(f"{root}: expected images ({kinds}) in it or in its sub-folders, got none")
    if total > limit:
        raise ValueError(f"{root}: expected at most {limit} images, got {total}")
    if not files and len(groups) == 1:
        raise ValueError(
            f"{root}: expected images, or at least 2 classes as sub-folders, "
            f"got one, {groups[0][0]!r}; name {root / groups[0][0]} itself "
            "to cluster its images without labels"
        )
    labelled = bool(groups) and not files
    labels = np.repeat(np.arange(len(groups)), [len(found) for _, found in groups])
    files = files + [file for _, found in groups for file in found]
    classes = tuple(name for name, _ in groups) if labelled else ()
    return files, labels if labelled else None, classes


def list_images(folder: Path) -> list[Path]:
    """The image files that lie directly in a folder, sorted by name; hidden ones left out.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in list_images(folder)]
        ['a.JPG', 'b.png']
    """
    with os.scandir(folder) as entries:
        found: Sequence[str] = [
            entry.path
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and entry.name[0] != "." and entry.is_file()
        ]
    return [Path(path) for path in sorted(found)]
