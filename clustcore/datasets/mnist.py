"""MNIST and Fashion-MNIST: the shipped test splits, or IDX files in torchvision's layout.

That is `<root>/MNIST/raw/*-ubyte` and `<root>/FashionMNIST/raw/*-ubyte`, gzipped or not.

Sources: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
    Proc. IEEE 1998;
Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv 1708.07747.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clustcore.datasets import data_folder, shipped
from clustcore.datasets.arrays import samples
from clustcore.types import Samples

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_FILES = {"train": "train", "test": "t10k"}


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """The shipped images for the test split without a root; else IDX files below the root.

    Raises:
        ValueError: the files are missing (the message says how to get them) or damaged.
        OSError: the download failed.
    """
    if root is None and split == "test":
        x, y = shipped.images(name), shipped.labels(name)
    else:
        x, y = read(name, split, root or data_folder(), download)
    classes = tuple(shipped.source(name)["classes"])
    return samples(x, y, name=name, split=split, class_names=classes)


def read(
    name: str, split: str, root: Path, download: bool = False
) -> tuple[UInt8[np.ndarray, "n h w"], UInt8[np.ndarray, " n"]]:
    """Images and labels of one split from the IDX files below `root`.

    Raises:
        ValueError: the files are missing or damaged.
        OSError: the download failed.
    """
    raw = root / FOLDERS[name] / "raw"
    stem = _FILES[split]
    if download and not _find(raw, f"{stem}-labels-idx1-ubyte"):
        _download(name, root)
    x = read_idx(_need(raw, f"{stem}-images-idx3-ubyte", name, split), axes=3)
    y = read_idx(_need(raw, f"{stem}-labels-idx1-ubyte", name, split), axes=1)
    if len(x) != len(y):
        raise ValueError(f"{raw}: expected one label per image, got {len(x)} and {len(y)}")
    if x.shape[1:] != (28, 28):
        raise ValueError(f"{raw}: expected images of 28 x 28, got {x.shape[1]} x {x.shape[2]}")
    return x, y


def read_idx(path: Path, axes: int) -> np.ndarray:
    """A uint8 array from an IDX file, gzipped or not.

    Two zero bytes, type 8, the number of axes, their lengths as big-endian uint32, the values.

    Raises:
        ValueError: it is no IDX file of uint8 with this many axes, or has more or fewer values than
            its header says.
    """
    head = 4 + 4 * axes
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(head)
            if header[:4] != bytes([0, 0, 8, axes]) or len(header) < head:
                raise ValueError(
                    f"{path}: expected IDX, uint8, {axes} axes, got header {header[:4].hex()}"
                )
            shape = tuple(int(v) for v in np.frombuffer(header, ">u4", offset=4))
            count = math.prod(shape)
            if not 0 < count <= 2**28:
                raise ValueError(f"{path}: expected 1 to {2**28} values, got shape {shape}")
            values = file.read(count + 1)  # one more than there should be, to notice a longer file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got {error}") from None
    if len(values) != count:
        got = "more" if len(values) > count else f"{len(values)}"
        raise ValueError(f"{path}: expected {count} values after the header, got {got}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _find(raw: Path, file: str) -> Path | None:
    return next((p for p in (raw / file, raw / f"{file}.gz") if p.is_file()), None)


def _need(raw: Path, file: str, name: str, split: str) -> Path:
    path = _find(raw, file)
    if path is None:
        place = raw.parent.parent
        got = sorted(p.name for p in place.iterdir())[:5] if place.is_dir() else "no such folder"
        raise ValueError(
            f"{raw / file}: expected the {split} split of {name} here (or as .gz), "
            f"got {got} in {place}; name the folder that holds {raw.parent.name}/ as root, "
            "or allow a download (download=True, --download)"
        )
    return path


def _download(name: str, root: Path) -> None:
    import torchvision.datasets

    root.mkdir(parents=True, exist_ok=True)
    try:
        getattr(torchvision.datasets, FOLDERS[name])(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(f"could not download {name} to {root}: {error}") from error
