"""Attack: how little does it take?"""

from __future__ import annotations

import streamlit as st

from ui import answers, attack, datasets, loaders, panels, rail, scene

panels.open_page("Attack")
scene.arrive("Attack")
with panels.calm():
    status, controls = panels.head("Attack: how little does it take?")
    now = rail.draw("Attack", controls)
    if now is None:
        panels.no_runs()
        st.stop()
    only_moved = attack.controls(controls)
    panels.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    panels.device_note(answers.check_device(now.device))
    panels.data_note(datasets.no_folder(now.run))
    arrays = loaders.map_arrays(now.run)
    if arrays is None:
        panels.no_map(now.run)
        st.stop()
    path = loaders.path(now.ask)
    status.caption(attack.status(now, arrays, path))
    asks = [now.ask] if now.attack == "noise" else [now.ask, attack.control_of(now.ask)]
    missing = attack.missing(asks)
    attack.warn(now)
    offer_place = st.container()
    attack.attack_map(now, arrays, path, only_moved)
    attack.figures(now, path)
    with offer_place:
        attack.offer(now, missing, attack.action(missing))
