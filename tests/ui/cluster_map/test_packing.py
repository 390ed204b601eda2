"""The map's packing against a decoder written from its description, its laws and messages."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.support.map_views import back, big_view, make_view, whole
from ui.cluster_map import checks, packing
from ui.cluster_map.packing import quantise_smallest, stratified
from ui.cluster_map.script import joined
from ui.cluster_map.wire import NEVER


def test_a_path_walked_anew_under_the_same_name_is_drawn_anew() -> None:
    view = make_view()
    first = packing.base(view)
    assert packing.base(view) is first
    sooner = dataclasses.replace(view.path, smallest=view.path.smallest / 2)
    assert packing.base(dataclasses.replace(view, path=sooner)) is not first


def test_round_trip_of_a_whole_message() -> None:
    view = make_view()
    header, sections = whole(view)
    meta, path = header["meta"], view.path
    assert header["whole"] is True
    assert header["format"] == 1
    half = meta["origin"][2] / 65535 / 2 * 1.001
    assert np.abs(back(sections["xy"], header) - view.xy).max() <= half
    order = np.argsort(path.smallest, kind="stable")
    assert (np.diff(sections["smallest"].astype(int)) >= 0).all()
    np.testing.assert_array_equal(sections["path_row"], path.rows[order])
    assert np.abs(back(sections["paths"], header) - path.xy[:, order]).max() <= half
    np.testing.assert_array_equal(sections["path_clusters"], path.labels[:, order])
    np.testing.assert_array_equal(sections["clusters"], view.clusters)
    np.testing.assert_array_equal(sections["colour.label"], view.labels)
    confidence = sections["colour.confidence"] / 254
    assert np.abs(confidence - view.ramps["confidence"]).max() <= 0.5 / 254 + 1e-6
    np.testing.assert_array_equal(sections["winner"], view.raster.winner)
    np.testing.assert_array_equal(sections["trusted"], view.raster.trusted)
    assert np.abs(sections["margin"] / 255 - view.raster.margin).max() <= 0.5 / 255 + 1e-6
    assert meta["strengths"] == path.strengths.tolist()
    assert meta["end"] == pytest.approx(0.3)
    assert len(sections["noise"]) == 40


def test_step_0_of_a_path_is_the_clean_position() -> None:
    _, sections = whole(make_view())
    np.testing.assert_array_equal(sections["paths"][0], sections["xy"][sections["path_row"]])


def test_fragility_is_missing_where_there_is_no_path_and_full_where_nothing_moves() -> None:
    view = make_view()
    values = whole(view)[1]["colour.fragility"]
    path = view.path
    without = np.setdiff1d(np.arange(200), path.rows)
    assert (values[without] == 255).all()
    assert (values[path.rows[np.isnan(path.smallest)]] == 254).all()
    moved = ~np.isnan(path.smallest)
    error = values[path.rows[moved]] / 254 * 0.3 - path.smallest[moved]
    assert np.abs(error).max() <= 0.5 * 0.3 / 254 + 1e-6


@given(
    smallest=some.lists(some.floats(0, 0.5, width=32) | some.just(np.nan), min_size=1, max_size=50),
    end=some.sampled_from([0.3, 0.4, 2.0, 16 / 255]),
    step=some.integers(0, 200),
)
@settings(max_examples=200, deadline=None)
def test_moved_survives_quantisation(smallest: list[float], end: float, step: int) -> None:
    values, strength = np.asarray(smallest, np.float32), step * end / 200
    packed = quantise_smallest(values, end).astype(np.int64)
    threshold = min(NEVER - 1, np.ceil(strength / end * (NEVER - 1) - 1e-6))
    moved = packed <= threshold
    half = end / (NEVER - 1)
    exact = values <= min(strength, end)
    near = np.abs(values.astype(np.float64) - strength) <= half
    assert (moved == exact)[~near].all()
    assert moved[exact].all()
    assert (packed[~(values <= end)] == NEVER).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(packed[order]) >= 0).all()


def test_mode_explore_sends_no_paths() -> None:
    header, sections = whole(make_view(mode="explore"))
    assert "paths" not in sections
    assert "path_clusters" not in sections
    assert "colour.fragility" in sections
    assert header["meta"]["mode"] == "explore"


def test_a_subset_names_its_rows() -> None:
    shown = np.arange(0, 200, 2)
    header, sections = whole(make_view(shown=shown))
    np.testing.assert_array_equal(np.cumsum(sections["row_gaps"], dtype=int) - 1, shown)
    assert (header["meta"]["n"], header["meta"]["total"]) == (100, 200)
    assert "row_gaps" not in whole(make_view())[1]


def test_payload_budget() -> None:
    view = big_view(70_000)
    data = packing.message(packing.base(view), {}, {}, {}, whole=True)
    assert len(data) + len(joined()) <= 1_000_000
    view = big_view(200_000)
    base = packing.base(view)
    assert set(base.colours) == {"label", "confidence", "fragility"}
    in_use = {"colour.label": base.colours["label"]}
    assert len(packing.message(base, {}, in_use, {}, whole=True)) <= 1_500_000


def test_a_stratified_base_keeps_every_cluster() -> None:
    clusters = np.repeat([0, 1, 2], [9_000, 990, 10])
    rows = stratified(clusters, 100, seed=4)
    assert (np.diff(rows) > 0).all()
    assert np.bincount(clusters[rows]).tolist() == [90, 10, 1]
    np.testing.assert_array_equal(rows, stratified(clusters, 100, seed=4))
    np.testing.assert_array_equal(stratified(clusters, 20_000), np.arange(10_000))


def test_the_hash_names_the_content() -> None:
    view = make_view()
    first = packing.base(view)
    assert packing.base(dataclasses.replace(view)) is first
    packing._bases.clear()
    assert packing.base(view).hash == first.hash
    moved = dataclasses.replace(view, key="other", xy=view.xy + np.float32(0.5))
    assert packing.base(moved).hash != first.hash


def test_alt_and_options_are_no_geometry() -> None:
    view = make_view()
    assert packing.base(view) is packing.base(dataclasses.replace(view, alt="another sentence"))


def bad_path(**changes: Any) -> dict[str, Any]:
    return {"path": dataclasses.replace(make_view().path, **changes)}


NAN = np.full((200, 2), np.nan, np.float32)
NAN_PATH = np.full((11, 40, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"xy": np.zeros(3, np.float32)}, r"MapView.xy: expected shape \(3, 2\), got \(3,\)"),
        ({"xy": np.zeros((0, 2), np.float32)}, r"MapView.xy: expected at least one sample"),
        ({"xy": NAN}, r"MapView.xy: expected finite numbers, got NaN or infinity 400 times"),
        ({"clusters": np.zeros(3, np.uint8)}, r"MapView.clusters: expected shape \(200,\)"),
        ({"clusters": np.full(200, 4, np.uint8)}, r"MapView.clusters: expected 0 to 3, got 4"),
        ({"k": 0}, r"MapView.k: expected 1 to 255 clusters, got 0"),
        (
            {"ramps": {"confidence": np.zeros(7)}},
            r"MapView.ramps\['confidence'\]: expected shape \(200,\), got \(7,\)",
        ),
        ({"ramps": {"confidence": np.full(200, np.inf)}}, r"MapView.ramps.*: expected numbers in"),
        ({"ramps": {"hue": np.zeros(200)}}, r"MapView.ramps: expected colourings on a ramp, got"),
        ({"labels": np.zeros((200, 1), int)}, r"MapView.labels: expected shape"),
        ({"shown": np.array([200])}, r"MapView.shown: expected row numbers from 0 to 199"),
        ({"shown": np.array([1, 1])}, r"MapView.shown: expected each row once"),
        ({"shown": np.zeros(0, int)}, r"MapView.shown: expected at least one row"),
        (
            {"mode": "twin"},
            r"MapView.mode: expected 'explore', 'attack' or 'compare', got 'twin'",
        ),
        ({"mode": "compare"}, r"MapView.partner: mode 'compare': got none; 'compare' alone has"),
        ({"path": None}, r"MapView.noise: expected a path beside it, got none"),
        ({"end": -1.0}, r"MapView.end: expected a number above 0, got -1.0"),
        (
            bad_path(strengths=np.zeros(11, np.float32)),
            r"MapView.path.strengths: expected ascending",
        ),
        (
            bad_path(smallest=np.zeros(3, np.float32)),
            r"MapView.path.smallest: expected shape \(40,\)",
        ),
        (bad_path(xy=NAN_PATH), r"MapView.path.xy: expected finite numbers"),
        (
            bad_path(labels=np.full((11, 40), 9, np.uint8)),
            r"MapView.path.labels: expected 0 to 3, got 9",
        ),
        (bad_path(rows=np.full(40, 900)), r"MapView.path.rows: expected row numbers"),
    ],
)
def test_views_that_do_not_fit_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        checks.check_view(make_view(**changes))


def test_rasters_that_do_not_fit_are_named() -> None:
    raster = dataclasses.replace(make_view().raster, margin=np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"MapView.raster.margin: expected shape \(8, 8\)"):
        checks.check_view(make_view(raster=raster))
    raster = dataclasses.replace(raster, winner=np.zeros((8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"MapView.raster.winner: expected a square grid"):
        checks.check_view(make_view(raster=raster))
