"""Two models side by side on the same samples: clusters renamed, maps turned, moves counted.

Names of clusters and the angle of a map mean nothing, so the second model B takes them from the
first, A: `measures.matching` finds the names, what is here carries them over. No labels are read
here. Shapes: n samples, m samples with a path, k clusters.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer, Num

from clustcore.types import AttackPath, MapArrays

NEITHER, LEFT, RIGHT, BOTH = range(4)  # what `joint` says of a sample


def rename_map(arrays: MapArrays, ids: Int[np.ndarray, " k"]) -> MapArrays:
    """A map with its clusters renamed: labels, columns of p, regions.

    Examples:
        >>> from clustcore import runs
        >>> arrays = runs.read_map(runs.find_run("drc-mnist").folder)
        >>> renamed = rename_map(arrays, np.arange(10)[::-1].copy())
        >>> bool((renamed.labels == 9 - arrays.labels).all())
        True
    """
    raster = dataclasses.replace(
        arrays.raster,
        winner=_rename(arrays.raster.winner, ids),
        p=_columns(arrays.raster.p, ids),
    )
    return dataclasses.replace(
        arrays, labels=_rename(arrays.labels, ids), p=_columns(arrays.p, ids), raster=raster
    )


def rename_path(path: AttackPath, ids: Int[np.ndarray, " k"]) -> AttackPath:
    """A path with its clusters renamed: labels, columns of p, target.

    Examples:
        >>> from clustcore import runs
        >>> from clustcore.types import PathKey
        >>> run = runs.find_run("drc-mnist")
        >>> path = runs.stored_path(run, PathKey("pgd", "pixels", "linf"))
        >>> renamed = rename_path(path, np.arange(10)[::-1].copy())
        >>> bool((renamed.labels == 9 - path.labels).all())
        True
    """
    target = None if path.target is None else int(ids[path.target])
    key = dataclasses.replace(path.key, target=target)
    return dataclasses.replace(
        path, labels=_rename(path.labels, ids), p=_columns(path.p, ids), key=key
    )


def _rename(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return ids[labels].astype(labels.dtype)


def _columns(p: np.ndarray, ids: np.ndarray) -> np.ndarray:
    renamed = np.empty_like(p)
    renamed[..., ids] = p
    return renamed


@dataclass(frozen=True)
class Similarity:
    """A turn or mirroring of the plane with one scale and a shift.

    Examples:
        >>> double = Similarity(2 * np.eye(2), shift=np.array([1.0, 0.0]))
        >>> double(np.array([[1.0, 1.0]])).tolist()
        [[3.0, 2.0]]
    """

    matrix: Float[np.ndarray, "2 2"]
    shift: Float[np.ndarray, " 2"]

    def __call__(self, xy: Float[np.ndarray, "*any 2"]) -> Float[np.ndarray, "*any 2"]:
        """The places after it. Every place goes alike, whatever comes beside it."""
        # a product of matrices may round a place differently in a longer list
        moved = xy[..., :1] * self.matrix[0] + xy[..., 1:] * self.matrix[1] + self.shift
        return moved.astype(np.float32)


def align(xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "other 2"]) -> Similarity:
    """What turns B's map onto A's: orthogonal Procrustes analysis of the clean positions.

    The scale is the ratio of the spreads, not that of least squares, which would shrink a map the
    more the less it agrees.

    Raises:
        ValueError: other samples, or a map without any spread.

    Source:
        Schoenemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika
        1966.

    Examples:
        >>> a = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
        >>> b = 2 * a[:, ::-1] + 5  # mirrored, twice as large, somewhere else
        >>> bool(np.allclose(align(a, b)(b), a, atol=1e-5))
        True
    """
    if xy_a.shape != xy_b.shape:
        raise ValueError(
            f"maps to align: expected the same samples, got {len(xy_a)} beside {len(xy_b)}"
        )
    middle_a, middle_b = xy_a.mean(0, dtype=np.float64), xy_b.mean(0, dtype=np.float64)
    a, b = xy_a - middle_a, xy_b - middle_b
    spread = float(np.linalg.norm(b))
    if spread == 0:
        raise ValueError("maps to align: expected some spread, got all samples at one place")
    left, _, right = np.linalg.svd(b.T @ a)
    matrix = left @ right * (float(np.linalg.norm(a)) / spread)
    return Similarity(matrix, middle_a - middle_b @ matrix)


def joint(
    smallest_a: Num[np.ndarray, " m"],
    smallest_b: Num[np.ndarray, " other"],
    strength: float | int,
) -> Integer[np.ndarray, " m"]:
    """Who has moved at a strength: LEFT (under A only), BOTH, RIGHT (under B only) or NEITHER.

    Args:
        smallest_a: of A's path. "Moved at s" is `smallest <= s`, never for NaN.
        smallest_b: of B's path, the same samples in the same order.
        strength: on the scale of both.

    Raises:
        ValueError: paths of different lengths.

    Examples:
        >>> a = np.array([0.1, 0.1, np.nan, np.nan])  # the last two never move under A
        >>> b = np.array([0.1, np.nan, 0.1, np.nan])
        >>> joint(a, b, 0.2).tolist() == [BOTH, LEFT, RIGHT, NEITHER]
        True
    """
    if smallest_a.shape != smallest_b.shape:
        raise ValueError(
            "joint moves: expected paths of the same samples, "
            f"got {len(smallest_a)} beside {len(smallest_b)}"
        )
    return LEFT * (smallest_a <= strength) + RIGHT * (smallest_b <= strength)
