"""A run is a folder: list runs, read their cards, maps and paths.

Numpy only, so that a map is drawn before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustcore.files import PART, Arrays, load_npz, save_npz
from clustcore.locations import ASSETS, cache_folder, own_runs
from clustcore.types import AttackPath, BarePath, PathKey, Raster, digest

FORMAT = 1
SHIPPED = ASSETS / "runs"
WEIGHTS = "weights.safetensors"
_SIGNS = ("card.json", "resume.safetensors")
_UNFINISHED = "training was interrupted; the command that began it goes on"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_WEIGHTS_PART = re.compile(re.escape(WEIGHTS) + r"\.part-\d{1,3}-of-([1-9]\d{0,2})")


def folders() -> list[Path]:
    """Where runs are looked for: the shipped ones, then one's own."""
    return [SHIPPED, own_runs()]


@dataclass(frozen=True)
class RunInfo:
    """A run as a list shows it. `problem` says why it cannot be used; `card` is then empty."""

    name: str
    folder: Path
    card: dict[str, Any]
    problem: str | None
    shipped: bool

    @property
    def readiness(self) -> str:
        """What is there: "broken", "weights missing", "unfinished", "map not computed yet", "paths
        not computed yet" or "ready".
        """
        if self.problem:
            return "unfinished" if self.problem.endswith(_UNFINISHED) else "broken"
        if not has_weights(self.folder):
            return "weights missing"
        if not (self.folder / "map.npz").is_file():
            return "map not computed yet"
        if not any((self.folder / "paths").glob("*.npz")):
            return "paths not computed yet"
        return "ready"


def is_name(name: str) -> bool:
    """Whether a run may be called so: a plain folder name, never a path."""
    return _NAME.fullmatch(name) is not None


def weights_files(folder: Path) -> list[Path]:
    """Where a run's weights lie: in one file, else in the parts that it was split into, in order.

    One of them may be missing: then the weights are.
    """
    whole = folder / WEIGHTS
    found = [_WEIGHTS_PART.fullmatch(path.name) for path in folder.glob(f"{WEIGHTS}.part-*")]
    sets = [weights_parts(folder, n) for n in sorted({int(match[1]) for match in found if match})]
    if whole.is_file() or not sets:
        return [whole]
    # of two splits, the one that is whole
    return next((files for files in sets if all(file.is_file() for file in files)), sets[0])


def weights_parts(folder: Path, count: int) -> list[Path]:
    """What the parts of a run's weights are called, in order."""
    return [folder / f"{WEIGHTS}.part-{i}-of-{count}" for i in range(count)]


def has_weights(folder: Path) -> bool:
    """Whether a run's weights are there, in one file or in parts."""
    return all(file.is_file() for file in weights_files(folder))


def list_runs() -> list[RunInfo]:
    """Every run there is, shipped ones first, then by name; of two with one name the first counts.
    Read afresh on each call.
    """
    found: dict[str, RunInfo] = {}
    for place in folders():
        for folder in sorted(place.iterdir()) if place.is_dir() else []:
            if folder.is_dir() and _NAME.fullmatch(folder.name) and folder.name not in found:
                begun = any((folder / name).is_file() for name in _SIGNS)
                if not begun and not has_weights(folder):
                    continue  # not a run, or one that has not begun to save
                if not (folder / "card.json").is_file() and (folder / _SIGNS[1]).is_file():
                    problem = f"{folder.name}: {_UNFINISHED}"
                    found[folder.name] = RunInfo(folder.name, folder, {}, problem, place == SHIPPED)
                    continue
                try:
                    card, problem = read_card(folder), None
                except ValueError as error:
                    card, problem = {}, str(error)
                found[folder.name] = RunInfo(folder.name, folder, card, problem, place == SHIPPED)
    return list(found.values())


def find_run(name: str) -> RunInfo:
    """The run of this name.

    Raises:
        ValueError: there is none (a name can hold no path: letters, digits, '.', '_' and '-' only),
            or it is broken.
    """
    runs = {run.name: run for run in list_runs()}
    if name not in runs:
        known = ", ".join(runs) or "none; `python -m clustcore train` makes one"
        raise ValueError(f"unknown run {name!r}; known: {known}")
    if runs[name].problem:
        raise ValueError(runs[name].problem)
    return runs[name]


