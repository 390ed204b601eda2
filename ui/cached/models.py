"""What needs a model: images of a pin, places on the map, paths computed on demand, transfer.

Importing this imports no torch: the functions that need it do, and say so. Answers are cached, the
last ones of all visitors together, and every cache is bounded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore.datasets import load_samples
from clustcore.runs import FIT_SAMPLES, RunInfo
from clustcore.types import AttackPath, Samples
from ui import notes
from ui.cached import images, runs
from ui.cached.runs import Ask

if TYPE_CHECKING:
    from clustcore.pipeline.paths import PinFrames
    from clustcore.pipeline.run import Probe, Run

OnStep = Callable[[int, int, str], None]
_HEAVY = threading.Lock()  # one model computes at a time: visitors are threads of one process


def pin_frames(ask: Ask, row: int, device: str, compute: bool = True) -> PinFrames | None:
    """One sample's path with its images. Imports torch.

    Args:
        compute: work it out now, where it was not before; else that gives None.

    Raises:
        ValueError: no such row, or the run or its data cannot be loaded.
    """

    def work() -> PinFrames:
        from clustcore.pipeline import paths

        return paths.pin_frames(_model(ask.run, device), _samples_of(ask.run), row, ask.key)

    key = ("pin", ask.key, ask.run.attacker_stamp(ask.attack), row)
    return _answer(ask.run, key, work if compute else None)


def reconstruction(
    run: RunInfo, row: int, device: str, compute: bool = True
) -> tuple[NDArray[np.float32] | None] | None:
    """(image,) as the decoder gives it back, (None,) without a decoder; as `pin_frames` else."""
    if not run.card.decodes:
        return (None,)

    def work() -> tuple[NDArray[np.float32] | None]:
        from clustcore.pipeline import run as pipeline

        return (pipeline.reconstruct(_model(run, device), _samples_of(run).x[row]),)

    return _answer(run, ("reconstruction", row), work if compute else None)


def probe(run: RunInfo, xy: tuple[float, float], device: str, compute: bool = True) -> Probe | None:
    """What the model makes of a place on the map; as `pin_frames` else."""

    def work() -> Probe:
        from clustcore.pipeline import run as pipeline

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
        from clustcore.pipeline import paths

        if runs.needs_fit(ask):
            on_step, fitting = _in_two(on_step)
            _fit_attacker(run, ask, fitting)
        return paths.compute_path(run, data, ask.key, on_step)


def _in_two(on_step: OnStep) -> tuple[OnStep, OnStep]:
    """Two callbacks that fill one bar: for the path, its last tenth, and for the fit before it."""

    def path(done: int, total: int, sentence: str) -> None:
        on_step(9 * total + done, 10 * total, sentence)

    def fit(done: int, total: int, sentence: str) -> None:
        on_step(9 * done, 10 * total, sentence)

    return path, fit


def _fit_attacker(run: Run, ask: Ask, on_step: OnStep) -> None:
    from clustcore.pipeline import contents

    on_step(0, 1, "reading the images that the attacker learns from")
    try:
        about = ask.run.card.data
        data = load_samples(about.name, about.split, **_shape(ask.run, about.name))
    except ValueError:  # one that has seen the very samples it will move is no weaker
        data = _samples_of(ask.run)
    data = contents.attacker_images(data)
    doing = f"fitting the attacker on {len(data):,} images, {data.split} split, epoch"
    on_step(0, 1, f"{doing} 1")

    def tell(done: int, total: int, parts: dict[str, float]) -> None:
        on_step(done, total, f"{doing} {min(done + 1, total)} of {total}")

    contents.fit_attacker(run, data, ask.attack, config=ask.fit, on_epoch=tell)


def fit_images(run: RunInfo) -> tuple[int, str]:
    """How many images a learned attacker of the run will be fitted on, and of which split.

    The split is the one it was trained on where that is here, else that of its map.
    """
    data = run.card.data
    try:
        n, split = _size(data.name, data.split), data.split
    except ValueError:
        arrays = runs.map_arrays(run)
        n, split = (0, data.split) if arrays is None else (len(arrays.xy), arrays.split)
    return min(n, FIT_SAMPLES), split


@st.cache_data(max_entries=16, show_spinner=False)
def _size(name: str, split: str) -> int:
    return len(load_samples(name, split))


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

    def work(on_step: OnStep) -> NDArray[np.float64]:
        on_step(0, 1, "loading both models")
        models = _model(ask.run, device), _model(partner, device)
        with _alone(on_step):
            from clustcore.pipeline import paths

            return paths.transfer(*models, _samples_of(ask.run), untargeted, on_step)

    untargeted = dataclasses.replace(ask.key, target=None)
    key = (*_made_of(ask.run), "transfer", partner.name, partner.weights_stamp, untargeted)
    found = _recent().get(key)
    if found is None and on_step is not None:
        found = work(on_step)
        _recent().put(key, found)
    return found


def attempt(what: str, about: Any, work: Callable[[], Any]) -> None:
    """Work that a model does for what is drawn already. A failure is remembered, not raised."""
    st.session_state.pop(f"failed_{what}", None)
    try:
        work()
    except Exception as error:
        st.session_state[f"failed_{what}"] = (about, notes.report(error))


def failure(what: str, about: Any) -> str:
    """Why the last `attempt` at exactly this failed; else empty."""
    known, reason = st.session_state.get(f"failed_{what}", (None, ""))
    return reason if known == about else ""


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


@st.cache_resource(max_entries=8, show_spinner=False)
def _device(device: str) -> tuple[str, str]:
    from clustcore.distributed import pick_device

    try:
        pick_device(device)
    except ValueError as error:
        return "cpu", f"{error}. The CPU does the work instead."
    return device, ""


def _model(run: RunInfo, device: str) -> Run:
    found = _load(_made_of(run), _device(device)[0], run)
    _recent().put((run.name, "device", device), str(found.device).upper())
    return found


@st.cache_resource(max_entries=3, show_spinner=False)
def _load(made_of: tuple[Any, ...], device: str, _run: RunInfo) -> Run:
    from clustcore.pipeline import run as pipeline

    return pipeline.open_run(_run, device)


def _samples_of(run: RunInfo) -> Samples:
    arrays = runs.map_arrays(run)
    if arrays is None:
        raise ValueError(f"{run.name}: expected a map (`python -m clustcore project`), got none")
    return images.samples(arrays.data, arrays.split, **_shape(run, arrays.data))


class _Shape(TypedDict, total=False):
    channels: int
    size: int


def _shape(run: RunInfo, data: str) -> _Shape:
    """What the model takes decides how a folder's images are read, not the first image found."""
    if data.partition(":")[0] != "folder":
        return {}
    channels, size, _ = run.card.input_shape
    return {"channels": channels, "size": size}


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
    return str(run.folder), run.weights_stamp, run.map_stamp
