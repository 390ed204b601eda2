"""Mounts the map: registers the component, decides what to send, turns gestures into calls.

What the browser holds is remembered per mount in `st.session_state` (hashes, serial numbers, the
last known dial, pin and selection), never the arrays themselves.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from ui.cluster_map import answers, packing, wire
from ui.cluster_map.moved import has_moved, step_of
from ui.cluster_map.script import joined
from ui.cluster_map.view import MapOptions, MapState, MapView, Pin, Probe

_component = st.components.v2.component(
    "cluster_map",
    html="<!-- drawn by the script -->\n<div></div>\n",
    css=Path(__file__).with_name("map.css").read_text(encoding="utf-8"),
    js=joined(),
)


def cluster_map(
    view: MapView,
    *,
    key: str,
    options: MapOptions | None = None,
    strength: float = 0.0,
    pin: int | None = None,
    detail: Pin | None = None,
    pin_note: str = "",
    probe: Probe | None = None,
    select: Sequence[int] | NDArray[np.integer] | None = None,
    zoom: int | str | Sequence[int] | NDArray[np.integer] | None = None,
    on_strength_change: Callable[[float], None] | None = None,
    on_pin_change: Callable[[int | None], None] | None = None,
    on_select_change: Callable[[NDArray[np.int64]], None] | None = None,
    on_probe: Callable[[float, float], None] | None = None,
    on_camera_change: Callable[[tuple[float, float, float, float] | None], None] | None = None,
    on_event: Callable[[], None] | None = None,
) -> MapState:
    """Mount the map. Call it inside an `@st.fragment`; each gesture then reruns that fragment only.

    `strength` and `pin` are where the page wants them: pass the bound widgets' values on each run.
    What the browser itself reported is not sent back, so passing them costs nothing.

    Args:
        view: what to draw.
        key: the mount's key; the component's own records live beside it in the session state.
        options: how to draw it.
        strength: dial position, clipped to [0, end].
        pin: row of the pinned sample, or None.
        detail: what is known of it; shown once its row is the pinned one.
        pin_note: shown while the detail is awaited, such as "loading the model".
        probe: the answer to the last probe.
        select: rows to select from outside, applied when they differ from what was passed before;
            None leaves the selection alone, an empty sequence clears it.
        zoom: cluster number, rows, or "all"; applied when it differs from what was passed before.
        on_strength_change: gets the strength: dial released, key pressed, play stopped.
        on_pin_change: gets the pinned row, or None when the pin is taken away.
        on_select_change: gets the selected rows, ascending, from lasso, box, cluster label or flow
            cell; none when the selection is cleared.
        on_probe: gets the clicked place in map units; only where `view.probe`.
        on_camera_change: gets the visible box after a zoom or pan, None for the whole map.
        on_event: called at whatever the map says, a wish for images too, after the others.

    Raises:
        ValueError: arrays of a view, pin or probe whose shapes do not fit together, or not finite.
    """
    options = options or MapOptions()
    record = st.session_state.setdefault(f"{key}:mount", {})
    if key not in st.session_state or "mount" not in record:
        # Nothing of this key was drawn in the last run: the browser mounts anew and knows nothing.
        record.clear()
        record |= {"mount": secrets.token_hex(4), "strength": 0.0, "pin": None, "selected_by": ""}
        record |= {"selection": np.zeros(0, np.int64), "camera": None, "serial": 0, "control": {}}
        record |= {"select": None, "zoom": None, "base": None, "digest": None, "tiles": []}
    base = packing.base(view)
    end = base.meta["end"]
    strength = min(max(float(strength), 0.0), end) if math.isfinite(strength) else 0.0
    _steer(record, view, base, strength, pin, select, zoom)
    parts, sections = _parts(record, view, base, options, detail, pin_note, probe)
    parts["control"]["camera"] = on_camera_change is not None
    _decide(record, base, wire.digest(parts, sections))
    tiles = {j: view.sprites.sheet(j) for j in record["tiles"]} if view.sprites else {}
    data = packing.message(base, parts, sections, tiles, record["whole"])

    # Callbacks run before the script body, so they see the record as this run leaves it.
    calls: dict[str, Callable[..., None] | None] = {
        "strength": on_strength_change,
        "pin": on_pin_change,
        "selection": on_select_change,
        "probe": on_probe,
        "camera": on_camera_change,
        "event": on_event,
    }
    heard = functools.partial(_heard, key, record, view, calls)
    _component(
        key=key,
        data=data,
        on_strength_change=lambda: heard("strength"),
        on_pin_change=lambda: heard("pin"),
        on_selection_change=lambda: heard("selection"),
        on_probe_change=lambda: heard("probe"),
        on_camera_change=lambda: heard("camera"),
        on_tiles_change=lambda: heard("tiles"),
        on_resend_change=lambda: heard("resend"),
    )
    return MapState(
        strength=record["strength"],
        pin=record["pin"],
        selection=record["selection"],
        selected_by=record["selected_by"],
        camera=record["camera"],
    )


def _steer(
    record: dict[str, Any],
    view: MapView,
    base: packing.Base,
    strength: float,
    pin: int | None,
    select: Any,
    zoom: Any,
) -> None:
    """Note what the page sets from outside, each with a serial number.

    What the browser itself reported is no news to it and is not noted.
    """

    def say(name: str, value: Any) -> None:
        record["serial"] += 1
        record["control"][name] = [record["serial"], value]

    if abs(strength - record["strength"]) > 1e-9:
        record["strength"] = strength
        say("strength", strength)
    if pin is not None and not 0 <= pin < len(view.xy):
        pin = None
    if pin != record["pin"]:
        record["pin"] = pin
        say("pin", -1 if pin is None else int(pin))
    wanted = None if select is None else tuple(np.asarray(select, np.int64).tolist())
    if wanted != record["select"]:
        record["select"] = wanted
        if wanted is not None:
            record["selection"] = np.sort(np.asarray(wanted, np.int64))
            record["selected_by"] = "page" if wanted else ""
            say("select", None)
    wish = zoom if zoom is None or isinstance(zoom, int | str) else tuple(np.asarray(zoom).tolist())
    if wish != record["zoom"]:
        record["zoom"] = wish
        if wish is not None:
            say("zoom", _box(view, base, zoom))


def _box(view: MapView, base: packing.Base, zoom: Any) -> Any:
    """The box to zoom to in the unit coordinates of the message, or "all"."""
    rows = np.flatnonzero(view.clusters == zoom) if isinstance(zoom, int) else zoom
    if isinstance(rows, str) or len(rows) == 0:
        return "all"
    xy = view.xy[np.asarray(rows)]
    # A stray point must not make the zoom useless.
    low, high = np.percentile(xy, (2, 98), axis=0) if len(xy) > 20 else (xy.min(0), xy.max(0))
    x0, y0, span = base.meta["origin"]
    return [float(v) for v in (*((low - [x0, y0]) / span), *((high - [x0, y0]) / span))]


def _parts(
    record: dict[str, Any],
    view: MapView,
    base: packing.Base,
    options: MapOptions,
    detail: Pin | None,
    pin_note: str,
    probe: Probe | None,
) -> tuple[dict[str, Any], wire.Sections]:
    """Everything but the geometry, as header entries and sections."""
    if options.colour not in base.meta["colours"]:
        known = ", ".join(base.meta["colours"])
        raise ValueError(f"MapOptions.colour: expected one of {known}, got {options.colour!r}")
    if detail is not None and detail.row != record["pin"]:
        detail = None
    pin_header, pin_sections = answers.pin_part(detail, base)
    probe_header, probe_sections = answers.probe_part(probe, base)
    sections = {**pin_sections, **probe_sections}
    if options.highlight is not None:
        sections["options.highlight"] = np.asarray(options.highlight).astype(np.uint32)
    if record["select"] is not None:
        sections["control.select"] = np.asarray(record["select"], np.int64).astype(np.uint32)
    if options.colour in base.colours:
        sections[f"colour.{options.colour}"] = base.colours[options.colour]
    shown = {
        "colour": options.colour,
        "show_labels": options.show_labels,
        "only_moved": options.only_moved,
        "tint": options.tint,
        "edges": options.edges,
        "trust": options.trust,
        "highlight_cluster": options.highlight_cluster,
        "note": options.note,
    }
    control = {"mount": record["mount"], **record["control"]}
    parts = {"options": shown, "control": control, "pin": pin_header, "pin_note": pin_note}
    lone = answers.lone_part(record["pin"], view, base)
    return parts | {"probe": probe_header, "alt": view.alt, "lone": lone}, sections


def _decide(record: dict[str, Any], base: packing.Base, digest: str) -> None:
    """Whole, patch, or exactly what was sent last (which Streamlit then does not send again)."""
    if record["base"] != base.hash:
        record |= {"whole": True, "base": base.hash, "tiles": record.pop("wanted", [])}
    elif digest != record["digest"] or record.get("wanted"):
        record |= {"whole": False, "tiles": record.pop("wanted", [])}
    record["digest"] = digest


def _catch_up(
    record: dict[str, Any], name: str, told: dict[str, Any], calls: dict[str, Any]
) -> None:
    """Take over a release or a pin whose own message was lost behind a later one.

    What the page has set since, and the browser did not know of yet, stands.
    """
    for part in ("strength", "pin"):
        known = told["serials"].get(part, 0) >= record["control"].get(part, [0])[0]
        if part != name and known and told[part] != record[part]:
            record[part] = told[part]
            if calls[part]:
                calls[part](told[part])


def _heard(
    key: str, record: dict[str, Any], view: MapView, calls: dict[str, Any], name: str
) -> None:
    """One gesture: keep the record in step, then call the page with plain values."""
    value, call = st.session_state[key].get(name), calls.get(name)
    if name not in ("selection", "camera"):  # a trigger; those two are states, which are not lost
        if name != "resend":
            _catch_up(record, name, value, calls)
        value = value["value"]
    if name == "strength":
        record["strength"] = float(value)
        _tell(call, record["strength"])
    elif name == "pin":
        record["pin"] = None if value["row"] is None else int(value["row"])
        _tell(call, record["pin"])
    elif name == "selection" and value:
        record["selection"] = _selected(view, value)
        record["selected_by"] = str(value["by"])
        _tell(call, record["selection"])
    elif name == "probe" and value and call:
        call(float(value[0]), float(value[1]))
    elif name == "camera":
        record["camera"] = tuple(float(v) for v in value) if value else None
        _tell(call, record["camera"])
    else:
        _asked(record, view, name, value)
    if calls.get("event"):
        calls["event"]()


def _tell(call: Callable[..., None] | None, value: Any) -> None:
    if call is not None:
        call(value)


def _asked(record: dict[str, Any], view: MapView, name: str, value: Any) -> None:
    """What the map itself asks for: images, or all of it anew. No page is called."""
    if name == "tiles" and value and view.sprites:
        sheets = -(-len(view.xy) // view.sprites.per_sheet)
        record["wanted"] = sorted({int(j) for j in value if 0 <= int(j) < sheets})
    elif name == "resend":
        # A mount that lost its base lost the rest too: say again where dial and pin stand.
        record["base"] = None
        for part, now in (("strength", record["strength"]), ("pin", record["pin"])):
            record["serial"] += 1
            record["control"][part] = [record["serial"], -1 if now is None else now]


def _selected(view: MapView, value: dict[str, Any]) -> NDArray[np.int64]:
    """The selected rows: up to 2,000 come as ids, beyond that the question is answered here."""
    if "rows" in value:
        rows = np.unique(np.asarray(value["rows"], np.int64))
        return rows[(rows >= 0) & (rows < len(view.xy))]
    shown = packing.base(view).shown
    side = view.partner if view.partner is not None and value.get("panel") == 1 else view
    if "cluster" in value:
        return np.sort(shown[side.clusters[shown] == int(value["cluster"])])
    path, strength = side.path, float(value["strength"])
    if "flow" in value and path is not None:
        start, stop = value["flow"]
        gone = has_moved(path.smallest, strength, packing.base(view).meta["end"])
        gone &= (path.labels[0] == start) & (path.labels[step_of(path, strength)] == stop)
        return np.sort(path.rows[gone])
    # The browser asked about what it drew: positions rounded to the steps of the message.
    x0, y0, span = packing.base(view).meta["origin"]

    def drawn(xy: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.round((xy - [x0, y0]) / span * 65_535) / 65_535 * span + [x0, y0]

    rows, xy = shown, drawn(side.xy[shown])
    if view.mode != "explore" and path is not None:
        still = ~np.isin(shown, path.rows)
        if value.get("only_moved"):
            still[:] = False
        at = positions(drawn(path.xy), path.strengths, strength)
        going = np.ones(len(at), bool)
        if value.get("only_moved"):
            going = has_moved(path.smallest, strength, packing.base(view).meta["end"])
        rows = np.concatenate([shown[still], path.rows[going]])
        xy = np.concatenate([xy[still], at[going]])
    return np.sort(rows[inside(np.asarray(value["polygon"], np.float64), xy)])


def positions(
    xy: NDArray[np.floating], strengths: NDArray[np.floating], strength: float
) -> NDArray[np.floating]:
    """(m, 2) where the (S, m, 2) paths are at a strength, linear between steps."""
    k = int(np.clip(np.searchsorted(strengths, strength, "right") - 1, 0, len(strengths) - 2))
    t = np.clip((strength - strengths[k]) / (strengths[k + 1] - strengths[k]), 0, 1)
    return xy[k] + (xy[k + 1] - xy[k]) * t


def inside(polygon: NDArray[np.floating], xy: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(n,) which of the (n, 2) points lie inside the (v, 2) polygon, by the even-odd rule."""
    x, y = xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)
    result = np.zeros(len(xy), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            result ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return result
