"""Cached loaders around clustcore; nothing else caches. Numpy only, until a model is asked for.

Keys are cheap: a run's name and folder, and the time stamp of the file that is read. Every cache
is bounded. The functions that import torch say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore import comparing, jobs, runs
from clustcore.attacks import LEARNED
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.datasets import find_folder, load_samples, roots, shipped
from clustcore.datasets.peek import Peek, peek_apart
from clustcore.datasets.peek import peek as look
from clustcore.runs import MapArrays, MinFlips, RunInfo
from clustcore.types import AttackPath, Samples
from ui.cluster_map import Sprites, packing

if TYPE_CHECKING:
    from clustcore.pipeline import PinFrames, Probe, Run

OnStep = Callable[[int, int, str], None]
_HEAVY = threading.Lock()  # one model computes at a time: visitors are threads of one process


@dataclass(frozen=True)
class Ask:
    """Which path: of one run, under one attack."""

    run: RunInfo
    attack: str
    space: str
    norm: str
    target: int | None = None
    seed: int = 0
    fit: ALRDCConfig | None = None  # what its attacker is to be fitted with; None: as it is


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
    return _map_arrays(str(run.folder), _stamp(run.folder / "map.npz"))


@st.cache_resource(max_entries=6, show_spinner=False)
def _map_arrays(folder: str, stamp: int) -> MapArrays | None:
    return _frozen(runs.read_map(Path(folder)))


def path(ask: Ask) -> AttackPath | None:
    """A path that ships with the run or was computed here before, or None. Shared and read-only.

    Raises:
        ValueError: the file is damaged.
    """
    name = (ask.attack, ask.space, ask.norm, ask.target)
    return _path(str(ask.run.folder), name, ask.seed, path_stamp(ask))


def path_stamp(ask: Ask) -> tuple[int, int, int]:
    """Changes when the path does, and when the attacker is fitted anew that walks it."""
    name = (ask.attack, ask.space, ask.norm, ask.target)
    shipped_file = ask.run.folder / "paths" / runs.path_name(*name)
    cached = runs.cached_path_file(ask.run.folder, *name, ask.seed)
    return _stamp(shipped_file), _stamp(cached), _attacker_stamp(ask)


def _attacker_stamp(ask: Ask) -> int:
    return _stamp(runs.attacker_file(ask.run.folder, ask.attack))


@st.cache_resource(max_entries=24, show_spinner=False)
def _path(
    folder: str, name: tuple[str, str, str, int | None], seed: int, stamp: tuple[int, int, int]
) -> AttackPath | None:
    return _frozen(runs.stored_path(Path(folder), *name, seed))


@dataclass(frozen=True)
class Pair:
    """Two models on the same samples. All of B bears A's cluster numbers, on A's map."""

    a: MapArrays
    b: MapArrays  # labels, p and regions renamed; xy turned onto A's
    ids: NDArray[np.int64]  # (k,) A's number of each cluster of B
    turn: comparing.Similarity | None  # what turns B's map; None: one projector draws both
    agree: float  # share of the samples in the same cluster
    key: tuple[Any, ...]  # names exactly this


def pair(run: RunInfo, partner: RunInfo) -> Pair:
    """Both maps, made comparable. Shared and read-only.

    Raises:
        ValueError: maps of other samples or of another number of clusters, or a file is damaged.
    """
    key = tuple(
        (str(one.folder), map_stamp(one), _stamp(one.folder / "projector.safetensors"))
        for one in (run, partner)
    )
    return _pair(key, run, partner)


@st.cache_resource(max_entries=6, show_spinner=False)
def _pair(key: tuple[Any, ...], _run: RunInfo, _partner: RunInfo) -> Pair:
    name, other = _run.name, _partner.name
    a, b = map_arrays(_run), map_arrays(_partner)
    if a is None or b is None:
        raise ValueError(f"{name} and {other}: expected a map of each, got none")
    for one, arrays in ((_run, a), (_partner, b)):
        if arrays.weights != one.card["weights_sha256"]:
            raise ValueError(
                f"{one.name} cannot be compared: its map was made with other weights "
                f"({arrays.weights[:8]}) than the card's ({one.card['weights_sha256'][:8]}); "
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
    ids = comparing.match_ids(a.labels, b.labels, a.p.shape[1])
    b = comparing.rename_map(b, ids)
    files = [one.folder / "projector.safetensors" for one in (_run, _partner)]
    shared = (
        all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes()
    )
    turn = None if shared else comparing.align(a.xy, b.xy)
    if turn is not None:
        b = dataclasses.replace(b, xy=turn(b.xy))
    return _frozen(Pair(a, b, ids, turn, float((a.labels == b.labels).mean()), key))


def partner_path(found: Pair, ask: Ask) -> AttackPath | None:
    """The path of a pair's B under A's cluster numbers, on A's map, or None."""
    own = path(ask)
    if own is None:
        return None
    which = (ask.attack, ask.space, ask.norm, ask.target, ask.seed, *path_stamp(ask))
    return _partner_path(found.key, which, own, found)


