"""A machine with what training needs and no more: `python -m tests.bare -m MODULE [ARG ...]` runs a
module as `python -m` does where the packages of `HIDDEN` are not installed.
"""

from __future__ import annotations

import importlib.machinery
import runpy
import sys
from typing import Any

HIDDEN = ("beartype", "hypothesis", "numba", "playwright", "plotly", "pynndescent", "streamlit")
HIDDEN += ("tyro", "umap")


class _Finder(importlib.machinery.PathFinder):
    # it finds nothing where another one might: the import says what it says without the package
    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] in HIDDEN:
            return None
        return super().find_spec(fullname, path, target)


def hide() -> None:
    """From now on the packages are not found.

    Raises:
        RuntimeError: one of them has been imported.
    """
    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = _Finder
    if known := [name for name in HIDDEN if name in sys.modules]:
        raise RuntimeError(f"expected none of {', '.join(HIDDEN)} to be imported, got {known}")


def main() -> None:
    """Run the module that the command line names."""
    flag, module, *argv = sys.argv[1:]
    if flag != "-m":
        raise ValueError(f"tests.bare: expected -m MODULE, got {flag!r}")
    hide()
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
