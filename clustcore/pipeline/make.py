"""Make a run: train a model, or one that is there on under a defence, and write weights and card.

What else stands in a run is made in `contents`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clustcore import __version__, files, locations, runs
from clustcore.attacks import ATTACKS
from clustcore.config import digest
from clustcore.defences import DEFENCES
from clustcore.defences.base import Defence
from clustcore.distributed import group, is_main, wait, world
from clustcore.machine import describe
from clustcore.maps import projection
from clustcore.models import MODELS
from clustcore.models.base import Model, TrainData, Wrapped
from clustcore.models.radius import embedding_radius
from clustcore.models.weights import begin_with, build, save_weights
from clustcore.pipeline.batches import check_images, cluster, cluster_all
from clustcore.pipeline.contents import make_map
from clustcore.pipeline.run import OnStep, Run
from clustcore.registry import lookup
from clustcore.runs import Card
from clustcore.runs.plan import Plan, settings_of
from clustcore.training.epoch import Epoch, Progress, TrainConfig
from clustcore.training.loop import train
from clustcore.training.resume import drop_resume, write_history
from clustcore.training.teacher import TeachConfig, Teacher, teach
from clustcore.training.views import AugmentConfig
from clustcore.types import Clustering, Images, Samples

HALF_MOVED = 2e-4  # share of the images that half precision may move for the weights to ship in it


@group("cpu")
def make_run(
    name: str,
    plan: Plan,
    samples: Samples,
    teacher: Teacher | None = None,
    *,
    start: Run | None = None,
    folder: Path | None = None,
    stopped: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Path:
    """Train a model on samples and write its run.

    A run that was interrupted goes on where it stood.

    Labels are not read: `TrainData` has no place for them.

    Args:
        start: a run whose weights training starts from, in place of random ones: for the later
            stages of a model whose first ones are done.
        stopped: where weights and card go, as they stand, of a training that its time limit
            stopped; the run's own folder keeps what it needs to go on.

    Returns:
        The run's folder; it holds weights and card once training has finished.

    Raises:
        ValueError: a plan of a defence; images, teacher or `start` that do not fit the model; for
            all else see `train`.
    """
    if plan.model is None:
        raise ValueError(f"plan of {name!r}: expected a model, got the defence {plan.defence!r}")
    folder = runs.new_folder(name) if folder is None else folder
    settings, augment = _loop(plan)
    shape = list(samples.x.shape[1:])
    config = {"input_shape": shape, **plan.config}
    torch.manual_seed(settings.seed)
    model = build(plan.model, config)
    if list(model.input_shape) != shape:
        raise ValueError(
            f"model input_shape: expected {shape} (the data's), got {list(model.input_shape)}"
        )
    check_images(samples.x, model)
    if teacher is not None:
        _check_teacher(teacher, model.clusters)
    pixels = _bytes(samples.x)
    if start is not None:
        begin_with(model, start.model, f"run {start.name!r}")
    elif hasattr(model, "normalise"):
        model.normalise.measure(pixels)
    given = None if teacher is None else torch.from_numpy(teacher.clusters)
    work = _Work(folder, pixels, given, settings, augment, on_epoch, on_step)
    also = () if start is None else (start.card.weights_sha256,)
    progress = work.train(model, also=also)
    if not progress.finished:
        if stopped is None or not progress.history:
            return folder
        stopped.mkdir(parents=True, exist_ok=True)
        if is_main():
            write_history(stopped, progress.history)
        model.eval()
    stages = {stage.name: stage.epochs for stage in model.stages()}
    asked = "taught" in stages or plan.config.get("heads") == "teacher"
    card = {
        "model": plan.model,
        "defence": None,
        "augment": augment.to_dict(),
        "train": settings.to_dict() | {"batch": progress.batch, "stages": stages},
        "teacher": _teacher_note(teacher) if asked and teacher is not None else None,
    }
    if start is not None:
        card["start"] = {"from": start.name, "from_weights": start.card.weights_sha256}
    if stopped is not None and not progress.finished:
        card["stopped"] = {"after": len(progress.history), "of": sum(stages.values())}
        _finish(stopped, card, model, samples, progress)
        return folder
    if stopped is not None and is_main():
        shutil.rmtree(stopped, ignore_errors=True)
    return _finish(folder, card, model, samples, progress)


def teach_on(
    run: Run, samples: Samples, config: TeachConfig, on_step: OnStep | None = None
) -> Teacher:
    """A teacher made of what a trained model makes of the images: its embedding, each of length 1.

    So a model of one's own is clustered anew, or DRC's `heads` gets another clustering of its
    features.

    Raises:
        ValueError: a run that was trained on other images, too few of them, or an embedding that is
            constant or not finite.
    """
    known = run.card.data.name
    if known != samples.name:
        raise ValueError(
            f"run {run.name!r}: expected one trained on images of {samples.name}, got one trained "
            f"on {known}"
        )
    z = cluster(run.model, samples.x).z
    # an embedding of nothing but zeros is refused as constant
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return teach(z, samples.name, config, on_step, on=run.card.weights_sha256)


@group("cpu")
def defend(
    name: str,
    source: Run,
    plan: Plan,
    samples: Samples,
    *,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Path:
    """Train a run's model on under a defence and write it as a run of its own.

    One that was interrupted goes on where it stood.

    Training starts from the source's weights and is told the source's own clusters of the images.
    The source is left as it is.

    Args:
        source: the run that the plan names as its source.
        plan: names the defence; where it says nothing of the loop and of the views, they are as
            the source was trained.
        samples: the images to train on: the training split.

    Returns:
        The new run's folder; it holds weights and card once training has finished.

    Raises:
        ValueError: a plan without a defence or of another source, an unknown defence or setting,
            images that do not fit, or a defence against a fitted attacker where the source has none
            that was fitted on its weights.
    """
    if plan.defence is None or plan.source != source.name:
        raise ValueError(
            f"plan of {name!r}: expected a defence of {source.name!r}, got the defence "
            f"{plan.defence!r} of {plan.source!r}"
        )
    folder = runs.new_folder(name) if folder is None else folder
    cls = lookup(DEFENCES, plan.defence, "defence")
    config = cls.Config.from_dict(plan.config, f"defence {plan.defence!r}")
    loop, augment = _loop(plan, source.card)
    check_images(samples.x, source.model)
    given = torch.from_numpy(cluster_all(source.model, samples.x).labels)
    attacker, attacker_sha = None, None
    if cls.needs_attacker:
        attacker, attacker_sha = _fitted_attacker(source)
    model = copy.deepcopy(source.model).requires_grad_(True)
    guard = cls(config, model, attacker, loop.seed)
    weights = source.card.weights_sha256
    work = _Work(folder, _bytes(samples.x), given, loop, augment, on_epoch, on_step)
    progress = work.train(model, guard, (weights, attacker_sha))
    if not progress.finished:
        return folder
    stages = {plan.defence: config.epochs}
    card = {
        "model": source.card.model,
        "defence": {
            "name": plan.defence,
            "config": config.to_dict(),
            "from": source.name,
            "from_weights": weights,
            "attacker_sha256": attacker_sha,
            "epochs": config.epochs,
        },
        "augment": augment.to_dict(),
        "train": loop.to_dict() | {"batch": progress.batch, "stages": stages},
        "teacher": source.card.teacher,
    }
    # the old attacker stays at hand; the new weights make it stale
    if attacker_sha is not None and is_main():
        old = runs.attacker_file(source.info, "alrdc")
        (folder / runs.ATTACKERS).mkdir(exist_ok=True)
        shutil.copyfile(old, folder / runs.ATTACKERS / old.name)
    return _finish(folder, card, model, samples, progress)


def _loop(plan: Plan, source: Card | None = None) -> tuple[TrainConfig, AugmentConfig]:
    # the settings of the loop and of the views; what the plan leaves open is the source's, but for
    # its seed
    train, augment = plan.train, plan.augment
    if source is not None:
        usual = {k: v for k, v in settings_of(source.train).items() if k != "seed"}
        train, augment = usual | train, {**source.augment, **augment}
    return TrainConfig.from_dict(train, "train"), AugmentConfig.from_dict(augment, "augment")


def _fitted_attacker(source: Run) -> tuple[torch.nn.Module, str]:
    file = runs.attacker_file(source.info, "alrdc")
    attack = lookup(ATTACKS, "alrdc", "attack").load(file)
    if attack.fitted_on != source.card.weights_sha256:
        raise ValueError(
            f"{file}: expected an attacker fitted on the weights of {source.name!r}, got one "
            "fitted on others; fit it anew"
        )
    return attack.perturb, files.sha256(file)


@dataclass(frozen=True)
class _Work:
    """What a training of any kind asks of the loop, and where it goes."""

    folder: Path
    pixels: Tensor  # (n, c, h, w) uint8
    given: Tensor | None  # (n,) clusters that training is told
    settings: TrainConfig
    augment: AugmentConfig
    on_epoch: Callable[[Epoch], None] | None
    on_step: Callable[[int, int], None] | None

    def train(
        self,
        model: Model,
        defence: Defence | None = None,
        also: tuple[str | None, ...] = (),
    ) -> Progress:
        """Train the model in the folder, which no other process may do meanwhile.

        Args:
            also: hashes of what else decides the result.
        """
        origin = self._origin()
        with files.locked(self.folder) if is_main() else contextlib.nullcontext():
            return train(
                model,
                TrainData(self.pixels, self.given),
                self.settings,
                self.augment,
                defence=defence,
                folder=self.folder,
                origin=digest(origin, *also) if also else origin,
                on_epoch=self.on_epoch,
                on_step=self.on_step,
            )

    def _origin(self) -> str:
        # what is trained on what; where, how fast and for how long do not enter, nor does the
        # batch, which memory may have the last word on
        beside = ("minutes", "device", "batch", "compile", "snapshots")
        settings, augment = (
            # what is as it is by default does not enter, so that a later setting changes nothing
            {k: v for k, v in config.to_dict().items() if v != getattr(type(config)(), k)}
            for config in (self.settings, self.augment)
        )
        return digest(
            {k: v for k, v in settings.items() if k not in beside},
            augment,
            *(None if t is None else _hash(t) for t in (self.pixels, self.given)),
        )


def _hash(t: Tensor) -> str:
    return hashlib.sha256(memoryview(t.numpy()).cast("B")).hexdigest()


def _bytes(x: Images) -> Tensor:
    # (n, c, h, w) uint8, made a part at a time: a float copy of all would be four times as large
    pixels = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        pixels[part] = np.round(x[part] * 255)
    return torch.from_numpy(pixels)


def _finish(
    folder: Path, card: dict[str, Any], model: Model, samples: Samples, progress: Progress
) -> Path:
    # the weights, in half precision where that moves next to nothing, and the card: what is known
    # beforehand, and what came of it
    exact, full = cluster_all(model, samples.x), copy.deepcopy(model.state_dict())
    rounded = {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in full.items()}
    model.load_state_dict(rounded)
    clean = cluster_all(model, samples.x)
    moved = float((exact.labels != clean.labels).mean())
    half = moved <= HALF_MOVED
    if not half:
        model.load_state_dict(full)
        clean = exact
    weights = save_weights(folder, model, half=half) if is_main() else ""
    known = {
        "format": runs.FORMAT,
        "config": model.config.to_dict(),
        "decoder": model.has_decoder,
        "data": {"name": samples.name, "split": samples.split, "n": len(samples)},
        "embedding": _embedding(clean),
        "source": MODELS[card["model"]].source,
        "precision": "float16" if half else "float32",
        "half_precision_moved": moved,
        "code": _commit(),
        "torch": torch.__version__,
        "weights_sha256": weights,
    }
    card["train"] |= {
        "epochs": len(progress.history),
        "minutes": round(sum(row["seconds"] for row in progress.history) / 60, 2),
        "views": _sums(progress.history, "stage", "views"),
        "precisions": _sums(
            [row | {"epochs": 1} for row in progress.history if row["views"]], "precision", "epochs"
        ),
        "device": str(next(model.parameters()).device),
        "machine": describe(next(model.parameters()).device),
        "threads": torch.get_num_threads(),
        "processes": world(),
    }
    if is_main():
        runs.write_card(folder, Card.from_json(known | card))
        drop_resume(folder)
    wait()  # nobody looks for the card before it is there
    return folder


def _sums(rows: list[dict[str, Any]], by: str, what: str) -> dict[str, int]:
    # over the rows of a history, kind by kind
    found: dict[str, int] = {}
    for row in rows:
        found[row[by]] = found.get(row[by], 0) + row[what]
    return found


def add_run(
    name: str,
    model: Model,
    samples: Samples,
    on_step: OnStep | None = None,
    config: projection.ProjectionConfig | None = None,
) -> Path:
    """Give a model of one's own (see `wrap`) a run, map included, so that the app shows it.

    Args:
        samples: the images its map is made of: a shipped test split, or a folder's.
        config: how the map is made.

    Raises:
        ValueError: a name that is no plain folder name, or one that is taken.
    """
    folder = runs.new_folder(name)
    if isinstance(model, Wrapped) and not model.config.builder:
        raise ValueError("wrapped model: expected a builder, to build it again; got none")
    clean = cluster(model, samples.x)
    kind = next(key for key in MODELS if isinstance(model, lookup(MODELS, key, "model")))
    values = {
        "format": runs.FORMAT,
        "model": kind,
        "config": model.config.to_dict(),
        "decoder": model.has_decoder,
        "defence": None,
        "data": {"name": samples.name, "split": samples.split, "n": len(samples)},
        "train": {"seed": 0},
        "embedding": _embedding(clean),
        "teacher": None,
        "source": MODELS[kind].source,
        "torch": torch.__version__,
        "weights_sha256": save_weights(folder, model, half=False),
    }
    try:
        card = Card.from_json(values)
        runs.write_card(folder, card)
        device = next(model.parameters()).device
        run = Run(name, folder, card, model, device)
        make_map(run, samples, on_step=on_step, config=config)
    except BaseException:
        shutil.rmtree(folder)  # half a run would only stand in the way of the next try
        raise
    return folder


def _check_teacher(teacher: Teacher, clusters: int) -> None:
    sizes = np.bincount(teacher.clusters, minlength=clusters)
    if len(sizes) != clusters or (sizes == 0).any():
        raise ValueError(
            f"teacher: expected samples in each of {clusters} clusters (the model's), got "
            f"{int((sizes > 0).sum())} of {len(sizes)}"
        )


def _embedding(clean: Clustering) -> dict[str, Any]:
    radius = embedding_radius(torch.from_numpy(clean.z), torch.from_numpy(clean.labels))
    return {"R": float(radius), "dim": clean.z.shape[1]}


def _teacher_note(teacher: Teacher) -> dict[str, Any]:
    return {
        "name": "umap-gmm",
        "agreement": teacher.agreement,
        "on": teacher.on,
        **teacher.config.to_dict(),
    }


def _commit() -> str:
    # which code made a run; installed, a commit would be that of another project around it
    if locations.INSTALLED:
        return f"driftmap {__version__}"
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=locations.PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    changed = subprocess.run(
        ["git", "status", "--porcelain", "clustcore"],
        cwd=locations.PROJECT,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return (found.stdout.strip() or "unknown") + ("-dirty" if changed.stdout else "")
