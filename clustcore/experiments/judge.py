"""How a model stands under attack, beside the one it came from.

Here are the figures of ALRDC's table, and the bar that a defence has to clear.

A budget in the embedding is rho, in units of the judged model's own R: no model wins by inflating
its embedding. Labels enter ACC, NMI and ARI alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from clustcore import measures
from clustcore.attacks.alrdc import ALRDCAttack, ALRDCReLU, Learned
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.attacks.base import Attack, Budget, Goal
from clustcore.attacks.pgd import PGD, PGDConfig
from clustcore.config import Config, setting
from clustcore.dial import dial
from clustcore.pipeline.batches import cluster, parts_of
from clustcore.pipeline.run import Run, target_of
from clustcore.types import Samples

NEIGHBOURS = 15
_NEVER = 1e9  # patience: no start is given up early, however little it promises


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(Config):
    """How hard a model is attacked before it is called robust."""

    n: int = setting(1000, "samples that the per-sample attacks get", range=(2, 1_000_000))
    steps: int = setting(100, "gradient steps of each start", range=(1, 10_000))
    restarts: int = setting(5, "starts of the attack on the margin", range=(1, 100))
    aimed: int = setting(
        1, "starts at every other cluster in turn, for samples that stayed", range=(0, 100)
    )
    seed: int = setting(0, "seed of the sample and of the attacks", range=(0, 2**31 - 1))


def clean(run: Run, samples: Samples) -> dict[str, Any]:
    """ACC, NMI and ARI, and the decoder's error.

    That is the mean squared distance of an image from what the decoder makes of its embedding (sum
    over pixels; None without a decoder).
    """
    found = cluster(run.model, samples.x)
    scores = measures.scores(found.labels, samples.y, run.model.clusters)
    error = None
    if run.model.has_decoder:
        decoded = _decode(run, torch.from_numpy(found.z))
        error = float(((decoded - torch.from_numpy(samples.x)) ** 2).flatten(1).sum(1).mean())
    return {
        "n": len(samples),
        "acc": scores.acc,
        "nmi": scores.nmi,
        "ari": scores.ari,
        "used": scores.clusters_used,
        "reconstruction": error,
    }


@torch.no_grad()
def learned(run: Run, samples: Samples, attacker: Learned, config: JudgeConfig) -> dict[str, Any]:
    """The learned attack as published, unscaled, on all samples, beside its controls.

    These are a random change and PGD on z, each with every sample's own length.

    Returns:
        moved shares and ACC under it, with the clean matching and re-matched; NMI between clean and
        attacked clusters, which needs no label; the change's mean length, absolute, relative to
        the length of z, and in R; and how far the decoded image goes (sum of squares).
    """
    found = cluster(run.model, samples.x)
    z, target = torch.from_numpy(found.z), target_of(run.model)
    shifts = [
        attacker.raw(target, torch.from_numpy(samples.x[part]).to(run.device), unit=run.unit)
        for part in parts_of(len(samples))
    ]
    delta = torch.cat([shift.delta for shift in shifts]).float()
    length = delta.norm(dim=1)
    after = _labels(run, z + delta)
    scores = measures.scores(
        found.labels, samples.y, run.model.clusters, after=after, seed=config.seed
    )
    generator = torch.Generator().manual_seed(config.seed)
    noise = torch.randn(z.shape, generator=generator)
    noise = noise / noise.norm(dim=1, keepdim=True) * length[:, None]
    rows = rows_of(samples, config)
    pgd = _call(
        _pgd(config, config.restarts),
        run,
        z[rows],
        samples.ids[rows],
        Goal(),
        (length[rows] / run.unit).numpy(),
        ("l2", "embedding"),
        config.seed,
    )
    change = None
    if run.model.has_decoder:
        moved_image = _decode(run, z + delta) - _decode(run, z)
        change = float((moved_image**2).flatten(1).sum(1).mean())
    return {
        "n": len(samples),
        "seed": config.seed,
        "moved": scores.moved.value,
        "moved_interval": [scores.moved.low, scores.moved.high],
        "acc": scores.acc,
        "acc_rematched": scores.acc_rematched,
        "nmi_clean_attacked": measures.nmi(after, found.labels),
        "length": float(length.mean()),
        "length_relative": float(torch.cat([shift.relative for shift in shifts]).mean()),
        "rho": float(torch.cat([shift.rho for shift in shifts]).mean()),
        "decoded_change": change,
        "noise_moved": float((_labels(run, z + noise) != found.labels).mean()),
        "pgd_moved": float(pgd.mean()),
        "pgd_n": len(rows),
    }


def rows_of(samples: Samples, config: JudgeConfig) -> NDArray[np.int64]:
    """The samples that the per-sample attacks get: the same for every model of a data set."""
    n = min(config.n, len(samples))
    return measures.sample_rows(n, len(samples), samples.y, seed=config.seed)


def halfway(
    run: Run,
    samples: Samples,
    space: str,
    norm: str,
    config: JudgeConfig,
    attackers: Sequence[Learned] = (),
) -> float:
    """b: the smallest budget at which the worst case over the attacks moves half of the samples.

    Each attack is followed over the dial, PGD with a warm and a cold start at each strength, and
    each sample's smallest strength is the least that any of them needed; b is their median. A
    search that finds less makes b larger, which is the harder for a defence.

    Raises:
        ValueError: half of the samples stay up to the end of the dial.
    """
    rows = rows_of(samples, config)
    strengths = dial(samples.name, space, norm).strengths
    searches: list[Attack] = [PGD(PGDConfig(patience=_NEVER)), *attackers]
    found = []
    for search in searches:
        parts = [
            search.path(
                target_of(run.model),
                torch.from_numpy(samples.x[rows[part]]).to(run.device),
                Goal(),
                Budget(strengths[-1], norm, space, run.unit),
                strengths,
                ids=samples.ids[rows[part]],
                seed=config.seed,
            ).smallest.numpy()
            for part in parts_of(len(rows))
        ]
        found.append(np.concatenate(parts))
    smallest = np.sort(np.nan_to_num(measures.worst_case(found), nan=np.inf))
    half = float(smallest[(len(smallest) + 1) // 2 - 1])
    if not np.isfinite(half):
        raise ValueError(
            f"run {run.name!r}: expected half of the samples to move up to strength "
            f"{strengths[-1]:g}, got {np.isfinite(smallest).mean():.0%}"
        )
    return half


def worst(
    run: Run,
    samples: Samples,
    space: str,
    norm: str,
    eps: float,
    config: JudgeConfig,
    attackers: Sequence[Learned] = (),
) -> dict[str, Any]:
    """What each attack moves at one budget, and the worst case per sample over all of them.

    PGD on the margin with restarts; PGD at every other cluster in turn, for the samples that are
    left; in the embedding also learned attackers, scaled to the budget.
    """
    moved, shares = _worst(run, samples, space, norm, eps, config, attackers)
    whole = measures.share(moved, seed=config.seed)
    return {
        "space": space,
        "norm": norm,
        "eps": eps,
        "n": len(moved),
        "seed": config.seed,
        "moved": whole.value,
        "moved_interval": [whole.low, whole.high],
        "by_attack": shares,
    }


def _worst(
    run: Run,
    samples: Samples,
    space: str,
    norm: str,
    eps: float,
    config: JudgeConfig,
    attackers: Sequence[Learned] = (),
) -> tuple[Bool[np.ndarray, " m"], dict[str, float]]:
    # whom any attack moves, and the share of each
    rows = rows_of(samples, config)
    moved = np.zeros(len(rows), bool)
    shares: dict[str, float] = {}

    def attack(name: str, search: Attack, goal: Goal, only_left: bool = False) -> None:
        which = np.flatnonzero(~moved) if only_left else np.arange(len(rows))
        if not len(which):
            return
        at = rows[which]
        x = torch.from_numpy(samples.x[at])
        hit = _call(search, run, x, samples.ids[at], goal, eps, (norm, space), config.seed)
        moved[which] |= hit
        shares[name] = float(hit.mean()) if not only_left else float(moved.mean())

    attack("pgd", _pgd(config, config.restarts), Goal())
    for index, attacker in enumerate(attackers):
        attack(f"learned-{index}", attacker, Goal())
    if config.aimed:
        aimed = _pgd(config, config.aimed)
        attack("with every target", aimed, Goal(objective="multi_targeted"), only_left=True)
    return moved, shares


def momentum(
    run: Run, samples: Samples, rows: NDArray[np.int64], eps: float, seed: int = 0
) -> Bool[np.ndarray, " m"]:
    """Whom a plain momentum search in L-inf moves.

    It is an attack beside ours, which shares no code with it, so that a fault of ours hides
    nothing.

    Signed steps along an average of gradients, each of mean size 1 (Dong et al., arXiv 1710.06081):
    60 from the clean image and 60 from a random one up the margin, then, for those that stayed, 30
    towards every other cluster in turn.
    """
    moved = []
    for part in parts_of(len(rows)):
        x = torch.from_numpy(samples.x[rows[part]]).to(run.device)
        moved.append(_momentum(run, x, eps, seed + part.start).cpu().numpy())
    return np.concatenate(moved)


def _momentum(run: Run, x: Tensor, eps: float, seed: int) -> Tensor:
    with target_of(run.model).settled():
        with torch.no_grad():
            own = run.model(x).argmax(1)
        generator = torch.Generator().manual_seed(seed)
        moved = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        tries: list[tuple[int, int | None, bool]] = [(60, None, False), (60, None, True)]
        tries += [(30, k, False) for k in range(run.model.clusters)]
        for steps, aim, cold in tries:
            left = ~moved if aim is None else ~moved & (own != aim)
            if not left.any():
                continue
            clean, labels = x[left], own[left, None]
            delta = torch.zeros_like(clean)
            if cold:
                draw = torch.rand(clean.shape, generator=generator) * 2 - 1
                delta = draw.to(x.device) * eps
            found, average = torch.zeros(len(clean), dtype=torch.bool, device=x.device), 0.0
            for _ in range(steps):
                point = (clean + delta).clamp(0, 1).requires_grad_()
                s = run.model(point).float()
                found |= s.argmax(1) != labels[:, 0]
                # a sample that has moved costs steps, and changes nothing
                best = s.scatter(1, labels, -torch.inf).amax(1) if aim is None else s[:, aim]
                (gradient,) = torch.autograd.grad((best - s.gather(1, labels)[:, 0]).sum(), point)
                size = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-30)
                average = average + gradient / size
                step = 2.5 * eps / steps
                delta = (delta + step * average.sign()).clamp(-eps, eps)
            with torch.no_grad():
                found |= run.model((clean + delta).clamp(0, 1)).argmax(1) != labels[:, 0]
            moved[left.nonzero()[found, 0]] = True
    return moved


def pair(undefended: Run, defended: Run, samples: Samples, config: JudgeConfig) -> dict[str, Any]:
    """Two models in pixels, L-inf, where half of the undefended one's samples move.

    Whom our attacks move and whom the momentum search does, and the worst case of all.

    A quarter of the defended one's may move, and its ACC be .03 lower, for it to clear the bar.
    """
    b = halfway(undefended, samples, "pixels", "linf", config)
    rows = rows_of(samples, config)
    found: dict[str, dict[str, Any]] = {}
    for name, run in (("undefended", undefended), ("defended", defended)):
        ours, shares = _worst(run, samples, "pixels", "linf", b, config)
        plain = momentum(run, samples, rows, b, config.seed)
        whole = measures.share(ours | plain, seed=config.seed)
        found[name] = {
            "run": run.name,
            "weights": run.card.weights_sha256,
            "by_attack": shares | {"momentum": float(plain.mean())},
            "moved": whole.value,
            "moved_interval": [whole.low, whole.high],
        }
    change = clean(defended, samples)["acc"] - clean(undefended, samples)["acc"]
    return {
        "b": b,
        "n": len(rows),
        "settings": config.to_dict(),
        **found,
        "acc_change": change,
        "cleared": bool(found["defended"]["moved"] <= 0.25 and change >= -0.03),
    }


def bar(
    undefended: Run,
    defended: Run,
    samples: Samples,
    images: Samples,
    space: str,
    norm: str,
    config: JudgeConfig,
) -> dict[str, Any]:
    """A defence beside the bar.

    At b, where the worst case moves half of the undefended model's samples, it shall move at most a
    sixth of the defended one's; ACC falls by at most .02, the decoder's error rises at most 1.2
    times, and of each sample's 15 nearest neighbours in the undefended embedding half stay so.

    Args:
        images: training images, for learned attackers, which each model gets afresh.
    """
    embedded = space == "embedding"
    attackers = {
        run.name: fresh_attackers(run, images) if embedded else [] for run in (undefended, defended)
    }
    b = halfway(undefended, samples, space, norm, config, attackers[undefended.name])
    found = {
        run.name: worst(run, samples, space, norm, b, config, attackers[run.name])
        for run in (undefended, defended)
    }
    before, after = clean(undefended, samples), clean(defended, samples)
    first, second = (cluster(run.model, samples.x).z for run in (undefended, defended))
    ratio = None
    if before["reconstruction"] and after["reconstruction"] is not None:
        ratio = after["reconstruction"] / before["reconstruction"]
    figures = {
        "acc_change": after["acc"] - before["acc"],
        "reconstruction_ratio": ratio,
        "neighbour_overlap": neighbour_overlap(first, second),
    }
    return {
        "space": space,
        "norm": norm,
        "b": b,
        "undefended": found[undefended.name],
        "defended": found[defended.name],
        "settings": config.to_dict(),
        **figures,
        "cleared": clears(found[defended.name]["moved"], **figures),
    }


def clears(
    moved: float, acc_change: float, reconstruction_ratio: float | None, neighbour_overlap: float
) -> bool:
    """Whether a defence clears the bar: see `bar`."""
    return bool(
        moved <= 1 / 6
        and acc_change >= -0.02
        and (reconstruction_ratio is None or reconstruction_ratio <= 1.2)
        and neighbour_overlap >= 0.5
    )


def fresh_attackers(
    run: Run, images: Samples, seeds: Sequence[int] = (0, 1, 2), epochs: int = 10
) -> list[Learned]:
    """Learned attackers fitted anew on a run: affine and ReLU, of each seed.

    They are after the assignment alone: the decoded image, which the published attacker has to
    keep, would only hold them back. They learn in units of R, so that the embedding's scale does
    not enter.

    Args:
        images: what they learn from: training images.
    """
    config = ALRDCConfig(weight_x=0.0, epochs=epochs)
    target = dataclasses.replace(target_of(run.model), decode=None)
    found: list[Learned] = []
    for kind in (ALRDCAttack, ALRDCReLU):
        for seed in seeds:
            attacker = kind(config)
            attacker.fit(target, torch.from_numpy(images.x).to(run.device), seed, unit=run.unit)
            found.append(attacker)
    return found


def neighbour_overlap(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n e"], count: int = NEIGHBOURS
) -> float:
    """The mean share of a sample's nearest neighbours in one embedding that are so in the other."""
    from sklearn.neighbors import NearestNeighbors

    near = [
        NearestNeighbors(n_neighbors=count, algorithm="brute").fit(z).kneighbors()[1]
        for z in (a, b)
    ]
    shared = [len(np.intersect1d(one, other)) for one, other in zip(*near, strict=True)]
    return float(np.mean(shared) / count)


