"""STL-10's labelled images: 5,000 for training and 8,000 for tests, 96 x 96 pixels.

Read from `stl10_binary/` in the root, as torchvision's download leaves it, after the MD5 check of
the files that are read. The 100,000 images without labels are never read.

Source: A. Coates, H. Lee, A. Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", AISTATS 2011.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from clustcore.datasets import data_folder
from clustcore.datasets.arrays import merged, samples
from clustcore.types import Samples

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FOLDER, SIDE = "stl10_binary", 96
_VALUES = 3 * SIDE * SIDE


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """One split, or both, from the binary files in `root`.

    Raises:
        ValueError: the files are missing (the message says how to get them) or damaged.
        OSError: the download failed.
    """
    root = root or data_folder()
    files = [path for part in ("train", "test") for path in _paths(root, part)]
    if download and not all(path.is_file() for path in files):
        _download(root)
    x, y = merged(split, functools.partial(_read, root))
    return samples(x, y, name=name, split=split, class_names=CLASSES)


def _read(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import STL10
    from torchvision.datasets.utils import calculate_md5

    known = dict(getattr(STL10, f"{split}_list"))
    paths = _paths(root, split)
    for path in paths:
        if not path.is_file():
            raise ValueError(_missing(root, path))
    count, labels = (path.stat().st_size for path in paths)
    if count != labels * _VALUES:
        raise ValueError(
            f"{paths[0]}: expected {_VALUES} bytes for each of {labels} labels, "
            f"that is {labels * _VALUES}, got {count}"
        )
    for path in paths:
        if (got := calculate_md5(path)) != known[path.name]:
            raise ValueError(f"{path}: expected MD5 {known[path.name]}, got {got}: damaged")
    x, y = (np.fromfile(path, np.uint8) for path in paths)
    if y.min() < 1 or y.max() > len(CLASSES):
        raise ValueError(f"{paths[1]}: expected labels 1 to 10, got {y.min()} to {y.max()}")
    # the pixels of an image lie column by column
    return x.reshape(-1, 3, SIDE, SIDE).swapaxes(2, 3), y.astype(np.int64) - 1


def _paths(root: Path, split: str) -> list[Path]:
    return [root / FOLDER / f"{split}_{kind}.bin" for kind in "Xy"]


def _missing(root: Path, path: Path) -> str:
    got = sorted(p.name for p in root.iterdir())[:5] if root.is_dir() else "no such folder"
    archive = root / f"{FOLDER}.tar.gz"
    how = (
        f"unpack {archive.name} there"
        if archive.is_file()
        else f"name the folder that holds {FOLDER}/ as root, or allow a download of 2.6 GB "
        "(download=True, --download)"
    )
    return f"{path}: expected this file of STL-10, got {got} in {root}; {how}"


def _download(root: Path) -> None:
    import torchvision.datasets

    root.mkdir(parents=True, exist_ok=True)
    try:
        torchvision.datasets.STL10(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(f"could not download STL-10 to {root}: {error}") from error
