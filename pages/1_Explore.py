"""Explore: what did the model group together?"""

from __future__ import annotations

import streamlit as st

from ui import cached, explore, notes, scene, shell
from ui.scene import sidebar

shell.open_page("Explore")
scene.arrive("Explore")
with notes.calm():
    status, controls = shell.head("Explore: what did the model group together?")
    now = sidebar.draw("Explore", controls)
    if now is None:
        notes.no_runs()
        st.stop()
    notes.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    notes.device_note(cached.models.check_device(now.device))
    notes.data_note(cached.images.no_folder(now.run))
    arrays = cached.runs.map_arrays(now.run)
    if arrays is None:
        notes.no_map(now.run)
        st.stop()
    choice = explore.view_controls(controls, now)
    explore.about_map(controls, arrays)
    status.caption(explore.status(now, arrays, choice))
    explore.explore_map(now, arrays, choice)
