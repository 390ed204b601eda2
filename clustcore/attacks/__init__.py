"""Attacks on a clustering: how little does it take to move a sample into another cluster?

`ATTACKS` maps a name to where its class lives, so that listing the names imports nothing heavy;
`clustcore.config.lookup` imports one.
"""

from __future__ import annotations

ATTACKS = {
    "noise": "clustcore.attacks.noise:Noise",
    "fgsm": "clustcore.attacks.fgsm:FGSM",
    "pgd": "clustcore.attacks.pgd:PGD",
    "min_flip": "clustcore.attacks.min_flip:MinFlip",
    "exact": "clustcore.attacks.exact:Exact",
    "alrdc": "clustcore.attacks.alrdc:ALRDCAttack",
    "alrdc-relu": "clustcore.attacks.alrdc:ALRDCReLU",
}
# what a screen has to know of them before torch is loaded
LEARNED = ("alrdc", "alrdc-relu")  # fitted to a model before they are used
WITHOUT_TARGET = ("exact", *LEARNED)  # know no way into one chosen cluster
