"""Side-by-side measurements: `python -m bench [NAME|all]`.

Each module here has `run() -> dict`: it prints a table and returns its figures. Times compare with
one another within one run only; they are never asserted in a test.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clustcore.machine import processor

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("streamlit", "torch", "numpy", "scikit-learn", "umap-learn", "plotly", "foolbox")
BENCHES = {
    "map": "bench.map",
    "attacks": "bench.attacks",
    "projector": "bench.projector",
    "start": "bench.start",
    "recompute": "bench.recompute",
    "defences": "bench.defences",
    "train": "bench.train",
    "scale": "bench.scale",
}


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, memory, system, date."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the packages; "missing" where one is not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def save(name: str, figures: dict[str, Any]) -> Path:
    """Write the figures of a benchmark, those so far where it is not done.

    Its own keys win over machine and versions. Gives the file.
    """
    from clustcore.files import write_json

    place = RESULTS / f"{name}.json"
    write_json(place, {"machine": machine(), "versions": versions(*PACKAGES)} | figures)
    return place


def launched(command: Sequence[str], limit: float, **options: Any) -> subprocess.CompletedProcess:
    """`subprocess.run` of what starts processes of its own, as torchrun does.

    When the time is up it is told to end them, since they would outlive it if it were killed.

    Raises:
        subprocess.TimeoutExpired: it took more than `limit` seconds.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            said = process.communicate(timeout=limit)
        except BaseException:
            end(process, 60)
            raise
    return subprocess.CompletedProcess(command, process.returncode, *said)


def end(process: subprocess.Popen, patience: float = 20) -> None:
    """Tell a process to end; one that does not in so many seconds is killed."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table, the first column left, the others right."""
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = [
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells))
        if number == 0:
            print("  ".join("-" * w for w in widths))
