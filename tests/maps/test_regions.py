"""The region raster against closed forms, and the rule of its trust mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clustcore.maps.projection import ProjectionConfig, fit
from clustcore.maps.regions import REACH, ROUND_TRIP, look_up, raster
from clustcore.types import Raster


class Same:
    """An embedding that is the map itself; on the right the way back may be off."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def place(self, z: np.ndarray) -> np.ndarray:
        return z

    def back(self, xy: np.ndarray) -> np.ndarray:
        return xy + np.where(xy[:, :1] > 0, [self.shift, 0], 0).astype(np.float32)


def nearest(*centroids: tuple[float, float]):
    """Soft assignments by distance to centroids."""
    mu = torch.tensor(centroids, dtype=torch.float32)
    return lambda z: (-torch.cdist(z, mu).square()).softmax(1)


def cells(drawn: Raster) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the centres of all cells."""
    x0, y0, x1, y1 = drawn.bounds
    grid = len(drawn.winner)
    steps = (np.arange(grid) + 0.5) / grid
    return np.meshgrid(x0 + steps * (x1 - x0), y0 + steps * (y1 - y0))


SQUARE = np.random.default_rng(0).uniform(-1, 1, (2000, 2)).astype(np.float32)


@given(st.floats(0, 6.28), st.floats(0.3, 2), st.integers(2, 60))
def test_between_two_centroids_the_edge_is_the_bisector(
    angle: float, apart: float, grid: int
) -> None:
    a = np.array([np.cos(angle), np.sin(angle)]) * apart
    drawn = raster(Same(), nearest(tuple(a), (0.0, 0.0)), SQUARE, grid)
    x, y = cells(drawn)
    side = a[0] * x + a[1] * y - a @ a / 2  # > 0: nearer to the first
    clear = np.abs(side) > 1e-4
    np.testing.assert_array_equal(drawn.winner[clear], (side < 0)[clear])
    # the gap of a softmax of two is tanh of half the gap between its logits
    np.testing.assert_allclose(drawn.margin, np.abs(np.tanh(side)), atol=1e-4)


def test_row_0_is_the_lowest_y_and_bounds_hold_all_samples() -> None:
    drawn = raster(Same(), nearest((0.0, 1.0), (0.0, -1.0)), SQUARE * [2, 1], 50)
    assert set(drawn.winner[0]) == {1}
    assert set(drawn.winner[-1]) == {0}
    x0, y0, x1, y1 = drawn.bounds
    low, high = (SQUARE * [2, 1]).min(0), (SQUARE * [2, 1]).max(0)
    margin = 0.06 * (high[0] - low[0])
    np.testing.assert_allclose([x0, y0, x1, y1], [*(low - margin), *(high + margin)], rtol=1e-5)


def test_shapes_and_meanings() -> None:
    mu = (-0.5, 0.0), (0.5, 0.5), (0.5, -0.5)
    drawn = raster(Same(), nearest(*mu), SQUARE, 30)
    assert drawn.p.shape == (30, 30, 3)
    assert drawn.winner.dtype == np.uint8
    assert drawn.margin.dtype == drawn.p.dtype == np.float32
    np.testing.assert_allclose(drawn.p.sum(2), 1, rtol=1e-5)
    np.testing.assert_array_equal(drawn.winner, drawn.p.argmax(2))
    ordered = np.sort(drawn.p, 2)
    np.testing.assert_array_equal(drawn.margin, ordered[..., 2] - ordered[..., 1])


def test_one_cluster_wins_everywhere() -> None:
    drawn = raster(Same(), lambda z: torch.ones(len(z), 1), SQUARE, 10)
    assert (drawn.winner == 0).all()
    assert (drawn.margin == 1).all()


def test_only_cells_near_a_sample_are_trusted() -> None:
    xy = np.array([[-1, -1], [1, 1], [0, 0.3]], np.float32)
    drawn = raster(Same(), nearest((0.0, 0.0), (1.0, 0.0)), xy, 60)
    x, y = cells(drawn)
    nearby = np.min([np.hypot(x - a, y - b) for a, b in xy], 0) <= REACH * 2
    np.testing.assert_array_equal(drawn.trusted, nearby)
    assert 0 < drawn.trusted.sum() < drawn.trusted.size


def test_cells_whose_round_trip_errs_are_not_trusted() -> None:
    width = float(np.ptp(SQUARE[:, 0]))
    soft = nearest((0.0, 0.0), (1.0, 0.0))
    sound = raster(Same(0.9 * ROUND_TRIP * width), soft, SQUARE, 40)
    wrong = raster(Same(1.1 * ROUND_TRIP * width), soft, SQUARE, 40)
    x, _ = cells(wrong)
    assert not wrong.trusted[x > 0].any()
    np.testing.assert_array_equal(wrong.trusted[x < 0], sound.trusted[x < 0])
    assert sound.trusted[x > 0].any()


def test_on_separate_groups_samples_lie_in_their_own_region() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    mu = 12 * np.eye(3, 6, dtype=np.float32)
    z = (mu[labels] + rng.normal(size=(240, 6))).astype(np.float32)
    layout = fit(z, ProjectionConfig(steps=300, width=32, landmarks=32))
    drawn = raster(layout.projector, nearest(*map(tuple, mu.tolist())), layout.xy)
    x0, y0, x1, y1 = drawn.bounds
    column, row = ((layout.xy - [x0, y0]) / [x1 - x0, y1 - y0] * 200).astype(int).T
    np.testing.assert_array_equal(drawn.winner[row, column], labels)
    assert drawn.trusted[row, column].mean() > 0.9


def numbered(rows: int, columns: int, bounds: tuple[float, float, float, float]) -> Raster:
    """A raster whose cells say their own row and column, all of them trusted."""
    p = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), 2)
    flat = np.zeros((rows, columns))
    trusted = np.ones((rows, columns), bool)
    return Raster(bounds, flat.astype(np.uint8), p.astype(np.float32), np.float32(flat), trusted)


@pytest.mark.parametrize(
    ("place", "cell", "trusted"),
    [
        ((-1.5, 2.5), (0, 0), True),  # within a cell: x is the column, y the row
        ((1.5, 2.5), (0, 3), True),
        ((-1.5, 6.5), (4, 0), True),
        ((-1.0, 2.5), (0, 1), True),  # between two cells: the one at the right, the one above
        ((-1.5, 3.0), (1, 0), True),
        ((0.0, 4.0), (2, 2), True),  # where four cells meet
        ((-2.0, 2.5), (0, 0), True),  # the outer edges and corners are on the raster
        ((2.0, 2.5), (0, 3), True),
        ((-1.5, 7.0), (4, 0), True),
        ((-2.0, 2.0), (0, 0), True),
        ((2.0, 7.0), (4, 3), True),
        ((2.0, 2.0), (0, 3), True),
        ((-2.0, 7.0), (4, 0), True),
        ((-2.001, 2.5), (0, 0), False),  # off it: the nearest cell, and no trust
        ((2.001, 7.001), (4, 3), False),
        ((0.5, 1.999), (0, 2), False),
        ((0.5, 99.0), (4, 2), False),
        ((-99.0, 3.5), (1, 0), False),
    ],
)
def test_a_place_is_looked_up_in_its_cell_at_edges_and_corners_too(
    place: tuple[float, float], cell: tuple[int, int], trusted: bool
) -> None:
    drawn = numbered(5, 4, (-2.0, 2.0, 2.0, 7.0))
    p, said = look_up(drawn, place)
    assert (tuple(p.astype(int)), said) == (cell, trusted)


@given(grid=st.integers(2, 200), row=st.integers(0, 199), column=st.integers(0, 199))
def test_the_centre_of_each_cell_is_looked_up_in_it(grid: int, row: int, column: int) -> None:
    row, column = row % grid, column % grid
    x0, y0, x1, y1 = bounds = (-1.3, 0.7, 0.4, 9.1)
    drawn = numbered(grid, grid, bounds)
    drawn.trusted[row, column] = False
    centre = (x0 + (column + 0.5) / grid * (x1 - x0), y0 + (row + 0.5) / grid * (y1 - y0))
    p, trusted = look_up(drawn, centre)
    assert (tuple(p), trusted) == ((row, column), False)


def nan_soft(z: Tensor) -> Tensor:
    """Not a soft assignment."""
    return torch.full((len(z), 2), torch.nan)


@pytest.mark.parametrize(
    ("xy", "soft", "grid", "message"),
    [
        (np.empty((0, 2)), nearest((0.0, 0.0)), 10, r"xy: expected finite positions \(n, 2\)"),
        (SQUARE * np.nan, nearest((0.0, 0.0)), 10, r"xy: expected finite positions \(n, 2\)"),
        (SQUARE, nearest((0.0, 0.0)), 1, "grid: expected 2 cells or more along each side, got 1"),
        (SQUARE, nan_soft, 10, r"soft: expected finite numbers \(100, k\), got shape \(100, 2\)"),
        (SQUARE, lambda z: z[:9], 10, r"soft: expected finite numbers \(100, k\), got shape \(9"),
    ],
    ids=["no samples", "nan", "no grid", "nan assignment", "another shape"],
)
def test_unfit_input_is_refused(xy: np.ndarray, soft, grid: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raster(Same(), soft, xy, grid)
