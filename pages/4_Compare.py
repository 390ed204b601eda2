"""Compare: does the defence help, and what does it cost?"""

from __future__ import annotations

import streamlit as st

from ui import attack, cached, notes, scene, shell
from ui.compare import claims, page
from ui.scene import sidebar

shell.open_page("Compare")
scene.arrive("Compare")
with notes.calm():
    _, controls = shell.head("Compare: does the defence help?")
    status = st.empty()  # below both pickers, which take the room at the right of the title
    now = sidebar.draw("Compare", controls)
    if now is None:
        notes.no_runs()
        st.stop()
    notes.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    notes.device_note(cached.models.check_device(now.device))
    arrays = cached.runs.map_arrays(now.run)
    if arrays is None:
        notes.no_map(now.run)
        st.stop()
    if now.partner is None:
        page.no_partner(now)
        path = cached.runs.path(now.ask)
        status.caption(attack.status(now, arrays, path))
        attack.attack_map(now, arrays, path, False)
        page.judged(now)
        st.stop()
    found = cached.runs.pair(now.run, now.partner)
    of_a, of_b = page.asks(now)
    paths = cached.runs.path(of_a[0]), cached.runs.path(of_b[0])
    status.caption(claims.status(now, found, paths[0]))
    st.markdown(claims.clean_cost(now))
    page.warn(now, paths)
    offer_place = st.container()
    page.twin_maps(now, found)
    page.figures(now, found)
    page.judged(now)
    with offer_place:
        page.offer(now)
