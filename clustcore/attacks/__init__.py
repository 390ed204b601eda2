"""Attacks on a clustering: how little does it take to move a sample into another cluster?

`ATTACKS` says what is known of each and where its class lives, so that listing them imports nothing
heavy; `clustcore.registry.lookup` imports one.
"""

from __future__ import annotations

from clustcore.registry import AttackEntry

ATTACKS = {
    "noise": AttackEntry(
        "clustcore.attacks.noise:Noise", title="Random noise", phrase="random noise", passes=12
    ),
    "fgsm": AttackEntry("clustcore.attacks.fgsm:FGSM", title="FGSM", passes=22),
    "pgd": AttackEntry(
        "clustcore.attacks.pgd:PGD", title="Margin PGD", phrase="margin PGD", passes=100
    ),
    "min_flip": AttackEntry("clustcore.attacks.min_flip:MinFlip", title="min_flip", dial=False),
    "exact": AttackEntry(
        "clustcore.attacks.exact:Exact",
        title="Exact",
        phrase="exact",
        spaces=("embedding",),
        targeted=False,
    ),
    "alrdc": AttackEntry(
        "clustcore.attacks.alrdc:ALRDCAttack",
        title="ALRDC",
        spaces=("embedding",),
        targeted=False,
        learned=True,
    ),
    "alrdc-relu": AttackEntry(
        "clustcore.attacks.alrdc:ALRDCReLU",
        title="ALRDC (ReLU)",
        spaces=("embedding",),
        targeted=False,
        learned=True,
    ),
}


def learned() -> tuple[str, ...]:
    """The attacks that are fitted to a model before they are used.

    Examples:
        >>> learned()
        ('alrdc', 'alrdc-relu')
    """
    return tuple(name for name, entry in ATTACKS.items() if entry.learned)
