"""The parts of a run beside its weights: map, smallest flips, paths, and what is read off them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import clustcore
from clustcore import runs
from clustcore.pipeline import contents
from clustcore.types import Layout, PathKey


@pytest.mark.parametrize("cut", ["projector", "map"])
def test_a_kill_while_a_map_is_written_leaves_none(mapped, samples, monkeypatch, cut):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    owner = contents.projection if cut == "projector" else contents.runs
    name = "save" if cut == "projector" else "write_map"
    old = {file.name: file.read_bytes() for file in mapped.folder.glob("*") if file.is_file()}
    names = {field.name for field in dataclasses.fields(Layout)} - {"projector"}
    values = {name: getattr(mapped.map, name) for name in names}
    layout = Layout(**values, projector=mapped.projector)
    monkeypatch.setattr(contents.projection, "fit", lambda *_, **options: layout)
    monkeypatch.setattr(contents.regions, "raster", killed)
    with pytest.raises(KeyboardInterrupt):
        contents.make_map(mapped, samples)
    assert clustcore.load_run("tiny", "cpu").map is not None  # nothing was lost yet
    monkeypatch.setattr(contents.regions, "raster", lambda *_: mapped.map.raster)
    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        contents.make_map(mapped, samples)
    assert clustcore.load_run("tiny", "cpu").map is None
    for file, content in old.items():
        (mapped.folder / file).write_bytes(content)


def test_smallest_flips_flip(mapped, samples):
    rows = np.arange(12)
    table = contents.min_flips(mapped, samples, rows, "pixels", "l2")
    clean = mapped.map.labels[rows]
    found = ~np.isnan(table.smallest)
    assert found.any()
    assert (table.after[found] != clean[found]).all()


def test_measure_reads_what_the_paths_say(mapped, samples):
    contents.make_paths(mapped, samples)
    scores = contents.measure(mapped, samples)
    keys = [PathKey(e.attack, e.space, e.norm) for e in scores.attacked]
    assert keys == contents.PATHS
    for entry, key in zip(scores.attacked, keys, strict=True):
        path = runs.stored_path(mapped.info, key)
        assert entry.moved == pytest.approx(float((path.smallest <= entry.eps).mean()))
        assert entry.moved_interval[0] <= entry.moved <= entry.moved_interval[1]