def _pgd(config: JudgeConfig, restarts: int) -> PGD:
    return PGD(PGDConfig(steps=config.steps, restarts=restarts, patience=_NEVER))


def _call(
    search: Attack,
    run: Run,
    points: Tensor,
    ids: NDArray[np.int64],
    goal: Goal,
    eps: float | NDArray[np.floating],
    where: tuple[str, str],
    seed: int,
) -> Bool[np.ndarray, " m"]:
    norm, space = where
    moved = []
    for part in parts_of(len(points)):
        size = torch.as_tensor(eps[part]) if isinstance(eps, np.ndarray) else eps
        budget = Budget(eps=size, norm=norm, space=space, unit=run.unit)
        x = points[part].to(run.device)
        moved.append(search(target_of(run.model), x, goal, budget, ids[part], seed).moved.numpy())
    return np.concatenate(moved)


@torch.no_grad()
def _labels(run: Run, z: Tensor) -> NDArray[np.int64]:
    return torch.cat(
        [run.model.scores(part.to(run.device)).argmax(1).cpu() for part in z.split(1000)]
    ).numpy()


@torch.no_grad()
def _decode(run: Run, z: Tensor) -> Tensor:
    return torch.cat(
        [run.model.decode(part.to(run.device)).float().cpu() for part in z.split(1000)]
    )
