"""The scene: what every page shares (data set, model, attack, strength, pin, ...), in the URL too.

The URL holds what the widgets show ("Margin PGD"); links may hold the plain names too ("pgd").
Streamlit drops bound values on a page switch, so a plain copy is kept in the session and seeds the
widgets on arrival; a link wins over what was kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from clustcore.attacks import ATTACKS, LEARNED, WITHOUT_TARGET
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.datasets import DATASETS
from clustcore.defences import DEFENCES
from clustcore.models import MODELS
from clustcore.runs import RunInfo, list_runs
from clustcore.types import Dial, dial
from ui import datasets, loaders, panels

KEYS = (
    "dataset",
    "run",
    "partner",
    "attack",
    "space",
    "norm",
    "strength",
    "target",
    "colour",
    "pin",
)
UNTARGETED = "untargeted"  # a select box takes None for "nothing chosen"
DEFAULTS = {
    "attack": "pgd",
    "space": "pixels",
    "norm": "linf",
    "strength": 0.0,
    "target": UNTARGETED,
    "colour": "cluster",
    "pin": "",
}
_LABELS = {
    "dataset": {
        "mnist": "MNIST",
        "fashion-mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "cifar10-jpeg": "CIFAR-10 (JPEG copy)",
        "cifar100-20": "CIFAR-100, 20 super-classes",
        "stl10": "STL-10",
        "imagenet-10": "ImageNet-10",
        "imagenet-dogs": "ImageNet-Dogs",
        "tiny-imagenet": "Tiny-ImageNet",
        "digits": "Digits, 8 x 8",
    },
    "attack": {
        "pgd": "Margin PGD",
        "fgsm": "FGSM",
        "noise": "Random noise",
        "exact": "Exact",
        "alrdc": "ALRDC",
        "alrdc-relu": "ALRDC (ReLU)",
    },
    "space": {"pixels": "Pixels", "embedding": "Embedding"},
    "norm": {"linf": "L∞", "l2": "L2"},
    "colour": {
        "cluster": "Cluster",
        "label": "True label",
        "confidence": "Confidence",
        "fragility": "Fragility",
    },
    "device": {"auto": "Auto", "cpu": "CPU", "cuda": "CUDA (NVIDIA)", "mps": "MPS (Apple)"},
}
_MEANS = {
    "L∞": "The largest change of a pixel, whose values go from 0 to 1",
    "L2": "The length of the change, pixel values from 0 to 1",
    "rho": "The length of the change in the embedding, in units of R: half the mean distance from "
    "a cluster's mean to the nearest other one",
}
# the settings of a fit that the screen offers, and by what steps
_FIT = {
    "weight_y": ("Attacker's w", 10.0),
    "weight_x": ("Attacker's weight of the image", 0.5),
    "epochs": ("Attacker's epochs", 1),
}
_VIEW = ("only_moved", "regions", "trust", "names", "points", "seed", *(f"fit_{k}" for k in _FIT))


@dataclass(frozen=True)
class Scene:
    """What a page's widgets say. Strength and pin live in the map's fragment: see `entries`."""

    page: str
    run: RunInfo
    partner: RunInfo | None  # on Compare: the model beside it
    dataset: str
    attack: str
    space: str
    norm: str
    target: int | None
    colour: str
    device: str
    seed: int
    fit: ALRDCConfig | None  # what a learned attack's attacker is to be fitted with
    entry_slot: Any  # sidebar containers that the map's fragment writes into
    link_slot: Any

    @property
    def ask(self) -> loaders.Ask:
        """Which path the map shows."""
        where = (self.attack, self.space, self.norm, self.target, self.seed, self.fit)
        return loaders.Ask(self.run, *where)

    @property
    def data_label(self) -> str:
        """What the data set is called."""
        return label("dataset", self.dataset)

    @property
    def dial(self) -> Dial:
        """The range of the strength for this data set, space and norm."""
        return dial(self.dataset, self.space, self.norm)

    @property
    def unit(self) -> str:
        """What the strength measures, as written beside it."""
        return "rho" if self.space == "embedding" else label("norm", self.norm)


def label(key: str, value: Any) -> str:
    """What the widget of this key, and so the URL, shows for a value."""
    if key == "dataset" and str(value).startswith("folder:"):
        return f"Folder {value[7:]}"
    if key == "target":
        return "Untargeted" if value == UNTARGETED else f"Into cluster {value}"
    return _LABELS.get(key, {}).get(value, str(value))


def attack_name(attack: str) -> str:
    """An attack inside a sentence."""
    return {"pgd": "margin PGD", "noise": "random noise", "exact": "exact"}.get(
        attack, label("attack", attack)
    )


def attacks(space: str) -> list[str]:
    """The attacks a dial can show in this space.

    `exact` and ALRDC's know the embedding only, and `min_flip` has no strength of its own.
    """
    hidden = {"min_flip"} | ({"exact", *LEARNED} if space == "pixels" else set())
    return sorted((name for name in ATTACKS if name not in hidden), key=lambda name: name != "pgd")


def dataset_of(run: RunInfo) -> str:
    """The name of the data a run was trained on."""
    return run.card["data"]["name"]


def clusters(run: RunInfo) -> int:
    """The clusters of a run, from its card; 0 where the card does not say."""
    count = run.card["config"].get("clusters", 0)
    return count if isinstance(count, int) and 0 < count <= 255 else 0


def targets(run: RunInfo, attack: str) -> list[str | int]:
    """What an attack can aim at: anywhere, or one cluster where it knows a way there."""
    return [UNTARGETED] if attack in WITHOUT_TARGET else [UNTARGETED, *range(clusters(run))]


def usable(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs a picker offers, the first being the default.

    No broken ones; MNIST first, ready ones before others, then by the order of the registries.
    """
    data, models = ["mnist", "fashion-mnist", *DATASETS], [*MODELS]

    def rank(run: RunInfo) -> tuple[int, ...]:
        name, model = dataset_of(run), run.card["model"]
        return (
            data.index(name) if name in data else len(data),
            int(run.readiness != "ready"),
            models.index(model) if model in models else len(models),
        )

    return sorted((run for run in runs if not run.problem), key=rank)


