"""Images, true classes and sheets belong together, and data that are not there are no error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clustcore import files, runs
from clustcore.runs import RunInfo
from tests.support import demo
from ui import cached


@pytest.mark.parametrize(
    ("data", "shape", "first"),
    [("mnist", (1, 28, 28), "0"), ("cifar10-jpeg", (3, 32, 32), "airplane")],
)
def test_shipped_images_labels_and_sheets_belong_together(
    data: str, shape: tuple[int, ...], first: str
) -> None:
    x, (y, names) = cached.images.images(data), cached.images.labels(data)
    assert x.shape == (10_000, *shape)
    assert x.dtype == np.uint8
    assert len(y) == len(x)
    assert len(names) == 10
    assert names[0] == first
    sprites = cached.images.sprites(data)
    assert sprites.size == shape[1:]
    sheet = np.asarray(Image.open(io.BytesIO(sprites.sheet(3))).convert("RGB"))
    row, column = divmod(17, sprites.columns)
    h, w = sprites.size
    cell = sheet[h * row : h * row + h, w * column : w * column + w]
    assert np.array_equal(cell, np.broadcast_to(x[3017].transpose(1, 2, 0), (h, w, 3)))


def test_data_that_do_not_ship_get_sheets_of_their_own() -> None:
    x = cached.images.images("digits")
    sprites = cached.images.sprites("digits")
    assert sprites.size == x.shape[2:]
    sheet = np.asarray(Image.open(io.BytesIO(sprites.sheet(0))))
    h, w = sprites.size
    row, column = divmod(53, sprites.columns)
    assert np.array_equal(sheet[h * row : h * row + h, w * column : w * column + w], x[53, 0])


def test_data_that_are_not_there_have_no_labels_and_no_images(run: RunInfo) -> None:
    assert not cached.images.has_labels("unheard-of")
    assert cached.images.sprites("unheard-of") is None
    demo.make_run(run.folder.parent, "other", data="unheard-of")
    arrays = cached.runs.map_arrays(runs.find_run("other"))
    assert cached.images.truth(arrays) == cached.images.Truth()
    assert cached.images.images_or_none(arrays) is None


def test_a_folder_is_read_as_the_model_takes_it(run: RunInfo, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "data"))
    place = tmp_path / "data" / "mine"
    place.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 40), (80 * i, 0, 9)).save(place / f"{i}.png")
    shape = {"input_shape": [1, 28, 28]}
    demo.make_run(run.folder.parent, "grey", data="folder:mine", config=shape)
    own = runs.find_run("grey")
    assert cached.models._samples_of(own).x.shape == (3, 1, 28, 28)
    assert cached.images.no_folder(own) == ""
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path))
    plan = {"model": "drc", "data": {"name": "folder:mine"}, "root": "/else where"}
    files.write_json(own.folder / "plan.json", plan)
    assert cached.images.no_folder(own).startswith("folder 'mine': expected it below")
    assert cached.images.no_folder(own).endswith("The training looked below /else where")


def test_a_data_set_is_looked_at_once_and_a_failure_again(monkeypatch, tmp_path) -> None:
    looks: list[str] = []

    def apart(name: str) -> str:
        looks.append(name)
        if name == "bad":
            raise OSError("no disk")
        return name

    monkeypatch.setattr(cached.images, "peek_apart", apart)
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path))
    for _ in range(2):
        assert cached.images.peek("good") == ("good", "")
        assert cached.images.peek("bad") == (None, "no disk")
        cached.images._peek.clear()
    assert looks == ["good", "bad", "bad"]
