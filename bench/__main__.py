"""Runs benchmarks and writes their figures to `bench/results/<name>.json`."""

from __future__ import annotations

import argparse
import importlib

from bench import BENCHES, save


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", default="all", choices=[*BENCHES, "all"])
    name = parser.parse_args().name
    for one in BENCHES if name == "all" else [name]:
        figures = importlib.import_module(BENCHES[one]).run()
        print(f"\nwritten: {save(one, figures)}")


if __name__ == "__main__":
    main()
