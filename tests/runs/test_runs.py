"""Runs are folders: listing, and the arrays of maps and paths."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile

import numpy as np
import pytest

from clustcore import files, runs
from clustcore.types import AttackPath, BarePath, MapArrays, MinFlips, PathKey, Raster
from tests.support import ROOT
from tests.support.cards import LEAST

PGD = PathKey("pgd", "pixels", "linf")
# written by versions before this one
PATHS = [
    *sorted((ROOT / "assets" / "runs" / "dec-mnist" / "paths").glob("*.npz")),
    *(ROOT / "tests" / "support" / "old_run" / "cache" / "paths").glob("*.npz"),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two empty folders of runs: shipped and one's own."""
    monkeypatch.setattr("clustcore.runs.folder.SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write(folder, **fields):
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(LEAST | fields))
    return folder


def some_map(n: int = 6, k: int = 3) -> MapArrays:
    rng = np.random.default_rng(0)
    raster = Raster(
        bounds=(-1.0, -2.0, 3.0, 4.0),
        winner=rng.integers(0, k, (5, 5), dtype=np.uint8),
        p=np.full((5, 5, k), 1 / k, np.float32),
        margin=rng.random((5, 5), dtype=np.float32),
        trusted=rng.random((5, 5)) < 0.5,
    )
    return MapArrays(
        xy=rng.random((n, 2), dtype=np.float32),
        z=rng.random((n, 4)).astype(np.float16),
        p=rng.random((n, k)).astype(np.float16),
        labels=rng.integers(0, k, n).astype(np.uint8),
        trust=rng.random(n, dtype=np.float32),
        trustworthiness=0.9,
        held_out=0.8,
        error=0.1,
        raster=raster,
        data="mnist",
        split="test",
        seed=0,
        weights="0" * 64,
    )


def some_path(m: int = 4, k: int = 3, weights: str = "0" * 64, seed: int = 0) -> AttackPath:
    rng = np.random.default_rng(seed)
    steps = 11
    return AttackPath(
        strengths=np.linspace(0, 1, steps, dtype=np.float32),
        rows=np.array([5, 1, 3, 2]),
        xy=rng.random((steps, m, 2), dtype=np.float32),
        p=rng.random((steps, m, k), dtype=np.float32),
        labels=rng.integers(0, k, (steps, m), dtype=np.uint8),
        smallest=np.array([0.1, np.nan, 0.3, 0.4], np.float32),
        l2=rng.random((steps, m), dtype=np.float32),
        linf=rng.random((steps, m), dtype=np.float32),
        key=PathKey("pgd", "pixels", "linf", seed=seed),
        weights=weights,
        ahead=True,
    )


def assert_equal(a, b, tolerance):
    for field in dataclasses.fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name
            np.testing.assert_allclose(
                left, right, atol=tolerance.get(field.name, 0), err_msg=field.name
            )
        elif isinstance(left, Raster):
            assert_equal(left, right, {"p": 0.5 / 255, "margin": 0.5 / 255})
        else:
            assert left == right, field.name


def test_map_round_trip(tmp_path):
    assert runs.read_map(tmp_path) is None
    arrays = some_map()
    runs.write_map(tmp_path, arrays)
    assert_equal(arrays, runs.read_map(tmp_path), {})


@pytest.mark.parametrize("target", [None, 2])
def test_path_round_trip(tmp_path, target):
    file = tmp_path / "a.npz"
    assert runs.read_path(file) is None
    path = dataclasses.replace(some_path(), key=dataclasses.replace(PGD, target=target))
    runs.write_path(file, path)
    # the strengths of a change are kept in half precision, assignments in 255 steps
    assert_equal(path, runs.read_path(file), {"p": 0.5 / 255 + 1e-7, "l2": 1e-3, "linf": 1e-3})


@pytest.mark.parametrize("file", PATHS, ids=lambda file: file.stem)
def test_a_path_is_written_as_it_was(tmp_path, file):
    # what lies in the archive, for the packing is zlib's own affair
    runs.write_path(tmp_path / "path.npz", runs.read_path(file))
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(tmp_path / "path.npz") as after:
        assert after.namelist() == before.namelist()
        for name in before.namelist():
            assert after.read(name) == before.read(name), name


