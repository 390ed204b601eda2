"""What the pages say in words: page list, heads, captions, empty and failed states."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from clustcore import jobs, runs
from clustcore.locations import PROJECT, home
from clustcore.runs import RunInfo

PAGES = {
    "Home": "app.py",
    "Explore": "pages/1_Explore.py",
    "Attack": "pages/2_Attack.py",
    "Compare": "pages/4_Compare.py",
    "Train": "pages/6_Train.py",
}
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


def open_page(page: str) -> None:
    """What each page file does first."""
    take_roots()
    title = "Driftmap" if page == "Home" else f"{page} · Driftmap"
    icons = {"Home": "scatter_plot", "Explore": "travel_explore", "Attack": "moving"}
    icons |= {"Compare": "compare", "Train": "model_training"}
    st.set_page_config(page_title=title, page_icon=f":material/{icons[page]}:", layout="wide")


def take_roots() -> None:
    """Below which folders images are looked for: `streamlit run app.py -- --root DIR`, as often as
    there are folders. What is started from here looks there as well.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--root", action="append", default=[])
    if given := parser.parse_known_args(sys.argv[1:])[0].root:
        os.environ["DRIFTMAP_DATA"] = os.pathsep.join(str(Path(root).resolve()) for root in given)


def page_list() -> None:
    """Links to the pages there are, in the sidebar."""
    with st.sidebar.container(gap="xsmall"):
        for name, file in PAGES.items():
            st.page_link(file, label=name, width="stretch")


def head(title: str) -> tuple[Any, Any]:
    """The head of a page: its question, a line for the status, and room for controls at the right.

    Returns:
        a placeholder for the status line, and a horizontal container.
    """
    row = st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"
    )
    with row.container(width="content", gap="xsmall"):
        st.title(title, anchor=False, width="content")
        status = st.empty()
    controls = row.container(horizontal=True, vertical_alignment="bottom", width="content")
    return status, controls


def report(error: Exception) -> str:
    """What the screen says of a failure: clustcore's own message; all else goes to the log."""
    if isinstance(error, ValueError):
        _LOG.warning("shown to the user: %s", error)
        return say(error)
    _LOG.error("a page failed", exc_info=error)
    return "Something went wrong here. What it was is in the server's log."


@contextlib.contextmanager
def calm(rail: bool = True) -> Iterator[None]:
    """No traceback on a screen: a failure becomes a sentence, and what to do next.

    Args:
        rail: the page has the models at its left, and Reset.
    """
    try:
        yield
    except Exception as error:
        other = "Choose another model at the left, or Reset; reloading starts anew."
        st.error(
            f"{report(error)} {other if rail else 'Reloading starts anew.'}",
            title="This cannot be shown",
            icon=":material/error:",
        )


def redraw() -> None:
    """Draw the fragment again, or the whole page where it is a whole page that runs."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:  # not inside a fragment's own run
        st.rerun()


def has_weights(run: RunInfo) -> bool:
    """Whether the run's model can be loaded at all."""
    return runs.has_weights(run.folder)


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
    return plain(f"{now.data_label} · {defence(now.run)}")


def defence(run: RunInfo) -> str:
    """What defends a run, such as "undefended"."""
    found = run.card.get("defence")
    name = found.get("name") if isinstance(found, dict) else found
    return "undefended" if not name else str(name)


def no_map(run: RunInfo) -> None:
    """A run without `map.npz`."""
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
