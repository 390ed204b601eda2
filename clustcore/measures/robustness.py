"""How a clustering fares under an attack, from plain arrays.

Shapes: m samples with a path, k clusters, S strengths. `y` are true classes. Every interval is a
95 % one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from clustcore.measures.clustering import (
    ClusterTable,
    ari,
    cluster_accuracy,
    contingency,
    is_correct,
    matching,
    nmi,
)
from clustcore.measures.intervals import DRAWS, NORMAL, share, wilson
from clustcore.types import AttackPath


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

    Args:
        path: The attack. "Moved at s" is `smallest <= s`.
        y: True classes of the path's samples.
        noise: The control, on the same samples and strengths.
        match: The class of each cluster, from `matching` on all clean samples; by default on those
            of the path.
        seed: Of the bootstrap.

    Raises:
        ValueError: the control belongs to other samples or strengths.

    Source:
        Biggio and Roli, "Wild patterns", Pattern Recognition 2018, section 4.

    Examples:
        >>> from clustcore import load_samples, runs
        >>> from clustcore.types import PathKey
        >>> run = runs.find_run("drc-mnist")
        >>> path = runs.stored_path(run, PathKey("pgd", "pixels", "linf"))
        >>> curve = security_curve(path, load_samples("mnist").y[path.rows])
        >>> for at in (0, 2, 3):
        ...     moved, acc = curve.moved[at], curve.acc[at]
        ...     print(f"{curve.strengths[at]:.3f}: {moved:.0%} moved, acc {acc:.2f}")
        0.000: 0% moved, acc 0.98
        0.030: 25% moved, acc 0.76
        0.058: 92% moved, acc 0.09
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
        right = is_correct(clean, y, match)
        if right.any():
            with_labels[0] = gone[:, right].mean(1)
        for i, now in enumerate(path.labels):
            with_labels[1:, i] = (
                cluster_accuracy(now, y, match),
                cluster_accuracy(now, y),
                nmi(now, y),
                ari(now, y),
            )
    moved_correct, acc, acc_rematched, nmis, aris = with_labels
    return SecurityCurve(
        path.strengths,
        np.array([m.value for m in moved]),
        np.array([m.low for m in moved]),
        np.array([m.high for m in moved]),
        None if noise is None else moved_at(noise.smallest, path.strengths).mean(1),
        moved_correct,
        acc,
        acc_rematched,
        nmis,
        aris,
        n=len(path.rows),
        seed=seed,
    )


def moved_at(
    smallest: Float[np.ndarray, " m"], strengths: Float[np.ndarray, " S"]
) -> Bool[np.ndarray, "S m"]:
    """Which samples have moved at each strength: `smallest <= s`, never for NaN.

    Examples:
        >>> smallest = np.array([0.1, 0.3, np.nan], np.float32)  # the last never moves
        >>> moved_at(smallest, np.array([0.0, 0.2, 0.4], np.float32)).sum(1).tolist()
        [0, 1, 2]
    """
    return smallest[None, :] <= strengths[:, None]


def labels_at(path: AttackPath, strength: float) -> Integer[np.ndarray, " m"]:
    """The cluster of each sample at any strength of the dial.

    Between two steps a moved sample counts as in the later one, as on the map.

    Raises:
        ValueError: a strength outside the path.

    Examples:
        >>> from clustcore import runs
        >>> from clustcore.types import PathKey
        >>> run = runs.find_run("drc-mnist")
        >>> path = runs.stored_path(run, PathKey("pgd", "pixels", "linf"))
        >>> clean = labels_at(path, 0.0)
        >>> int((labels_at(path, 0.05) != clean).sum()), len(clean)
        (1545, 2000)
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

    Examples:
        >>> pgd, noise = np.array([0.1, np.nan, np.nan]), np.array([0.3, 0.4, np.nan])
        >>> worst_case([pgd, noise]).tolist()
        [0.1, 0.4, nan]
    """
    sizes = {len(values) for values in smallest}
    if len(sizes) != 1:
        raise ValueError(f"expected attacks on the same samples, got {sorted(sizes) or 'none'}")
    return np.fmin.reduce(list(smallest))


def migration(
    before: Integer[np.ndarray, " m"], after: Integer[np.ndarray, " m"], k: int
) -> Int[np.ndarray, "k k"]:
    """How many samples went from cluster i (row) to cluster j (column); the diagonal stayed.

    Examples:
        >>> migration(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), k=2).tolist()
        [[1, 2], [0, 1]]
    """
    return contingency(before, after, k, k)


def survival(
    smallest: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """The share still in its cluster just after each strength at which a sample leaves.

    That is a step curve, from (0, 1) on. Samples that never move (NaN) survive to the end.

    Returns:
        The strengths, and the share after each.

    Raises:
        ValueError: no samples.

    Examples:
        >>> strengths, left = survival(np.array([0.1, 0.2, 0.2, np.nan]))
        >>> strengths.tolist(), left.tolist()
        ([0.0, 0.1, 0.2], [1.0, 0.75, 0.25])
    """
    if len(smallest) == 0:
        raise ValueError("expected at least 1 sample, got none")
    strengths, counts = np.unique(smallest[~np.isnan(smallest)], return_counts=True)
    left = 1 - np.cumsum(counts) / len(smallest)
    return np.append(0.0, strengths), np.append(1.0, left)


def fragile_clusters(table: ClusterTable) -> Int[np.ndarray, " c"]:
    """The clusters with attacked samples, from the easiest to leave to the hardest.

    By the median of the smallest strengths.

    Examples:
        >>> from clustcore import runs
        >>> from clustcore.measures.clustering import cluster_table
        >>> from clustcore.types import PathKey
        >>> run = runs.find_run("drc-mnist")
        >>> path = runs.stored_path(run, PathKey("pgd", "pixels", "linf"))
        >>> arrays = runs.read_map(run.folder)
        >>> table = cluster_table(arrays.labels, arrays.p, path=path)
        >>> order = fragile_clusters(table)
        >>> bool((np.diff(table.median_smallest[order]) >= 0).all())
        True
    """
    known = np.flatnonzero(table.attacked)
    return known[np.argsort(table.median_smallest[known], kind="stable")]


def fragile_samples(smallest: Float[np.ndarray, " m"], n: int) -> Int[np.ndarray, " f"]:
    """Positions of the samples that move first, at most `n`, the most fragile first.

    Those that never move are left out.

    Examples:
        >>> fragile_samples(np.array([0.3, np.nan, 0.1, 0.2]), n=2).tolist()
        [2, 3]
    """
    order = np.argsort(smallest, kind="stable")  # NaN sorts last
    return order[: min(n, int((~np.isnan(smallest)).sum()))]


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

    Examples:
        >>> from clustcore import load_samples, runs
        >>> from clustcore.types import PathKey
        >>> run = runs.find_run("drc-mnist")
        >>> path = runs.stored_path(run, PathKey("pgd", "pixels", "linf"))
        >>> moved = bands(path).moved  # needs no labels
        >>> [round(float(part[2]), 2) for part in (moved.low, moved.value, moved.high)]
        [0.23, 0.25, 0.27]
        >>> found = bands(path, load_samples("mnist").y[path.rows])
        >>> round(float(found.nmi.value[0]), 2)
        0.96
    """
    n = len(path.rows)
    moved = share_band(moved_at(path.smallest, path.strengths).sum(1), n)
    if y is None:
        return Bands(moved)
    match = matching(path.labels[0], y) if match is None else match
    right = np.array([is_correct(now, y, match).sum() for now in path.labels])
    k, classes = int(path.labels.max()) + 1, int(y.max()) + 1
    rng, found = np.random.default_rng(seed), []
    for now in path.labels:
        table = contingency(now, y, k, classes)
        draws = rng.multinomial(n, table.ravel() / n, DRAWS).reshape(DRAWS, k, classes)
        for measure in (_nmi_of, _purity_of):
            value = float(measure(table[None])[0])
            half = NORMAL * float(measure(draws).std())
            found.append((value, max(0.0, value - half), min(1.0, value + half)))
    values = np.array(found).reshape(len(path.labels), 2, 3)
    return Bands(moved, share_band(right, n), Band(*values[:, 0].T), Band(*values[:, 1].T))


def share_band(hits: Integer[np.ndarray, " S"], n: int) -> Band:
    """The shares `hits / n` with Wilson's interval.

    Examples:
        >>> band = share_band(np.array([0, 5]), 10)
        >>> band.low.round(2).tolist(), band.value.tolist(), band.high.round(2).tolist()
        ([0.0, 0.24], [0.0, 0.5], [0.28, 0.76])
    """
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
