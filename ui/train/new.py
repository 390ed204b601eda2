"""The parts of Train before a training starts: images, model, settings, name; earlier runs."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from clustcore import runs
from clustcore.datasets import data_folder, find_folder
from clustcore.defences import DEFENCES
from clustcore.models import MODELS
from clustcore.registry import lookup
from clustcore.runs import jobs
from clustcore.runs.jobs import Job
from clustcore.runs.plan import Plan, settings_of
from ui import notes, scene
from ui.parts.form import form
from ui.train import checks, images

NEW = "New training"
NO_DEFENCE = "none"
_WORDS = {
    "running": (":material/play_circle:", "training"),
    "mapping": (":material/map:", "trained; its map is being made"),
    "finished": (":material/check_circle:", "finished"),
    "stopped": (":material/pause_circle:", "stopped"),
    "failed": (":material/error:", "failed"),
}


def state(job: Job) -> str:
    """Where a job stands, in words."""
    of = f" of {job.total}" if job.total else ""
    if job.stopping:
        return "stopping; " + (
            "the run is kept" if job.state == "mapping" else "the last whole epoch is kept"
        )
    if job.teaching:
        return "making the teacher"
    if job.state == "running":
        return f"training, epoch {job.epochs}{of} done" if job.epochs else "starting"
    if job.state == "stopped":
        return f"stopped at epoch {job.epochs}{of}"
    if job.state == "failed":
        return f"failed after epoch {job.epochs}{of}" if job.epochs else "failed at the start"
    if job.state == "finished" and not (job.folder / "map.npz").is_file():
        return "finished, no map"
    return _WORDS[job.state][1]


def choose(place: Any, found: Sequence[Job], arrived: bool) -> Job | None:
    """The training that is watched, by its name in the link; None: a new one.

    On arrival a running one is taken by itself.
    """
    names = [job.name for job in found]
    if begun := st.session_state.pop("train_begun", ""):
        st.session_state["training"], st.session_state["train_name"] = begun, ""
    if arrived:
        running = [job.name for job in found if job.state in ("running", "mapping")]
        asked = st.query_params.get("training", running[0] if running else NEW)
        st.session_state["training"] = asked if asked in names else NEW
        if asked not in (*names, NEW):
            st.toast(notes.plain(f"There is no training {asked[:80]!r} here."))
    if st.session_state.get("training", NEW) not in names:
        st.session_state["training"] = NEW
    if not found:
        return None
    chosen = place.selectbox(
        "Training",
        [NEW, *names],
        key="training",
        bind="query-params",
        label_visibility="collapsed",
        width=240,
    )
    return next((job for job in found if job.name == chosen), None)


def status(found: Sequence[Job]) -> str:
    """The line under the title while nothing is watched."""
    running = [job.name for job in found if job.state in ("running", "mapping")]
    if not running:
        return "A training is a process of its own: leaving this page stops nothing."
    names = ", ".join(notes.plain(name) for name in running)
    return f"{names} is running. A second training shares the machine with it: both take longer."


def new(found: Sequence[Job]) -> None:
    """Everything that is asked before a training starts, and the button that starts it."""
    if problem := st.session_state.pop("train_error", ""):
        st.error(problem, title="That did not work", icon=":material/error:")
    st.subheader("Images", anchor=False)
    data = images.images()
    if data is None:
        return
    name, download = data
    st.subheader("Model", anchor=False)
    plan = _model(name)
    if plan is None:
        return
    plan = dataclasses.replace(plan, root=_root(name), download=download)
    what = "Settings of the model" if plan.defence is None else "Settings of the defence"
    st.subheader(what, anchor=False)
    settings = _settings(plan)
    if settings is None:
        return
    _begin(dataclasses.replace(plan, **settings), found)


def _root(data: str) -> str | None:
    """The folder that the images are looked for in, where it is not the usual one."""
    if folder := data.partition("folder:")[2]:
        return str(find_folder(folder)[1])
    return str(data_folder()) if os.environ.get("DRIFTMAP_DATA") and data != "digits" else None


def _model(data: str) -> Plan | None:
    """The plan as far as the model is concerned: its own name, or a run and a defence."""
    left, right = st.columns(2)
    defence = right.selectbox(
        "Defence",
        [NO_DEFENCE, *DEFENCES],
        key="train_defence",
        persist_state="session",
        help="A defence trains a finished run on, so that its samples stay in their clusters.",
    )
    if defence == NO_DEFENCE:
        names = [name for name, entry in MODELS.items() if entry.trains]
        names.sort(key=lambda name: name != "drc")  # it fits grey and colour
        model = left.selectbox(
            "Model",
            names,
            format_func=lambda name: MODELS[name].title,
            key="train_model",
            persist_state="session",
        )
        left.caption(MODELS[model].about)
        return Plan(model, data)
    right.caption(DEFENCES[defence].about)
    good = [run for run in scene.usable(runs.list_runs()) if run.has_weights]
    names = [run.name for run in good if run.dataset == data]
    if not names:
        left.info(
            "A defence starts from a run that was trained on the same images. There is none yet: "
            "train one without a defence first.",
            icon=":material/shield:",
        )
        return None
    source = left.selectbox("Run it starts from", names)
    return Plan(None, data, source=source, defence=defence)


def _settings(plan: Plan) -> dict[str, Any] | None:
    """What differs from the defaults, and so belongs in the plan; None where a field is wrong."""
    with st.spinner(notes.model_note("reading the settings")):
        from clustcore.training.epoch import TrainConfig
        from clustcore.training.views import AugmentConfig

        name = plan.model or plan.defence or ""
        kept: Mapping[str, Any] = {}
        views: Mapping[str, Any] = {}
        if plan.source is None:
            kind = lookup(MODELS, name, "model")
        else:
            kind, card = lookup(DEFENCES, name, "defence"), runs.find_run(plan.source).card
            kept, views = card.train, card.augment
    if plan.source is not None and kind.needs_attacker and not checks.has_attacker(plan.source):
        return None
    own = kind.Config
    train = {k: v for k, v in settings_of(kept).items() if k != "seed"}
    key = f"{plan.source or ''}_{name}"
    teach = plan.defence is None and hasattr(own(), "taught") and _teach(key)
    begin = dict(MODELS[name].taught) if teach else {}
    rate = _rate(name, plan.data) if teach else {}
    asked = {"config": form(own, f"own_{key}{'_taught' * teach}", begin)}
    if plan.defence is None and not (
        checks.agree(teach, asked["config"])
        and checks.has_epochs(MODELS[name].stages, asked["config"])
    ):
        return None
    st.caption("The training loop")
    asked["train"] = form(TrainConfig, f"train_{key}{'_taught' * teach}", train | rate)
    with st.expander("Views: how far a training image is turned, shifted, changed"):
        asked["augment"] = form(AugmentConfig, f"views_{key}", views)
    answers = {part: values for part, values in asked.items() if values is not None}
    if len(answers) < len(asked):
        return None
    start = {"config": own(), "train": TrainConfig(), "augment": AugmentConfig()}
    usual = {part: config.to_dict() for part, config in start.items()}
    usual["train"] |= {key: v for key, v in train.items() if key in usual["train"]}
    usual["augment"] |= {key: v for key, v in views.items() if key in usual["augment"]}
    found: dict[str, Any] = {
        part: {key: v for key, v in values.items() if v != usual[part][key]}
        for part, values in answers.items()
    }
    return found | {"teach": {} if teach else None}


def _rate(model: str, data: str) -> dict[str, Any]:
    """The learning rate of the model's recipe for these data; for others, of its first recipe."""
    from clustcore.experiments.recipes import RECIPES

    plans = [one.plan for one in RECIPES.values() if one.plan.model == model]
    plans.sort(key=lambda plan: plan.data != data)
    return {"lr": plans[0].train["lr"]} if plans else {}


