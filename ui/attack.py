"""The parts of Attack: the map with the dial, what is computed on demand, figures and files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.runs import PATH_SAMPLES, RunInfo
from clustcore.types import AttackPath, MapArrays
from ui import answers, datasets, loaders, mirror, panels, scene, selection, tables
from ui.cluster_map import MapOptions, MapView, Pin, cluster_map

# What a path costs beforehand: passes through the model a sample, in training steps of one view.
_PASSES = {"noise": 12, "fgsm": 22, "pgd": 100}
# What an image costs while an attacker is fitted, likewise: all of it is the decoder's both passes.
_FIT_VIEWS, _FIT_VIEWS_BARE = 3.5, 0.5
_VIEW_SECONDS = 5e-4  # of one view in training, where the card does not say
_FONT = {"font_family": "Source Sans, sans-serif"}
_WRITES = (
    "An attack in the embedding needs write access to the embedding: someone who can only send "
    "images to the model cannot make it."
)
ANEW = "Fit anew with these settings"
_NO_IMAGES = "No attacked images: the weights of this model, or its data, are not here."


def controls(place: Any) -> bool:
    """Whether only those that moved are drawn."""
    return place.toggle(
        "Only moved",
        key="only_moved",
        persist_state="session",
    )


def control_of(ask: loaders.Ask) -> loaders.Ask:
    """The random noise of equal size that stands beside every attack."""
    return dataclasses.replace(ask, attack="noise", target=None, seed=0)


def status(now: scene.Scene, arrays: MapArrays, path: AttackPath | None) -> str:
    """The line under the title."""
    parts = [panels.data_line(now), scene.attack_name(now.attack)]
    if path is None:
        parts.append("not computed yet")
    else:
        parts[-1] += f" on {len(path.rows):,} of {len(arrays.xy):,} {arrays.split} images"
        when = "computed ahead" if path.ahead else "computed here"
        parts.append(f"{when}, seed {path.seed}")
    if stale(now.ask):
        parts.append("an old attacker, fitted on other weights: it under-reports")
    fitted = changed(loaders.attacker_settings(now.run, now.attack))
    if fitted:
        parts.append(f"attacker fitted with {fitted}")
    device = answers.device_in_use(now.run, now.device)
    if device:
        parts.append(device)
    return " · ".join(parts)


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


def stale(ask: loaders.Ask) -> bool:
    """Whether the attacker of a learned attack was fitted on other weights than the run's."""
    return loaders.attacker_state(ask.run, ask.attack) == "stale"


def warn(now: scene.Scene) -> None:
    """Say it where the attacker knows another model than this one."""
    if stale(now.ask):
        name, model = scene.attack_name(now.attack), panels.plain(now.run.name)
        st.warning(
            f"{name} was fitted on other weights than those of {model}: it under-reports how many "
            "samples move. Only an attacker fitted afresh says what this model withstands.",
            title="An old attacker",
            icon=":material/warning:",
        )


def action(missing: list[loaders.Ask]) -> str:
    """What the button of the offer says."""
    if any(stale(ask) for ask in missing):
        return "Fit a fresh attacker"
    return ANEW if any(loaders.other_settings(ask) for ask in missing) else "Compute now"


def missing(asks: list[loaders.Ask]) -> list[loaders.Ask]:
    """The paths that are not there, or that an old attacker has walked, or one fitted with other
    settings.
    """
    return [ask for ask in asks if loaders.path(ask) is None or _again(ask)]


def _again(ask: loaders.Ask) -> bool:
    return stale(ask) or loaders.other_settings(ask)


def offer(now: scene.Scene, missing: list[loaders.Ask], label: str = "Compute now") -> None:
    """What has not been computed yet: says so, asks, computes it with progress.

    Any other action on the page cancels.
    """
    if not missing:
        return
    names = " and ".join(_name(now, ask) for ask in missing)
    bare = {panels.plain(ask.run.name): None for ask in missing if not panels.has_weights(ask.run)}
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
        f"about {duration(seconds)} on a CPU{' in all' if _unfit(missing) else ''}.",
        width="content" if not _unfit(missing) else "stretch",
    )
    if place.button(label, icon=":material/play_arrow:", key="compute"):
        _compute(now, missing)


def _unfit(asks: list[loaders.Ask]) -> list[loaders.Ask]:
    return [ask for ask in asks if loaders.needs_fit(ask)]


def _fits(asks: list[loaders.Ask]) -> str:
    """What is fitted first, and on which images; empty where nothing is."""
    unfit = _unfit(asks)
    if not unfit:
        return ""
    n, split = answers.fit_images(unfit[0].run)
    images = f"{n:,} training images" if split == "train" else f"{n:,} {split} images"
    trained = unfit[0].run.card["data"]["split"]
    why = "" if split == trained else " (the training split is not here)"
    what = "An attacker is" if len(unfit) == 1 else "An attacker of each is"
    config = unfit[0].fit or ALRDCConfig()
    other = changed(dataclasses.replace(config, epochs=ALRDCConfig().epochs))
    how = f"{config.epochs} epochs{other and f', {other}'}"
    return f"{what} fitted first, on {images}{why}, {how}. Then "


