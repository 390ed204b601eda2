"""What a page shows: read from the link, set at the left, written back."""

from __future__ import annotations

from ui.scene.state import (
    DEFAULTS,
    KEYS,
    LABELS,
    UNTARGETED,
    Scene,
    arrive,
    attack_name,
    attacks,
    label,
    link,
    missing_run,
    partners,
    resolve,
    targets,
    usable,
)

__all__ = [
    "DEFAULTS",
    "KEYS",
    "LABELS",
    "UNTARGETED",
    "Scene",
    "arrive",
    "attack_name",
    "attacks",
    "label",
    "link",
    "missing_run",
    "partners",
    "resolve",
    "targets",
    "usable",
]
