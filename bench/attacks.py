"""PGD beside Foolbox's LinfPGD: flip rate and time at each strength, and the whole path of a dial.

Both get the same model (its weights frozen), images, budget, steps, restarts and batches; Foolbox
runs with its own loss and with the margin, and the better of the two counts, at each strength for
the rate and again for the time. Strength 0 needs no attack and costs Foolbox nothing here.
Bars: the rate within one point or above at every strength, the time of single strengths at most
Foolbox's, the time of the path at most half of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import print_table

BATCH = 128  # as in clustcore.attacks; larger ones are slower on a CPU, for Foolbox too
SEED = 0


def run(quick: bool = False, name: str = "drc-mnist") -> dict[str, Any]:
    """Compare on a shipped run, in L-inf at the strengths of its dial.

    Args:
        quick: 200 samples in place of 1,000.
        name: the run.
    """
    import clustcore
    from clustcore.attacks.base import Budget, Goal, Target
    from clustcore.attacks.pgd import PGD
    from clustcore.dial import dial

    opened = clustcore.load_run(name, "cpu")
    data = opened.card.data.name
    samples = clustcore.load_samples(data)
    rows = np.random.default_rng(SEED).permutation(len(samples))[: 200 if quick else 1000]
    x, strengths = torch.from_numpy(samples.x[rows]), dial(data, "pixels", "linf").strengths
    model = opened.model.eval().requires_grad_(False)
    target, pgd = Target.of(model), PGD()
    rivals = {loss: _foolbox(model, pgd.config, loss) for loss in ("own", "margin")}

    pgd(target, x[:BATCH], Goal(), Budget(strengths[1]), seed=SEED)  # the first calls build kernels
    figures = []
    for eps in strengths[1:].tolist():
        row = {"eps": eps}
        for loss, attack in rivals.items():
            row[f"foolbox_{loss}"], row[f"foolbox_{loss}_s"] = _timed(attack, x, eps)
        row["pgd"], row["pgd_s"] = _timed(
            lambda x, eps: pgd(target, x, Goal(), Budget(eps), ids=rows, seed=SEED).moved, x, eps
        )
        row["foolbox"] = max(row["foolbox_own"], row["foolbox_margin"])
        row["foolbox_s"] = min(row["foolbox_own_s"], row["foolbox_margin_s"])
        figures.append(row)
    began = time.perf_counter()
    path = pgd.path(target, x, Goal(), Budget(strengths[-1]), strengths, ids=rows, seed=SEED)
    path_s = time.perf_counter() - began
    for row, moved in zip(figures, path.labels[1:] != path.before, strict=True):
        row["path"] = moved.float().mean().item()

    totals = {key: sum(row[key] for row in figures) for key in ("pgd_s", "foolbox_s")}
    summary = {
        "run": name,
        "n": len(x),
        "seed": SEED,
        "norm": "linf",
        "steps": pgd.config.steps,
        "restarts": pgd.config.restarts,
        "threads": torch.get_num_threads(),
        "worst_rate_difference": min(row["pgd"] - row["foolbox"] for row in figures),
        "worst_path_rate_difference": min(row["path"] - row["foolbox"] for row in figures),
        "worst_time_ratio": max(row["pgd_s"] / row["foolbox_s"] for row in figures),
        "time_ratio": totals["pgd_s"] / totals["foolbox_s"],
        "path_s": path_s,
        "path_time_ratio": path_s / totals["foolbox_s"],
    }
    _print(figures, summary)
    return summary | {"strengths": figures}


def _timed(attack: Callable[[Tensor, float], Tensor], x: Tensor, eps: float) -> tuple[float, float]:
    """The flip rate, and the seconds it took."""
    began = time.perf_counter()
    moved = attack(x, eps)
    return moved.float().mean().item(), time.perf_counter() - began


def _foolbox(model: nn.Module, config: Any, loss: str) -> Callable[[Tensor, float], Tensor]:
    """Foolbox's PGD with as many steps and restarts, each of them random, as (x, eps) -> flips."""
    import eagerpy
    import foolbox

    class Margin(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            own = labels.raw[:, None]

            def margin(inputs: Any) -> Any:
                s = model(inputs).raw
                lead = s.scatter(1, own, -torch.inf).amax(1) - s.gather(1, own)[:, 0]
                return eagerpy.astensor(lead.sum())

            return margin

    kind = foolbox.attacks.LinfPGD if loss == "own" else Margin
    step = config.reach / config.steps
    attack = kind(rel_stepsize=step, steps=config.steps, random_start=True).repeat(config.restarts)
    rival = foolbox.PyTorchModel(model, bounds=(0, 1))

    def flips(x: Tensor, eps: float) -> Tensor:
        torch.manual_seed(SEED)
        found = []
        for part in x.split(BATCH):
            with torch.no_grad():
                labels = model(part).argmax(1)
            found.append(attack(rival, part, labels, epsilons=eps)[2])
        return torch.cat(found)

    return flips


def _print(figures: list[dict[str, float]], summary: dict[str, Any]) -> None:
    rates = ("foolbox_own", "foolbox_margin", "pgd", "path")
    table = [
        [f"{row['eps']:.3f}"]
        + [f"{row[key]:.1%}" for key in rates]
        + [f"{row[key]:.2f}" for key in ("foolbox_s", "pgd_s")]
        + [f"{row['pgd_s'] / row['foolbox_s']:.2f}"]
        for row in figures
    ]
    print_table(
        f"{summary['run']}, L-inf, n = {summary['n']}, {summary['steps']} steps, "
        f"{summary['restarts']} starts, {summary['threads']} threads",
        [
            "eps",
            "Foolbox, own loss",
            "Foolbox, margin",
            "pgd",
            "path",
            "Foolbox s",
            "pgd s",
            "ratio",
        ],
        table,
    )
    print(
        f"all strengths: pgd {summary['time_ratio']:.2f} of Foolbox's time (at most 1 wanted), "
        f"the path {summary['path_time_ratio']:.2f} ({summary['path_s']:.1f} s; at most 0.5 wanted)"
    )
