"""The parts of Home: what this is, the doors, the gallery of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from clustcore.runs import CardScores, RunInfo
from ui import cached, notes, scene, shell

_DOORS: tuple[tuple[str, Mapping[str, str], str, str], ...] = (  # page, its link, title, text
    (
        "Explore",
        {},
        "See what a model groups together",
        "Ten thousand images on one map. Hover for an image, pin one to ask about it, draw around "
        "some to take them along.",
    ),
    (
        "Attack",
        {},
        "See how little it takes",
        "Turn up the strength of an attack and watch samples drift into other clusters, beside "
        "random noise of equal size.",
    ),
    (
        "Explore",
        {"regions": "true"},
        "See where the edges run",
        "The regions of the clusters under the points, with a hatch where the picture cannot be "
        "trusted. Click on empty space to ask the model.",
    ),
)
_READINESS = {
    "ready": (":material/check_circle:", "ready"),
    "paths not computed yet": (":material/schedule:", "paths not computed yet"),
    "map not computed yet": (":material/map:", "map not computed yet"),
    "weights missing": (":material/key_off:", "weights missing"),
    "unfinished": (":material/hourglass_top:", "training not finished"),
    "broken": (":material/error:", "broken"),
}


def about() -> None:
    """One sentence on what this is."""
    st.markdown(
        "A lab for the robustness of deep clustering: it maps what a trained model groups "
        "together, attacks it, and shows which samples leave their cluster and how small a change "
        "that takes."
    )


def doors() -> None:
    """One way in for each job."""
    for place, (page, query, title, text) in zip(st.columns(3), _DOORS, strict=True):
        with place.container(border=True, height="stretch", gap="xsmall"):
            st.subheader(title, anchor=False)
            st.caption(text)
            st.page_link(
                shell.PAGES[page],
                label=f"Open {page}",
                icon=":material/arrow_forward:",
                query_params=query,
            )


def run_cards(runs: Sequence[RunInfo]) -> None:
    """A card per run: still map, data, model, defence, headline numbers, readiness.

    A broken card says why and is no link.
    """
    st.subheader("Models", anchor=False)
    if not runs:
        notes.no_runs()
        return
    good = scene.usable(runs)
    cards = st.grid("auto", min_column_width=300)
    for run in [*good, *(run for run in runs if run.problem)]:
        with cards.container(border=True, height="stretch", gap="xxsmall", key=f"card_{run.name}"):
            _broken(run) if run.problem else _card(run)
    if all(run.shipped for run in runs):
        st.caption("These runs ship with Driftmap. One of your own appears here once trained.")
        notes.to_train()


def _card(run: RunInfo) -> None:
    picture = cached.runs.still(str(run.folder), run.map_stamp)
    if picture is not None:
        st.image(picture, width="stretch", alt=f"Map of {run.name}: its clusters as clouds of dots")
    st.subheader(notes.plain(run.name), anchor=False)
    data = scene.label("dataset", run.dataset)
    defence = f"defence: {run.defence}" if run.defended else run.defence
    kind = f"{data} · {run.card.model.upper()} · {defence}"
    st.caption(notes.plain(kind))
    for line in headline(run.card.scores):
        st.caption(notes.plain(line))
    icon, word = _READINESS[run.readiness]
    st.caption(f"{icon} {word}" + ("" if run.shipped else " · your own"))
    st.page_link(
        shell.PAGES["Explore"],
        label=f"Explore {notes.plain(run.name)}",
        icon=":material/arrow_forward:",
        query_params={"dataset": data, "run": run.name},
    )


def _broken(run: RunInfo) -> None:
    st.subheader(notes.plain(run.name), anchor=False)
    icon, word = _READINESS["broken"]
    st.caption(f"{icon} {word}")
    st.caption(notes.say(ValueError(run.problem)))


def headline(scores: CardScores | None) -> list[str]:
    """A card's own figures in words, without those that it lacks."""
    if scores is None:
        return []
    lines = []
    if scores.clean:
        found = " · ".join(f"{name.upper()} {value:.3f}" for name, value in scores.clean.items())
        lines.append(found + ("" if scores.n is None else f" on {scores.n:,} images"))
    for entry in scores.attacked:
        if entry.moved is not None and entry.eps is not None:
            norm = scene.label("norm", entry.norm)
            name = scene.attack_name(entry.attack or "attack")
            n = "" if entry.n is None else f", n = {entry.n:,}"
            lines.append(f"{name}, {norm} {entry.eps:.3g}: {entry.moved:.1%} moved{n}")
            break
    return lines
