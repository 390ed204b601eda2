"""The wheel: built, installed apart from the checkout, and used. `python -m tests.wheel` needs
`build`, `hatchling`, Playwright and a Chromium, and says what it has seen.

The environment that it is installed into holds nothing else. torch and the rest are those of the
interpreter that runs this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT
from tests.support.browser import CHROMIUM, FLAGS, MAP, Screen, free_port, playwright, serving

MOST = 98 * 10**6  # bytes; an index takes files of at most 100 MB
RUN = "drc-mnist"
PATIENCE = 1800  # seconds for any step: a busy machine fails nothing
# what of the checkout becomes what of the wheel
FILES = {
    ".streamlit/config.toml": "driftmap/.streamlit/config.toml",
    "app.py": "driftmap/app.py",
    "assets": "driftmap/assets",
    "clustcore": "clustcore",
    "driftmap": "driftmap",
    "pages": "driftmap/pages",
    "ui": "driftmap/ui",
}
LIBRARY = f"""
import clustcore, sys, time
from clustcore import runs
from clustcore.runs import jobs
from clustcore.runs.plan import Plan

assert clustcore.__file__.startswith(sys.prefix), clustcore.__file__
found = clustcore.list_runs()
print(len(found), "runs:", {{(run.shipped, run.readiness) for run in found}})
run = clustcore.load_run({RUN!r}, "cpu")
samples = clustcore.load_samples("mnist").take(slice(0, 500))
print("ACC of 500", clustcore.evaluate(run.model, samples).acc)
attacked = clustcore.attack(run.model, samples.x[:50], "pgd", eps=0.1)
print("moved", attacked.moved.float().mean().item())
train = {{"lr": 0.003, "precision": "float32"}}
config = {{"clusters": 10, "dim": 4, "width": 4, "autoencode": 1, "cluster": 1}}
plan = Plan("dec", "digits", config, train=train, name="mine")
job = jobs.start(plan)
while job.state == "running":
    time.sleep(0.5)
    job = jobs.status(job.folder)
while job.state == "mapping":  # a map is not made here: that takes a while
    jobs.stop(job.folder)
    time.sleep(0.5)
    job = jobs.status(job.folder)
