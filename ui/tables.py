"""Numbers as sentences, tables and files. No Streamlit here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clustcore.types import AttackPath, MapArrays
from ui.cluster_map.packing import NEVER, quantise_smallest

if TYPE_CHECKING:
    import pandas as pd


def strength_text(value: float) -> str:
    """A strength with as many digits as the dial can set: 0.08, 0.0075, 1.2."""
    return f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def signed(value: float, form: str) -> str:
    """A difference with its sign, such as +0.3, −2.9 or ±0.0."""  # noqa: RUF002
    text = f"{abs(value):{form}}"
    if not float(text):
        return f"±{text}"
    return ("+" if value > 0 else "−") + text  # noqa: RUF001


def moved_rows(path: AttackPath, strength: float, end: float) -> NDArray[np.int64]:
    """Positions in the path of the samples that have moved: `smallest <= strength`.

    To 1/65,534 of the dial, upwards, as the map counts them: a sample moves at its very strength,
    which float32 alone would miss.

    Args:
        end: of the dial.
    """
    return np.flatnonzero(quantise_smallest(path.smallest, end) <= threshold(strength, end))


def threshold(strength: float, end: float) -> int:
    """A strength on the map's scale of `smallest`, rounded up as that is."""
    return min(math.ceil(strength / end * (NEVER - 1) - 1e-6), NEVER - 1)


def step_of(path: AttackPath, strength: float) -> int:
    """The path's first stored strength at or above this one: there a moved sample is counted."""
    step = int(np.searchsorted(path.strengths, np.float32(strength), side="left"))
    return min(step, len(path.strengths) - 1)


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


def margin(p: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n,) the gap between the two largest soft assignments of each sample."""
    best = np.sort(p.astype(np.float32), axis=1)
    return best[:, -1] - best[:, -2] if p.shape[1] > 1 else best[:, -1]


def smallest_of(path: AttackPath | None, n: int) -> NDArray[np.float32]:
    """(n,) the smallest strength of every sample: NaN where it never moved, or has no path."""
    out = np.full(n, np.nan, np.float32)
    if path is not None:
        out[path.rows] = path.smallest
    return out


def cluster_frame(
    arrays: MapArrays, y: NDArray[np.integer] | None, path: AttackPath | None
) -> pd.DataFrame:
    """One row per cluster: size, purity, mean margin, samples with a path and their median flip.

    Without labels there is no purity; without a path there is nothing of strengths.
    """
    import pandas as pd

    from clustcore.measures import cluster_table

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


def median_flip(smallest: NDArray[np.floating]) -> str:
    """The median of the smallest flips with its interval, in words."""
    from clustcore.measures import median_smallest

    found = median_smallest(smallest)
    if math.isinf(found.value):
        return f"at least half of {len(smallest):,} samples never moved"
    high = "none" if math.isinf(found.high) else f"{found.high:.3g}"
    return f"{found.value:.3g} (95 %: {found.low:.3g} to {high}; n = {len(smallest):,})"
