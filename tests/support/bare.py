"""A machine with what training needs and no more.

`python -m tests.support.bare -m MODULE [ARG ...]` runs a module as `python -m` does where the
packages of `HIDDEN` are not installed; with `-l` in its place it reads command lines, a JSON list,
and prints what `python -m clustcore` says to each.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import io
import json
import runpy
import sys
import traceback
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


def say(line: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one command."""
    from clustcore.cli.commands import main as clustcore

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = clustcore(line.split())
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    return code, out.getvalue(), errors.getvalue()


def main() -> None:
    """Run the module that the command line names, or the lines that come in."""
    flag, *argv = sys.argv[1:]
    if flag not in ("-m", "-l"):
        raise ValueError(f"tests.support.bare: expected -m MODULE or -l, got {flag!r}")
    hide()
    if flag == "-l":
        print(json.dumps([say(line) for line in json.load(sys.stdin)]))
        return
    sys.argv = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
