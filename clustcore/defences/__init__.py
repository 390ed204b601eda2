"""Defences: how to train a clustering on so that its samples stay where they are.

`DEFENCES` maps a name to where its class lives, so that listing the names imports nothing heavy;
`clustcore.config.lookup` imports one.
"""

from __future__ import annotations

DEFENCES = {
    "alternating": "clustcore.defences.alternating:Alternating",
    "pgd_at": "clustcore.defences.pgd_at:PGDTraining",
    "adversarial_view": "clustcore.defences.adversarial_view:AdversarialView",
    "alrdc": "clustcore.defences.alrdc:ALRDCDefence",
    "control": "clustcore.defences.base:Control",
}
