"""How good a clustering is, and how it fares under an attack, from plain arrays. Labels are read
here alone.

Shapes: n samples, m samples with a path, k clusters, S strengths. `labels` are cluster numbers, `y`
true classes. Every interval is a 95 % one, from a seeded percentile bootstrap over samples unless
it says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy.optimize import linear_sum_assignment

from clustcore.types import AttackPath, Interval, Scores

DRAWS = 1000  # of each bootstrap
_NORMAL = 1.959963984540054  # the standard normal's 97.5 % quantile


# How good a clustering is


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
    labels: Integer[np.ndarray, " n"], y: Integer[np.ndarray, " n"], k: int | None = None
) -> Int[np.ndarray, " k"]:
    """The class of each cluster under the one-to-one matching that agrees with most samples; -1 for
    a cluster left over.

    Hungarian matching, as in Xie et al., "Unsupervised Deep Embedding for Clustering Analysis",
    ICML 2016, eq. 10. With the clusters of another model as `y`, it gives each cluster the number
    of the one it agrees with.
    """
    table = contingency(labels, y, k)
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
    return float(_correct(labels, y, matching(labels, y) if match is None else match).mean())


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
    correct = share(_correct(after, y, matching(labels, y, k) if match is None else match), seed)
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


# Shares and medians with their intervals


def share(hits: Bool[np.ndarray, " n"], seed: int = 0) -> Interval:
    """The share of True, by bootstrap: resampling n yes-or-no answers is one binomial draw.

    Raises:
        ValueError: no samples.
    """
    n = len(hits)
    if n == 0:
        raise ValueError("expected at least 1 sample, got none")
    value = float(hits.mean())
    draws = np.sort(np.random.default_rng(seed).binomial(n, value, DRAWS)) / n
    return Interval(value, *_middle(draws))


def wilson(hits: int, n: int) -> Interval:
    """The share `hits / n` with Wilson's score interval: a closed form that stays honest at 0 and
    at n (Wilson, JASA 1927).

    Raises:
        ValueError: no samples, or more hits than samples.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"expected 0 to n hits of n >= 1 samples, got {hits} of {n}")
    value, z2 = hits / n, _NORMAL**2
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if hits == 0 else centre - half
    return Interval(value, low, 1.0 if hits == n else centre + half)


def median_smallest(smallest: Float[np.ndarray, " m"], seed: int = 0) -> Interval:
    """The median smallest strength, NaN ("never moved") counted as infinite: `inf` where at least
    half never moved.

    Raises:
        ValueError: no samples.
    """
    if len(smallest) == 0:
        raise ValueError("expected at least 1 sample, got none")
    values = np.where(np.isnan(smallest), np.inf, smallest).astype(np.float64)
    rows = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    draws = np.sort(np.median(values[rows], axis=1))
    return Interval(float(np.median(values)), *_middle(draws))


# Under an attack


@dataclass(frozen=True)
class SecurityCurve:
    """How a clustering fares as an attack grows stronger. What needs labels is NaN without them."""

    strengths: Float[np.ndarray, " S"]
    moved: Float[np.ndarray, " S"]  # share of samples that have left their cluster
    low: Float[np.ndarray, " S"]  # its 95 % interval
    high: Float[np.ndarray, " S"]
    noise: Float[np.ndarray, " S"] | None  # the share that random noise of equal size moves
    moved_correct: Float[np.ndarray, " S"]  # share moved among the samples that were right
    acc: Float[np.ndarray, " S"]  # clusters matched on clean data
    acc_rematched: Float[np.ndarray, " S"]
    nmi: Float[np.ndarray, " S"]
    ari: Float[np.ndarray, " S"]
    n: int
    seed: int


