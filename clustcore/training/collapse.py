"""When nearly all samples are in one cluster. Apart, so that a screen asks without torch."""

from __future__ import annotations

from collections.abc import Sequence

COLLAPSED = 0.95  # share of the samples in one cluster, beyond which a clustering has collapsed


def largest_share(sizes: Sequence[int]) -> float:
    """The share of the samples that the largest cluster holds.

    Examples:
        >>> largest_share([3, 1, 0]), largest_share([0, 0])
        (0.75, 0.0)
    """
    return max(sizes) / max(1, sum(sizes))
