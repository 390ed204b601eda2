"""Every entry of DATASETS keeps the contract, and each bad input gets its own message."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from clustcore import datasets, load_samples
from clustcore.datasets import DATASETS, cifar, decoded, imagenet, images, make_shipped, shipped
from clustcore.datasets.arrays import samples
from clustcore.datasets.mnist import read_idx
from tests.support.data_files import (
    any_root,
    batches_root,
    cifar_root,
    mnist_root,
    pixels,
    save,
    write_idx,
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("split", ["train", "other"])
@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_keeps_the_contract(
    name: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if split == "other":  # two parts of ImageNet have no test split
        split = "all" if name in imagenet.CLASSES else "test"
    data = load_samples(name, split, root=any_root(name, tmp_path, monkeypatch))
    assert data.x.flags.c_contiguous
    n = len(data)
    assert data.x.dtype == np.float32
    assert data.x.ndim == 4
    assert data.x.shape[1] in (1, 3)
    assert data.x.min() >= 0
    assert data.x.max() <= 1
    assert data.y.dtype == np.int64
    assert set(np.unique(data.y)) <= set(range(len(data.class_names)))
    np.testing.assert_array_equal(data.ids, np.arange(n))
    assert data.name == name
    assert data.split == ("all" if name == "folder" else split)
    again = load_samples(name, split, root=tmp_path)
    np.testing.assert_array_equal(again.x, data.x)
    np.testing.assert_array_equal(again.y, data.y)


def test_what_draws_a_map_loads_no_torch() -> None:
    code = (
        "import sys, clustcore; clustcore.load_samples('mnist'); clustcore.load_samples('digits')\n"
        "clustcore.load_samples('cifar10-jpeg')\n"
        "assert not {'torch', 'torchvision', 'umap'} & set(sys.modules)"
    )
    where = shipped.ASSETS.parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=where, timeout=300)


# The door


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "minst"}, "unknown data set 'minst'; known: .*mnist"),
        ({"name": "mnist", "split": "all"}, "unknown split 'all' of mnist; known: train, test"),
        ({"name": "folder", "split": "val"}, "unknown split 'val' .* known: train, test, all"),
        ({"name": "mnist", "size": 32}, "'mnist' takes no size"),
        ({"name": "digits", "channels": 3, "limit": 4}, "'digits' takes no channels, limit"),
        ({"name": "mnist", "root": "/no/such/place"}, "/no/such/place: expected a folder with"),
        ({"name": "folder"}, "expected root=<folder of images>, got none"),
    ],
)
def test_messages_of_the_door(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_samples(**arguments)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_nothing_is_downloaded_unasked(name: str) -> None:
    with pytest.raises(ValueError, match=r"no such folder.*as root, or allow a download"):
        load_samples(name, "train")
    assert not datasets.data_folder().exists()


@pytest.mark.parametrize(("name", "kind"), [("fashion-mnist", "FashionMNIST"), ("cifar10", None)])
def test_a_download_is_asked_of_torchvision(
    name: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    class Fake:
        def __init__(self, root: str, download: bool = False, train: bool = True) -> None:
            if not download:  # reading what was just fetched
                self.data, self.targets = pixels(0, 3, 32, 32, 3), [0, 1, 2]
            elif kind:
                mnist_root(Path(root), kind)

    monkeypatch.setattr(torchvision.datasets, kind or "CIFAR10", Fake)
    assert len(load_samples(name, "train", download=True)) == (12 if kind else 3)
    if kind:  # and where the files lie already, it is not asked again
        monkeypatch.delattr(torchvision.datasets, kind)
        assert len(load_samples(name, "train", download=True)) == 12


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("cifar10", "CIFAR10")])
def test_a_failed_download_says_what_and_where(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets, kind, fail)
    with pytest.raises(OSError, match=r"could not download .* to .*no-data: no network"):
        load_samples(name, "train", download=True)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)))
def test_counts_become_exact_fractions(x: np.ndarray) -> None:
    made = samples(x)
    assert made.x.shape == (len(x), 1, *x.shape[1:])
    np.testing.assert_array_equal(np.round(made.x[:, 0] * 255).astype(np.uint8), x)


@given(st.sampled_from([np.nan, np.inf, -np.inf, -1e-6, 1.001]), st.integers(0, 3))
def test_a_value_outside_0_to_1_is_refused(bad: float, row: int) -> None:
    x = np.full((4, 3, 2, 2), 0.5)
    x[row, 1, 1, 0] = bad
    with pytest.raises(ValueError, match=f"own: images: expected values from 0 to 1.*image {row}"):
        samples(x)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 4)), None, r"images: expected shape .* got \(4, 4\)"),
        (np.zeros((4, 2, 4, 4)), None, r"images: expected shape .* got \(4, 2, 4, 4\)"),
        (np.zeros((0, 1, 4, 4)), None, r"images: expected shape .* got \(0, 1, 4, 4\)"),
        (np.zeros((2, 4, 4), int), None, "images: expected uint8 or floats, got int64"),
        (np.zeros((2, 4, 4)), [1], "labels: expected 2 whole numbers, got int64"),
        (np.zeros((2, 4, 4)), [0.5, 1.0], "labels: expected 2 whole numbers, got float64"),
        (np.zeros((2, 4, 4)), [0, -1], "labels: expected 0 to .*, got -1 to 0"),
    ],
)
def test_arrays_of_a_wrong_kind_are_refused(x: np.ndarray, y: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        samples(x, y)


# What ships


@pytest.mark.parametrize("name", shipped.SOURCES)
def test_the_shipped_files_are_whole(name: str) -> None:
    shipped.verify(name)
    data, info = load_samples(name), shipped.source(name)
    shape = (1, 28, 28) if info["width"] == 28 else (3, 32, 32)
    assert data.x.shape == (10_000, *shape)
    np.testing.assert_array_equal(np.bincount(data.y).sum(), 10_000)
    assert info["licence"]
    assert info["source"]
    assert len(data.class_names) == 10


def test_mnist_is_the_published_one() -> None:
    """The class counts of the test split, and the MD5 of the label file's values as published."""
    y = shipped.labels("mnist")
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    header = bytes([0, 0, 8, 1]) + struct.pack(">I", len(y))
    packed = hashlib.md5(header + y.tobytes()).hexdigest()
    assert packed == "27ae3e4e09519cfbb04c329615203637"


