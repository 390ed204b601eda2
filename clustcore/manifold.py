"""UMAP, which maps, live maps and teachers need and nothing else does."""

from __future__ import annotations

import warnings
from typing import Any

FEWEST = 20  # points that UMAP is asked to lay out, and so samples that a map is made of


def import_umap() -> Any:
    """The package umap, imported only now.

    Raises:
        ValueError: it is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():  # its keras network is not needed
            warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
            import umap
    except ImportError as error:
        raise ValueError(
            f"umap: expected the package that makes maps and teachers, got: {error}; "
            "`pip install umap-learn` installs it, and what it needs"
        ) from None
    return umap


def has_umap() -> bool:
    """Whether the package umap is here."""
    try:
        import_umap()
    except ValueError:
        return False
    return True
