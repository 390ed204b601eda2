"""What the pages say in words: captions, warnings, empty and failed states."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import streamlit as st

from clustcore.locations import PROJECT, home
from clustcore.runs import RunInfo, jobs
from ui.shell import PAGES

_LOG = logging.getLogger("driftmap")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$<>]|:(?=\S))")


def plain(text: str) -> str:
    """Text from outside (a card, a link, a file name) inside Markdown: no format, link, formula."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def say(error: Exception) -> str:
    """The message of an error for the screen: paths relative to the project or one's own folder."""
    text = str(error)
    for place in (home(), PROJECT):
        text = text.replace(f"{place}{os.sep}", "")
    return plain(text)


def report(error: Exception) -> str:
    """What the screen says of a failure: clustcore's own message; all else goes to the log."""
    if isinstance(error, ValueError):
        _LOG.warning("shown to the user: %s", error)
        return say(error)
    _LOG.error("a page failed", exc_info=error)
    return "Something went wrong here. What it was is in the server's log."


@contextlib.contextmanager
def calm(sidebar: bool = True) -> Iterator[None]:
    """No traceback on a screen: a failure becomes a sentence, and what to do next.

    Args:
        sidebar: the page has the models at its left, and Reset.
    """
    try:
        yield
    except Exception as error:
        other = "Choose another model at the left, or Reset; reloading starts anew."
        st.error(
            f"{report(error)} {other if sidebar else 'Reloading starts anew.'}",
            title="This cannot be shown",
            icon=":material/error:",
        )


def model_note(doing: str) -> str:
    """What a spinner says while a model works: loading torch takes seconds, once."""
    if "clustcore.pipeline" in sys.modules:
        return f"{doing.capitalize()}"
    return f"{doing.capitalize()}. The model is loaded first, about 8 s, once."


def no_runs() -> None:
    """There is not one run that can be shown."""
    st.info(
        "A run is a trained model with its map. The shipped ones lie in `assets/runs`; "
        "`python -m clustcore reproduce runs` makes them again.",
        title="No runs here yet",
        icon=":material/folder_off:",
    )
    to_train()


def to_train() -> None:
    """The way to a run of one's own."""
    label = "Train a model of your own"
    st.page_link(PAGES["Train"], label=label, icon=":material/arrow_forward:")


def no_training(reason: str) -> None:
    """This system can start no training from the page."""
    st.info(reason, title="No training from this page", icon=":material/desktop_access_disabled:")


def device_note(note: str) -> None:
    """The device that was asked for is not there."""
    if note:
        st.warning(plain(note), icon=":material/memory:")


def data_note(note: str) -> None:
    """The images of a run are not here."""
    if note:
        st.warning(plain(note), title="No images to show", icon=":material/folder_off:")


def data_line(now: Any) -> str:
    """Data set and defence of a scene, in the status line."""
    return plain(f"{now.data_label} · {now.run.defence}")


def no_map(run: RunInfo, stale: str) -> None:
    """A run without `map.npz`, or with one that is stale, which a sentence says then."""
    if stale:
        st.info(
            f"{stale}. Or choose another model at the left.",
            title="No map of these weights yet",
            icon=":material/map:",
        )
        return
    st.info(
        f"`{run.name}` has weights but no map.npz. This command makes one: "
        f"`{jobs.map_line(run.folder)}`. Or choose another model at the left.",
        title="No map computed yet",
        icon=":material/map:",
    )


def missing_run(reason: str, instead: str) -> None:
    """A link named a run that cannot be shown."""
    if reason:
        st.warning(
            f"{plain(reason)} Showing {plain(instead)} instead.",
            title="The model of this link was not found",
            icon=":material/link_off:",
        )
