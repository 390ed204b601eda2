"""The parts of Train that watch a training: figures, live map, stop and go on. Never torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from clustcore import runs
from clustcore.maps import live as livemap
from clustcore.models import MODELS
from clustcore.runs import jobs
from clustcore.runs.jobs import Job
from clustcore.runs.progress import History, read_history
from clustcore.training.collapse import COLLAPSED, largest_share
from ui import cached, notes, scene, shell
from ui.cluster_map.still_map import draw_map
from ui.parts import charts, sentences
from ui.train import new

_PAUSE = 2.0  # seconds between two looks
_MAP, _FEW = (640, 440), (400, 275)  # pixels; of fewer samples than _MANY, for larger dots
_MANY = 1500
_FONT = {**charts.FONT, "title_font_size": 14}


def watch(job: Job, status: Any, controls: Any) -> None:
    """A training as it stands, drawn anew while it runs."""
    running = job.state in ("running", "mapping")
    # drawn once, while the bar goes on: no epoch, which would soon be an old one
    plainly = job.state == "running" and not (job.stopping or job.teaching)
    status.caption(f"{_what(job)} · {'training' if plainly else new.state(job)}")
    if running and controls.button("Terminate" if job.stopping else "Stop", icon=":material/stop:"):
        _ask(job)
    if job.state in ("stopped", "failed"):
        controls.button(
            "Resume" if job.epochs else "Try again",
            icon=":material/play_arrow:",
            on_click=_resume,
            args=(job,),
        )
    if problem := st.session_state.pop("train_error", ""):
        st.error(problem, icon=":material/error:")
    _say(job)
    # timed only while there is something to wait for
    st.fragment(_watch, run_every=_PAUSE if running else None)(
        job.name, job.state, job.stopping, job.teaching
    )


def _what(job: Job) -> str:
    data = scene.label("dataset", job.plan.data)
    if job.plan.model is None:
        return notes.plain(f"{data} · {job.plan.source}, {job.plan.defence}")
    return notes.plain(f"{data} · {job.plan.model.upper()}")


@st.dialog("Stop this training?")
def _ask(job: Job) -> None:
    kept = "What was trained up to the last whole epoch is kept, and can go on later."
    lost = "Nothing is kept yet: the first epoch is not over."
    trained = "The training is over, and the run is kept. Its map can be made later."
    st.markdown(trained if job.state == "mapping" else kept if job.epochs else lost)
    with st.container(horizontal=True):
        if st.button("Stop it", on_click=_stop, args=(job,)):
            st.rerun()
        if st.button("Let it run"):
            st.rerun()


def _stop(job: Job) -> None:
    try:
        jobs.stop(job.folder)
    except (ValueError, OSError) as error:
        st.session_state["train_error"] = notes.report(error)


def _resume(job: Job) -> None:
    try:
        jobs.resume(job.folder)
    except (ValueError, OSError) as error:
        st.session_state["train_error"] = notes.report(error)


def _make_map(job: Job) -> None:
    try:
        jobs.make_map(job.folder)
    except (ValueError, OSError) as error:
        st.session_state["train_error"] = notes.report(error)


def _say(job: Job) -> None:
    """What there is to say of a state, and where to go from it."""
    if job.state == "stopped":
        kept = "Its last whole epoch is kept" if job.epochs else "No epoch was finished"
        st.info(f"{kept}. Resume lets it go on.", title=f"Stopped at epoch {job.epochs}")
    elif job.state == "failed":
        st.error(
            f"{notes.plain(job.reason)}",
            title="The training failed",
            icon=":material/error:",
        )
        with st.expander("What the process said"):
            st.code(jobs.log_tail(job.folder)[-4000:], language=None, wrap_lines=True)
    elif job.state == "finished":
        _finished(job)


def _finished(job: Job) -> None:
    run = runs.find_run(job.name)
    if job.reason or not run.map_stamp:
        st.warning(
            f"{notes.plain(job.reason)} From a terminal: `{jobs.map_line(job.folder)}`",
            title="Trained, but there is no map",
        )
        st.button("Make the map", icon=":material/map:", on_click=_make_map, args=(job,))
        return
    query = {"dataset": scene.label("dataset", run.dataset), "run": run.name}
    with st.container(horizontal=True):
        for page, text in (("Explore", "Explore it"), ("Attack", "Attack it")):
            st.page_link(
                shell.PAGES[page],
                label=text,
                icon=":material/arrow_forward:",
                query_params=query,
            )


def _watch(name: str, state: str, stopping: bool, teaching: bool) -> None:
    """Draw what the files say now; where the state is another, the whole page is drawn anew."""
    with notes.calm(sidebar=False):
        job = jobs.status(runs.folders()[1] / name)
        if (job.state, job.stopping, job.teaching) != (state, stopping, teaching):
            st.rerun()
        history = read_history(job.folder)
        if job.state == "running":
            _progress(job, history)
        if not job.epochs:
            if job.state == "running":
                st.caption("torch and the images are loaded first; figures follow each epoch.")
            return
        _notice(history)
        _halved(history)
        left, right = st.columns([3, 2], gap="large")
        with left:
            _map(job)
        with right:
            _sizes(job, history)
        _curves(job, history)


def _progress(job: Job, history: History) -> None:
    if not job.total:
        st.progress(0.0, "Making the teacher" if job.teaching else "Starting")
        return
    left = job.total - job.epochs
    text = f"Epoch {job.epochs} of {job.total}"
    if job.epochs:
        seconds = float(history.seconds[-5:].mean()) * left
        text += f" · {history.stage[-1]} · about {sentences.duration(seconds)} left"
    st.progress(min(1.0, job.epochs / job.total), text)


def _notice(history: History) -> None:
    sizes = history.sizes[-1]
    share = largest_share(sizes.tolist())
    if share > COLLAPSED and not _undecided(history):
        st.warning(
            f"{share:.0%} of the samples are in cluster {sizes.argmax()}. Early on that may pass; "
            "if it stays, other weights of the losses or a lower learning rate help.",
            title="Nearly all in one cluster",
        )


def _halved(history: History) -> None:
    first, now = history.batch[0], history.batch[-1]
    if now < first:
        st.caption(
            f":material/memory: Memory ran out: a batch holds {now:,.0f} images now, and held "
            f"{first:,.0f} at the start."
        )


def _undecided(history: History) -> bool:
    # a stage before clusters are sought leaves every assignment even
    return bool(history.entropy_sample[-1] > 0.999)


def _map(job: Job) -> None:
    live = livemap.newest(job.folder)
    run = runs.find_run(job.name) if job.state == "finished" else None
    arrays = None if run is None else cached.runs.map_arrays(run)
    if live is not None and arrays is None:
        st.image(
            draw_map(live.xy, live.labels.astype(np.uint8), _size(len(live.xy))),
            width="stretch",
            alt=f"Map of {len(live.xy):,} training images after epoch {live.epoch}",
        )
        st.caption(
            f"Epoch {live.epoch} · {len(live.xy):,} training images, the same each time · UMAP, "
            "turned onto the map before; distances between groups mean little"
            + (" · the map of the test images is being made" * (job.state == "mapping"))
        )
        return
    if run is not None and arrays is not None:
        n = len(arrays.xy)
        still = cached.runs.still(run, _size(n))
        st.image(still, width="stretch", alt=f"Map of {job.name}")
        st.caption(f"The finished run's map · {n:,} images, {notes.plain(arrays.split)} split")
    elif job.state == "mapping":
        st.caption("The map of the test images is being made.")
    elif job.state == "running":
        st.caption("The first live map takes some seconds longer than the first epochs.")
    else:
        st.caption("There is no map.")


def _size(n: int) -> tuple[int, int]:
    return _MAP if n >= _MANY else _FEW


def _sizes(job: Job, history: History) -> None:
    from clustcore.measures import figures

    sizes = history.sizes[-1]
    figure = figures.cluster_bars(sizes, caption=_caption(job, history), theme=charts.theme())
    figure.update_layout(height=340, **_FONT)
    st.plotly_chart(figure, theme=None, key="train_sizes", alt="Samples in each cluster")
    empty = int((sizes == 0).sum())
    if _undecided(history):
        st.caption("No clusters are sought in this stage yet: every assignment is even.")
    else:
        st.caption(
            f"{len(sizes) - empty} of {len(sizes)} clusters hold samples"
            + (f"; empty: {', '.join(map(str, np.flatnonzero(sizes == 0)[:12]))}" * (empty > 0))
        )


def _curves(job: Job, history: History) -> None:
    from clustcore.measures import figures

    entropy = {
        "per sample": history.entropy_sample,
        "of the mean": history.entropy_mean,
    }
    figure = figures.training_history(
        np.arange(1, len(history.loss) + 1),
        {"loss": history.loss, **history.parts},
        history.sizes,
        entropy,
        caption=_caption(job, history),
        theme=charts.theme(),
    )
    figure.update_layout(_FONT)
    st.plotly_chart(figure, theme=None, key="train_history", alt="Loss, sizes and entropy by epoch")
    if job.plan.model in MODELS and MODELS[job.plan.model].parts:
        st.caption(MODELS[job.plan.model].parts)
    st.caption(
        "Entropy of the assignments: per sample, how undecided they are (0: decided); of their "
        "mean, how balanced the clusters (1: even). Training reads no labels, so no accuracy."
    )


def _caption(job: Job, history: History) -> Any:
    from clustcore.measures.figures import Caption

    seed = int(job.plan.train.get("seed", 0))
    return Caption(f"epoch {job.epochs}", int(history.sizes[-1].sum()), seed)
