"""The rail: the scene's widgets, in the sidebar and in the head row of a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from clustcore.attacks import learned
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.runs import RunInfo, list_runs
from clustcore.types import Norm, PathKey, Space
from ui import cached, notes, shell
from ui.cluster_map import COLOURS
from ui.scene import entries
from ui.scene import state as scene

# the settings of a fit that the screen offers, and by what steps
_FIT = {
    "weight_y": ("Attacker's w", 10.0),
    "weight_x": ("Attacker's weight of the image", 0.5),
    "epochs": ("Attacker's epochs", 1),
}
_VIEW = ("only_moved", "regions", "trust", "names", "points", "seed", *(f"fit_{k}" for k in _FIT))
_RESET_HELP = (
    "Attack, space, norm, strength, target, colour, pin and view go back to where they began."
)


def draw(page: str, head: Any) -> scene.Scene | None:
    """The scene's widgets: in the sidebar and, for what a page is about, in its head row.

    Args:
        page: "Explore", "Attack" or "Compare".
        head: a horizontal container: space, norm and target on Attack, the colouring on Explore,
            both models on Compare.

    Returns:
        None where there is no run to show.
    """
    shell.page_list()
    offered = scene.usable(list_runs())
    if not offered:
        return None
    side = st.sidebar
    side.divider()
    side.subheader("Scene", anchor=False)
    run, partner = _models(page, head, offered)
    attack, space, norm, target = _attack(page, head, run)
    entry_slot = side.container()
    dataset = run.dataset
    colours = [c for c in COLOURS if c != "label" or cached.images.has_labels(dataset)]
    if page != "Explore":
        colour = _select(side, "Colour", "colour", colours)
    else:
        colour = _segments(head, "Colour", "colour", colours)
    device, seed, fit = _more(page, attack)
    buttons = side.container(horizontal=True)
    link_slot = buttons.container(width="content")
    buttons.button("Reset", icon=":material/restart_alt:", on_click=_reset, help=_RESET_HELP)
    kept = {"dataset": dataset, "run": run.name, "attack": attack, "space": space}
    kept |= {"target": target, "colour": colour} | ({"partner": partner.name} if partner else {})
    st.session_state["scene"].update(kept | ({} if space == "embedding" else {"norm": norm}))
    aim = target if page == "Attack" and target != scene.UNTARGETED else None
    return scene.Scene(
        page=page,
        run=run,
        partner=partner,
        key=PathKey(attack, space, norm, aim, seed),
        colour=colour,
        device=device,
        fit=fit,
        entry_slot=entry_slot,
        link_slot=link_slot,
    )


def _models(page: str, head: Any, offered: Sequence[RunInfo]) -> tuple[RunInfo, RunInfo | None]:
    """The data set, and of its models the one to show; on Compare the one beside it too."""
    data = [*dict.fromkeys(run.dataset for run in offered)]
    dataset = _select(st.sidebar, "Data set", "dataset", data, on_change=_other_data)
    named = {run.name: run for run in offered if run.dataset == dataset}
    if page == "Compare":
        return _two_models(head, named)
    return named[_select(st.sidebar, "Model", "run", [*named], on_change=_other_run)], None


def _attack(page: str, head: Any, run: RunInfo) -> tuple[str, Space, Norm, Any]:
    """The attack, its space, its norm and what it aims at."""
    attack = _select(
        st.sidebar,
        "Attack",
        "attack",
        scene.attacks(st.session_state.get("space", "pixels")),
        help=None if page != "Explore" else "Its smallest strengths are the fragility shown here.",
    )
    place = head if page == "Attack" else st.sidebar
    space = _segments(place, "Space", "space", [*scene.LABELS["space"]], on_change=_other_dial)
    norm = _norm(place, space)
    target = st.session_state["scene"].get("target", scene.UNTARGETED)
    if page == "Attack":
        aims, bare = scene.targets(run, attack), {"label_visibility": "collapsed", "width": 140}
        target = _select(head, "Target", "target", aims, disabled=len(aims) == 1, **bare)
    return attack, space, norm, target


def _more(page: str, attack: str) -> tuple[str, int, ALRDCConfig | None]:
    """The device, the seed and, for a learned attack, the settings of a fit."""
    with st.sidebar.popover("More controls", icon=":material/tune:", width="stretch"):
        device = st.selectbox(
            "Device",
            [*scene.LABELS["device"]],
            format_func=lambda value: scene.label("device", value),
            key="device",
            persist_state="session",
            help="Where models run. Auto takes a GPU where there is one. Not part of a link.",
        )
        seed = st.number_input(
            "Seed",
            0,
            9999,
            key="seed",
            persist_state="session",
            help="Of the attack's random draws. What ships has seed 0.",
        )
        fit = _fit() if attack in learned() and page != "Explore" else None
    return device, int(seed), fit


def _fit() -> ALRDCConfig:
    """Entries for the settings of a fit, each from its field."""
    fields = {field.name: field for field in dataclasses.fields(ALRDCConfig)}
    values = {}
    for key, (name, step) in _FIT.items():
        kind, about = type(fields[key].default), fields[key].metadata["help"]
        values[key] = st.number_input(
            name,
            *map(kind, fields[key].metadata["range"]),
            value=fields[key].default,
            step=step,
            format="%d" if kind is int else "%g",
            key=f"fit_{key}",
            persist_state="session",
            help=notes.plain(f"{about[0].upper()}{about[1:]}. Not part of a link."),
        )
    return ALRDCConfig(**values)


def _two_models(head: Any, named: Mapping[str, RunInfo]) -> tuple[RunInfo, RunInfo | None]:
    """The pickers of Compare; a model without a map is offered only where none has one."""
    drawn = [name for name, run in named.items() if run.has_map] or [*named]
    asked = st.session_state.get("run")
    if asked in named and asked not in drawn:
        st.toast(f"{notes.plain(asked)} has no map yet: showing {notes.plain(drawn[0])}.")
    bare = {"label_visibility": "collapsed", "width": 190}
    run = named[_select(head, "Model A", "run", drawn, on_change=_other_run, **bare)]
    beside = scene.partners(run, [*named.values()])
    if not beside:
        return run, None
    head.button("Swap", icon=":material/swap_horiz:", on_click=_swap)
    return run, named[_select(head, "Model B", "partner", [o.name for o in beside], **bare)]


def _swap() -> None:
    state = st.session_state
    state["run"], state["partner"] = state["partner"], state["run"]
    _other_run()


def _select(
    place: Any, name: str, key: str, options: list[Any], on_change: Any = "rerun", **more: Any
) -> Any:
    _settle(key, options)
    return place.selectbox(
        name,
        options,
        format_func=lambda value: scene.label(key, value),
        key=key,
        bind="query-params",
        on_change=on_change,
        **more,
    )


def _segments(place: Any, name: str, key: str, options: list[Any], on_change: Any = "rerun") -> Any:
    _settle(key, options)
    in_head = name == "Colour" or st.session_state["page"] == "Attack"
    value = place.segmented_control(
        name,
        options,
        default=options[0],
        required=True,
        format_func=lambda value: scene.label(key, value),
        key=key,
        bind="query-params",
        on_change=on_change,
        label_visibility="collapsed" if in_head else "visible",
        width="content" if in_head else "stretch",
    )
    return options[0] if value is None else value  # None: `?key=` with nothing after it


def _norm(place: Any, space: Space) -> Norm:
    if space == "pixels":
        return _segments(place, "Norm", "norm", [*scene.LABELS["norm"]], on_change=_other_dial)
    in_head = st.session_state["page"] == "Attack"
    place.segmented_control(  # the embedding knows one norm: shown, so that nothing jumps
        "Norm",
        ["L2"],
        default="L2",
        required=True,
        disabled=True,
        label_visibility="collapsed" if in_head else "visible",
        width="content" if in_head else "stretch",
    )
    return "l2"


def _settle(key: str, options: list[Any]) -> None:
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]


def _other_dial() -> None:
    if st.session_state["scene"].get("strength"):
        st.session_state["strength"] = 0.0
        st.session_state["scene"]["strength"] = 0.0
        st.toast("Another space, norm or data set has another dial: the strength is back at 0.")


def _other_data() -> None:
    _other_dial()
    _other_run()
    st.session_state["pin"] = ""
    st.session_state["last_pin"] = None
    st.session_state["scene"]["pin"] = ""


def _other_run() -> None:
    st.session_state["missing_run"] = ""


def _reset() -> None:
    for key, value in scene.DEFAULTS.items():
        st.session_state[key] = value
    st.session_state["scene"].update(scene.DEFAULTS)
    for key in (*_VIEW, "last_pin", "probe"):
        st.session_state.pop(key, None)
    st.session_state["generation"] = st.session_state.get("generation", 0) + 1
    entries.order_map(zoom="all", select=[])
