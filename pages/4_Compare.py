"""Compare: does the defence help, and what does it cost?"""

from __future__ import annotations

import streamlit as st

from ui import attack, cached
from ui.compare import page, sentences
from ui.scene import opening

# both pickers take the room at the right of the title
with opening.run_page("Compare", "Compare: does the defence help?", status_below=True) as opened:
    now = opened.now
    if now.partner is None:
        page.no_partner(now)
        path = cached.runs.path(now.ask)
        opened.status.caption(attack.status(now, opened.arrays, path))
        attack.attack_map(now, opened.arrays, path, False)
        page.judged(now)
        st.stop()
    found = cached.runs.pair(now.run, now.beside)
    of_a, of_b = page.asks(now)
    paths = cached.runs.path(of_a[0]), cached.runs.path(of_b[0])
    opened.status.caption(sentences.status(now, found, paths[0]))
    st.markdown(sentences.clean_cost(now))
    page.warn(now, paths)
    offer_place = st.container()
    page.twin_maps(now, found)
    page.figures(now, found)
    page.judged(now)
    with offer_place:
        page.offer(now)
