"""A page of thumbnails that answers clicks: the other half of a selection on the map."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore.datasets.shipped import encode_sheet

_HTML = """<div class="grid" role="group"></div>
"""
_CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(52px, 1fr)); gap: 6px; }
button { padding: 0; border: 0; background: none; cursor: pointer; color: inherit; font: inherit;
  text-align: left; }
canvas { width: 100%; display: block; image-rendering: pixelated; border-radius: 2px; }
button span { display: flex; justify-content: space-between; font-size: 11px; line-height: 16px;
  font-variant-numeric: tabular-nums;
  color: color-mix(in srgb, var(--st-text-color) 64%, transparent); }
i { width: 7px; height: 7px; border-radius: 50%; align-self: center; }
button:hover canvas, button:focus-visible canvas { outline-offset: 1px;
  outline: 2px solid color-mix(in srgb, var(--st-text-color) 45%, transparent); }
button[aria-pressed="true"] canvas { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
button:focus { outline: none; }
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.setAttribute("aria-label", data.name);
  grid.replaceChildren();
  const sheet = new Image();
  const cells = data.items.map((item, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = item.text;
    button.setAttribute("aria-label", item.text);
    button.setAttribute("aria-pressed", String(item.row === data.pinned));
    const canvas = document.createElement("canvas");
    canvas.width = data.width;
    canvas.height = data.height;
    const line = document.createElement("span");
    line.append(String(item.row));
    const dot = document.createElement("i");
    dot.style.background = item.hue;
    line.append(dot);
    button.append(canvas, line);
    button.onclick = () => setTriggerValue("pick", item.row);
    grid.append(button);
    return canvas;
  });
  sheet.onload = () => cells.forEach((canvas, i) => canvas.getContext("2d").drawImage(
    sheet, (i % data.columns) * data.width, Math.floor(i / data.columns) * data.height,
    data.width, data.height, 0, 0, data.width, data.height));
  sheet.src = "data:image/png;base64," + data.sheet;
}
"""
_COLUMNS = 12
_component = st.components.v2.component("driftmap_gallery", html=_HTML, css=_CSS, js=_JS)


@dataclass(frozen=True)
class Thumb:
    """One thumbnail: its row number, what it says on hover, the hue of its dot (`#rrggbb`)."""

    row: int
    text: str
    hue: str


def thumbnails(
    thumbs: Sequence[Thumb],
    images: NDArray[np.uint8],
    *,
    key: str,
    name: str,
    pinned: int | None,
    on_pick: Callable[[int], None],
) -> None:
    """Draw thumbnails; a click calls `on_pick` with the row number. The pinned one is framed.

    Args:
        images: (len(thumbs), c, h, w) in 0 to 255.
        name: what the gallery holds, for those who do not see it.
    """
    grey = images.shape[1] == 1
    sheet = encode_sheet(images[:, 0] if grey else images.transpose(0, 2, 3, 1), _COLUMNS)

    def picked() -> None:
        row = getattr(st.session_state.get(key), "pick", None)
        if row is not None:
            on_pick(int(row))

    _component(
        key=key,
        data={
            "name": name,
            "pinned": pinned,
            "height": images.shape[2],
            "width": images.shape[3],
            "columns": _COLUMNS,
            "sheet": base64.b64encode(sheet).decode(),
            "items": [{"row": t.row, "text": t.text, "hue": t.hue} for t in thumbs],
        },
        on_pick_change=picked,
    )
