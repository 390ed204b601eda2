"""Defences: how to train a clustering on so that its samples stay where they are.

`DEFENCES` says what is known of each and where its class lives, so that listing them imports
nothing heavy; `clustcore.registry.lookup` imports one.
"""

from __future__ import annotations

from clustcore.registry import Entry

DEFENCES = {
    "alternating": Entry(
        "clustcore.defences.alternating:Alternating",
        title="Alternating",
        about="Trains against the model's own worst changes in pixels and in the embedding.",
    ),
    "pgd_at": Entry(
        "clustcore.defences.pgd_at:PGDTraining",
        title="Adversarial training",
        about="Adversarial training: each batch is attacked before the model learns from it.",
    ),
    "adversarial_view": Entry(
        "clustcore.defences.adversarial_view:AdversarialView",
        title="Adversarial view",
        about="An adversarial view, aimed at the runner-up cluster, joins the augmentations. For "
        "contrastive models.",
    ),
    "alrdc": Entry(
        "clustcore.defences.alrdc:ALRDCDefence",
        title="ALRDC's",
        about="ALRDC's: trains against a fitted attacker, which the run must have.",
    ),
    "control": Entry(
        "clustcore.defences.base:Control",
        title="Control",
        about="The same further steps without a defence: what a defended run is measured against.",
    ),
}
