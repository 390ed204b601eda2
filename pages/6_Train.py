"""Train: make a model and watch it."""

from __future__ import annotations

import streamlit as st

from clustcore.runs import jobs
from ui import notes, scene, shell
from ui.train import new, watch

shell.open_page("Train")
arrived = st.session_state.get("page") != "Train"
scene.arrive("Train")
shell.page_list()
with notes.calm(rail=False):
    status, controls = shell.head("Train: make a model, and watch it form its clusters")
    found = jobs.jobs()
    job = new.choose(controls, found, arrived)
    if job is None:
        status.caption(new.status(found))
        new.new(found)
        new.earlier(found)
    else:
        watch.watch(job, status, controls)
