"""Home: what can I do here?"""

from __future__ import annotations

import streamlit as st

from clustcore.runs import list_runs
from ui import home
from ui.scene import opening

with opening.plain_page("Home"):
    st.title("Driftmap: what holds a cluster together, and what pulls it apart?", anchor=False)
    home.about()
    home.doors()
    home.run_cards(list_runs())
