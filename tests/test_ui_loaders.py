"""The loaders: what is shared is read-only, what is new is seen, what a model said is kept."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustcore import runs
from clustcore.attacks.alrdc_config import ALRDCConfig
from clustcore.runs import RunInfo
from tests import demo
from ui import loaders
from ui.stills import draw_map


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunInfo:
    """A run of random numbers, the only one."""
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    demo.make_run(tmp_path / "own")
    return runs.find_run("demo")


def ask(run: RunInfo, attack: str = "pgd", **more: object) -> loaders.Ask:
    return loaders.Ask(run, attack, "pixels", "linf", **more)


def test_maps_and_paths_are_shared_and_read_only(run: RunInfo) -> None:
    arrays, path = loaders.map_arrays(run), loaders.path(ask(run))
    assert loaders.map_arrays(run) is arrays
    assert loaders.path(ask(run)) is path
    for array in (arrays.xy, arrays.z, arrays.raster.p, path.xy, path.smallest):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_map_written_anew_is_seen(run: RunInfo) -> None:
    before = loaders.map_arrays(run)
    stamp = loaders.map_stamp(run)
    (run.folder / "map.npz").unlink()
    assert loaders.map_arrays(run) is None
    demo.make_run(run.folder.parent)
    assert loaders.map_stamp(run) != stamp
    assert np.array_equal(loaders.map_arrays(run).xy, before.xy)
    assert loaders.map_arrays(run) is not before


def test_a_path_computed_here_is_found_and_other_questions_are_not(run: RunInfo) -> None:
    assert loaders.path(ask(run, "fgsm")) is None
    path = demo.make_path(loaders.map_arrays(run), "fgsm", "pixels", "linf")
    file = runs.cached_path_file(run.folder, "fgsm", "pixels", "linf", None, 0)
    runs.write_path(file, path)
    assert np.array_equal(loaders.path(ask(run, "fgsm")).rows, path.rows)
    assert loaders.path(ask(run, "fgsm", target=3)) is None
    assert loaders.path(ask(run, "fgsm", seed=1)) is None


def test_a_damaged_map_names_its_file(run: RunInfo) -> None:
    (run.folder / "map.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"map\.npz: expected a readable npz"):
        loaders.map_arrays(run)
    assert loaders.still(str(run.folder), loaders.map_stamp(run)) is None


def test_neighbours_are_those_of_a_slow_search(run: RunInfo) -> None:
    arrays = loaders.map_arrays(run)
    found = loaders.neighbours(arrays, 17)
    z = arrays.z.astype(np.float64)
    distances = sorted((np.linalg.norm(z[i] - z[17]), i) for i in range(len(z)) if i != 17)
    assert found.rows.tolist() == [i for _, i in distances[:8]]
    on_map = np.linalg.norm(arrays.xy.astype(np.float64) - arrays.xy[17], axis=1)
    hundredth = np.sort(on_map)[len(z) // 100]
    assert found.near.tolist() == [bool(on_map[i] <= hundredth) for i in found.rows]


@pytest.mark.parametrize(
    ("data", "shape", "first"),
    [("mnist", (1, 28, 28), "0"), ("cifar10-jpeg", (3, 32, 32), "airplane")],
)
def test_shipped_images_labels_and_sheets_belong_together(
    data: str, shape: tuple[int, ...], first: str
) -> None:
    x, (y, names) = loaders.images(data), loaders.labels(data)
    assert x.shape == (10_000, *shape)
    assert x.dtype == np.uint8
    assert len(y) == len(x)
    assert len(names) == 10
    assert names[0] == first
    sprites = loaders.sprites(data)
    assert sprites.size == shape[1:]
    sheet = np.asarray(Image.open(io.BytesIO(sprites.sheet(3))).convert("RGB"))
    row, column = divmod(17, sprites.columns)
    h, w = sprites.size
    cell = sheet[h * row : h * row + h, w * column : w * column + w]
    assert np.array_equal(cell, np.broadcast_to(x[3017].transpose(1, 2, 0), (h, w, 3)))


def test_data_that_do_not_ship_get_sheets_of_their_own() -> None:
    x = loaders.images("digits")
    sprites = loaders.sprites("digits")
    assert sprites.size == x.shape[2:]
    sheet = np.asarray(Image.open(io.BytesIO(sprites.sheet(0))))
    h, w = sprites.size
    row, column = divmod(53, sprites.columns)
    assert np.array_equal(sheet[h * row : h * row + h, w * column : w * column + w], x[53, 0])


def test_data_that_are_not_there_have_no_labels_and_no_images(run: RunInfo) -> None:
    assert not loaders.has_labels("unheard-of")
    assert loaders.sprites("unheard-of") is None
    demo.make_run(run.folder.parent, "other", data="unheard-of")
    arrays = loaders.map_arrays(runs.find_run("other"))
    assert loaders.truth(arrays) == loaders.Truth()
    assert loaders.images_or_none(arrays) is None


def test_a_folder_is_read_as_the_model_takes_it(run: RunInfo, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "data"))
    place = tmp_path / "data" / "mine"
    place.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 40), (80 * i, 0, 9)).save(place / f"{i}.png")
    shape = {"input_shape": [1, 28, 28]}
    demo.make_run(run.folder.parent, "grey", data="folder:mine", config=shape)
    own = runs.find_run("grey")
    assert loaders._samples_of(own).x.shape == (3, 1, 28, 28)
    assert loaders.no_folder(own) == ""
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path))
    plan = {"model": "drc", "data": {"name": "folder:mine"}, "root": "/else where"}
    runs.write_json(own.folder / "plan.json", plan)
    assert loaders.no_folder(own).startswith("folder 'mine': expected it below")
    assert loaders.no_folder(own).endswith("The training looked below /else where")


def test_a_data_set_is_looked_at_once_and_a_failure_again(monkeypatch, tmp_path) -> None:
    looks: list[str] = []

    def apart(name: str) -> str:
        looks.append(name)
        if name == "bad":
            raise OSError("no disk")
        return name

    monkeypatch.setattr(loaders, "peek_apart", apart)
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path))
    for _ in range(2):
        assert loaders.peek("good") == ("good", "")
        assert loaders.peek("bad") == (None, "no disk")
        loaders._peek.clear()
    assert looks == ["good", "bad", "bad"]


def test_a_still_shows_every_cluster_in_its_hue() -> None:
    xy = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    picture = Image.open(io.BytesIO(draw_map(xy, np.array([0, 1, 10], np.uint8), (80, 60))))
    assert picture.size == (80, 60)
    pixels = np.asarray(picture)
    hues = {tuple(p[:3].tolist()) for p in pixels.reshape(-1, 4) if p[3]}
    assert hues == {(0x3F, 0x90, 0xDA), (0xFF, 0xA9, 0x0E)}  # 10 repeats the hue of 0
    low = pixels[30:, :40][pixels[30:, :40, 3] > 0]
    assert (low[:, :3] == (0x3F, 0x90, 0xDA)).all()  # y points up


def test_a_model_without_a_decoder_is_never_loaded_for_an_image(run: RunInfo) -> None:
    assert loaders.reconstruction(run, 3, "cpu") == (None,)


def test_what_was_not_worked_out_is_none_without_asking_a_model(run: RunInfo) -> None:
    assert loaders.pin_frames(ask(run), 3, "cpu", compute=False) is None
    assert loaders.probe(run, (0.0, 0.0), "cpu", compute=False) is None
    assert loaders.device_in_use(run, "cpu") == ""


def test_an_answer_is_worked_out_once(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    from clustcore import pipeline

    calls = []

    def pin_frames(model: object, samples: object, row: int, *where: object) -> str:
        calls.append((row, *where))
        return f"frames of {row}"

    monkeypatch.setattr(pipeline, "pin_frames", pin_frames)
    monkeypatch.setattr(loaders, "_model", lambda run, device: "model")
    for _ in range(2):
        assert loaders.pin_frames(ask(run, target=2, seed=4), 3, "cpu") == "frames of 3"
    assert loaders.pin_frames(ask(run, target=2, seed=4), 3, "cpu", compute=False)
    assert calls == [(3, "pgd", "pixels", "linf", 2, 4)]


def test_the_last_results_alone_are_kept() -> None:
    recent = loaders._Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1  # used last
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_computing_passes_on_the_steps_and_a_raise_in_them_cancels(
    run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clustcore import pipeline

    def compute_path(model: object, samples: object, *where: object, on_step: object) -> None:
        on_step(1, 2, "PGD step 7/40")

    monkeypatch.setattr(pipeline, "compute_path", compute_path)
    monkeypatch.setattr(loaders, "_model", lambda run, device: "model")
    said = []
    loaders.compute_path(ask(run), "cpu", lambda *step: said.append(step))
    assert said == [(0, 1, "loading the model"), (1, 2, "PGD step 7/40")]

    def cancel(done: int, total: int, sentence: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaders.compute_path(ask(run), "cpu", cancel)
    loaders.compute_path(ask(run), "cpu", lambda *step: None)  # the lock is free again


def test_a_device_that_is_not_there_becomes_the_cpu_with_a_word() -> None:
    assert loaders.check_device("auto") == loaders.check_device("cpu") == ""
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("there is an Apple GPU here")
    note = loaders.check_device("mps")
    assert "mps" in note
    assert note.endswith("The CPU does the work instead.")


def test_importing_the_loaders_imports_no_torch() -> None:
    import subprocess

    code = "import sys, ui.loaders; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def learner(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> loaders.Ask:
    """A learned attack on a real run, without an attacker."""
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    shutil.copytree(digits_run, tmp_path / "own" / "d")
    return loaders.Ask(runs.find_run("d"), "alrdc", "embedding", "l2")


def test_a_fit_cancelled_between_epochs_keeps_nothing(learner: loaders.Ask) -> None:
    said = []

    def cancel(done: int, total: int, sentence: str) -> None:
        said.append(sentence)
        if "epoch 3 of 10" in sentence:
            raise KeyboardInterrupt

    assert loaders.needs_fit(learner)
    before = sorted(learner.run.folder.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        loaders.compute_path(learner, "cpu", cancel)
    assert sorted(learner.run.folder.rglob("*")) == before
    assert loaders.attacker_state(learner.run, "alrdc") == ""
    n = loaders.fit_images(learner.run)[0]
    assert said[-2:] == [
        f"fitting the attacker on {n:,} images, train split, epoch {i} of 10" for i in (2, 3)
    ]


def test_one_bar_for_fit_and_path_and_a_fresh_attacker_walks_afresh(learner: loaders.Ask) -> None:
    shares = []
    stamps = [loaders.path_stamp(learner)]
    loaders.compute_path(learner, "cpu", lambda done, total, _: shares.append(done / total))
    assert shares == sorted(shares)
    assert shares[0] == 0 < 0.9 <= shares[-1] <= 1
    assert not loaders.needs_fit(learner)
    stamps.append(loaders.path_stamp(learner))
    first = loaders.path(learner)
    pin = loaders.pin_frames(learner, 3, "cpu")
    assert loaders.pin_frames(learner, 3, "cpu", compute=False) is pin

    from clustcore import making, pipeline

    run = pipeline.load_run("d", "cpu")
    making.fit_attacker(run, loaders.samples("digits", "train"), seed=1)
    stamps.append(loaders.path_stamp(learner))
    assert len(set(stamps)) == 3
    assert first is not None
    assert loaders.path(learner) is None  # what another attacker walked is no longer shown
    assert loaders.pin_frames(learner, 3, "cpu", compute=False) is None


def test_a_shipped_run_stays_as_it_is_and_each_attacker_walks_its_own_path(
    learner: loaders.Ask, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "own" / "d", tmp_path / "shipped" / "d")
    run = runs.find_run("d")
    assert run.shipped
    before = sorted(run.folder.rglob("*"))
    asks = [
        dataclasses.replace(learner, run=run, fit=ALRDCConfig(epochs=2, weight_y=w))
        for w in (40.0, 10.0)
    ]
    found = []
    for ask in asks:
        assert loaders.needs_fit(ask)
        assert not found or loaders.other_settings(ask)
        loaders.compute_path(ask, "cpu", lambda *step: None)
        assert not loaders.needs_fit(ask)
        assert loaders.attacker_settings(run, "alrdc") == ask.fit
        found.append(loaders.path(ask))
    assert sorted(run.folder.rglob("*")) == before
    assert not np.array_equal(found[0].smallest, found[1].smallest, equal_nan=True)
    # whoever asks for no settings gets the attacker at hand
    assert np.array_equal(
        loaders.path(dataclasses.replace(learner, run=run)).smallest,
        found[1].smallest,
        equal_nan=True,
    )
