"""Compare: does the defence help, and what does it cost?"""

from __future__ import annotations

import streamlit as st

from ui import answers, attack, claims, compare, loaders, panels, rail, scene

panels.open_page("Compare")
scene.arrive("Compare")
with panels.calm():
    _, controls = panels.head("Compare: does the defence help?")
    status = st.empty()  # below both pickers, which take the room at the right of the title
    now = rail.draw("Compare", controls)
    if now is None:
        panels.no_runs()
        st.stop()
    panels.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    panels.device_note(answers.check_device(now.device))
    arrays = loaders.map_arrays(now.run)
    if arrays is None:
        panels.no_map(now.run)
        st.stop()
    if now.partner is None:
        compare.no_partner(now)
        path = loaders.path(now.ask)
        status.caption(attack.status(now, arrays, path))
        attack.attack_map(now, arrays, path, False)
        compare.measurements(now)
        st.stop()
    found = loaders.pair(now.run, now.partner)
    of_a, of_b = compare.asks(now)
    paths = loaders.path(of_a[0]), loaders.path(of_b[0])
    status.caption(claims.status(now, found, paths[0]))
    st.markdown(claims.clean_cost(now))
    compare.warn(now, paths)
    offer_place = st.container()
    compare.twin_maps(now, found)
    compare.figures(now, found)
    compare.measurements(now)
    with offer_place:
        compare.offer(now)
