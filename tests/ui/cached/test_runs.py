"""The loaders: what is shared is read-only, what is new is seen, and torch stays away."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from clustcore import runs
from clustcore.runs import RunInfo
from clustcore.types import MinFlips, PathKey
from tests.support import demo
from tests.support.demo import ask
from ui import cached
from ui.cluster_map.still_map import draw_map


def test_maps_and_paths_are_shared_and_read_only(run: RunInfo) -> None:
    arrays, path = cached.runs.map_arrays(run), cached.runs.path(ask(run))
    assert cached.runs.map_arrays(run) is arrays
    assert cached.runs.path(ask(run)) is path
    for array in (arrays.xy, arrays.z, arrays.raster.p, path.xy, path.smallest):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_map_written_anew_is_seen(run: RunInfo) -> None:
    before = cached.runs.map_arrays(run)
    stamp = run.map_stamp
    (run.folder / "map.npz").unlink()
    assert cached.runs.map_arrays(run) is None
    demo.make_run(run.folder.parent)
    assert run.map_stamp != stamp
    assert np.array_equal(cached.runs.map_arrays(run).xy, before.xy)
    assert cached.runs.map_arrays(run) is not before


def test_a_path_computed_here_is_found_and_other_questions_are_not(run: RunInfo) -> None:
    assert cached.runs.path(ask(run, "fgsm")) is None
    path = demo.make_path(cached.runs.map_arrays(run), "fgsm", "pixels", "linf")
    file = runs.cached_path_file(run, PathKey("fgsm", "pixels", "linf"))
    runs.write_path(file, path)
    assert np.array_equal(cached.runs.path(ask(run, "fgsm")).rows, path.rows)
    assert cached.runs.path(ask(run, "fgsm", target=3)) is None
    assert cached.runs.path(ask(run, "fgsm", seed=1)) is None


def test_a_cached_path_reads_no_card_and_hashes_the_projector_once(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.projector_file.write_bytes(b"where the map's places come from")
    run = runs.find_run("demo")
    path = demo.make_path(cached.runs.map_arrays(run), "fgsm", "pixels", "linf")
    runs.write_path(runs.cached_path_file(run, path.key), path)
    read = demo.count_reads(monkeypatch)
    run = runs.find_run("demo")
    assert read["card.json"] == 1
    for _ in range(2):
        assert cached.runs.path(ask(run, "fgsm")) is not None
        assert cached.runs.path(ask(run, "fgsm", seed=1)) is None
    assert (read["card.json"], read["projector.safetensors"]) == (1, 1)


def test_a_damaged_map_names_its_file(run: RunInfo) -> None:
    (run.folder / "map.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"map\.npz: expected a readable npz"):
        cached.runs.map_arrays(run)
    assert cached.runs.still(run) is None


def test_what_was_made_for_other_weights_is_left_aside(run: RunInfo) -> None:
    table = MinFlips(
        rows=np.arange(2),
        smallest=np.array([0.1, 0.2], np.float32),
        after=np.array([1, 0], np.uint8),
        norm="linf",
        space="pixels",
        seed=0,
        weights=demo.WEIGHTS,
    )
    runs.write_min_flips(run.folder, table)

    def found(run: RunInfo) -> list[bool]:
        parts = (
            cached.runs.map_arrays(run),
            cached.runs.still(run),
            cached.runs.path(ask(run)),
            cached.runs.min_flips(run, "pixels", "linf"),
        )
        return [part is not None for part in parts]

    assert found(run) == [True] * 4
    demo.change_card(run.folder, weights_sha256="1" * 64)
    assert found(runs.find_run("demo")) == [False] * 4
    assert found(run) == [True] * 4


def test_neighbours_are_those_of_a_slow_search(run: RunInfo) -> None:
    arrays = cached.runs.map_arrays(run)
    found = cached.runs.neighbours(arrays, 17)
    z = arrays.z.astype(np.float64)
    distances = sorted((np.linalg.norm(z[i] - z[17]), i) for i in range(len(z)) if i != 17)
    assert found.rows.tolist() == [i for _, i in distances[:8]]
    on_map = np.linalg.norm(arrays.xy.astype(np.float64) - arrays.xy[17], axis=1)
    hundredth = np.sort(on_map)[len(z) // 100]
    assert found.near.tolist() == [bool(on_map[i] <= hundredth) for i in found.rows]


def test_a_still_shows_every_cluster_in_its_hue() -> None:
    xy = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    picture = Image.open(io.BytesIO(draw_map(xy, np.array([0, 1, 10], np.uint8), (80, 60))))
    assert picture.size == (80, 60)
    pixels = np.asarray(picture)
    hues = {tuple(p[:3].tolist()) for p in pixels.reshape(-1, 4) if p[3]}
    assert hues == {(0x3F, 0x90, 0xDA), (0xFF, 0xA9, 0x0E)}  # 10 repeats the hue of 0
    low = pixels[30:, :40][pixels[30:, :40, 3] > 0]
    assert (low[:, :3] == (0x3F, 0x90, 0xDA)).all()  # y points up


def test_importing_the_loaders_imports_no_torch() -> None:
    import subprocess

    code = "import sys, ui.cached; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "False"