def security_curve(
    path: AttackPath,
    y: Integer[np.ndarray, " m"] | None = None,
    *,
    noise: AttackPath | None = None,
    match: Int[np.ndarray, " k"] | None = None,
    seed: int = 0,
) -> SecurityCurve:
    """Moved share, and with labels ACC, NMI and ARI, at each strength of a path.

    Biggio and Roli, "Wild patterns", Pattern Recognition 2018, section 4, for accuracy against
    strength.

    Args:
        path: The attack. "Moved at s" is `smallest <= s`.
        y: True classes of the path's samples.
        noise: The control, on the same samples and strengths.
        match: The class of each cluster, from `matching` on all clean samples; by default on those
            of the path.
        seed: Of the bootstrap.

    Raises:
        ValueError: the control belongs to other samples or strengths.
    """
    steps, clean = len(path.strengths), path.labels[0]
    if noise is not None and not (
        np.array_equal(noise.rows, path.rows) and np.array_equal(noise.strengths, path.strengths)
    ):
        raise ValueError(
            "noise control: expected the samples and strengths of the attack, "
            f"got {len(noise.rows)} samples up to {noise.strengths[-1]:g} beside "
            f"{len(path.rows)} up to {path.strengths[-1]:g}"
        )
    gone = moved_at(path.smallest, path.strengths)
    moved = [share(row, seed) for row in gone]
    with_labels = np.full((5, steps), np.nan)
    if y is not None:
        match = matching(clean, y) if match is None else match
        right = _correct(clean, y, match)
        if right.any():
            with_labels[0] = gone[:, right].mean(1)
        for i, now in enumerate(path.labels):
            with_labels[1:, i] = (
                cluster_accuracy(now, y, match),
                cluster_accuracy(now, y),
                nmi(now, y),
                ari(now, y),
            )
    return SecurityCurve(
        path.strengths,
        np.array([m.value for m in moved]),
        np.array([m.low for m in moved]),
        np.array([m.high for m in moved]),
        None if noise is None else moved_at(noise.smallest, path.strengths).mean(1),
        *with_labels,
        n=len(path.rows),
        seed=seed,
    )


def moved_at(
    smallest: Float[np.ndarray, " m"], strengths: Float[np.ndarray, " S"]
) -> Bool[np.ndarray, "S m"]:
    """Which samples have moved at each strength: `smallest <= s`, never for NaN."""
    return smallest[None, :] <= strengths[:, None]


def labels_at(path: AttackPath, strength: float) -> Integer[np.ndarray, " m"]:
    """The cluster of each sample at any strength of the dial.

    Between two steps a moved sample counts as in the later one, as on the map.

    Raises:
        ValueError: a strength outside the path.
    """
    at, end = np.float32(strength), path.strengths[-1]
    if not 0 <= at <= end:
        raise ValueError(f"strength: expected 0 to {end:g}, got {strength:g}")
    step = int(np.searchsorted(path.strengths, at))  # the first not below it
    return np.where(path.smallest <= at, path.labels[step], path.labels[0])


def worst_case(smallest: Sequence[Float[np.ndarray, " m"]]) -> Float[np.ndarray, " m"]:
    """Per sample the smallest strength over several attacks; NaN where none moved it.

    Raises:
        ValueError: no attack, or attacks on different numbers of samples.
    """
    sizes = {len(values) for values in smallest}
    if len(sizes) != 1:
        raise ValueError(f"expected attacks on the same samples, got {sorted(sizes) or 'none'}")
    return np.fmin.reduce(list(smallest))


def migration(
    before: Integer[np.ndarray, " m"], after: Integer[np.ndarray, " m"], k: int
) -> Int[np.ndarray, "k k"]:
    """How many samples went from cluster i (row) to cluster j (column); the diagonal stayed."""
    return contingency(before, after, k, k)


def survival(
    smallest: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """The share still in its cluster just after each strength at which a sample leaves, from (0, 1)
    on: a step curve.

    Samples that never move (NaN) survive to the end.

    Raises:
        ValueError: no samples.
    """
    if len(smallest) == 0:
        raise ValueError("expected at least 1 sample, got none")
    strengths, counts = np.unique(smallest[~np.isnan(smallest)], return_counts=True)
    left = 1 - np.cumsum(counts) / len(smallest)
    return np.append(0.0, strengths), np.append(1.0, left)


# Clusters and samples


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
    purity, margin, median = np.full((3, k), np.nan)
    attacked = np.zeros(k, np.int64)
    best = np.sort(p.astype(np.float32), axis=1)
    gap = best[:, -1] - best[:, -2] if k > 1 else best[:, -1]
    counts = None if y is None else contingency(labels, y, k)
    for c in np.flatnonzero(size):
        margin[c] = gap[labels == c].mean()
        if counts is not None:
            purity[c] = counts[c].max() / size[c]
    if path is not None:
        attacked = np.bincount(path.labels[0], minlength=k)
        values = np.where(np.isnan(path.smallest), np.inf, path.smallest)
        for c in np.flatnonzero(attacked):
            median[c] = np.median(values[path.labels[0] == c])
    return ClusterTable(size, purity, margin, attacked, median)


def fragile_clusters(table: ClusterTable) -> Int[np.ndarray, " c"]:
    """The clusters with attacked samples, from the easiest to leave to the hardest, by median
    smallest strength."""
    known = np.flatnonzero(table.attacked)
    return known[np.argsort(table.median_smallest[known], kind="stable")]


def fragile_samples(smallest: Float[np.ndarray, " m"], n: int) -> Int[np.ndarray, " f"]:
    """Positions of the at most `n` samples that move first, the most fragile first; those that
    never move are left out."""
    order = np.argsort(smallest, kind="stable")  # NaN sorts last
    return order[: min(n, int((~np.isnan(smallest)).sum()))]


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


# Two models side by side


@dataclass(frozen=True)
class Band:
    """A figure at each strength with its 95 % interval."""

    value: Float[np.ndarray, " S"]
    low: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]