@pytest.mark.parametrize("i", [0, 39, 40, 999, 1000, 9999])
def test_a_sample_lies_where_the_geometry_says(i: int) -> None:
    sheet, place = divmod(i, shipped.PER_SHEET)
    row, column = divmod(place, shipped.COLUMNS)
    with Image.open(io.BytesIO(shipped.sheet("mnist", sheet))) as png:
        cut = png.crop((column * 28, row * 28, column * 28 + 28, row * 28 + 28))
    np.testing.assert_array_equal(np.asarray(cut), shipped.images("mnist")[i])


@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([(3, 5), (3, 5, 3)]))
def test_a_sheet_holds_its_images_row_by_row(n: int, columns: int, shape: tuple) -> None:
    x = pixels(n, n, *shape)
    with Image.open(io.BytesIO(shipped.encode_sheet(x, columns))) as png:
        sheet = np.asarray(png)
    h, w = shape[:2]
    for i in range(n):
        top, left = i // columns * h, i % columns * w
        np.testing.assert_array_equal(sheet[top : top + h, left : left + w], x[i])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sheets made from tiny IDX files, in place of those that ship."""
    mnist_root(tmp_path)
    mnist_root(tmp_path, "FashionMNIST")
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")
    make_shipped.make(tmp_path, tmp_path / "assets")
    yield tmp_path
    shipped.forget()


def test_sheets_made_from_idx_files_give_back_their_images(made: Path) -> None:
    from_sheets = load_samples("mnist")
    from_files = load_samples("mnist", root=made)
    np.testing.assert_array_equal(from_sheets.x, from_files.x)
    np.testing.assert_array_equal(from_sheets.y, from_files.y)
    shipped.verify("mnist")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tile-0.png", b"", "tile-0.png: expected a grey PNG of 1120 x 700 pixels, got"),
        ("tile-0.png", None, "tile-0.png: expected a shipped file, got No such file"),
        ("labels.npy", b"nonsense", "labels.npy: expected 7 labels as uint8, got"),
        ("source.json", b"{", "source.json: expected the shipped source.json, got"),
    ],
)
def test_damaged_shipped_files(made: Path, file: str, content: bytes | None, message: str) -> None:
    path = shipped.ASSETS / "mnist" / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_samples("mnist")


def test_shipped_files_of_a_wrong_size_or_hash(made: Path) -> None:
    place = shipped.ASSETS / "mnist"
    np.save(place / "labels.npy", np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"expected 7 labels as uint8, got uint8 of shape \(3,\)"):
        shipped.labels("mnist")
    with pytest.raises(ValueError, match=r"labels\.npy: expected sha256 .*, got"):
        shipped.verify("mnist")
    save(place / "tile-0.png", pixels(0, 28, 28))
    with pytest.raises(ValueError, match="1120 x 700 pixels, got a L image of 28 x 28"):
        shipped.images("mnist")


def test_messages_of_the_sheets() -> None:
    with pytest.raises(ValueError, match="unknown shipped data set 'digits'; known: mnist"):
        shipped.sheet("digits", 0)
    with pytest.raises(ValueError, match="mnist: sheet: expected 0 to 9, got 10"):
        shipped.sheet("mnist", 10)


# IDX files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_as_written(tmp_path: Path, suffix: str) -> None:
    data = load_samples("mnist", "train", root=mnist_root(tmp_path, suffix=suffix))
    np.testing.assert_array_equal(np.round(data.x[:, 0] * 255), pixels(0, 12, 28, 28))
    np.testing.assert_array_equal(data.y, pixels(0, 12) % 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "expected 24 values after the header, got 23"),
        (lambda data: data + b"0", "expected 24 values after the header, got more"),
        (lambda data: data[:9], "expected IDX, uint8, 3 axes, got header 00000803"),
        (lambda data: b"", "expected IDX, uint8, 3 axes, got header "),
        (lambda data: b"\x89PNG" + data, "got header 89504e47"),
        (lambda data: data[:4] + b"\xff" * 12, r"expected 1 to \d+ values, got shape"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "images"
    write_idx(path, pixels(0, 2, 3, 4))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_idx(path, axes=3)


@pytest.mark.parametrize("keep", [9, 40])
def test_a_truncated_gzip_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "images.gz"
    write_idx(path, pixels(0, 9, 9, 9))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"images\.gz: expected a whole gzip file, got"):
        read_idx(path, axes=3)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match=r"images\.gz: expected a whole gzip file, got"):
        read_idx(path, axes=3)


def test_images_and_labels_that_do_not_belong_together(tmp_path: Path) -> None:
    raw = mnist_root(tmp_path) / "MNIST" / "raw"
    write_idx(raw / "t10k-labels-idx1-ubyte", pixels(0, 6) % 10)
    with pytest.raises(ValueError, match="expected one label per image, got 7 and 6"):
        load_samples("mnist", root=tmp_path)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.full(7, 10, np.uint8))
    with pytest.raises(ValueError, match="labels: expected 0 to 9, got 10 to 10"):
        load_samples("mnist", root=tmp_path)
    write_idx(raw / "t10k-images-idx3-ubyte", pixels(0, 7, 8, 8))
    with pytest.raises(ValueError, match="expected images of 28 x 28, got 8 x 8"):
        load_samples("mnist", root=tmp_path)


def test_a_wrong_root_says_what_lies_there(tmp_path: Path) -> None:
    mnist_root(tmp_path)
    with pytest.raises(ValueError, match=r"FashionMNIST.*expected the train split.*got \['MNIST'"):
        load_samples("fashion-mnist", "train", root=tmp_path)


# CIFAR-10


def test_cifar_folders_give_pixels_and_labels_and_are_cached(tmp_path: Path) -> None:
    root = cifar_root(tmp_path)
    data = load_samples("cifar10", root=root)
    assert data.y.tolist() == [label for label in range(10) for _ in range(2)]
    for i in range(20):
        np.testing.assert_array_equal(
            np.round(data.x[i] * 255), pixels(i, 32, 32, 3).transpose(2, 0, 1)
        )
    (cached,) = decoded.cache_folder().iterdir()
    np.save(cached, np.zeros((20, 3, 32, 32), np.uint8))
    assert load_samples("cifar10", root=root).x.max() == 0  # read from the cache
    cached.write_bytes(b"damaged")
    np.testing.assert_array_equal(load_samples("cifar10", root=root).x, data.x)
    os.utime(root / "test" / "cat" / "0000.png", (1, 10**10))  # changed: another key
    load_samples("cifar10", root=root)
    assert len(list(decoded.cache_folder().iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "file" / "cache"))
    assert len(load_samples("cifar10", root=cifar_root(tmp_path))) == 20


def test_a_full_disk_leaves_no_half_written_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    root = cifar_root(tmp_path)
    monkeypatch.setattr(np, "save", full)
    assert len(load_samples("cifar10", root=root)) == 20
    assert list(decoded.cache_folder().iterdir()) == []


def test_a_lossy_copy_is_named_so(tmp_path: Path) -> None:
    assert load_samples("cifar10", root=cifar_root(tmp_path, ".jpg")).name == "cifar10-jpeg"
    lossless = cifar_root(tmp_path / "png")
    with pytest.raises(ValueError, match=r"expected a copy in \.jpg files, got a lossless one"):
        load_samples("cifar10-jpeg", root=lossless)


def test_folders_that_are_not_cifar(tmp_path: Path) -> None:
    root = cifar_root(tmp_path)
    save(root / "test" / "lion" / "0.png", pixels(0, 32, 32, 3))
    with pytest.raises(ValueError, match=r"expected the sub-folders airplane.*got .*lion"):
        load_samples("cifar10", root=root)
    (root / "train" / "dog" / "0001.png").write_bytes(b"broken")
    with pytest.raises(
        ValueError, match=r"dog/0001\.png: expected an image of CIFAR-10, got not a"
    ):
        load_samples("cifar10", "train", root=root)


def test_batches_and_archive_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    root = batches_root(tmp_path / "batches", monkeypatch)
    archive = tmp_path / "archive" / cifar.ARCHIVE
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / cifar.BATCHES, cifar.BATCHES)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    train = load_samples("cifar10", "train", root=root)
    assert train.x.shape == (20, 3, 32, 32)
    np.testing.assert_array_equal(np.round(train.x[4].ravel() * 255), pixels(1, 4, 3072)[0])
    packed = load_samples("cifar10", "train", root=archive.parent)
    np.testing.assert_array_equal(packed.x, train.x)
    np.testing.assert_array_equal(packed.y, train.y)
    assert [p.name for p in archive.parent.iterdir()] == [cifar.ARCHIVE]  # the root stays as found


def test_a_wrong_md5_is_refused_before_anything_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = batches_root(tmp_path / "batches", monkeypatch)
    (root / cifar.BATCHES / "test_batch").write_bytes(pickle.dumps(Path))
    with pytest.raises(ValueError, match=r"cifar-10-batches-py: expected files of known MD5, got"):
        load_samples("cifar10", root=root)
    archive = tmp_path / "archive" / cifar.ARCHIVE
    archive.parent.mkdir()
    archive.write_bytes(b"not the archive")
    with pytest.raises(ValueError, match=r"tar\.gz: expected MD5 c58f30.*, got another"):
        load_samples("cifar10", root=archive.parent)


def test_a_root_without_cifar_says_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(ValueError, match=r"expected test/<class>/ with .* got \['holiday'\]"):
        load_samples("cifar10", root=tmp_path)


# Folders of images


def grey_folder(root: Path, n: int = 3) -> Path:
    for i in range(n):
        save(root / f"{i}.png", pixels(i, 28, 28))
    return root


def test_grey_images_keep_their_pixels(tmp_path: Path) -> None:
    data = load_samples("folder", root=grey_folder(tmp_path))
    assert data.y is None
    assert data.class_names == ()
    assert data.x.shape == (3, 1, 28, 28)
    for i in range(3):
        np.testing.assert_array_equal(np.round(data.x[i, 0] * 255), pixels(i, 28, 28))


def test_one_colour_image_makes_the_folder_colour(tmp_path: Path) -> None:
    save(grey_folder(tmp_path) / "z.jpg", pixels(0, 40, 50, 3))
    assert load_samples("folder", root=tmp_path).x.shape == (4, 3, 32, 32)
    assert load_samples("folder", root=tmp_path, channels=1, size=16).x.shape == (4, 1, 16, 16)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for i, name in enumerate(["b", "a", "b", ".hidden"]):
        save(tmp_path / name / f"{i}.png", pixels(i, 28, 28))
    (tmp_path / "empty").mkdir()
    data = load_samples("folder", "all", root=tmp_path)
    assert data.class_names == ("a", "b")
    assert data.y.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(np.round(data.x[0, 0] * 255), pixels(1, 28, 28))
    grey_folder(tmp_path)  # images beside the sub-folders have no class: then none has
    assert load_samples("folder", root=tmp_path).y is None


def test_train_and_test_sub_folders_are_splits(tmp_path: Path) -> None:
    grey_folder(tmp_path / "train", 4)
    grey_folder(tmp_path / "test", 2)
    train, test = (load_samples("folder", split, root=tmp_path) for split in ("train", "test"))
    assert (len(train), train.split, len(test), test.split) == (4, "train", 2, "test")
    with pytest.raises(ValueError, match="expected split train or test, which it has, got 'all'"):
        load_samples("folder", "all", root=tmp_path)


def test_images_are_turned_upright_cropped_and_laid_on_white(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200  # the central square
    save(tmp_path / "a.png", wide)
    clear = np.zeros((10, 10, 4), np.uint8)
    clear[5:, :, 3] = 255  # upper half transparent, lower half black
    save(tmp_path / "b.png", clear)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    half = np.zeros((16, 16), np.uint8)
    half[:, :8] = 255
    save(tmp_path / "c.jpg", half, exif=exif, quality=100)
    deep = np.full((10, 10), 40_000, np.uint16)
    save(tmp_path / "d.png", deep)
    x = load_samples("folder", root=tmp_path, size=10, channels=1).x[:, 0] * 255
    np.testing.assert_allclose(x[0], 200)
    np.testing.assert_allclose(x[1], np.repeat([255, 0], 5)[:, None] * np.ones((1, 10)))
    assert x[2][:3].min() > 250  # the left half came to lie on top
    assert x[2][-3:].max() < 5
    np.testing.assert_allclose(x[3], 40_000 // 256)


def test_a_palette_with_transparency_is_read(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(0, 28, 28, 3)).quantize(8)
    image.save(grey_folder(tmp_path) / "palette.png", transparency=bytes([0, 128] + [255] * 6))
    assert load_samples("folder", root=tmp_path).x.shape == (4, 3, 32, 32)


def test_broken_files_are_named_and_skipped(tmp_path: Path) -> None:
    for name in ("a", "b"):
        grey_folder(tmp_path / name)
    (tmp_path / "a" / "1.png").write_bytes(b"no image")
    whole = (tmp_path / "b" / "0.png").read_bytes()
    (tmp_path / "b" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "vector.eps").write_bytes(b"%!PS")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    (tmp_path / "b" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    data = load_samples("folder", root=tmp_path)
    assert data.y.tolist() == [0, 0, 1, 1]
    assert data.skipped[0].startswith("a/1.png: not a readable image")
    assert data.skipped[1].startswith("b/0.png: damaged")
    assert len(data.skipped) == 2
    np.testing.assert_array_equal(np.round(data.x[1, 0] * 255), pixels(2, 28, 28))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Images shared out to three processes; gives those that were started."""
    started: list[subprocess.Popen] = []

    class Popen(subprocess.Popen):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(images.subprocess, "Popen", Popen)
    monkeypatch.setattr(images, "WORTH", 4)
    monkeypatch.setattr(images, "_cores", lambda: 3)
    return started


