"""The map's script: its ES modules, joined into the one module that the browser gets.

Streamlit takes a component's script as one text, and users need no build step. So the modules of
`js/` are joined when the app starts: each becomes a function of its own, called once, whose result
holds what the module exports. Names of two modules cannot clash that way. The text goes with each
message, so comments, types and indents stay behind.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "js"
ENTRY = "map"  # its default export is the component
_DEFAULT = "export default "

_IMPORT = re.compile(r'^import ([^;"]+) from "\./(\w+)\.js";\n', re.MULTILINE)
_NAMED = re.compile(r"\{([^{}]*)\}")
_EXPORT = re.compile(r"^export ((?:async )?function\*?|const|class) (\w+)", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_TYPES = re.compile(r"/\*\*.*?\*/", re.DOTALL)
_SPACES = re.compile(r" *([{}()\[\],;:=<>?&|*]) *")


def joined(folder: Path = FOLDER, entry: str = ENTRY) -> str:
    """All modules that the entry needs, as one module without comment lines and indents.

    Raises:
        FileNotFoundError: a module imports one that is not there.
        ValueError: modules import each other in a circle, or one is written in a way that cannot be
            joined.
    """
    texts = _texts(folder, entry)
    parts = [_wrapped(name, text) for name, text in texts.items() if name != entry]
    return "\n".join([*parts, _unwrapped(entry, texts[entry])])


def imports(text: str) -> list[str]:
    """The names of the modules that a module imports, in order."""
    return [name for _, name in _IMPORT.findall(_TYPES.sub("", text))]


def _texts(folder: Path, entry: str) -> dict[str, str]:
    """The modules' texts without types, each after those that it imports."""
    texts: dict[str, str] = {}

    def add(name: str, way: list[str]) -> None:
        if name in way:
            circle = " -> ".join([*way[way.index(name) :], name])
            raise ValueError(f"the map's scripts: expected no circle of imports, got {circle}")
        if name in texts:
            return
        text = _TYPES.sub("", (folder / f"{name}.js").read_text(encoding="utf-8"))
        for needed in imports(text):
            add(needed, [*way, name])
        texts[name] = text

    add(entry, [])
    return texts


def _wrapped(name: str, text: str) -> str:
    exported = ", ".join(what for _, what in _EXPORT.findall(text))
    body = _EXPORT.sub(r"\1 \2", text) + f"\nreturn {{ {exported} }};"
    return f"const ${name} = (() => {{\n{_stripped(name, body)}\n}})();"


def _unwrapped(name: str, text: str) -> str:
    if (count := text.count(_DEFAULT)) != 1:
        raise ValueError(f"{name}.js: expected one default export, got {count}")
    head, tail = text.split(_DEFAULT)
    return f"{_stripped(name, head)}\n{_DEFAULT}{_stripped(name, tail)}"


def _stripped(name: str, text: str) -> str:
    """A module's text with its imports as constants, without comment lines and indents."""
    text = _IMPORT.sub(lambda found: _binding(name, *found.groups()), text)
    if other := _OTHER.search(text):
        wanted = "'import { a, b as c }' or 'import * as d' from \"./name.js\", 'export function'"
        wanted += ", 'export const' or 'export class'"
        raise ValueError(f"{name}.js: expected {wanted}, got {other[0]!r}")
    lines = (line.strip() for line in text.splitlines())
    return "".join(_squeezed(line) for line in lines if line and not line.startswith("//")).strip()


def _squeezed(line: str) -> str:
    """A line without the spaces and the break that mean nothing, in a shader neither.

    One with a quote or a slash, which may hold words, a pattern or a comment, as it is.
    """
    if any(sign in line for sign in "\"'`/"):
        return line + "\n"
    line = _SPACES.sub(r"\1", line)
    return line if line.endswith(("{", "(", "[", ",")) else line + "\n"


def _binding(name: str, what: str, module: str) -> str:
    if what.startswith("* as "):
        return f"const {what.removeprefix('* as ')} = ${module};\n"
    if not (named := _NAMED.fullmatch(what)):
        raise ValueError(f"{name}.js: expected named imports, got 'import {what}'")
    names = " ".join(named[1].split()).removesuffix(",").replace(" as ", ": ")
    return f"const {{ {names} }} = ${module};\n"
