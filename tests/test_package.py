"""The package: its metadata, what goes into the wheel, where things lie, and systems without POSIX.

`tests.wheel` builds and uses the wheel itself.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import clustcore
from clustcore import datasets, locations
from clustcore.pipeline import make
from driftmap import __main__ as command
from tests.support import ROOT
from tests.wheel import FILES
from ui import shell

ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, HATCH = ABOUT["project"], ABOUT["tool"]["hatch"]
WHEEL = HATCH["build"]["targets"]["wheel"]
SHOW = (
    "import json\n"
    "from clustcore import datasets, locations as l, runs\n"
    "places = [l.ASSETS, l.APP, *runs.folders(), l.cache_folder(), datasets.data_folder()]\n"
    "print(json.dumps([*map(str, places), l.OPEN_APP, l.START and str(l.START), *l.command('x')]))"
)


def requirements(lines: Sequence[str]) -> dict[str, Requirement]:
    """Requirements by name."""
    return {one.name: one for one in map(Requirement, lines)}


def pins() -> dict[str, Requirement]:
    """What the two files of exact versions say."""
    files = (ROOT / name for name in ("requirements.txt", "requirements-dev.txt"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return requirements([line for line in lines if not line.startswith("-r ")])


def ranges() -> dict[str, Requirement]:
    """What the metadata asks for, with every extra but for the package's own."""
    extras = PROJECT["optional-dependencies"].values()
    found = requirements([*PROJECT["dependencies"], *(line for extra in extras for line in extra)])
    assert found.pop("driftmap").extras == {"app", "map"}  # `dev` has the others
    return found


def test_the_same_packages_are_pinned_and_in_the_metadata() -> None:
    assert pins().keys() == ranges().keys()


@pytest.mark.parametrize("name", sorted(pins()))
def test_a_pin_lies_within_the_range(name: str) -> None:
    pin, asked = pins()[name], ranges()[name]
    (only,) = pin.specifier
    assert only.operator == "=="
    assert asked.specifier.contains(only.version), f"{pin} is not in {asked}"
    assert asked.extras == pin.extras
    assert any(one.operator == ">=" for one in asked.specifier), f"{asked}: expected a lower bound"


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    file = ROOT / HATCH["version"]["path"]
    (found,) = re.findall(r'^__version__ = "(.+?)"', file.read_text(encoding="utf-8"), re.M)
    assert found == clustcore.__version__
    assert Path(clustcore.__file__) == file


def test_the_version_is_read_without_anything_else() -> None:
    code = (
        "import sys, clustcore; clustcore.__version__\n"
        "print([m for m in ('numpy', 'torch', 'streamlit') if m in sys.modules])"
    )
    assert output("-c", code, cwd=ROOT) == "[]\n"


def test_python_is_what_the_tests_run_on() -> None:
    least = PROJECT["requires-python"].removeprefix(">=")
    names = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    workflow = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    (matrix,) = re.findall(r"python: (\[.+\])", workflow)
    assert names[0] == least
    assert json.loads(matrix) == names


def test_ruff_has_one_version() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (version,) = re.findall(r"ruff-pre-commit\n\s+rev: v(\S+)", hooks)
    assert str(pins()["ruff"].specifier) == f"=={version}"


def test_the_commands_are_there() -> None:
    for name in ("clustcore", "driftmap"):
        module, _, function = PROJECT["scripts"][name].partition(":")
        assert callable(getattr(import_module(module), function))


def test_the_check_of_the_wheel_knows_what_goes_into_it() -> None:
    assert WHEEL["force-include"] | {name: name for name in WHEEL["packages"]} == FILES
    assert all((ROOT / source).exists() for source in FILES)


def test_all_that_the_app_imports_or_opens_goes_into_the_wheel() -> None:
    files = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "ui").rglob("*.py")]
    files += [*(ROOT / "clustcore").rglob("*.py"), *(ROOT / "driftmap").rglob("*.py")]
    used = {f"{name}.py" for name in imported(files)} | imported(files)
    needed = {path.name for path in ROOT.iterdir()} & used | {locations.ASSETS.name}
    needed |= {file.partition("/")[0] for file in shell.PAGES.values()}
    assert {"ui", "clustcore", "pages", "app.py", "assets"} <= needed  # it is seen what is used
    assert needed <= set(FILES)
    assert ".streamlit/config.toml" in FILES


def imported(files: Sequence[Path]) -> set[str]:
    """The first names of all modules that these files import."""
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Library and app where an installer would put them; of what ships, nothing."""
    place = tmp_path_factory.mktemp("site")
    for source, target in FILES.items():
        if source == "assets":
            (place / target).mkdir(parents=True)
        elif (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, place / target, ignore=ignored, dirs_exist_ok=True)
        else:
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place / target)
    return place


def output(*argv: str, cwd: Path, **given: str) -> str:
    """What Python prints, with none of Driftmap's variables but those that are given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DRIFTMAP_")}
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=cwd,
        env=kept | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | given,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(cwd: Path, **given: str) -> list[Any]:
    """What a library in another process says of where things lie."""
    return json.loads(output("-P", "-c", SHOW, cwd=cwd, **given))


