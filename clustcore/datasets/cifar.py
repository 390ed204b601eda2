"""CIFAR-10 and CIFAR-100-20: folders of images, or torchvision's archive after its MD5 check.

The folders are `train/<class>/*` and `test/<class>/*` with .png or .jpg files. A CIFAR-10 folder
that holds .jpg files is a lossy copy: its samples are named `cifar10-jpeg`. The test split of that
copy ships. CIFAR-100-20 is CIFAR-100 with its 20 super-classes as labels, as in the clustering
benchmarks; its folders bear the names of the 100 classes. What was decoded is cached, see
`decoded.cache_folder`.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clustcore.datasets import data_folder, shipped
from clustcore.datasets.arrays import merged, samples
from clustcore.datasets.decoded import decode
from clustcore.datasets.folder import find
from clustcore.types import Samples

CLASSES = tuple(shipped.SOURCES["cifar10-jpeg"]["classes"])
ARCHIVE, BATCHES = "cifar-10-python.tar.gz", "cifar-10-batches-py"
# the 20 super-classes of CIFAR-100 in the order of its coarse labels, as its web page lists them
SUPER_CLASSES = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
_COARSE = {fine: i for i, members in enumerate(SUPER_CLASSES.values()) for fine in members}
FINE_CLASSES = tuple(sorted(_COARSE))
COARSE = np.array([_COARSE[fine] for fine in FINE_CLASSES])  # (100,) super-class of each class


@dataclass(frozen=True)
class _Kind:
    """What tells the two data sets apart on disk."""

    title: str
    reader: str  # torchvision's class
    classes: tuple[str, ...]
    archive: str
    batches: str


_CIFAR10 = _Kind("CIFAR-10", "CIFAR10", CLASSES, ARCHIVE, BATCHES)
_CIFAR100 = _Kind(
    "CIFAR-100", "CIFAR100", FINE_CLASSES, "cifar-100-python.tar.gz", "cifar-100-python"
)


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """One split, or both, of CIFAR-10 from the folder or archive in `root`.

    Without a root the test split of `cifar10-jpeg` is the shipped one.

    Raises:
        ValueError: neither is there (the message says how to get it), or it is damaged, or a lossy
            copy was asked for and it is none.
        OSError: the download failed.
    """
    if root is None and (name, split) == ("cifar10-jpeg", "test"):
        x = shipped.images(name).transpose(0, 3, 1, 2)
        return samples(x, shipped.labels(name), name=name, split=split, class_names=CLASSES)
    root = root or data_folder()
    x, y, lossy = _read(_CIFAR10, split, root, download)
    if name == "cifar10-jpeg" and not lossy:
        raise ValueError(f"{root}: expected a copy in .jpg files, got a lossless one: cifar10")
    name = "cifar10-jpeg" if lossy else "cifar10"
    return samples(x, y, name=name, split=split, class_names=CLASSES)


def load_super_classes(
    name: str, split: str, root: Path | None = None, download: bool = False
) -> Samples:
    """One split of CIFAR-100, or both, under its 20 super-classes.

    It is read from the folder or archive in `root`.

    Raises:
        ValueError: neither is there (the message says how to get it), or it is damaged, or a lossy
            copy.
        OSError: the download failed.
    """
    root = root or data_folder()
    x, y, lossy = _read(_CIFAR100, split, root, download)
    if lossy:
        raise ValueError(
            f"{root}: expected CIFAR-100 in .png files, got a lossy copy in .jpg files"
        )
    fine = samples(x, y, name=name, split=split, class_names=FINE_CLASSES)  # checks the labels
    return dataclasses.replace(fine, y=COARSE[fine.y], class_names=tuple(SUPER_CLASSES))


def list_folder(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    """The image files of `<folder>/<class>/`, sorted by class and name, and their labels.

    Raises:
        ValueError: other classes lie there, or no images.
    """
    files, y, found = find(folder, limit=100_000)
    wrong = [f"no {name}" for name in classes if name not in found]
    wrong += [f"also {name}" for name in found if name not in classes]
    if wrong or y is None:
        names = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise ValueError(f"{folder}: expected the sub-folders {names}, got {', '.join(wrong[:5])}")
    return files, y


def is_lossy(files: list[Path]) -> bool:
    """Whether any of the files is a JPEG, by its name."""
    return any(file.suffix.lower() in (".jpg", ".jpeg") for file in files)


def _read(
    kind: _Kind, split: str, root: Path, download: bool
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Counts (n, 3, 32, 32), labels (n,) of the fine classes, and whether it is a lossy copy."""
    lossy = False

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        nonlocal lossy
        if not (root / part).is_dir():
            return _from_archive(kind, root, part, download)
        files, y = list_folder(root / part, kind.classes)
        lossy |= is_lossy(files)
        return decode(files, kind.reader.lower(), kind.title, 32), y

    return *merged(split, read), lossy


def _from_archive(
    kind: _Kind, root: Path, split: str, download: bool
) -> tuple[np.ndarray, np.ndarray]:
    archive, batches = root / kind.archive, root / kind.batches
    if not download and not batches.is_dir() and not archive.is_file():
        got = sorted(p.name for p in root.iterdir())[:5] if root.is_dir() else "no such folder"
        raise ValueError(
            f"{root}: expected {split}/<class>/ with .png or .jpg files, {kind.batches}/ or "
            f"{kind.archive}, got {got}; name the folder that holds one as root, or allow a "
            "download (download=True, --download)"
        )
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity, extract_archive

    reader = getattr(torchvision.datasets, kind.reader)
    with contextlib.ExitStack() as stack:
        place = root
        if download and not archive.is_file():
            root.mkdir(parents=True, exist_ok=True)
            try:
                reader(str(root), download=True)
            except (OSError, RuntimeError) as error:
                raise OSError(f"could not download {kind.title} to {root}: {error}") from error
        elif not batches.is_dir():
            if not check_integrity(str(archive), reader.tgz_md5):
                raise ValueError(f"{archive}: expected MD5 {reader.tgz_md5}, got another: damaged")
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            extract_archive(str(archive), str(place))
        try:  # checks the MD5 of every file before it unpickles any
            data = reader(str(place), train=split == "train", download=False)
        except RuntimeError as error:
            raise ValueError(f"{batches}: expected files of known MD5, got {error}") from None
    return data.data.transpose(0, 3, 1, 2), np.asarray(data.targets, np.int64)
