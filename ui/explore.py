"""The parts of Explore: its view controls, the map with what hangs on it, the table of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore.maps import regions
from clustcore.types import AttackPath, MapArrays
from ui import cached, notes, scene, shell
from ui.cluster_map import COLOURS, MapOptions, MapView, Pin, Probe, cluster_map, ramps
from ui.parts import frames, selection, sentences
from ui.scene import entries

_NO_IMAGE = "This model has no decoder: there is no image of a place without a sample."
_SHOWN = {"All": None, "5,000": 5000, "2,000": 2000, "500": 500}


@dataclass(frozen=True)
class ViewChoice:
    """How the map is drawn: what the View popover says."""

    regions: bool
    trust: bool
    names: bool
    shown: NDArray[np.int64] | None  # rows, or None for all
    shown_name: str


def view_controls(place: Any, now: scene.Scene) -> ViewChoice:
    """Regions, trust mask, cluster names and the points shown."""
    regions = place.toggle(
        "Regions",
        key="regions",
        bind="query-params",
    )
    most = cached.runs.shown_rows(now.run)
    with place.popover("View"):
        trust = st.toggle(
            "Hatch where the picture is unreliable",
            key="trust",
            value=True,
            persist_state="session",
            help="Drawn with the regions: there, going from the map to the embedding and back "
            "leads elsewhere.",
        )
        names = st.toggle(
            "Cluster names and sizes", key="names", value=True, persist_state="session"
        )
        shown = st.segmented_control(
            "Points shown",
            [*_SHOWN],
            default="All",
            required=True,
            key="points",
            persist_state="session",
            format_func=lambda name: name if name != "All" or most is None else f"{len(most):,}",
            help="Fewer points are a fixed sample, each cluster with its share.",
        )
    count = _SHOWN[shown or "All"]
    rows = most if count is None else cached.runs.shown_rows(now.run, count)
    return ViewChoice(bool(regions), bool(trust), bool(names), rows, shown or "All")


def about_map(place: Any, arrays: MapArrays) -> None:
    """What a UMAP map does not tell, with this map's own figures."""
    with place.popover("About"):
        st.markdown(
            "**What UMAP does not tell you**\n\n"
            "- How large a cluster looks says nothing about how varied it is.\n"
            "- The distance between two clusters says little; empty space is no measure.\n"
            "- Two dots side by side may be far apart in the embedding. "
            "The inspector's neighbours are found in the embedding, not on the map.\n"
            "- Axes have no meaning, nor has the angle."
        )
        sampled = 0 < arrays.among < len(arrays.xy)
        among = f" among {arrays.among:,} of the samples" if sampled else ""
        st.markdown(
            f"**This map.** Trustworthiness {arrays.trustworthiness:.3f} (15 neighbours{among}; "
            f"1 is perfect), {arrays.held_out:.3f} on samples that nothing was fitted on. Going "
            f"from the map to the embedding and back errs by {arrays.error:.0%} of the embedding's "
            f"spread in the median. Seed {arrays.seed}."
        )


def status(now: scene.Scene, arrays: MapArrays, choice: ViewChoice) -> str:
    """The line under the title."""
    n = len(arrays.xy)
    count = f"{n:,}" if choice.shown is None else f"{len(choice.shown):,} of {n:,}"
    parts = [notes.data_line(now), f"{count} {arrays.split} images"]
    parts.append(f"map computed ahead, seed {arrays.seed}")
    device = cached.models.device_in_use(now.run, now.device)
    return " · ".join([*parts, device] if device else parts)


@st.fragment
def explore_map(now: scene.Scene, arrays: MapArrays, choice: ViewChoice) -> None:
    """The map and all that follows it: entries, selection, table of clusters."""
    with notes.calm():
        _explore_map(now, arrays, choice)


def _explore_map(now: scene.Scene, arrays: MapArrays, choice: ViewChoice) -> None:
    _, row = entries.entries(now, len(arrays.xy))
    truth = cached.images.truth(arrays)
    path = cached.runs.path(now.ask)
    cluster = _picked_cluster()
    if cluster != st.session_state.get("zoomed_cluster"):
        st.session_state["zoomed_cluster"] = cluster
        entries.order_map(zoom="all" if cluster is None else cluster)
    order = entries.take_order()
    colour, note = now.colour, ""
    if path is None and COLOURS[colour].needs_path:
        comes = COLOURS[colour].title.lower()
        colour, note = "cluster", f"No path of this attack yet: {comes} comes with it. See Attack."
    probe, probe_waits = _probe(now, arrays)
    detail, pin_waits = (None, False) if row is None else _detail(now, arrays, path, row)
    state = cluster_map(
        _view(now, arrays, choice, path, truth),
        key="map_explore",
        options=MapOptions(
            colour=colour,
            note=note,
            show_labels=choice.names,
            tint=choice.regions,
            edges=choice.regions,
            trust=choice.regions and choice.trust,
            highlight_cluster=cluster,
        ),
        pin=row,
        detail=detail,
        probe=probe,
        select=order.get("select"),
        zoom=order.get("zoom"),
        on_pin_change=_set_pin,
        on_event=entries.reject_stale,
        on_probe=_set_probe,
    )
    if row is not None and pin_waits:
        with st.spinner(notes.model_note("decoding the image"), show_time=True):
            cached.models.attempt(
                "image", row, lambda: cached.models.reconstruction(now.run, row, now.device)
            )
        shell.redraw()
    if probe_waits:
        place = st.session_state["probe"]
        with st.spinner(notes.model_note("decoding the image there"), show_time=True):
            cached.models.attempt(
                "probe", place, lambda: cached.models.probe(now.run, place, now.device)
            )
        shell.redraw()
    selection.draw(state, arrays, truth, path, row)
    _cluster_table(now, arrays, truth, path)