def estimate(ask: loaders.Ask) -> float:
    """Seconds that a path will take on a CPU, judged by how long the run's training took on one.

    Where an attacker has to be fitted, with that.
    """
    if ask.space == "embedding":  # the network itself is not asked
        return 5.0 + (_fit_seconds(ask) if loaders.needs_fit(ask) else 0.0)
    return max(5.0, _PASSES.get(ask.attack, 100) * _samples(ask.run) * _view_seconds(ask.run))


def _samples(run: RunInfo) -> int:
    """Samples that a path of the run has: those of its map, where they are few."""
    arrays = loaders.map_arrays(run)
    return PATH_SAMPLES if arrays is None else min(PATH_SAMPLES, len(arrays.xy))


def _fit_seconds(ask: loaders.Ask) -> float:
    views = _FIT_VIEWS if loaders.decodes(ask.run) else _FIT_VIEWS_BARE
    epochs = (ask.fit or ALRDCConfig()).epochs
    return epochs * answers.fit_images(ask.run)[0] * views * _view_seconds(ask.run)


def _view_seconds(run: RunInfo) -> float:
    train, data = run.card["train"], run.card["data"]
    view = _VIEW_SECONDS
    numbers = [train.get("minutes"), train.get("epochs"), data.get("n")]
    if train.get("device") == "cpu" and all(isinstance(x, int | float) and x > 0 for x in numbers):
        minutes, epochs, n = numbers
        view = 60 * minutes / (epochs * n * 2)
    return view


def _compute(now: scene.Scene, missing: list[loaders.Ask]) -> None:
    def one(ask: loaders.Ask) -> Callable[[answers.OnStep], Any]:
        return lambda show: answers.compute_path(ask, now.device, show)

    work_through({_name(now, ask): one(ask) for ask in missing})


def _name(now: scene.Scene, ask: loaders.Ask) -> str:
    """An attack, and on whom where there are two."""
    name = scene.attack_name(ask.attack)
    return name if now.partner is None else f"{name} on {panels.plain(ask.run.name)}"


def work_through(jobs: dict[str, Callable[[answers.OnStep], Any]]) -> None:
    """Do one job after the other with progress and a way to cancel; then the page runs anew.

    Args:
        jobs: by name; each gets what it tells (done, total, sentence).
    """
    with st.status("Computing", expanded=True) as box:
        bar = st.progress(0.0)
        st.button("Cancel", icon=":material/stop:", help="So does any other control of the page.")
        began = time.monotonic()
        for number, (name, job) in enumerate(jobs.items()):

            def show(done: int, total: int, sentence: str, number=number, name=name) -> None:
                share = (number + done / max(total, 1)) / len(jobs)
                spent = time.monotonic() - began
                left = spent / share - spent if share > 0.02 else 0
                note = f" · about {duration(left)} left" if spent > 5 and left > 1 else ""
                # a waiting event of the page ends this run here: that is how cancelling works
                bar.progress(min(share, 1.0), text=f"{name}: {panels.plain(sentence)}{note}")

            try:
                job(show)
            except Exception as error:
                box.update(label="Not computed", state="error")
                st.markdown(panels.report(error))
                return
        box.update(label="Computed", state="complete", expanded=False)
    st.rerun()


