"""Maps of more points than are drawn: which ones, in how many bytes, and the pin beside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from tests.support import ROOT
from tests.support.map_views import big_view, decode, make_view
from ui.cluster_map import answers, packing
from ui.cluster_map.mount import _selected


def rows_of(sections: dict[str, np.ndarray]) -> np.ndarray:
    """The rows of drawn points, by the format's description."""
    far, row, rows = iter(sections["row_far"].tolist()), -1, []
    for step in sections["row_gaps"].tolist():
        row += step if step < 255 else next(far)
        rows.append(row)
    assert next(far, None) is None
    return np.array(rows)


@given(some.sets(some.integers(0, 4000), min_size=1))
def test_rows_come_back_from_their_steps(rows: set[int]) -> None:
    expected = np.array(sorted(rows))
    gaps, far = packing._gaps(expected)
    assert (gaps.dtype, far.dtype) == (np.uint8, np.uint32)
    np.testing.assert_array_equal(rows_of({"row_gaps": gaps, "row_far": far}), expected)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer points are many."""
    monkeypatch.setattr(packing, "LIMIT", 150)
    monkeypatch.setattr(packing, "SAMPLE", 80)
    packing._bases.clear()


def test_beyond_the_limit_every_cluster_is_drawn_with_its_share(small: None) -> None:
    view = make_view()
    header, sections = decode(packing.message(packing.base(view), {}, {}, {}, whole=True))
    rows = rows_of(sections)
    assert header["meta"]["total"] == 200
    assert header["meta"]["n"] == len(rows) == len(sections["xy"])
    np.testing.assert_array_equal(rows, packing.stratified(view.clusters, 80))
    shares = np.bincount(view.clusters[rows], minlength=4) / np.bincount(view.clusters)
    np.testing.assert_allclose(shares, 0.4, atol=0.02)
    np.testing.assert_array_equal(sections["clusters"], view.clusters[rows])


def test_up_to_the_limit_all_are_drawn(small: None) -> None:
    np.testing.assert_array_equal(packing.drawn_rows(np.zeros(150, np.uint8)), np.arange(150))


def test_a_selection_beyond_the_limit_is_of_what_is_drawn(small: None) -> None:
    view = make_view(mode="explore")
    everywhere = [[-50, -50], [50, -50], [50, 50], [-50, 50]]
    found = _selected(view, {"by": "lasso", "polygon": everywhere, "strength": 0.0})
    np.testing.assert_array_equal(found, packing.drawn_rows(view.clusters))


@pytest.mark.parametrize("n", [1_000_000, 3_000_000])
def test_a_million_points_stay_within_the_budget(n: int) -> None:
    view = big_view(n)
    base = packing.base(view)
    packing._bases.clear()
    in_use = {"colour.label": base.colours["label"]}
    data = packing.message(base, {}, in_use, {}, whole=True)
    assert len(data) <= 1_500_000
    assert base.meta["n"] == pytest.approx(packing.SAMPLE, abs=5)
    assert base.meta["total"] == n


def test_a_pin_that_is_not_drawn_travels_beside_the_base(small: None) -> None:
    view = make_view()
    base = packing.base(view)
    drawn = packing.drawn_rows(view.clusters)
    row = int(np.setdiff1d(np.arange(200), drawn)[-1])
    lone = answers.lone_part(row, view, base)
    x0, y0, span = base.meta["origin"]
    place = lone["places"][0]
    at = [place["x"] * span + x0, place["y"] * span + y0]
    np.testing.assert_allclose(at, view.xy[row], rtol=1e-5)
    assert (lone["row"], lone["label"]) == (row, view.labels[row])
    assert place["cluster"] == view.clusters[row]
    for known in (None, int(drawn[0]), int(drawn[-1])):
        assert answers.lone_part(known, view, base) is None
    plain = packing.base(dataclasses.replace(view, key="plain", labels=None))
    assert answers.lone_part(row, dataclasses.replace(view, labels=None), plain)["label"] is None


def page() -> None:
    """A map of three points out of 200."""
    import numpy as np
    import streamlit as st

    from tests.support.map_views import make_view
    from ui.cluster_map import cluster_map

    view = make_view(key="few", shown=np.array([0, 5, 9]))
    cluster_map(view, key="map", pin=st.session_state["pinned"])


@pytest.mark.parametrize(("pin", "lone"), [(5, None), (7, 7), (None, None)])
def test_a_mount_says_where_a_pin_is_that_is_not_drawn(pin: Any, lone: int | None) -> None:
    at = AppTest.from_function(page, default_timeout=30)
    at.session_state["pinned"] = pin
    at.run()
    assert not at.exception
    header, _ = decode(at.get("bidi_component")[0].proto.bytes)
    assert (header["parts"]["lone"] or {}).get("row") == lone


def test_explore_says_how_many_of_how_many_are_drawn(small: None) -> None:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    at.run()
    at.switch_page("pages/1_Explore.py").run()
    assert not at.exception
    header, _ = decode(at.get("bidi_component")[0].proto.bytes)
    drawn, total = header["meta"]["n"], header["meta"]["total"]
    assert drawn < total
    assert any(f"{drawn:,} of {total:,} test images" in c.value for c in at.caption)
    assert f"{drawn:,}" in next(g for g in at.button_group if g.key == "points").options
