"""The teacher: clusters from manifolds, and a consensus of many such clusterings.

Pixels or a network's features go in; PCA, UMAP and Gaussian mixtures cluster them, as in N2D. It is
a command of its own that writes `teacher.npz`, so that training never imports umap.

Source: McConville et al., "N2D: (Not too) deep clustering via clustering the local manifold of an
    autoencoded embedding", ICPR 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clustcore.config import Config, setting
from clustcore.display import brief
from clustcore.files import load_npz, save_npz
from clustcore.manifold import import_umap


@dataclass(frozen=True, kw_only=True)
class TeachConfig(Config):
    """How the teacher is made. No choice in it looks at a label."""

    clusters: int = setting(10, "clusters", range=(2, 256))
    pca: int = setting(50, "principal components that UMAP sees", range=(2, 1000))
    dim: int = setting(10, "dimensions of the manifold", range=(2, 100))
    neighbours: int = setting(20, "neighbours in UMAP's graph", range=(2, 200))
    manifolds: int = setting(5, "manifolds fitted, each from a seed of its own", range=(1, 100))
    starts: int = setting(12, "mixtures fitted on each; the most balanced is kept", range=(1, 1000))
    seed: int = setting(0, "seed", range=(0, 2**31 - 1))


@dataclass(frozen=True)
class Teacher:
    """Clusters of a training split, and what they were made with."""

    clusters: NDArray[np.int64]  # (n,)
    agreement: float  # mean adjusted Rand index of the manifolds' clusterings with their consensus
    config: TeachConfig
    data: str
    on: str = ""  # sha256 of the weights whose embedding was clustered; "": the pixels

    __repr__ = brief


def teach(
    x: Float[np.ndarray, "n ..."],
    data: str,
    config: TeachConfig,
    on_step: Callable[[int, int, str], None] | None = None,
    *,
    on: str = "",
) -> Teacher:
    """Cluster images, or what a network makes of them, for a training to follow.

    PCA, then several UMAPs, on each of them the most balanced of several Gaussian mixtures, then
    the consensus of these clusterings. See `clustcore.pipeline.make.teach_on` for a network's.

    One UMAP and one mixture are a matter of luck: on Fashion-MNIST they fall into several quite
    different groupings. That clusters are of about one size is what DRC's L_CR asks for too; a
    mixture that splits one group and merges two others is less balanced, and often likelier.

    Args:
        x: images, or rows of features.
        data: goes into the teacher: the name of the data set.
        config: how it is made.
        on_step: called with (done, total, sentence) between steps; may raise to cancel.
        on: goes into the teacher: which weights made the features.

    Raises:
        ValueError: fewer images than the steps need, or features that are not finite or all the
            same.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(5 * i, size=(20, 8)) for i in range(3)])  # three groups
        >>> config = TeachConfig(clusters=3, neighbours=5, manifolds=1, starts=2)
        >>> teacher = teach(x, "own", config)
        >>> np.bincount(teacher.clusters).tolist(), teacher.agreement
        ([20, 20, 20], 1.0)
    """
    from sklearn.decomposition import PCA

    flat = x.reshape(len(x), -1)
    need = max(config.neighbours, config.clusters, config.dim + 2) + 1
    if len(flat) < need:
        raise ValueError(f"teacher: expected at least {need} images, got {len(flat)}")
    if not np.isfinite(flat).all():
        raise ValueError(f"teacher: {data}: expected finite features, got NaN or infinity")
    if np.ptp(flat, axis=0).max() <= 1e-6 * max(1e-30, float(np.abs(flat).max())):
        raise ValueError(
            f"teacher: {data}: expected features that differ, got the same for all images"
        )
    each = config.starts + 1
    steps = 2 + config.manifolds * each
    say = on_step or (lambda done, total, sentence: None)
    say(0, steps, "principal components")
    components = min(config.pca, *flat.shape)
    flat = PCA(components, random_state=config.seed).fit_transform(flat)
    found: list[NDArray[np.int64]] = []
    for index in range(config.manifolds):

        def tell(done: int, sentence: str, index: int = index) -> None:
            where = f"manifold {index + 1} of {config.manifolds}"
            say(1 + index * each + done, steps, f"{where}: {sentence}")

        found.append(_clustering(flat, config, index, tell))
    say(steps - 1, steps, "consensus")
    clusters = consensus(np.stack(found, 1), config.clusters, config.seed)
    say(steps, steps, "done")
    return Teacher(clusters, _agreement(found, clusters), config, data, on)


def consensus(found: Int[np.ndarray, "n m"], k: int, seed: int) -> NDArray[np.int64]:
    """One clustering that shares the most with m given ones, whatever they call their clusters.

    K-means on each sample's m memberships, one-hot: its optimum has the largest quadratic mutual
    information with them. Samples of equal memberships count as one point with their number for
    its weight.

    Args:
        found: the clusterings, one a column.
        k: clusters of the consensus.
        seed: of k-means.

    Raises:
        ValueError: fewer different memberships than k.

    Source:
        Topchy, Jain and Punch, "Combining multiple weak clusterings", ICDM 2003, section 3.

    Examples:
        Two clusterings say the same in other words, a third disagrees on one sample:

        >>> found = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 0]])
        >>> clusters = consensus(found, k=2, seed=0)
        >>> (clusters == clusters[0]).tolist()
        [True, True, False, False, False]
    """
    from sklearn.cluster import KMeans

    rows, inverse, counts = np.unique(found, axis=0, return_inverse=True, return_counts=True)
    if len(rows) < k:
        raise ValueError(f"consensus: expected {k} different memberships or more, got {len(rows)}")
    hot = np.eye(int(found.max()) + 1, dtype=np.float32)[rows].reshape(len(rows), -1)
    means = KMeans(k, n_init=30, random_state=seed).fit(hot, sample_weight=counts)
    return means.labels_.astype(np.int64)[inverse.ravel()]


def balance(clusters: Int[np.ndarray, " n"]) -> float:
    """The entropy of the clusters' sizes, in nats: ln k where all are equal.

    Examples:
        >>> even, uneven = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
        >>> balance(even) > balance(uneven)
        True
        >>> round(balance(even), 3)  # ln 2
        0.693
    """
    share = np.bincount(clusters) / len(clusters)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _clustering(
    flat: NDArray[np.floating],
    config: TeachConfig,
    index: int,
    say: Callable[[int, str], None],
) -> NDArray[np.int64]:
    """The most balanced clustering of one manifold's mixtures."""
    from sklearn.mixture import GaussianMixture

    drawn = np.random.SeedSequence([config.seed, index]).generate_state(1 + config.starts)
    seed, *seeds = map(int, drawn)
    say(0, "UMAP")
    umap = import_umap()
    manifold = umap.UMAP(
        n_components=config.dim,
        n_neighbors=config.neighbours,
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,
    ).fit_transform(flat)
    points = manifold.astype(np.float64)
    found = []
    for start, other in enumerate(seeds):
        say(1 + start, f"mixture {start + 1} of {config.starts}")
        mixture = GaussianMixture(
            config.clusters,
            random_state=other,
            max_iter=300,
            reg_covar=1e-3,
        )
        found.append(mixture.fit_predict(points).astype(np.int64))
    return max(found, key=balance)


