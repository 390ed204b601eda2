"""Runs as they lie on disk, cached, and what is read off them. Nothing here imports torch.

Keys are cheap: a run's folder, and the time stamp of the file that is read. Every cache
is bounded. Nothing uses Streamlit's caches but this, `images` and `models` beside it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore import measures, runs
from clustcore.attacks import learned
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.maps import alignment
from clustcore.runs import RunInfo
from clustcore.types import AttackPath, Keyed, MapArrays, MinFlips, PathKey
from ui.cluster_map import packing


@dataclass(frozen=True)
class Ask(Keyed):
    """Which path: of one run, under one attack."""

    run: RunInfo
    key: PathKey  # the path among those of the run
    fit: ALRDCConfig | None = None  # what its attacker is to be fitted with; None: as it is

    def under(self, **key: Any) -> Ask:
        """The same run under another attack: the parts of the key that differ."""
        return dataclasses.replace(self, key=dataclasses.replace(self.key, **key))


@dataclass(frozen=True)
class Neighbours:
    """The nearest samples in the embedding, nearest first."""

    rows: NDArray[np.int64]  # (m,)
    near: NDArray[np.bool_]  # (m,) among the nearest 1 % on the map too


def map_arrays(run: RunInfo) -> MapArrays | None:
    """The map of a run, shared and read-only; None where there is none yet.

    Raises:
        ValueError: the file is damaged.
    """
    return _map_arrays(str(run.folder), run.map_stamp)


@st.cache_resource(max_entries=6, show_spinner=False)
def _map_arrays(folder: str, stamp: int) -> MapArrays | None:
    return _frozen(runs.read_map(Path(folder)))


def path(ask: Ask) -> AttackPath | None:
    """A path that ships with the run or was computed here before, or None. Shared and read-only.

    Raises:
        ValueError: the file is damaged.
    """
    return _path(str(ask.run.folder), ask.key, ask.run.path_stamp(ask.key), ask.run)


@st.cache_resource(max_entries=24, show_spinner=False)
def _path(
    folder: str, key: PathKey, stamp: tuple[int, int, int], _run: RunInfo
) -> AttackPath | None:
    return _frozen(runs.stored_path(_run, key))


@dataclass(frozen=True)
class Pair:
    """Two models on the same samples. All of B bears A's cluster numbers, on A's map."""

    a: MapArrays
    b: MapArrays  # labels, p and regions renamed; xy turned onto A's
    ids: NDArray[np.int64]  # (k,) A's number of each cluster of B
    turn: alignment.Similarity | None  # what turns B's map; None: one projector draws both
    agree: float  # share of the samples in the same cluster
    key: tuple[Any, ...]  # names exactly this


def pair(run: RunInfo, partner: RunInfo) -> Pair:
    """Both maps, made comparable. Shared and read-only.

    Raises:
        ValueError: maps of other samples or of another number of clusters, or a file is damaged.
    """
    key = tuple((str(one.folder), one.map_stamp, one.projector_stamp) for one in (run, partner))
    return _pair(key, run, partner)


@st.cache_resource(max_entries=6, show_spinner=False)
def _pair(key: tuple[Any, ...], _run: RunInfo, _partner: RunInfo) -> Pair:
    name, other = _run.name, _partner.name
    a, b = map_arrays(_run), map_arrays(_partner)
    if a is None or b is None:
        raise ValueError(f"{name} and {other}: expected a map of each, got none")
    for one, arrays in ((_run, a), (_partner, b)):
        weights = one.card.weights_sha256
        if arrays.weights != weights:
            raise ValueError(
                f"{one.name} cannot be compared: its map was made with other weights "
                f"({arrays.weights[:8]}) than the card's ({weights[:8]}); "
                f"`python -m clustcore project {one.name}` makes it anew"
            )
    for what, of_a, of_b in (
        ("the data set", a.data, b.data),
        ("the split", a.split, b.split),
        ("the number of samples", f"{len(a.xy):,}", f"{len(b.xy):,}"),
        ("the number of clusters", a.p.shape[1], b.p.shape[1]),
    ):
        if of_a != of_b:
            raise ValueError(
                f"{name} and {other} cannot be compared: {what} differs, {of_a} and {of_b}."
            )
    k = a.p.shape[1]
    ids = measures.matching(b.labels, a.labels, k, k)
    b = alignment.rename_map(b, ids)
    shared = _run.projector_sha256 != "" and _run.projector_sha256 == _partner.projector_sha256
    turn = None if shared else alignment.align(a.xy, b.xy)
    if turn is not None:
        b = dataclasses.replace(b, xy=turn(b.xy))
    return _frozen(Pair(a, b, ids, turn, float((a.labels == b.labels).mean()), key))


def partner_path(found: Pair, ask: Ask) -> AttackPath | None:
    """The path of a pair's B under A's cluster numbers, on A's map, or None."""
    own = path(ask)
    if own is None:
        return None
    return _partner_path(found.key, (ask.key, *ask.run.path_stamp(ask.key)), own, found)


