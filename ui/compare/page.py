"""The parts of Compare: twin maps under one dial, what is computed on demand, curves of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from clustcore.runs import RunInfo
from clustcore.types import AttackPath
from ui import attack, cached, notes, scene
from ui.cluster_map import (
    COLOURS,
    MapOptions,
    MapState,
    MapView,
    Partner,
    cluster_map,
    ramps,
    stratified,
)
from ui.compare import measurements, sentences
from ui.parts import compute, frames
from ui.parts import sentences as numbers
from ui.scene import entries

_SHOWN = 20_000  # base points of each map: both travel in one message
_FONT = {"font_family": "Source Sans, sans-serif"}
_MEASURED = (
    "Measured on the models that `python -m clustcore reproduce alrdc` trained, of which seed 0 of "
    "the full ones ships. The old attacker was fitted to the undefended model, and the paper's "
    "defence was trained against it; the others were fitted anew to each model. All shift the "
    "embedding as far as they learned to, not as far as the dial says: one that finds no cheap way "
    "stays short (rho), so of two attackers on a model the worse counts."
)
_BAR = (
    " The bar: at the budget where the attacks together have moved half of the undefended model's "
    "samples, the worst case moves at most a sixth of the defended one's, for at most 2 points of "
    "accuracy, at most 1.2 times the decoder's error, and half of each sample's 15 nearest "
    "neighbours kept."
)


def no_partner(now: scene.Scene) -> None:
    """There is no other model of these data: says which runs could be one."""
    name, data = notes.plain(now.run.name), notes.plain(now.data_label)
    st.info(
        f"A partner is another model of {data} with a map: one trained by another method, or "
        f"`{now.run.name}` itself, defended. "
        f"`python -m clustcore train --help` tells how to train one, and "
        f"`python -m clustcore project` makes its map. Until then {name} stands here alone; "
        "other data sets are at the left.",
        title=f"No partner for {now.run.name} yet",
        icon=":material/compare:",
    )


def warn(now: scene.Scene, paths: tuple[AttackPath | None, AttackPath | None]) -> None:
    """Say it where a defended model is not shown under an adaptive attack of equal budget."""
    a, b = paths
    if a is not None and b is not None and not sentences.same_samples(a, b):
        st.warning(
            f"The stored paths are of different samples: {len(a.rows):,} of "
            f"{notes.plain(now.run.name)} and {len(b.rows):,} of "
            f"{notes.plain(now.beside.name)}. Only the clean maps are shown.",
            title="These attacks cannot be compared",
            icon=":material/warning:",
        )
    found = sentences.warnings(now, paths)
    if found:
        st.warning(
            " ".join(found) + " A claim of robustness counts only under an attack made anew "
            "on the defended model, with at least the budget of the other.",
            title="This is no evidence of robustness",
            icon=":material/warning:",
        )


def asks(now: scene.Scene) -> tuple[list[cached.runs.Ask], list[cached.runs.Ask]]:
    """The paths that the page draws, of A and of B: the attack, and noise beside it."""
    found = []
    for run in (now.run, now.beside):
        ask = cached.runs.Ask(run, now.key, now.fit).under(target=None)
        found.append([ask] if now.attack == "noise" else [ask, attack.control_of(ask)])
    return found[0], found[1]


def offer(now: scene.Scene) -> None:
    """What is still to be computed, and what an old attacker must be fitted anew for."""
    missing = compute.missing([*asks(now)[0], *asks(now)[1]])
    afresh = any(ask.run.defended for ask in missing)
    label = compute.action(missing)
    if afresh and label != compute.ANEW:
        label = "Attack the defended model afresh"
    compute.offer(now, missing, label)


@st.fragment
def twin_maps(now: scene.Scene, found: cached.runs.Pair) -> None:
    """Both maps under one dial, and all that follows a release."""
    with notes.calm():
        _twin_maps(now, found)


def _paths(
    now: scene.Scene, found: cached.runs.Pair
) -> tuple[list[AttackPath | None], list[AttackPath | None]]:
    """Of A and of B: the attack and its noise control, B's under A's numbers.

    None: not there, or of other samples than those of the other model.
    """
    of_a, of_b = asks(now)
    a = [cached.runs.path(ask) for ask in of_a]
    b = [cached.runs.partner_path(found, ask) for ask in of_b]
    if not all(sentences.same_samples(*both) for both in zip(a, b, strict=True)):
        return [None, None], [None, None]
    return [*a, None][:2], [*b, None][:2]


def _twin_maps(now: scene.Scene, found: cached.runs.Pair) -> None:
    strength, row = entries.entries(now, len(found.a.xy))
    a, b = _paths(now, found)
    of_a, of_b = a[0], b[0]
    both = of_a is not None and of_b is not None
    order = entries.take_order()
    colour = "cluster" if not both and COLOURS[now.colour].needs_path else now.colour
    said = sentences.sentence(now, of_a, of_b, strength)
    state = cluster_map(
        _view(now, found, a, b, said),
        key="map_compare",
        options=MapOptions(
            colour=colour,
            note="" if both else "Paths not computed yet: these are the clean samples.",
        ),
        strength=strength,
        pin=row,
        select=order.get("select"),
        zoom=order.get("zoom"),
        on_strength_change=entries.set_strength,
        on_pin_change=entries.set_pin,
        on_event=entries.reject_stale,
    )
    st.caption(said)
    if row is not None:
        st.caption(sentences.pinned(now, found, of_a, of_b, row))
    _selection(state, of_a, of_b, strength, now)
    st.caption(sentences.maps_sentence(now, found))
    if of_a is not None and of_b is not None:
        st.download_button(
            "Attacked samples, both models (CSV)",
            lambda: frames.csv(_frame(of_a, of_b)),
            file_name=f"compared-{now.run.name}-{now.beside.name}-{now.attack}-{now.norm}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Sample, cluster and smallest strength under each model.",
        )


def _view(
    now: scene.Scene,
    found: cached.runs.Pair,
    a: list[AttackPath | None],
    b: list[AttackPath | None],
    alt: str,
) -> MapView:
    truth = cached.images.truth(found.a)
    both = a[0] is not None and b[0] is not None
    noise = both and a[1] is not None and b[1] is not None
    which = (now.key, both, noise, *(one[0].run.path_stamp(one[0].key) for one in asks(now)))
    shown = stratified(found.a.labels, _SHOWN) if len(found.a.xy) > _SHOWN else None
    return MapView(
        key=f"compare {found.key} {which}",
        mode="compare",
        xy=found.a.xy,
        clusters=found.a.labels,
        k=found.a.p.shape[1],
        ramps=ramps(found.a, a[0] if both else None, now.dial.end),
        labels=truth.y,
        class_names=truth.names,
        path=a[0] if both else None,
        noise=a[1] if noise else None,
        end=now.dial.end,
        attack_name=scene.attack_name(now.attack),
        strength_unit=now.unit,
        shown=shown,
        sprites=cached.images.sprites(found.a.data, found.a.split),
        alt=alt,
        name=now.run.title,
        aside=_aside(now.run),
        partner=Partner(
            name=now.beside.title,
            aside=_aside(now.beside),
            xy=found.b.xy,
            clusters=found.b.labels,
            ramps=ramps(found.b, b[0] if both else None, now.dial.end),
            path=b[0] if both else None,
            noise=b[1] if noise else None,
        ),
    )


def _aside(run: RunInfo) -> str:
    scores = run.card.scores
    if scores is None or scores.acc is None:
        return ""
    return f"accuracy on clean images {100 * scores.acc:.1f} %"


def _selection(
    state: MapState,
    a: AttackPath | None,
    b: AttackPath | None,
    strength: float,
    now: scene.Scene,
) -> None:
    rows = state.selection
    if not len(rows):
        return
    text = f"**{len(rows):,}** selected, by {notes.plain(state.selected_by)}."
    if a is not None and b is not None:
        left, both, right, neither = sentences.counts(a, b, strength, now.dial.end, rows)
        n = left + both + right + neither
        text += (
            f" Of the {n:,} attacked ones {left:,} left their cluster only in "
            f"{notes.plain(now.run.name)}, {both:,} in both, {right:,} only in "
            f"{notes.plain(now.beside.name)}."
        )
    place = st.container(horizontal=True, vertical_alignment="center")
    place.markdown(text, width="content")
    place.button("Clear", icon=":material/close:", on_click=_clear)


def _clear() -> None:
    entries.order_map(select=[])


def _frame(a: AttackPath, b: AttackPath) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "sample": a.rows,
            "cluster_a": a.labels[0],
            "cluster_b": b.labels[0],
            "smallest_strength_a": a.smallest,
            "smallest_strength_b": b.smallest,
        }
    )


def figures(now: scene.Scene, found: cached.runs.Pair) -> None:
    """Curves of both models with bands, drawn once opened: plotly is a large download."""
    box = st.expander(
        "Curves: moved share, accuracy, NMI, purity; transfer", on_change="rerun", key="curves"
    )
    if not box.open:
        return
    a, b = _paths(now, found)
    of_a, of_b = a[0], b[0]
    if of_a is None or of_b is None:
        box.caption("There are no curves before both paths are computed.")
        return
    with box:
        moved = _transfer(now)
        _curves(now, found, (of_a, of_b), (a[1], b[1]), moved)


def _transfer(now: scene.Scene) -> Any:
    """The attack made on A and judged on B: asked for, worked out, or None."""
    if now.space != "pixels":
        st.caption("A change in one model's embedding means nothing in the other's: no transfer.")
        return None
    ask = asks(now)[0][0]
    found = cached.models.transfer(ask, now.beside, now.device)
    if found is not None:
        return found
    name = f"Attack {now.run.name}, judge on {now.beside.name}"
    if not all(run.has_weights for run in (now.run, now.beside)):
        st.caption("The weights of a model are missing: no transfer.")
        return None
    place = st.container(horizontal=True, vertical_alignment="center")
    seconds = numbers.duration(compute.estimate(ask))
    pressed = place.button(name, icon=":material/swap_calls:", key="transfer")
    place.caption(f"Makes the attacked images again: about {seconds} on a CPU.", width="content")
    if pressed:
        compute.work_through(
            {"transfer": lambda show: cached.models.transfer(ask, now.beside, now.device, show)}
        )
    return None


def _curves(
    now: scene.Scene,
    found: cached.runs.Pair,
    paths: tuple[AttackPath, AttackPath],
    controls: tuple[AttackPath | None, AttackPath | None],
    moved: Any,
) -> None:
    from clustcore import measures
    from clustcore.measures import figures as draw

    truth = cached.images.truth(found.a).y
    theme: draw.Theme = "dark" if st.context.theme.type == "dark" else "light"
    rows = paths[0].rows
    y = None if truth is None else truth[rows]
    names = (now.run.name, now.beside.name)
    curves, noise = {}, {}
    for name, arrays, path, control in zip(names, (found.a, found.b), paths, controls, strict=True):
        k = arrays.p.shape[1]
        match = None if truth is None else measures.matching(arrays.labels, truth, k)
        curves[name] = measures.bands(path, y, match, now.seed)
        if control is not None:
            noise[f"noise, {name}"] = measures.bands(control, y, match, now.seed)
    about = f"{now.data_label}, {scene.attack_name(now.attack)}"
    caption = draw.Caption(about, len(rows), now.seed)
    axis = draw.strength_title(now.space, now.norm)
    parts = [("moved", "How many samples leave their cluster", "moved (% of samples)")]
    if y is not None:
        parts += [
            ("acc", "Accuracy, clusters matched on clean data", "ACC (%)"),
            ("nmi", "NMI with the true classes", "NMI (%)"),
            ("purity", "Purity of the clusters", "purity (%)"),
        ]
    places = [*st.columns(2), *st.columns(2)]
    for place, (which, title, quantity) in zip(places, parts, strict=False):
        lines = {name: getattr(one, which) for name, one in curves.items()}
        if which == "moved" and moved is not None:
            hits = np.round(moved * len(rows)).astype(int)
            lines["transfer"] = measures.share_band(hits, len(rows))
        figure = draw.bands(
            paths[0].strengths,
            {name: (band.value, band.low, band.high) for name, band in lines.items()},
            {name: getattr(one, which).value for name, one in noise.items()},
            title=title,
            quantity=quantity,
            axis=axis,
            caption=caption,
            theme=theme,
        )
        place.plotly_chart(figure.update_layout(_FONT), theme=None, key=f"curve_{which}")
    st.caption(
        "Bands: 95 %. Moved share, accuracy and transfer by Wilson's interval, NMI and purity by "
        "1.96 bootstrap standard errors. Dotted: random noise of equal size."
        + (
            f" Transfer: made on {notes.plain(names[0])}, judged on {notes.plain(names[1])} "
            "against its own clean assignment."
            if moved is not None
            else ""
        )
    )


def judged(now: scene.Scene) -> None:
    """What `reproduce alrdc` measured on these data, where one of the models is ALRDC's."""
    if not any(run.card.model == "alrdc" for run in (now.run, now.partner) if run):
        return
    try:
        found = measurements.read(now.dataset)
    except ValueError as error:
        st.warning(
            f"{notes.report(error)} `python -m clustcore reproduce alrdc` measures anew.",
            title="The defence's measurements cannot be read",
            icon=":material/warning:",
        )
        return
    if not found:
        return
    st.subheader("The defence, judged", anchor=False)
    for one in found:
        st.caption(one.about)
        if one.gap:
            st.markdown(one.gap)
        _measured(one)
        if one.bars:
            st.markdown("\n".join(f"- {line}" for line in one.bars))
    st.caption(_MEASURED + (_BAR if any(one.bars for one in found) else ""))
    st.download_button(
        "All measurements, seed by seed (CSV)",
        lambda: frames.csv(measurements.frame(found)),
        file_name=f"alrdc-{now.dataset}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _measured(one: measurements.Judged) -> None:
    import pandas as pd

    text = st.column_config.TextColumn
    st.dataframe(
        pd.DataFrame(one.rows),
        hide_index=True,
        height="content",
        row_height=58,  # the least at which lines break: between a mean and its spread
        alt="Each model under each attacker: accuracy, moved shares, length of the change",
        column_config={
            "Model": text("Model, attacker", width=156, pinned=True),
            **{f.title: text(f.title, help=f.help, width=80) for f in measurements.FIGURES},
        },
    )
