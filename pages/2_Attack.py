"""Attack: how little does it take?"""

from __future__ import annotations

import streamlit as st

from ui import attack, cached, notes, scene, shell
from ui.parts import compute
from ui.scene import sidebar

shell.open_page("Attack")
scene.arrive("Attack")
with notes.calm():
    status, controls = shell.head("Attack: how little does it take?")
    now = sidebar.draw("Attack", controls)
    if now is None:
        notes.no_runs()
        st.stop()
    only_moved = attack.controls(controls)
    notes.missing_run(st.session_state.get("missing_run", ""), now.run.name)
    notes.device_note(cached.models.check_device(now.device))
    notes.data_note(cached.images.no_folder(now.run))
    arrays = cached.runs.map_arrays(now.run)
    if arrays is None:
        notes.no_map(now.run)
        st.stop()
    path = cached.runs.path(now.ask)
    status.caption(attack.status(now, arrays, path))
    asks = [now.ask] if now.attack == "noise" else [now.ask, attack.control_of(now.ask)]
    missing = compute.missing(asks)
    compute.warn(now)
    offer_place = st.container()
    attack.attack_map(now, arrays, path, only_moved)
    attack.figures(now, path)
    with offer_place:
        compute.offer(now, missing, compute.action(missing))
