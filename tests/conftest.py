"""Shared fixtures: tiny images, a tiny trained run, and what the marks need."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from clustcore.maps.projection import ProjectionConfig
    from clustcore.pipeline.run import Run
    from clustcore.runs import RunInfo
    from clustcore.types import Samples

pytest_plugins = ["tests.support.slow"]

# No test is timed, not even by hypothesis: a busy machine fails nothing.
with contextlib.suppress(ModuleNotFoundError):
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """With the packages of requirements-dev.txt every shape is checked and every warning is an
    error. A machine with a GPU has other versions, and the tests that are its own need neither.
    """
    if find_spec("beartype") is None:
        return
    from jaxtyping import install_import_hook

    # what is imported before is not checked: nothing here imports clustcore when it is loaded
    install_import_hook("clustcore", "beartype.beartype")
    config.addinivalue_line("filterwarnings", "error")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, with the reason."""
    for item in items:
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device here"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Where DRIFTMAP_NO_SKIPS is set, a test of browser or node that was skipped has failed."""
    outcome = yield
    report = outcome.get_result()
    marks = {"browser", "node"}.intersection(item.keywords)
    if report.skipped and marks and os.environ.get("DRIFTMAP_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{marks.pop()} test skipped: {report.longrepr}"


def make_blobs(
    n: int = 64, k: int = 3, side: int = 28, channels: int = 1, seed: int = 0
) -> Samples:
    """n images of k kinds: a bright square in a corner of its own, and noise."""
    from clustcore.types import Samples

    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    x = rng.uniform(0, 0.2, (n, channels, side, side))
    third = side // 3
    for i, label in enumerate(y):
        row, column = divmod(int(label), 3)
        x[i, :, row * third : (row + 1) * third, column * third : (column + 1) * third] += 0.7
    return Samples(x.astype(np.float32), y.astype(np.int64), np.arange(n), "blobs", ("a", "b", "c"))


@contextlib.contextmanager
def no_umap() -> Iterator[None]:
    """`Planes` in UMAP's place, whose import and compilation take longer than all the rest."""
    from tests.support.small_recipe import Planes

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Planes))
        yield


def quick() -> ProjectionConfig:
    """A map for a few hundred samples of a few kinds, in little time."""
    from clustcore.maps.projection import ProjectionConfig

    return ProjectionConfig(steps=150, batch=64, width=32, landmarks=16)


@pytest.fixture(scope="session", autouse=True)
def no_other_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of one's own are not seen by the tests, but for those that a test makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(tmp_path_factory.mktemp("no-runs")))
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is not there yet, and the only one in which runs are looked for."""

    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own"


@pytest.fixture
def run(place: Path) -> RunInfo:
    """A run of random numbers, the only one."""
    from clustcore import runs
    from tests.support import demo

    demo.make_run(place)
    return runs.find_run("demo")


@pytest.fixture
def two(place: Path) -> Path:
    """A run and another one whose clusters bear other numbers, on a map turned by 90 degrees."""
    from tests.support import demo

    return demo.make_two(place)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in one order: what the tests train is the same on any number of cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def one_precision() -> Iterator[None]:
    """What the tests train is the same on any processor: which precision is faster, no test asks
    but that of the choice itself.
    """
    from clustcore.training import epoch

    def choose(job: Any, stage: Any, done: int) -> str:
        job.precision = "float32"
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch, "choose_precision", choose)
        yield


@pytest.fixture(scope="session")
def blobs() -> Samples:
    """64 grey 28x28 images of 3 kinds."""
    return make_blobs()


@pytest.fixture(scope="session")
def digits() -> Samples:
    """All test images of scikit-learn's 8x8 digits."""
    from clustcore.datasets import load_samples

    return load_samples("digits", "test")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, blobs: Samples) -> Path:
    """The folder of a small DEC run, trained on the blobs for a few epochs; it has no map."""
    from clustcore.pipeline.make import make_run
    from clustcore.runs.plan import Plan

    plan = Plan(
        "dec",
        "blobs",
        config={"clusters": 3, "dim": 4, "width": 4, "autoencode": 8, "cluster": 3},
        train={"batch": 16, "device": "cpu", "lr": 3e-3},
    )
    return make_run("tiny", plan, blobs, folder=tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, digits: Samples) -> Path:
    """The folder of a small DEC run on digits, with its map: what a page can load and attack."""
    from clustcore.datasets import load_samples
    from clustcore.pipeline import contents
    from clustcore.pipeline import make as making
    from clustcore.pipeline import run as pipeline
    from clustcore.runs.plan import Plan

    plan = Plan(
        "dec",
        "digits",
        {"width": 4, "dim": 4, "autoencode": 2, "cluster": 1},
        train={"device": "cpu", "lr": 3e-3},
    )
    place = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch, no_umap():
        patch.setenv("DRIFTMAP_RUNS", str(place))
        making.make_run("d", plan, load_samples("digits", "train"), folder=place / "d")
        contents.make_map(pipeline.load_run("d", "cpu"), digits, config=quick())
    return place / "d"


@pytest.fixture(scope="session")
def samples() -> Samples:
    """More blobs than the run was trained on: enough for a map."""
    return dataclasses.replace(make_blobs(120, seed=1), name="mnist")


@pytest.fixture(scope="session")
def mapped_run(tiny_run: Path, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small DEC run with a map."""
    from clustcore.pipeline import contents
    from clustcore.pipeline import run as pipeline

    place = tmp_path_factory.mktemp("mapped")
    shutil.copytree(tiny_run, place / "tiny")
    with pytest.MonkeyPatch.context() as patch, no_umap():
        patch.setenv("DRIFTMAP_RUNS", str(place))
        contents.make_map(pipeline.load_run("tiny", "cpu"), samples, config=quick())
    return place / "tiny"


@pytest.fixture(scope="module")
def mapped(mapped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run with a map; runs and cache are folders of the test module's own. What attacks it takes
    few steps: the tests of the attacks ask how far they get.
    """
    from clustcore.pipeline import run as pipeline
    from tests.support.few_steps import few_steps

    place = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        few_steps(patch)
        patch.setenv("DRIFTMAP_RUNS", str(place / "runs"))
        patch.setenv("DRIFTMAP_CACHE", str(place / "cache"))
        shutil.copytree(mapped_run, place / "runs" / "tiny")
        yield pipeline.load_run("tiny", "cpu")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one server for the browser tests that do not need a fresh one."""
    from tests.support.browser import served

    with served(tmp_path_factory.mktemp("cache")) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium with software WebGL."""
    from tests.support.browser import CHROMIUM, FLAGS, playwright

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visitor(chromium: Any) -> Any:
    """One profile for all pages of a file: what the app's pages share is fetched and read once."""
    return chromium.new_context()


@pytest.fixture
def screen(visitor: Any, server: str) -> Iterator[Any]:
    """Makes screens: `screen(width=..., dark=...)`; afterwards none may have had trouble."""
    from tests.support.browser import Screen

    made: list[Any] = []

    def make(width: int = 1440, dark: bool = False, address: str = server, **media: Any) -> Any:
        page = visitor.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", **media)
        made.append(Screen(page, address))
        return made[-1]

    yield make
    troubles = [trouble for one in made for trouble in one.troubles]
    for one in made:
        one.page.evaluate("localStorage.clear()")  # the next test is another visitor's
        one.page.close()
    assert troubles == []