def duration(seconds: float) -> str:
    """A time that something takes, in words."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@st.fragment
def attack_map(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, only_moved: bool
) -> None:
    """The map with its dial and all that follows a release: entries, selection, files."""
    with panels.calm():
        _attack_map(now, arrays, path, only_moved)


def _attack_map(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, only_moved: bool
) -> None:
    strength, row = mirror.entries(now, len(arrays.xy))
    truth = datasets.truth(arrays)
    noise = None if now.attack == "noise" else loaders.path(control_of(now.ask))
    order = mirror.take_order()
    colour = "cluster" if now.colour == "fragility" and path is None else now.colour
    what = (now.run.name, row, now.attack, now.space, now.norm, now.target, now.seed)
    failed = answers.failure("pin", what)
    detail, waits = (None, False) if row is None else _detail(now, arrays, path, row, failed)
    state = cluster_map(
        _view(now, arrays, path, noise, truth, strength),
        key="map_attack",
        options=MapOptions(
            colour=colour,
            only_moved=only_moved,
            note="" if path else "Paths not computed yet: these are the clean samples.",
        ),
        strength=strength,
        pin=row,
        detail=detail,
        pin_note=failed or panels.model_note(f"computing the path of sample {row}"),
        select=order.get("select"),
        zoom=order.get("zoom"),
        on_strength_change=mirror.set_strength,
        on_pin_change=mirror.set_pin,
        on_select_change=mirror.hold,
    )
    if waits:
        with st.spinner(panels.model_note(f"computing the images of sample {row}"), show_time=True):
            answers.attempt("pin", what, lambda: answers.pin_frames(now.ask, row, now.device))
        panels.redraw()
    st.caption(tables.sentence(path, strength, now.dial.end))
    if now.space == "embedding":
        st.caption(_WRITES)
    selection.draw(
        state,
        arrays,
        truth,
        path,
        row,
        empty="Nothing selected. Drag a shape on the map, or click a cell of the flow.",
    )
    if path is not None:
        st.download_button(
            f"Moved samples at strength {tables.strength_text(strength)} (CSV)",
            lambda: tables.csv(tables.moved_frame(path, strength, now.dial.end)),
            file_name=f"moved-{now.run.name}-{now.attack}-{now.space}-{now.norm}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _view(
    now: scene.Scene,
    arrays: MapArrays,
    path: AttackPath | None,
    noise: AttackPath | None,
    truth: datasets.Truth,
    strength: float,
) -> MapView:
    ask = now.ask
    which = (ask.attack, ask.space, ask.norm, ask.target, ask.seed, bool(path), bool(noise))
    which += loaders.path_stamp(ask)
    made_of = (now.run.name, loaders.map_stamp(now.run), now.run.card["weights_sha256"])
    return MapView(
        key=f"attack {made_of} {which}",
        mode="attack",
        xy=arrays.xy,
        clusters=arrays.labels,
        k=arrays.p.shape[1],
        confidence=arrays.p.max(1).astype(np.float32),
        labels=truth.y,
        class_names=truth.names,
        path=path,
        noise=None if path is None else noise,
        end=now.dial.end,
        attack_name=scene.attack_name(now.attack),
        strength_unit=now.unit,
        sprites=datasets.sprites(arrays.data, arrays.split),
        alt=tables.sentence(path, strength, now.dial.end),
    )


def _detail(
    now: scene.Scene, arrays: MapArrays, path: AttackPath | None, row: int, failed: str
) -> tuple[Pin | None, bool]:
    """What is known of the pinned sample, and whether its attacked images are still to come."""
    images = datasets.images_or_none(arrays)
    image = None if images is None else images[row]
    at = np.flatnonzero(path.rows == row) if path is not None else []
    if path is None:
        return Pin(row, image=image), False
    near = loaders.neighbours(arrays, row)
    nearest = {
        "neighbours": near.rows,
        "near": near.near,
        "neighbour_images": None if images is None else images[near.rows],
    }
    found = answers.pin_frames(now.ask, row, now.device, compute=False)
    loadable = images is not None and panels.has_weights(now.run)
    waits = found is None and loadable and not failed
    if found is None and not len(at):
        return (None if waits else Pin(row, image=image, note=failed or _NO_IMAGES)), waits
    one, i = (path, int(at[0])) if found is None else (found.path, 0)
    smallest = float(one.smallest[i])
    notes = []
    if int(arrays.labels[row]) == now.target:
        notes.append(f"This sample is in cluster {now.target} already.")
    if found is None:
        notes.append(failed or ("The attacked images follow." if waits else _NO_IMAGES))
    elif found.frames is None and found.decoded is None:
        notes.append("This model has no decoder: a changed embedding has no image.")
    return Pin(
        row,
        image=image,
        frames=None if found is None else found.frames,
        decoded=None if found is None else found.decoded,
        p=one.p[:, i],
        xy=one.xy[:, i],
        clusters=one.labels[:, i],
        l2=one.l2[:, i],
        smallest=smallest,
        note=" ".join(notes),
        **nearest,
    ), waits


def figures(now: scene.Scene, path: AttackPath | None) -> None:
    """Static figures and the smallest flips, drawn once opened: plotly is a large download."""
    box = st.expander("Figures: security curve, smallest flips", on_change="rerun", key="figures")
    if path is None or not box.open:
        if path is None and box.open:
            box.caption("There is no figure before the path is computed.")
        return
    from clustcore import measures
    from clustcore.measures import figures as draw

    theme = "dark" if st.context.theme.type == "dark" else "light"
    noise = None if now.attack == "noise" else loaders.path(control_of(now.ask))
    curve = measures.security_curve(path, noise=noise, seed=now.seed)
    data = f"{now.data_label}, {now.run.name}"
    about = f"{data}, {scene.attack_name(now.attack)}"
    axis = draw.strength_title(now.space, now.norm)
    left, right = box.columns(2)
    shown = draw.security_curve(
        curve.strengths,
        curve.moved,
        curve.low,
        curve.high,
        curve.noise,
        axis=axis,
        caption=draw.Caption(about, curve.n, path.seed),
        theme=theme,
    )
    left.plotly_chart(shown.update_layout(_FONT), theme=None, key="security_curve")
    table = loaders.min_flips(now.run, now.space, now.norm)
    if table is None:
        right.caption("No table of smallest flips was computed for this space and norm.")
        return
    shown = draw.survival(
        {"min_flip": measures.survival(table.smallest)},
        axis=axis,
        caption=draw.Caption(f"{data}, min_flip", len(table.rows), table.seed),
        theme=theme,
    )
    right.plotly_chart(shown.update_layout(_FONT), theme=None, key="survival")
    right.caption(
        f"Median smallest flip {tables.median_flip(table.smallest)}. The search runs on beyond the "
        "dial's end, and is another search than the dial's."
    )
