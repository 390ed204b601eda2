"""Patches of the map: the pinned sample at every strength, and a place that was asked about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.map_views import decode, make_view, pin_of
from ui.cluster_map import Pin, Probe, answers, packing


def test_pin_change_keeps_its_contrast_at_every_strength() -> None:
    view = make_view()
    pin = pin_of(view)
    header, sections = answers.pin_part(pin, packing.base(view))
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
    pin, sections = answers.pin_part(pin_of(view, frames=None, decoded=decoded), base)
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
    never = answers.pin_part(Pin(row=1, smallest=float("nan")), base)[0]
    unknown = answers.pin_part(Pin(row=1), base)[0]
    assert (never["smallest"], never["searched"]) == (None, True)
    assert (unknown["smallest"], unknown["searched"]) == (None, False)


def test_a_patch_holds_no_geometry() -> None:
    view = make_view()
    base = packing.base(view)
    pin, sections = answers.pin_part(pin_of(view), base)
    data = packing.message(base, {"pin": pin}, sections, {3: b"\x89PNG"}, whole=False)
    header, got = decode(data)
    assert header["base"] == base.hash
    assert "meta" not in header
    assert set(got) == set(sections) | {"tile.3"}
    assert got["tile.3"].tobytes() == b"\x89PNG"


def test_probe_speaks_the_units_of_the_message() -> None:
    base = packing.base(make_view())
    x0, y0, span = base.meta["origin"]
    header, _ = answers.probe_part(Probe(x0 + span / 4, y0 + span / 2, np.full(4, 0.25)), base)
    assert (header["x"], header["y"]) == pytest.approx((0.25, 0.5))


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
        answers.pin_part(pin_of(view, **changes), packing.base(view))


def test_probes_that_do_not_fit_are_named() -> None:
    base = packing.base(make_view())
    with pytest.raises(ValueError, match=r"Probe.p: expected shape \(4,\), got \(3,\)"):
        answers.probe_part(Probe(0.0, 0.0, np.zeros(3)), base)
