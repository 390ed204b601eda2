"""Shares and medians with their 95 % intervals.

They come from a seeded percentile bootstrap over samples unless a function says otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from clustcore.types import Interval

DRAWS = 1000  # of each bootstrap
NORMAL = 1.959963984540054  # the standard normal's 97.5 % quantile


def share(hits: Bool[np.ndarray, " n"], seed: int = 0) -> Interval:
    """The share of True, by bootstrap.

    Resampling n yes-or-no answers is one binomial draw.

    Raises:
        ValueError: no samples.

    Examples:
        >>> share(np.array([True, False, False, False] * 100))
        Interval(0.25 [0.207, 0.292])
    """
    n = len(hits)
    if n == 0:
        raise ValueError("expected at least 1 sample, got none")
    value = float(hits.mean())
    draws = np.sort(np.random.default_rng(seed).binomial(n, value, DRAWS)) / n
    return Interval(value, *middle(draws))


def wilson(hits: int, n: int) -> Interval:
    """The share `hits / n` with Wilson's score interval.

    A closed form that stays honest at 0 and at n.

    Raises:
        ValueError: no samples, or more hits than samples.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Examples:
        >>> wilson(5, 10), wilson(0, 10)
        (Interval(0.5 [0.237, 0.763]), Interval(0 [0, 0.278]))
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"expected 0 to n hits of n >= 1 samples, got {hits} of {n}")
    value, z2 = hits / n, NORMAL**2
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if hits == 0 else centre - half
    return Interval(value, low, 1.0 if hits == n else centre + half)


def median_smallest(smallest: Float[np.ndarray, " m"], seed: int = 0) -> Interval:
    """The median smallest strength: `inf` where at least half of the samples never moved.

    A sample that never moved is NaN among the strengths, and counts as infinite.

    Raises:
        ValueError: no samples.

    Examples:
        >>> median_smallest(np.array([0.1, 0.2, 0.3, np.nan] * 25)).value
        0.25
        >>> median_smallest(np.array([0.1, np.nan, np.nan])).value
        inf
    """
    if len(smallest) == 0:
        raise ValueError("expected at least 1 sample, got none")
    values = np.where(np.isnan(smallest), np.inf, smallest).astype(np.float64)
    rows = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    draws = np.sort(np.median(values[rows], axis=1))
    return Interval(float(np.median(values)), *middle(draws))


def middle(draws: Float[np.ndarray, " b"]) -> tuple[float, float]:
    """The central 95 % of sorted draws, without interpolating: a draw may be infinite.

    Examples:
        >>> middle(np.arange(1000) / 1000)
        (0.025, 0.974)
    """
    cut = round(0.025 * len(draws))
    return float(draws[cut]), float(draws[-1 - cut])