def test_damaged_arrays_are_said(tmp_path):
    runs.write_map(tmp_path, some_map())
    (tmp_path / "map.npz").write_bytes((tmp_path / "map.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"map.npz: expected a readable npz"):
        runs.read_map(tmp_path)
    arrays = some_map()
    runs.write_map(tmp_path, dataclasses.replace(arrays, labels=arrays.labels[:3]))
    with pytest.raises(ValueError, match=r"'labels': expected 6 rows, 1 axes, got shape \(3,\)"):
        runs.read_map(tmp_path)
    xy = arrays.xy.copy()
    xy[2, 1] = np.nan
    runs.write_map(tmp_path, dataclasses.replace(arrays, xy=xy))
    with pytest.raises(ValueError, match="'xy': expected finite numbers"):
        runs.read_map(tmp_path)
    runs.write_map(tmp_path, arrays)
    few = files.load_npz(tmp_path / "map.npz")
    files.save_npz(tmp_path / "map.npz", few | {"raster_bounds": few["raster_bounds"][:3]})
    with pytest.raises(ValueError, match=r"'raster_bounds': expected shape \(4,\), got \(3,\)"):
        runs.read_map(tmp_path)
    path = some_path()
    runs.write_path(tmp_path / "p.npz", path)
    files.save_npz(tmp_path / "p.npz", files.load_npz(tmp_path / "p.npz") | {"norm": "l3"})
    with pytest.raises(ValueError, match=r"p.npz: unknown norm 'l3'; known: linf, l2"):
        runs.read_path(tmp_path / "p.npz")
    runs.write_path(tmp_path / "p.npz", dataclasses.replace(path, xy=path.xy[:5]))
    with pytest.raises(ValueError, match=r"'xy': expected shape \(11, 4, ...\), got \(5, 4, 2\)"):
        runs.read_path(tmp_path / "p.npz")
    files.save_npz(tmp_path / "q.npz", {"strengths": np.zeros(3)})
    with pytest.raises(ValueError, match=r"q.npz: expected an array .rows., got none"):
        runs.read_path(tmp_path / "q.npz")


def test_no_pickle_is_read(tmp_path):
    np.savez(tmp_path / "map.npz", xy=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        runs.read_map(tmp_path)


def test_listing(place):
    write(place / "shipped" / "b")
    write(place / "own" / "a")
    write(place / "own" / "b")  # the shipped one of this name counts
    write(place / "own" / "broken", format=7)
    (place / "own" / "teachers").mkdir()  # not a run
    found = {run.name: run for run in runs.list_runs()}
    assert list(found) == ["b", "a", "broken"]
    assert found["b"].shipped
    assert not found["a"].shipped
    assert "expected 1, got 7" in found["broken"].problem
    assert found["broken"].readiness == "broken"
    assert found["a"].readiness == "weights missing"


def test_readiness_names_what_is_there(place):
    folder = write(place / "own" / "a")

    def readiness():
        return runs.find_run("a").readiness

    (folder / "weights.safetensors.part-1-of-2").touch()
    assert readiness() == "weights missing"
    (folder / "weights.safetensors.part-0-of-2").touch()
    assert readiness() == "map not computed yet"
    (folder / "weights.safetensors").touch()
    assert readiness() == "map not computed yet"
    runs.write_map(folder, some_map())
    assert readiness() == "paths not computed yet"
    runs.write_path(folder / "paths" / "pgd-pixels-linf.npz", some_path())
    assert readiness() == "ready"


@pytest.mark.parametrize("name", ["none", "../own/a", "/etc", "", "a/../b", "a\x00"])
def test_a_name_leads_nowhere_else(place, name):
    write(place / "own" / "a")
    with pytest.raises(ValueError, match=r"unknown run .*; known: a"):
        runs.find_run(name)


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-9", "x" * 80])
def test_a_new_run_goes_among_ones_own(place, name):
    assert runs.new_folder(name) == place / "own" / name
    assert runs.taken(name) is None
    (place / "own" / name).mkdir(parents=True)  # a training that has not ended may go on
    assert runs.new_folder(name) == place / "own" / name
    for where in ("own", "shipped"):
        folder = place / where / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").touch()
        assert runs.taken(name) == folder
        with pytest.raises(ValueError, match=rf"{re.escape(str(folder))}: expected a new run"):
            runs.new_folder(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "_a", "a b", "a/b", "é", "a\n", "x" * 81])
def test_a_name_that_no_run_may_have_is_refused_in_one_wording(place, name):
    said = re.escape(f"run name: expected {runs.NAME_RULE}, got {name!r}")
    for refuse in (runs.check_name, runs.new_folder):
        with pytest.raises(ValueError, match=f"^{said}$"):
            refuse(name)


def test_a_card_without_its_data_is_refused(tmp_path):
    folder = write(tmp_path / "a", data={"name": "mnist"})
    with pytest.raises(ValueError, match=r"field 'data.split': expected str, got None"):
        runs.read_card(folder)
    (folder / "card.json").write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        runs.read_card(folder)


def test_a_stored_path_of_other_weights_is_left_aside(place):
    file = write(place / "own" / "a") / "paths" / runs.path_name(PGD)
    run = runs.find_run("a")
    runs.write_path(file, some_path(weights="1" * 64))
    assert runs.stored_path(run, PGD) is None
    runs.write_path(file, some_path())
    assert runs.stored_path(run, PGD).ahead


def test_the_cache_depends_on_all_that_a_path_depends_on(place):
    folder = write(place / "own" / "a")
    names = {
        runs.cached_path_file(runs.find_run("a"), PathKey(*key)).name
        for key in [
            ("pgd", "pixels", "linf", None, 0),
            ("fgsm", "pixels", "linf", None, 0),
            ("pgd", "embedding", "linf", None, 0),
            ("pgd", "pixels", "l2", None, 0),
            ("pgd", "pixels", "linf", 3, 0),
            ("pgd", "pixels", "linf", None, 1),
        ]
    }
    (folder / "projector.safetensors").write_bytes(b"other")
    names.add(runs.cached_path_file(runs.find_run("a"), PGD).name)
    (folder / "card.json").write_text(json.dumps(LEAST | {"weights_sha256": "2" * 64}))
    names.add(runs.cached_path_file(runs.find_run("a"), PGD).name)
    assert len(names) == 8


@pytest.mark.parametrize(
    ("key", "name", "cached", "drawn_elsewhere"),
    [
        (
            PGD,
            "pgd-pixels-linf.npz",
            "f6c56e84da9ae7783f56.npz",
            "aeb7eb236263ffe77dd5.npz",
        ),
        (
            PathKey("noise", "embedding", "l2", target=3, seed=7),
            "noise-embedding-l2-to3.npz",
            "0d5d3ee619ae56872fc3.npz",
            "e54499e45aabd4acf07c.npz",
        ),
    ],
    ids=["pgd", "noise into a cluster"],
)
def test_the_names_on_disk_stay(place, key, name, cached, drawn_elsewhere):
    # what was stored under these names is there no longer once they change
    folder = write(place / "own" / "a")
    assert runs.path_name(key) == name
    kept = place / "cache" / "paths"
    assert runs.cached_path_file(runs.find_run("a"), key) == kept / cached
    (folder / "projector.safetensors").write_bytes(b"other")
    assert runs.cached_path_file(runs.find_run("a"), key) == kept / drawn_elsewhere


def test_the_name_of_a_learned_attacks_path_stays(place):
    folder = write(place / "own" / "a")
    (folder / "projector.safetensors").write_bytes(b"other")
    (folder / "attackers").mkdir()
    (folder / "attackers" / "alrdc.safetensors").write_bytes(b"fitted")
    key = PathKey("alrdc", "embedding", "l2")
    assert runs.path_name(key) == "alrdc-embedding-l2.npz"
    assert runs.cached_path_file(runs.find_run("a"), key).name == "ecaec48abd4ae641bbcc.npz"


def test_min_flips_round_trip(tmp_path):
    assert runs.read_min_flips(tmp_path, "pixels", "l2") is None
    table = MinFlips(
        rows=np.arange(3),
        smallest=np.array([0.5, np.nan, 2], np.float32),
        after=np.array([1, 0, 2], np.uint8),
        norm="l2",
        space="pixels",
        seed=4,
        weights="0" * 64,
    )
    runs.write_min_flips(tmp_path, table)
    assert_equal(table, runs.read_min_flips(tmp_path, "pixels", "l2"), {})


def longer_path(m: int = 90) -> AttackPath:
    rows, smallest = np.random.default_rng(1).permutation(m), np.linspace(0, 1, m)
    return dataclasses.replace(some_path(m), rows=rows, smallest=smallest.astype(np.float32))


def some_bare(m: int = 90, d: int = 40, weights: str = "0" * 64, **key) -> BarePath:
    path = longer_path(m)
    values = {f.name: getattr(path, f.name) for f in dataclasses.fields(BarePath) if f.name != "z"}
    z = np.random.default_rng(2).normal(size=(11, m, d)).astype(np.float16)
    key = dataclasses.replace(path.key, **key)
    return BarePath(**values | {"z": z, "key": key, "weights": weights})


BARE_LIMIT = runs.arrays._ROOM + 5000


@pytest.mark.parametrize("target", [None, 2])
def test_a_bare_path_in_parts_comes_back(tmp_path, target):
    bare = some_bare(target=target)
    key = dataclasses.replace(PGD, target=target)
    assert runs.read_bare(tmp_path, key, bare.weights) is None
    runs.write_bare(tmp_path, bare, limit=runs.arrays._ROOM + 2000)
    before = runs.write_bare(tmp_path, bare, limit=BARE_LIMIT)
    assert sorted(tmp_path.iterdir()) == sorted(before)  # parts of the time before are gone
    assert len(before) > 11
    assert max(file.stat().st_size for file in before) <= BARE_LIMIT
    with_z = ["z" in files.load_npz(file) for file in before]
    assert with_z == sorted(with_z)  # what is wanted most comes first
    assert sum(with_z) > 1
    found = runs.read_bare(tmp_path, key, bare.weights)
    for field in dataclasses.fields(bare):
        value, expected = getattr(found, field.name), getattr(bare, field.name)
        if field.name in ("p", "l2", "linf"):  # kept as a path keeps them
            np.testing.assert_allclose(value, expected, atol=4e-3)
        else:
            np.testing.assert_array_equal(value, expected)
    assert found.z.dtype == np.float16
    one = runs.write_bare(tmp_path, bare)  # small enough for two
    assert [file.name for file in one] == [runs.bare_name(key, i) for i in (0, 1)]
    again = runs.read_bare(tmp_path, key, bare.weights)
    np.testing.assert_array_equal(again.p, found.p)


def test_a_bare_path_holds_what_a_path_holds(tmp_path):
    bare = some_bare()
    runs.write_bare(tmp_path, bare)
    runs.write_path(tmp_path / "path.npz", longer_path())
    path, found = runs.read_path(tmp_path / "path.npz"), runs.read_bare(tmp_path, PGD, bare.weights)
    for name in ("strengths", "rows", "p", "labels", "smallest", "l2", "linf"):
        np.testing.assert_array_equal(getattr(found, name), getattr(path, name), name)


@pytest.mark.parametrize("part", [0, 2, -1])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "weights", "key", "another part"])
def test_a_part_of_a_bare_path_that_does_not_fit_is_named(tmp_path, part, damage):
    written = runs.write_bare(tmp_path, some_bare(), limit=BARE_LIMIT)
    file, data = written[part], bytearray(written[part].read_bytes())
    said = "expected a readable npz, got"
    if damage == "missing":
        file.unlink()
        said = "expected a part of a path, got no such file"
    elif damage == "cut":
        file.write_bytes(data[:-100])
    elif damage == "flipped":
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    else:
        other = {
            "weights": some_bare(weights="1" * 64),
            "key": some_bare(seed=7),
            "another part": some_bare(),
        }[damage]
        taken = runs.write_bare(tmp_path / "other", other, limit=BARE_LIMIT)
        file.write_bytes(taken[1 if damage == "another part" else part].read_bytes())
        said = {
            "weights": "expected a path of the weights 000000000000..., got one of 111111111111...",
            "key": "seed: expected 0, got 7",
            "another part": f"part: expected {written.index(file)}, got 1",
        }[damage]
    with pytest.raises(ValueError, match=re.escape(f"{file}: {said}")):
        runs.read_bare(tmp_path, PGD, "0" * 64)


