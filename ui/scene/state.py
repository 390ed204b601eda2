"""The scene: what every page shares (data set, model, attack, strength, pin, ...), in the URL too.

Here are its parts and their rules; `sidebar` draws its widgets, and `entries` those that follow a
map. The URL holds what the widgets show ("Margin PGD"); links may hold the plain names too ("pgd").
Streamlit drops bound values on a page switch, so a plain copy is kept in the session and seeds the
widgets on arrival; a link wins over what was kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from clustcore.attacks import ATTACKS
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.datasets import DATASETS
from clustcore.defences import DEFENCES
from clustcore.dial import Dial, dial
from clustcore.models import MODELS
from clustcore.registry import Entry
from clustcore.runs import RunInfo, list_runs
from clustcore.types import Keyed, PathKey
from ui import cached, notes
from ui.cluster_map import COLOURS

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
LABELS = {
    "space": {"pixels": "Pixels", "embedding": "Embedding"},
    "norm": {"linf": "L∞", "l2": "L2"},
    "device": {"auto": "Auto", "cpu": "CPU", "cuda": "CUDA (NVIDIA)", "mps": "MPS (Apple)"},
}


@dataclass(frozen=True)
class Scene(Keyed):
    """What a page's widgets say. Strength and pin live in the map's fragment: see `entries`."""

    page: str
    run: RunInfo
    partner: RunInfo | None  # on Compare: the model beside it
    key: PathKey  # which path the map shows
    colour: str
    device: str
    fit: ALRDCConfig | None  # what a learned attack's attacker is to be fitted with
    entry_slot: Any  # sidebar containers that the map's fragment writes into
    link_slot: Any

    @property
    def ask(self) -> cached.runs.Ask:
        """The path that the map shows, of the run."""
        return cached.runs.Ask(self.run, self.key, self.fit)

    @property
    def beside(self) -> RunInfo:
        """The model beside the run, of a page that has two.

        Raises:
            ValueError: there is none.
        """
        if self.partner is None:
            raise ValueError(f"{self.page}: expected a model beside {self.run.name}, got none")
        return self.partner

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.run.dataset

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
    lists: dict[str, Mapping[str, Entry]]
    lists = {"dataset": DATASETS, "attack": ATTACKS, "colour": COLOURS}
    known = lists.get(key, {})
    if value in known:
        return known[value].title
    return LABELS.get(key, {}).get(value, str(value))


def attack_name(attack: str) -> str:
    """An attack inside a sentence."""
    return (attack in ATTACKS and ATTACKS[attack].phrase) or label("attack", attack)


def attacks(space: str) -> list[str]:
    """The attacks a dial can show in this space, the usual one first."""
    able = [name for name, entry in ATTACKS.items() if entry.dial and space in entry.spaces]
    return sorted(able, key=lambda name: name != DEFAULTS["attack"])


def targets(run: RunInfo, attack: str) -> list[str | int]:
    """What an attack can aim at: anywhere, or one cluster where it knows a way there."""
    aims = range(run.clusters) if ATTACKS[attack].targeted else ()
    return [UNTARGETED, *aims]


def usable(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs a picker offers, the first being the default.

    No broken ones; MNIST first, ready ones before others, then by the order of the registries.
    """
    data, models = ["mnist", "fashion-mnist", *DATASETS], [*MODELS]

    def rank(run: RunInfo) -> tuple[int, ...]:
        name, model = run.dataset, run.card.model
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
        if other.made_from == run.name:
            known, name = [*DEFENCES], other.defence
            return 0, known.index(name) if name in known else len(known)
        return (1 if run.made_from == other.name else 2), 0

    same = [one for one in usable(runs) if one.dataset == run.dataset and one.name != run.name]
    return sorted((one for one in same if one.has_map), key=rank)


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
        link["dataset"] = asked.dataset
    data = [*dict.fromkeys(run.dataset for run in offered)]
    values = {"dataset": choose("dataset", data, data[0])}
    names = [run.name for run in offered if run.dataset == values["dataset"]]
    values["run"] = choose("run", names, names[0])
    run = named[values["run"].casefold()]
    beside = [one.name for one in partners(run, runs)]
    stranger = named.get(link.get("partner", "").casefold())
    if stranger is not None and stranger.dataset != values["dataset"]:
        del link["partner"]
        one, other = label("dataset", values["dataset"]), label("dataset", stranger.dataset)
        problems.append(
            f"{run.name} is of {one} and {stranger.name} of {other}: they cannot be compared."
        )
    values["partner"] = choose("partner", beside, beside[0] if beside else "")
    for key, options in (("space", LABELS["space"]), ("norm", LABELS["norm"]), ("colour", COLOURS)):
        values[key] = choose(key, [*options], DEFAULTS[key])
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
        # the box shows what the link says whatever stands here, and `entries.entries` speaks of it
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


def arrive(page: str) -> bool:
    """Seed the widgets on arrival at a page: from the link, else from what was kept.

    Call it before any widget.

    Returns:
        whether this is an arrival: the page before was another.
    """
    kept = st.session_state.setdefault("scene", {})
    if st.session_state.get("page") == page:
        return False
    st.session_state["page"] = page
    if page in ("Home", "Train"):  # they draw no scene: what was kept waits for the next page
        return True
    query, runs = dict(st.query_params), list_runs()
    values, problems = resolve(query, runs, kept)
    for key, value in values.items():
        st.session_state[key] = value
    kept.update(values)
    for problem in problems:
        st.toast(notes.plain(problem), icon=":material/link_off:")
    st.session_state["missing_run"] = missing_run(query.get("run", "").strip(), runs)
    return True


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


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
