"""Three parts of ImageNet that clustering is measured on, from folders that the user names.

- `imagenet-10` and `imagenet-dogs`: 10 and 15 classes of ILSVRC-2012's training images (13,000 and
  19,500), in `<wnid>/` or `train/<wnid>/`, at 96 pixels. There is no test split: `train` and `all`
  are the same. Both come from J. Chang et al., "Deep Adaptive Image Clustering", ICCV 2017; the
  lists of classes are those in the code of Y. Li et al., "Contrastive Clustering", AAAI 2021
  (github.com/Yunfan-Li/Contrastive-Clustering, `datasets/ImageNet-10.txt`, `ImageNet-dogs.txt`).
- `tiny-imagenet`: 200 classes at 64 pixels, 100,000 images for training in
  `train/<wnid>/images/`, and 10,000 in `val/`, which are the test split. The root is
  `tiny-imagenet-200/` or the folder that holds it.

Images are their central squares. What was decoded is cached, see `decoded.cache_folder`. Nothing is
downloaded: ImageNet's terms have to be agreed to first.

Source: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clustcore.datasets import data_folder
from clustcore.datasets.arrays import merged, samples
from clustcore.datasets.decoded import decode
from clustcore.datasets.folder import list_images
from clustcore.types import Samples

CLASSES = {
    "imagenet-10": {
        "n02056570": "king penguin",
        "n02085936": "Maltese dog",
        "n02128757": "snow leopard",
        "n02690373": "airliner",
        "n02692877": "airship",
        "n03095699": "container ship",
        "n04254680": "soccer ball",
        "n04285008": "sports car",
        "n04467665": "trailer truck",
        "n07747607": "orange",
    },
    "imagenet-dogs": {
        "n02085936": "Maltese dog",
        "n02086646": "Blenheim spaniel",
        "n02088238": "basset",
        "n02091467": "Norwegian elkhound",
        "n02097130": "giant schnauzer",
        "n02099601": "golden retriever",
        "n02101388": "Brittany spaniel",
        "n02101556": "clumber",
        "n02102177": "Welsh springer spaniel",
        "n02105056": "groenendael",
        "n02105412": "kelpie",
        "n02105855": "Shetland sheepdog",
        "n02107142": "Doberman",
        "n02110958": "pug",
        "n02112137": "chow",
    },
}
TINY, TINY_CLASSES = "tiny-imagenet-200", 200


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """ImageNet-10 or ImageNet-Dogs from the folders of their classes.

    Raises:
        ValueError: a split that there is not, a class or its images are missing, or an image cannot
            be read; the message names it.
    """
    classes = CLASSES[name]
    if split == "test":
        raise ValueError(
            f"{name}: expected split train or all, which are the same images: the benchmark has no "
            "test split; got 'test'"
        )
    place = root = _root(name, root)
    if not any((root / wnid).is_dir() for wnid in classes) and (root / "train").is_dir():
        place = root / "train"
    folders = [place / wnid for wnid in classes]
    files, y = _list(name, folders, f"{len(classes)} folders such as {next(iter(classes))}/", root)
    x = decode(files, name, name, 96)
    return samples(x, y, name=name, split=split, class_names=tuple(classes.values()))


def load_tiny(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """One split, or both, of Tiny-ImageNet.

    Raises:
        ValueError: a class or an image is missing or cannot be read, or the annotations of `val/`
            are damaged; the message names it.
    """
    root = _root(name, root)
    place = root / TINY if (root / TINY).is_dir() else root
    wnids = _wnids(place)

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        if part == "train":
            folders = [place / "train" / wnid / "images" for wnid in wnids]
            files, y = _list(name, folders, "the images of every class", place)
        else:
            files, y = _annotated(place / "val", wnids)
        return decode(files, name, name, 64), y

    x, y = merged(split, read)
    return samples(x, y, name=name, split=split, class_names=_words(place / "words.txt", wnids))


def _root(name: str, root: Path | None) -> Path:
    root = root or data_folder()
    if not root.is_dir():
        raise ValueError(
            f"{root}: expected a folder with {name}, got no such folder; name yours as root "
            "(root=, --root): it cannot be downloaded from here"
        )
    return root


def _list(
    name: str, folders: list[Path], expected: str, root: Path
) -> tuple[list[Path], np.ndarray]:
    """Image files folder by folder, sorted by name, and the number of their folder."""
    found = [list_images(folder) if folder.is_dir() else [] for folder in folders]
    if not all(found):
        missing = [
            str(folder.relative_to(root))
            for folder, files in zip(folders, found, strict=True)
            if not files
        ]
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        got = sorted(p.name for p in root.iterdir())[:5]
        raise ValueError(
            f"{root}: expected {expected} of {name}, got no images in {', '.join(missing[:5])}"
            f"{more}; there are {got}"
        )
    y = np.repeat(np.arange(len(folders)), [len(files) for files in found])
    return [file for files in found for file in files], y


def _wnids(place: Path) -> list[str]:
    """The classes of Tiny-ImageNet, sorted: those of `wnids.txt`, else the folders of `train/`."""
    train = place / "train"
    if (lines := _lines(place / "wnids.txt")) is None:
        lines = [p.name for p in train.iterdir() if p.is_dir()] if train.is_dir() else []
    wnids = sorted({line.strip() for line in lines} - {""})
    if len(wnids) != TINY_CLASSES:
        raise ValueError(
            f"{place}: expected {TINY_CLASSES} classes in wnids.txt or train/, got {len(wnids)}; "
            f"name the folder {TINY}/ as root, or the one that holds it"
        )
    return wnids


def _annotated(val: Path, wnids: list[str]) -> tuple[list[Path], np.ndarray]:
    """The images of `val/` in the order of its annotations: file, wnid and a box on each line."""
    path = val / "val_annotations.txt"
    if not (lines := _lines(path)):
        raise ValueError(f"{path}: expected a line of text for every image, got none")
    number = {wnid: i for i, wnid in enumerate(wnids)}
    there = {file.name: file for file in list_images(val / "images")}
    files, y = [], []
    for i, line in enumerate(lines, 1):
        file, wnid = (*line.split("\t"), "")[:2]
        if wnid not in number:
            raise ValueError(f"{path}: line {i}: expected a class of train/, got {wnid!r}")
        if file not in there:
            raise ValueError(f"{path}: line {i}: expected a file in {val / 'images'}, got {file!r}")
        files.append(there[file])
        y.append(number[wnid])
    return files, np.array(y)


def _words(path: Path, wnids: list[str]) -> tuple[str, ...]:
    """What the classes are called: the first name that `words.txt` gives, else the wnid."""
    lines = _lines(path) or []  # only a courtesy: the wnids are names too
    words = {wnid: text.split(",")[0] for wnid, _, text in (v.partition("\t") for v in lines)}
    return tuple(words.get(wnid) or wnid for wnid in wnids)


def _lines(path: Path) -> list[str] | None:
    """The lines of a text file; None where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