_CARD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "model": str,
    "config": dict,
    "data": dict,
    "train": dict,
    "weights_sha256": str,
}


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a run, its required fields checked.

    Raises:
        ValueError: the card is missing, is not JSON, has another format, or lacks a field.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a card, got no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: expected a readable card, got {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(card, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(card).__name__}")
    for field, kind in _CARD_FIELDS.items():
        if not isinstance(card.get(field), kind):
            got = repr(card[field]) if field in card else "nothing"
            raise ValueError(f"{path}: field {field!r}: expected {kind.__name__}, got {got}")
    for field in ("embedding", "scores"):
        if not isinstance(card.get(field, {}), dict):
            raise ValueError(f"{path}: field {field!r}: expected dict, got {card[field]!r}")
    if card["format"] != FORMAT:
        raise ValueError(f"{path}: field 'format': expected {FORMAT}, got {card['format']}")
    for field in ("name", "split"):
        if not isinstance(card["data"].get(field), str):
            raise ValueError(
                f"{path}: field 'data.{field}': expected str, got {card['data'].get(field)!r}"
            )
    return card


@dataclass(frozen=True)
class MapArrays:
    """All that Explore draws before torch is loaded."""

    xy: NDArray[np.float32]  # (n, 2)
    z: NDArray[np.float16]  # (n, d)
    p: NDArray[np.float16]  # (n, k)
    labels: NDArray[np.uint8]  # (n,)
    trust: NDArray[np.float32]  # (n,) in [0, 1]
    trustworthiness: float
    held_out: (
        float  # trustworthiness of the projector on points that neither UMAP nor it was fitted on
    )
    error: float
    raster: Raster
    data: str  # which samples: the data set's name
    split: str
    seed: int
    weights: str  # sha256 of the weights it was made with
    among: int = 0  # samples that trustworthiness and error look at; 0: all


def write_map(folder: Path, arrays: MapArrays) -> None:
    """Write `map.npz`, whole or not at all."""
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
    raster = Raster(
        bounds=tuple(float(v) for v in npz["raster_bounds"]),
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
    """The file name of a run's own path, without its folder; a run has one of each, of any seed."""
    into = "" if key.target is None else f"-to{key.target}"
    return f"{key.attack}-{key.space}-{key.norm}{into}.npz"


def write_path(file: Path, path: AttackPath) -> None:
    """Write a path, whole or not at all.

    Soft assignments are kept to 1/255, which is finer than a bar shows.
    """
    save_npz(file, _stored(path))


def _stored(path: AttackPath | BarePath) -> dict[str, Any]:
    # as a file holds it
    values = {f.name: getattr(path, f.name) for f in dataclasses.fields(path)}
    values["p"] = np.round(path.p * 255).astype(np.uint8)
    values["l2"], values["linf"] = path.l2.astype(np.float16), path.linf.astype(np.float16)
    values["target"] = -1 if path.target is None else path.target
    return values


def read_path(file: Path) -> AttackPath | None:
    """A stored path, or None where it has not been computed yet.

    Raises:
        ValueError: the file is damaged, or its arrays do not fit together.
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
    target = int(npz["target"])
    return AttackPath(
        strengths=npz["strengths"],
        rows=npz["rows"],
        xy=npz["xy"],
        p=npz["p"].astype(np.float32) / 255,
        labels=npz["labels"],
        smallest=npz["smallest"],
        l2=npz["l2"].astype(np.float32),
        linf=npz["linf"].astype(np.float32),
        attack=str(npz["attack"]),
        space=str(npz["space"]),
        norm=str(npz["norm"]),
        target=None if target < 0 else target,
        seed=int(npz["seed"]),
        weights=str(npz["weights"]),
        ahead=bool(npz["ahead"]),
    )


_BEFORE_Z = ("labels", "p", "smallest", "l2", "linf")
_ROOM = 16_384  # bytes of a part that are no sample's: names, headers, which path it is of


def bare_name(key: PathKey, part: int) -> str:
    """The file name of a part of a bare path, counted from 0."""
    return f"{path_name(key).removesuffix('.npz')}.bare-{part}.npz"


def write_bare(folder: Path, bare: BarePath, limit: int = PART) -> list[Path]:
    """Write a bare path in parts of at most `limit` bytes, each of some of its samples, and return
    their files; the embeddings, which are large, come last. Parts that lay there are removed.

    Raises:
        ValueError: a single sample takes more than the limit.
    """
    key = PathKey(bare.attack, bare.space, bare.norm, bare.target, bare.seed)
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
            part = slice(start, start + count)
            arrays = {name: _of_samples(values[name], part) for name in ("rows", *names)}
            parts.append({"part": len(parts), **arrays})
    for old in _bare_files(folder, key):
        old.unlink()
    shared = {name: values[name] for name in ("strengths", "weights", *dataclasses.asdict(key))}
    for part in parts:
        save_npz(folder / bare_name(key, part["part"]), shared | {"parts": len(parts)} | part)
    return _bare_files(folder, key)


def read_bare(folder: Path, key: PathKey, weights: str) -> BarePath | None:
    """The bare path of a model with these weights, or None where no part of it is there.

    Raises:
        ValueError: a part is missing or damaged, or is of other weights or another path.
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
        p=arrays["p"].astype(np.float32) / 255,
        labels=arrays["labels"],
        smallest=arrays["smallest"],
        l2=arrays["l2"].astype(np.float32),
        linf=arrays["linf"].astype(np.float32),
        **dataclasses.asdict(key),
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
    expected = {"part": part, "parts": parts, **dataclasses.asdict(key)}
    expected["target"] = -1 if key.target is None else key.target
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


@dataclass(frozen=True)
class MinFlips:
    """The `min_flip` table: the smallest change found that flips each sample, beyond the dial's end
    where need be.
    """

    rows: NDArray[np.int64]  # (m,)
    smallest: NDArray[np.float32]  # (m,) NaN: none up to the end of the domain
    after: NDArray[np.uint8]  # (m,) the cluster it moved into
    norm: str
    space: str
    seed: int
    weights: str


def write_min_flips(folder: Path, table: MinFlips) -> None:
    """Write `min_flip-<space>-<norm>.npz`, whole or not at all."""
    save_npz(folder / f"min_flip-{table.space}-{table.norm}.npz", dataclasses.asdict(table))


def read_min_flips(folder: Path, space: str, norm: str) -> MinFlips | None:
    """The table for a space and norm, or None where it has not been computed yet."""
    path = folder / f"min_flip-{space}-{norm}.npz"
    if not path.is_file():
        return None
    npz = load_npz(path)
    arrays = {name: npz[name] for name in ("rows", "smallest", "after")}
    text = {name: str(npz[name]) for name in ("norm", "space", "weights")}
    return MinFlips(**arrays, **text, seed=int(npz["seed"]))


ATTACKERS = "attackers"
PATH_SAMPLES = 2000
FIT_SAMPLES = 10_000  # that a learned attacker learns from, as many as the paper's saw
FLIP_SAMPLES = 1000
_PATH_CODE = 1  # raised whenever a path would come out differently


def attacker_file(folder: Path, attack: str) -> Path:
    """Where the learned attack of a run lies: the one fitted on this machine, else the run's own.

    There need not be one.
    """
    fitted = fitted_file(folder, attack)
    return fitted if fitted.is_file() else folder / ATTACKERS / f"{attack}.safetensors"


def fitted_file(folder: Path, attack: str) -> Path:
    """Where a learned attack goes that is fitted now: into the run, or beside it in the cache where
    the run is a shipped one, which stays as it is.
    """
    if SHIPPED not in folder.parents:
        return folder / ATTACKERS / f"{attack}.safetensors"
    name = digest(read_card(folder)["weights_sha256"], attack)
    return cache_folder() / ATTACKERS / f"{name}.safetensors"


def cached_path_file(folder: Path, key: PathKey) -> Path:
    """The cache file of a path: its name is a hash of all that the path depends on."""
    card = read_card(folder)
    projector = folder / "projector.safetensors"
    drawn = hashlib.sha256(projector.read_bytes()).hexdigest() if projector.is_file() else ""
    made_of = (_PATH_CODE, card["weights_sha256"], drawn, card["data"])
    parts = (*made_of, key.attack, key.space, key.norm)
    attacker = attacker_file(folder, key.attack)
    if attacker.is_file():  # a learned attack changes whenever it is fitted
        parts += (hashlib.sha256(attacker.read_bytes()).hexdigest(),)
    return cache_folder() / "paths" / f"{digest(*parts, key.target, key.seed, PATH_SAMPLES)}.npz"


def stored_path(folder: Path, key: PathKey) -> AttackPath | None:
    """The path shipped with a run, else the one computed earlier on this machine, else None.

    Paths of other weights than the run's are left aside.

    Raises:
        ValueError: a file is damaged, or the run's card is.
    """
    weights = read_card(folder)["weights_sha256"]
    shipped = read_path(folder / "paths" / path_name(key))
    # a learned attack that was fitted since walks another path
    own = attacker_file(folder, key.attack).is_relative_to(folder)
    if own and shipped is not None and shipped.weights == weights and shipped.seed == key.seed:
        return shipped
    cached = cached_path_file(folder, key)
    try:
        return read_path(cached)
    except ValueError:
        cached.unlink(missing_ok=True)  # a cache can be made again
        return None