@st.cache_resource(max_entries=12, show_spinner=False)
def _partner_path(
    key: tuple[Any, ...], which: tuple[Any, ...], _own: AttackPath, _pair: Pair
) -> AttackPath:
    renamed = alignment.rename_path(_own, _pair.ids)
    if _pair.turn is not None:
        renamed = dataclasses.replace(renamed, xy=_pair.turn(renamed.xy))
    return _frozen(renamed)


def min_flips(run: RunInfo, space: str, norm: str) -> MinFlips | None:
    """The table of smallest flips of a run, or None."""
    return runs.read_min_flips(run.folder, space, norm)


def shown_rows(run: RunInfo, count: int | None = None) -> NDArray[np.int64] | None:
    """The rows of a fixed sample of a run's map, each cluster with its share; None: all of them.

    Args:
        count: about how many; None: as many as a map draws.
    """
    arrays = map_arrays(run)
    if arrays is None or len(arrays.xy) <= (packing.LIMIT if count is None else count):
        return None
    return _shown_rows(str(run.folder), run.map_stamp, count, arrays.labels)


@st.cache_resource(max_entries=12, show_spinner=False)
def _shown_rows(
    folder: str, stamp: int, count: int | None, _labels: NDArray[np.integer]
) -> NDArray[np.int64]:
    rows = packing.drawn_rows(_labels) if count is None else packing.stratified(_labels, count)
    rows.flags.writeable = False
    return rows


def neighbours(arrays: MapArrays, row: int, count: int = 8) -> Neighbours:
    """The samples nearest to one in the embedding, and whether the map shows them near."""
    z = arrays.z.astype(np.float32)
    distance = ((z - z[row]) ** 2).sum(1)
    distance[row] = np.inf
    rows = np.argsort(distance, kind="stable")[:count]
    on_map = ((arrays.xy - arrays.xy[row]) ** 2).sum(1)
    reach = np.partition(on_map, max(1, len(z) // 100))[max(1, len(z) // 100)]
    return Neighbours(rows, on_map[rows] <= reach)


@st.cache_data(max_entries=24, show_spinner=False)
def still(folder: str, stamp: int, size: tuple[int, int] = (560, 300)) -> bytes | None:
    """A run's map as a PNG with a clear background; None where there is none that can be read.

    Args:
        stamp: of the map's file: see `RunInfo.map_stamp`.
        size: width and height in pixels.
    """
    from ui.cluster_map.still_map import draw_map

    try:
        arrays = runs.read_map(Path(folder))
    except ValueError:
        return None
    return None if arrays is None else draw_map(arrays.xy, arrays.labels, size)


def needs_fit(ask: Ask) -> bool:
    """Whether the attack is a learned one that has to be fitted first.

    It has then no attacker fitted on the run's own weights, with the settings that are asked for.

    Raises:
        ValueError: the attacker's file is damaged.
    """
    if ask.attack not in learned():
        return False
    return attacker_state(ask.run, ask.attack) != "fitted" or other_settings(ask)


def other_settings(ask: Ask) -> bool:
    """Whether the attacker at hand was fitted with other settings than those asked for.

    Raises:
        ValueError: the attacker's file is damaged.
    """
    found = attacker_settings(ask.run, ask.attack)
    return None not in (ask.fit, found) and found != ask.fit


def attacker_settings(run: RunInfo, attack: str) -> ALRDCConfig | None:
    """What the attacker at hand was fitted with; None where there is none, or nothing to fit.

    Raises:
        ValueError: the file is damaged.
    """
    about = _attacker_note(run, attack) if attack in learned() else None
    if about is None:
        return None
    file = runs.attacker_file(run, attack)
    try:
        return ALRDCConfig.from_dict(json.loads(about["config"]), str(file))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected a fitted attacker, got: {error}") from None


def attacker_state(run: RunInfo, attack: str) -> str:
    """Whether an attacker is "fitted" on the run's own weights, or "stale"; "" without one.

    Raises:
        ValueError: the file is damaged.
    """
    about = _attacker_note(run, attack)
    if about is None:
        return ""
    return "fitted" if run.card.weights_sha256 in about.values() else "stale"


def _attacker_note(run: RunInfo, attack: str) -> dict[str, str] | None:
    file = runs.attacker_file(run, attack)
    if not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file}: expected readable tensors, got {error}") from None


def _frozen(value: Any) -> Any:
    """The same dataclass, its arrays read-only: it is shared by all visitors."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if isinstance(part, np.ndarray):
                part.flags.writeable = False
            else:
                _frozen(part)
    return value
