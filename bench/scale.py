"""From ten thousand to a million points: time and memory of embed, project, payload.

Point i is test image i mod 10,000 of MNIST, seen through the views that training sees, drawn anew
every 10,000 points; it is made when it is asked for and never kept. Each size runs in a process of
its own, so that its peak of resident memory is its own, imports included. Bars: from size to size
every step's processor time, which other load disturbs least, and the memory beyond that of a
process that has only opened the model grow at most as the points do, and a million stays within
4 GB.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from bench import print_table

SIZES = (10_000, 100_000, 1_000_000)
RUN = "drc-mnist"
MEMORY = 4e9  # bytes, at the largest size
LIMIT = 3600.0  # seconds of a size
STEPS = ("embed", "project", "payload")
NOISE = 1.1  # times that differ by less are taken for equal
SEED = 0


class Augmented:
    """n views of a set's shipped test images: what a slice asks for is made then."""

    def __init__(self, data: str, n: int) -> None:
        import torch

        from clustcore.datasets import shipped
        from clustcore.training.views import AugmentConfig

        self.images = torch.from_numpy(shipped.images(data)[:, None].copy())
        self.labels = shipped.labels(data)
        self.shape = (n, *self.images.shape[1:])
        self.config = AugmentConfig()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Any:
        import torch

        from clustcore.training.views import view

        made, numbers = [], torch.arange(*rows.indices(len(self)))
        for epoch in (numbers // len(self.images)).unique().tolist():
            ids = numbers[numbers // len(self.images) == epoch] % len(self.images)
            x = self.images[ids].float() / 255
            # rounding may leave a sum of weights a little above 1
            made.append(view(x, ids, self.config, seed=SEED, epoch=epoch).clamp(0, 1))
        return torch.cat(made)

    def y(self) -> np.ndarray:
        """(n,) what they show."""
        return self.labels[np.arange(len(self)) % len(self.labels)]


def views_map(n: int) -> dict[str, np.ndarray]:
    """Positions, clusters and soft assignments of n points on the run's own map.

    Its own samples first, then views of them, embedded by its model and placed by its projector.
    """
    import clustcore
    from clustcore.pipeline.batches import cluster

    opened = clustcore.load_run(RUN, "cpu")
    own = opened.map
    x = Augmented(own.data, n)
    parts = [{"xy": own.xy[:n], "labels": own.labels[:n], "p": own.p[:n]}]
    for start in range(len(own.xy), n, 10_000):
        clean = cluster(opened.model, x[start : start + 10_000])
        labels, p = clean.labels.astype(np.uint8), clean.p.astype(np.float16)
        parts.append({"xy": opened.projector.place(clean.z), "labels": labels, "p": p})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def now() -> tuple[float, float]:
    """Seconds on the clock, and of this process's work."""
    return time.perf_counter(), time.process_time()


def measure(n: int) -> dict[str, Any]:
    """Take n points through all steps, in this process."""
    import torch

    import clustcore
    from clustcore import measures
    from clustcore.maps import projection, regions
    from clustcore.pipeline.batches import cluster
    from ui.cluster_map import MapView, packing

    opened = clustcore.load_run(RUN, "cpu")
    x = Augmented(opened.card.data.name, n)
    cluster(opened.model, x[:1000])  # warm
    before, times = peak(), [now()]
    clean = cluster(opened.model, x)
    times.append(now())
    layout = projection.fit(clean.z, seed=SEED)

    def soft(z: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return opened.model.soft(z)

    raster = regions.raster(layout.projector, soft, layout.xy)
    times.append(now())
    view = MapView(
        key=str(n),
        mode="explore",
        xy=layout.xy,
        clusters=clean.labels.astype(np.uint8),
        k=clean.p.shape[1],
        ramps={"confidence": clean.p.max(1)},
        labels=x.y(),
        raster=raster,
    )
    base = packing.base(view)
    colour = {f"colour.{name}": values for name, values in [*base.colours.items()][:1]}
    data = packing.message(base, {}, colour, {}, whole=True)
    times.append(now())
    wall, worked = np.diff(times, axis=0).T.tolist()
    return {
        "points": n,
        "seconds": dict(zip(STEPS, wall, strict=True)),
        "processor_seconds": dict(zip(STEPS, worked, strict=True)),
        "memory_before": before,
        "memory": peak(),
        "payload_bytes": len(data),
        "drawn": base.meta["n"],
        "accuracy": measures.cluster_accuracy(clean.labels, x.y()),
        "trustworthiness": layout.trustworthiness,
        "measured_on": layout.among,
        "threads": torch.get_num_threads(),
    }


def run(quick: bool = False) -> dict[str, Any]:
    """Each size in a process of its own; print, return.

    Args:
        quick: 1,000 and 2,000 points.

    Raises:
        RuntimeError: a size failed; what its process said.
    """
    sizes = (1000, 2000) if quick else SIZES
    found = []
    for n in sizes:
        code = f"import json; from bench import scale; print(json.dumps(scale.measure({n})))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"bench scale, {n:,} points: {done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
        seconds, memory = sum(found[-1]["seconds"].values()), found[-1]["memory"] / 1e6
        print(f"{n:,} points: {seconds:.0f} s, peak memory {memory:,.0f} MB", flush=True)
    return report(found)


def report(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Print what was measured of ascending sizes, and judge it."""
    growth = []
    for a, b in itertools.pairwise(found):
        worked = [one["processor_seconds"] for one in (a, b)]
        ratios = {step: worked[1][step] / worked[0][step] for step in STEPS}
        extra = [one["memory"] - one["memory_before"] for one in (a, b)]
        ratios["memory"] = extra[1] / max(extra[0], 1)
        growth.append({"points": b["points"] / a["points"], **ratios})
    linear = all(g[key] <= NOISE * g["points"] for g in growth for key in (*STEPS, "memory"))
    within = found[-1]["memory"] <= MEMORY
    columns = ["", *(f"{one['points']:,}" for one in found)]
    columns += [f"growth x {g['points']:.0f}" for g in growth]
    rows = []
    for step in STEPS:
        rows.append([f"{step}, s", *(f"{one['seconds'][step]:.2f}" for one in found)])
        worked = [f"{one['processor_seconds'][step]:.2f}" for one in found]
        rows.append(["  of processor time, s", *worked, *(f"{g[step]:.1f}" for g in growth)])
    rows.append(["peak memory, MB", *(f"{one['memory'] / 1e6:,.0f}" for one in found)])
    beyond = [f"{(one['memory'] - one['memory_before']) / 1e6:,.0f}" for one in found]
    rows.append(["  beyond the model's, MB", *beyond, *(f"{g['memory']:.1f}" for g in growth)])
    rows.append(["points drawn", *(f"{one['drawn']:,}" for one in found)])
    rows.append(["payload, bytes", *(f"{one['payload_bytes']:,}" for one in found)])
    rows.append(["ACC of the views", *(f"{one['accuracy']:.3f}" for one in found)])
    rows.append(["trustworthiness", *(f"{one['trustworthiness']:.3f}" for one in found)])
    rows = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    print_table(f"{RUN}, augmented MNIST, {found[0]['threads']} threads", columns, rows)
    print(f"growth at most linear: {'yes' if linear else 'NO'}")
    print(f"{found[-1]['points']:,} points within {MEMORY / 1e9:.0f} GB: {within}")
    return {"run": RUN, "sizes": found, "growth": growth, "linear": linear, "within": within}
