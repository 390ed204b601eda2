"""The entries beside a map: they follow its gestures, and no stale copy takes them back."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def page() -> None:
    """A strength entry, and buttons in place of what a map says."""
    import functools

    import streamlit as st

    from ui.scene import entries

    st.session_state.setdefault("scene", {"strength": 0.0})
    for value in (0.012, 0.016):
        dial = functools.partial(entries.set_strength, value)
        st.button(f"dial {value}", on_click=dial)
    st.button("images", on_click=entries.reject_stale)
    st.number_input("Strength", 0.0, 0.4, step=0.002, key="strength")


@pytest.mark.parametrize("later", ["images", "dial 0.016"])
def test_a_stale_copy_does_not_take_the_dial_back(later: str) -> None:
    app = AppTest.from_function(page, default_timeout=60).run()
    for label in ("dial 0.012", "dial 0.016"):
        next(b for b in app.button if b.label == label).click().run()
    app.number_input[0].set_value(0.012)  # what the browser's entry said before the second gesture
    next(b for b in app.button if b.label == later).click().run()
    assert app.number_input[0].value == 0.016


def test_what_was_typed_while_the_map_spoke_stands() -> None:
    app = AppTest.from_function(page, default_timeout=60).run()
    next(b for b in app.button if b.label == "dial 0.012").click().run()
    app.number_input[0].set_value(0.1)
    next(b for b in app.button if b.label == "images").click().run()
    assert app.number_input[0].value == 0.1