def test_parts_of_bare_paths_of_other_sizes_do_not_mix(tmp_path):
    written = runs.write_bare(tmp_path, some_bare(), limit=BARE_LIMIT)
    other = runs.write_bare(tmp_path / "other", some_bare())
    written[1].write_bytes(other[1].read_bytes())
    with pytest.raises(ValueError, match=r"bare-1.npz: parts: expected \d+, got 2"):
        runs.read_bare(tmp_path, PGD, "0" * 64)
    values = files.load_npz(other[1])
    values["rows"] = values["rows"][::-1]
    files.save_npz(other[1], values)
    with pytest.raises(ValueError, match=r"bare-1.npz: expected embeddings of the samples that"):
        runs.read_bare(tmp_path / "other", PGD, "0" * 64)
    values["rows"] = values["rows"][:5]
    files.save_npz(other[1], values)
    with pytest.raises(ValueError, match=r"array 'z': expected 5 samples at 11 strengths"):
        runs.read_bare(tmp_path / "other", PGD, "0" * 64)


def test_a_sample_that_no_part_can_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"bare-2.npz: expected samples of at most 300 bytes, got"):
        runs.write_bare(tmp_path, some_bare(m=4), limit=runs.arrays._ROOM + 300)
    assert not list(tmp_path.iterdir())
