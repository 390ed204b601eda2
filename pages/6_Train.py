"""Train: make a model and watch it."""

from __future__ import annotations

import streamlit as st

from clustcore.runs import jobs
from ui import notes, shell
from ui.scene import opening
from ui.train import new, watch

with opening.plain_page("Train") as arrived:
    status, controls = shell.head("Train: make a model, and watch it form its clusters")
    if cannot := jobs.unable():
        notes.no_training(cannot)
        st.stop()
    found = jobs.jobs()
    job = new.choose(controls, found, arrived)
    if job is None:
        status.caption(new.status(found))
        new.new(found)
        new.earlier(found)
    else:
        watch.watch(job, status, controls)
