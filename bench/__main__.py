"""Runs benchmarks and writes their figures to `bench/results/<name>.json`."""

from __future__ import annotations

import argparse
import importlib

from bench import BENCHES, RESULTS, machine, versions
from clustcore.files import write_json

PACKAGES = ("streamlit", "torch", "numpy", "scikit-learn", "umap-learn", "plotly", "foolbox")


def main() -> None:
    """Run what the command line names; a module's own keys win over machine and versions."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", default="all", choices=[*BENCHES, "all"])
    name = parser.parse_args().name
    for one in BENCHES if name == "all" else [name]:
        figures = importlib.import_module(BENCHES[one]).run()
        place = RESULTS / f"{one}.json"
        write_json(place, {"machine": machine(), "versions": versions(*PACKAGES)} | figures)
        print(f"\nwritten: {place}")


if __name__ == "__main__":
    main()
