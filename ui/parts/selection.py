"""What is selected on the map, below it: composition, thumbnails, a file."""

from __future__ import annotations

import functools

import numpy as np
import streamlit as st

from clustcore.config import digest
from clustcore.measures.hues import hue
from clustcore.types import AttackPath, MapArrays
from ui import cached, notes
from ui.cluster_map import MapState
from ui.parts import frames
from ui.parts.thumbnails import Thumb, thumbnails
from ui.scene import entries

_PAGE = 48  # thumbnails


def draw(
    state: MapState,
    arrays: MapArrays,
    truth: cached.images.Truth,
    path: AttackPath | None,
    pinned: int | None,
    empty: str = "Nothing selected. Drag a shape on the map, or pick a cluster in the table.",
) -> None:
    """Draw the selection's bars, its gallery and its CSV, or a line that says how to select."""
    rows = state.selection
    st.subheader("Selection", anchor=False)
    if not len(rows):
        st.caption(empty)
        return
    by = f", by {notes.plain(state.selected_by)}" if state.selected_by else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(rows):,}** of {len(arrays.xy):,} samples{by}", width="content")
        st.button(
            "Zoom to selection",
            icon=":material/zoom_in_map:",
            on_click=functools.partial(entries.order_map, zoom=rows),
        )
        st.button(
            "Clear",
            icon=":material/close:",
            on_click=functools.partial(entries.order_map, select=[]),
        )
        st.download_button(
            "CSV",
            lambda: frames.csv(frames.sample_frame(rows, arrays, truth.y, truth.names, path)),
            file_name="selection.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Sample, cluster, label, confidence, margin, smallest strength, position.",
        )
    parts = {"Cluster": frames.composition(arrays.labels[rows])}
    if truth.y is not None:
        parts["True label"] = frames.composition(truth.y[rows], truth.names)
    for place, (name, found) in zip(st.columns(2), parts.items(), strict=False):
        with place:
            _bars(name, found)
    _gallery(rows, arrays, truth, pinned)


def _bars(name: str, parts: list[tuple[str, int, float]]) -> None:
    import pandas as pd  # costs more than all else on the page: not before it is needed

    frame = pd.DataFrame(parts, columns=[name, "samples", "share"])
    frame["share"] *= 100
    st.dataframe(
        frame,
        hide_index=True,
        row_height=27,
        height=min(27 * len(frame), 270) + 38,
        alt=f"What the selection is made of, by {name.lower()}",
        column_config={
            "samples": st.column_config.NumberColumn("Samples", format="localized", width="small"),
            "share": st.column_config.ProgressColumn(
                "Share", format="%.0f %%", min_value=0, max_value=100
            ),
        },
    )


def _gallery(
    rows: np.ndarray, arrays: MapArrays, truth: cached.images.Truth, pinned: int | None
) -> None:
    images = cached.images.images_or_none(arrays)
    if images is None:
        st.caption("The images of this data set are not on this machine: no gallery.")
        return
    which = digest(len(rows), int(rows[0]), int(rows[-1]), int(rows.sum()))
    page = 1
    if len(rows) > _PAGE:
        page = st.pagination(-(-len(rows) // _PAGE), key=f"gallery_page_{which}")
    part = rows[(page - 1) * _PAGE : page * _PAGE]
    thumbs = []
    for row in part.tolist():
        cluster = int(arrays.labels[row])
        text = f"Sample {row}, cluster {cluster}"
        if truth.y is not None:
            label = int(truth.y[row])
            text += f", label {truth.names[label] if truth.names else label}"
        thumbs.append(Thumb(row, text, hue(cluster)))
    thumbnails(
        thumbs,
        images[part],
        key="gallery",
        name=f"{len(part)} selected samples; choosing one pins it on the map",
        pinned=pinned,
        on_pick=entries.set_pin,
    )
