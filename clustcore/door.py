"""Train and defend from a script or a notebook, in one call, without the app."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clustcore.datasets import load_samples
from clustcore.datasets.arrays import samples
from clustcore.models.base import Model
from clustcore.models.weights import build
from clustcore.pipeline import make
from clustcore.pipeline.run import Run, load_run, run_in
from clustcore.runs.plan import Plan
from clustcore.training.epoch import Epoch
from clustcore.training.teacher import Teacher
from clustcore.types import Samples


def train(
    model: str,
    data: str | Samples | Any,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    augment: Mapping[str, Any] | None = None,
    teacher: Teacher | None = None,
    start: Run | None = None,
    seed: int = 0,
    device: str = "auto",
    root: str | Path | None = None,
    download: bool = False,
    folder: str | Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Run:
    """Train a model on images, without labels, and open the run that comes of it.

    Every epoch is saved. A training that was interrupted, also by Ctrl-C or the stop button of a
    notebook, goes on from its last whole epoch when the same call is made again.

    Args:
        model: A model's name: "drc", "dec" or "alrdc" (`clustcore.models.MODELS` has them all).
        data: The images to learn from: a data set's name, of which the training split is taken;
            `Samples`, as `load_samples` gives them; or an array or tensor (n, c, h, w), or
            (n, h, w) for grey images, of bytes or of floats in [0, 1].
        name: What the run is called; "my-<model>-<data>" by default.
        config: Fields of the model's config, such as `{"clusters": 10}`; the rest is as by default.
            The shape of the images comes from the data.
        epochs: How many there are of all the model's stages together. Each stage keeps its share,
            and has one at least. By default they are as the config has them.
        augment: Fields of `AugmentConfig`: how far a random view may stray from its image.
        teacher: Clusters to follow in a stage that asks for them (see
            `clustcore.training.teacher.teach`).
        start: A run whose weights training starts from, in place of random ones.
        seed: Of the weights, the order and the views.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        root: The folder that holds a data set given by name (see `load_samples`).
        download: Allow a download of it into `root`.
        folder: Where the run goes; by default a folder of its name among one's own runs, where
            `load_run` and the app find it.
        on_epoch: Called with an `Epoch` (loss, cluster sizes, confidence, ...) after each one; may
            raise to stop.
        on_step: Called with (batch, batches) within an epoch.
        settings: Fields of `TrainConfig`: `lr`, `batch`, `minutes`, `precision`, ...

    Returns:
        The run, its weights loaded. `clustcore.evaluate(run.model, samples)` says what it is worth.

    Raises:
        ValueError: an unknown model, data set or setting, images that do not fit, or a run of this
            name that is there already.
        TimeoutError: `minutes` were over first; the same call goes on.
        TrainingFailed: it diverged, collapsed into one cluster, or found no memory.

    Examples:
        DEC on 200 digits, two epochs: long enough to see how it goes.

        >>> import tempfile
        >>> few = load_samples("digits", "train").take(np.arange(200))
        >>> small = {"width": 4, "dim": 4}
        >>> place = tempfile.mkdtemp()
        >>> told = []
        >>> run = train(
        ...     "dec", few, config=small, epochs=2, device="cpu", folder=place, on_epoch=told.append
        ... )
        >>> run
        Run('my-dec-digits', 'dec' on 'digits', 10 clusters, without a map, on cpu)
        >>> [(epoch.stage, sum(epoch.sizes)) for epoch in told]
        [('autoencode', 200), ('cluster', 200)]
        >>> run.card.data.n, run.model.dim
        (200, 4)
    """
    images = _images(data, root, download)
    place = _place(folder)
    found = dict(config or {})
    if epochs is not None:
        found |= _share_out(model, {"input_shape": list(images.x.shape[1:])} | found, epochs)
    loop = settings | {"seed": seed, "device": device}
    views = dict(augment or {})
    plan = Plan(model, images.name, found, views, loop, split=images.split, name=name).named()
    made = make.make_run(
        plan.run_name,
        plan,
        images,
        teacher,
        start=start,
        folder=place,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    return _opened(made, plan.run_name, device, settings)


def defend(
    run: Run | str,
    defence: str,
    data: str | Samples | Any | None = None,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    augment: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | None = None,
    root: str | Path | None = None,
    download: bool = False,
    folder: str | Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Run:
    """Train a run's model on under a defence, and open the new run; the old one stays as it is.

    One that was interrupted goes on when the same call is made again, as with `train`.

    Args:
        run: The run to defend, or its name.
        defence: A defence's name: "pgd_at", "alternating", "adversarial_view", "alrdc" or
            "control" (`clustcore.defences.DEFENCES` has them all).
        data: The images to train on, as in `train`; by default the data set and split that the run
            was trained on.
        name: What the new run is called; "<run>-<defence>" by default.
        config: Fields of the defence's config, such as `{"eps": 0.1}`; the rest is as by default.
        epochs: How many further epochs; by default as the config has them.
        augment: Fields of `AugmentConfig`; the rest is as the run was trained with.
        seed: Of the order, the views, and what the defence draws.
        device: As in `train`; by default where the run is.
        root: The folder that holds a data set given by name (see `load_samples`).
        download: Allow a download of it into `root`.
        folder: Where the new run goes; by default a folder of its name among one's own runs.
        on_epoch: Called with an `Epoch` after each one; may raise to stop.
        on_step: Called with (batch, batches) within an epoch.
        settings: Fields of `TrainConfig` (`lr`, `batch`, `minutes`, ...); the rest is as the run
            was trained with.

    Returns:
        The defended run, its weights loaded.

    Raises:
        ValueError: an unknown run, defence, data set or setting, images that do not fit, a run of
            this name that is there already, or a defence against a fitted attacker where the run
            has none.
        TimeoutError: `minutes` were over first; the same call goes on.
        TrainingFailed: it diverged, collapsed into one cluster, or found no memory.

    Examples:
        >>> import tempfile
        >>> few = load_samples("mnist").take(np.arange(100))
        >>> run = load_run("drc-mnist", "cpu")
        >>> place = tempfile.mkdtemp()
        >>> made = defend(run, "pgd_at", few, config={"steps": 1}, epochs=1, batch=50, folder=place)
        >>> made.name, made.card.summary
        ('drc-mnist-pgd-at', "'drc' on 'mnist', 10 clusters, defended by 'pgd_at'")
        >>> made.card.defence.source, made.card.weights_sha256 == run.card.weights_sha256
        ('drc-mnist', False)
    """
    source = load_run(run, device or "auto") if isinstance(run, str) else run
    device = device or str(source.device)
    images = _own_images(source, root, download) if data is None else _images(data, root, download)
    plan = Plan(
        None,
        images.name,
        dict(config or {}) | ({} if epochs is None else {"epochs": epochs}),
        dict(augment or {}),
        settings | {"seed": seed, "device": device},
        split=images.split,
        source=source.name,
        defence=defence,
        name=name,
    ).named()
    place = _place(folder)
    made = make.defend(
        plan.run_name, source, plan, images, folder=place, on_epoch=on_epoch, on_step=on_step
    )
    return _opened(made, plan.run_name, device, settings)


def _images(data: str | Samples | Any, root: str | Path | None, download: bool) -> Samples:
    if isinstance(data, str):
        return load_samples(data, "train", root, download)
    if root is not None or download:
        raise ValueError("root, download: expected them beside a data set's name, got images")
    return data if isinstance(data, Samples) else samples(np.asarray(data), split="train")


def _own_images(run: Run, root: str | Path | None, download: bool) -> Samples:
    return load_samples(run.card.data.name, run.card.data.split, root, download)


def _place(folder: str | Path | None) -> Path | None:
    if folder is None:
        return None
    if (Path(folder) / "card.json").exists():
        raise ValueError(f"{folder}: expected a new run, got one that is there already")
    return Path(folder)


def _share_out(model: str, config: Mapping[str, Any], epochs: int) -> dict[str, int]:
    """So many epochs, shared out among the stages as the config has them: its fields anew."""
    made = build(model, config)
    counts = _epoch_fields(made)
    if not counts:
        raise ValueError(f"epochs: expected a model whose config counts them, got {model!r}")
    if epochs < len(counts):
        raise ValueError(
            f"epochs: expected {len(counts)} or more, one for each of {', '.join(counts)}, got "
            f"{epochs}"
        )
    left, weight, found = epochs, sum(counts.values()), {}
    for done, (name, count) in enumerate(counts.items(), 1):
        most = left - (len(counts) - done)  # so that each later one has one
        found[name] = min(max(1, round(left * count / weight)), most)
        left, weight = left - found[name], weight - count
    return found


def _epoch_fields(model: Model) -> dict[str, int]:
    # found by trying: a field that counts epochs changes their sum by as much as it is changed
    def total() -> int:
        return sum(stage.epochs for stage in model.stages())

    config, before, found = model.config, total(), {}
    for name, value in config.to_dict().items():
        if type(value) is int and value > 0:
            other = value - 1 if value > 1 else 2
            with contextlib.suppress(ValueError):  # such as one cluster: not what is looked for
                model.config = dataclasses.replace(config, **{name: other})
                if total() - before == other - value:
                    found[name] = value
    model.config = config
    return found


def _opened(folder: Path, name: str, device: str, settings: Mapping[str, Any]) -> Run:
    if not (folder / "card.json").is_file():
        raise TimeoutError(
            f"{folder}: expected training to end within {settings.get('minutes')} minutes, got "
            "some of its epochs; they are kept, and the same call goes on"
        )
    return run_in(folder, name, device)
