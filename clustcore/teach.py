"""The teacher: clusters from a manifold (PCA, UMAP, Gaussian mixture), as in N2D (McConville et
al., ICPR 2020), pixels in.

A command of its own that writes `teacher.npz`, so that training never imports umap.
"""

from __future__ import annotations

import warnings
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

    No choice in it looks at a label: on each manifold the likeliest mixture counts, and of the
    manifolds the one whose clusters agree most with those of the others.
    """

    clusters: int = setting(10, "clusters", range=(2, 256))
    pca: int = setting(50, "principal components that UMAP sees", range=(2, 1000))
    dim: int = setting(10, "dimensions of the manifold", range=(2, 100))
    neighbours: int = setting(20, "neighbours in UMAP's graph", range=(2, 200))
    manifolds: int = setting(
        7, "manifolds fitted; the one that agrees most with the others is kept", range=(1, 100)
    )
    starts: int = setting(12, "mixtures fitted on each; the likeliest is kept", range=(1, 1000))
    seed: int = setting(0, "seed", range=(0, 2**31 - 1))


@dataclass(frozen=True)
class Teacher:
    """Clusters of a training split, and what they were made with."""

    clusters: NDArray[np.int64]  # (n,)
    votes: NDArray[np.float32]  # (n, k) the share of the manifolds that put a sample there
    log_likelihood: float  # of its mixture, the mean per sample
    agreement: float  # mean adjusted Rand index with the other manifolds' clusters; 1 if alone
    config: TeachConfig
    data: str


def teach(
    x: Float[np.ndarray, "n c h w"],
    data: str,
    config: TeachConfig,
    on_step: Callable[[int, int, str], None] | None = None,
) -> Teacher:
    """Cluster images without a network: PCA, then UMAP, then the likeliest of several Gaussian
    mixtures; all that from several seeds, of which the most typical clustering is kept.

    One UMAP is a matter of luck: on Fashion-MNIST its clusters fall into a few quite different
    groupings. The one that most seeds find is kept: stability needs no label to be seen (von
    Luxburg, Clustering stability, arXiv 1007.1075), and is no promise that it fits the classes.

    Raises:
        ValueError: fewer images than the steps need.
    """
    from sklearn.decomposition import PCA

    flat = x.reshape(len(x), -1)
    need = max(config.neighbours, config.clusters, config.dim + 2) + 1
    if len(flat) < need:
        raise ValueError(f"teacher: expected at least {need} images, got {len(flat)}")
    each = config.starts + 1
    steps = 1 + config.manifolds * each
    say = on_step or (lambda done, total, sentence: None)
    say(0, steps, "principal components")
    components = min(config.pca, *flat.shape)
    flat = PCA(components, random_state=config.seed).fit_transform(flat)
    found = []
    for index in range(config.manifolds):

        def tell(done: int, sentence: str, index: int = index) -> None:
            where = f"manifold {index + 1} of {config.manifolds}"
            say(1 + index * each + done, steps, f"{where}: {sentence}")

        found.append(_clusters(flat, config, index, tell))
    agreement = _agreement([clusters for clusters, _ in found])
    best = int(agreement.argmax())
    say(steps, steps, "done")
    clusters, score = found[best]
    votes = _votes([other for other, _ in found], clusters, config.clusters)
    return Teacher(clusters, votes, score, float(agreement[best]), config, data)


def _clusters(
    flat: NDArray[np.floating],
    config: TeachConfig,
    index: int,
    say: Callable[[int, str], None],
) -> tuple[NDArray[np.int64], float]:
    """The clusters of one manifold, and their mixture's mean log-likelihood."""
    from sklearn.mixture import GaussianMixture

    drawn = np.random.SeedSequence([config.seed, index]).generate_state(1 + config.starts)
    seed, *seeds = map(int, drawn)
    say(0, "UMAP")
    with warnings.catch_warnings():  # its keras network is not needed
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        import umap

    manifold = umap.UMAP(
        n_components=config.dim,
        n_neighbors=config.neighbours,
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,
    ).fit_transform(flat)
    points = manifold.astype(np.float64)
    best: tuple[NDArray[np.int64], float] | None = None
    for start, other in enumerate(seeds):
        say(1 + start, f"mixture {start + 1} of {config.starts}")
        mixture = GaussianMixture(
            config.clusters,
            random_state=other,
            max_iter=300,
            reg_covar=1e-3,
        ).fit(points)
        score = float(mixture.score(points))
        if best is None or score > best[1]:
            best = (mixture.predict(points).astype(np.int64), score)
    return best


def _agreement(found: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Each clustering's mean adjusted Rand index with the others."""
    from sklearn.metrics import adjusted_rand_score

    if len(found) == 1:
        return np.ones(1)
    pairs = np.array([[adjusted_rand_score(a, b) for b in found] for a in found])
    return (pairs.sum(1) - 1) / (len(found) - 1)


def _votes(found: list[NDArray[np.int64]], named: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """How many of the clusterings put each sample where, under the names of one of them."""
    from scipy.optimize import linear_sum_assignment

    votes = np.zeros((len(named), k), np.float32)
    for clusters in found:
        shared = np.zeros((k, k), np.int64)
        np.add.at(shared, (clusters, named), 1)
        names = linear_sum_assignment(shared, maximize=True)[1]
        votes[np.arange(len(named)), names[clusters]] += 1 / len(found)
    return votes


def save_teacher(path: Path, teacher: Teacher) -> None:
    """Write `teacher.npz`, whole or not at all."""
    values = {"clusters": teacher.clusters.astype(np.uint16), "data": teacher.data}
    values |= {"votes": np.round(teacher.votes * teacher.config.manifolds).astype(np.uint8)}
    values |= {"log_likelihood": teacher.log_likelihood, "agreement": teacher.agreement}
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
        npz["clusters"].astype(np.int64),
        npz["votes"].astype(np.float32) / config.manifolds,
        float(npz["log_likelihood"]),
        float(npz["agreement"]),
        config,
        str(npz["data"]),
    )
    if len(teacher.clusters) != n or teacher.data != data:
        raise ValueError(
            f"{path}: expected a teacher of {n} samples of {data}, got {len(teacher.clusters)} "
            f"of {teacher.data}"
        )
    return teacher
