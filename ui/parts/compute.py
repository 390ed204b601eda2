"""What has not been computed yet: said, estimated, offered, and worked through with progress."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from clustcore.attacks import ATTACKS
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.runs import PATH_SAMPLES, RunInfo
from ui import cached, notes, scene
from ui.parts import sentences

# What an image costs while an attacker is fitted, in training steps of one view: all of it is the
# decoder's both passes.
_FIT_VIEWS, _FIT_VIEWS_BARE = 3.5, 0.5
_VIEW_SECONDS = 5e-4  # of one view in training, where the card does not say
ANEW = "Fit anew with these settings"


def changed(config: ALRDCConfig | None) -> str:
    """The settings of a fit that are not the usual ones, such as "w 10, 5 epochs"."""
    if config is None:
        return ""
    words = {"weight_y": "w {:g}", "weight_x": "image weight {:g}", "epochs": "{} epochs"}
    usual, values = ALRDCConfig().to_dict(), config.to_dict()
    return ", ".join(
        words.get(name, f"{name} {{}}").format(values[name])
        for name in [*words, *(name for name in values if name not in words)]
        if values[name] != usual[name]
    )


def stale(ask: cached.runs.Ask) -> bool:
    """Whether the attacker of a learned attack was fitted on other weights than the run's."""
    return cached.runs.attacker_state(ask.run, ask.attack) == "stale"


def warn(now: scene.Scene) -> None:
    """Say it where the attacker knows another model than this one."""
    if stale(now.ask):
        name, model = scene.attack_name(now.attack), notes.plain(now.run.name)
        st.warning(
            f"{name} was fitted on other weights than those of {model}: it under-reports how many "
            "samples move. Only an attacker fitted afresh says what this model withstands.",
            title="An old attacker",
            icon=":material/warning:",
        )


def action(missing: list[cached.runs.Ask]) -> str:
    """What the button of the offer says."""
    if any(stale(ask) for ask in missing):
        return "Fit a fresh attacker"
    return ANEW if any(cached.runs.other_settings(ask) for ask in missing) else "Compute now"


def missing(asks: list[cached.runs.Ask]) -> list[cached.runs.Ask]:
    """The paths that have to be computed.

    They are not there, or an old attacker has walked them, or one fitted with other settings.
    """
    return [ask for ask in asks if cached.runs.path(ask) is None or _again(ask)]


def _again(ask: cached.runs.Ask) -> bool:
    return stale(ask) or cached.runs.other_settings(ask)


def offer(now: scene.Scene, missing: list[cached.runs.Ask], label: str = "Compute now") -> None:
    """What has not been computed yet: says so, asks, computes it with progress.

    Any other action on the page cancels.
    """
    if not missing:
        return
    names = " and ".join(_name(now, ask) for ask in missing)
    bare = {notes.plain(ask.run.name): None for ask in missing if not ask.run.has_weights}
    if bare:
        st.info(
            f"The weights of {' and '.join(bare)} are missing, so {names} cannot be "
            "computed. What is stored can be looked at.",
            title="Weights missing",
            icon=":material/key_off:",
        )
        return
    seconds = sum(estimate(ask) for ask in missing)
    goal = "" if now.target is None else f", into cluster {now.target}"
    place = st.container(horizontal=True, vertical_alignment="center")
    old = any(_again(ask) for ask in missing)
    place.markdown(
        f"**{'To be computed afresh' if old else 'Not computed yet'}:** {names}{goal}, {now.unit}, "
        f"seed {now.seed}. {_fits(missing)}{_samples(missing[0].run):,} samples on 11 strengths: "
        f"about {sentences.duration(seconds)} on a CPU{' in all' if _unfit(missing) else ''}.",
        width="content" if not _unfit(missing) else "stretch",
    )
    if place.button(label, icon=":material/play_arrow:", key="compute"):
        _compute(now, missing)


def _unfit(asks: list[cached.runs.Ask]) -> list[cached.runs.Ask]:
    return [ask for ask in asks if cached.runs.needs_fit(ask)]


