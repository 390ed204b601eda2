"""Two models side by side, on a run and its permuted, turned copy; against slow oracles."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sklearn.metrics import normalized_mutual_info_score

from clustcore import measures, runs
from clustcore.maps import alignment
from clustcore.maps.alignment import BOTH, LEFT, NEITHER, RIGHT
from clustcore.types import MapArrays
from tests.support import demo

K = demo.K
PERMUTATIONS = some.permutations(range(K)).map(np.array)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> MapArrays:
    """The map of a run of random numbers."""
    return runs.read_map(demo.make_run(tmp_path_factory.mktemp("runs")))


def same(one: object, other: object) -> None:
    """All fields of two dataclasses are equal, to the bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            same(a, b)
        else:
            np.testing.assert_array_equal(a, b)


@given(order=PERMUTATIONS)
def test_matched_ids_undo_any_renaming_of_a_run_exactly(
    arrays: MapArrays, order: np.ndarray
) -> None:
    copy = alignment.rename_map(arrays, order)
    ids = measures.matching(copy.labels, arrays.labels, K, K)
    np.testing.assert_array_equal(ids[order], np.arange(K))
    same(alignment.rename_map(copy, ids), arrays)
    path = demo.make_path(arrays, "pgd", "pixels", "linf", target=3)
    same(alignment.rename_path(alignment.rename_path(path, order), ids), path)


def test_a_renamed_cluster_keeps_its_samples_its_column_and_its_region(
    arrays: MapArrays,
) -> None:
    order = np.roll(np.arange(K), 3)
    copy = alignment.rename_map(arrays, order)
    for c in range(K):
        np.testing.assert_array_equal(copy.labels == order[c], arrays.labels == c)
        np.testing.assert_array_equal(copy.p[:, order[c]], arrays.p[:, c])
        np.testing.assert_array_equal(copy.raster.winner == order[c], arrays.raster.winner == c)
        np.testing.assert_array_equal(copy.raster.p[..., order[c]], arrays.raster.p[..., c])
    path = demo.make_path(arrays, "pgd", "pixels", "linf", target=3)
    other = alignment.rename_path(path, order)
    assert other.target == order[3]
    np.testing.assert_array_equal(other.labels, order[path.labels])
    np.testing.assert_array_equal(other.smallest, path.smallest)


@pytest.mark.parametrize("mirrored", [False, True])
@given(angle=some.floats(0, 6.3), scale=some.floats(0.1, 10), shift=some.floats(-50, 50))
def test_aligning_undoes_a_turn_a_mirror_a_scale_and_a_shift(
    mirrored: bool, angle: float, scale: float, shift: float
) -> None:
    xy = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([1, -1])
    other = (scale * xy @ turn + [shift, -shift]).astype(np.float32)
    np.testing.assert_allclose(alignment.align(xy, other)(other), xy, atol=2e-4)


def test_a_map_that_agrees_in_nothing_keeps_its_shape_and_gets_the_spread_of_the_other() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 200, 2)).astype(np.float32)
    turned = alignment.align(a, 5 * b)(5 * b)
    assert turned.std() == pytest.approx(a.std(), rel=0.05)
    np.testing.assert_allclose(turned.mean(0), a.mean(0), atol=1e-5)
    between = np.linalg.norm(turned[:, None] - turned, axis=2)
    ratio = (
        between[np.triu_indices(200, 1)]
        / np.linalg.norm(b[:, None] - b, axis=2)[np.triu_indices(200, 1)]
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_a_place_is_turned_alike_alone_and_in_a_path(arrays: MapArrays) -> None:
    turn = alignment.align(arrays.xy, arrays.xy[::-1].copy())
    path = demo.make_path(arrays, "pgd", "pixels", "linf")
    np.testing.assert_array_equal(turn(path.xy)[0], turn(arrays.xy)[path.rows])


def test_maps_that_cannot_be_aligned_are_refused() -> None:
    xy = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="expected some spread, got all samples at one place"):
        alignment.align(xy, xy)
    with pytest.raises(ValueError, match="expected the same samples, got 3 beside 2"):
        alignment.align(xy, xy[:2])


def test_who_moved_is_counted_at_the_very_strength_and_never_for_nan() -> None:
    a = np.array([0.1, 0.2, 0.3, np.nan, 0.1, np.nan])
    b = np.array([0.3, 0.2, 0.1, 0.1, np.nan, np.nan])
    assert alignment.joint(a, b, 0.2).tolist() == [LEFT, BOTH, RIGHT, RIGHT, LEFT, NEITHER]
    assert alignment.joint(a, b, 0.0).tolist() == [NEITHER] * 6
    np.testing.assert_array_equal(  # swapping the models swaps left and right
        alignment.joint(b, a, 0.2),
        np.array([NEITHER, RIGHT, LEFT, BOTH])[alignment.joint(a, b, 0.2)],
    )
    with pytest.raises(ValueError, match="expected paths of the same samples, got 6 beside 2"):
        alignment.joint(a, b[:2], 0.2)


def test_bands_hold_their_values_and_agree_with_scikit_learn(tmp_path: Path) -> None:
    arrays = runs.read_map(demo.make_run(tmp_path))
    path = demo.make_path(arrays, "pgd", "pixels", "linf")
    y = np.random.default_rng(0).integers(0, 4, len(path.rows))
    found = measures.bands(path, y)
    curve = measures.security_curve(path, y)
    np.testing.assert_allclose(found.moved.value, curve.moved)
    np.testing.assert_allclose(found.acc.value, curve.acc)
    for step, labels in enumerate(path.labels):
        assert found.nmi.value[step] == pytest.approx(normalized_mutual_info_score(y, labels))
        pure = sum(np.bincount(y[labels == c]).max() for c in np.unique(labels))
        assert found.purity.value[step] == pytest.approx(pure / len(y))
    for band in (found.moved, found.acc, found.nmi, found.purity):
        assert (band.low <= band.value).all()
        assert (band.value <= band.high).all()
        assert (band.low >= 0).all()
        assert (band.high <= 1).all()


def test_bands_without_labels_are_of_the_moves_alone(arrays: MapArrays) -> None:
    found = measures.bands(demo.make_path(arrays, "noise", "pixels", "linf"))
    assert found.acc is found.nmi is found.purity is None
    assert not found.moved.value.any()
    assert (found.moved.high > 0).all()  # none of 60 is not none at all


def test_one_group_on_both_sides_is_full_agreement(arrays: MapArrays) -> None:
    path = demo.make_path(arrays, "noise", "pixels", "linf")
    path = dataclasses.replace(path, labels=np.zeros_like(path.labels))
    found = measures.bands(path, np.zeros(len(path.rows), np.int64))
    for band in (found.nmi, found.purity):
        assert (band.value == 1).all()
        assert (band.low == 1).all()
