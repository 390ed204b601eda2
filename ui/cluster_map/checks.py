"""A view's arrays, checked once, at the door."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ui.cluster_map.colours import COLOURS
from ui.cluster_map.wire import MISSING

if TYPE_CHECKING:
    from clustcore.types import AttackPath, Raster
    from ui.cluster_map.view import MapView


def check_view(view: MapView) -> None:
    """Check a view's arrays once, at the door.

    Raises:
        ValueError: what, where, expected, got.
    """
    n = len(view.xy)
    check_shape("MapView.xy", view.xy, (n, 2))
    if n == 0:
        raise ValueError("MapView.xy: expected at least one sample, got none")
    check_finite("MapView.xy", view.xy)
    if not 1 <= view.k <= MISSING:
        raise ValueError(f"MapView.k: expected 1 to {MISSING} clusters, got {view.k}")
    check_shape("MapView.clusters", view.clusters, (n,))
    if np.min(view.clusters) < 0 or np.max(view.clusters) >= view.k:
        worst = int(np.max(view.clusters))
        raise ValueError(f"MapView.clusters: expected 0 to {view.k - 1}, got {worst}")
    _check_ramps("MapView.ramps", view.ramps, n)
    if view.labels is not None:
        check_shape("MapView.labels", view.labels, (n,))
    if view.shown is not None:
        check_rows("MapView.shown", view.shown, n, least=1)
    if view.mode not in ("explore", "attack", "compare"):
        known = "'explore', 'attack' or 'compare'"
        raise ValueError(f"MapView.mode: expected {known}, got {view.mode!r}")
    for name in ("path", "noise"):
        if getattr(view, name) is not None:
            _check_path(f"MapView.{name}", getattr(view, name), n, view.k)
    if view.noise is not None and view.path is None:
        raise ValueError("MapView.noise: expected a path beside it, got none")
    _check_partner(view)
    if view.end is not None and not (math.isfinite(view.end) and view.end > 0):
        raise ValueError(f"MapView.end: expected a number above 0, got {view.end}")
    if view.raster is not None:
        _check_raster(view.raster)


def _check_raster(raster: Raster) -> None:
    grid = raster.winner.shape
    if len(grid) != 2 or grid[0] != grid[1]:
        raise ValueError(f"MapView.raster.winner: expected a square grid, got shape {grid}")
    check_shape("MapView.raster.margin", raster.margin, grid)
    check_shape("MapView.raster.trusted", raster.trusted, grid)
    check_finite("MapView.raster.margin", raster.margin)


def _check_partner(view: MapView) -> None:
    partner, n = view.partner, len(view.xy)
    if (view.mode == "compare") != (partner is not None):
        got = "none" if partner is None else "one"
        raise ValueError(f"MapView.partner: mode {view.mode!r}: got {got}; 'compare' alone has one")
    if partner is None:
        return
    check_shape("Partner.xy", partner.xy, (n, 2))
    check_finite("Partner.xy", partner.xy)
    check_shape("Partner.clusters", partner.clusters, (n,))
    if np.min(partner.clusters) < 0 or np.max(partner.clusters) >= view.k:
        worst = int(np.max(partner.clusters))
        raise ValueError(f"Partner.clusters: expected 0 to {view.k - 1}, got {worst}")
    _check_ramps("Partner.ramps", partner.ramps, n)
    if set(partner.ramps) != set(view.ramps):
        raise ValueError(
            f"Partner.ramps: expected {', '.join(sorted(view.ramps)) or 'none'} (the view's), got "
            f"{', '.join(sorted(partner.ramps)) or 'none'}"
        )
    for name in ("path", "noise"):
        one, other = getattr(view, name), getattr(partner, name)
        if other is not None:
            _check_path(f"Partner.{name}", other, n, view.k)
        if (one is None) != (other is None) or not (
            one is None
            or (
                np.array_equal(np.sort(one.rows), np.sort(other.rows))
                and np.array_equal(one.strengths, other.strengths)
            )
        ):
            raise ValueError(
                f"Partner.{name}: expected the samples and strengths of the view's, got others"
            )


def _check_ramps(where: str, ramps: Mapping[str, NDArray[np.floating]], n: int) -> None:
    for name, values in ramps.items():
        check_shape(f"{where}[{name!r}]", values, (n,))
        if name not in COLOURS or not COLOURS[name].ramp:
            raise ValueError(f"{where}: expected colourings on a ramp, got {name!r}")
        if np.isinf(values).any() or (values < 0).any() or (values > 1).any():
            raise ValueError(
                f"{where}[{name!r}]: expected numbers in [0, 1] or NaN, got "
                f"{np.nanmin(values):g} to {np.nanmax(values):g}"
            )


def _check_path(where: str, path: AttackPath, n: int, k: int) -> None:
    steps, m = len(path.strengths), len(path.rows)
    if steps < 2 or path.strengths[0] != 0 or not (np.diff(path.strengths) > 0).all():
        got = np.asarray(path.strengths).tolist()
        raise ValueError(f"{where}.strengths: expected ascending strengths from 0, got {got}")
    check_shape(f"{where}.xy", path.xy, (steps, m, 2))
    check_finite(f"{where}.xy", path.xy)
    check_shape(f"{where}.labels", path.labels, (steps, m))
    check_shape(f"{where}.smallest", path.smallest, (m,))
    check_rows(f"{where}.rows", path.rows, n)
    if m and path.labels.max() >= k:
        raise ValueError(f"{where}.labels: expected 0 to {k - 1}, got {int(path.labels.max())}")


def check_shape(where: str, array: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if np.shape(array) != shape:
        raise ValueError(f"{where}: expected shape {shape}, got {np.shape(array)}")


def check_finite(where: str, array: Any) -> None:
    """Refuse NaN and infinity."""
    bad = np.size(array) - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity {bad} times")


def check_rows(where: str, rows: Any, n: int, least: int = 0) -> None:
    """Refuse what are no row numbers of n samples, each of them once and at least so many."""
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= n)):
        raise ValueError(
            f"{where}: expected row numbers from 0 to {n - 1}, got {rows.tolist()!r:.60}"
        )
    if len(np.unique(rows)) != len(rows):
        raise ValueError(f"{where}: expected each row once, got some twice")
    if len(rows) < least:
        raise ValueError(f"{where}: expected at least one row, got none")