def _teach(key: str) -> bool:
    return st.toggle(
        "Manifold start: make a teacher first",
        key=f"teach_{key}",
        persist_state="session",
        help="A teacher lays out all training images as a manifold and parts it into clusters, "
        "without labels; the stage `taught` learns them. That takes some minutes more. Without a "
        "teacher, `taught` must be 0.",
    )


def _begin(plan: Plan, found: Sequence[Job]) -> None:
    free = _free_name(plan, found)
    typed = st.text_input(
        "Name of the run",
        key="train_name",
        max_chars=80,
        placeholder=free,
        help="Letters, digits, '.', '_' and '-'.",
        width=360,
    ).strip()
    name = typed or free
    if problem := _wrong_name(name, found):
        st.error(problem, icon=":material/error:")
        return
    plan = dataclasses.replace(plan, name=name)
    line = "\n".join(shlex.join(["python", "-m", "clustcore", *one]) for one in plan.commands())
    row = st.container(horizontal=True, vertical_alignment="center")
    # not on_click: a callback gets the name and plan of the run before, without what was typed last
    pressed = row.button("Start training", icon=":material/play_arrow:", key="train_start")
    row.caption("The same from a terminal, without the live maps:", width="content")
    st.code(line, language="bash", wrap_lines=True)
    if pressed:
        _start(plan)


def _free_name(plan: Plan, found: Sequence[Job]) -> str:
    data = plan.data.rpartition("/")[2].rpartition(":")[2]
    if plan.defence is None:
        base = f"my-{plan.model}-{data}"
    else:
        base = f"{plan.source}-{plan.defence.replace('_', '-')}"
    base = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in base)[:70]
    count, name = 1, base
    while _wrong_name(name, found):
        count, name = count + 1, f"{base}-{count + 1}"
    return name


def _wrong_name(name: str, found: Sequence[Job]) -> str:
    if not runs.is_name(name):
        return f"Expected {runs.NAME_RULE}."
    if any(job.name == name for job in found):
        return f"There is a training {notes.plain(name)} already: choose it above, or another name"
    if runs.taken(name):
        return f"There is a run {notes.plain(name)} already: choose another name."
    return ""


def _start(plan: Plan) -> None:
    try:
        if plan.download and plan.root:
            Path(plan.root).mkdir(parents=True, exist_ok=True)
        jobs.start(plan)
    except (ValueError, OSError) as error:
        st.error(notes.report(error), title="That did not work", icon=":material/error:")
        return
    st.session_state["train_begun"] = plan.name  # for `choose`, before its widget is there
    st.rerun()


def earlier(found: Sequence[Job]) -> None:
    """Every training that was started here, with its state."""
    if not found:
        return
    st.subheader("Trainings", anchor=False)
    for job in found:
        icon, _ = _WORDS[job.state]
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(notes.plain(job.name), key=f"see_{job.name}", on_click=_see, args=(job.name,))
            began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
            st.caption(f"{icon} {state(job)} · started {began}", width="content")


def _see(name: str) -> None:
    st.session_state["training"] = name