def partners(run: RunInfo, runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs that Compare can put beside one, the first being the default.

    Those of the same data that have maps: first a model that was made from this one by a defence,
    by the order of the registry, then the one that it was made from.
    """

    def rank(other: RunInfo) -> tuple[int, int]:
        if _origin(other) == run.name:
            known, name = [*DEFENCES], panels.defence(other)
            return 0, known.index(name) if name in known else len(known)
        return (1 if _origin(run) == other.name else 2), 0

    data = dataset_of(run)
    same = [one for one in usable(runs) if dataset_of(one) == data and one.name != run.name]
    return sorted((one for one in same if has_map(one)), key=rank)


def has_map(run: RunInfo) -> bool:
    """Whether a run can be drawn."""
    return (run.folder / "map.npz").is_file()


def _origin(run: RunInfo) -> str | None:
    """The run that a defended one was made from."""
    found = run.card.get("defence")
    return found.get("from") if isinstance(found, dict) else None


def resolve(
    query: Mapping[str, str], runs: Sequence[RunInfo], kept: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The scene that a link asks for, on top of the one that was kept.

    Args:
        query: the parameters of the URL: what a widget shows, or plain names.
        runs: all runs there are.
        kept: the scene of the page before; empty on a fresh server.

    Returns:
        a value for every key, each valid beside the others, and one sentence for each part of
        the link that is not. Nothing where there is no run to show.
    """
    link = {key: query[key].strip() for key in KEYS if query.get(key, "").strip()}
    problems: list[str] = []

    def choose(key: str, options: Sequence[Any], default: Any) -> Any:
        if key in link:
            for option in options:
                if link[key].casefold() in (label(key, option).casefold(), str(option).casefold()):
                    return option
            what = {"dataset": "data set", "run": "model", "colour": "colouring"}.get(key, key)
            shown = label(key, default) or "none, since there is none"
            problems.append(f"The link's {what} {link[key][:40]!r} is unknown: showing {shown}.")
        return kept[key] if key in kept and kept[key] in options else default

    offered = usable(runs)
    if not offered:
        return {}, []
    named = {run.name.casefold(): run for run in offered}
    asked = named.get(link.get("run", "").casefold())
    if asked and "dataset" not in link:
        link["dataset"] = dataset_of(asked)
    data = [*dict.fromkeys(dataset_of(run) for run in offered)]
    values = {"dataset": choose("dataset", data, data[0])}
    names = [run.name for run in offered if dataset_of(run) == values["dataset"]]
    values["run"] = choose("run", names, names[0])
    run = named[values["run"].casefold()]
    beside = [one.name for one in partners(run, runs)]
    stranger = named.get(link.get("partner", "").casefold())
    if stranger is not None and dataset_of(stranger) != values["dataset"]:
        del link["partner"]
        one, other = label("dataset", values["dataset"]), label("dataset", dataset_of(stranger))
        problems.append(
            f"{run.name} is of {one} and {stranger.name} of {other}: they cannot be compared."
        )
    values["partner"] = choose("partner", beside, beside[0] if beside else "")
    for key in ("space", "norm", "colour"):
        values[key] = choose(key, [*_LABELS[key]], DEFAULTS[key])
    values["attack"] = choose("attack", attacks(values["space"]), DEFAULTS["attack"])
    values["target"] = choose("target", targets(run, values["attack"]), UNTARGETED)
    same = all(kept.get(key, values[key]) == values[key] for key in ("dataset", "space", "norm"))
    values["strength"] = kept.get("strength", 0.0) if same else 0.0
    end = dial(values["dataset"], values["space"], values["norm"]).end
    if "strength" in link:
        strength = _number(link["strength"])
        if strength is None or not 0 <= strength <= end:
            got = link["strength"][:20]
            problems.append(
                f"The link's strength {got!r} is no number from 0 to {end:g}: starting at 0."
            )
            values["strength"] = 0.0
        else:
            values["strength"] = strength
    values["pin"] = kept.get("pin", "") if kept.get("dataset") == values["dataset"] else ""
    if "pin" in link:
        # the box shows what the link says whatever stands here, and `entries` speaks of it
        values["pin"] = link["pin"] if link["pin"].isdecimal() else ""
    return values, problems


def missing_run(name: str, runs: Sequence[RunInfo]) -> str:
    """Why the run that a link names cannot be shown, and what makes it; else empty."""
    found = {run.name.casefold(): run for run in runs}.get(name.casefold())
    if not name or (found and not found.problem):
        return ""
    if found:
        return f"{name[:80]}: {found.problem}."
    return (
        f"There is no card.json of a run {name[:80]!r} in assets/runs or runs; "
        "`python -m clustcore train` makes runs."
    )


def arrive(page: str) -> None:
    """Seed the widgets on arrival at a page: from the link, else from what was kept.

    Call it before any widget.
    """
    kept = st.session_state.setdefault("scene", {})
    if st.session_state.get("page") == page:
        return
    st.session_state["page"] = page
    if page in ("Home", "Train"):  # they draw no scene: what was kept waits for the next page
        return
    query, runs = dict(st.query_params), list_runs()
    values, problems = resolve(query, runs, kept)
    for key, value in values.items():
        st.session_state[key] = value
    kept.update(values)
    for problem in problems:
        st.toast(panels.plain(problem), icon=":material/link_off:")
    st.session_state["missing_run"] = missing_run(query.get("run", "").strip(), runs)


def draw(page: str, head: Any) -> Scene | None:
    """The scene's widgets: in the sidebar and, for what a page is about, in its head row.

    Args:
        page: "Explore", "Attack" or "Compare".
        head: a horizontal container: space, norm and target on Attack, the colouring on Explore,
            both models on Compare.

    Returns:
        None where there is no run to show.
    """
    panels.page_list()
    offered = usable(list_runs())
    if not offered:
        return None
    side = st.sidebar
    side.divider()
    side.subheader("Scene", anchor=False)
    data = [*dict.fromkeys(dataset_of(run) for run in offered)]
    dataset = _select(side, "Data set", "dataset", data, on_change=_other_data)
    named = {run.name: run for run in offered if dataset_of(run) == dataset}
    partner = None
    if page == "Compare":
        run, partner = _two_models(head, named)
    else:
        run = named[_select(side, "Model", "run", [*named], on_change=_other_run)]
    attack = _select(
        side,
        "Attack",
        "attack",
        attacks(st.session_state.get("space", "pixels")),
        help=None if page != "Explore" else "Its smallest strengths are the fragility shown here.",
    )
    place = head if page == "Attack" else side
    space = _segments(place, "Space", "space", [*_LABELS["space"]], on_change=_other_dial)
    norm = _norm(place, space)
    target = st.session_state["scene"].get("target", UNTARGETED)
    if page == "Attack":
        aims, bare = targets(run, attack), {"label_visibility": "collapsed", "width": 140}
        target = _select(head, "Target", "target", aims, disabled=len(aims) == 1, **bare)
    entry_slot = side.container()
    colours = [c for c in _LABELS["colour"] if c != "label" or datasets.has_labels(dataset)]
    if page != "Explore":
        colour = _select(side, "Colour", "colour", colours)
    else:
        colour = _segments(head, "Colour", "colour", colours)
    with side.popover("More controls", icon=":material/tune:", width="stretch"):
        device = st.selectbox(
            "Device",
            [*_LABELS["device"]],
            format_func=lambda value: label("device", value),
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
        fit = _fit() if attack in LEARNED and page != "Explore" else None
    buttons = side.container(horizontal=True)
    link_slot = buttons.container(width="content")
    buttons.button("Reset", icon=":material/restart_alt:", on_click=_reset, help=_RESET_HELP)
    kept = {"dataset": dataset, "run": run.name, "attack": attack, "space": space}
    kept |= {"target": target, "colour": colour} | ({"partner": partner.name} if partner else {})
    st.session_state["scene"].update(kept | ({} if space == "embedding" else {"norm": norm}))
    return Scene(
        page=page,
        run=run,
        partner=partner,
        dataset=dataset,
        attack=attack,
        space=space,
        norm=norm,
        target=target if page == "Attack" and target != UNTARGETED else None,
        colour=colour,
        device=device,
        seed=int(seed),
        fit=fit,
        entry_slot=entry_slot,
        link_slot=link_slot,
    )


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
            help=panels.plain(f"{about[0].upper()}{about[1:]}. Not part of a link."),
        )
    return ALRDCConfig(**values)


def _two_models(head: Any, named: Mapping[str, RunInfo]) -> tuple[RunInfo, RunInfo | None]:
    """The pickers of Compare; a model without a map is offered only where none has one."""
    drawn = [name for name, run in named.items() if has_map(run)] or [*named]
    asked = st.session_state.get("run")
    if asked in named and asked not in drawn:
        st.toast(f"{panels.plain(asked)} has no map yet: showing {panels.plain(drawn[0])}.")
    bare = {"label_visibility": "collapsed", "width": 190}
    run = named[_select(head, "Model A", "run", drawn, on_change=_other_run, **bare)]
    beside = partners(run, [*named.values()])
    if not beside:
        return run, None
    head.button("Swap", icon=":material/swap_horiz:", on_click=_swap)
    return run, named[_select(head, "Model B", "partner", [o.name for o in beside], **bare)]


def _swap() -> None:
    state = st.session_state
    state["run"], state["partner"] = state["partner"], state["run"]
    _other_run()


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
            unknown = f"There is no sample {panels.plain(text)}: 0 to {n - 1:,}. {left}"
            st.caption(f":material/error: {unknown}")
            if st.session_state.get("unknown_pin") != text:
                st.toast(unknown)
        st.session_state["unknown_pin"] = text
    st.session_state["last_pin"] = row
    kept.update(strength=strength, pin="" if row is None else str(row))
    with scene.link_slot, st.popover("Copy link", icon=":material/link:"):
        st.caption("Opens this very view, on a fresh server too.")
        st.code(link(scene, strength, row), language=None, wrap_lines=True)
    return strength, row


def set_strength(value: float) -> None:
    """The map's dial was released: the entry and the URL follow."""
    st.session_state["scene"]["strength"] = round(float(value), 6)
    hold()


def set_pin(row: int | None) -> None:
    """A dot was pinned, or the pin taken away: the entry and the URL follow."""
    st.session_state["scene"]["pin"] = "" if row is None else str(row)
    hold()


def hold(*_: Any) -> None:
    """A gesture on the map is no typing: the entries say what is known here.

    The browser's copy of an entry lags behind where gestures follow one another faster than the
    server answers, and would take the dial or the pin back to where it was.
    """
    for key in ("strength", "pin"):
        if key in st.session_state:
            st.session_state[key] = st.session_state["scene"].get(key, DEFAULTS[key])


def order_map(**order: Any) -> None:
    """Tell the map, when it is next drawn, to `zoom` somewhere or `select` something, once."""
    st.session_state["map_order"] = order


def take_order() -> dict[str, Any]:
    """What `order_map` left, once."""
    return st.session_state.pop("map_order", {})


def attempt(what: str, about: Any, work: Callable[[], Any]) -> None:
    """Work that a model does for what is drawn already. A failure is remembered, not raised."""
    st.session_state.pop(f"failed_{what}", None)
    try:
        work()
    except Exception as error:
        st.session_state[f"failed_{what}"] = (about, panels.report(error))


def failure(what: str, about: Any) -> str:
    """Why the last `attempt` at exactly this failed; else empty."""
    known, reason = st.session_state.get(f"failed_{what}", (None, ""))
    return reason if known == about else ""


def link(scene: Scene, strength: float, row: int | None) -> str:
    """The address of this view. Defaults are left out, data set and model never are."""
    values = {
        "dataset": scene.dataset,
        "run": scene.run.name,
        **({"partner": scene.partner.name} if scene.partner else {}),
        "attack": scene.attack,
        "space": scene.space,
        "norm": st.session_state["scene"].get("norm", scene.norm),
        "strength": strength,
        "target": st.session_state["scene"].get("target", UNTARGETED),
        "colour": scene.colour,
        "pin": "" if row is None else str(row),
    }
    kept = {k: v for k, v in values.items() if k not in DEFAULTS or v != DEFAULTS[k]}
    query = urlencode({k: f"{v:g}" if k == "strength" else label(k, v) for k, v in kept.items()})
    base = (st.context.url or "").partition("?")[0].partition("#")[0].rstrip("/")
    if not base.endswith(f"/{quote(scene.page)}"):
        base = f"{base}/{quote(scene.page)}"
    return f"{base}?{query}"


_RESET_HELP = (
    "Attack, space, norm, strength, target, colour, pin and view go back to where they began."
)


def _select(
    place: Any, name: str, key: str, options: list[Any], on_change: Any = "rerun", **more: Any
) -> Any:
    _settle(key, options)
    return place.selectbox(
        name,
        options,
        format_func=lambda value: label(key, value),
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
        format_func=lambda value: label(key, value),
        key=key,
        bind="query-params",
        on_change=on_change,
        label_visibility="collapsed" if in_head else "visible",
        width="content" if in_head else "stretch",
    )
    return options[0] if value is None else value  # None: `?key=` with nothing after it


def _norm(place: Any, space: str) -> str:
    if space == "pixels":
        return _segments(place, "Norm", "norm", [*_LABELS["norm"]], on_change=_other_dial)
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
    for key, value in DEFAULTS.items():
        st.session_state[key] = value
    st.session_state["scene"].update(DEFAULTS)
    for key in (*_VIEW, "last_pin", "probe"):
        st.session_state.pop(key, None)
    st.session_state["generation"] = st.session_state.get("generation", 0) + 1
    order_map(zoom="all", select=[])


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