@st.cache_resource(max_entries=12, show_spinner=False)
def _partner_path(
    key: tuple[Any, ...], which: tuple[Any, ...], _own: AttackPath, _pair: Pair
) -> AttackPath:
    renamed = comparing.rename_path(_own, _pair.ids)
    if _pair.turn is not None:
        renamed = dataclasses.replace(renamed, xy=_pair.turn(renamed.xy))
    return _frozen(renamed)


def min_flips(run: RunInfo, space: str, norm: str) -> MinFlips | None:
    """The table of smallest flips of a run, or None."""
    return runs.read_min_flips(run.folder, space, norm)


def images(data: str, split: str = "test") -> NDArray[np.uint8]:
    """(n, c, h, w) all images of a split in 0 to 255, shared and read-only.

    Raises:
        ValueError: the data are not there.
    """
    if data in shipped.SOURCES and split == "test":
        x = shipped.images(data)
        return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return _images(data, split)


@st.cache_resource(max_entries=2, show_spinner=False)
def _images(data: str, split: str) -> NDArray[np.uint8]:
    x = np.round(samples(data, split).x * 255).astype(np.uint8)
    x.flags.writeable = False
    return x


@st.cache_resource(max_entries=2, show_spinner=False)
def samples(
    data: str, split: str = "test", channels: int | None = None, size: int | None = None
) -> Samples:
    """The samples a map was made of, shared: torch reads them in place, nobody writes to them.

    Args:
        channels: of a folder's images, as the model takes them; None: as the images have them.
        size: their side likewise, in pixels.

    Raises:
        ValueError: the data are not there.
    """
    return load_samples(data, split, channels=channels, size=size)


def peek(name: str) -> tuple[Peek | None, str]:
    """A look at the training images of this name, or why there is none. That of a folder, and a
    failure, may be 30 s old; a data set that was read once is not read again.
    """
    return _peek(name, tuple(map(str, roots())))


@st.cache_data(max_entries=16, ttl=30, show_spinner=False)
def _peek(name: str, below: tuple[str, ...]) -> tuple[Peek | None, str]:
    try:
        return (look(name) if name.startswith("folder:") else _peek_set(name, below)), ""
    except (ValueError, OSError) as error:
        return None, str(error)


@st.cache_data(max_entries=16, show_spinner=False)
def _peek_set(name: str, below: tuple[str, ...]) -> Peek:
    return peek_apart(name)


def labels(data: str, split: str = "test") -> tuple[NDArray[np.integer] | None, tuple[str, ...]]:
    """The true classes and their names, for display and measurement; (None, ()) without any."""
    if data in shipped.SOURCES and split == "test":
        return shipped.labels(data), tuple(shipped.source(data)["classes"])
    found = samples(data, split)
    return found.y, found.class_names


@dataclass(frozen=True)
class Truth:
    """The true classes of a map's samples, for display and measurement only."""

    y: NDArray[np.integer] | None = None
    names: tuple[str, ...] = ()


def truth(arrays: MapArrays) -> Truth:
    """The true classes of a map's samples; empty without any, or without the data."""
    try:
        y, names = labels(arrays.data, arrays.split)
    except ValueError:
        return Truth()
    return Truth(y, names) if y is not None and len(y) == len(arrays.xy) else Truth()


