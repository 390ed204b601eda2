"""Tiny data sets, written as the real ones are."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustcore.datasets import cifar, imagenet, stl


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def mnist_root(root: Path, name: str = "MNIST", suffix: str = "") -> Path:
    for seed, (stem, n) in enumerate({"train": 12, "t10k": 7}.items()):
        raw = root / name / "raw"
        write_idx(raw / f"{stem}-images-idx3-ubyte{suffix}", pixels(seed, n, 28, 28))
        write_idx(raw / f"{stem}-labels-idx1-ubyte{suffix}", pixels(seed, n) % 10)
    return root


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def cifar_root(root: Path, suffix: str = ".png", classes: tuple[str, ...] = cifar.CLASSES) -> Path:
    """2 images of each class in each split: seed 2 * label + 0 or 1."""
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            for i in range(2):
                save(root / split / name / f"{i:04}{suffix}", pixels(label * 2 + i, 32, 32, 3))
    return root


def batches_root(root: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "CIFAR10") -> Path:
    """torchvision's own layout with 4 images a file, and the MD5s that belong to them."""
    import torchvision.datasets

    reader = getattr(torchvision.datasets, kind)
    fine = kind == "CIFAR100"
    place = root / reader.base_folder
    place.mkdir(parents=True)
    for name in ("train_list", "test_list"):
        files = []
        for seed, (file, _) in enumerate(getattr(reader, name)):
            labels = [99, 1, 0, 50] if fine else [seed, 1, 2, 9]
            entry = {"data": pixels(seed, 4, 3072), "fine_labels" if fine else "labels": labels}
            (place / file).write_bytes(pickle.dumps(entry))
            files.append([file, md5(place / file)])
        monkeypatch.setattr(reader, name, files)
    meta, classes = reader.meta, cifar.FINE_CLASSES if fine else cifar.CLASSES
    (place / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: list(classes)}))
    monkeypatch.setattr(reader, "meta", {**meta, "md5": md5(place / meta["filename"])})
    return root


def stl_root(root: Path, monkeypatch: pytest.MonkeyPatch, labels: dict | None = None) -> Path:
    """STL-10's binary files with 5 and 3 images, and the MD5s that belong to them."""
    from torchvision.datasets import STL10

    place = root / stl.FOLDER
    place.mkdir(parents=True, exist_ok=True)
    labels = labels or {"train": [1, 10, 3, 3, 2], "test": [7, 1, 10]}
    for seed, (split, y) in enumerate(labels.items()):
        (place / f"{split}_X.bin").write_bytes(pixels(seed, len(y), 3, 96, 96).tobytes())
        (place / f"{split}_y.bin").write_bytes(bytes(y))
        files = [[f"{split}_{c}.bin", md5(place / f"{split}_{c}.bin")] for c in "Xy"]
        monkeypatch.setattr(STL10, f"{split}_list", files)
    return root


def wnid_root(root: Path, wnids: Iterable[str], side: tuple[int, int] = (96, 128)) -> Path:
    """2 JPEG images in the folder of each class."""
    for label, wnid in enumerate(wnids):
        for i in range(2):
            save(root / wnid / f"{wnid}_{i}.JPEG", pixels(label * 2 + i, *side, 3))
    return root


def tiny_root(root: Path) -> Path:
    """Tiny-ImageNet's layout: 200 classes, one image of each to train on, 12 in `val/`."""
    wnids = [f"n{i:08}" for i in range(200)]
    for i, wnid in enumerate(wnids):
        save(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", pixels(i, 64, 64, 3))
    lines = []
    for i in range(12):
        image = pixels(i, 64, 64) if i == 3 else pixels(i, 64, 64, 3)  # some are grey
        save(root / "val" / "images" / f"val_{i}.JPEG", image)
        lines.append(f"val_{i}.JPEG\t{wnids[199 - 7 * i]}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(reversed(wnids)) + "\n")
    (root / "words.txt").write_text(f"{wnids[0]}\tgoldfish, Carassius auratus\nn99\tentity\n")
    return root


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def any_root(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if name in ("cifar10", "cifar10-jpeg"):
        return cifar_root(root, ".jpg" if name.endswith("jpeg") else ".png")
    if name == "cifar100-20":
        return cifar_root(root, classes=cifar.FINE_CLASSES)
    if name == "stl10":
        return stl_root(root, monkeypatch)
    if name in imagenet.CLASSES:
        return wnid_root(root, imagenet.CLASSES[name])
    if name == "tiny-imagenet":
        return tiny_root(root)
    if name == "folder":
        for i in range(4):
            save(root / "ab"[i % 2] / f"{i}.png", pixels(i, 12, 10))
    else:
        mnist_root(root)
        mnist_root(root, "FashionMNIST")
    return root
