"""Numbers as sentences. No Streamlit here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clustcore.types import AttackPath, MapArrays
from ui.cluster_map.moved import moved_rows, step_of


def strength_text(value: float) -> str:
    """A strength with as many digits as the dial can set: 0.08, 0.0075, 1.2."""
    return f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def signed(value: float, form: str) -> str:
    """A difference with its sign, such as +0.3, −2.9 or ±0.0."""  # noqa: RUF002
    text = f"{abs(value):{form}}"
    if not float(text):
        return f"±{text}"
    return ("+" if value > 0 else "−") + text  # noqa: RUF001


def sentence(path: AttackPath | None, strength: float, end: float) -> str:
    """The state of the dial in words.

    Such as "At strength 0.12, 214 of 2,000 samples left their cluster; 4 → 9 is the largest flow,
    31."
    """
    if path is None:
        return "No attack path has been computed yet: the map shows the clean samples."
    moved = moved_rows(path, strength, end)
    at, count, m = strength_text(strength), len(moved), len(path.rows)
    goal = "left their cluster" if path.target is None else f"entered cluster {path.target}"
    if not count:
        return f"At strength {at}, none of {m:,} samples {goal}."
    before = path.labels[0][moved].astype(int)
    after = path.labels[step_of(path, strength)][moved].astype(int)
    k = path.p.shape[2]
    flow = np.bincount(before * k + after, minlength=k * k).reshape(k, k)
    np.fill_diagonal(flow, 0)
    if not flow.any():
        return f"At strength {at}, {count:,} of {m:,} samples {goal}."
    i, j = divmod(int(flow.argmax()), k)
    return (
        f"At strength {at}, {count:,} of {m:,} samples {goal}; "
        f"{i} → {j} is the largest flow, {flow.max():,}."
    )


def map_sentence(arrays: MapArrays, name: str) -> str:
    """The clean map in words: how many samples, how many clusters, the largest and the smallest."""
    size = np.bincount(arrays.labels, minlength=arrays.p.shape[1])
    large, small = int(size.argmax()), int(size.argmin())
    return (
        f"Map of {len(arrays.xy):,} samples of {name} in {int((size > 0).sum())} clusters; "
        f"the largest is {large} with {size[large]:,}, the smallest {small} with {size[small]:,}."
    )


def duration(seconds: float) -> str:
    """A time that something takes: 1 s, 95 s, 4 min, 1.5 h."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def median_flip(smallest: NDArray[np.floating]) -> str:
    """The median of the smallest flips with its interval, in words."""
    from clustcore.measures import median_smallest

    found = median_smallest(smallest)
    if math.isinf(found.value):
        return f"at least half of {len(smallest):,} samples never moved"
    high = "none" if math.isinf(found.high) else f"{found.high:.3g}"
    return f"{found.value:.3g} (95 %: {found.low:.3g} to {high}; n = {len(smallest):,})"