def shown_rows(run: RunInfo, count: int | None = None) -> NDArray[np.int64] | None:
    """The rows of a fixed sample of a run's map, each cluster with its share; None: all of them.

    Args:
        count: about how many; None: as many as a map draws.
    """
    arrays = map_arrays(run)
    if arrays is None or len(arrays.xy) <= (packing.LIMIT if count is None else count):
        return None
    return _shown_rows(str(run.folder), map_stamp(run), count, arrays.labels)


@st.cache_resource(max_entries=12, show_spinner=False)
def _shown_rows(
    folder: str, stamp: int, count: int | None, _labels: NDArray[np.integer]
) -> NDArray[np.int64]:
    rows = packing.drawn_rows(_labels) if count is None else packing.stratified(_labels, count)
    rows.flags.writeable = False
    return rows


def images_or_none(arrays: MapArrays) -> NDArray[np.uint8] | None:
    """`images` of a map's samples; None where the data are not there."""
    try:
        x = images(arrays.data, arrays.split)
    except ValueError:
        return None
    return x if len(x) == len(arrays.xy) else None


def has_labels(data: str) -> bool:
    """Whether a data set has true classes to show. Data that cannot be read have none."""
    try:
        return labels(data)[0] is not None
    except ValueError:
        return False


def sprites(data: str, split: str = "test") -> Sprites | None:
    """Where the map gets its images; None where the data are not there."""
    if data in shipped.SOURCES and split == "test":
        info = shipped.source(data)
        return Sprites(functools.partial(shipped.sheet, data), (info["height"], info["width"]))
    try:
        x = images(data, split)
    except ValueError:
        return None
    return Sprites(functools.partial(_sheet, data, split), size=x.shape[2:])


@st.cache_resource(max_entries=20, show_spinner=False)
def _sheet(data: str, split: str, index: int) -> bytes:
    x = images(data, split)[1000 * index : 1000 * (index + 1)].transpose(0, 2, 3, 1)
    return shipped.encode_sheet(x if x.shape[3] == 3 else x[..., 0])


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
        stamp: of the map's file: see `map_stamp`.
        size: width and height in pixels.
    """
    from ui.stills import draw_map

    try:
        arrays = runs.read_map(Path(folder))
    except ValueError:
        return None
    return None if arrays is None else draw_map(arrays.xy, arrays.labels, size)


def map_stamp(run: RunInfo) -> int:
    """Changes when a run's map does."""
    return _stamp(run.folder / "map.npz")


def pin_frames(ask: Ask, row: int, device: str, compute: bool = True) -> PinFrames | None:
    """One sample's path with its images. Imports torch.

    Args:
        compute: work it out now, where it was not before; else that gives None.

    Raises:
        ValueError: no such row, or the run or its data cannot be loaded.
    """

    def work() -> PinFrames:
        from clustcore import pipeline

        where = (ask.attack, ask.space, ask.norm, ask.target, ask.seed)
        return pipeline.pin_frames(_model(ask.run, device), _samples_of(ask.run), row, *where)

    which = (ask.attack, ask.space, ask.norm, ask.target, ask.seed, _attacker_stamp(ask))
    key = ("pin", *which, row)
    return _answer(ask.run, key, work if compute else None)


def reconstruction(
    run: RunInfo, row: int, device: str, compute: bool = True
) -> tuple[NDArray[np.float32] | None] | None:
    """(image,) as the decoder gives it back, (None,) without a decoder; as `pin_frames` else."""
    if not decodes(run):
        return (None,)

    def work() -> tuple[NDArray[np.float32] | None]:
        from clustcore import pipeline

        return (pipeline.reconstruct(_model(run, device), _samples_of(run).x[row]),)

    return _answer(run, ("reconstruction", row), work if compute else None)


def probe(run: RunInfo, xy: tuple[float, float], device: str, compute: bool = True) -> Probe | None:
    """What the model makes of a place on the map; as `pin_frames` else."""

    def work() -> Probe:
        from clustcore import pipeline

        return pipeline.probe(_model(run, device), xy)

    return _answer(run, ("probe", *xy), work if compute else None)


