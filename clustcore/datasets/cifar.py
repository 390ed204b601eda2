"""CIFAR-10: folders of images, or torchvision's archive after its MD5 check.

The folders are `train/<class>/*` and `test/<class>/*` with .png or .jpg files. A folder that holds
.jpg files is a lossy copy: its samples are named `cifar10-jpeg`. What was decoded is cached, see
`cache_folder`.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np

from clustcore.datasets import data_folder
from clustcore.datasets.arrays import samples
from clustcore.datasets.folder import find, read_image
from clustcore.types import Samples, digest

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE, BATCHES = "cifar-10-python.tar.gz", "cifar-10-batches-py"


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """One split from the folder or archive in `root`.

    Raises:
        ValueError: neither is there (the message says how to get it), or it is damaged, or a lossy
            copy was asked for and it is none.
        OSError: the download failed.
    """
    root = root or data_folder()
    if (root / split).is_dir():
        x, y, lossy = _from_folder(root / split)
    else:
        x, y, lossy = *_from_archive(root, split, download), False
    if name == "cifar10-jpeg" and not lossy:
        raise ValueError(f"{root}: expected a copy in .jpg files, got a lossless one: cifar10")
    name = "cifar10-jpeg" if lossy else "cifar10"
    return samples(x, y, name=name, split=split, class_names=CLASSES)


def cache_folder() -> Path:
    """Where decoded images are kept: `images/` in `.cache/`, or in what DRIFTMAP_CACHE names."""
    home = Path(__file__).resolve().parents[2] / ".cache"
    return Path(os.environ.get("DRIFTMAP_CACHE", home)) / "images"


def _from_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    files, y, classes = find(folder, limit=100_000)
    if classes != CLASSES:
        got = ", ".join(classes) or "none"
        raise ValueError(f"{folder}: expected the sub-folders {', '.join(CLASSES)}, got {got}")
    lossy = any(file.suffix.lower() in (".jpg", ".jpeg") for file in files)
    stats = [file.stat() for file in files]
    newest, size = max(s.st_mtime_ns for s in stats), sum(s.st_size for s in stats)
    key = digest(str(folder.resolve()), len(files), newest, size)
    cached = cache_folder() / f"cifar10-{key}.npy"
    if (x := _read_cache(cached, len(files))) is None:
        x = np.empty((len(files), 3, 32, 32), np.uint8)
        for i, file in enumerate(files):
            try:
                x[i] = read_image(file, 32, 3)
            except ValueError as error:
                raise ValueError(f"{file}: expected an image of CIFAR-10, got {error}") from None
        _write_cache(cached, x)
    return x, y, lossy


def _from_archive(root: Path, split: str, download: bool) -> tuple[np.ndarray, np.ndarray]:
    if not download and not (root / BATCHES).is_dir() and not (root / ARCHIVE).is_file():
        got = sorted(p.name for p in root.iterdir())[:5] if root.is_dir() else "no such folder"
        raise ValueError(
            f"{root}: expected {split}/<class>/ with .png or .jpg files, {BATCHES}/ or {ARCHIVE}, "
            f"got {got}; name the folder that holds one as root, or allow a download "
            "(download=True, --download)"
        )
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity, extract_archive

    with contextlib.ExitStack() as stack:
        place = root
        if download and not (root / ARCHIVE).is_file():
            root.mkdir(parents=True, exist_ok=True)
            try:
                CIFAR10(str(root), download=True)
            except (OSError, RuntimeError) as error:
                raise OSError(f"could not download CIFAR-10 to {root}: {error}") from error
        elif not (root / BATCHES).is_dir():
            if not check_integrity(str(root / ARCHIVE), CIFAR10.tgz_md5):
                raise ValueError(
                    f"{root / ARCHIVE}: expected MD5 {CIFAR10.tgz_md5}, got another: damaged"
                )
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            extract_archive(str(root / ARCHIVE), str(place))
        try:  # checks the MD5 of every file before it unpickles any
            data = CIFAR10(str(place), train=split == "train", download=False)
        except RuntimeError as error:
            raise ValueError(
                f"{root / BATCHES}: expected files of known MD5, got {error}"
            ) from None
    return data.data.transpose(0, 3, 1, 2), np.asarray(data.targets, np.int64)


def _read_cache(path: Path, n: int) -> np.ndarray | None:
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none yet, or damaged: decode again
        return None
    return x if x.shape == (n, 3, 32, 32) and x.dtype == np.uint8 else None


def _write_cache(path: Path, x: np.ndarray) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, x)
            os.replace(part, path)
        except OSError:
            os.unlink(part)
