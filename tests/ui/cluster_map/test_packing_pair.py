"""Two models in one message of the map: one scale, one budget, and what does not fit is named."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.support.map_views import back, big_view, make_partner, make_path, make_view, whole
from ui.cluster_map import checks, packing
from ui.cluster_map.mount import _selected
from ui.cluster_map.script import joined


def test_two_models_travel_on_one_scale() -> None:
    view = make_view()
    partner = make_partner(view)
    view = dataclasses.replace(view, key="two", mode="compare", partner=partner, name="A")
    header, sections = whole(view)
    half = header["meta"]["origin"][2] / 65535 / 2 * 1.001
    order = np.argsort(partner.path.smallest, kind="stable")
    assert np.abs(back(sections["xy"], header) - view.xy).max() <= half
    assert np.abs(back(sections["b.xy"], header) - partner.xy).max() <= half
    assert np.abs(back(sections["b.paths"], header) - partner.path.xy[:, order]).max() <= half
    np.testing.assert_array_equal(sections["b.path_row"], partner.path.rows[order])
    np.testing.assert_array_equal(sections["b.clusters"], partner.clusters)
    assert (np.diff(sections["b.smallest"].astype(int)) >= 0).all()
    confidence = sections["b.colour.confidence"] / 254
    assert np.abs(confidence - partner.ramps["confidence"]).max() <= 0.5 / 254 + 1e-6
    assert header["twin"] is True
    assert (header["meta"]["name"], header["meta"]["partner"]["name"]) == ("A", "B")
    other = dataclasses.replace(partner.path, key=dataclasses.replace(partner.path.key, seed=9))
    moved = dataclasses.replace(partner, path=other)
    assert packing.base(view) is not packing.base(dataclasses.replace(view, partner=moved))


def test_two_models_stay_within_the_budget_of_a_page() -> None:
    view = big_view(20_000)
    view = dataclasses.replace(view, mode="compare", partner=make_partner(view), raster=None)
    data = packing.message(packing.base(view), {}, {}, {}, whole=True)
    assert len(data) + len(joined()) <= 1_000_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"xy": np.zeros((3, 2), np.float32)}, r"Partner.xy: expected shape \(200, 2\)"),
        ({"xy": np.full((200, 2), np.nan, np.float32)}, r"Partner.xy: expected finite numbers"),
        ({"clusters": np.zeros(3, np.uint8)}, r"Partner.clusters: expected shape \(200,\)"),
        ({"clusters": np.full(200, 4, np.uint8)}, r"Partner.clusters: expected 0 to 3, got 4"),
        (
            {"ramps": {"confidence": np.zeros(7)}},
            r"Partner.ramps\['confidence'\]: expected shape \(200,\), got \(7,\)",
        ),
        ({"path": None}, r"Partner.path: expected the samples and strengths of the view's"),
        ({"noise": None}, r"Partner.noise: expected the samples and strengths of the view's"),
    ],
)
def test_partners_that_do_not_fit_are_named(changes: dict[str, Any], says: str) -> None:
    view = make_view()
    view = dataclasses.replace(view, mode="compare", partner=make_partner(view, **changes))
    with pytest.raises(ValueError, match=says):
        checks.check_view(view)


def test_a_partner_attacked_on_other_samples_is_refused_and_so_is_one_in_another_mode() -> None:
    view = make_view()
    path = make_path(view.xy, seed=8)
    partner = make_partner(view, path=path)
    says = "Partner.path: expected the samples and strengths of the view's, got others"
    with pytest.raises(ValueError, match=says):
        checks.check_view(dataclasses.replace(view, mode="compare", partner=partner))
    with pytest.raises(ValueError, match=r"MapView.partner: mode 'attack': got one"):
        checks.check_view(dataclasses.replace(view, partner=partner))


def test_a_selection_is_of_the_panel_it_was_drawn_in() -> None:
    view = make_view()
    partner = make_partner(view)
    view = dataclasses.replace(view, key="picked", mode="compare", partner=partner)
    told = {"by": "cluster 2", "cluster": 2, "strength": 0.0}
    for panel, clusters in enumerate((view.clusters, partner.clusters)):
        rows = _selected(view, told | {"panel": panel})
        np.testing.assert_array_equal(rows, np.flatnonzero(clusters == 2))
    everything = [[-99, -99], [99, -99], [99, 99], [-99, 99]]
    told = {"by": "box", "polygon": everything, "strength": 0.1, "panel": 1}
    np.testing.assert_array_equal(_selected(view, told), np.arange(200))
