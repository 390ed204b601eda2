"""The parts of Attack: the map with the dial, what is computed on demand, figures and files."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from clustcore.types import AttackPath, MapArrays
from ui import cached, notes, scene, shell
from ui.cluster_map import COLOURS, MapOptions, MapView, Pin, cluster_map, ramps
from ui.parts import frames, selection, sentences
from ui.parts.compute import changed, stale
from ui.scene import entries

_FONT = {"font_family": "Source Sans, sans-serif"}
_WRITES = (
    "An attack in the embedding needs write access to the embedding: someone who can only send "
    "images to the model cannot make it."
)
_NO_IMAGES = "No attacked images: the weights of this model, or its data, are not here."


def controls(place: Any) -> bool:
    """Whether only those that moved are drawn."""
    return place.toggle(
        "Only moved",
        key="only_moved",
        persist_state="session",
    )


def control_of(ask: cached.runs.Ask) -> cached.runs.Ask:
    """The random noise of equal size that stands beside every attack."""
    return ask.under(attack="noise", target=None, seed=0)


def status(now: scene.Scene, arrays: MapArrays, path: AttackPath | None) -> str:
    """The line under the title."""
    parts = [notes.data_line(now), scene.attack_name(now.attack)]
    if path is None:
        parts.append("not computed yet")
    else:
        parts[-1] += f" on {len(path.rows):,} of {len(arrays.xy):,} {arrays.split} images"
        when = "computed ahead" if path.ahead else "computed here"
        parts.append(f"{when}, seed {path.seed}")
    if stale(now.ask):
        parts.append("an old attacker, fitted on other weights: it under-reports")
    fitted = changed(cached.runs.attacker_settings(now.run, now.attack))
    if fitted:
        parts.append(f"attacker fitted with {fitted}")
    device = cached.models.device_in_use(now.run, now.device)
    if device:
        parts.append(device)
    return " · ".join(parts)


@st.fragment
def attack_map(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, only_moved: bool
) -> None:
    """The map with its dial and all that follows a release: entries, selection, files."""
    with notes.calm():
        _attack_map(now, arrays, path, only_moved)


def _attack_map(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, only_moved: bool
) -> None:
    strength, row = entries.entries(now, len(arrays.xy))
    truth = cached.images.truth(arrays)
    noise = None if now.attack == "noise" else cached.runs.path(control_of(now.ask))
    order = entries.take_order()
    colour = "cluster" if path is None and COLOURS[now.colour].needs_path else now.colour
    what = (now.run.name, row, now.key)
    failed = cached.models.failure("pin", what)
    detail, waits = (None, False) if row is None else _detail(now, arrays, path, row, failed)
    state = cluster_map(
        _view(now, arrays, path, noise, truth, strength),
        key="map_attack",
        options=MapOptions(
            colour=colour,
            only_moved=only_moved,
            note="" if path else "Paths not computed yet: these are the clean samples.",
        ),
        strength=strength,
        pin=row,
        detail=detail,
        pin_note=failed or notes.model_note(f"computing the path of sample {row}"),
        select=order.get("select"),
        zoom=order.get("zoom"),
        on_strength_change=entries.set_strength,
        on_pin_change=entries.set_pin,
        on_event=entries.reject_stale,
    )
    if row is not None and waits:
        with st.spinner(notes.model_note(f"computing the images of sample {row}"), show_time=True):
            cached.models.attempt(
                "pin", what, lambda: cached.models.pin_frames(now.ask, row, now.device)
            )
        shell.redraw()
    st.caption(sentences.sentence(path, strength, now.dial.end))
    if now.space == "embedding":
        st.caption(_WRITES)
    selection.draw(
        state,
        arrays,
        truth,
        path,
        row,
        empty="Nothing selected. Drag a shape on the map, or click a cell of the flow.",
    )
    if path is not None:
        st.download_button(
            f"Moved samples at strength {sentences.strength_text(strength)} (CSV)",
            lambda: frames.csv(frames.moved_frame(path, strength, now.dial.end)),
            file_name=f"moved-{now.run.name}-{now.attack}-{now.space}-{now.norm}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _view(
    now: scene.Scene,
    arrays: MapArrays,
    path: AttackPath | None,
    noise: AttackPath | None,
    truth: cached.images.Truth,
    strength: float,
) -> MapView:
    which = (now.key, bool(path), bool(noise), now.run.path_stamp(now.key))
    made_of = (now.run.name, now.run.map_stamp, now.run.card.weights_sha256)
    return MapView(
        key=f"attack {made_of} {which}",
        mode="attack",
        xy=arrays.xy,
        clusters=arrays.labels,
        k=arrays.p.shape[1],
        ramps=ramps(arrays, path, now.dial.end),
        labels=truth.y,
        class_names=truth.names,
        path=path,
        noise=None if path is None else noise,
        end=now.dial.end,
        attack_name=scene.attack_name(now.attack),
        strength_unit=now.unit,
        sprites=cached.images.sprites(arrays.data, arrays.split),
        alt=sentences.sentence(path, strength, now.dial.end),
    )


def _detail(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, row: int, failed: str
) -> tuple[Pin | None, bool]:
    """What is known of the pinned sample, and whether its attacked images are still to come."""
    images = cached.images.images_or_none(arrays)
    image = None if images is None else images[row]
    if path is None:
        return Pin(row, image=image), False
    at = np.flatnonzero(path.rows == row)
    near = cached.runs.neighbours(arrays, row)
    found = cached.models.pin_frames(now.ask, row, now.device, compute=False)
    loadable = images is not None and now.run.has_weights
    waits = found is None and loadable and not failed
    if found is None and not len(at):
        return (None if waits else Pin(row, image=image, note=failed or _NO_IMAGES)), waits
    one, i = (path, int(at[0])) if found is None else (found.path, 0)
    smallest = float(one.smallest[i])
    remarks = []
    if int(arrays.labels[row]) == now.target:
        remarks.append(f"This sample is in cluster {now.target} already.")
    if found is None:
        remarks.append(failed or ("The attacked images follow." if waits else _NO_IMAGES))
    elif found.frames is None and found.decoded is None:
        remarks.append("This model has no decoder: a changed embedding has no image.")
    return Pin(
        row,
        image=image,
        frames=None if found is None else found.frames,
        decoded=None if found is None else found.decoded,
        p=one.p[:, i],
        xy=one.xy[:, i],
        clusters=one.labels[:, i],
        l2=one.l2[:, i],
        smallest=smallest,
        neighbours=near.rows,
        near=near.near,
        neighbour_images=None if images is None else images[near.rows],
        note=" ".join(remarks),
    ), waits


def figures(now: scene.Scene, path: AttackPath | None) -> None:
    """Static figures and the smallest flips, drawn once opened: plotly is a large download."""
    box = st.expander("Figures: security curve, smallest flips", on_change="rerun", key="figures")
    if path is None or not box.open:
        if path is None and box.open:
            box.caption("There is no figure before the path is computed.")
        return
    from clustcore import measures
    from clustcore.measures import figures as draw

    theme: draw.Theme = "dark" if st.context.theme.type == "dark" else "light"
    noise = None if now.attack == "noise" else cached.runs.path(control_of(now.ask))
    curve = measures.security_curve(path, noise=noise, seed=now.seed)
    data = f"{now.data_label}, {now.run.name}"
    about = f"{data}, {scene.attack_name(now.attack)}"
    axis = draw.strength_title(now.space, now.norm)
    left, right = box.columns(2)
    shown = draw.security_curve(
        curve.strengths,
        curve.moved,
        curve.low,
        curve.high,
        curve.noise,
        axis=axis,
        caption=draw.Caption(about, curve.n, path.seed),
        theme=theme,
    )
    left.plotly_chart(shown.update_layout(_FONT), theme=None, key="security_curve")
    table = cached.runs.min_flips(now.run, now.space, now.norm)
    if table is None:
        right.caption("No table of smallest flips was computed for this space and norm.")
        return
    shown = draw.survival(
        {"min_flip": measures.survival(table.smallest)},
        axis=axis,
        caption=draw.Caption(f"{data}, min_flip", len(table.rows), table.seed),
        theme=theme,
    )
    right.plotly_chart(shown.update_layout(_FONT), theme=None, key="survival")
    right.caption(
        f"Median smallest flip {sentences.median_flip(table.smallest)}. The search runs on beyond "
        "the dial's end, and is another search than the dial's."
    )
