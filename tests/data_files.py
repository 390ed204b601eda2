"""Tiny data sets, written as the real ones are."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustcore.datasets import cifar


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


def cifar_root(root: Path, suffix: str = ".png") -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(cifar.CLASSES):
            for i in range(2):
                save(root / split / name / f"{i:04}{suffix}", pixels(label * 2 + i, 32, 32, 3))
    return root


def batches_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's own layout with 4 images a file, and the MD5s that belong to them."""
    from torchvision.datasets import CIFAR10

    place = root / cifar.BATCHES
    place.mkdir(parents=True)
    for name in ("train_list", "test_list"):
        files = []
        for seed, (file, _) in enumerate(getattr(CIFAR10, name)):
            entry = {"data": pixels(seed, 4, 3072), "labels": [seed, 1, 2, 9]}
            (place / file).write_bytes(pickle.dumps(entry))
            files.append([file, hashlib.md5((place / file).read_bytes()).hexdigest()])
        monkeypatch.setattr(CIFAR10, name, files)
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar.CLASSES)}))
    md5 = hashlib.md5((place / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5})
    return root


def any_root(name: str, root: Path) -> Path:
    if name.startswith("cifar10"):
        return cifar_root(root, ".jpg" if name.endswith("jpeg") else ".png")
    if name == "folder":
        for i in range(4):
            save(root / "ab"[i % 2] / f"{i}.png", pixels(i, 12, 10))
    else:
        mnist_root(root)
        mnist_root(root, "FashionMNIST")
    return root
