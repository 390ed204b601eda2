"""The mounted map: what is sent when, and what a gesture selects."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from tests.support.map_views import decode, make_view, pin_of, whole
from ui.cluster_map import MapOptions, Sprites, packing
from ui.cluster_map.mount import _catch_up, _parts, _selected, inside, positions
from ui.cluster_map.moved import moved_rows


def page() -> None:
    """A page with one map; what it passes lies in the session state."""
    import streamlit as st

    from tests.support.map_views import make_view
    from ui.cluster_map import cluster_map

    given = st.session_state.get("given", {})
    st.session_state["state"] = cluster_map(make_view(key="page"), key="map", **given)


def run(at: AppTest, **given: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], bytes]:
    """One run with these arguments; the message it sends."""
    at.session_state["given"] = given
    at.run()
    assert not at.exception
    data = at.get("bidi_component")[0].proto.bytes
    return *decode(data), data


@given(strength=some.floats(0, 0.3))
@settings(max_examples=50, deadline=None)
def test_positions_lie_on_the_path(strength: float) -> None:
    path = make_view().path
    at = positions(path.xy, path.strengths, strength)
    for j in range(3):
        for axis in range(2):
            expected = np.interp(strength, path.strengths, path.xy[:, j, axis])
            assert at[j, axis] == pytest.approx(expected, abs=1e-4)


def test_inside_agrees_with_a_box() -> None:
    xy = np.random.default_rng(0).uniform(-1, 2, (500, 2))
    box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    expected = ((xy > 0) & (xy < 1)).all(1)
    np.testing.assert_array_equal(inside(box, xy), expected)


def test_a_large_selection_is_answered_from_the_arrays() -> None:
    view = make_view()
    path = view.path
    everywhere = [[-50, -50], [50, -50], [50, 50], [-50, 50]]
    value = {"by": "lasso", "polygon": everywhere, "strength": 0.2}
    np.testing.assert_array_equal(_selected(view, value), np.arange(200))
    moved = _selected(view, value | {"only_moved": True})
    np.testing.assert_array_equal(moved, np.sort(path.rows[path.smallest <= 0.2]))
    cluster = _selected(view, {"by": "cluster 2", "cluster": 2, "strength": 0.0})
    np.testing.assert_array_equal(cluster, np.flatnonzero(view.clusters == 2))
    step = int(np.searchsorted(path.strengths, 0.2))
    gone = (path.smallest <= 0.2) & (path.labels[0] == 1) & (path.labels[step] == 3)
    flow = _selected(view, {"by": "flow", "flow": [1, 3], "strength": 0.2})
    np.testing.assert_array_equal(flow, np.sort(path.rows[gone]))
    few = _selected(view, {"by": "box", "rows": [7, 3, 3, 900, -1], "strength": 0.0})
    np.testing.assert_array_equal(few, [3, 7])


def test_a_large_selection_holds_whom_the_map_shows_as_moved() -> None:
    # the map knows smallest strengths to 1/65,534 of the dial: a hair below one counts as at it
    view = make_view()
    path, end = view.path, packing.base(view).meta["end"]
    everywhere = [[-50, -50], [50, -50], [50, 50], [-50, 50]]
    strengths = [float(s) - end / 65_534 / 8 for s in path.smallest if np.isfinite(s)]
    value = {"by": "lasso", "polygon": everywhere, "only_moved": True}
    differ = 0
    for strength in strengths:
        rows = path.rows[moved_rows(path, strength, end)]
        np.testing.assert_array_equal(
            _selected(view, value | {"strength": strength}), np.sort(rows)
        )
        differ += not np.array_equal(rows, path.rows[path.smallest <= strength])
    assert differ > len(strengths) / 2  # else the law shows nothing


def test_a_mount_gets_the_whole_then_patches_then_nothing_new() -> None:
    at = AppTest.from_function(page, default_timeout=30)
    header, sections, data = run(at)
    assert header["whole"]
    assert "xy" in sections
    assert run(at)[2] == data
    header, sections, patch = run(at, options=MapOptions(only_moved=True))
    assert not header["whole"]
    assert header["parts"]["options"]["only_moved"]
    assert "xy" not in sections
    assert run(at, options=MapOptions(only_moved=True))[2] == patch
    view = make_view(key="page")
    header, sections, _ = run(at, pin=5, detail=pin_of(view))
    assert header["parts"]["pin"]["row"] == 5
    assert header["parts"]["control"]["pin"][1] == 5
    assert "pin.change" in sections


def test_only_what_the_page_changes_is_steered() -> None:
    at = AppTest.from_function(page, default_timeout=30)
    assert "strength" not in run(at)[0]["parts"]["control"]
    first = run(at, strength=0.12)[0]["parts"]["control"]["strength"]
    assert first[1] == 0.12
    # The browser reports a release, the page follows: no news.
    at.session_state["map:mount"]["strength"] = 0.2
    assert run(at, strength=0.2)[0]["parts"]["control"]["strength"] == first
    again = run(at, strength=0.12)[0]["parts"]["control"]["strength"]
    assert again[1] == 0.12
    assert again[0] > first[0]
    assert run(at, strength=7.0)[0]["parts"]["control"]["strength"][1] == pytest.approx(0.3)
    assert at.session_state["state"].strength == pytest.approx(0.3)


def test_selection_and_zoom_from_outside_apply_on_change() -> None:
    at = AppTest.from_function(page, default_timeout=30)
    header, sections, _ = run(at, select=[4, 2], zoom=1)
    assert sections["control.select"].tolist() == [4, 2]
    assert len(header["parts"]["control"]["zoom"][1]) == 4
    assert at.session_state["state"].selection.tolist() == [2, 4]
    serials = header["parts"]["control"]["select"][0], header["parts"]["control"]["zoom"][0]
    header = run(at, select=[4, 2], zoom=1, options=MapOptions(note="x"))[0]
    again = header["parts"]["control"]["select"][0], header["parts"]["control"]["zoom"][0]
    assert again == serials
    header, sections, _ = run(at, select=[], zoom="all")
    assert header["parts"]["control"]["zoom"][1] == "all"
    assert sections["control.select"].size == 0
    assert at.session_state["state"].selection.size == 0


def test_sheets_travel_once_when_asked_for() -> None:
    asked: list[int] = []
    sprites = Sprites(lambda j: asked.append(j) or b"PNG" + bytes([j]), per_sheet=50)
    assert "tile.1" not in whole(make_view(sprites=sprites))[1]
    assert asked == []


def test_an_unknown_colour_is_named() -> None:
    view, record = make_view(), {"mount": "", "pin": None, "select": None, "control": {}}
    options = MapOptions(colour="hue")
    with pytest.raises(ValueError, match=r"MapOptions.colour: expected one of cluster, label"):
        _parts(record, view, packing.base(view), options, None, "", None)


def test_a_detail_of_another_row_is_not_sent() -> None:
    at = AppTest.from_function(page, default_timeout=30)
    view = make_view(key="page")
    assert run(at, pin=6, detail=pin_of(view))[0]["parts"]["pin"] is None
    assert run(at, pin=9_999)[0]["parts"]["control"]["pin"][1] == -1


def test_a_release_lost_behind_a_later_gesture_is_taken_over() -> None:
    calls: list[tuple[str, object]] = []
    page = {
        part: functools.partial(lambda p, v: calls.append((p, v)), part)
        for part in ("strength", "pin")
    }
    record = {"strength": 0.1, "pin": None, "control": {"pin": [4, -1]}}
    told = {"strength": 0.2, "pin": 7, "serials": {}}
    _catch_up(record, "tiles", told, page)
    assert calls == [("strength", 0.2)]  # the page has taken the pin away, unknown to the browser
    assert (record["strength"], record["pin"]) == (0.2, None)
    _catch_up(record, "strength", told | {"serials": {"pin": 4}}, page)
    assert calls[1:] == [("pin", 7)]
    _catch_up(record, "tiles", told | {"serials": {"pin": 4}}, page)
    assert len(calls) == 2  # no news