def compute_path(ask: Ask, device: str, on_step: OnStep) -> AttackPath:
    """A path, computed now and kept on disk. Imports torch.

    A learned attack without an attacker, or with a stale or another one, is fitted first.

    Args:
        on_step: called with (done, total, sentence); raising in it cancels, and keeps nothing but
            an attacker that was fitted to its end.

    Raises:
        ValueError: the attack does not fit this run, or the run or its data cannot be loaded.
    """
    on_step(0, 1, "loading the model")
    run, data = _model(ask.run, device), _samples_of(ask.run)
    with _alone(on_step):
        from clustcore import pipeline

        if needs_fit(ask):
            on_step, fitting = _in_two(on_step)
            _fit_attacker(run, ask, fitting)
        where = (ask.attack, ask.space, ask.norm, ask.target, ask.seed)
        return pipeline.compute_path(run, data, *where, on_step=on_step)


def needs_fit(ask: Ask) -> bool:
    """Whether the attack is a learned one without an attacker fitted on the run's own weights, with
    the settings that are asked for.

    Raises:
        ValueError: the attacker's file is damaged.
    """
    if ask.attack not in LEARNED:
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
    about = _attacker_note(run, attack) if attack in LEARNED else None
    if about is None:
        return None
    file = runs.attacker_file(run.folder, attack)
    try:
        return ALRDCConfig.from_dict(json.loads(about["config"]), str(file))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected a fitted attacker, got: {error}") from None


def attacker_state(run: RunInfo, attack: str) -> str:
    """ "fitted" on the run's own weights, "stale": on others, or "" where there is no attacker.

    Raises:
        ValueError: the file is damaged.
    """
    about = _attacker_note(run, attack)
    if about is None:
        return ""
    return "fitted" if run.card["weights_sha256"] in about.values() else "stale"


def _attacker_note(run: RunInfo, attack: str) -> dict[str, str] | None:
    file = runs.attacker_file(run.folder, attack)
    if not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file}: expected readable tensors, got {error}") from None


def fit_images(run: RunInfo) -> tuple[int, str]:
    """How many images a learned attacker of the run will be fitted on, and of which split: the one
    it was trained on where that is here, else that of its map.
    """
    data = run.card["data"]
    try:
        n, split = _size(data["name"], data["split"]), data["split"]
    except ValueError:
        arrays = map_arrays(run)
        n, split = (0, data["split"]) if arrays is None else (len(arrays.xy), arrays.split)
    return min(n, runs.FIT_SAMPLES), split


@st.cache_data(max_entries=16, show_spinner=False)
def _size(name: str, split: str) -> int:
    return len(load_samples(name, split))


def _in_two(on_step: OnStep) -> tuple[OnStep, OnStep]:
    """Two callbacks that fill one bar: for the path, its last tenth, and for the fit before it."""

    def path(done: int, total: int, sentence: str) -> None:
        on_step(9 * total + done, 10 * total, sentence)

    def fit(done: int, total: int, sentence: str) -> None:
        on_step(9 * done, 10 * total, sentence)

    return path, fit


def _fit_attacker(run: Run, ask: Ask, on_step: OnStep) -> None:
    from clustcore import making

    on_step(0, 1, "reading the images that the attacker learns from")
    try:
        about = ask.run.card["data"]
        data = load_samples(about["name"], about["split"], **_shape(ask.run, about["name"]))
    except ValueError:  # one that has seen the very samples it will move is no weaker
        data = _samples_of(ask.run)
    data = making.attacker_images(data)
    doing = f"fitting the attacker on {len(data):,} images, {data.split} split, epoch"
    on_step(0, 1, f"{doing} 1")

    def tell(done: int, total: int, parts: dict[str, float]) -> None:
        on_step(done, total, f"{doing} {min(done + 1, total)} of {total}")

    kind = "relu" if ask.attack.endswith("-relu") else "affine"
    making.fit_attacker(run, data, kind=kind, config=ask.fit, on_epoch=tell)


