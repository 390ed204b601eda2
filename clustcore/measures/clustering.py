"""How good a clustering is, from plain arrays. Labels are read here and in `robustness` alone.

Shapes: n samples, k clusters, c classes. `labels` are cluster numbers, `y` true classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy.optimize import linear_sum_assignment

from clustcore.measures.intervals import share
from clustcore.types import AttackPath, Scores


def contingency(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    k: int | None = None,
    classes: int | None = None,
) -> Int[np.ndarray, "k c"]:
    """How many samples of each cluster (rows) have each class (columns); by default as many as
    occur.

    Raises:
        ValueError: lengths differ, nothing is there, or a number is negative or beyond `k` or
            `classes`.
    """
    _check(labels, y)
    k = int(labels.max()) + 1 if k is None else k
    classes = int(y.max()) + 1 if classes is None else classes
    for what, values, count in (("cluster", labels, k), ("class", y, classes)):
        if values.min() < 0 or values.max() >= count:
            raise ValueError(
                f"{what} numbers: expected 0 to {count - 1}, got {values.min()} to {values.max()}"
            )
    flat = labels.astype(np.int64) * classes + y
    return np.bincount(flat, minlength=k * classes).reshape(k, classes)


def matching(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    k: int | None = None,
    classes: int | None = None,
) -> Int[np.ndarray, " k"]:
    """The class of each cluster under the one-to-one matching that agrees with most samples; -1 for
    a cluster left over.

    Hungarian matching (Kuhn 1955), as in Xie et al., "Unsupervised Deep Embedding for Clustering
    Analysis", ICML 2016, eq. 10. With the clusters of another model as `y`, and as many `classes`
    as clusters, it renames the clusters: each gets the number of the one it agrees with, an empty
    one a number that is left.

    Raises:
        ValueError: see `contingency`.
    """
    table = contingency(labels, y, k, classes)
    rows, columns = linear_sum_assignment(table, maximize=True)
    match = np.full(len(table), -1)
    match[rows] = columns
    return match


def cluster_accuracy(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    match: Int[np.ndarray, " k"] | None = None,
) -> float:
    """ACC: the share of samples whose cluster stands for their class.

    Args:
        labels: Clusters.
        y: True classes.
        match: The class of each cluster, as `matching` gave it on clean data; without it clusters
            are matched anew, which hides an attack that renames them. A cluster beyond its end
            stands for no class.
    """
    return float(is_correct(labels, y, matching(labels, y) if match is None else match).mean())


def nmi(labels: Integer[np.ndarray, " n"], y: Integer[np.ndarray, " n"]) -> float:
    """Normalised mutual information in [0, 1], by the arithmetic mean of both entropies
    (scikit-learn's)."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(y, labels))


def ari(labels: Integer[np.ndarray, " n"], y: Integer[np.ndarray, " n"]) -> float:
    """Adjusted Rand index: 1 for the same partition, 0 by chance (Hubert and Arabie 1985;
    scikit-learn's)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(y, labels))


def clusters_used(labels: Integer[np.ndarray, " n"]) -> int:
    """How many clusters hold at least one sample: a collapsed model moves nobody."""
    return len(np.unique(labels))


def scores(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"] | None = None,
    k: int | None = None,
    *,
    after: Integer[np.ndarray, " n"] | None = None,
    moved: Bool[np.ndarray, " n"] | None = None,
    match: Int[np.ndarray, " k"] | None = None,
    strength: float = 0.0,
    seed: int = 0,
) -> Scores:
    """All of it for one clustering, clean or attacked.

    Args:
        labels: Clusters on clean data.
        y: True classes; without them what needs them is NaN.
        k: How many clusters there are; by default as many as occur.
        after: Clusters of the same samples under the attack.
        moved: Which samples count as moved; by default those whose cluster changed.
        match: The class of each cluster, as `matching` gave it on all clean samples; by default it
            is made from `labels`.
        strength: Of the attack, kept in the result.
        seed: Of the bootstrap.

    Raises:
        ValueError: lengths differ, or nothing is there.
    """
    after = labels if after is None else after
    _check(after, labels)
    used, n = clusters_used(after), len(labels)
    gone = share(labels != after if moved is None else moved, seed)
    if y is None:
        nan = math.nan
        return Scores(nan, nan, nan, n, seed, strength, gone, clusters_used=used)
    correct = share(is_correct(after, y, matching(labels, y, k) if match is None else match), seed)
    return Scores(
        acc=correct.value,
        nmi=nmi(after, y),
        ari=ari(after, y),
        n=n,
        seed=seed,
        strength=strength,
        moved=gone,
        acc_rematched=cluster_accuracy(after, y),
        acc_interval=correct,
        clusters_used=used,
    )


def margin(p: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """The gap between the two largest soft assignments of each sample; of one cluster, that one."""
    best = np.sort(p.astype(np.float32), axis=1)
    return best[:, -1] - best[:, -2] if p.shape[1] > 1 else best[:, -1]


@dataclass(frozen=True)
class ClusterTable:
    """One row per cluster, empty ones included. NaN: nothing to compute it from."""

    size: Int[np.ndarray, " k"]
    purity: Float[np.ndarray, " k"]  # share of its most frequent class
    margin: Float[np.ndarray, " k"]  # mean gap between the two best soft assignments
    attacked: Int[np.ndarray, " k"]  # samples with a path
    median_smallest: Float[np.ndarray, " k"]  # over those; inf: at least half never moved


def cluster_table(
    labels: Integer[np.ndarray, " n"],
    p: Float[np.ndarray, "n k"],
    y: Integer[np.ndarray, " n"] | None = None,
    path: AttackPath | None = None,
) -> ClusterTable:
    """Size, purity, margin and fragility of each cluster."""
    k = p.shape[1]
    size = np.bincount(labels, minlength=k)
    purity, mean_margin, median = np.full((3, k), np.nan)
    attacked = np.zeros(k, np.int64)
    gap = margin(p)
    counts = None if y is None else contingency(labels, y, k)
    for c in np.flatnonzero(size):
        mean_margin[c] = gap[labels == c].mean()
        if counts is not None:
            purity[c] = counts[c].max() / size[c]
    if path is not None:
        attacked = np.bincount(path.labels[0], minlength=k)
        values = np.where(np.isnan(path.smallest), np.inf, path.smallest)
        for c in np.flatnonzero(attacked):
            median[c] = np.median(values[path.labels[0] == c])
    return ClusterTable(size, purity, mean_margin, attacked, median)


def sample_rows(
    n: int, total: int, y: Integer[np.ndarray, " total"] | None = None, seed: int = 0
) -> Int[np.ndarray, " rows"]:
    """A fixed sample of `n` of `total` rows, all if there are fewer, stratified by label.

    The order matters: each class is shuffled and laid out evenly over one line, and the line is
    read from its start. So the first rows of a sample are a smaller, stratified sample.

    Raises:
        ValueError: a negative `n`, or labels for another number of rows.
    """
    if n < 0:
        raise ValueError(f"rows: expected at least 0, got {n}")
    if y is not None and len(y) != total:
        raise ValueError(f"expected {total} labels, got {len(y)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    place = np.empty(total)
    for label in [None] if y is None else np.unique(y):
        rows = order if label is None else order[y[order] == label]
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")[:n]


def is_correct(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    match: Int[np.ndarray, " k"],
) -> Bool[np.ndarray, " n"]:
    """Whether each cluster stands for the sample's class; one beyond `match` stands for none."""
    _check(labels, y)
    room = max(0, int(labels.max()) + 1 - len(match))
    return np.append(match, np.full(room, -1))[labels] == y


def _check(labels: np.ndarray, y: np.ndarray) -> None:
    if labels.shape != y.shape or len(labels) == 0:
        raise ValueError(
            f"expected one class for each of at least 1 sample, got {len(y)} for {len(labels)}"
        )
