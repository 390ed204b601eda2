"""How a page opens: its title and icon, the scene, the sidebar, and what is amiss with the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import streamlit as st

from clustcore.types import MapArrays
from ui import cached, notes, shell
from ui.scene import sidebar
from ui.scene.state import Scene, arrive


@dataclass(frozen=True)
class RunPage:
    """What a page that shows a run begins with."""

    now: Scene
    arrays: MapArrays  # the run's map
    status: Any  # a placeholder for the line under the title
    controls: Any  # a horizontal container in the head row


@contextlib.contextmanager
def run_page(page: str, title: str, *, status_below: bool = False) -> Iterator[RunPage]:
    """Open a page that shows a run, and say what is amiss.

    That may be a link to a run that is not there, a device or images that are missing. Without any
    run, or without its map, the page ends with a word on what to do.

    Args:
        page: "Explore", "Attack" or "Compare".
        title: the question that it asks.
        status_below: see `shell.head`.
    """
    shell.open_page(page)
    arrive(page)
    with notes.calm():
        opened = _opened(page, title, status_below)
        if opened is not None:
            yield opened
            return
    st.stop()  # what is amiss has been said, perhaps before there was anything to yield


def _opened(page: str, title: str, status_below: bool) -> RunPage | None:
    """The head and the sidebar of a page; None, once it is said, where there is no map to show."""
    status, controls = shell.head(title, status_below=status_below)
    now = sidebar.draw(page, controls)
    if now is None:
        notes.no_runs()
        return None
    notes.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    notes.device_note(cached.models.check_device(now.device))
    notes.data_note(cached.images.no_folder(now.run))
    arrays = cached.runs.map_arrays(now.run)
    if arrays is None:
        notes.no_map(now.run, cached.runs.stale_map(now.run))
        return None
    return RunPage(now, arrays, status, controls)


@contextlib.contextmanager
def plain_page(page: str) -> Iterator[bool]:
    """Open a page that shows no run: "Home" or "Train".

    It gives whether one has come from another page just now.
    """
    shell.open_page(page)
    arrived = arrive(page)
    shell.page_list()
    with notes.calm(sidebar=False):
        yield arrived
