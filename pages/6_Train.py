"""Train: make a model and watch it."""

from __future__ import annotations

import streamlit as st

from clustcore import jobs
from ui import panels, scene, train, train_live

panels.open_page("Train")
arrived = st.session_state.get("page") != "Train"
scene.arrive("Train")
panels.page_list()
with panels.calm(rail=False):
    status, controls = panels.head("Train: make a model, and watch it form its clusters")
    if cannot := jobs.unable():
        panels.no_training(cannot)
        st.stop()
    found = jobs.jobs()
    job = train.choose(controls, found, arrived)
    if job is None:
        status.caption(train.status(found))
        train.new(found)
        train.earlier(found)
    else:
        train_live.watch(job, status, controls)