def _fits(asks: list[cached.runs.Ask]) -> str:
    """What is fitted first, and on which images; empty where nothing is."""
    unfit = _unfit(asks)
    if not unfit:
        return ""
    n, split = cached.models.fit_images(unfit[0].run)
    images = f"{n:,} training images" if split == "train" else f"{n:,} {split} images"
    trained = unfit[0].run.card.data.split
    why = "" if split == trained else " (the training split is not here)"
    what = "An attacker is" if len(unfit) == 1 else "An attacker of each is"
    config = unfit[0].fit or ALRDCConfig()
    other = changed(dataclasses.replace(config, epochs=ALRDCConfig().epochs))
    how = f"{config.epochs} epochs{other and f', {other}'}"
    return f"{what} fitted first, on {images}{why}, {how}. Then "


def estimate(ask: cached.runs.Ask) -> float:
    """Seconds that a path will take on a CPU, judged by how long the run's training took on one.

    Where an attacker has to be fitted, with that.
    """
    if ask.space == "embedding":  # the network itself is not asked
        return 5.0 + (_fit_seconds(ask) if cached.runs.needs_fit(ask) else 0.0)
    return max(5.0, ATTACKS[ask.attack].passes * _samples(ask.run) * _view_seconds(ask.run))


def _samples(run: RunInfo) -> int:
    """Samples that a path of the run has: those of its map, where they are few."""
    arrays = cached.runs.map_arrays(run)
    return PATH_SAMPLES if arrays is None else min(PATH_SAMPLES, len(arrays.xy))


def _fit_seconds(ask: cached.runs.Ask) -> float:
    views = _FIT_VIEWS if ask.run.card.decodes else _FIT_VIEWS_BARE
    epochs = (ask.fit or ALRDCConfig()).epochs
    return epochs * cached.models.fit_images(ask.run)[0] * views * _view_seconds(ask.run)


def _view_seconds(run: RunInfo) -> float:
    training, n = run.card.training, run.card.data.n
    if training.device == "cpu" and training.minutes and training.epochs and n:
        return 60 * training.minutes / (training.epochs * n * 2)
    return _VIEW_SECONDS


def _compute(now: scene.Scene, missing: list[cached.runs.Ask]) -> None:
    def one(ask: cached.runs.Ask) -> Callable[[cached.models.OnStep], Any]:
        return lambda show: cached.models.compute_path(ask, now.device, show)

    work_through({_name(now, ask): one(ask) for ask in missing})


def _name(now: scene.Scene, ask: cached.runs.Ask) -> str:
    """An attack, and on whom where there are two."""
    name = scene.attack_name(ask.attack)
    return name if now.partner is None else f"{name} on {notes.plain(ask.run.name)}"


def work_through(jobs: dict[str, Callable[[cached.models.OnStep], Any]]) -> None:
    """Do one job after the other with progress and a way to cancel; then the page runs anew.

    Args:
        jobs: by name; each gets what it tells (done, total, sentence).
    """
    with st.status("Computing", expanded=True) as box:
        bar = st.progress(0.0)
        st.button("Cancel", icon=":material/stop:", help="So does any other control of the page.")
        began = time.monotonic()
        for number, (name, job) in enumerate(jobs.items()):

            def show(
                done: int, total: int, sentence: str, number: int = number, name: str = name
            ) -> None:
                share = (number + done / max(total, 1)) / len(jobs)
                spent = time.monotonic() - began
                left = spent / share - spent if share > 0.02 else 0
                note = f" · about {sentences.duration(left)} left" if spent > 5 and left > 1 else ""
                # a waiting event of the page ends this run here: that is how cancelling works
                bar.progress(min(share, 1.0), text=f"{name}: {notes.plain(sentence)}{note}")

            try:
                job(show)
            except Exception as error:
                box.update(label="Not computed", state="error")
                st.markdown(notes.report(error))
                return
        box.update(label="Computed", state="complete", expanded=False)
    st.rerun()
