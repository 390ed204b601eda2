"""Shipped paths against their recomputation, one sample at a time, as the app does for a pin.

Bars: the same cluster at each strength for at least 99 % of 200 samples; median distance on the map
under 1 % of its width.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

SAMPLES = 200


def run(quick: bool = False) -> dict[str, Any]:
    """Recompute paths of every shipped run that has them.

    Args:
        quick: 20 samples in place of 200.
    """
    import clustcore
    from clustcore import runs
    from clustcore.pipeline.contents import paths_of
    from clustcore.pipeline.paths import walk

    rows = []
    for info in clustcore.list_runs():
        if not info.shipped or info.readiness != "ready":
            continue
        opened = clustcore.load_run(info.name, "cpu")
        samples = clustcore.load_samples(opened.mapped.data)
        width = float(np.ptp(opened.mapped.xy[:, 0]))
        for key in paths_of(opened):
            stored = runs.stored_path(info, key)
            if stored is None:
                raise ValueError(f"{info.name}: expected the path {key}, got none")
            chosen = np.random.default_rng(0).permutation(len(stored.rows))[
                : 20 if quick else SAMPLES
            ]
            same, distances, seconds = [], [], []
            for at in chosen:
                began = time.perf_counter()
                path = walk(opened, samples, stored.rows[at : at + 1], key)
                seconds.append(time.perf_counter() - began)
                same.append((path.labels[:, 0] == stored.labels[:, at]).all())
                distances.append(np.linalg.norm(path.xy[:, 0] - stored.xy[:, at], axis=1).max())
            row = {
                "run": info.name,
                "attack": key.attack,
                "space": key.space,
                "norm": key.norm,
                "n": len(chosen),
                "same_cluster": float(np.mean(same)),
                "median_distance": float(np.median(distances)) / width,
                "seconds": float(np.median(seconds)),
            }
            rows.append(row)
            print(
                f"{info.name:20} {key.attack:6} {key.space:9} {key.norm:5} n={row['n']} "
                f"same cluster at every strength {row['same_cluster']:.1%}, median distance "
                f"{row['median_distance']:.2%} of the width, {row['seconds']:.2f} s a sample",
                flush=True,
            )
    return {"rows": rows, "seed": 0}
