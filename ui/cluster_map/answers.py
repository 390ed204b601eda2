"""What is known of a pinned sample or a probed place, as the parts of a message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ui.cluster_map.checks import check_finite, check_rows, check_shape
from ui.cluster_map.packing import Base, to_uint8
from ui.cluster_map.wire import Sections

if TYPE_CHECKING:
    from ui.cluster_map.view import MapView, Pin, Probe


def pin_part(pin: Pin | None, base: Base) -> tuple[dict[str, Any] | None, Sections]:
    """What is known of the pinned sample as header entry and sections; None: nothing known.

    A change, of the image or of the decoded one, is sent as signed bytes with one scale per
    strength, so that a small strength keeps its full contrast.

    Raises:
        ValueError: arrays whose shapes do not fit together, or not finite.
    """
    if pin is None:
        return None, {}
    smallest = None if pin.smallest is None or not math.isfinite(pin.smallest) else pin.smallest
    header: dict[str, Any] = {
        "row": int(pin.row),
        "note": pin.note,
        "smallest": None if smallest is None else float(smallest),
        "searched": pin.smallest is not None,
        "smallest_note": pin.smallest_note,
    }
    steps = 1 if base.meta["mode"] == "explore" else len(base.meta["strengths"])
    return header, _pictures(pin, steps) | _numbers(pin, steps, base) | _neighbours(pin, base)


def _pictures(pin: Pin, steps: int) -> Sections:
    sections: Sections = {}
    if pin.image is not None:
        if np.ndim(pin.image) != 3:
            raise ValueError(f"Pin.image: expected shape (c, h, w), got {np.shape(pin.image)}")
        sections["pin.image"] = _image("Pin.image", pin.image)
    for name in ("frames", "decoded"):
        if getattr(pin, name) is not None:
            if pin.image is None:
                beside = "them" if name == "frames" else "it"
                raise ValueError(f"Pin.{name}: expected Pin.image beside {beside}, got none")
            check_shape(f"Pin.{name}", getattr(pin, name), (steps, *np.shape(pin.image)))
            check_finite(f"Pin.{name}", getattr(pin, name))
    if pin.frames is not None:
        clean = sections["pin.image"].astype(np.float32) / np.float32(255)
        sections["pin.change"], sections["pin.scale"] = _change(pin.frames, clean)
    if pin.decoded is not None:
        sections["pin.decoded"] = _image("Pin.decoded", pin.decoded[0])
        change, scale = _change(pin.decoded, np.asarray(pin.decoded[0], np.float32))
        sections["pin.decoded_change"], sections["pin.decoded_scale"] = change, scale
    if pin.reconstruction is not None:
        sections["pin.reconstruction"] = _image("Pin.reconstruction", pin.reconstruction)
    return sections


def _numbers(pin: Pin, steps: int, base: Base) -> Sections:
    sections: Sections = {}
    for name, shape in (("p", (steps, base.meta["k"])), ("xy", (steps, 2)), ("l2", (steps,))):
        values = getattr(pin, name)
        if values is not None:
            check_shape(f"Pin.{name}", values, shape)
            check_finite(f"Pin.{name}", values)
            sections[f"pin.{name}"] = np.asarray(values, np.float32)
    if pin.xy is not None:
        x0, y0, span = base.meta["origin"]
        sections["pin.xy"] = ((np.asarray(pin.xy) - [x0, y0]) / span).astype(np.float32)
    if pin.clusters is not None:
        check_shape("Pin.clusters", pin.clusters, (steps,))
        sections["pin.clusters"] = np.asarray(pin.clusters).astype(np.uint8)
    return sections


def _neighbours(pin: Pin, base: Base) -> Sections:
    if pin.neighbours is None:
        return {}
    m = len(pin.neighbours)
    check_rows("Pin.neighbours", pin.neighbours, base.meta["total"])
    sections: Sections = {"pin.neighbours": np.asarray(pin.neighbours).astype(np.uint32)}
    if pin.near is not None:
        check_shape("Pin.near", pin.near, (m,))
        sections["pin.near"] = np.asarray(pin.near).astype(np.uint8)
    if pin.neighbour_images is not None:
        if np.ndim(pin.neighbour_images) != 4 or len(pin.neighbour_images) != m:
            got = np.shape(pin.neighbour_images)
            raise ValueError(f"Pin.neighbour_images: expected ({m}, c, h, w), got {got}")
        images = _image("Pin.neighbour_images", pin.neighbour_images)
        sections["pin.neighbour_images"] = images
    return sections


def _change(
    frames: NDArray[np.floating], clean: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """What (S, c, h, w) images have changed of a clean one, in parts of 127 of (S,) scales."""
    change = np.asarray(frames, np.float32) - clean
    # The step at strength 0 is the clean image; its rounding to bytes is no change.
    change[0] = 0
    scale = np.abs(change).reshape(len(change), -1).max(1)
    whole = np.where(scale > 0, scale, 1).reshape(-1, 1, 1, 1)
    return np.round(change / whole * 127).astype(np.int8), scale.astype(np.float32)


def _image(where: str, image: Any) -> NDArray[np.uint8]:
    check_finite(where, image)
    if np.shape(image)[-3] not in (1, 3):
        raise ValueError(f"{where}: expected 1 or 3 channels, got shape {np.shape(image)}")
    return to_uint8(image)


def lone_part(row: int | None, view: MapView, base: Base) -> dict[str, Any] | None:
    """Where a pinned row is that the base does not draw, on each map, and what is known of it.

    None where it is drawn, or nothing pinned.
    """
    if row is None or (
        (at := np.searchsorted(base.shown, row)) < len(base.shown) and base.shown[at] == row
    ):
        return None
    x0, y0, span = base.meta["origin"]
    places = [
        {
            "x": float((one.xy[row, 0] - x0) / span),
            "y": float((one.xy[row, 1] - y0) / span),
            "cluster": int(one.clusters[row]),
        }
        for one in (view, view.partner)
        if one is not None
    ]
    label = None if view.labels is None else int(view.labels[row])
    return {"row": int(row), "label": label, "places": places}


def probe_part(probe: Probe | None, base: Base) -> tuple[dict[str, Any] | None, Sections]:
    """The answer to a probe as header entry and sections.

    Raises:
        ValueError: p is not one number per cluster, or not finite.
    """
    if probe is None:
        return None, {}
    check_shape("Probe.p", probe.p, (base.meta["k"],))
    check_finite("Probe.p", probe.p)
    x0, y0, span = base.meta["origin"]
    header = {
        "x": (float(probe.x) - x0) / span,
        "y": (float(probe.y) - y0) / span,
        "trusted": bool(probe.trusted),
        "note": probe.note,
    }
    sections: Sections = {"probe.p": np.asarray(probe.p, np.float32)}
    if probe.image is not None:
        sections["probe.image"] = _image("Probe.image", probe.image)
    return header, sections
