"""The map: a Streamlit component whose dial, hover, pin, lasso and inspector run in the browser.

A page describes what to draw (`MapView`, packed once, known by its hash), how to draw it
(`MapOptions`) and what it learned about the pinned sample (`Pin`) or a probed spot (`Probe`), and
mounts all of it with `cluster_map`, inside an `@st.fragment`. While the dial is dragged nothing is
sent; a release sends one message. Whatever did not change is not sent again, and a gesture is never
echoed back.

A page calls, in its fragment:

    state = cluster_map(
        view,
        key="map",
        strength=st.session_state["strength"],
        pin=st.session_state["pin"],
        detail=detail,
        on_strength_change=set_strength,
        on_pin_change=set_pin,
    )

and the callbacks receive values, not events: `set_strength(0.08)`, `set_pin(1652)`,
`set_pin(None)`.

The pin's data may come later than the map: pass `pin=1652, detail=None` at first; the component
says "computing the path of sample 1652" (or `pin_note`) until a `Pin` of that row arrives. So a
page mounts the map, works out the data after it, keeps it in a cache, and ends with `st.rerun()`.
Slow work in a callback or above the map would make Streamlit fade the map as stale.

Hooks for browser tests: the outermost element carries `data-testid="cluster-map"` and, read-only,
`data-ready` ("1" once drawn), `data-mode`, `data-renderer` ("webgl2" or "canvas2d"), `data-points`,
`data-paths`, `data-strength`, `data-moved`, `data-noise`, `data-pin` ("" where nothing is pinned),
`data-detail` (row of the shown detail), `data-selected`, `data-probe`, `data-zoom` (1 = whole map),
`data-camera` (x0,y0,x1,y1 in map units), `data-colour`, `data-theme`, `data-frames` (overlay frames
drawn), `data-sent` (messages sent), `data-runs` (runs of the JS in this mount), `data-tiles`
(sprite sheets held). Parts are found by `data-testid`: `map-stage`, `map-dial` (the range input),
`map-play`, `map-readout`, `map-curve`, `map-inspector`, `map-triptych`, `map-decoder` and its
caption `map-decoder-note`, `map-bars`, `map-smallest`,
`map-flow`, `map-neighbours`, `map-probe`, `map-card` (hover card), `map-pin`, `map-live` (live
region), `map-note`, `map-tool-pan`, `map-tool-box`, `map-tool-lasso`, `map-zoom-in`,
`map-zoom-out`, `map-zoom-fit`, `map-png`, `map-suggest`. Two models beside each other have no
inspector, a second stage `map-stage-b`, a `map-strip` of buttons `map-side-left`, `-both`, `-right`
and `-neither`, and further attributes: `data-joint` (how many moved on neither side, on the left
only, on the right only, on both) and `data-side` (which of them are shown; "" for all).

Setting `data-measure="1"` on the outermost element makes each overlay frame wait for the GL and
fills its `data-intervals` with the milliseconds between frames when the dial is released.
"""

from __future__ import annotations

from ui.cluster_map.colours import COLOURS, Colouring, ramps
from ui.cluster_map.mount import cluster_map
from ui.cluster_map.packing import LIMIT, stratified
from ui.cluster_map.view import (
    MapOptions,
    MapState,
    MapView,
    Mode,
    Partner,
    Pin,
    Probe,
    Sprites,
)

__all__ = [
    "COLOURS",
    "LIMIT",
    "Colouring",
    "MapOptions",
    "MapState",
    "MapView",
    "Mode",
    "Partner",
    "Pin",
    "Probe",
    "Sprites",
    "cluster_map",
    "ramps",
    "stratified",
]
