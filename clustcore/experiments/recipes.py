"""The plan of every run that ships or stands in a table; `reproduce` makes it again from here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from clustcore.runs.plan import Plan

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Variant:
    """The same plan with another config."""

    label: str
    config: dict[str, Any]
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Recipe:
    """A shipped run, and the variants that stand as rows on its card.

    The source of a plan of a defence is a recipe: its run of the same seed.
    """

    plan: Plan
    variants: dict[str, Variant] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS  # the first ships
    attackers: tuple[str, ...] = ()  # learned attacks whose attackers are fitted to it
    ships: bool = True  # False: made on demand alone, or for a table
    # of a limit of time, what each stage gets: epochs are then laid out to fit it
    shares: dict[str, float] = field(default_factory=dict)


_DRC = Plan(
    "drc",
    "mnist",
    config={"alone": 0, "taught": 4, "weight_t": 10.0},
    train={"batch": 256, "lr": 5e-3},
    teach={},
)
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
        "mnist",
        config={"autoencode": 2, "taught": 3, "cluster": 1, "p_hidden": 512},
        train={"batch": 256, "lr": 1e-3},
        teach={},
    ),
    departures=(
        "p has 512, 512 and 256 units, not 1024, 1024 and 512: a third of the weights",
        "pretraining, which the paper does not say: the autoencoder alone, then p learns a "
        "teacher's clusters (umap-gmm) beside L_clu, whose means start at that teacher's",
        "p is asked for the same cluster on augmented views",
        "trained on the training split, judged on the test split",
    ),
    seeds=(0,),
    attackers=("alrdc",),
)

# PICA's protocol: RandomResizedCrop(0.2, 1), flip, ColorJitter(0.4, 0.4, 0.4, 0.4), grey
_PICA_AUGMENT = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "shear": 0.0}
_PICA_AUGMENT |= {"crop": 0.2, "flip": 0.5, "jitter": 0.4, "hue": 0.4, "grey": 0.2}
# features first: SCAN's views (SimCLR's, weaker in colour), DRC's losses sharp enough to teach, and
# the head fitted to the features
_FEATURE_AUGMENT = _PICA_AUGMENT | {"hue": 0.1, "jitter_chance": 0.8, "border": True}
_FEATURES_FIRST = {"features": 80, "small_views": 0.7, "tau_f": 0.1, "heads": "scan", "surest": 12}
_FEATURES_DEPARTURES = (
    "images are told apart first (NT-Xent on a projection), beside DRC's losses, L_AF at tau .1",
    "then the linear layer is fitted anew by SCAN's loss, and the surest images of each cluster, "
    "as an averaged copy sees them, label a stronger view, beside DRC's losses",
    "cosine similarities and the entropy form of L_CR",
)
_BENCHMARK_CLUSTERS = {
    "cifar10": 10,
    "cifar100-20": 20,
    "stl10": 10,
    "imagenet-10": 10,
    "imagenet-dogs": 15,
    "tiny-imagenet": 200,
}
# large enough to learn from the training split alone; the others merge the two, as is usual
_SPLIT = ("cifar10", "cifar100-20")


def _as_published(data: str, clusters: int) -> Recipe:
    """DRC to the letter, in PICA's setting: the literal losses, and train and test merged."""
    return Recipe(
        Plan(
            "drc",
            data,
            config={
                "clusters": clusters,
                "backbone": "resnet34",
                "normalize": False,
                "regulariser": "square",
                "alone": 200,
            },
            augment=_PICA_AUGMENT,
            train={"batch": 256, "lr": 1e-4},
            split="all",
        ),
        departures=("a learning rate that warms up and falls, in place of a constant one",),
        seeds=(0,),
        ships=False,
    )


def _best_here(data: str, clusters: int) -> Recipe:
    """DRC with the choices that serve it best here, in the time one GPU has for it.

    It learns features first, as SCAN learns them on this very network.
    """
    return Recipe(
        Plan(
            "drc",
            data,
            config={
                "clusters": clusters,
                "backbone": "resnet18",
                "alone": 0,
                **_FEATURES_FIRST,
                "features": 500,
                "small_views": 0.0,
                "surest": 100,
            },
            augment=_FEATURE_AUGMENT,
            train={
                "batch": 512,
                "lr": 0.4,
                "optimiser": "sgd",
                "weight_decay": 1e-4,
                "warmup": 5.0,
            },
            split="train" if data in _SPLIT else "all",
        ),
        departures=(
            "ResNet-18 in place of ResNet-34; SGD at a rate that warms up and falls",
            *_FEATURES_DEPARTURES,
        ),
        seeds=(0,),
        ships=False,
        shares={"features": 0.6, "surest": 0.4},
    )


# what `reproduce drc` trains, by data set and plan
BENCHMARKS: dict[str, dict[str, Recipe]] = {
    data: {"published": _as_published(data, k), "best": _best_here(data, k)}
    for data, k in _BENCHMARK_CLUSTERS.items()
}

# what `reproduce ablation` adds to DRC alone, one at a time
ABLATION_EPOCHS, ABLATION_STAGE = 6, 2
ABLATION: dict[str, dict[str, Any]] = {
    "alone": {},
    "longer": {"alone": ABLATION_EPOCHS + ABLATION_STAGE},
    "taught": {"taught": ABLATION_STAGE},
    "relabelled": {"relabelled": ABLATION_STAGE},
    "selflabel": {"selflabel": ABLATION_STAGE},
    "ema": {"ema": 0.99},
    "views": {"views": 4},
    "neighbours": {"neighbours": 5},
}

