"""Home: what can I do here?"""

from __future__ import annotations

import streamlit as st

from clustcore.runs import list_runs
from ui import home, notes, scene, shell

shell.open_page("Home")
scene.arrive("Home")
shell.page_list()
with notes.calm(rail=False):
    st.title("Driftmap: what holds a cluster together, and what pulls it apart?", anchor=False)
    home.about()
    home.doors()
    home.gallery(list_runs())