def _agreement(found: list[NDArray[np.int64]], clusters: NDArray[np.int64]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(np.mean([adjusted_rand_score(clusters, other) for other in found]))


def save_teacher(path: Path, teacher: Teacher) -> None:
    """Write `teacher.npz`, whole or not at all.

    Examples:
        >>> import tempfile
        >>> teacher = Teacher(np.array([0, 1, 1]), 1.0, TeachConfig(clusters=2), "own")
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_teacher(Path(place) / "teacher.npz", teacher)
        ...     load_teacher(Path(place) / "teacher.npz", n=3, data="own").clusters.tolist()
        [0, 1, 1]
    """
    values = {"clusters": teacher.clusters.astype(np.uint16), "data": teacher.data}
    values |= {"agreement": teacher.agreement, "on": teacher.on}
    values |= {f"config_{name}": value for name, value in teacher.config.to_dict().items()}
    save_npz(path, values)


def load_teacher(path: Path, n: int, data: str, how: TeachConfig | None = None) -> Teacher:
    """Read a teacher, made for these very samples.

    Args:
        path: the file.
        n: how many samples there are.
        data: of which data set.
        how: the settings that it has to be made with; any by default.

    Raises:
        ValueError: missing or damaged, made for other data, or otherwise.

    Examples:
        >>> load_teacher(Path("teacher.npz"), n=3, data="own")
        Traceback (most recent call last):
        ValueError: teacher.npz: expected a teacher (`python -m clustcore teach`), got no such file
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
        float(npz["agreement"]),
        config,
        str(npz["data"]),
        str(npz.get("on", "")),
    )
    if len(teacher.clusters) != n or teacher.data != data:
        raise ValueError(
            f"{path}: expected a teacher of {n} samples of {data}, got {len(teacher.clusters)} "
            f"of {teacher.data}"
        )
    if how is not None and teacher.config != how:
        raise ValueError(f"{path}: expected a teacher of {how}, got one of {teacher.config}")
    return teacher