def transfer(
    ask: Ask, partner: RunInfo, device: str, on_step: OnStep | None = None
) -> NDArray[np.float64] | None:
    """(S,) the share that the attack on `ask.run` moves under the partner. Imports torch.

    Args:
        on_step: works it out now, telling (done, total, sentence); without it that gives None
            where it was not worked out before.

    Raises:
        ValueError: the attack is not one in pixels, or a run or its data cannot be loaded.
    """

    def work() -> NDArray[np.float64]:
        on_step(0, 1, "loading both models")
        models = _model(ask.run, device), _model(partner, device)
        with _alone(on_step):
            from clustcore import pipeline

            where = (ask.attack, ask.space, ask.norm, ask.seed)
            return pipeline.transfer(*models, _samples_of(ask.run), *where, on_step=on_step)

    stamp = _stamp(partner.folder / "weights.safetensors")
    which = (ask.attack, ask.space, ask.norm, ask.seed)
    key = (*_made_of(ask.run), "transfer", partner.name, stamp, *which)
    found = _recent().get(key)
    if found is None and on_step is not None:
        found = work()
        _recent().put(key, found)
    return found


@contextlib.contextmanager
def _alone(on_step: OnStep) -> Iterator[None]:
    """One heavy computation at a time: visitors are threads of one process."""
    while not _HEAVY.acquire(timeout=0.5):
        on_step(0, 1, "waiting for another computation on this server")
    try:
        yield
    finally:
        _HEAVY.release()


def check_device(device: str) -> str:
    """A sentence where this device is not there; empty where it is.

    Imports torch but for "auto" and "cpu".
    """
    return "" if device in ("auto", "cpu") else _device(device)[1]


def device_in_use(run: RunInfo, device: str) -> str:
    """Where the run's model was put, such as "CPU"; empty while it is not loaded."""
    return _recent().get((run.name, "device", device)) or ""


def decodes(run: RunInfo) -> bool:
    """Whether the run's model can have a decoder; a card that does not say may."""
    return run.card.get("decoder", True) is not False


@st.cache_resource(max_entries=8, show_spinner=False)
def _device(device: str) -> tuple[str, str]:
    from clustcore.train import pick_device

    try:
        pick_device(device)
    except ValueError as error:
        return "cpu", f"{error}. The CPU does the work instead."
    return device, ""


def _model(run: RunInfo, device: str) -> Run:
    where = (str(run.folder), _stamp(run.folder / "weights.safetensors"))
    found = _load(run.name, _device(device)[0], where)
    _recent().put((run.name, "device", device), str(found.device).upper())
    return found


@st.cache_resource(max_entries=3, show_spinner=False)
def _load(name: str, device: str, where: tuple[str, int]) -> Run:
    from clustcore import pipeline

    return pipeline.load_run(name, device)


def _samples_of(run: RunInfo) -> Samples:
    arrays = map_arrays(run)
    if arrays is None:
        raise ValueError(f"{run.name}: expected a map (`python -m clustcore project`), got none")
    return samples(arrays.data, arrays.split, **_shape(run, arrays.data))


def _shape(run: RunInfo, data: str) -> dict[str, int]:
    """What the model takes decides how a folder's images are read, not the first image found."""
    if data.partition(":")[0] != "folder":
        return {}
    channels, size, _ = run.card["config"]["input_shape"]
    return {"channels": channels, "size": size}


def no_folder(run: RunInfo) -> str:
    """Why the images of a run that was trained on a folder are not here, and with which root the
    app finds them, where its training has noted that; else empty.
    """
    where = str(run.card["data"]["name"]).partition("folder:")[2]
    try:
        if where:
            find_folder(where)
        return ""
    except (ValueError, OSError) as error:
        why = str(error)
    with contextlib.suppress(ValueError, KeyError):
        return f"{why}. The training looked below {jobs.read_plan(run.folder)['root']}"
    return why


class _Recent:
    """The last results of models, shared by all visitors."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._items: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any) -> Any:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: Any, value: Any) -> None:
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > self._size:
                self._items.popitem(last=False)


@st.cache_resource(max_entries=1, show_spinner=False)
def _recent() -> _Recent:
    return _Recent(200)


def _answer(run: RunInfo, key: tuple[Any, ...], work: Callable[[], Any] | None) -> Any:
    key = (*_made_of(run), *key)
    found = _recent().get(key)
    if found is None and work is not None:
        with _HEAVY:
            found = work()
        _recent().put(key, found)
    return found


def _made_of(run: RunInfo) -> tuple[Any, ...]:
    return str(run.folder), _stamp(run.folder / "weights.safetensors"), map_stamp(run)


def _stamp(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


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
