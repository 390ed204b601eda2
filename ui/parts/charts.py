"""What the pages' charts share: their font, and the theme that they are drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from clustcore.measures.figures import Theme

FONT = {"font_family": "Source Sans, sans-serif"}  # the app's own


def theme() -> Theme:
    """The app's theme as it is now."""
    return "dark" if st.context.theme.type == "dark" else "light"
