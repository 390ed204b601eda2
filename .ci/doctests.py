"""Examples of docstrings (`>>> ...`) as blocks of code on the site, wherever they stand in one."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(>>> .*(?:\n(?!\s*\n).+)*)", re.M)


class Doctests(griffe.Extension):
    """Fences what begins with `>>>`, up to the next empty line."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\1\n```", obj.docstring.value)
