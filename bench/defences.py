"""What a defence costs: one step of each, and of the learned attack, beside a plain step.

The model is ALRDC's own on 28x28 images; a plain step is its upkeep, forward, backward and Adam,
which is what `control` does. All take turns, and the quickest of several rounds counts, as the one
least disturbed by what else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench import print_table

BATCH = 256
ROUNDS = 3
EVERY = 4  # steps timed together: `alternating` lets its attacker learn in one of four


def run(quick: bool = False) -> dict[str, Any]:
    """Time a step of each defence and of the learned attack's fitting.

    Args:
        quick: a small batch and one round.
    """
    import torch

    batch, rounds = (32, 1) if quick else (BATCH, ROUNDS)
    torch.manual_seed(0)
    steps = _steps(torch.rand(batch, 1, 28, 28), batch)
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()  # the first of each is slower
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(EVERY):
                step()
            best[name] = min(best[name], (time.perf_counter() - began) / EVERY)
    plain = best["control"]
    print_table(
        f"One step of {batch} images beside a plain step, ALRDC, quickest of {rounds}",
        ("step", "ms", "ratio"),
        [(name, f"{1000 * s:.0f}", f"{s / plain:.2f}") for name, s in best.items()],
    )
    return {"batch": batch, "rounds": rounds, "seconds": best}


def _steps(x: Any, batch: int) -> dict[str, Callable[[], None]]:
    import torch

    from clustcore.attacks.alrdc import ALRDCAttack, Perturb
    from clustcore.attacks.alrdc_config import ALRDCConfig
    from clustcore.defences import DEFENCES
    from clustcore.models.alrdc import ALRDC
    from clustcore.models.alrdc import ALRDCConfig as ModelConfig
    from clustcore.models.base import TrainData, Views
    from clustcore.pipeline.run import target_of
    from clustcore.registry import lookup

    def defended(name: str) -> Callable[[], None]:
        model = ALRDC(ModelConfig())
        cls = lookup(DEFENCES, name, "defence")
        attacker = Perturb(model.input_shape, model.dim) if cls.needs_attacker else None
        defence = cls(cls.Config(), model, attacker)
        (stage,) = defence.stages(model)
        clusters = torch.arange(batch) % model.clusters
        state = stage.begin(TrainData((255 * x).to(torch.uint8), clusters), 0, {})
        trained = [*model.parameters(), *(p for p in defence.parameters() if p.requires_grad)]
        optimiser = torch.optim.Adam(trained, 1e-4)
        views = Views(x, x, x, torch.arange(batch))

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            stage.loss(views, state).total.backward()
            optimiser.step()

        return step

    attacked = target_of(ALRDC(ModelConfig()).eval())

    def fit() -> None:
        ALRDCAttack(ALRDCConfig(epochs=1, batch=batch)).fit(attacked, x)

    steps = {name: defended(name) for name in ("control", "alrdc", "alternating", "pgd_at")}
    return steps | {"learned attack, one step": fit}
