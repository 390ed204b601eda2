"""The arrays of a run as files: its map, its paths, its smallest flips.

They are checked when they are read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustcore.files import PART, Arrays, load_npz, save_npz
from clustcore.types import (
    AttackPath,
    BarePath,
    MapArrays,
    MinFlips,
    PathKey,
    Raster,
    as_norm,
    as_space,
)


def write_map(folder: Path, arrays: MapArrays) -> None:
    """Write `map.npz`, whole or not at all.

    Examples:
        >>> import tempfile
        >>> from clustcore import runs
        >>> arrays = read_map(runs.find_run("drc-mnist").folder)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_map(Path(place), arrays)
        ...     bool((read_map(Path(place)).xy == arrays.xy).all())
        True
    """
    raster = arrays.raster
    values = {
        f.name: getattr(arrays, f.name) for f in dataclasses.fields(arrays) if f.name != "raster"
    }
    values |= {
        "raster_bounds": np.asarray(raster.bounds, np.float32),
        "raster_winner": raster.winner,
        "raster_p": np.round(raster.p * 255).astype(np.uint8),
        "raster_margin": np.round(raster.margin * 255).astype(np.uint8),
        "raster_trusted": raster.trusted,
    }
    save_npz(folder / "map.npz", values)


def read_map(folder: Path) -> MapArrays | None:
    """The map of a run, or None where none has been computed yet.

    Raises:
        ValueError: the file is damaged, or its arrays do not fit together.

    Examples:
        >>> from clustcore import runs
        >>> arrays = read_map(runs.find_run("drc-mnist").folder)
        >>> arrays.xy.shape, arrays.data, arrays.split
        ((10000, 2), 'mnist', 'test')
    """
    path = folder / "map.npz"
    if not path.is_file():
        return None
    npz = load_npz(path)
    n = len(npz["xy"])
    for name, ndim in (("xy", 2), ("z", 2), ("p", 2), ("labels", 1), ("trust", 1)):
        array = npz[name]
        if array.ndim != ndim or len(array) != n or (name == "xy" and array.shape[1] != 2):
            raise ValueError(
                f"{path}: array {name!r}: expected {n} rows, {ndim} axes, got shape {array.shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{path}: array {name!r}: expected finite numbers, got NaN or infinity"
            )
    bounds = npz["raster_bounds"]
    if bounds.shape != (4,):
        raise ValueError(f"{path}: array 'raster_bounds': expected shape (4,), got {bounds.shape}")
    x0, y0, x1, y1 = bounds.tolist()
    raster = Raster(
        bounds=(x0, y0, x1, y1),
        winner=npz["raster_winner"],
        p=npz["raster_p"].astype(np.float32) / 255,
        margin=npz["raster_margin"].astype(np.float32) / 255,
        trusted=npz["raster_trusted"],
    )
    return MapArrays(
        xy=npz["xy"],
        z=npz["z"],
        p=npz["p"],
        labels=npz["labels"],
        trust=npz["trust"],
        trustworthiness=float(npz["trustworthiness"]),
        held_out=float(npz["held_out"]),
        error=float(npz["error"]),
        raster=raster,
        data=str(npz["data"]),
        split=str(npz["split"]),
        seed=int(npz["seed"]),
        weights=str(npz["weights"]),
        among=int(npz.get("among", 0)),
    )


def path_name(key: PathKey) -> str:
    """The file name of a run's own path, without its folder; a run has one of each, of any seed.

    Examples:
        >>> path_name(PathKey("pgd", "pixels", "linf"))
        'pgd-pixels-linf.npz'
        >>> path_name(PathKey("pgd", "embedding", "l2", target=3))
        'pgd-embedding-l2-to3.npz'
    """
    into = "" if key.target is None else f"-to{key.target}"
    return f"{key.attack}-{key.space}-{key.norm}{into}.npz"


def write_path(file: Path, path: AttackPath) -> None:
    """Write a path, whole or not at all.

    Soft assignments are kept to 1/255, which is finer than a bar shows.

    Examples:
        >>> import tempfile
        >>> from clustcore import runs
        >>> path = runs.stored_path(runs.find_run("drc-mnist"), PathKey("pgd", "pixels", "l2"))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_path(Path(place) / path_name(path.key), path)
        ...     read_path(Path(place) / "pgd-pixels-l2.npz").key == path.key
        True
    """
    save_npz(file, _stored(path))


def _stored(path: AttackPath | BarePath) -> dict[str, Any]:
    # as a file holds it: the key in its parts, the target last, as in the files that ship
    values: dict[str, Any] = {}
    for field in dataclasses.fields(path):
        value = getattr(path, field.name)
        values |= _key_values(value) if field.name == "key" else {field.name: value}
    values["p"] = np.round(path.p * 255).astype(np.uint8)
    values["l2"], values["linf"] = path.l2.astype(np.float16), path.linf.astype(np.float16)
    values["target"] = values.pop("target")
    return values


def _key_values(key: PathKey) -> dict[str, Any]:
    return dataclasses.asdict(key) | {"target": -1 if key.target is None else key.target}


def _read_key(file: Path, npz: Arrays) -> PathKey:
    target, seed = int(npz["target"]), int(npz["seed"])
    try:
        space, norm = as_space(str(npz["space"])), as_norm(str(npz["norm"]))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return PathKey(str(npz["attack"]), space, norm, None if target < 0 else target, seed)


def read_path(file: Path) -> AttackPath | None:
    """A stored path, or None where it has not been computed yet.

    Raises:
        ValueError: the file is damaged, or its arrays do not fit together.

    Examples:
        >>> from clustcore import runs
        >>> paths = runs.find_run("drc-mnist").folder / "paths"
        >>> path = read_path(paths / "pgd-pixels-linf.npz")
        >>> path.labels.shape, path.norm
        ((11, 2000), 'linf')
        >>> read_path(paths / "no-such-path.npz") is None
        True
    """
    if not file.is_file():
        return None
    npz = load_npz(file)
    steps, m = len(npz["strengths"]), len(npz["rows"])
    for name in ("xy", "p", "labels", "l2", "linf"):
        if npz[name].shape[:2] != (steps, m):
            raise ValueError(
                f"{file}: array {name!r}: expected shape ({steps}, {m}, ...), got {npz[name].shape}"
            )
    if npz["smallest"].shape != (m,) or npz["xy"].shape[2:] != (2,):
        raise ValueError(
            f"{file}: arrays 'smallest' and 'xy': expected shapes ({m},) and ({steps}, {m}, 2), "
            f"got {npz['smallest'].shape} and {npz['xy'].shape}"
        )
    return AttackPath(
        strengths=npz["strengths"],
        rows=npz["rows"],
        xy=npz["xy"],
        p=npz["p"].astype(np.float32) / 255,
        labels=npz["labels"],
        smallest=npz["smallest"],
        l2=npz["l2"].astype(np.float32),
        linf=npz["linf"].astype(np.float32),
        key=_read_key(file, npz),
        weights=str(npz["weights"]),
        ahead=bool(npz["ahead"]),
    )


_BEFORE_Z = ("labels", "p", "smallest", "l2", "linf")
_ROOM = 16_384  # bytes of a part that are no sample's: names, headers, which path it is of


def bare_name(key: PathKey, part: int) -> str:
    """The file name of a part of a bare path, counted from 0.

    Examples:
        >>> bare_name(PathKey("pgd", "pixels", "linf"), part=0)
        'pgd-pixels-linf.bare-0.npz'
    """
    return f"{path_name(key).removesuffix('.npz')}.bare-{part}.npz"


def write_bare(folder: Path, bare: BarePath, limit: int = PART) -> list[Path]:
    """Write a bare path in parts, each of some of its samples.

    The embeddings, which are large, come last. Parts that lay there are removed.

    Args:
        folder: where they go.
        bare: the path.
        limit: bytes of a part, at most.

    Returns:
        The files of the parts.

    Raises:
        ValueError: a single sample takes more than the limit.

    Examples:
        A path of three samples at two strengths:

        >>> import tempfile
        >>> one = np.ones((2, 3), np.float32)
        >>> bare = BarePath(
        ...     strengths=np.array([0.0, 0.1], np.float32),
        ...     rows=np.arange(3),
        ...     z=np.zeros((2, 3, 4), np.float16),
        ...     p=np.ones((2, 3, 1), np.float32),
        ...     labels=np.zeros((2, 3), np.uint8),
        ...     smallest=one[0],
        ...     l2=one,
        ...     linf=one,
        ...     key=PathKey("pgd", "pixels", "linf"),
        ... )
        >>> with tempfile.TemporaryDirectory() as place:
        ...     [file.name for file in write_bare(Path(place), bare)]
        ...     read_bare(Path(place), bare.key, weights="").z.shape
        ['pgd-pixels-linf.bare-0.npz', 'pgd-pixels-linf.bare-1.npz']
        (2, 3, 4)
    """
    key = bare.key
    values = _stored(bare) | {"z": bare.z.astype(np.float16)}
    parts: list[dict[str, Any]] = []
    for names in (_BEFORE_Z, ("z",)):
        each = sum(values[name].nbytes for name in names) // len(bare.rows) + bare.rows.itemsize
        count = (limit - _ROOM) // each  # samples of a part; packed it is smaller
        if count < 1:
            raise ValueError(
                f"{folder / bare_name(key, len(parts))}: expected samples of at most "
                f"{limit - _ROOM:,} bytes, got {each:,}"
            )
        for start in range(0, len(bare.rows), count):
            some = slice(start, start + count)
            arrays = {name: _of_samples(values[name], some) for name in ("rows", *names)}
            parts.append({"part": len(parts), **arrays})
    for old in _bare_files(folder, key):
        old.unlink()
    shared = {name: values[name] for name in ("strengths", "weights", *dataclasses.asdict(key))}
    for part in parts:
        save_npz(folder / bare_name(key, part["part"]), shared | {"parts": len(parts)} | part)
    return _bare_files(folder, key)


def read_bare(folder: Path, key: PathKey, weights: str) -> BarePath | None:
    """The bare path of a model with these weights, or None where no part of it is there.

    Args:
        folder: where its parts lie.
        key: which path.
        weights: the sha256 of the weights it has to be of.

    Raises:
        ValueError: a part is missing or damaged, or is of other weights or another path.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     read_bare(Path(place), PathKey("pgd", "pixels", "linf"), weights="0" * 64) is None
        True
    """
    if not _bare_files(folder, key):
        return None
    parts: list[Arrays] = []
    count = 1
    while len(parts) < count:
        file = folder / bare_name(key, len(parts))
        if not file.is_file():
            raise ValueError(f"{file}: expected a part of a path, got no such file")
        npz = load_npz(file)
        if str(npz["weights"]) != weights:
            raise ValueError(
                f"{file}: expected a path of the weights {weights[:12]}..., got one of "
                f"{str(npz['weights'])[:12]}..."
            )
        count = count if parts else int(npz["parts"])
        _check_part(file, npz, key, len(parts), count)
        parts.append(npz)
    with_z = [part for part in parts if "z" in part]
    others = [part for part in parts if "z" not in part]
    arrays = {name: _joined(others, name) for name in ("rows", *_BEFORE_Z)}
    if not np.array_equal(arrays["rows"], _joined(with_z, "rows")):
        raise ValueError(
            f"{folder / bare_name(key, len(others))}: expected embeddings of the samples that the "
            "parts before are of, got others"
        )
    return BarePath(
        strengths=parts[0]["strengths"],
        rows=arrays["rows"],
        z=_joined(with_z, "z"),
        p=arrays["p"].astype(np.float32) / np.float32(255),
        labels=arrays["labels"],
        smallest=arrays["smallest"],
        l2=arrays["l2"].astype(np.float32),
        linf=arrays["linf"].astype(np.float32),
        key=key,
        weights=weights,
    )


def _bare_files(folder: Path, key: PathKey) -> list[Path]:
    stem = bare_name(key, 0).removesuffix("0.npz")
    found = (path.name.removeprefix(stem).removesuffix(".npz") for path in folder.glob(stem + "*"))
    return [folder / bare_name(key, part) for part in sorted(int(n) for n in found if n.isdigit())]


def _of_samples(array: NDArray[Any], part: slice) -> NDArray[Any]:
    # samples are the second axis where strengths are the first
    return array[part] if array.ndim == 1 else array[:, part]


def _joined(parts: list[Arrays], name: str) -> NDArray[Any]:
    if not parts:
        return np.empty(0)
    return np.concatenate([part[name] for part in parts], min(1, parts[0][name].ndim - 1))


def _check_part(file: Path, npz: Arrays, key: PathKey, part: int, parts: int) -> None:
    expected = {"part": part, "parts": parts} | _key_values(key)
    for name, value in expected.items():
        if npz[name].item() != value:
            raise ValueError(f"{file}: {name}: expected {value!r}, got {npz[name].item()!r}")
    steps, m = len(npz["strengths"]), len(npz["rows"])
    for name in ("z",) if "z" in npz else _BEFORE_Z:
        shape = npz[name].shape
        if shape[:2] != ((m,) if name == "smallest" else (steps, m)):
            raise ValueError(
                f"{file}: array {name!r}: expected {m} samples at {steps} strengths, got shape "
                f"{shape}"
            )


def write_min_flips(folder: Path, table: MinFlips) -> None:
    """Write `min_flip-<space>-<norm>.npz`, whole or not at all.

    Examples:
        >>> import tempfile
        >>> table = MinFlips(
        ...     rows=np.arange(2),
        ...     smallest=np.array([0.1, np.nan], np.float32),
        ...     after=np.array([3, 0], np.uint8),
        ...     norm="linf",
        ...     space="pixels",
        ...     seed=0,
        ...     weights="",
        ... )
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_min_flips(Path(place), table)
        ...     read_min_flips(Path(place), "pixels", "linf").after.tolist()
        [3, 0]
    """
    save_npz(folder / f"min_flip-{table.space}-{table.norm}.npz", dataclasses.asdict(table))


def read_min_flips(folder: Path, space: str, norm: str) -> MinFlips | None:
    """The table for a space and norm, or None where it has not been computed yet.

    Examples:
        >>> from clustcore import runs
        >>> table = read_min_flips(runs.find_run("drc-mnist").folder, "pixels", "linf")
        >>> len(table.rows), bool(np.isnan(table.smallest).any())
        (1000, False)
    """
    path = folder / f"min_flip-{space}-{norm}.npz"
    if not path.is_file():
        return None
    npz = load_npz(path)
    return MinFlips(
        rows=npz["rows"],
        smallest=npz["smallest"],
        after=npz["after"],
        norm=str(npz["norm"]),
        space=str(npz["space"]),
        seed=int(npz["seed"]),
        weights=str(npz["weights"]),
    )
