"""A zip becomes a folder of images, whole or not at all, whatever it says of itself."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustcore import load_samples
from clustcore.datasets import archive
from clustcore.datasets.archive import inspect, unpack
from tests.support.data_files import pixels, save


def png(tmp_path: Path, seed: int = 0) -> bytes:
    return save(tmp_path / "one.png", pixels(seed, 28, 28)).read_bytes()


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(file: io.BytesIO | Path, tmp_path: Path, message: str, **options: int) -> None:
    """It is refused with this message, and nothing is left or written beside it."""
    into = tmp_path / "into"
    with pytest.raises(ValueError, match=message):
        unpack(file, into, **options)
    assert not into.exists() or list(into.iterdir()) == []
    assert not {"evil.png", "evil"} & {path.name for path in tmp_path.rglob("*")}


# What comes out


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_classes_come_out_as_a_folder_that_loads(tmp_path: Path, method: int) -> None:
    images = {f"{'ab'[i % 2]}/{i}.png": png(tmp_path, i) for i in range(6)}
    path = tmp_path / "My pets!.zip"
    path.write_bytes(packed(images, method).getvalue())
    place = unpack(path, tmp_path / "into")
    assert place == tmp_path / "into" / "My-pets"
    assert [p.name for p in place.parent.iterdir()] == ["My-pets"]
    for name, data in images.items():
        assert (place / name).read_bytes() == data
    data = load_samples("folder", root=place)
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(np.round(data.x[1, 0] * 255), pixels(2, 28, 28))


@pytest.mark.parametrize("wrap", ["", "set/", "a/b/"])
def test_folders_that_wrap_everything_are_left_away(tmp_path: Path, wrap: str) -> None:
    members = {f"{wrap}{name}": b"x" for name in ("a/1.png", "b/2.jpg")}
    place = unpack(packed({**members, "README.txt": b"hello"}), tmp_path)
    assert names(place) == ["a/1.png", "b/2.jpg"]


def test_train_and_test_stay(tmp_path: Path) -> None:
    members = {f"pets/{split}/{c}/1.png": b"x" for split in ("train", "test") for c in "ab"}
    assert names(unpack(packed(members), tmp_path)) == sorted(name[5:] for name in members)


def test_a_single_class_becomes_images_without_labels(tmp_path: Path) -> None:
    assert names(unpack(packed({"cats/1.png": b"x", "cats/2.png": b"y"}), tmp_path)) == [
        "1.png",
        "2.png",
    ]


def test_only_images_are_written_and_the_rest_is_counted(tmp_path: Path) -> None:
    members = {
        "a/1.PNG": b"123",
        "a/run.py": b"import os",
        "a/page.svg": b"<svg>",
        "a/.hidden.png": b"x",
        "__MACOSX/deep/er/than/any/._1.png": b"x",
        ".git/b.png": b"x",
        "b/2.jpeg": b"4567",
        "b/": b"",
    }
    file = packed(members)
    assert inspect(file) == archive.Contents(images=2, skipped=5, bytes=7)
    assert names(unpack(file, tmp_path)) == ["a/1.PNG", "b/2.jpeg"]


def test_a_second_upload_of_a_name_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    file = packed({"1.png": b"x"})
    file.name = "../../pets.zip"  # as a browser may say
    places = [unpack(file, tmp_path) for _ in range(3)]
    assert [place.name for place in places] == ["pets", "pets-2", "pets-3"]
    assert {place.parent for place in places} == {tmp_path}
    file.name = "写真.zip"
    assert unpack(file, tmp_path).name.startswith("images-")


# What is refused


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/evil.png", "..\\evil.png", "C:evil.png", "c:/evil.png"],
)
def test_paths_that_lead_outside(tmp_path: Path, name: str) -> None:
    refused(packed({"a/1.png": b"x", name: b"x"}), tmp_path, "got one that leads outside")
    if "\\" not in name:  # images or not
        refused(packed({"1.png": b"x", name[:-4]: b"x"}), tmp_path, "leads outside")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_links_and_special_files(tmp_path: Path, kind: int) -> None:
    out = packed({"1.png": b"x"})
    with zipfile.ZipFile(out, "a") as made:
        entry = zipfile.ZipInfo("evil.png")
        entry.external_attr = (kind | 0o777) << 16
        made.writestr(entry, "/etc/passwd")
    refused(out, tmp_path, r"'evil\.png': expected a plain file, got a link or a special file")


def patched(file: io.BytesIO, at: int, form: str, value: int) -> io.BytesIO:
    """The field of every entry in the table, and in the local headers, set to a value."""
    data = bytearray(file.getvalue())
    for magic, shift in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):
        start = -1
        while (start := data.find(magic, start + 1)) >= 0:
            struct.pack_into(form, data, start + at + shift, value)
    return io.BytesIO(bytes(data))


def test_an_encrypted_entry(tmp_path: Path) -> None:
    file = patched(packed({"1.png": b"x"}), 8, "<H", 1)
    refused(file, tmp_path, r"'1\.png': expected a file without a password, got an encrypted one")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_methods_without_a_bound(tmp_path: Path, method: int) -> None:
    file = packed({"1.png": b"x" * 100}, method)
    refused(file, tmp_path, f"expected it stored or deflated, got packing method {method}")


def test_sizes_that_are_declared(tmp_path: Path) -> None:
    file = packed({f"{i}.png": bytes(1000) for i in range(3)}, zipfile.ZIP_STORED)
    refused(file, tmp_path, "expected at most 2999 bytes unpacked, got 3000", max_bytes=2999)
    refused(file, tmp_path, "expected at most 2 files, got 3", max_files=2)
    assert names(unpack(file, tmp_path, max_bytes=3000, max_files=3))


def test_a_bomb_of_zeros(tmp_path: Path) -> None:
    file = packed({"1.png": bytes(10_000_000)})
    refused(
        file, tmp_path, r"expected at most 200 bytes from each packed one, got 10000000 from \d+"
    )


def test_an_entry_that_holds_more_than_it_declares(tmp_path: Path) -> None:
    file = patched(packed({"a/0.png": b"ok", "a/1.png": bytes(500_000)}), 24, "<I", 100)
    refused(file, tmp_path, r"0\.png': expected 100 whole bytes, got")
    lying = patched(packed({"1.png": bytes(500_000)}), 24, "<I", 100)
    refused(lying, tmp_path, r"1\.png': expected 100 whole bytes, got Bad CRC-32")


def test_bytes_are_counted_while_they_are_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(packed({"1.png": bytes(500)})) as made:
        (entry,) = made.infolist()
        with pytest.raises(ValueError, match="got more than the 499 bytes it may have"):
            archive._write(made, "a.zip", entry, tmp_path / "1.png", 499)
        assert archive._write(made, "a.zip", entry, tmp_path / "2.png", 500) == 500


def test_depth_names_and_clashes(tmp_path: Path) -> None:
    assert names(unpack(packed({"a/b/c/1.png": b"x"}), tmp_path / "fine")) == ["1.png"]
    refused(packed({"a/b/c/d/1.png": b"x"}), tmp_path, "at most 3 folders around it, got 4")
    refused(packed({"a" * 252 + ".png": b"x"}), tmp_path, "names of at most 255 bytes, got 256")
    refused(packed({"a\x1b[2J.png": b"x"}), tmp_path, "plain characters, got a control character")
    refused(packed({"a.png": b"x", "./a.png": b"y"}), tmp_path, "one file of this name, got two")
    clash = packed({"a.png": b"x", "a.png/b.png": b"y"})
    refused(clash, tmp_path, r"'a\.png': expected a file or a folder, got both")


def test_no_archive_no_images(tmp_path: Path) -> None:
    refused(io.BytesIO(b""), tmp_path, r"archive\.zip: expected a zip archive, got File is not a")
    refused(io.BytesIO(b"\x89PNG" * 99), tmp_path, "expected a zip archive, got File is not a zip")
    refused(packed({}), tmp_path, r"expected images \(\.png, .*\), got none among 0 files")
    refused(packed({"notes.txt": b"x"}), tmp_path, "got none among 1 files")


def test_a_truncated_archive(tmp_path: Path) -> None:
    whole = packed({f"{i}.png": png(tmp_path, i) for i in range(3)}).getvalue()
    for keep in (len(whole) - 1, len(whole) // 2, 30):
        refused(io.BytesIO(whole[:keep]), tmp_path, "expected a zip archive, got")
    cut = whole[:100] + whole[200:]  # the table is there, the images are not
    refused(io.BytesIO(cut), tmp_path, r"expected")


@given(data=st.data())
def test_a_damaged_archive_is_refused_or_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    members = {"a/1.png": b"one" * 50, "b/2.png": b"two" * 50, "x.txt": b"x"}
    damaged = bytearray(packed(members).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    into = tmp_path_factory.mktemp("into")
    try:
        place = unpack(io.BytesIO(bytes(damaged)), into)
    except ValueError:
        assert list(into.iterdir()) == []
    else:
        assert place.parent == into
        assert {path.read_bytes() for path in place.rglob("*.*")} <= set(members.values())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(packed({"1.png": b"x"}), tmp_path)
    assert list(tmp_path.iterdir()) == []
