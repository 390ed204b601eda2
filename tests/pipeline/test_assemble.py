"""A run assembled from weights in parts and bare paths is the one that is made in one place."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clustcore import runs
from clustcore.models.weights import split_weights
from clustcore.pipeline import assemble, contents, paths
from clustcore.pipeline import run as pipeline
from clustcore.types import PathKey
from tests.conftest import no_umap, quick

LIMIT = runs.arrays._ROOM + 8000
PGD = PathKey("pgd", "pixels", "linf")


@pytest.fixture(scope="module")
def trained(tiny_run, samples, tmp_path_factory):
    """What comes back of a training elsewhere: no map, no projector, nothing large."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(tiny_run.parent))
        run = pipeline.load_run("tiny", "cpu")
    for name in ("card.json", "history.csv"):
        shutil.copy(tiny_run / name, out)
    split_weights(tiny_run, out, limit=(tiny_run / runs.WEIGHTS).stat().st_size // 2 + 1)
    rows = paths.path_rows(samples)
    for key in contents.PATHS:
        runs.write_bare(out, paths.bare_path(run, samples, rows, key), limit=LIMIT)
    for norm in ("linf", "l2"):
        table = contents.min_flips(run, samples, np.sort(rows), "pixels", norm)
        runs.write_min_flips(out, table)
    assert len(runs.weights_files(out)) == 2
    assert (out / runs.bare_name(PGD, 2)).is_file()
    assert max(file.stat().st_size for file in out.iterdir()) <= LIMIT
    return out


@pytest.fixture
def came(trained, tmp_path):
    """A copy of it that may be damaged."""
    return shutil.copytree(trained, tmp_path / "came")


def made(folder, samples, **options):
    with no_umap():  # as `mapped` was made
        return assemble.assemble(folder, "big", samples, config=quick(), **options)


def changed(folder, key, **fields):
    """Write a bare path anew, with some of its fields changed."""
    weights = runs.read_card(folder).weights_sha256
    bare = dataclasses.replace(runs.read_bare(folder, key, weights), **fields)
    runs.write_bare(folder, bare, limit=LIMIT)


def test_an_assembled_run_is_the_one_made_in_one_place(mapped, samples, came, place):
    contents.make_paths(mapped, samples)
    told = []
    folder = made(came, samples, on_step=lambda *step: told.append(step))
    assert folder == place / "big"
    assert runs.find_run("big").readiness == "ready"
    assert any("Drawing pgd-pixels-linf" in sentence for _, _, sentence in told)
    run = pipeline.load_run("big", "cpu")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in mapped.folder.iterdir()
    )
    for name in ("weights.safetensors", "history.csv"):
        assert (folder / name).read_bytes() == (mapped.folder / name).read_bytes()
    two = [load_file(place / "projector.safetensors") for place in (folder, mapped.folder)]
    assert two[0].keys() == two[1].keys()
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())
    for name in ("xy", "z", "p", "labels", "trust"):
        np.testing.assert_array_equal(getattr(run.map, name), getattr(mapped.map, name))
    for key in contents.PATHS:
        found, expected = (
            runs.read_path(one.folder / "paths" / runs.path_name(key)) for one in (run, mapped)
        )
        for field in dataclasses.fields(found):
            if field.name != "xy":
                value = getattr(found, field.name)
                np.testing.assert_array_equal(value, getattr(expected, field.name), field.name)
        np.testing.assert_array_equal(found.xy[0], run.map.xy[found.rows])
        # the map is 2 wide, and float16 has a step of 2^-11
        np.testing.assert_allclose(found.xy, expected.xy, atol=0.02)
        assert np.median(np.abs(found.xy - expected.xy)) < 0.001
    for norm in ("linf", "l2"):
        tables = [runs.read_min_flips(one.folder, "pixels", norm) for one in (run, mapped)]
        np.testing.assert_array_equal(tables[0].smallest, tables[1].smallest)
    scores = contents.measure(mapped, samples)
    assert run.card == mapped.card.changed(scores=scores.to_json())


def test_an_assembly_that_was_interrupted_goes_on_where_it_stood(came, samples, place, monkeypatch):
    written = []

    def write(file, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(file.name)
        write_path(file, path)

    write_path = runs.write_path
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_path", write)
        with pytest.raises(KeyboardInterrupt):
            made(came, samples)
    folder = place / "big"
    assert runs.read_card(folder).scores is None
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    made(came, samples)
    assert runs.find_run("big").readiness == "ready"
    assert len(runs.read_card(folder).scores.attacked) == len(contents.PATHS)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in stamps if after[path] != stamps[path]} == {"card.json"}
    assert len(after) == len(stamps) + len(contents.PATHS) - 2
    stamps = after
    made(came, samples)  # whole: nothing is left to do
    assert after == {path: path.stat().st_mtime_ns for path in after}


