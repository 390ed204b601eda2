"""The map's scripts: which may import which, how they are joined, and what node says of them.

What needs node, and what `npm ci` installs, bears the mark `node`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from ui.cluster_map.script import ENTRY, FOLDER, imports, joined

MODULES = sorted(FOLDER.glob("*.js"))
TESTS = sorted(Path(__file__).with_name("js").glob("*.mjs"))

# What each module may import. From the ground up: arithmetic and elements; the renderers; what
# stands beside the map and knows no mount; then a mount's own, which take the state they work on.
TOOLS = {"core", "dom"}
BESIDE = {"dial", "inspector", "strip"}
STATE = {"camera", "samples", "signals"}
ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "core": set(),
    "dom": set(),
    "theme": {"dom"},
    "pictures": {"dom", "theme"},
    "shaders": set(),
    "webgl": {"shaders"},
    "canvas2d": {"dom"},
    "layout": {"dom"},
    "curve": TOOLS,
    "dial": TOOLS | {"curve"},
    "strip": TOOLS,
    "bars": {"dom"},
    "histogram": TOOLS,
    "flow": TOOLS | {"bars"},
    "decoder": TOOLS | {"pictures"},
    "sample": TOOLS | {"bars", "decoder", "pictures"},
    "neighbours": {"dom", "pictures"},
    "smallest": TOOLS | {"histogram"},
    "spot": {"dom", "bars", "pictures"},
    "inspector": {"dom", "flow", "histogram", "neighbours", "sample", "smallest", "spot"},
    "geometry": {"core"},
    "signals": set(),
    "remount": set(),
    "samples": {"core"},
    "camera": {"signals"},
    "tiles": {"signals"},
    "labels": TOOLS | {"camera"},
    "rings": {"dom", "camera", "samples"},
    "key": TOOLS | {"samples"},
    "points": TOOLS | STATE | {"theme"},
    "probe": {"camera", "signals", "inspector"},
    "pin": TOOLS | STATE | {"dial", "probe", "tiles"},
    "frame": TOOLS | STATE | BESIDE | {"key", "labels", "pin", "points", "rings"},
    "png": {"dom", "camera", "frame", "samples"},
    "selection": {"core", "frame", "points"} | STATE,
    "strength": {"core", "points", "samples", "signals"},
    "hover": TOOLS | STATE | {"points", "rings", "tiles"},
    "pointer": {"dom", "camera", "signals", "hover", "pin", "probe", "selection"},
    "keyboard": {"core", "hover", "pin", "points", "probe", "rings", "selection"} | STATE,
    "toolbar": {"dom", "camera", "png"},
    "size": {"dom", "camera", "signals", "frame", "labels", "layout", "selection"} | BESIDE,
    "setup": {"core", "camera", "samples", "theme", "canvas2d", "webgl", "geometry", "size"}
    | BESIDE,
    "receive": {"core", "camera", "signals", "theme", "dial", "inspector", "frame", "geometry"}
    | {"hover", "probe", "remount", "setup"},
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_arrows(path: Path) -> None:
    # the entry puts all together; nothing imports it
    allowed = set(ALLOWED) if path.stem == ENTRY else ALLOWED[path.stem]
    found = set(imports(path.read_text(encoding="utf-8")))
    assert found <= allowed, f"{path.name} imports {found - allowed}"


def test_every_module_is_sent_but_the_types_and_the_table_names_no_other() -> None:
    names = {path.stem for path in MODULES}
    assert names == {*ALLOWED, ENTRY}
    sent = set(re.findall(r"^const \$(\w+) =", joined(), re.MULTILINE))
    assert sent == names - {"types", ENTRY}


def write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def test_a_circle_of_imports_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        map='import { a } from "./one.js";\nexport default a;\n',
        one='import { b } from "./two.js";\nexport const a = b;\n',
        two='import { a } from "./one.js";\nexport const b = a;\n',
    )
    with pytest.raises(ValueError, match="no circle of imports, got one -> two -> one"):
        joined(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import one from "./one.js";\nexport default one;\n', "expected named imports"),
        ('import "./one.js";\nexport default 1;\n', "got 'import \"./one.js\";'"),
        ("const a = 1;\nexport { a };\nexport default a;\n", "got 'export { a };'"),
        ("export let a = 1;\nexport default a;\n", "got 'export let a = 1;'"),
        ("const a = 1;\n", "expected one default export, got 0"),
    ],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, map=text, one="export const one = 1;\n")
    with pytest.raises(ValueError, match=re.escape(said)):
        joined(tmp_path)


def test_the_script_holds_no_inner_html_no_types_and_one_default_export() -> None:
    script = joined()
    assert "innerHTML" not in script
    assert "/*" not in script
    assert script.count("export default") == 1
    assert not re.search(r"^(import|//|\s)", script, re.MULTILINE)


def test_no_line_is_long_and_no_check_is_switched_off() -> None:
    off = re.compile(r"@ts-|biome-ignore|\{[^{}\"\n]*\bany\b|\{\*\}")
    for path in [*MODULES, *TESTS]:
        text = path.read_text(encoding="utf-8")
        long = [line for line in text.splitlines() if len(line) > 120]
        assert not long, f"{path.name}: expected lines of at most 120 columns, got {long[0]!r}"
        assert not off.search(text), f"{path.name}: {off.search(text)}"


def test_what_checks_the_scripts_is_pinned_and_comes_from_one_host() -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    assert package["private"] is True
    assert "dependencies" not in package  # users need no node
    for name, version in package["devDependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name}: expected one version: {version}"
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([^/\"]+)", lock)) <= {"registry.npmjs.org"}
    packages = json.loads(lock)["packages"]
    assert packages[""]["devDependencies"] == package["devDependencies"]
    assert all("integrity" in about for place, about in packages.items() if place)


def node(*command: str, tool: str = "") -> str:
    """What node, or a tool of node_modules, says; a test is skipped where it is not there."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    program = ROOT / "node_modules" / ".bin" / tool
    if tool and not program.exists():
        pytest.skip(f"{tool} is not installed: run npm ci")
    done = subprocess.run(
        [str(program) if tool else "node", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


@pytest.mark.node
def test_names_of_two_modules_do_not_clash_and_each_runs_after_what_it_needs(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        map='import * as two from "./two.js";\nimport { a, twice as b } from "./one.js";\n'
        "const name = 3;\n/** @param {number} x */\n"
        "export default (x) => [a, b(x), two.a, name];\n",
        one="const name = 1; // a trailing word\nexport const a = name;\n"
        "export function twice(/** @type {number} */ x) {\n  return 2 * x;\n}\n",
        two='import {\n  a as one,\n} from "./one.js";\nconst name = one + 1;\n// gone\n'
        "export const a = name;\n",
    )
    script = tmp_path / "joined.mjs"
    script.write_text(joined(tmp_path), encoding="utf-8")
    say = f"import({str(script)!r}).then((all) => console.log(JSON.stringify(all.default(5))))"
    assert json.loads(node("--input-type=module", "-e", say)) == [1, 10, 2, 3]


@pytest.mark.node
def test_the_joined_script_is_a_module(tmp_path: Path) -> None:
    script = tmp_path / "map.mjs"
    script.write_text(joined(), encoding="utf-8")
    say = f"import({str(script)!r}).then((all) => console.log(typeof all.default))"
    assert node("--input-type=module", "-e", say) == "function\n"


@pytest.mark.node
def test_the_arithmetic() -> None:
    node("--test", *map(str, TESTS))


@pytest.mark.node
def test_the_types() -> None:
    node("--project", "tsconfig.json", tool="tsc")


@pytest.mark.node
def test_form_and_rules() -> None:
    node("ci", "--error-on-warnings", "--colors=off", tool="biome")
