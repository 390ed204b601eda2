"""Explore: what did the model group together?"""

from __future__ import annotations

import streamlit as st

from ui import answers, datasets, explore, loaders, panels, rail, scene

panels.open_page("Explore")
scene.arrive("Explore")
with panels.calm():
    status, controls = panels.head("Explore: what did the model group together?")
    now = rail.draw("Explore", controls)
    if now is None:
        panels.no_runs()
        st.stop()
    panels.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    panels.device_note(answers.check_device(now.device))
    panels.data_note(datasets.no_folder(now.run))
    arrays = loaders.map_arrays(now.run)
    if arrays is None:
        panels.no_map(now.run)
        st.stop()
    choice = explore.view_controls(controls, now)
    explore.about_map(controls, arrays)
    status.caption(explore.status(now, arrays, choice))
    explore.explore_map(now, arrays, choice)