assert job.state == "finished", (job, jobs.log_tail(job.folder))
print("trained", job.folder, "by", runs.read_card(job.folder).to_json()["code"])
"""


def main() -> None:
    """Every step, in order; the first that fails ends it."""
    if CHROMIUM is None:
        raise SystemExit("tests.wheel: expected a Chromium, got none: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        wheel = built(place)
        print(f"built: {wheel.name}, {wheel.stat().st_size:,} bytes", flush=True)
        inside(wheel)
        site = installed(wheel, place / "environment")
        before = listing(site)
        user = user_folder(place / "somewhere")
        without_the_app(user, place / "environment")
        (site / "zz_outer.pth").write_text("\n".join(outer()), encoding="utf-8")
        before |= listing(site)
        use_library(user, place / "environment")
        use_app(user, place / "environment")
        assert listing(site) == before, set(listing(site).items()) ^ set(before.items())
        print("site-packages is as it was", flush=True)


def built(place: Path) -> Path:
    """The wheel of the checkout."""
    options = ["--wheel", "--no-isolation", "--outdir", str(place)]
    say(sys.executable, "-m", "build", *options, str(ROOT), cwd=place)
    (wheel,) = place.glob("*.whl")
    return wheel


def inside(wheel: Path) -> None:
    """The wheel is small enough, and holds every file that it should, and no other."""
    assert wheel.stat().st_size <= MOST, f"{wheel}: expected at most {MOST:,} bytes"
    name = "-".join(wheel.name.split("-")[:2])
    with zipfile.ZipFile(wheel) as file:
        names = {one for one in file.namelist() if not one.startswith(f"{name}.dist-info/")}
    expected = {where for source, target in FILES.items() for where in below(source, target)}
    assert names == expected, f"expected {expected - names}, did not expect {names - expected}"
    assert {one.partition("/")[0] for one in names} == {"clustcore", "driftmap"}


def below(source: str, target: str) -> Iterator[str]:
    """What the files of a part of the checkout are called in the wheel."""
    place = ROOT / source
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file() and "__pycache__" not in file.parts:
            inner = file.relative_to(place).as_posix()
            yield target if inner == "." else f"{target}/{inner}"


def installed(wheel: Path, environment: Path) -> Path:
    """An environment with nothing but the wheel; its site-packages."""
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    say(*command, *options, str(wheel), cwd=environment)
    (site,) = environment.glob("lib/python*/site-packages")
    names = {path.name.partition("-")[0] for path in site.iterdir()}
    assert names == {"clustcore", "driftmap"}, names
    return site


def user_folder(place: Path) -> Path:
    """A folder to work in, with files that are named like modules and must not be imported."""
    place.mkdir()
    for name in ("clustcore", "ui", "random"):
        text = f"raise RuntimeError('{name} of the current folder was imported')\n"
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    return place


def listing(place: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder, with its size and when it was written."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def outer() -> list[str]:
    """Where the packages of this interpreter lie."""
    own = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return sorted(own | {path for path in sys.path if path.endswith("site-packages")})


def without_the_app(user: Path, environment: Path) -> None:
    """Where Streamlit is missing, the command names the extra."""
    commands = environment / "bin"
    said = say(commands / "driftmap", cwd=user, code=2)
    assert said.startswith("driftmap: the app needs streamlit, plotly, pandas"), said
    assert "pip install 'driftmap[app]'" in said
    version = say(commands / "driftmap", "--version", cwd=user).split()
    code = "import clustcore; print('driftmap', clustcore.__version__)"
    assert say(commands / "python", "-P", "-c", code, cwd=user).split() == version
    print(f"without other packages: {' '.join(version)}; {said.strip()}", flush=True)


def use_library(user: Path, environment: Path) -> None:
    """Runs are listed, measured, attacked and trained; one's own lie in the current folder."""
    commands = environment / "bin"
    said = say(commands / "python", "-P", "-c", LIBRARY, cwd=user)
    print(said, end="", flush=True)
    shipped = len(list((ROOT / "assets" / "runs").glob("*/card.json")))
    assert f"{shipped} runs: {{(True, 'ready')}}" in said
    assert (user / "runs" / "mine" / "card.json").is_file()
    helped = say(commands / "clustcore", "--help", cwd=user)
    assert helped == say(commands / "python", "-P", "-m", "clustcore", "--help", cwd=user)
    refused = say(commands / "clustcore", "reproduce", "tables", cwd=user, code=2)
    assert "expected a checkout of the repository, got an installed package" in refused
    wrong = say(commands / "driftmap", "--root", "nowhere", cwd=user, code=2)
    assert "--root: expected a folder, got 'nowhere'" in wrong


def use_app(user: Path, environment: Path) -> None:
    """The command opens the app, with the checkout's settings; a path is computed on a page."""
    port = free_port()
    command = [str(environment / "bin" / "driftmap"), "--port", str(port), "--root", str(user)]
    with (
        serving(command, port, cwd=user, env=surroundings()) as address,
        playwright.sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        one = Screen(page, address)
        page.goto(f"{address}/Explore?run={RUN}")
        page.locator(f"{MAP}[data-mode=explore][data-ready='1']").wait_for()
        style = "getComputedStyle(document.documentElement).fontSize"
        assert page.evaluate(style) == "14px"  # as .streamlit/config.toml has it
        page.goto(f"{address}/Attack?run={RUN}&attack=fgsm")
        page.get_by_role("button", name="Compute now").click()
        page.get_by_test_id("map-dial").wait_for()
        page.goto(f"{address}/Train")
        page.get_by_role("button", name="mine").wait_for()
        assert one.troubles == [], one.troubles
        browser.close()
    (path,) = (user / ".cache" / "driftmap" / "paths").iterdir()
    own = {"clustcore.py", "ui.py", "random.py", "runs", ".cache"}
    assert {one.name for one in user.iterdir()} == own, list(user.iterdir())
    print(f"the app: Explore, Attack and Train opened; computed {path.name}", flush=True)


def say(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints; it has to end with this code."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if code else "")


def surroundings() -> dict[str, str]:
    """The environment of a user who has set none of Driftmap's variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DRIFTMAP_")}
    return {key: value for key, value in kept.items() if key != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": "1",
        "STREAMLIT_SERVER_HEADLESS": "true",
    }


if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"the wheel works ({time.monotonic() - begun:.0f} s)")
