"""The teacher: clusters from a manifold (PCA, UMAP, Gaussian mixture), as in N2D (McConville et
al., ICPR 2020), pixels in.

A command of its own that writes `teacher.npz`, so that training never imports umap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clustcore.runs import load_npz, save_npz
from clustcore.types import Config, setting


@dataclass(frozen=True, kw_only=True)
class TeachConfig(Config):
    """How the teacher is made.

    No choice in it looks at a label: of the mixtures the likeliest counts.
    """

    clusters: int = setting(10, "clusters", range=(2, 256))
    pca: int = setting(50, "principal components that UMAP sees", range=(2, 1000))
    dim: int = setting(10, "dimensions of the manifold", range=(2, 100))
    neighbours: int = setting(20, "neighbours in UMAP's graph", range=(2, 200))
    starts: int = setting(12, "mixtures fitted; the likeliest is kept", range=(1, 1000))
    seed: int = setting(0, "seed", range=(0, 2**31 - 1))


@dataclass(frozen=True)
class Teacher:
    """Clusters of a training split, and what they were made with."""

    clusters: NDArray[np.int64]  # (n,)
    log_likelihood: float  # mean per sample
    config: TeachConfig
    data: str


def teach(
    x: Float[np.ndarray, "n c h w"],
    data: str,
    config: TeachConfig,
    on_step: Callable[[int, int, str], None] | None = None,
) -> Teacher:
    """Cluster images without a network: PCA, then UMAP, then the likeliest of several Gaussian
    mixtures.

    Raises:
        ValueError: fewer images than the steps need.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    flat = x.reshape(len(x), -1)
    need = max(config.neighbours, config.clusters, config.dim + 2) + 1
    if len(flat) < need:
        raise ValueError(f"teacher: expected at least {need} images, got {len(flat)}")
    say = on_step or (lambda done, total, sentence: None)
    steps = config.starts + 2
    say(0, steps, "principal components")
    components = min(config.pca, *flat.shape)
    flat = PCA(components, random_state=config.seed).fit_transform(flat)
    say(1, steps, "UMAP")
    import umap

    manifold = umap.UMAP(
        n_components=config.dim,
        n_neighbors=config.neighbours,
        min_dist=0.0,
        random_state=config.seed,
        n_jobs=1,
    ).fit_transform(flat)
    points = manifold.astype(np.float64)
    best: tuple[float, NDArray[np.int64]] | None = None
    for start in range(config.starts):
        say(2 + start, steps, f"mixture {start + 1} of {config.starts}")
        seed = config.seed * 1000 + start
        mixture = GaussianMixture(
            config.clusters, random_state=seed, max_iter=300, reg_covar=1e-3
        ).fit(points)
        score = float(mixture.score(points))
        if best is None or score > best[0]:
            best = (score, mixture.predict(points).astype(np.int64))
    say(steps, steps, "done")
    return Teacher(best[1], best[0], config, data)


def save_teacher(path: Path, teacher: Teacher) -> None:
    """Write `teacher.npz`, whole or not at all."""
    values = {"clusters": teacher.clusters.astype(np.uint16), "data": teacher.data}
    values |= {"log_likelihood": teacher.log_likelihood}
    values |= {f"config_{name}": value for name, value in teacher.config.to_dict().items()}
    save_npz(path, values)


def load_teacher(path: Path, n: int, data: str) -> Teacher:
    """Read a teacher, made for these very samples.

    Raises:
        ValueError: missing or damaged, or made for other data.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: expected a teacher (`python -m clustcore teach`), got no such file"
        )
    npz = load_npz(path)
    names = TeachConfig().to_dict()
    config = TeachConfig(**{name: npz[f"config_{name}"].item() for name in names})
    teacher = Teacher(
        npz["clusters"].astype(np.int64), float(npz["log_likelihood"]), config, str(npz["data"])
    )
    if len(teacher.clusters) != n or teacher.data != data:
        raise ValueError(
            f"{path}: expected a teacher of {n} samples of {data}, got {len(teacher.clusters)} "
            f"of {teacher.data}"
        )
    return teacher
