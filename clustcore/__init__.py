"""Driftmap's library: train, attack, measure and map deep clusterings.

The names below are the public door. They resolve on first use, so that `import clustcore` imports
neither torch nor umap.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"  # the only place: the build reads it here

__all__ = [
    "add_run",
    "attack",
    "evaluate",
    "list_runs",
    "load_run",
    "load_samples",
    "project",
    "wrap",
]

_HOMES = {
    "add_run": "clustcore.pipeline.make",
    "list_runs": "clustcore.runs",
    "load_samples": "clustcore.datasets",
    "wrap": "clustcore.models.base",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module 'clustcore' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "clustcore.pipeline.run")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
