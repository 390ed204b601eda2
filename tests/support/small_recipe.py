"""`python -m clustcore` with one recipe more, `small`, which a test can make again.

Started as `python -m tests.support.small_recipe SHIPPED ARGUMENTS...`, by torchrun too; what ships
goes to the folder SHIPPED. Teacher, map and paths are cut down to what a few seconds can make, with
`Planes` in UMAP's place, which compiles for longer than all the rest takes.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph

from clustcore import runs
from clustcore.experiments.recipes import RECIPES, Recipe
from clustcore.maps.projection import ProjectionConfig
from clustcore.runs.plan import Plan
from clustcore.training.teacher import TeachConfig

RECIPE = Recipe(
    Plan(
        "drc",
        "digits",
        # without batch statistics: many processes learn what one learns
        config={"width": 4, "norm": "group", "alone": 0, "taught": 3, "weight_t": 10.0},
        train={"batch": 128, "lr": 1e-2, "precision": "float32"},
        teach={},
    ),
    departures=("small",),
    seeds=(0,),
    attackers=("alrdc",),
)


class Planes:
    """What is asked of UMAP: principal components, and the graph of nearest neighbours."""

    _a, _b = 1.58, 0.9  # UMAP's own for a minimal distance of 0.1

    def __init__(self, *, n_neighbors: int, n_components: int = 2, **others: Any) -> None:
        self.neighbours, self.dim = n_neighbors, n_components

    def fit(self, x: np.ndarray) -> Planes:
        """Positions and graph of these points."""
        self.embedding_ = self.fit_transform(x)
        graph = kneighbors_graph(x, self.neighbours)
        self.graph_ = graph.maximum(graph.T)
        return self

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        """Positions of these points."""
        return PCA(self.dim, random_state=0).fit_transform(x)


def run(shipped: Path, argv: list[str]) -> None:
    """The command; it ends the process where it fails."""
    torch.set_num_threads(1)
    sys.modules["umap"] = SimpleNamespace(UMAP=Planes)
    RECIPES["small"] = RECIPE
    runs.folder.SHIPPED = shipped
    runs.PATH_SAMPLES, runs.FLIP_SAMPLES, runs.FIT_SAMPLES = 21, 7, 100
    quick = {"steps": 30, "batch": 64, "width": 8, "landmarks": 8}
    ProjectionConfig.__init__.__kwdefaults__.update(quick)
    TeachConfig.__init__.__kwdefaults__.update({"manifolds": 1, "starts": 1})
    sys.argv[1:] = argv
    runpy.run_module("clustcore", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
