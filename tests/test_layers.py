"""Who may import whom: the arrows of the architecture, read from the source."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# what each part of the library may import of it; a part may import itself
LIBRARY = {
    "__init__": {"moved"},
    "__main__": {"cli"},
    "moved": set(),
    # the ground floor: results, configs, and what every process, file and memory needs
    "display": set(),
    "types": {"display"},
    "config": set(),
    "registry": {"types"},
    "files": set(),
    "locations": set(),
    "distributed": set(),
    "memory": set(),
    "machine": set(),
    "manifold": set(),
    # runs as they lie on disk: what draws a map imports no more
    "runs": {"types", "config", "files", "locations"},
    "datasets": {"types", "config", "registry", "locations"},
    "dial": {"types", "datasets"},
    "measures": {"types"},
    "maps": {"types", "config", "files", "manifold", "measures"},
    # torch
    "attacks": {"types", "config", "registry", "display", "files", "memory"},
    "models": {"config", "registry", "distributed", "files", "memory", "runs"},
    # a defence's contract is written in the models' terms, and it may use an attack
    "defences": {"types", "config", "registry", "distributed", "models", "attacks"},
    "training": {"config", "display", "distributed", "files", "manifold", "memory", "models"}
    | {"defences"},
    "pipeline": {"types", "config", "registry", "dial", "display", "distributed", "files"}
    | {"locations", "machine", "manifold", "memory", "runs", "measures", "maps", "models"}
    | {"attacks", "defences", "training"},
    # what a script or a notebook calls
    "door": {"types", "runs", "datasets", "models", "training", "pipeline"},
    "experiments": {"types", "config", "dial", "distributed", "files", "locations", "machine"}
    | {"manifold", "runs", "datasets", "measures", "models", "attacks", "training", "pipeline"},
    "cli": {"types", "config", "registry", "dial", "distributed", "locations", "runs"}
    | {"datasets", "measures", "maps", "models", "attacks", "defences", "training"}
    | {"pipeline", "experiments"},
}
# what each part of the screens may import of them
SCREENS = {
    "__init__": set(),
    "shell": set(),
    "notes": {"shell"},
    "cluster_map": set(),
    "cached": {"notes", "cluster_map"},
    "scene": {"shell", "notes", "cached", "cluster_map"},
    "parts": {"notes", "cluster_map", "cached", "scene"},
    "home": {"shell", "notes", "cached", "scene"},
    "explore": {"shell", "notes", "cluster_map", "cached", "scene", "parts"},
    "attack": {"shell", "notes", "cluster_map", "cached", "scene", "parts"},
    "compare": {"notes", "cluster_map", "cached", "scene", "parts"},
    "train": {"shell", "notes", "cluster_map", "cached", "scene", "parts"},
}


def imports(path: Path) -> set[str]:
    """Every module a file imports anywhere, also inside functions; registry entries count too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = [path for top in ("clustcore", "ui") for path in sorted((ROOT / top).rglob("*.py"))]


def part_of(path: Path) -> tuple[str, str]:
    top, part, *_ = path.relative_to(ROOT).parts
    return top, part.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    top, part = part_of(path)
    found = imports(path)
    if top == "clustcore":
        assert not {name for name in found if name.split(".")[0] in ("streamlit", "ui", "pages")}
    table = LIBRARY if top == "clustcore" else SCREENS
    inside = {name.split(".")[1] for name in found if name.startswith(f"{top}.")}
    assert inside & set(table) <= table[part] | {part}


def test_no_arrow_is_missing_from_the_tables_and_none_is_spare():
    for top, table in (("clustcore", LIBRARY), ("ui", SCREENS)):
        drawn: dict[str, set[str]] = {}
        for path in FILES:
            if part_of(path)[0] == top:
                part = part_of(path)[1]
                inside = {n.split(".")[1] for n in imports(path) if n.startswith(f"{top}.")}
                drawn.setdefault(part, set()).update(inside & set(table) - {part})
        assert drawn == table


def test_the_arrows_go_round_in_no_circle():
    for table in (LIBRARY, SCREENS):
        graphlib.TopologicalSorter(table).prepare()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_draws_a_map_imports_no_torch():
    code = (
        "import sys, clustcore, clustcore.runs, clustcore.files, clustcore.types\n"
        "import clustcore.datasets\n"
        "import clustcore.models, clustcore.attacks, clustcore.measures.figures\n"
        "import clustcore.defences, clustcore.maps.alignment, clustcore.attacks.alrdc_config\n"
        "import clustcore.maps.regions\n"
        "import clustcore.runs.jobs, clustcore.maps.live, clustcore.datasets.peek\n"
        "clustcore.list_runs(); clustcore.load_samples('mnist')\n"
        "print([m for m in ('torch', 'umap', 'streamlit') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_the_screens_cache_in_three_places_and_what_lies_on_disk_needs_no_model():
    files = [*(ROOT / "ui").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]
    caching = {path.stem for path in files if "st.cache_" in path.read_text(encoding="utf-8")}
    assert caching == {"runs", "images", "models"}
    heavy = {"torch"} | {f"clustcore.{part}" for part in ("models.base", "pipeline", "training")}
    heavy |= {"clustcore.maps.projection", "clustcore.maps.trustworthiness"}
    for name in ("runs", "images"):
        found = imports(ROOT / "ui" / "cached" / f"{name}.py")
        assert not {name for name in found if name.startswith(tuple(heavy))}


def test_no_process_is_waited_for_without_a_limit():
    # what opens a whole data set for the user takes as long as that takes
    unlimited = {"clustcore/datasets/peek.py"}
    waiting = {f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output")}
    found = set()
    files = [
        path for part in ("bench", "clustcore", "tests") for path in (ROOT / part).rglob("*.py")
    ]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if call in waiting or call.endswith(".communicate"):
                limited = any(keyword.arg == "timeout" for keyword in node.keywords)
                found |= set() if limited else {str(path.relative_to(ROOT))}
    assert found == unlimited


def test_training_imports_only_its_own_needs():
    code = (
        "import sys, clustcore.cli.commands, clustcore.pipeline.make\n"
        "names = ('streamlit', 'umap', 'numba', 'plotly', 'tyro')\n"
        "print([m for m in names if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_the_door_opens():
    code = (
        "import clustcore\n"
        "print(all(callable(getattr(clustcore, name)) for name in clustcore.__all__))"
    )
    assert run(code) == "True"


def test_an_unknown_name_of_the_door_is_an_attribute_error():
    import clustcore

    with pytest.raises(AttributeError, match="'clustcore' has no attribute 'nothing'"):
        clustcore.nothing  # noqa: B018
