"""What the screens show of data sets, cached: images, true classes, sheets for the map."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from clustcore.datasets import find_folder, load_samples, roots, shipped
from clustcore.datasets.peek import Peek, peek_apart
from clustcore.datasets.peek import peek as peek_here
from clustcore.runs import RunInfo, jobs
from clustcore.types import MapArrays, Samples
from ui.cluster_map import Sprites


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
    """A look at the training images of this name, or why there is none.

    That of a folder, and a failure, may be 30 s old; a data set that was read once is not read
    again.
    """
    return _peek(name, tuple(map(str, roots())))


@st.cache_data(max_entries=16, ttl=30, show_spinner=False)
def _peek(name: str, below: tuple[str, ...]) -> tuple[Peek | None, str]:
    try:
        return (peek_here(name) if name.startswith("folder:") else _peek_set(name, below)), ""
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


def no_folder(run: RunInfo) -> str:
    """Why the images of a run that was trained on a folder are not here; else empty.

    It names the root with which the app finds them, where its training has noted that.
    """
    where = run.dataset.partition("folder:")[2]
    try:
        if where:
            find_folder(where)
        return ""
    except (ValueError, OSError) as error:
        why = str(error)
    with contextlib.suppress(ValueError):
        if root := jobs.read_plan(run.folder).root:
            return f"{why}. The training looked below {root}"
    return why
