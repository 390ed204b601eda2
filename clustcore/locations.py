"""Where things lie: the files that ship, and one's own runs, caches and data.

In a checkout all of them lie in the project's folder. Installed, what ships lies in the package
`driftmap` and is never written to, and one's own lies in the current folder. The folder that
DRIFTMAP_HOME names comes before both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent  # the checkout; installed: site-packages
INSTALLED = (PROJECT / "driftmap" / "assets").is_dir()
_SHIPPED = PROJECT / "driftmap" if INSTALLED else PROJECT
ASSETS = _SHIPPED / "assets"
APP = _SHIPPED / "app.py"
OPEN_APP = "driftmap" if INSTALLED else "streamlit run app.py --"  # what precedes `--root DIR`
# The folder in which a process of this library is started. `-m` imports from there: in a checkout
# that is how it finds the library, installed it is the user's folder and nothing of it is imported.
START = None if INSTALLED else PROJECT
# in a folder that may be anybody's, such as ~, a cache has a folder of its own
_CACHE = Path(".cache", "driftmap") if INSTALLED else Path(".cache")


def home() -> Path:
    """The folder of one's own runs, caches and data.

    What DRIFTMAP_HOME names, else the checkout, else the current folder. Its path is whole.
    """
    if named := os.environ.get("DRIFTMAP_HOME"):
        return Path(named).expanduser().absolute()
    return Path.cwd() if INSTALLED else PROJECT


def own_runs() -> Path:
    """Where one's own runs lie: `runs/` in `home()`, or the folder DRIFTMAP_RUNS names.

    Its path is whole: a process elsewhere finds the same.
    """
    return Path(os.environ.get("DRIFTMAP_RUNS") or home() / "runs").absolute()


def cache_folder() -> Path:
    """Where results computed on demand are kept.

    `.cache/` in `home()`, `.cache/driftmap/` where the library is installed, or the folder
    DRIFTMAP_CACHE names.
    """
    return Path(os.environ.get("DRIFTMAP_CACHE") or home() / _CACHE)


def environment() -> dict[str, str]:
    """Environment variables with which a process in another folder finds the same places."""
    places = {"DRIFTMAP_HOME": home(), "DRIFTMAP_CACHE": cache_folder().absolute()}
    return os.environ | {name: str(place) for name, place in places.items()}


def command(module: str, *argv: str) -> list[str]:
    """What runs a module of this library in a process of its own, started in `START`."""
    return [sys.executable, *["-P"] * INSTALLED, "-m", module, *argv]
