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
    """How many samples of each cluster (rows) have each class (columns).

    Args:
        labels: Clusters.
        y: True classes.
        k: How many rows; by default as many as occur.
        classes: How many columns; by default as many as occur.

    Raises:
        ValueError: lengths differ, nothing is there, or a number is negative or beyond `k` or
            `classes`.

    Examples:
        >>> labels, y = np.array([0, 0, 1, 1]), np.array([2, 2, 2, 0])
        >>> contingency(labels, y).tolist()
        [[0, 0, 2], [1, 0, 1]]
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
    """The class of each cluster, by the one-to-one matching that agrees with most samples.

    -1 stands for a cluster left over. With the clusters of another model as `y`, and as many
    `classes` as clusters, it renames the clusters: each gets the number of the one it agrees with,
    an empty one a number that is left.

    Raises:
        ValueError: see `contingency`.

    Source:
        Xie et al., "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016, eq. 10;
        by Hungarian matching (Kuhn 1955).

    Examples:
        >>> labels, y = np.array([0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0])
        >>> matching(labels, y).tolist()
        [1, 0, -1]
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

    Examples:
        Clusters have no names: renamed ones are as good. That an attack has renamed them shows
        only with the match of before.

        >>> y = np.array([0, 0, 1, 1])
        >>> cluster_accuracy(np.array([1, 1, 0, 0]), y)
        1.0
        >>> match = matching(np.array([0, 0, 1, 1]), y)
        >>> cluster_accuracy(np.array([1, 1, 0, 0]), y, match)
        0.0
    """
    return float(is_correct(labels, y, matching(labels, y) if match is None else match).mean())


def nmi(labels: Integer[np.ndarray, " n"], y: Integer[np.ndarray, " n"]) -> float:
    """Normalised mutual information of clusters and classes, in [0, 1].

    By the arithmetic mean of both entropies; scikit-learn's.

    Examples:
        >>> y = np.array([0, 0, 1, 1])
        >>> nmi(np.array([1, 1, 0, 0]), y), nmi(np.array([0, 1, 0, 1]), y)
        (1.0, 0.0)
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(y, labels))


def ari(labels: Integer[np.ndarray, " n"], y: Integer[np.ndarray, " n"]) -> float:
    """Adjusted Rand index of clusters and classes: 1 for the same partition, 0 by chance.

    Source:
        Hubert and Arabie, "Comparing partitions", Journal of Classification 1985; scikit-learn's.

    Examples:
        >>> y = np.array([0, 0, 1, 1])
        >>> ari(np.array([1, 1, 0, 0]), y), ari(np.array([0, 1, 0, 1]), y)
        (1.0, -0.5)
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(y, labels))


def clusters_used(labels: Integer[np.ndarray, " n"]) -> int:
    """How many clusters hold at least one sample: a collapsed model moves nobody.

    Examples:
        >>> clusters_used(np.array([3, 3, 0]))
        2
    """
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

    Examples:
        >>> labels = np.arange(300) % 3
        >>> scores(labels, y=labels)
        Scores(acc 1.000 [1.000, 1.000], nmi 1.000, ari 1.000, clusters used 3, n 300)

        An attack has moved 30 of them:

        >>> after = np.where(np.arange(300) < 30, (labels + 1) % 3, labels)
        >>> found = scores(labels, y=labels, after=after, strength=0.1)
        >>> found.moved.value, found.acc
        (0.1, 0.9)
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
    """The gap between the two largest soft assignments of each sample; of one cluster, that one.

    Examples:
        >>> margin(np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]])).round(2).tolist()
        [0.5, 0.0]
    """
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
    """Size, purity, margin and fragility of each cluster.

    Examples:
        >>> labels, y = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
        >>> p = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.0, 1.0]], np.float32)
        >>> table = cluster_table(labels, p, y)
        >>> table.size.tolist(), table.purity.tolist(), table.margin.round(2).tolist()
        ([2, 2], [1.0, 0.5], [0.6, 0.6])
    """
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

    Examples:
        >>> y = np.array([0] * 80 + [1] * 20)
        >>> rows = sample_rows(10, 100, y)
        >>> len(rows), int(y[rows].sum())  # a fifth of them is of class 1, as of all
        (10, 2)
    """
    if n < 0:
        raise ValueError(f"rows: expected at least 0, got {n}")
    if y is not None and len(y) != total:
        raise ValueError(f"expected {total} labels, got {len(y)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    place = np.empty(total)
    classes = [order] if y is None else [order[y[order] == label] for label in np.unique(y)]
    for rows in classes:
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")[:n]


def is_correct(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    match: Int[np.ndarray, " k"],
) -> Bool[np.ndarray, " n"]:
    """Whether each cluster stands for the sample's class; one beyond `match` stands for none.

    Examples:
        >>> match = np.array([1, 0])  # cluster 0 stands for class 1, cluster 1 for class 0
        >>> is_correct(np.array([0, 0, 1]), np.array([1, 0, 0]), match).tolist()
        [True, False, True]
    """
    _check(labels, y)
    room = max(0, int(labels.max()) + 1 - len(match))
    return np.append(match, np.full(room, -1))[labels] == y


def _check(labels: np.ndarray, y: np.ndarray) -> None:
    if labels.shape != y.shape or len(labels) == 0:
        raise ValueError(
            f"expected one class for each of at least 1 sample, got {len(y)} for {len(labels)}"
        )
