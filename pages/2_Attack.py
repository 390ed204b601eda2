"""Attack: how little does it take?"""

from __future__ import annotations

import streamlit as st

from ui import attack, cached
from ui.parts import compute
from ui.scene import opening

with opening.run_page("Attack", "Attack: how little does it take?") as page:
    now = page.now
    only_moved = attack.controls(page.controls)
    path = cached.runs.path(now.ask)
    page.status.caption(attack.status(now, page.arrays, path))
    asks = [now.ask] if now.attack == "noise" else [now.ask, cached.runs.control_of(now.ask)]
    missing = compute.missing(asks)
    compute.warn(now)
    offer_place = st.container()
    attack.attack_map(now, page.arrays, path, only_moved)
    attack.figures(now, path)
    with offer_place:
        compute.offer(now, missing, compute.action(missing))
