"""Driftmap's library: train, attack, measure and map deep clusterings.

The names below are the public door. They resolve on first use, so that `import clustcore` imports
neither torch nor umap.
"""

from __future__ import annotations

import sys
from typing import Any

from clustcore import moved

__version__ = "0.1.0"  # the only place: the build reads it here

__all__ = [
    "add_run",
    "attack",
    "defend",
    "evaluate",
    "list_runs",
    "load_run",
    "load_samples",
    "project",
    "train",
    "wrap",
]

_HOMES = {
    "add_run": "clustcore.pipeline.make",
    "defend": "clustcore.door",
    "list_runs": "clustcore.runs",
    "load_samples": "clustcore.datasets",
    "train": "clustcore.door",
    "wrap": "clustcore.models.base",
}

sys.meta_path.append(moved.Finder)


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module 'clustcore' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "clustcore.pipeline.run")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