def test_a_sample_between_two_clusters_is_in_the_one_that_its_paths_begin_in(came, samples, place):
    weights = runs.read_card(came).weights_sha256
    labels = runs.read_bare(came, PGD, weights).labels.copy()
    labels[0, 5] = (labels[0, 5] + 1) % 3
    for key in contents.PATHS:
        own = runs.read_bare(came, key, weights).labels
        changed(came, key, labels=np.concatenate([labels[:1], own[1:]]))
    arrays = runs.read_map(made(came, samples))
    path = runs.read_path(place / "big" / "paths" / runs.path_name(PGD))
    np.testing.assert_array_equal(arrays.labels[path.rows], labels[0])
    shutil.rmtree(place)
    labels[0, 7] = (labels[0, 7] + 1) % 3  # 2 of 120 are more than rounding
    changed(came, PGD, labels=labels)
    with pytest.raises(ValueError, match=r"bare-0.npz: .* got 1.7% in other clusters"):
        made(came, samples)
    assert not place.exists()


DAMAGE = {
    "no card": ("card.json: expected a card, got no such file", "card.json"),
    "no weights": ("weights.safetensors.part-1-of-2: expected", f"{runs.WEIGHTS}.part-1-of-2"),
    "no part": ("bare-2.npz: expected a part of a path, got", runs.bare_name(PGD, 2)),
    "no path at all": ("bare-0.npz: expected a part of a path, this one or another", "*.bare-*"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_missing_is_named_and_nothing_is_written(came, samples, place, damage):
    said, which = DAMAGE[damage]
    gone = list(came.glob(which))
    assert gone
    for file in gone:
        file.unlink()
    with pytest.raises(ValueError, match=re.escape(said)):
        made(came, samples)
    assert not place.exists()


def test_paths_that_did_not_come_are_left_for_later(came, samples, place):
    for file in came.glob("noise-*.bare-*"):
        file.unlink()
    run = pipeline.load_run(made(came, samples).name, "cpu")
    assert {path.name.partition("-")[0] for path in (run.folder / "paths").iterdir()} == {"pgd"}
    assert {entry.attack for entry in run.card.scores.attacked} == {"pgd"}


@pytest.mark.parametrize("name", [f"{runs.WEIGHTS}.part-0-of-2", "noise-pixels-l2.bare-1.npz"])
def test_what_was_cut_short_is_named_and_nothing_is_written(came, samples, place, name):
    (came / name).write_bytes((came / name).read_bytes()[:-40])
    with pytest.raises(ValueError, match=re.escape(name)):
        made(came, samples)
    assert not place.exists()


def test_what_is_of_other_weights_is_refused_and_nothing_is_written(came, samples, place):
    table = runs.read_min_flips(came, "pixels", "l2")
    runs.write_min_flips(came, dataclasses.replace(table, weights="1" * 64))
    with pytest.raises(ValueError, match=r"min_flip-pixels-l2.npz: expected flips of the weights"):
        made(came, samples)
    changed(came, PGD, weights="1" * 64)
    with pytest.raises(ValueError, match=r"bare-0.npz: expected a path of the weights .* 11111111"):
        made(came, samples)
    runs.write_card(came, runs.read_card(came).changed(weights_sha256="1" * 64))
    with pytest.raises(ValueError, match=r"sha256: expected 111111111111... \(card.json\)"):
        made(came, samples)
    assert not place.exists()


def test_other_samples_are_refused_and_nothing_is_written(came, samples, place):
    turned = dataclasses.replace(samples, x=samples.x[::-1].copy())
    with pytest.raises(ValueError, match=r"expected samples where the model finds them"):
        made(came, turned)
    with pytest.raises(ValueError, match=r"expected the 90 rows that a path of these samples has"):
        made(came, samples.take(np.arange(90)))
    weights = runs.read_card(came).weights_sha256
    z = runs.read_bare(came, PGD, weights).z.copy()
    changed(came, PGD, z=z[:, ::-1])  # labels alone would not tell
    with pytest.raises(ValueError, match=r"0.0% in other clusters .* spreads away"):
        made(came, samples)
    z[-1, 3] = np.inf
    changed(came, PGD, z=z)
    with pytest.raises(ValueError, match=r"expected finite embeddings of 4 dimensions"):
        made(came, samples)
    assert not place.exists()


def test_a_name_that_cannot_be_had_is_refused(came, samples, place):
    with pytest.raises(ValueError, match=r"run name: expected letters"):
        assemble.assemble(came, "../big", samples)
    for where in (runs.folders()[0], place):
        folder = where / "big"
        folder.mkdir(parents=True)
        card = json.loads((came / "card.json").read_text())
        if where == place:
            card["weights_sha256"] = "1" * 64
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(ValueError, match=r"big: expected no such run, or one of the weights"):
            made(came, samples)
        assert [file.name for file in folder.iterdir()] == ["card.json"]
        shutil.rmtree(folder)
