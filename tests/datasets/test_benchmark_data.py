"""The colour benchmarks: read as they lie on disk, merged as the papers do, bad input named."""

from __future__ import annotations

import hashlib
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustcore import load_samples
from clustcore.datasets import cifar, decoded, imagenet, images, judged_split, stl
from tests.support.data_files import (
    any_root,
    batches_root,
    cifar_root,
    pixels,
    save,
    stl_root,
    wnid_root,
)

BENCHMARKS = ("cifar10", "cifar100-20", "stl10", "imagenet-10", "imagenet-dogs", "tiny-imagenet")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))


def counts(x: np.ndarray) -> np.ndarray:
    return np.round(x * 255).astype(np.uint8)


# What all have in common


@pytest.mark.parametrize("name", [*BENCHMARKS, "cifar10-jpeg"])
def test_all_is_train_then_test(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = any_root(name, tmp_path, monkeypatch)
    both, train = (load_samples(name, split, root=root) for split in ("all", "train"))
    parts = [train] if name in imagenet.CLASSES else [train, load_samples(name, root=root)]
    np.testing.assert_array_equal(both.x, np.concatenate([part.x for part in parts]))
    np.testing.assert_array_equal(both.y, np.concatenate([part.y for part in parts]))
    np.testing.assert_array_equal(both.ids, np.arange(len(both)))
    assert (both.name, both.split) == (name, "all")
    assert both.class_names == train.class_names


@pytest.mark.parametrize(
    ("name", "classes", "side"),
    [
        ("cifar10", 10, 32),
        ("cifar100-20", 20, 32),
        ("stl10", 10, 96),
        ("imagenet-10", 10, 96),
        ("imagenet-dogs", 15, 96),
        ("tiny-imagenet", 200, 64),
    ],
)
def test_classes_and_size_are_the_benchmarks(
    name: str, classes: int, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_samples(name, "train", root=any_root(name, tmp_path, monkeypatch))
    assert data.x.shape[1:] == (3, side, side)
    assert len(set(data.class_names)) == classes


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_a_run_is_judged_on_is_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = any_root(name, tmp_path, monkeypatch)
    split = judged_split(name, "all")
    assert split == ("all" if name in imagenet.CLASSES else "test")
    assert len(load_samples(name, split, root=root))


def test_two_benchmarks_lie_side_by_side_below_one_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("imagenet-10", "imagenet-dogs")
    for name in names:
        (tmp_path / "made" / name).mkdir(parents=True)
        any_root(name, tmp_path / "made" / name, monkeypatch).rename(tmp_path / name)
    for name in names:
        data = load_samples(name, "train", root=tmp_path)
        assert set(data.class_names) == set(imagenet.CLASSES[name].values())
    monkeypatch.setenv("DRIFTMAP_DATA", str(tmp_path))
    assert len(load_samples("imagenet-10", "all"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_nothing_is_downloaded_unasked(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no-data.*expected .*got no such folder"):
        load_samples(name, "train")
    assert not (tmp_path / "no-data").exists()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_wrong_root_says_what_was_expected_and_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(ValueError, match=r"expected .*got") as error:
        load_samples(name, "train", root=tmp_path)
    assert "as root" in str(error.value) or "holiday" in str(error.value)


@pytest.mark.parametrize(("name", "kind"), [("cifar100-20", "CIFAR100"), ("stl10", "STL10")])
def test_a_download_is_left_to_torchvision(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    asked = []

    def fetch(self: object) -> None:
        if not asked:
            asked.append(self.root)
            any_download(Path(self.root))

    def any_download(root: Path) -> Path:
        if kind == "STL10":
            return stl_root(root, monkeypatch)
        return batches_root(root, monkeypatch, kind)

    monkeypatch.setattr(getattr(torchvision.datasets, kind), "download", fetch)
    assert len(load_samples(name, "train", download=True)) == (5 if kind == "STL10" else 4)
    assert len(load_samples(name, "test", download=True)) == (3 if kind == "STL10" else 4)
    assert len(asked) == 1

    def fail(self: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(getattr(torchvision.datasets, kind), "download", fail)
    monkeypatch.setenv("DRIFTMAP_DATA", str(Path(asked[0]) / "elsewhere"))
    with pytest.raises(OSError, match=r"could not download .* to .*elsewhere: no network"):
        load_samples(name, "train", download=True)


# CIFAR-100 under its 20 super-classes

# the coarse label of each fine one, as they go together in the published archive
PUBLISHED = (
    "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 "
    "11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 "
    "16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)


def test_the_super_classes_are_the_published_ones() -> None:
    assert {len(members) for members in cifar.SUPER_CLASSES.values()} == {5}
    assert len(set(cifar.FINE_CLASSES)) == 100
    assert cifar.COARSE.tolist() == [int(number) for number in PUBLISHED.split()]


def test_cifar100_folders_give_super_classes(tmp_path: Path) -> None:
    root = cifar_root(tmp_path, classes=cifar.FINE_CLASSES)
    data = load_samples("cifar100-20", root=root)
    assert np.bincount(data.y).tolist() == [10] * 20
    for fine, name in [(0, "fruit and vegetables"), (1, "fish"), (99, "non-insect invertebrates")]:
        assert data.class_names[data.y[2 * fine]] == name  # apple, aquarium_fish, worm
        np.testing.assert_array_equal(
            counts(data.x[2 * fine]), pixels(2 * fine, 32, 32, 3).transpose(2, 0, 1)
        )


def test_cifar100_batches_and_archive_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100

    root = batches_root(tmp_path / "batches", monkeypatch, "CIFAR100")
    archive = tmp_path / "archive" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "cifar-100-python", "cifar-100-python")
    with pytest.raises(ValueError, match=r"cifar-100-python\.tar\.gz: expected MD5 eb9058c3"):
        load_samples("cifar100-20", "train", root=archive.parent)
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    train = load_samples("cifar100-20", "train", root=root)
    assert train.y.tolist() == [13, 1, 4, 16]  # worm, aquarium_fish, apple, mouse
    np.testing.assert_array_equal(counts(train.x.reshape(4, -1)), pixels(0, 4, 3072))
    packed = load_samples("cifar100-20", "train", root=archive.parent)
    np.testing.assert_array_equal(packed.x, train.x)


def test_cifar100_that_is_damaged_or_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"sub-folders apple, .*, got no apple, no aquarium_fish"):
        load_samples("cifar100-20", root=cifar_root(tmp_path / "ten"))
    root = cifar_root(tmp_path / "lossy", ".jpg", cifar.FINE_CLASSES)
    with pytest.raises(ValueError, match=r"expected CIFAR-100 in \.png files, got a lossy copy"):
        load_samples("cifar100-20", root=root)
    root = batches_root(tmp_path / "batches", monkeypatch, "CIFAR100")
    (root / "cifar-100-python" / "train").write_bytes(pickle.dumps(Path))
    with pytest.raises(ValueError, match="cifar-100-python: expected files of known MD5"):
        load_samples("cifar100-20", "train", root=root)


def test_a_label_out_of_range_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR100

    root = batches_root(tmp_path, monkeypatch, "CIFAR100")
    path = root / "cifar-100-python" / "test"
    path.write_bytes(pickle.dumps({"data": pixels(0, 2, 3072), "fine_labels": [0, -1]}))
    known = [["test", hashlib.md5(path.read_bytes()).hexdigest()]]
    monkeypatch.setattr(CIFAR100, "test_list", known)
    with pytest.raises(ValueError, match="labels: expected 0 to 99, got -1 to 0"):
        load_samples("cifar100-20", root=root)


# STL-10


def test_stl10_is_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    root = stl_root(tmp_path, monkeypatch)
    for split, n in (("train", 5), ("test", 3)):
        data = load_samples("stl10", split, root=root)
        oracle = STL10(str(root), split=split)
        np.testing.assert_array_equal(counts(data.x), oracle.data)
        np.testing.assert_array_equal(data.y, oracle.labels)
        assert len(data) == n
    assert data.y.tolist() == [6, 0, 9]
    assert data.class_names[6] == "horse"


def test_stl10_never_reads_what_has_no_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = stl_root(tmp_path, monkeypatch)
    os.mkfifo(root / stl.FOLDER / "unlabeled_X.bin")  # whoever opens it waits for ever
    assert len(load_samples("stl10", "all", root=root)) == 8


def test_damaged_stl10_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = stl_root(tmp_path, monkeypatch)
    path = root / stl.FOLDER / "train_X.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        ValueError, match=r"train_X\.bin: expected 27648 bytes .* 138240, got 138239"
    ):
        load_samples("stl10", "train", root=root)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"train_X\.bin: expected MD5 .*, got .*: damaged"):
        load_samples("stl10", "train", root=root)
    path.unlink()
    with pytest.raises(ValueError, match=r"train_X\.bin: expected this file .* got \['stl10_bin"):
        load_samples("stl10", "train", root=root)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "stl10_binary.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unpack stl10_binary\.tar\.gz there"):
        load_samples("stl10", root=tmp_path / "packed")


@pytest.mark.parametrize("bad", [0, 11])
def test_a_label_of_stl10_out_of_range(
    bad: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = stl_root(tmp_path, monkeypatch, {"test": [5, bad]})
    with pytest.raises(ValueError, match=r"test_y\.bin: expected labels 1 to 10, got \d+ to \d+"):
        load_samples("stl10", root=root)


# Parts of ImageNet


def test_the_classes_of_imagenets_parts() -> None:
    for classes in imagenet.CLASSES.values():
        assert list(classes) == sorted(classes)
        assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in classes)
    shared = imagenet.CLASSES["imagenet-10"].keys() & imagenet.CLASSES["imagenet-dogs"].keys()
    assert shared == {"n02085936"}  # the one dog of the ten


@pytest.mark.parametrize("below", [".", "train"])
def test_imagenet_folders_give_central_squares(tmp_path: Path, below: str) -> None:
    wnids = [*imagenet.CLASSES["imagenet-10"], "n01440764"]  # a tench, of no interest
    wnid_root(tmp_path / below, wnids, (96, 128))
    data = load_samples("imagenet-10", "train", root=tmp_path)
    assert data.y.tolist() == [label for label in range(10) for _ in range(2)]
    assert data.class_names[data.y[4]] == "snow leopard"
    with Image.open(tmp_path / below / wnids[2] / f"{wnids[2]}_0.JPEG") as image:
        square = np.asarray(image)[:, 16:112].transpose(2, 0, 1)
    np.testing.assert_array_equal(counts(data.x[4]), square)
    (cached,) = decoded.cache_folder().iterdir()
    assert cached.name.startswith("imagenet-10-")


def test_one_folder_serves_both_parts(tmp_path: Path) -> None:
    wnid_root(tmp_path, {**imagenet.CLASSES["imagenet-10"], **imagenet.CLASSES["imagenet-dogs"]})
    ten, dogs = (load_samples(name, "all", root=tmp_path) for name in imagenet.CLASSES)
    assert (len(ten), len(dogs)) == (20, 30)
    np.testing.assert_array_equal(ten.x[2:4], dogs.x[:2])  # the Maltese
    assert len(list(decoded.cache_folder().iterdir())) == 2


def test_imagenets_parts_have_no_test_split(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected split train or all, .* no test split; got 'test'"
    ):
        load_samples("imagenet-dogs", "test", root=tmp_path)


def test_missing_classes_and_broken_images_are_named(tmp_path: Path) -> None:
    dogs = [*imagenet.CLASSES["imagenet-dogs"]]
    wnid_root(tmp_path, dogs[2:])
    (tmp_path / dogs[0]).mkdir()  # empty
    with pytest.raises(ValueError, match=f"got no images in {dogs[0]}, {dogs[1]}; there are"):
        load_samples("imagenet-dogs", "train", root=tmp_path)
    with pytest.raises(ValueError, match=r"10 folders such as n02056570/ .* and 5 more; there are"):
        load_samples("imagenet-10", "train", root=tmp_path)
    wnid_root(tmp_path, dogs[:2])
    path = tmp_path / dogs[3] / f"{dogs[3]}_1.JPEG"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(
        ValueError, match=rf"{path.name}: expected an image of imagenet-dogs, got dam"
    ):
        load_samples("imagenet-dogs", "train", root=tmp_path)
    assert not decoded.cache_folder().exists()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return any_root("tiny-imagenet", tmp_path / imagenet.TINY, monkeypatch)


def test_tiny_imagenet_reads_val_as_its_annotations_say(tiny: Path) -> None:
    data = load_samples("tiny-imagenet", root=tiny)
    assert data.y.tolist() == [199 - 7 * i for i in range(12)]  # file order is that of the lines
    for i in (0, 3, 11):
        image = images.read_image(tiny / "val" / "images" / f"val_{i}.JPEG", 64, 3)
        np.testing.assert_array_equal(counts(data.x[i]), image)
    np.testing.assert_array_equal(data.x[3, 0], data.x[3, 2])  # a grey one
    assert data.class_names[:2] == ("goldfish", "n00000001")
    train = load_samples("tiny-imagenet", "train", root=tiny.parent)  # or the folder above
    assert train.y.tolist() == list(range(200))
    (tiny / "words.txt").unlink()
    (tiny / "wnids.txt").unlink()
    again = load_samples("tiny-imagenet", root=tiny)
    assert again.class_names[0] == "n00000000"
    np.testing.assert_array_equal(again.y, data.y)


def test_damaged_tiny_imagenet(tiny: Path) -> None:
    def load(split: str = "test") -> None:
        load_samples("tiny-imagenet", split, root=tiny)

    lines = (path := tiny / "val" / "val_annotations.txt").read_text()
    path.write_text(lines + "val_12.JPEG\tn00000000\t0\t0\t1\t1\n")
    with pytest.raises(
        ValueError, match=r"line 13: expected a file in .*images, got 'val_12\.JPEG'"
    ):
        load()
    path.write_text(lines + "val_1.JPEG\tn00000200\n")
    with pytest.raises(ValueError, match="line 13: expected a class of train/, got 'n00000200'"):
        load()
    path.write_text("val_1.JPEG\n")
    with pytest.raises(ValueError, match="line 1: expected a class of train/, got ''"):
        load()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"annotations\.txt: expected a line of text .* got none"):
        load()
    path.unlink()
    with pytest.raises(ValueError, match=r"annotations\.txt: expected a line of text .* got none"):
        load()
    (tiny / "train" / "n00000007" / "images" / "n00000007_0.JPEG").unlink()
    with pytest.raises(ValueError, match=r"got no images in train/n00000007/images; there are"):
        load("train")
    (tiny / "wnids.txt").write_text("n00000001\n")
    with pytest.raises(ValueError, match=r"expected 200 classes .* got 1; name the folder tiny-im"):
        load("train")


def test_images_are_decoded_once_and_again_after_a_change(tmp_path: Path) -> None:
    wnid_root(tmp_path, imagenet.CLASSES["imagenet-10"])
    first = load_samples("imagenet-10", "train", root=tmp_path)
    (cached,) = decoded.cache_folder().iterdir()
    np.save(cached, np.zeros((20, 3, 96, 96), np.uint8))
    assert load_samples("imagenet-10", "train", root=tmp_path).x.max() == 0  # from the cache
    cached.write_bytes(cached.read_bytes()[:5000])  # cut off: decoded again
    np.testing.assert_array_equal(load_samples("imagenet-10", "train", root=tmp_path).x, first.x)
    save(tmp_path / "n07747607" / "n07747607_1.JPEG", pixels(0, 50, 50, 3))  # changed: too
    assert not np.array_equal(load_samples("imagenet-10", "train", root=tmp_path).x, first.x)
