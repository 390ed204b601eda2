"""All that the app keeps between two runs of a page: runs, images, and what models were asked."""

from __future__ import annotations

from ui.cached import images, models, runs

__all__ = ["images", "models", "runs"]
