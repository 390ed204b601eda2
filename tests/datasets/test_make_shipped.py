"""What ships is what lay in the folder, in the order in which the folder's loader reads it."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustcore import load_samples
from clustcore.cli import commands
from clustcore.datasets import make_shipped, shipped
from tests.support.data_files import cifar_root, mnist_root, pixels, save


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The colour folder made from 20 images, in place of the one that ships."""
    root = cifar_root(tmp_path / "copy", ".jpg")
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")
    make_shipped.make(root, tmp_path / "assets", lambda _: None)
    yield root
    shipped.forget()


def repack(change: object) -> None:
    """Write the archive again with its members (name, data) changed."""
    path = shipped.ASSETS / "cifar10-jpeg" / shipped.ARCHIVE
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w:xz") as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shipped.forget()


def test_shipped_colour_images_are_the_folders_in_its_order(made: Path) -> None:
    from_archive, from_files = (load_samples("cifar10-jpeg", root=root) for root in (None, made))
    assert from_archive.x.shape == (20, 3, 32, 32)
    np.testing.assert_array_equal(from_archive.x, from_files.x)
    np.testing.assert_array_equal(from_archive.y, from_files.y)
    assert from_archive.class_names == from_files.class_names
    shipped.verify("cifar10-jpeg")
    with tarfile.open(shipped.ASSETS / "cifar10-jpeg" / shipped.ARCHIVE) as tar:
        for member in tar:  # the very bytes
            assert tar.extractfile(member).read() == (made / "test" / member.name).read_bytes()


def test_the_same_folder_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make_shipped.make(made, tmp_path / "again", lambda _: None)
    for file in (shipped.ASSETS / "cifar10-jpeg").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / "cifar10-jpeg" / file.name).read_bytes()


def test_a_colour_sheet_is_made_of_its_images(made: Path) -> None:
    with Image.open(io.BytesIO(shipped.sheet("cifar10-jpeg", 0))) as png:
        sheet = np.asarray(png)
    assert sheet.shape == (25 * 32, 40 * 32, 3)
    for i, image in enumerate(shipped.images("cifar10-jpeg")):
        np.testing.assert_array_equal(sheet[:32, i * 32 : i * 32 + 32], image)
    with pytest.raises(ValueError, match="cifar10-jpeg: sheet: expected 0 to 0, got 1"):
        shipped.sheet("cifar10-jpeg", 1)


def jpeg(*shape: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(0, *shape)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[:-1], "pixels, got 19$"),
        (lambda m: [*m, m[0]], "got 'airplane/0000.jpg' of .* bytes as number 20"),
        (lambda m: [("a", jpeg(16, 32, 3)), *m[1:]], "got 'a' of 32 x 16 pixels"),
        (lambda m: [("a", bytes(100_001)), *m[1:]], "got 'a' of 100001 bytes as number 0"),
        (lambda m: [("a", b"no image"), *m[1:]], "got cannot identify image file"),
    ],
)
def test_a_damaged_archive_is_refused(made: Path, change: object, message: str) -> None:
    repack(change)
    with pytest.raises(ValueError, match=f"tar.xz: expected 20 JPEG images of 32 x 32.*{message}"):
        shipped.images("cifar10-jpeg")


@pytest.mark.parametrize("keep", [0, 40, 500])
def test_a_truncated_archive_is_refused(made: Path, keep: int) -> None:
    path = shipped.ASSETS / "cifar10-jpeg" / shipped.ARCHIVE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"tar\.xz: expected 20 JPEG images of 32 x 32 pixels"):
        shipped.images("cifar10-jpeg")
    path.write_bytes(lzma.compress(b"no tar" * 1000))
    with pytest.raises(ValueError, match=r"tar\.xz: expected 20 JPEG images of 32 x 32 pixels"):
        shipped.images("cifar10-jpeg")


def test_a_lossless_or_mixed_folder_is_no_jpeg_copy(tmp_path: Path) -> None:
    root = cifar_root(tmp_path, ".jpg")
    save(root / "test" / "cat" / "x.png", pixels(0, 32, 32, 3))
    with pytest.raises(ValueError, match=r"test: expected a copy in \.jpg files alone"):
        make_shipped.make(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_root_does_not_hold_is_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "out")
    with pytest.raises(ValueError, match=r"one or more of MNIST/raw/, .*, test/, got none"):
        make_shipped.make(tmp_path)
    assert commands.main(["reproduce", "data", "--root", str(mnist_root(tmp_path))]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "mnist: 7 images"
    assert said[1].startswith("fashion-mnist: skipped, no ")
    assert said[2].startswith("cifar10-jpeg: skipped, no ")
    assert [place.name for place in (tmp_path / "out").iterdir()] == ["mnist"]