# and of CIFAR-10 the stages that begin with features, beside DRC alone, on 10,000 training images
# and with as many views as whole epochs allow: of the last stage an image has three
FEATURES_ABLATION: dict[str, dict[str, Any]] = {
    "alone": {"alone": 38, "tau_f": 0.5},
    "sharp": {"alone": 38},
    "features": {"features": 38},
    "heads": {"features": 38, "heads": "scan"},
    "surest": {"features": 30, "heads": "scan", "surest": 5},
}
ABLATION_IMAGES = {"cifar10": 10_000}

RECIPES: dict[str, Recipe] = {
    "drc-mnist": Recipe(
        _DRC,
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "drc-fashion-mnist": Recipe(
        dataclasses.replace(_DRC, data="fashion-mnist", augment=_FASHION_AUGMENT),
        variants=_ALONE,
        departures=_DRC_DEPARTURES,
    ),
    "dec-mnist": Recipe(
        Plan(
            "dec",
            "mnist",
            config={"autoencode": 3, "taught": 2, "cluster": 3, "weight_c": 0.3},
            train={"batch": 256, "lr": 2e-3},
            teach={},
        ),
        departures=(
            "first centroids and the first two epochs' targets from a teacher (umap-gmm)",
            "reconstruction kept on (IDEC); the clean image is asked of every view",
            "pretrained end to end, not layer by layer; z normalised over the batch",
        ),
    ),
    "alrdc-mnist": _ALRDC,
    "alrdc-fashion-mnist": dataclasses.replace(
        _ALRDC,
        plan=dataclasses.replace(_ALRDC.plan, data="fashion-mnist", augment=_FASHION_AUGMENT),
    ),
    # what CPU cores train in minutes; BENCHMARKS holds the plan for a GPU
    "drc-cifar10": Recipe(
        Plan(
            "drc",
            "cifar10",
            config={"backbone": "narrow", "alone": 0, **_FEATURES_FIRST},
            augment=_FEATURE_AUGMENT,
            train={"batch": 512, "lr": 3e-3},
        ),
        departures=(
            "trained on CPU cores: a CNN of 1.1 million weights in place of ResNet-34",
            *_FEATURES_DEPARTURES,
            "train split only; the test split is never trained on",
        ),
        seeds=(0,),
    ),
}


def run_name(name: str, seed: int, quick: bool = False) -> str:
    """What the run of a recipe and a seed is called until it ships under the recipe's name."""
    return f"{'quick-' if quick else ''}{name}-seed{seed}"


def benchmark_name(data: str, plan: str) -> str:
    """The name that the runs of a benchmark begin with."""
    return f"drc-{data}-{plan}"


def ablation_name(data: str, what: str) -> str:
    """The name that the runs of a row of the ablation begin with."""
    return f"drc-{data}" if what == "shipped" else f"ablation-{data}-{what}"


def ablation(data: str, what: str) -> Recipe:
    """A row of the ablation.

    Of CIFAR-10: DRC alone, or with the first of its further stages. Of the others: DRC alone with
    one switch or stage beside it, or `shipped`: with the shipped run's.

    Raises:
        ValueError: a data set or a row that the ablation has not.
    """
    name = f"drc-{data}"
    known = [n.removeprefix("drc-") for n, r in RECIPES.items() if "alone" in r.variants]
    if data not in (*known, "cifar10"):
        raise ValueError(
            f"unknown data set {data!r} of the ablation; known: {', '.join([*known, 'cifar10'])}"
        )
    recipe = RECIPES[name]
    rows = FEATURES_ABLATION if data == "cifar10" else ABLATION | {"shipped": {}}
    if what not in rows:
        raise ValueError(f"unknown row {what!r}; known: {', '.join(rows)}")
    if what == "shipped":
        return dataclasses.replace(recipe, variants={})
    if data == "cifar10":
        config = {"backbone": "narrow", "alone": 0, "tau_f": 0.1} | rows[what]
    else:
        config = recipe.plan.config | {"taught": 0, "alone": ABLATION_EPOCHS} | rows[what]
    plan = dataclasses.replace(recipe.plan, config=config, teach={} if what == "taught" else None)
    return dataclasses.replace(recipe, plan=plan, variants={})


def _trained_on(source: str, defence: str, config: dict[str, Any], *, ships: bool = True) -> Recipe:
    first = RECIPES[source]
    kept = "clusters are kept by the cross-entropy to the starting model's, beside its own losses"
    plan = dataclasses.replace(
        first.plan, model=None, config=config, teach=None, source=source, defence=defence
    )
    return Recipe(
        plan,
        departures=(*first.departures, kept),
        seeds=(0,),
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
        f"{_source}-control": _trained_on(_source, "control", {"epochs": 3}, ships=False),
        f"{_source}-alrdc": _trained_on(_source, "alrdc", {"epochs": 3}),
        f"{_source}-alternating": _trained_on(
            _source, "alternating", {"epochs": 3, "warm": 1} | _budgets
        ),
    }
RECIPES |= {
    "drc-mnist-pgd_at": _trained_on("drc-mnist", "pgd_at", {"epochs": 2}),
    "drc-cifar10-adversarial_view": _trained_on(
        "drc-cifar10", "adversarial_view", {"epochs": 2, "warm": 1, "eps": 4 / 255}
    ),
    # which of the two ships, `reproduce defences` decides: the one of which fewer samples move
    "drc-cifar10-pgd_at": _trained_on(
        "drc-cifar10", "pgd_at", {"epochs": 2, "warm": 1, "eps": 4 / 255}, ships=False
    ),
}
