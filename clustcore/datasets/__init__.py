"""Data sets by name: `DATASETS` lists them, `load_samples` loads one.

Listing imports nothing; loading imports torch only to download or to read the archives of CIFAR and
STL-10.
"""

from __future__ import annotations

import os
from pathlib import Path

from clustcore.locations import OPEN_APP, home
from clustcore.registry import DataEntry, lookup
from clustcore.types import Samples

_MERGED = ("train", "test", "all")


def _colour(where: str, title: str, judged: str = "test", download: bool = False) -> DataEntry:
    # what the colour benchmarks have in common
    return DataEntry(
        where, title=title, dial="cifar10", splits=_MERGED, judged=judged, download=download
    )


DATASETS = {
    "digits": DataEntry("clustcore.datasets.digits:load", title="Digits, 8 x 8", dial="digits"),
    "mnist": DataEntry("clustcore.datasets.mnist:load", title="MNIST", download=True),
    "fashion-mnist": DataEntry(
        "clustcore.datasets.mnist:load", title="Fashion-MNIST", dial="fashion-mnist", download=True
    ),
    "cifar10": _colour("clustcore.datasets.cifar:load", "CIFAR-10", download=True),
    "cifar10-jpeg": _colour("clustcore.datasets.cifar:load", "CIFAR-10 (JPEG copy)"),
    "cifar100-20": _colour(
        "clustcore.datasets.cifar:load_super_classes", "CIFAR-100, 20 super-classes", download=True
    ),
    "stl10": _colour("clustcore.datasets.stl:load", "STL-10", download=True),
    "imagenet-10": _colour("clustcore.datasets.imagenet:load", "ImageNet-10", judged=""),
    "imagenet-dogs": _colour("clustcore.datasets.imagenet:load", "ImageNet-Dogs", judged=""),
    "tiny-imagenet": _colour("clustcore.datasets.imagenet:load_tiny", "Tiny-ImageNet"),
    "folder": DataEntry(
        "clustcore.datasets.folder:load",
        title="Folder",
        splits=_MERGED,
        options=("size", "channels", "base", "limit"),
    ),
}


def load_samples(
    name: str,
    split: str = "test",
    root: str | Path | None = None,
    download: bool = False,
    *,
    size: int | None = None,
    channels: int | None = None,
    base: str | Path | None = None,
    limit: int | None = None,
) -> Samples:
    """Load one split of a data set.

    The test splits of `mnist`, `fashion-mnist` and `cifar10-jpeg` and all of `digits` are always
    there. The rest is read from `root`, by default from `data_folder()`, and is downloaded only
    where `download` asks for it and torchvision offers it. The last four arguments are for `folder`
    alone.

    Args:
        name: An entry of `DATASETS`; or "folder:flowers/red" for the folder `flowers/red` below
            the root, or below one of `roots()`, which it never leaves.
        split: "train" or "test"; also "all", which is both, train first, for CIFAR, STL-10 and
            ImageNet's parts, and what a `folder` without these two sub-folders has.
        root: The folder that holds the data, laid out as the loader's own module says; those with
            a split "all" may lie in a folder of their name below it. `digits` needs none.
        download: Allow a download into `root`. Without it nothing is ever fetched.
        size: Side length in pixels to which images of a `folder` are brought.
        channels: 1 for grey, 3 for colour.
        base: Refuse a `root` that lies, or whose images lie, outside this folder once symbolic
            links are followed.
        limit: The largest number of images a `folder` may hold.

    Raises:
        ValueError: unknown name or split, wrong or damaged data, an option that this data set does
            not take; the message names the file.
        OSError: a download failed.

    Examples:
        >>> load_samples("digits")
        Samples('digits', 'test', 500 images of 1 x 8 x 8, 10 classes)
        >>> load_samples("cifar10", "test", "no-such-folder")
        Traceback (most recent call last):
        ValueError: no-such-folder: expected a folder with cifar10, got no such folder
    """
    kind, _, where = name.partition(":")
    if where and kind == "folder":
        root, base = find_folder(where, None if root is None else [Path(root)])
    name_of_entry = kind if where and kind == "folder" else name
    loader = lookup(DATASETS, name_of_entry, "data set")
    entry = DATASETS[name_of_entry]
    given = {"size": size, "channels": channels, "base": base, "limit": limit}
    options = {key: value for key, value in given.items() if value is not None}
    if unknown := [option for option in options if option not in entry.options]:
        raise ValueError(f"data set {name!r} takes no {', '.join(unknown)}: its images are fixed")
    if split not in (known := entry.splits):
        raise ValueError(f"unknown split {split!r} of {name}; known: {', '.join(known)}")
    if root is not None and not Path(root).is_dir():
        raise ValueError(f"{root}: expected a folder with {name}, got no such folder")
    return loader(name, split, _own(kind, root), download, **options)


def _own(kind: str, root: str | Path | None) -> Path | None:
    # several data sets whose folders bear the same names ("train") lie side by side below a root
    place = (data_folder() if root is None else Path(root)) / kind
    if kind != "folder" and "all" in DATASETS[kind].splits and place.is_dir():
        return place
    return None if root is None else Path(root)


def judged_split(name: str, trained: str) -> str:
    """The split that a run is mapped and judged on: "test", where a data set has one.

    Args:
        name: The data set.
        trained: The split that the run was trained on, which is the answer where there is no other.

    Examples:
        >>> judged_split("mnist", trained="train"), judged_split("imagenet-10", trained="train")
        ('test', 'train')
    """
    entry = DATASETS.get(name.partition(":")[0])
    return "test" if entry is None else entry.judged or trained


def data_folder() -> Path:
    """Where data are read and downloaded without a root.

    `data/`, or the first folder that DRIFTMAP_DATA names.

    Examples:
        >>> data_folder() == roots()[0]
        True
    """
    return roots()[0]


def roots() -> list[Path]:
    """Below which folders a "folder:..." is looked for.

    All that DRIFTMAP_DATA names, parted as in PATH; `data/` without it. Their paths are whole: a
    process elsewhere finds the same.

    Examples:
        >>> all(root.is_absolute() for root in roots())
        True
    """
    named = os.environ.get("DRIFTMAP_DATA", "").split(os.pathsep)
    return [Path(p).absolute() for p in named if p] or [home() / "data"]


def find_folder(where: str, below: list[Path] | None = None) -> tuple[Path, Path]:
    """The first folder of this relative path below some roots, and its root.

    Args:
        where: such as "flowers/red".
        below: the roots; `roots()` by default.

    Raises:
        ValueError: the path is none that stays below a root, or there is no such folder.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     (Path(place) / "flowers" / "red").mkdir(parents=True)
        ...     folder, root = find_folder("flowers/red", [Path(place)])
        ...     folder.relative_to(root).as_posix()
        'flowers/red'
        >>> find_folder("../secret")
        Traceback (most recent call last):
        ValueError: folder '../secret': expected a path below a root, without '..'
    """
    places, path = below or roots(), Path(where)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"folder {where!r}: expected a path below a root, without '..'")
    for root in places:
        if (found := root / path).is_dir() and found.resolve().is_relative_to(root.resolve()):
            return found, root
    raise ValueError(
        f"folder {where!r}: expected it below {', '.join(map(str, places))}, got no such folder; "
        f"DRIFTMAP_DATA, or `{OPEN_APP} --root DIR`, names where to look"
    )
