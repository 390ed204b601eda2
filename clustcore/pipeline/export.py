"""What came of a run, copied out in files that are small enough to travel from a lent machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustcore import runs
from clustcore.distributed import is_main
from clustcore.manifold import has_umap
from clustcore.models.weights import split_weights
from clustcore.pipeline import contents
from clustcore.pipeline.paths import bare_path, path_rows
from clustcore.pipeline.run import Run
from clustcore.types import Samples


def export(run: Run, samples: Samples, out: Path, report: Callable[[str], None]) -> None:
    """Copy a run to a folder, each file as soon as it is there.

    First weights, card and history; then map and paths, the most wanted first, or, without
    umap-learn, the paths as they are before they are drawn on a map, which `assemble` does
    elsewhere.

    Files that are there already, of these weights, are left.
    """
    if is_main():
        out.mkdir(parents=True, exist_ok=True)
        split_weights(run.folder, out)
        for name in ("card.json", "history.csv"):
            shutil.copyfile(run.folder / name, out / name)
    report(f"{out}: weights, card and history")
    if has_umap():
        if run.map is None:
            contents.make_map(run, samples)
        contents.make_paths(run, samples)
        if is_main():
            for path in run.folder.glob("*.*"):
                if path.name.startswith(("map.", "projector.", "min_flip-")):
                    shutil.copyfile(path, out / path.name)
            shutil.copytree(run.folder / "paths", out / "paths", dirs_exist_ok=True)
        report(f"{out}: map and paths")
    else:
        _undrawn(run, samples, out, report)


def _undrawn(run: Run, samples: Samples, out: Path, report: Callable[[str], None]) -> None:
    # the paths before they are drawn on a map, and the smallest flips
    weights, rows = run.card.weights_sha256, path_rows(samples)
    for key in sorted(contents.PATHS, key=lambda key: (key.attack != "pgd", key.space != "pixels")):
        try:
            found = runs.read_bare(out, key, weights)
        except ValueError:  # left half-way, or of other weights: walked anew
            found = None
        if found is None:
            path = bare_path(run, samples, rows, key)
            if is_main():
                runs.write_bare(out, path)
            moved = float((path.smallest <= path.strengths[-1]).mean())
            report(f"{out}: {runs.path_name(key)}, {moved:.0%} of {len(rows)} moved at its end")
    for norm in ("linf", "l2"):
        table = runs.read_min_flips(out, "pixels", norm)
        if table is None or table.weights != weights:
            some = np.sort(rows[: runs.FLIP_SAMPLES])
            table = contents.min_flips(run, samples, some, "pixels", norm)
            if is_main():
                runs.write_min_flips(out, table)
            report(f"{out}: smallest flips, {norm}")