HOMES: dict[str, dict[str, str]] = {
    "none": {},
    "home": {"DRIFTMAP_HOME": "HERE/mine"},
    "relative": {"DRIFTMAP_HOME": "mine"},
    "each": {f"DRIFTMAP_{name}": f"HERE/{name}" for name in ("HOME", "RUNS", "CACHE", "DATA")},
}


@pytest.mark.parametrize("name", HOMES)
def test_installed_ones_own_never_lies_in_the_package(
    site: Path, tmp_path: Path, name: str
) -> None:
    given = {key: value.replace("HERE", str(tmp_path)) for key, value in HOMES[name].items()}
    home = tmp_path if name == "none" else tmp_path / "mine"
    own = [home / "runs", home / ".cache" / "driftmap", home / "data"]
    if name == "each":
        own = [tmp_path / "RUNS", tmp_path / "CACHE", tmp_path / "DATA"]
    shipped = [site / "driftmap" / part for part in ("assets", "app.py", "assets/runs")]
    expected = [*map(str, shipped), *map(str, own)]
    last = ["driftmap", None, sys.executable, "-P", "-m", "x"]  # no module of the current folder
    assert shown(tmp_path, PYTHONPATH=str(site), **given) == expected + last


@pytest.mark.parametrize("name", HOMES)
def test_in_a_checkout_ones_own_lies_there_as_before(tmp_path: Path, name: str) -> None:
    given = {key: value.replace("HERE", str(tmp_path)) for key, value in HOMES[name].items()}
    home = ROOT if name == "none" else tmp_path / "mine"
    own = [home / "runs", home / ".cache", home / "data"]
    if name == "each":
        own = [tmp_path / "RUNS", tmp_path / "CACHE", tmp_path / "DATA"]
    shipped = [ROOT / part for part in ("assets", "app.py", "assets/runs")]
    expected = [*map(str, shipped), *map(str, own)]
    last = ["streamlit run app.py --", str(ROOT), sys.executable, "-m", "x"]
    assert shown(tmp_path, PYTHONPATH=str(ROOT), **given) == expected + last


def test_a_process_elsewhere_finds_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTMAP_HOME", "mine")
    monkeypatch.setenv("DRIFTMAP_CACHE", "kept")
    before = locations.home(), locations.cache_folder().absolute()
    for name, value in locations.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (locations.home(), locations.cache_folder()) == before
    assert before == (tmp_path / "mine", tmp_path / "kept")


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "RUNS", "CACHE", "DATA"):
        monkeypatch.setenv(f"DRIFTMAP_{name}", "")
    assert locations.own_runs() == ROOT / "runs"
    assert locations.cache_folder() == ROOT / ".cache"
    assert datasets.data_folder() == ROOT / "data"


def test_what_writes_the_shipped_files_needs_a_checkout(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from clustcore.cli.commands import main\n"
        "sys.stderr = sys.stdout\n"
        "main(['reproduce', 'tables']), main(['reproduce', 'data', '--root', 'x'])\n"
    )
    said = output("-P", "-c", code, cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert len(said) == 2
    assert all("expected a checkout of the repository, got an installed" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_a_run_names_the_version_of_an_installed_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", make._commit())
    monkeypatch.setattr(locations, "INSTALLED", True)
    assert make._commit() == f"driftmap {clustcore.__version__}"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments with which Streamlit would have been started."""
    from streamlit.web import cli

    calls: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda args, prog_name: calls.append(args))
    monkeypatch.delenv("STREAMLIT_SERVER_ADDRESS", raising=False)
    return calls


def test_the_command_opens_the_app(opened: list[list[str]], tmp_path: Path) -> None:
    assert command.main(["--port", "8600", "--root", str(tmp_path), "--root", str(ROOT)]) == 0
    where = ["--server.address", "localhost", "--server.port", "8600"]
    roots = ["--root", str(tmp_path), "--root", str(ROOT)]
    assert opened == [["run", str(ROOT / "app.py"), *where, "--", *roots]]
    assert command.main(["--address", "0.0.0.0"]) == 0
    assert opened[1] == ["run", str(ROOT / "app.py"), "--server.address", "0.0.0.0", "--"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "0"], "--port: expected a number from 1 to 65535, got '0'"),
        (["--port", "http"], "--port: expected a number from 1 to 65535, got 'http'"),
        (["--root", "nowhere"], "--root: expected a folder, got 'nowhere'"),
    ],
)
def test_a_wrong_option_is_said(
    opened: list[list[str]], capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(argv)
    assert said in capsys.readouterr().err
    assert opened == []


def test_without_streamlit_the_command_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.support.bare import hide\n"
        "hide()\n"
        "from driftmap.__main__ import main\n"
        "sys.stderr = sys.stdout\n"
        "print(main([]))"
    )
    assert output("-c", code, cwd=ROOT) == (
        "driftmap: the app needs streamlit, plotly: expected them to be installed, got nothing; "
        "`pip install 'driftmap[app]'` installs them\n2\n"
    )


def test_everything_but_the_train_page_works_without_posix() -> None:
    said = output("-m", "tests.support.portable", "--hide", cwd=ROOT)
    assert "Explore: MNIST" in said
    assert "needs a POSIX system (Linux, macOS)" in said
    assert said.endswith("mine: trained\n")
