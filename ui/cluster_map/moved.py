"""Which samples count as moved at a strength, as in the map's script. No Streamlit here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clustcore.types import AttackPath
from ui.cluster_map.packing import quantise_smallest
from ui.cluster_map.wire import NEVER


def moved_rows(path: AttackPath, strength: float, end: float) -> NDArray[np.int64]:
    """Positions in the path of the samples that have moved: `smallest <= strength`.

    To 1/65,534 of the dial, upwards, as the map counts them: a sample moves at its very strength,
    which float32 alone would miss.

    Args:
        end: of the dial.
    """
    return np.flatnonzero(has_moved(path.smallest, strength, end))


def has_moved(smallest: NDArray[np.floating], strength: float, end: float) -> NDArray[np.bool_]:
    """Which samples of these smallest strengths have moved: see `moved_rows`."""
    return quantise_smallest(smallest, end) <= threshold(strength, end)


def threshold(strength: float, end: float) -> int:
    """A strength on the map's scale of `smallest`, rounded up as that is."""
    return min(math.ceil(strength / end * (NEVER - 1) - 1e-6), NEVER - 1)


def step_of(path: AttackPath, strength: float) -> int:
    """The path's first stored strength at or above this one: there a moved sample is counted."""
    step = int(np.searchsorted(path.strengths, np.float32(strength), side="left"))
    return min(step, len(path.strengths) - 1)


def smallest_of(path: AttackPath | None, n: int) -> NDArray[np.float32]:
    """(n,) the smallest strength of every sample: NaN where it never moved, or has no path."""
    out = np.full(n, np.nan, np.float32)
    if path is not None:
        out[path.rows] = path.smallest
    return out
