"""The map's mirror: entries for strength and pin that follow it, and what pages tell it.

A map cannot be bound to the URL, so widgets beside it are. The map's fragment draws them: a release
on the map reruns that fragment alone, and outside it neither entry nor URL would follow.
"""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from ui import notes
from ui.scene.state import DEFAULTS, Scene, link

_MOST = 50  # gestures that a browser may lag behind
_MEANS = {
    "L∞": "The largest change of a pixel, whose values go from 0 to 1",
    "L2": "The length of the change, pixel values from 0 to 1",
    "rho": "The length of the change in the embedding, in units of R: half the mean distance from "
    "a cluster's mean to the nearest other one",
}


def entries(scene: Scene, n: int) -> tuple[float, int | None]:
    """The strength and sample entries and the link, drawn by the map's fragment: they follow it.

    Args:
        n: how many samples the map has.

    Returns:
        the strength, and the row of the pinned sample.
    """
    kept = st.session_state["scene"]
    strength = float(kept.get("strength", 0.0))
    with scene.entry_slot:
        if scene.page != "Explore":
            end = scene.dial.end
            strength = st.number_input(
                "Strength",
                min_value=0.0,
                max_value=end,
                step=scene.dial.step,
                format="%g",
                key="strength",
                bind="query-params",
                help=f"{_MEANS[scene.unit]}: 0 to {end:g}. The dial under the map sets it too.",
            )
            strength = min(max(float(strength), 0.0), end) if math.isfinite(strength) else 0.0
        text = st.text_input(
            "Sample",
            key="pin",
            bind="query-params",
            max_chars=12,
            placeholder=f"0 to {n - 1:,}",
            help="The number of the pinned sample. A click on a dot of the map pins it too.",
        ).strip()
        row = int(text) if text.isdecimal() else None
        if text and (row is None or row >= n):
            row = st.session_state.get("last_pin")
            left = "Nothing is pinned." if row is None else f"Sample {row} stays pinned."
            unknown = f"There is no sample {notes.plain(text)}: 0 to {n - 1:,}. {left}"
            st.caption(f":material/error: {unknown}")
            if st.session_state.get("unknown_pin") != text:
                st.toast(unknown)
        st.session_state["unknown_pin"] = text
    st.session_state["last_pin"] = row
    for key, value in {"strength": strength, "pin": "" if row is None else str(row)}.items():
        if value != kept.get(key, DEFAULTS[key]):
            _earlier(key).clear()
        kept[key] = value
    with scene.link_slot, st.popover("Copy link", icon=":material/link:"):
        st.caption("Opens this very view, on a fresh server too.")
        st.code(link(scene, strength, row), language=None, wrap_lines=True)
    return strength, row


def set_strength(value: float) -> None:
    """The map's dial was released: the entry and the URL follow."""
    _follow("strength", round(float(value), 6))


def set_pin(row: int | None) -> None:
    """A dot was pinned, or the pin taken away: the entry and the URL follow."""
    _follow("pin", "" if row is None else str(row))


def _follow(key: str, value: float | str) -> None:
    scene = st.session_state["scene"]
    earlier = _earlier(key)
    earlier.append(scene.get(key, DEFAULTS[key]))
    del earlier[:-_MOST]
    scene[key] = value
    if key in st.session_state:
        st.session_state[key] = value
    reject_stale()


def reject_stale() -> None:
    """What the map says is no typing: the entries say what is known here.

    The browser's copy of an entry lags behind where the map speaks faster than the server answers.
    It then says what the map had said earlier, and would take dial or pin back there. Any other
    value was typed meanwhile, and stands.
    """
    for key in ("strength", "pin"):
        if st.session_state.get(key) in _earlier(key):
            st.session_state[key] = st.session_state["scene"].get(key, DEFAULTS[key])


def _earlier(key: str) -> list[float | str]:
    """Where the map had an entry before, since something was typed into it."""
    return st.session_state.setdefault("earlier", {}).setdefault(key, [])


def order_map(**order: Any) -> None:
    """Tell the map, when it is next drawn, to `zoom` somewhere or `select` something, once."""
    st.session_state["map_order"] = order


def take_order() -> dict[str, Any]:
    """What `order_map` left, once."""
    return st.session_state.pop("map_order", {})
