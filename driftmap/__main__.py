"""`driftmap`, or `python -m driftmap`: open the app in the browser."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from clustcore import __version__
from clustcore.locations import APP

NEEDED = ("streamlit", "plotly", "pandas")  # by the app, not by the library


def main(argv: Sequence[str] | None = None) -> int:
    """Open the app, until it is stopped; exit code 2 where that cannot be."""
    parser = argparse.ArgumentParser(
        "driftmap",
        description="Open the lab in the browser. One's own runs, caches and data lie in the "
        "folder that DRIFTMAP_HOME names, else in the current one (in a checkout: there).",
        epilog="Streamlit's own settings are taken from its environment variables, such as "
        "STREAMLIT_SERVER_HEADLESS=true.",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder below which images are looked for; may be given more than once",
    )
    parser.add_argument("--port", type=_port, help="where the app listens; a free one by default")
    parser.add_argument(
        "--address",
        default=os.environ.get("STREAMLIT_SERVER_ADDRESS", "localhost"),
        help="who reaches the app: this machine by default, everybody with 0.0.0.0",
    )
    parser.add_argument("--version", action="version", version=f"driftmap {__version__}")
    asked = parser.parse_args(argv)
    for root in asked.root:
        if not Path(root).is_dir():
            parser.error(f"--root: expected a folder, got {root!r}")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(
            f"driftmap: the app needs {', '.join(missing)}: expected them to be installed, got "
            "nothing; `pip install 'driftmap[app]'` installs them",
            file=sys.stderr,
        )
        return 2
    from streamlit.web import cli

    where = ["--server.address", asked.address]
    where += [] if asked.port is None else ["--server.port", str(asked.port)]
    roots = [word for root in asked.root for word in ("--root", root)]
    return cli.main(["run", str(APP), *where, "--", *roots], prog_name="streamlit") or 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
