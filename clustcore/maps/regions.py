"""The cluster regions under a map, and where that picture can be believed.

A place on the map is taken back to the embedding by the inverse projector and handed to the
model's cluster head. What comes out is the model's answer for the mean of the samples around that
place, not for each of them: the map has two dimensions, the embedding more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from clustcore.measures.clustering import margin
from clustcore.types import Raster

if TYPE_CHECKING:
    import torch

ROUND_TRIP = 0.03  # map -> embedding -> map may end this far away, in widths of the map
REACH = 0.03  # a sample must be this near, in widths of the map
_MARGIN = 0.06  # around the samples, in widths of the map: as far as a moving point can get


@runtime_checkable
class Pair(Protocol):
    """A projector pair, as `clustcore.maps.projection.Projector` is one.

    Examples:
        >>> from clustcore.maps.projection import ProjectionConfig, Projector
        >>> isinstance(Projector(4, ProjectionConfig()), Pair)
        True
    """

    def place(self, z: np.ndarray) -> np.ndarray:
        """Embeddings (n, d) -> positions (n, 2)."""

    def back(self, xy: np.ndarray) -> np.ndarray:
        """Positions (n, 2) -> embeddings (n, d)."""


def raster(
    projector: Pair,
    soft: Callable[[torch.Tensor], torch.Tensor],
    xy: Float[np.ndarray, "n 2"],
    grid: int = 200,
) -> Raster:
    """The cluster regions of a model on a grid of cells over its map. Imports torch.

    A cell is trusted where the round trip map -> embedding -> map ends within ROUND_TRIP of its
    centre and a sample lies within REACH of it. No label is read.

    Args:
        projector: the pair of the map.
        soft: soft assignments (m, k) of embeddings (m, d), both float32 tensors on the CPU.
        xy: positions of the clean samples, in map units.
        grid: cells along each side.

    Raises:
        ValueError: no samples, a grid below 2, or `soft` gives another shape, NaN or infinity.

    Examples:
        An embedding that is its own map, parted in the middle:

        >>> import torch
        >>> class Same:
        ...     def place(self, z):
        ...         return z
        ...
        ...     def back(self, xy):
        ...         return xy
        >>> xy = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
        >>> found = raster(
        ...     Same(), lambda z: torch.stack([-z[:, 0], z[:, 0]], 1).softmax(1), xy, grid=10
        ... )
        >>> found.winner[0].tolist()
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    """
    import torch  # not above: a page looks a place up before torch is loaded

    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or not np.isfinite(xy).all():
        raise ValueError(f"xy: expected finite positions (n, 2), got shape {xy.shape}")
    if grid < 2:
        raise ValueError(f"grid: expected 2 cells or more along each side, got {grid}")
    low, high = xy.min(0), xy.max(0)
    width = float(high[0] - low[0])
    low, high = low - _MARGIN * width, high + _MARGIN * width
    centres = (np.arange(grid, dtype=np.float32) + 0.5) / grid
    x, y = np.meshgrid(*(low[i] + centres * (high[i] - low[i]) for i in (0, 1)))
    cells = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)

    z = projector.back(cells)
    with torch.inference_mode():
        p = soft(torch.from_numpy(z)).numpy()
    if p.ndim != 2 or len(p) != len(cells) or not np.isfinite(p).all():
        raise ValueError(f"soft: expected finite numbers ({len(cells)}, k), got shape {p.shape}")
    ends = np.linalg.norm(projector.place(z) - cells, axis=1)
    trusted = (ends <= ROUND_TRIP * width) & _near(cells, xy, REACH * width)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return Raster(
        bounds=(x0, y0, x1, y1),
        winner=p.argmax(1).astype(np.uint8).reshape(grid, grid),
        p=p.reshape(grid, grid, -1),
        margin=margin(p).reshape(grid, grid),
        trusted=trusted.reshape(grid, grid),
    )


def look_up(
    raster: Raster, place: tuple[float | int, float | int]
) -> tuple[Float[np.ndarray, " k"], bool]:
    """The soft assignment (k,) at a place of the map, and whether that can be trusted: its cell's.

    Between two cells a place belongs to the one at its right or above it; what lies on the outer
    edges is still on the raster. Off the raster nothing is trusted, and the nearest cell answers.

    Args:
        raster: the regions of the map.
        place: x and y in map units, finite.

    Examples:
        >>> from clustcore import runs
        >>> found = runs.read_map(runs.find_run("drc-mnist").folder)
        >>> p, trusted = look_up(found.raster, (float(found.xy[0, 0]), float(found.xy[0, 1])))
        >>> int(p.argmax()) == int(found.labels[0]), trusted
        (True, True)
    """
    x0, y0, x1, y1 = raster.bounds
    shares = (place[0] - x0) / (x1 - x0), (place[1] - y0) / (y1 - y0)
    rows, columns = raster.winner.shape
    column, row = (
        min(max(int(share * cells), 0), cells - 1)
        for share, cells in zip(shares, (columns, rows), strict=True)
    )
    inside = all(0 <= share <= 1 for share in shares)
    return raster.p[row, column], inside and bool(raster.trusted[row, column])


def _near(
    cells: Float[np.ndarray, "m 2"], xy: Float[np.ndarray, "n 2"], reach: float
) -> Bool[np.ndarray, " m"]:
    # a tree: all distances to a million samples are too many
    return KDTree(xy).query(cells)[0] <= reach
