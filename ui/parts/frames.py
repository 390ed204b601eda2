"""The columns of the table of clusters, and of the files of samples. No Streamlit here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clustcore.measures import cluster_table, margin
from clustcore.types import AttackPath, MapArrays
from ui.cluster_map.moved import moved_rows, smallest_of, step_of

if TYPE_CHECKING:
    import pandas as pd


def cluster_frame(
    arrays: MapArrays, y: NDArray[np.integer] | None, path: AttackPath | None
) -> pd.DataFrame:
    """One row per cluster: size, purity, mean margin, samples with a path and their median flip.

    Without labels there is no purity; without a path there is nothing of strengths.
    """
    import pandas as pd

    table = cluster_table(arrays.labels, arrays.p, y, path)
    columns = {"cluster": np.arange(len(table.size)), "size": table.size}
    if y is not None:
        columns["purity"] = table.purity
    columns["mean margin"] = table.margin
    if path is not None:
        # at least half of them never moved: no number says that, a blank and the column's help do
        median = np.where(np.isinf(table.median_smallest), np.nan, table.median_smallest)
        columns |= {"samples attacked": table.attacked, "median smallest strength": median}
    return pd.DataFrame(columns)


def sample_frame(
    rows: NDArray[np.integer],
    arrays: MapArrays,
    y: NDArray[np.integer] | None,
    names: tuple[str, ...],
    path: AttackPath | None,
) -> pd.DataFrame:
    """One row per sample, for a file: cluster, label, confidence, margin, strength, place."""
    import pandas as pd

    p = arrays.p[rows].astype(np.float32)
    columns = {"sample": rows, "cluster": arrays.labels[rows]}
    if y is not None:
        columns["label"] = [names[int(c)] if names else int(c) for c in y[rows]]
    columns |= {"confidence": p.max(1).round(4), "margin": margin(p).round(4)}
    if path is not None:
        columns["attacked"] = np.isin(rows, path.rows)
        columns["smallest_strength"] = smallest_of(path, len(arrays.xy))[rows]
    columns |= {"x": arrays.xy[rows, 0], "y": arrays.xy[rows, 1]}
    return pd.DataFrame(columns)


def moved_frame(path: AttackPath, strength: float, end: float) -> pd.DataFrame:
    """The samples that have moved at this strength, the most fragile first, for a file.

    Cluster and size of the change are those at the path's next stored strength, `strength_of_step`.
    """
    import pandas as pd

    moved = moved_rows(path, strength, end)
    moved = moved[np.argsort(path.smallest[moved], kind="stable")]
    step = step_of(path, strength)
    return pd.DataFrame(
        {
            "sample": path.rows[moved],
            "from_cluster": path.labels[0][moved],
            "to_cluster": path.labels[step][moved],
            "smallest_strength": path.smallest[moved],
            "strength_of_step": np.full(len(moved), path.strengths[step]),
            "l2_at_step": path.l2[step][moved],
            "linf_at_step": path.linf[step][moved],
        }
    )


def compared_frame(a: AttackPath, b: AttackPath) -> pd.DataFrame:
    """The attacked samples of two models: cluster and smallest strength under each, for a file."""
    import pandas as pd

    return pd.DataFrame(
        {
            "sample": a.rows,
            "cluster_a": a.labels[0],
            "cluster_b": b.labels[0],
            "smallest_strength_a": a.smallest,
            "smallest_strength_b": b.smallest,
        }
    )


def composition(
    values: NDArray[np.integer], names: tuple[str, ...] = ()
) -> list[tuple[str, int, float]]:
    """What a selection is made of: (name, count, share), the largest part first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        (names[int(found[i])] if names else str(found[i]), int(counts[i]), counts[i] / len(values))
        for i in order
    ]


def csv(frame: pd.DataFrame) -> bytes:
    """A table as a CSV file."""
    return frame.to_csv(index=False, float_format="%.6g").encode()
