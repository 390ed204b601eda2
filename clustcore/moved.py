"""Modules that have moved: importing one under its old name says where it lies now."""

from __future__ import annotations

from collections.abc import Sequence

MOVED = {  # old name below clustcore -> where its parts are
    "alrdc_table": ("experiments.alrdc",),
    "assemble": ("pipeline.assemble",),
    "augment": ("training.views",),
    "batches": ("pipeline.batches",),
    "boundaries": ("maps.regions",),
    "budget": ("experiments.budget",),
    "checkpoint": ("models.weights", "training.resume"),
    "comparing": ("maps.alignment",),
    "drc_results": ("experiments.drc_results",),
    "drc_table": ("experiments.drc",),
    "epoch": ("training.epoch",),
    "evaluation": ("measures",),
    "export": ("pipeline.export",),
    "figures": ("measures.figures",),
    "jobs": ("runs.jobs",),
    "judging": ("experiments.judge",),
    "livemap": ("maps.live",),
    "making": ("pipeline.make",),
    "parts": ("pipeline.contents",),
    "paths": ("pipeline.paths",),
    "projection": ("maps.projection",),
    "published": ("experiments.published",),
    "recipes": ("experiments.recipes",),
    "reproduce": ("experiments.reproduce",),
    "tables": ("experiments.report",),
    "teach": ("training.teacher",),
    "throughput": ("training.throughput",),
    "train": ("training.loop",),
    "trust": ("maps.trustworthiness",),
}


class Finder:
    """The last that Python asks for a module, so that it costs nothing where another knows it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        """Nothing is found here.

        Raises:
            ImportError: the module has moved; the message names the new place.
        """
        package, _, old = name.partition(".")
        if package == "clustcore" and old in MOVED:
            now = " and ".join(f"clustcore.{new}" for new in MOVED[old])
            # a ModuleNotFoundError would be swallowed by `from clustcore import ...`
            raise ImportError(f"{name} has moved to {now}", name=name)
