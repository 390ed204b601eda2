"""What the map's points can be coloured by: `COLOURS` says what is known of each colouring.

A colouring on a ramp is a function and a line here. Clusters and labels have hues of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustcore.registry import Entry, lookup
from clustcore.types import AttackPath, MapArrays


@dataclass(frozen=True)
class Colouring(Entry):
    """One way to colour the points.

    The function, called with (arrays, path, end), gives (n,) numbers in [0, 1] for the samples of a
    map, NaN where a sample has none; `end` is the dial's. In `low` and `high`, which stand at both
    ends of the ramp in the map's key, and in `note`, `{end}` becomes the dial's end, `{paths}` the
    samples that have a path, `{total}` all samples.
    """

    low: str = "0"
    high: str = "1"
    note: str = ""  # beside it
    needs_path: bool = False  # whether there is nothing to show before a path is computed

    @property
    def ramp(self) -> bool:
        """Whether it has values, not hues."""
        return bool(self.where)


def confidence(arrays: MapArrays, path: AttackPath | None, end: float) -> NDArray[np.float32]:
    """The largest soft assignment of each sample."""
    return arrays.p.max(1).astype(np.float32)


def fragility(arrays: MapArrays, path: AttackPath | None, end: float) -> NDArray[np.float32]:
    """The strength that moves a sample, as a share of the dial; 1 where none does."""
    values = np.full(len(arrays.xy), np.nan, np.float32)
    if path is not None:
        values[path.rows] = np.nan_to_num(path.smallest.astype(np.float64) / end, nan=1.0)
    return values.clip(0, 1)


COLOURS = {
    "cluster": Colouring("", title="Cluster"),
    "label": Colouring("", title="True label"),
    "confidence": Colouring(
        "ui.cluster_map.colours:confidence", title="Confidence", low="confidence 0"
    ),
    "fragility": Colouring(
        "ui.cluster_map.colours:fragility",
        title="Fragility",
        low="smallest strength 0",
        high="{end} or never",
        note="grey: no path; {paths} of {total} have one",
        needs_path=True,
    ),
}


def ramps(
    arrays: MapArrays, path: AttackPath | None, end: float
) -> dict[str, NDArray[np.floating]]:
    """The values of every colouring on a ramp that can be shown: what `MapView.ramps` takes."""
    return {
        name: lookup(COLOURS, name, "colouring")(arrays, path, end)
        for name, one in COLOURS.items()
        if one.ramp and not (one.needs_path and path is None)
    }
