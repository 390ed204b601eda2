"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn: small, and always there.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998 (CC BY 4.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clustcore.datasets.arrays import samples
from clustcore.types import Samples

TRAIN = 1297  # of 1,797; the other 500 are the test split


def load(name: str, split: str, root: Path | None = None, download: bool = False) -> Samples:
    """One split, the same everywhere: rows in a fixed random order, labels not looked at."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    rows = order[:TRAIN] if split == "train" else order[TRAIN:]
    x = data.images[rows].astype(np.float32) / np.float32(16)  # pixel counts from 0 to 16
    return samples(x, data.target[rows], name=name, split=split, class_names=tuple("0123456789"))
