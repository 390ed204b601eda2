"""The map's packing against a decoder written from its description, its laws and messages."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from clustcore.types import AttackPath, Raster
from ui.cluster_map import (
    MapOptions,
    MapView,
    Partner,
    Pin,
    Probe,
    Sprites,
    packing,
    sprite_sheet,
)
from ui.cluster_map.mount import _catch_up, _parts, _script, _selected, positions
from ui.cluster_map.packing import NEVER, quantise_smallest, stratified

HERE = Path(__file__).parent
DTYPES = {"uint8": "B", "int8": "b", "uint16": "<u2", "uint32": "<u4", "float32": "<f4"}


def decode(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A message by its description alone."""
    magic, length = struct.unpack_from("<4sI", data)
    assert magic == b"DMAP"
    assert length % 4 == 0
    header = json.loads(data[8 : 8 + length])
    sections = {}
    for place in header["sections"]:
        assert place["offset"] % 4 == 0
        start = 8 + length + place["offset"]
        count = int(np.prod(place["shape"]))
        array = np.frombuffer(data, DTYPES[place["dtype"]], count, start)
        sections[place["name"]] = array.reshape(place["shape"])
    return header, sections


def make_path(xy: np.ndarray, m: int = 40, k: int = 4, seed: int = 0) -> AttackPath:
    """m paths over 11 strengths that start where the samples are."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(xy))[:m])
    strengths = (0.3 * (np.arange(11) / 10) ** 1.6).astype(np.float32)
    steps = rng.normal(0, 0.1, (11, m, 2)).astype(np.float32)
    steps[0] = 0
    labels = rng.integers(0, k, (11, m)).astype(np.uint8)
    smallest = rng.uniform(0.001, 0.4, m).astype(np.float32)
    smallest[smallest > 0.3] = np.nan
    return AttackPath(
        strengths=strengths,
        rows=rows,
        xy=xy[rows] + steps.cumsum(0),
        p=np.full((11, m, k), 1 / k, np.float32),
        labels=labels,
        smallest=smallest,
        l2=np.zeros((11, m), np.float32),
        linf=np.zeros((11, m), np.float32),
        attack="pgd",
        space="pixels",
        norm="linf",
    )


def make_view(n: int = 200, **changes: Any) -> MapView:
    """A view of n samples in 4 clusters."""
    rng = np.random.default_rng(1)
    xy = rng.normal(0, 3, (n, 2)).astype(np.float32)
    g = 8
    raster = Raster(
        bounds=(-9.0, -9.0, 9.0, 9.0),
        winner=rng.integers(0, 4, (g, g)).astype(np.uint8),
        p=np.full((g, g, 4), 0.25, np.float32),
        margin=rng.uniform(0, 1, (g, g)).astype(np.float32),
        trusted=rng.uniform(0, 1, (g, g)) > 0.5,
    )
    values: dict[str, Any] = {
        "key": str(sorted(changes)),
        "mode": "attack",
        "xy": xy,
        "clusters": rng.integers(0, 4, n).astype(np.uint8),
        "k": 4,
        "confidence": rng.uniform(0.25, 1, n).astype(np.float32),
        "labels": rng.integers(0, 4, n),
        "raster": raster,
        "path": make_path(xy),
        "noise": make_path(xy, seed=3),
    }
    return MapView(**(values | changes))


def whole(view: MapView, parts: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
    packing._bases.clear()
    return decode(packing.message(packing.base(view), parts or {}, {}, {}, whole=True))


def back(packed: np.ndarray, header: dict[str, Any]) -> np.ndarray:
    """Map units from packed positions."""
    x0, y0, span = header["meta"]["origin"]
    return packed.astype(np.float64) / 65535 * span + [x0, y0]


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
    assert np.abs(confidence - view.confidence).max() <= 0.5 / 254 + 1e-6
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


def big_view(n: int, g: int = 200) -> MapView:
    rng = np.random.default_rng(0)
    xy = rng.normal(0, 3, (n, 2)).astype(np.float32)
    raster = Raster(
        bounds=(-9.0, -9.0, 9.0, 9.0),
        winner=np.zeros((g, g), np.uint8),
        p=np.zeros((g, g, 1), np.float32),
        margin=np.zeros((g, g), np.float32),
        trusted=np.ones((g, g), bool),
    )
    path = make_path(xy, m=2000)
    return make_view(
        key=f"{n}",
        xy=xy,
        clusters=rng.integers(0, 4, n).astype(np.uint8),
        confidence=rng.uniform(0.25, 1, n).astype(np.float32),
        labels=rng.integers(0, 4, n),
        raster=raster,
        path=path,
        noise=path,
    )


def test_payload_budget() -> None:
    view = big_view(70_000)
    data = packing.message(packing.base(view), {}, {}, {}, whole=True)
    assert len(data) + len(_script()) <= 1_000_000
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


def make_partner(view: MapView, **changes: Any) -> Partner:
    """Another model on the samples of a view, somewhere else on the map."""
    rng = np.random.default_rng(5)
    xy = rng.normal(2, 6, (len(view.xy), 2)).astype(np.float32)
    path = dataclasses.replace(view.path, xy=xy[view.path.rows] + np.zeros((11, 1, 1), np.float32))
    smallest = rng.permutation(path.smallest)
    values: dict[str, Any] = {
        "name": "B",
        "aside": "beside",
        "xy": xy,
        "clusters": rng.integers(0, 4, len(xy)).astype(np.uint8),
        "confidence": rng.uniform(0.25, 1, len(xy)).astype(np.float32),
        "path": dataclasses.replace(path, smallest=smallest),
        "noise": view.noise,
    }
    return Partner(**(values | changes))


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
    assert np.abs(confidence - partner.confidence).max() <= 0.5 / 254 + 1e-6
    assert header["twin"] is True
    assert (header["meta"]["name"], header["meta"]["partner"]["name"]) == ("A", "B")
    moved = dataclasses.replace(partner, path=dataclasses.replace(partner.path, seed=9))
    assert packing.base(view) is not packing.base(dataclasses.replace(view, partner=moved))


def test_two_models_stay_within_the_budget_of_a_page() -> None:
    view = big_view(20_000)
    view = dataclasses.replace(view, mode="compare", partner=make_partner(view), raster=None)
    data = packing.message(packing.base(view), {}, {}, {}, whole=True)
    assert len(data) + len(_script()) <= 1_000_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"xy": np.zeros((3, 2), np.float32)}, r"Partner.xy: expected shape \(200, 2\)"),
        ({"xy": np.full((200, 2), np.nan, np.float32)}, r"Partner.xy: expected finite numbers"),
        ({"clusters": np.zeros(3, np.uint8)}, r"Partner.clusters: expected shape \(200,\)"),
        ({"clusters": np.full(200, 4, np.uint8)}, r"Partner.clusters: expected 0 to 3, got 4"),
        ({"confidence": np.zeros(7)}, r"Partner.confidence: expected shape \(200,\), got \(7,\)"),
        ({"path": None}, r"Partner.path: expected the samples and strengths of the view's"),
        ({"noise": None}, r"Partner.noise: expected the samples and strengths of the view's"),
    ],
)
def test_partners_that_do_not_fit_are_named(changes: dict[str, Any], says: str) -> None:
    view = make_view()
    view = dataclasses.replace(view, mode="compare", partner=make_partner(view, **changes))
    with pytest.raises(ValueError, match=says):
        packing.check(view)


def test_a_partner_attacked_on_other_samples_is_refused_and_so_is_one_in_another_mode() -> None:
    view = make_view()
    path = make_path(view.xy, seed=8)
    partner = make_partner(view, path=path)
    says = "Partner.path: expected the samples and strengths of the view's, got others"
    with pytest.raises(ValueError, match=says):
        packing.check(dataclasses.replace(view, mode="compare", partner=partner))
    with pytest.raises(ValueError, match=r"MapView.partner: mode 'attack': got one"):
        packing.check(dataclasses.replace(view, partner=partner))


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


def pin_of(view: MapView, **changes: Any) -> Pin:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (1, 6, 6)).astype(np.uint8)
    change = rng.uniform(-1, 1, (11, 1, 6, 6)) * view.path.strengths.reshape(-1, 1, 1, 1)
    values: dict[str, Any] = {
        "row": 5,
        "image": image,
        "frames": np.clip(image / 255 + change, 0, 1),
        "p": np.full((11, 4), 0.25, np.float32),
        "l2": np.zeros(11),
        "smallest": 0.1,
    }
    return Pin(**(values | changes))


def test_pin_change_keeps_its_contrast_at_every_strength() -> None:
    view = make_view()
    pin = pin_of(view)
    header, sections = packing.pin_part(pin, packing.base(view))
    assert header["row"] == 5
    change = np.asarray(pin.frames) - pin.image / 255
    scale = sections["pin.scale"].reshape(-1, 1, 1, 1)
    decoded = sections["pin.change"] / 127 * scale
    assert (np.abs(decoded - change) <= scale / 254 + 1e-6).all()
    assert not sections["pin.change"][0].any()


def test_decoded_images_come_back_at_every_strength() -> None:
    view = make_view()
    shape = (11, 1, 6, 6)
    decoded = np.random.default_rng(4).uniform(0, 1, shape).astype(np.float32)
    decoded[1] = decoded[0] + 1e-4  # a faint change keeps its contrast
    base = packing.base(view)
    pin, sections = packing.pin_part(pin_of(view, frames=None, decoded=decoded), base)
    _, got = decode(packing.message(base, {"pin": pin}, sections, {}, whole=False))
    assert "pin.change" not in got
    scale = got["pin.decoded_scale"].reshape(-1, 1, 1, 1)
    change = got["pin.decoded_change"].reshape(shape) / 127 * scale
    assert (np.abs(change - (decoded - decoded[0])) <= scale / 254 + 1e-6).all()
    assert not got["pin.decoded_change"].reshape(shape)[0].any()
    clean = got["pin.decoded"].reshape(1, 6, 6) / 255
    np.testing.assert_allclose(clean, decoded[0], atol=0.5 / 255 + 1e-6)
    sizes = [got[name].nbytes for name in got if name.startswith("pin.decoded")]
    assert sum(sizes) == 12 * 36 + 4 * 11  # a byte a pixel


def test_pin_smallest_tells_never_from_not_searched() -> None:
    base = packing.base(make_view())
    never = packing.pin_part(Pin(row=1, smallest=float("nan")), base)[0]
    unknown = packing.pin_part(Pin(row=1), base)[0]
    assert (never["smallest"], never["searched"]) == (None, True)
    assert (unknown["smallest"], unknown["searched"]) == (None, False)


def test_a_patch_holds_no_geometry() -> None:
    view = make_view()
    base = packing.base(view)
    pin, sections = packing.pin_part(pin_of(view), base)
    data = packing.message(base, {"pin": pin}, sections, {3: b"\x89PNG"}, whole=False)
    header, got = decode(data)
    assert header["base"] == base.hash
    assert "meta" not in header
    assert set(got) == set(sections) | {"tile.3"}
    assert got["tile.3"].tobytes() == b"\x89PNG"


def test_probe_speaks_the_units_of_the_message() -> None:
    base = packing.base(make_view())
    x0, y0, span = base.meta["origin"]
    header, _ = packing.probe_part(Probe(x0 + span / 4, y0 + span / 2, np.full(4, 0.25)), base)
    assert (header["x"], header["y"]) == pytest.approx((0.25, 0.5))


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
        ({"confidence": np.zeros(7)}, r"MapView.confidence: expected shape \(200,\), got \(7,\)"),
        ({"confidence": np.full(200, np.inf)}, r"MapView.confidence: expected finite numbers"),
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
        packing.check(make_view(**changes))


def test_rasters_that_do_not_fit_are_named() -> None:
    raster = dataclasses.replace(make_view().raster, margin=np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"MapView.raster.margin: expected shape \(8, 8\)"):
        packing.check(make_view(raster=raster))
    raster = dataclasses.replace(raster, winner=np.zeros((8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"MapView.raster.winner: expected a square grid"):
        packing.check(make_view(raster=raster))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": np.zeros((6, 6))}, r"Pin.image: expected shape \(c, h, w\), got \(6, 6\)"),
        ({"image": np.zeros((2, 6, 6))}, r"Pin.image: expected 1 or 3 channels"),
        ({"image": None}, r"Pin.frames: expected Pin.image beside them"),
        ({"frames": np.zeros((3, 1, 6, 6))}, r"Pin.frames: expected shape \(11, 1, 6, 6\)"),
        ({"decoded": np.zeros((11, 1, 5, 5))}, r"Pin.decoded: expected shape \(11, 1, 6, 6\)"),
        ({"decoded": np.full((11, 1, 6, 6), np.nan)}, r"Pin.decoded: expected finite numbers"),
        (
            {"image": None, "frames": None, "decoded": np.zeros((11, 1, 6, 6))},
            r"Pin.decoded: expected Pin.image beside it",
        ),
        ({"p": np.zeros((1, 4))}, r"Pin.p: expected shape \(11, 4\), got \(1, 4\)"),
        ({"p": np.full((11, 4), np.nan)}, r"Pin.p: expected finite numbers"),
        ({"xy": np.zeros((2, 2))}, r"Pin.xy: expected shape \(11, 2\)"),
        ({"clusters": np.zeros(2)}, r"Pin.clusters: expected shape \(11,\)"),
        ({"l2": np.zeros(2)}, r"Pin.l2: expected shape \(11,\)"),
        ({"neighbours": np.array([900])}, r"Pin.neighbours: expected row numbers from 0 to 199"),
        (
            {"neighbours": np.array([1, 2]), "near": np.array([True])},
            r"Pin.near: expected shape \(2,\), got \(1,\)",
        ),
        (
            {"neighbours": np.array([1, 2]), "neighbour_images": np.zeros((1, 1, 6, 6))},
            r"Pin.neighbour_images: expected \(2, c, h, w\), got \(1, 1, 6, 6\)",
        ),
    ],
)
def test_pins_that_do_not_fit_are_named(changes: dict[str, Any], says: str) -> None:
    view = make_view()
    with pytest.raises(ValueError, match=says):
        packing.pin_part(pin_of(view, **changes), packing.base(view))


def test_probes_that_do_not_fit_are_named() -> None:
    base = packing.base(make_view())
    with pytest.raises(ValueError, match=r"Probe.p: expected shape \(4,\), got \(3,\)"):
        packing.probe_part(Probe(0.0, 0.0, np.zeros(3)), base)


def test_sprite_sheet_puts_image_i_in_row_i_over_columns() -> None:
    from io import BytesIO

    from PIL import Image

    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 1, 3, 4), np.uint8)
    sheet = np.asarray(Image.open(BytesIO(sprite_sheet(images, columns=2))))
    assert sheet.shape == (9, 8)
    for i in range(5):
        assert (sheet[i // 2 * 3 : i // 2 * 3 + 3, i % 2 * 4 : i % 2 * 4 + 4] == i).all()
    with pytest.raises(ValueError, match="expected images of 1 or 3 channels, got 2"):
        sprite_sheet(np.zeros((1, 2, 3, 3)))


@given(strength=some.floats(0, 0.3))
@settings(max_examples=50, deadline=None)
def test_positions_lie_on_the_path(strength: float) -> None:
    path = make_view().path
    at = positions(path.xy, path.strengths, strength)
    for j in range(3):
        for axis in range(2):
            expected = np.interp(strength, path.strengths, path.xy[:, j, axis])
            assert at[j, axis] == pytest.approx(expected, abs=1e-4)


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


def test_inside_agrees_with_a_box() -> None:
    xy = np.random.default_rng(0).uniform(-1, 2, (500, 2))
    box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    expected = ((xy > 0) & (xy < 1)).all(1)
    np.testing.assert_array_equal(packing.inside(box, xy), expected)


def page() -> None:
    """A page with one map; what it passes lies in the session state."""
    import streamlit as st

    from tests.test_ui_cluster_map import make_view
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


def test_the_script_holds_no_inner_html_and_one_default_export() -> None:
    script = _script()
    assert "innerHTML" not in script
    assert script.count("export default") == 1


def test_the_scripts_arithmetic_under_node() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the map's script is not tested without a browser")
    scripts = [str(path) for path in sorted((HERE / "js").glob("*.mjs"))]
    done = subprocess.run([node, "--test", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


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
