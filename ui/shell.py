"""The shell of every page: the page list, heads, and where images are looked for."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

PAGES = {
    "Home": "app.py",
    "Explore": "pages/1_Explore.py",
    "Attack": "pages/2_Attack.py",
    "Compare": "pages/4_Compare.py",
    "Train": "pages/6_Train.py",
}


def open_page(page: str) -> None:
    """What each page file does first."""
    take_roots()
    title = "Driftmap" if page == "Home" else f"{page} · Driftmap"
    icons = {"Home": "scatter_plot", "Explore": "travel_explore", "Attack": "moving"}
    icons |= {"Compare": "compare", "Train": "model_training"}
    st.set_page_config(page_title=title, page_icon=f":material/{icons[page]}:", layout="wide")


def take_roots() -> None:
    """Take the folders below which images are looked for from the command line.

    `streamlit run app.py -- --root DIR`, as often as there are folders. What is started from here
    looks there as well.
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


def head(title: str, *, status_below: bool = False) -> tuple[Any, Any]:
    """The head of a page: its question, a line for the status, and room for controls at the right.

    Args:
        status_below: the status gets a line of its own, below controls that take all the room.

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
    return st.empty() if status_below else status, controls


def redraw() -> None:
    """Draw the fragment again, or the whole page where it is a whole page that runs."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:  # not inside a fragment's own run
        st.rerun()