def test_many_images_are_decoded_by_several_processes_to_the_same(
    tmp_path: Path, shared: list[subprocess.Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save(tmp_path / f"{i:02} ü.png", pixels(i, 20, 24, 3)) for i in range(13)]
    for row in (3, 12):
        files[row].write_bytes(b"broken")
    monkeypatch.chdir(tmp_path)
    named = [Path(file.name) for file in files]
    for channels in (1, 3):
        x, bad = images.read_images(named, 16, channels)
        with monkeypatch.context() as alone:
            alone.setattr(images, "WORTH", 100)
            one, one_bad = images.read_images(named, 16, channels)
        np.testing.assert_array_equal(x, one)
        assert (
            bad
            == one_bad
            == dict.fromkeys((3, 12), "not a readable image (UnidentifiedImageError)")
        )
        assert x[[3, 12]].max() == 0 < x[4].max()
    assert [process.returncode is not None for process in shared] == [True] * 6


def test_of_many_images_the_first_that_cannot_be_read_is_named(
    tmp_path: Path, shared: list[subprocess.Popen]
) -> None:
    root = cifar_root(tmp_path)
    for name in ("truck", "dog", "frog"):
        (root / "test" / name / "0001.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"dog/0001\.png: expected an image of CIFAR-10, got not"):
        load_samples("cifar10", root=root)
    assert len(shared) == 3
    assert not decoded.cache_folder().exists()


def test_a_process_that_is_killed_while_it_decodes_is_said(
    tmp_path: Path, shared: list[subprocess.Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = images._Apart.tell

    def killed(self: images._Apart) -> None:
        tell(self)
        self.process.kill()

    monkeypatch.setattr(images._Apart, "tell", killed)
    with pytest.raises(OSError, match=r"decoding images: .*got a process that ended: -9"):
        load_samples("cifar10", root=cifar_root(tmp_path))
    assert [process.returncode for process in shared] == [-9] * 3
    assert not decoded.cache_folder().exists()


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = images._cores()
    assert alone >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(alone))
    assert images._cores() == 1


def test_files_too_large_are_skipped_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(grey_folder(tmp_path) / "many.png", np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(images, "MAX_PIXELS", 9_999)
    (skipped,) = load_samples("folder", root=tmp_path).skipped
    assert skipped == "many.png: 100 x 100 pixels, at most 9999 are read"
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 200)
    with pytest.raises(
        ValueError, match=r"at least 2 images to cluster, got 0; .*0\.png: \d+ bytes"
    ):
        load_samples("folder", root=tmp_path)


@pytest.mark.parametrize("side", [10_000, 30_000])  # where Pillow warns, and where it refuses
def test_a_decompression_bomb_is_named_and_skipped(tmp_path: Path, side: int) -> None:
    bomb = bytearray(save(grey_folder(tmp_path) / "0.png", pixels(0, 28, 28)).read_bytes())
    bomb[16:24] = struct.pack(">II", side, side)  # a header that promises more than there is
    import zlib

    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (tmp_path / "0.png").write_bytes(bytes(bomb))
    (skipped,) = load_samples("folder", root=tmp_path).skipped
    assert skipped.startswith("0.png: too many pixels")


def test_messages_of_folders(tmp_path: Path) -> None:
    def load(**options: object) -> None:
        load_samples("folder", root=tmp_path, **options)

    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"expected images \(\.png.* got none"):
        load()
    grey_folder(tmp_path / "only")
    with pytest.raises(
        ValueError, match="at least 2 classes as sub-folders, got one, 'only'; name"
    ):
        load()
    grey_folder(tmp_path, 1)
    with pytest.raises(ValueError, match="expected at most 3 images, got 4"):
        load(limit=3)
    for path in (tmp_path / "only").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="expected at least 2 images to cluster, got 1"):
        load()
    with pytest.raises(ValueError, match="size: expected 8 to 256, got 4000"):
        load(size=4000)
    with pytest.raises(ValueError, match="channels: expected 1 or 3, got 4"):
        load(channels=4)


def test_all_images_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clustcore.datasets.folder.MAX_VALUES", 3 * 28 * 28 - 1)
    with pytest.raises(ValueError, match=r"expected at most 2351 values, got .*\(3, 1, 28, 28\)"):
        load_samples("folder", root=grey_folder(tmp_path))


def test_a_path_outside_the_base_is_refused(tmp_path: Path) -> None:
    base, outside = tmp_path / "base", tmp_path / "outside"
    grey_folder(base / "inside")
    grey_folder(outside)
    assert len(load_samples("folder", root=base / "inside", base=base)) == 3
    (base / "link").symlink_to(outside)
    for root in (outside, base / ".." / "outside", base / "link"):
        with pytest.raises(ValueError, match=r"expected a folder inside .*base, got .*outside"):
            load_samples("folder", root=root, base=base)
    (base / "inside" / "z.png").symlink_to(outside / "0.png")
    data = load_samples("folder", root=base / "inside", base=base)
    assert data.skipped == (f"z.png: a link out of {base.resolve()}",)
    assert len(load_samples("folder", root=base / "inside")) == 4