def _view(
    now: scene.Scene,
    arrays: MapArrays,
    choice: ViewChoice,
    path: AttackPath | None,
    truth: cached.images.Truth,
) -> MapView:
    which = (now.run.name, now.run.map_stamp, now.key)
    about = "" if path is None else f"{len(path.rows)} {path.weights} {path.ahead}"
    p = arrays.p
    return MapView(
        key=f"explore {which} {about} {choice.shown_name}",
        mode="explore",
        xy=arrays.xy,
        clusters=arrays.labels,
        k=p.shape[1],
        ramps=ramps(arrays, path, now.dial.end),
        labels=truth.y,
        class_names=truth.names,
        raster=arrays.raster,
        path=path,
        end=now.dial.end,
        attack_name=scene.attack_name(now.attack),
        strength_unit=now.unit,
        shown=choice.shown,
        sprites=cached.images.sprites(arrays.data, arrays.split),
        probe=True,
        alt=sentences.map_sentence(arrays, now.run.name),
    )


def _detail(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, row: int
) -> tuple[Pin, bool]:
    """What is known of the pinned sample, and whether its reconstruction is still to come."""
    near = cached.runs.neighbours(arrays, row)
    images = cached.images.images_or_none(arrays)
    found = cached.models.reconstruction(now.run, row, now.device, compute=False)
    waits = found is None and now.run.has_weights and images is not None
    smallest, note = None, ""
    if path is not None and len(at := np.flatnonzero(path.rows == row)):
        smallest = float(path.smallest[at[0]])
        note = f"{scene.attack_name(now.attack)}, {now.unit}"
    return Pin(
        row=row,
        image=None if images is None else images[row],
        p=arrays.p[row : row + 1].astype(np.float32),
        smallest=smallest,
        smallest_note=note,
        reconstruction=found[0] if found else None,
        neighbours=near.rows,
        near=near.near,
        neighbour_images=None if images is None else images[near.rows],
        note=cached.models.failure("image", row),
    ), waits and not cached.models.failure("image", row)


def _probe(now: scene.Scene, arrays: MapArrays) -> tuple[Probe | None, bool]:
    """The answer for the place that was clicked, and whether its image is still to come."""
    place: tuple[float, float] | None = st.session_state.get("probe")
    if place is None:
        return None, False
    p, trusted = regions.look_up(arrays.raster, place)
    if not now.run.card.decodes:
        return Probe(*place, p, trusted=trusted, note=_NO_IMAGE), False
    found = cached.models.probe(now.run, place, now.device, compute=False)
    if found is None:
        failed = cached.models.failure("probe", place)
        waits = now.run.has_weights and not failed
        return Probe(*place, p, trusted=trusted, note=failed), waits
    note = _NO_IMAGE if found.image is None else ""
    return Probe(*place, found.p, image=found.image, trusted=found.trusted, note=note), False


def _cluster_table(
    now: scene.Scene, arrays: MapArrays, truth: cached.images.Truth, path: AttackPath | None
) -> None:
    frame = frames.cluster_frame(arrays, truth.y, path)
    st.subheader("Clusters", anchor=False)
    attacked = "no path computed for this attack" if path is None else f"{len(path.rows):,} samples"
    st.caption(
        f"Select a row to see that cluster alone. Smallest strength: "
        f"{scene.attack_name(now.attack)}, {now.unit}, {attacked}."
        + (" Purity uses the true labels, which no model saw." if truth.y is not None else "")
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        key=_table_key(),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        alt="Clusters: size, purity, margin and smallest strength",
        column_config={
            "cluster": number("Cluster", width="small"),
            "size": number("Size", format="localized"),
            "purity": number("Purity", format="percent", help="Share of its most frequent class."),
            "mean margin": number(
                "Mean margin",
                format="%.3f",
                help="Gap between the two largest soft assignments: 1 is certain, 0 undecided.",
            ),
            "samples attacked": number("Samples attacked", format="localized"),
            "median smallest strength": number(
                "Median smallest strength",
                format="%.4f",
                help="Half of its attacked samples leave below this. Blank: at least half never "
                "leave.",
            ),
        },
    )


def _table_key() -> str:
    return f"clusters_table_{st.session_state.get('generation', 0)}"


def _picked_cluster() -> int | None:
    rows = st.session_state.get(_table_key(), {}).get("selection", {}).get("rows", [])
    return int(rows[0]) if rows else None


def _set_pin(row: int | None) -> None:
    st.session_state["probe"] = None
    entries.set_pin(row)


def _set_probe(x: float, y: float) -> None:
    st.session_state["probe"] = (float(x), float(y))
