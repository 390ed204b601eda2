"""What ships: the plan of every run, from which `reproduce` makes it again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from clustcore.making import Plan

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Variant:
    """The same plan with another config."""

    label: str
    config: dict[str, Any]
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Defended:
    """How a run is trained on from another run's seed."""

    source: str
    defence: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A shipped run, and the variants that stand as rows on its card."""

    plan: Plan
    teacher: bool
    variants: dict[str, Variant] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS  # the first ships
    defended: Defended | None = None
    attackers: tuple[str, ...] = ()  # kinds of learned attackers, fitted to it
    ships: bool = True  # False: made on demand alone, or for a table


_DRC = {
    "config": {"alone": 0, "taught": 4, "weight_t": 10.0},
    "train": {"batch": 256, "lr": 2e-3, "precision": "bfloat16"},
}
_ALONE = {"alone": Variant("DRC alone, without a teacher", {"taught": 0, "alone": 8})}
_DRC_DEPARTURES = (
    "small CNN in place of ResNet-34",
    "cosine similarities and the entropy form of L_CR",
    "a teacher's clusters (umap-gmm) are followed beside L_AF + L_AP + L_CR, which stay on",
    "train split only; the test split is never trained on",
)

_FASHION_AUGMENT = {"rotate": 5.0, "flip": 0.5, "shear": 0.05}
_ALRDC = Recipe(
    Plan(
        "alrdc",
        {"name": "mnist"},
        config={"autoencode": 2, "taught": 3, "cluster": 1, "p_hidden": 512},
        train={"batch": 256, "lr": 1e-3, "precision": "bfloat16"},
    ),
    teacher=True,
    departures=(
        "p has 512, 512 and 256 units, not 1024, 1024 and 512: a third of the weights",
        "pretraining, which the paper does not say: the autoencoder alone, then p learns a "
        "teacher's clusters (umap-gmm) beside L_clu, whose means start at that teacher's",
        "p is asked for the same cluster on augmented views",
        "trained on the training split, judged on the test split",
    ),
    seeds=(0,),
    attackers=("affine",),
)

RECIPES: dict[str, Recipe] = {
    "drc-mnist": Recipe(
        Plan("drc", {"name": "mnist"}, **_DRC),
        teacher=True,
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "drc-fashion-mnist": Recipe(
        Plan(
            "drc",
            {"name": "fashion-mnist"},
            augment=_FASHION_AUGMENT,
            **_DRC,
        ),
        teacher=True,
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "dec-mnist": Recipe(
        Plan(
            "dec",
            {"name": "mnist"},
            config={"autoencode": 3, "taught": 2, "cluster": 3, "weight_c": 0.3},
            train={"batch": 256, "lr": 2e-3, "precision": "bfloat16"},
        ),
        teacher=True,
        departures=(
            "first centroids and the first two epochs' targets from a teacher (umap-gmm)",
            "reconstruction kept on (IDEC); the clean image is asked of every view",
            "pretrained end to end, not layer by layer; z normalised over the batch",
        ),
    ),
    "alrdc-mnist": _ALRDC,
    "alrdc-fashion-mnist": dataclasses.replace(
        _ALRDC,
        plan=dataclasses.replace(
            _ALRDC.plan, data={"name": "fashion-mnist"}, augment=_FASHION_AUGMENT
        ),
    ),
}


def _trained_on(source: str, defence: str, ships: bool = True, **config: Any) -> Recipe:
    first = RECIPES[source]
    kept = "clusters are kept by the cross-entropy to the starting model's, beside its own losses"
    return Recipe(
        first.plan,
        first.teacher,
        departures=(*first.departures, kept),
        seeds=(0,),
        defended=Defended(source, defence, config),
        # the paper's defence keeps the attacker it was trained against, which is stale by now
        attackers=() if defence == "alrdc" else first.attackers,
        ships=ships,
    )


# budgets a little beyond those at which half of the undefended model's samples move
_BUDGETS = {
    "alrdc-mnist": {"rho": 0.8, "eps": 0.1, "weight_margin": 10.0},
    "alrdc-fashion-mnist": {"rho": 0.8, "eps": 0.06, "weight_margin": 80.0, "weight_like": 10.0},
}
for _source, _budgets in _BUDGETS.items():
    RECIPES |= {
        f"{_source}-control": _trained_on(_source, "control", ships=False, epochs=3),
        f"{_source}-alrdc": _trained_on(_source, "alrdc", epochs=3),
        f"{_source}-alternating": _trained_on(_source, "alternating", epochs=3, warm=1, **_budgets),
    }
RECIPES |= {"drc-mnist-pgd_at": _trained_on("drc-mnist", "pgd_at", epochs=2)}
