"""The projector beside `UMAP.transform`: time, held-out trustworthiness, steadiness under noise.

On the stored embedding of each shipped run, UMAP is fitted on 8 of 10 samples with the map's own
settings, and the projector is taught on the same 8; neither sees the other 2. `UMAP.transform`
needs UMAP's own neighbour search, so it gets a fit of its own. Both are warm when they are timed,
in turn; the quickest of ten counts, as the one least disturbed by what else the machine does.
Bars, for 1,000 moved points: at least 30 times faster, trustworthiness at most .03 below, and the
same points move less (median, in widths of the map) when noise is added to their embedding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import print_table

NOISE = (0.01, 0.02, 0.05)  # standard deviation, / root mean square deviation of a dimension
TIMES = 10
MOVED = 1000
SEED = 0


def run(quick: bool = False) -> dict[str, Any]:
    """Compare on every shipped run that has a map.

    Args:
        quick: the first run alone, 2,000 of its samples, and a shorter training.
    """
    from clustcore import runs
    from clustcore.maps.projection import ProjectionConfig

    found = [run for run in runs.list_runs() if run.shipped and not run.problem]
    maps = {run.name: runs.read_map(run.folder) for run in found}
    embeddings = {name: map.z.astype(np.float32) for name, map in maps.items() if map is not None}
    if not embeddings:
        raise ValueError("bench: expected a shipped run with a map, got none")
    config = ProjectionConfig(held_out=0.01)  # what is held out here, is so before the fit
    if quick:
        name = next(iter(embeddings))
        embeddings = {name: embeddings[name][:2000]}
        config = ProjectionConfig(held_out=0.01, steps=300)
    figures = {name: _compare(z, config) for name, z in embeddings.items()}
    columns = ["", *figures]
    first = next(iter(figures.values()))
    rows = [[key, *(f"{figure[key]:.4g}" for figure in figures.values())] for key in first]
    print_table(
        f"projector beside UMAP.transform, {MOVED:,} moved points, seed {SEED}", columns, rows
    )
    return {"seed": SEED, "moved_points": MOVED, "noise": NOISE, "runs": figures}


def _compare(z: np.ndarray, config: Any) -> dict[str, float]:
    from clustcore.manifold import import_umap
    from clustcore.maps.projection import fit
    from clustcore.maps.trustworthiness import trustworthiness

    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(z))
    seen, unseen = z[order[: len(z) * 8 // 10]], z[order[len(z) * 8 // 10 :]]
    umap = import_umap()
    rival = umap.UMAP(
        n_neighbors=config.neighbours,
        min_dist=config.min_dist,
        init="pca",
        random_state=SEED,
        n_jobs=1,
    ).fit(seen)
    layout = fit(seen, config, seed=SEED)
    ways: dict[str, tuple[Callable, np.ndarray]] = {
        "projector": (layout.projector.place, layout.xy),
        "UMAP": (rival.transform, rival.embedding_),
    }
    spread = float(np.sqrt(np.square(z - z.mean(0)).mean()))
    clean = z[rng.permutation(len(z))[:MOVED]]
    noise = spread * rng.standard_normal(clean.shape).astype(np.float32)
    figures: dict[str, float] = {"n fitted": len(seen), "n held out": len(unseen)}
    for name, (place, xy) in ways.items():
        width = float(np.ptp(xy[:, 0]))
        figures[f"{name}, trustworthiness held out"] = trustworthiness(unseen, place(unseen))[0]
        where = place(clean)
        for size in NOISE:
            far = np.linalg.norm(place(clean + size * noise) - where, axis=1)
            figures[f"{name}, moved by noise {size}, % of width"] = (
                100 * float(np.median(far)) / width
            )
    moved = clean + NOISE[0] * noise
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TIMES):
        for name, (place, _xy) in ways.items():
            place(moved)  # warm: the other's work has filled the caches
            began = time.perf_counter()
            place(moved)
            times[name].append(time.perf_counter() - began)
    figures |= {f"{name}, ms": 1000 * min(seconds) for name, seconds in times.items()}
    figures["times faster"] = figures["UMAP, ms"] / figures["projector, ms"]
    return figures
