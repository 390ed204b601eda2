"""A zip of images from a stranger becomes a new folder, whole or not at all.

Names, kinds and sizes are checked before anything is written, and sizes again while writing: what
an archive says of itself is not believed. Only image files are written; the rest is left out.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from io import IOBase
from pathlib import Path, PurePosixPath

from clustcore.config import digest
from clustcore.datasets.folder import SUFFIXES

MAX_RATIO = 200  # bytes written for each byte of the archive's entries; photographs have about 1
MAX_DEPTH = 3  # folders around an image: one that wraps all, train or test, the class
_MAX_NAME = 255  # bytes of a file's or folder's name, as file systems have it
_CHUNK = 1 << 20
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


@dataclass(frozen=True)
class Contents:
    """What an archive holds, by its own table."""

    images: int
    skipped: int  # files that are no images, or hidden
    bytes: int  # of the images, unpacked


def inspect(
    file: IOBase | Path, *, max_bytes: int = 500_000_000, max_files: int = 100_000
) -> Contents:
    """What `unpack` would write of an archive, from its table alone.

    Raises:
        ValueError: as `unpack`, but for what shows only when the images are read.
    """
    with _open(file) as archive:
        plan, skipped = _plan(archive, _name(file), max_bytes, max_files)
    return Contents(len(plan), skipped, sum(entry.file_size for entry, _ in plan))


def unpack(
    file: IOBase | Path,
    into: Path,
    *,
    max_bytes: int = 500_000_000,
    max_files: int = 100_000,
) -> Path:
    """Write the images of a zip archive into a new folder below `into`, and return that folder.

    It is named after the archive. Folders that wrap everything are left away, so that what lies in
    it is images, classes, or `train` and `test`: see `clustcore.datasets.folder`.

    Args:
        max_bytes: Of all images together, unpacked.
        max_files: In the archive, images or not.

    Raises:
        ValueError: no zip archive, or a damaged one; a path that leads outside, a link, an
            encrypted entry, a packing other than deflate, images nested deeper than `MAX_DEPTH`
            folders or twice of one name; too many files or bytes, or packed too tightly; no images.
            Nothing is left behind then.
        OSError: the archive cannot be read, or the folder not written.
    """
    name = _name(file)
    into.mkdir(parents=True, exist_ok=True)
    with _open(file) as archive:
        plan, _ = _plan(archive, name, max_bytes, max_files)
        part = Path(tempfile.mkdtemp(dir=into, prefix=".unpacking-"))
        try:
            left = max_bytes
            for entry, path in plan:
                left -= _write(archive, name, entry, part / path, left)
            place = _new(into, name, digest([(str(path), entry.CRC) for entry, path in plan]))
            os.rename(part, place)
        except BaseException:  # also when the user stops it
            shutil.rmtree(part, ignore_errors=True)
            raise
    return place


def _open(file: IOBase | Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise ValueError(f"{_name(file)}: expected a zip archive, got {error}") from None


def _name(file: IOBase | Path) -> str:
    return Path(str(file if isinstance(file, Path) else getattr(file, "name", "archive.zip"))).name


def _plan(
    archive: zipfile.ZipFile, name: str, max_bytes: int, max_files: int
) -> tuple[list[tuple[zipfile.ZipInfo, PurePosixPath]], int]:
    """The entries to write, each with its path below the new folder, and how many are skipped."""
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    if len(entries) > max_files:
        raise ValueError(f"{name}: expected at most {max_files} files, got {len(entries)}")
    kept = [(entry, path) for entry in entries if _is_image(path := _path(entry, name))]
    if not kept:
        raise ValueError(
            f"{name}: expected images ({', '.join(SUFFIXES)}), got none among {len(entries)} files"
        )
    seen: set[PurePosixPath] = set()
    for entry, path in kept:
        _check(entry, path, name)
        if path in seen:
            raise ValueError(f"{name}: {str(path)!r}: expected one file of this name, got two")
        seen.add(path)
    for path in seen:
        if clash := seen.intersection(path.parents):
            raise ValueError(f"{name}: {str(clash.pop())!r}: expected a file or a folder, got both")
    total, packed = (sum(getattr(e, f) for e, _ in kept) for f in ("file_size", "compress_size"))
    if total > max_bytes:
        raise ValueError(f"{name}: expected at most {max_bytes} bytes unpacked, got {total}")
    if total > MAX_RATIO * packed:
        raise ValueError(
            f"{name}: expected at most {MAX_RATIO} bytes from each packed one, "
            f"got {total} from {packed}"
        )
    wrap = posixpath.commonpath([path.parent for _, path in kept])
    return [(entry, path.relative_to(wrap)) for entry, path in kept], len(entries) - len(kept)


def _path(entry: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """The path of an entry, once it is known to stay inside and to be a plain file."""
    text = entry.orig_filename  # as written: zipfile cuts its own copy at a zero byte
    path, where = PurePosixPath(text), f"{name}: {text[:80]!r}"
    bad = path.is_absolute() or ".." in path.parts or "\\" in text or re.match("[A-Za-z]:", text)
    if bad or not path.parts:
        raise ValueError(f"{where}: expected a path inside the archive, got one that leads outside")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f"{where}: expected a plain file, got a link or a special file")
    if entry.flag_bits & 0x1:
        raise ValueError(f"{where}: expected a file without a password, got an encrypted one")
    return path


def _is_image(path: PurePosixPath) -> bool:
    hidden = any(part[0] == "." or part == "__MACOSX" for part in path.parts)
    return path.name.lower().endswith(SUFFIXES) and not hidden


def _check(entry: zipfile.ZipInfo, path: PurePosixPath, name: str) -> None:
    """What is asked of an image alone, since other files are never opened."""
    where = f"{name}: {str(path)[:80]!r}"
    if len(path.parts) - 1 > MAX_DEPTH:
        got = len(path.parts) - 1
        raise ValueError(f"{where}: expected at most {MAX_DEPTH} folders around it, got {got}")
    if re.search(r"[\x00-\x1f\x7f]", str(path)):
        raise ValueError(f"{where}: expected a name in plain characters, got a control character")
    if (longest := max(len(os.fsencode(part)) for part in path.parts)) > _MAX_NAME:
        raise ValueError(f"{where}: expected names of at most {_MAX_NAME} bytes, got {longest}")
    if entry.compress_type not in _METHODS:  # of others zipfile unpacks without bound
        known, got = " or ".join(_METHODS.values()), entry.compress_type
        raise ValueError(f"{where}: expected it {known}, got packing method {got}")


def _write(
    archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, path: Path, left: int
) -> int:
    """Write one entry, at most `left` bytes and no more than it declares; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, limit = 0, min(left, entry.file_size)
    try:
        with archive.open(entry) as source, path.open("xb") as target:
            while chunk := source.read(_CHUNK):
                count += len(chunk)
                if count > limit:
                    raise ValueError(f"more than the {limit} bytes it may have")
                target.write(chunk)
        if count < entry.file_size:
            raise ValueError(f"{count} bytes")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{name}: {entry.filename[:80]!r}: expected {entry.file_size} whole bytes, got {error}"
        ) from None
    return count


def _new(into: Path, name: str, key: str) -> Path:
    """A path that is free, named after the archive as far as a plain name can be made of it."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-_")[:40] or f"images-{key[:8]}"
    place, number = into / stem, 2
    while place.exists():
        place, number = into / f"{stem}-{number}", number + 1
    return place
