"""What an earlier version wrote opens today: a run, its map, a path, and links to them."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

import clustcore
from clustcore import runs
from clustcore.pipeline import paths
from clustcore.pipeline.batches import cluster
from clustcore.types import PathKey
from tests.support import ROOT
from tests.support.screens import calm, header, open_app, texts

WRITTEN = ROOT / "tests" / "support" / "old_run"
LINKS = (WRITTEN / "links.txt").read_text(encoding="utf-8").splitlines()
PGD = PathKey("pgd", "pixels", "linf")


@pytest.fixture
def folder(place: Path) -> Path:
    """The old run, the only one there is, and the cache that was written beside it."""
    shutil.copytree(WRITTEN / "runs", place)
    shutil.copytree(WRITTEN / "cache", place.with_name("cache"))
    return place / "old-digits"


def test_it_is_listed_with_its_facts(folder: Path) -> None:
    (run,) = clustcore.list_runs()
    assert (run.name, run.title, run.problem, run.shipped) == ("old-digits",) * 2 + (None, False)
    assert (run.dataset, run.clusters, run.defence) == ("digits", 3, "undefended")
    assert run.readiness == "paths not computed yet"  # the path is in the cache
    assert (run.card.model, run.card.data.split, run.card.data.n) == ("dec", "train", 1297)
    assert run.card.training.stages == {"autoencode": 2, "cluster": 2}


def test_its_model_is_the_one_that_its_map_was_made_of(folder: Path, digits) -> None:
    run = clustcore.load_run("old-digits", "cpu")
    clean = cluster(run.model, digits.x)
    np.testing.assert_array_equal(clean.labels, run.map.labels)
    np.testing.assert_allclose(run.projector.place(clean.z), run.map.xy, atol=1e-3)


def test_its_path_is_found_and_is_walked_again_as_it_was(folder: Path, digits) -> None:
    run = clustcore.load_run("old-digits", "cpu")

    def refuse(*step: object) -> None:
        raise AssertionError("the path was computed anew")

    path = paths.compute_path(run, digits, PGD, refuse)
    assert path.key == PGD
    assert path.weights == run.card.weights_sha256
    np.testing.assert_array_equal(path.xy[0], run.map.xy[path.rows])
    np.testing.assert_array_equal(path.labels[0], run.map.labels[path.rows])
    again = paths.walk(run, digits, path.rows[:20], PGD)
    assert (again.labels == path.labels[:, :20]).mean() > 0.95
    found = clustcore.attack(run.model, digits.x[path.rows[:20]], "pgd", eps=0.3)
    assert found.moved.numpy().mean() == pytest.approx((path.smallest[:20] <= 0.3).mean(), abs=0.1)


@pytest.mark.parametrize("link", LINKS, ids=["attack", "explore"])
def test_a_link_that_it_gave_opens_what_it_showed(folder: Path, link: str) -> None:
    address = urlsplit(link)
    page = {"/Attack": "pages/2_Attack.py", "/Explore": "pages/1_Explore.py"}[address.path]
    app = open_app(page, **dict(parse_qsl(address.query)))
    assert calm(app)
    assert not app.toast  # no part of the link is unknown
    assert header(app)["parts"]["pin"]["row"] == 7
    values = app.session_state["scene"]
    kept = [values[key] for key in ("run", "dataset", "colour", "pin")]
    assert kept == ["old-digits", "digits", "fragility", "7"]
    (status,) = [text for text in texts(app) if text.startswith("Digits, 8 x 8 · undefended · ")]
    assert "500 test images" in status
    assert link in [code.value for code in app.code]  # and gives the same link again
    if address.path == "/Attack":
        path = runs.stored_path(runs.find_run("old-digits"), PGD)
        moved = int((path.smallest <= 0.1).sum())
        assert any(f"At strength 0.1, {moved} of 500 samples left" in text for text in texts(app))
    else:
        assert app.dataframe[-1].value["samples attacked"].sum() == 500