@dataclass(frozen=True)
class Bands:
    """How a clustering fares under an attack; what needs labels is None without them."""

    moved: Band  # share of samples that have left their cluster
    acc: Band | None = None  # clusters matched on clean data
    nmi: Band | None = None
    purity: Band | None = None


def bands(
    path: AttackPath,
    y: Integer[np.ndarray, " m"] | None = None,
    match: Int[np.ndarray, " k"] | None = None,
    seed: int = 0,
) -> Bands:
    """Moved share, and with labels ACC, NMI and purity, at each strength of a path.

    Shares have Wilson's interval. NMI and purity depend on the contingency table alone, so that
    resampling samples is one multinomial draw of it; their interval is 1.96 standard errors of the
    draws to each side, since both run high on resampled data and percentiles would miss the value.

    Args:
        path: The attack. "Moved at s" is `smallest <= s`.
        y: True classes of the path's samples.
        match: The class of each cluster, from `matching` on all clean samples; by default on those
            of the path.
        seed: Of the bootstrap.
    """
    n = len(path.rows)
    moved = share_band(moved_at(path.smallest, path.strengths).sum(1), n)
    if y is None:
        return Bands(moved)
    match = matching(path.labels[0], y) if match is None else match
    right = np.array([_correct(now, y, match).sum() for now in path.labels])
    k, classes = int(path.labels.max()) + 1, int(y.max()) + 1
    rng, found = np.random.default_rng(seed), []
    for now in path.labels:
        table = contingency(now, y, k, classes)
        draws = rng.multinomial(n, table.ravel() / n, DRAWS).reshape(DRAWS, k, classes)
        for measure in (_nmi_of, _purity_of):
            value = float(measure(table[None])[0])
            half = _NORMAL * float(measure(draws).std())
            found.append((value, max(0.0, value - half), min(1.0, value + half)))
    values = np.array(found).reshape(len(path.labels), 2, 3)
    return Bands(moved, share_band(right, n), Band(*values[:, 0].T), Band(*values[:, 1].T))


def share_band(hits: Integer[np.ndarray, " S"], n: int) -> Band:
    """The shares `hits / n` with Wilson's interval."""
    found = [wilson(int(count), n) for count in hits]
    return Band(*(np.array([getattr(f, name) for f in found]) for name in ("value", "low", "high")))


def _nmi_of(tables: Integer[np.ndarray, "b k c"]) -> Float[np.ndarray, " b"]:
    """NMI of contingency tables; 1 where both sides have one group, as scikit-learn has it."""
    share = tables / tables.sum((1, 2), keepdims=True)
    both, rows, columns = (_entropy(part) for part in (share, share.sum(2), share.sum(1)))
    mean = (rows + columns) / 2
    return np.where(mean > 0, (rows + columns - both) / np.where(mean > 0, mean, 1), 1.0)


def _entropy(share: Float[np.ndarray, "b ..."]) -> Float[np.ndarray, " b"]:
    flat = share.reshape(len(share), -1)
    return -(flat * np.log(np.where(flat > 0, flat, 1))).sum(1)


def _purity_of(tables: Integer[np.ndarray, "b k c"]) -> Float[np.ndarray, " b"]:
    return tables.max(2).sum(1) / tables.sum((1, 2))


def _correct(
    labels: Integer[np.ndarray, " n"],
    y: Integer[np.ndarray, " n"],
    match: Int[np.ndarray, " k"],
) -> Bool[np.ndarray, " n"]:
    _check(labels, y)
    room = max(0, int(labels.max()) + 1 - len(match))
    return np.append(match, np.full(room, -1))[labels] == y


def _check(labels: np.ndarray, y: np.ndarray) -> None:
    if labels.shape != y.shape or len(labels) == 0:
        raise ValueError(
            f"expected one class for each of at least 1 sample, got {len(y)} for {len(labels)}"
        )


def _middle(draws: Float[np.ndarray, " b"]) -> tuple[float, float]:
    """The central 95 % of sorted draws, without interpolating: a draw may be infinite."""
    cut = round(0.025 * len(draws))
    return float(draws[cut]), float(draws[-1 - cut])
