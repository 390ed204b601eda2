"""Who may import whom: the arrows of the architecture, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {
    "datasets",
    "runs",
    "augment",
    "models",
    "attacks",
    "projection",
    "boundaries",
    "evaluation",
    "comparing",
    "figures",
    "teach",
}
# what each part of clustcore may import of clustcore; a leaf may import types and itself
ALLOWED = {name: {"types", name} for name in LEAVES} | {
    "types": set(),
    "__init__": set(),
    "distributed": set(),
    "memory": set(),
    "locations": set(),
    "manifold": set(),
    "files": set(),
    "trust": set(),
    "runs": {"types", "files", "runs"},
    "attacks": {"types", "files", "attacks"},
    "teach": {"types", "files", "manifold"},
    "projection": {"types", "files", "manifold", "trust", "projection"},
    # its contract is written in the models' terms, and it may use an attack
    "defences": {"types", "models", "attacks", "defences"},
    "comparing": {"types", "runs"},  # runs: for the form of a map
    # epoch and train for the form of what is kept alone
    "checkpoint": {"models", "defences", "files", "runs", "types", "epoch", "train"},
    "machine": set(),
    "epoch": {"models", "augment", "types"},
    "train": {"models", "defences", "augment", "checkpoint", "epoch", "types"},
    "batches": {"attacks", "models", "types"},
    "pipeline": LEAVES - {"figures", "comparing"} | {"types", "batches", "checkpoint"},
    "paths": {"attacks", "batches", "evaluation", "pipeline", "runs", "types"},
    "parts": {"attacks", "batches", "boundaries", "evaluation", "paths", "pipeline", "projection"}
    | {"runs", "types"},
    "making": {"attacks", "augment", "batches", "checkpoint", "defences", "files", "models"}
    | {"machine", "parts", "pipeline", "projection", "runs", "teach", "train", "types"},
    "cli": {"augment", "making", "models", "train", "types"},
    "tables": {"files", "runs", "drc_results"},
    "published": set(),
    "drc_results": {"files", "runs", "published"},
    "judging": LEAVES - {"figures"} | {"types", "batches", "pipeline"},
    "recipes": {"making"},
    "jobs": {"files", "runs"},
    "livemap": {"files", "comparing", "manifold"},
    "drc_table": LEAVES - {"figures"}
    | {"types", "files", "pipeline", "train", "recipes", "reproduce", "drc_results", "budget"}
    | {"judging"}
    | {"export", "machine"},
    "throughput": {"augment", "epoch", "models"},
    "budget": {"augment", "checkpoint", "epoch", "machine", "making", "models", "throughput"}
    | {"train"},
    "export": {"checkpoint", "manifold", "parts", "paths", "pipeline", "runs", "types"},
    "alrdc_table": LEAVES - {"figures"}
    | {"types", "files", "pipeline", "parts", "judging", "recipes", "reproduce", "tables"},
    "assemble": {"batches", "checkpoint", "files", "parts", "paths", "pipeline", "projection"}
    | {"runs", "types"},
    "reproduce": LEAVES - {"figures"}
    | {"defences", "types", "files", "checkpoint", "pipeline", "parts", "making", "manifold"}
    | {"recipes"},
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "clustcore").parts[0].removesuffix(".py")


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


FILES = sorted((ROOT / "clustcore").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    found = imports(path)
    assert not {name for name in found if name.split(".")[0] in ("streamlit", "ui", "pages")}
    part = part_of(path)
    if part == "__main__":
        return
    inside = {name.split(".")[1] for name in found if name.startswith("clustcore.")}
    parts = {p.stem for p in (ROOT / "clustcore").iterdir() if not p.name.startswith("_")}
    allowed = ALLOWED[part] | {
        "distributed",
        "memory",
        "locations",
    }  # one process or many, enough memory or not, where things lie: everyone may ask
    assert inside & parts <= allowed, f"{part} imports {inside & parts - allowed}"


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
        "import clustcore.models, clustcore.attacks, clustcore.evaluation, clustcore.figures\n"
        "import clustcore.defences, clustcore.comparing, clustcore.attacks.alrdc_config\n"
        "import clustcore.jobs, clustcore.livemap, clustcore.datasets.peek\n"
        "clustcore.list_runs(); clustcore.load_samples('mnist')\n"
        "print([m for m in ('torch', 'umap', 'streamlit') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_the_screens_cache_in_three_places_and_what_lies_on_disk_needs_no_model():
    files = [*(ROOT / "ui").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]
    caching = {path.stem for path in files if "st.cache_" in path.read_text(encoding="utf-8")}
    assert caching == {"loaders", "datasets", "answers"}
    heavy = ("batches", "checkpoint", "making", "parts", "paths", "pipeline", "projection", "train")
    models = {"torch", "clustcore.trust"} | {f"clustcore.{part}" for part in heavy}
    for name in ("loaders", "datasets"):
        assert not imports(ROOT / "ui" / f"{name}.py") & models


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
        "import sys, clustcore.__main__, clustcore.making\n"
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
