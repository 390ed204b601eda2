"""The map: one seed, one map; every position from the projector; its measures against oracles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as oracle

from clustcore.maps import projection
from clustcore.maps.projection import ProjectionConfig, Projector, fit, load, save
from clustcore.types import Layout

SMALL = ProjectionConfig(steps=30, width=16, landmarks=16)
CONFIG = ProjectionConfig(steps=400, width=64, landmarks=64)
DIGITS = (load_digits().data / 16).astype(np.float32)
SEEN, UNSEEN = DIGITS[:1200], DIGITS[1200:]


def blobs(n: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    """Three round groups, far apart."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    z[:, :3] += 12 * np.eye(3)[np.arange(n) % 3]
    return z.astype(np.float32)


@pytest.fixture(scope="module")
def layout() -> Layout:
    """The map of 1,200 digits, pixels for an embedding."""
    return fit(SEEN, CONFIG, seed=0)


@pytest.fixture(scope="module")
def file(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The projector of that map, saved."""
    path = tmp_path_factory.mktemp("projection") / "projector.safetensors"
    save(path, layout.projector)
    return path


def test_the_same_seed_gives_the_same_map() -> None:
    first, again = fit(blobs(), SMALL, seed=3), fit(blobs(), SMALL, seed=3)
    np.testing.assert_array_equal(first.xy, again.xy)
    np.testing.assert_array_equal(first.projector.back(first.xy), again.projector.back(again.xy))
    assert first.projector.measures == again.projector.measures
    assert not np.array_equal(first.xy, fit(blobs(), SMALL, seed=4).xy)


def test_a_fit_leaves_torch_and_numpy_as_it_found_them() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    fit(blobs(), SMALL)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]


def test_the_number_of_threads_does_not_change_the_map() -> None:
    threads = torch.get_num_threads()
    maps = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            maps.append(fit(blobs(), SMALL).xy)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*maps)


def test_clean_positions_come_from_the_projector(layout: Layout) -> None:
    np.testing.assert_array_equal(layout.projector.place(SEEN), layout.xy)


def test_attacked_points_leave_the_clean_map_unchanged(layout: Layout) -> None:
    attacked = SEEN + np.random.default_rng(0).normal(0, 0.2, SEEN.shape).astype(np.float32)
    moved = layout.projector.place(attacked)
    assert not np.array_equal(moved, layout.xy)
    np.testing.assert_array_equal(layout.projector.place(SEEN), layout.xy)
    together = layout.projector.place(np.concatenate([attacked, SEEN]))
    np.testing.assert_allclose(together[len(SEEN) :], layout.xy, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 256, 300])
def test_a_position_does_not_depend_on_the_batch(layout: Layout, size: int) -> None:
    parts = [layout.projector.place(SEEN[i : i + size]) for i in range(0, 600, size)]
    np.testing.assert_allclose(np.concatenate(parts)[:600], layout.xy[:600], rtol=1e-5, atol=1e-6)
    back = [layout.projector.back(layout.xy[i : i + size]) for i in range(0, 600, size)]
    whole = layout.projector.back(layout.xy)
    np.testing.assert_allclose(np.concatenate(back)[:600], whole[:600], rtol=1e-5, atol=1e-6)


def test_nothing_is_nothing(layout: Layout) -> None:
    assert layout.projector.place(np.empty((0, 64), np.float32)).shape == (0, 2)
    assert layout.projector.back(np.empty((0, 2), np.float32)).shape == (0, 64)


def test_training_mode_changes_no_position(layout: Layout) -> None:
    layout.projector.train()
    try:
        np.testing.assert_array_equal(layout.projector.place(SEEN), layout.xy)
    finally:
        layout.projector.eval()


def test_the_map_is_centred_two_wide_and_turned_to_its_widest(layout: Layout) -> None:
    low, high = layout.xy.min(0), layout.xy.max(0)
    np.testing.assert_allclose(high + low, 0, atol=5e-3)  # the weights are in half precision
    assert high[0] - low[0] == pytest.approx(2, abs=5e-3)

    def ratio(degrees: float) -> float:
        turn = np.exp(1j * np.radians(degrees)) * (layout.xy @ [1, 1j])
        return float(np.ptp(turn.real) / np.ptp(turn.imag))

    assert all(ratio(0) >= 0.99 * ratio(degrees) for degrees in range(2, 180, 2))


@pytest.mark.parametrize("size", [10.0, 1e4])
def test_no_point_leaves_the_picture(layout: Layout, size: float) -> None:
    direction = np.random.default_rng(1).normal(size=(500, 64)).astype(np.float32)
    far = np.abs(layout.projector.place(size * direction))
    assert (far <= np.abs(layout.xy).max(0) + 0.12 + 1e-6).all()


def test_a_point_that_moves_little_stays_near(layout: Layout) -> None:
    noise = np.random.default_rng(2).normal(size=SEEN.shape).astype(np.float32) * SEEN.std()
    moved = [
        np.median(np.linalg.norm(layout.projector.place(SEEN + size * noise) - layout.xy, axis=1))
        for size in (0.001, 0.01, 0.1)
    ]
    # a network has a slope: a tenth of the noise moves a point about a tenth as far
    assert moved[0] < 0.2 * moved[1] < 0.2 * 0.2 * moved[2] * 2


def test_unseen_points_keep_more_neighbours_than_on_the_principal_plane(layout: Layout) -> None:
    plane = PCA(2, random_state=0).fit(SEEN).transform(UNSEEN)
    placed = layout.projector.place(UNSEEN)
    assert oracle(UNSEEN, placed, n_neighbors=15) > oracle(UNSEEN, plane, n_neighbors=15)


def test_the_measures_are_those_of_the_oracle(layout: Layout) -> None:
    expected = oracle(SEEN, layout.xy, n_neighbors=15)
    assert layout.trustworthiness == pytest.approx(expected, abs=1e-4)  # equal distances: any order
    trip = np.linalg.norm(layout.projector.back(layout.xy) - SEEN, axis=1)
    spread = np.sqrt(np.square(SEEN - SEEN.mean(0)).sum(1).mean())
    assert layout.error == pytest.approx(np.median(trip) / spread, rel=1e-4)
    assert 0.5 < layout.held_out <= 1
    assert layout.projector.measures == {
        "trustworthiness": layout.trustworthiness,
        "held_out": layout.held_out,
        "error": layout.error,
    }


def test_a_saved_projector_gives_the_very_same_positions(file: Path, layout: Layout) -> None:
    again = load(file)
    np.testing.assert_array_equal(again.place(SEEN), layout.xy)
    np.testing.assert_array_equal(again.back(layout.xy), layout.projector.back(layout.xy))
    assert again.measures == layout.projector.measures
    assert again.config == CONFIG


def test_progress_rises_to_the_end() -> None:
    seen: list[tuple[int, int, str]] = []
    fit(blobs(), SMALL, on_step=lambda *step: seen.append(step))
    done = [step[0] for step in seen]
    assert done == sorted(done)
    assert seen[0] == (0, 90, "Fitting UMAP on 54 samples")
    assert seen[-1] == (90, 90, "Measuring the map")


def test_a_fit_can_be_cancelled() -> None:
    def cancel(done: int, total: int, sentence: str) -> None:
        if done:
            raise InterruptedError(sentence)

    with pytest.raises(InterruptedError, match="Teaching the map"):
        fit(blobs(), SMALL, on_step=cancel)


def test_samples_that_repeat_and_dimensions_that_are_dead_do_no_harm() -> None:
    z = np.concatenate([blobs(30), blobs(30)])
    z[:, 4] = 3
    layout = fit(z, SMALL)
    assert np.isfinite(layout.xy).all()
    np.testing.assert_array_equal(layout.xy[:30], layout.xy[30:])


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (blobs(19), r"z: expected at least 20 samples of at least 2 dimensions, got shape \(19, 5"),
        (blobs(30, 3)[:, :1], r"at least 2 dimensions, got shape \(30, 1\)"),
        (np.where(np.arange(30)[:, None] == 4, np.nan, blobs(30)), "NaN or infinity in 1 rows.* 4"),
        (np.full((30, 5), 0.1), "z: expected samples that differ, got 30 equal ones"),
    ],
    ids=["too few", "one dimension", "nan", "all equal"],
)
def test_unfit_embeddings_are_refused(z: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(z.astype(np.float32), SMALL)


def test_unfit_points_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match=r"z: expected shape \(n, 64\), got \(3, 10\)"):
        layout.projector.place(np.zeros((3, 10), np.float32))
    with pytest.raises(ValueError, match="z: expected finite numbers, got NaN or infinity in 3"):
        layout.projector.place(np.full((3, 64), np.inf, np.float32))
    with pytest.raises(ValueError, match="xy: expected finite numbers"):
        layout.projector.back(np.full((1, 2), np.nan, np.float32))


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ProjectionConfig\.steps: expected 1 to 100000, got 0"):
        dataclasses.replace(CONFIG, steps=0)


def damage(file: Path, name: str, folder: Path) -> Path:
    """A copy of a projector with one fault."""
    path = folder / "projector.safetensors"
    raw = file.read_bytes()
    about = {
        "format": "1",
        "dim": "64",
        "config": json.dumps(CONFIG.to_dict()),
        "measures": "{}",
    }
    tensors = load_file(file)
    if name == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "text":
        path.write_text("a map")
    elif name != "missing":
        if name == "another format":
            about["format"] = "9"
        elif name == "no projector":
            about = {}
        elif name == "no config":
            del about["config"]
        elif name == "unknown field":
            about["config"] = '{"colour": 3}'
        elif name == "another shape":
            tensors["mean"] = torch.zeros(63)
        elif name == "a tensor less":
            del tensors["extent"]
        elif name == "a tensor more":
            tensors["bias"] = torch.zeros(2)
        elif name == "nan":
            tensors["mean"][5] = torch.nan
        save_file(tensors, path, metadata=about)
    return path


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "expected a projector, got no such file"),
        ("truncated", "expected a projector in safetensors, got"),
        ("empty", "expected a projector in safetensors, got"),
        ("text", "expected a projector in safetensors, got"),
        ("another format", "field 'format': expected a projector of format 1, got 9"),
        ("no projector", "field 'format': expected a projector of format 1, got nothing"),
        ("no config", "expected dim, config and measures, got 'config'"),
        ("unknown field", "unknown field 'colour'"),
        ("another shape", r"tensor 'mean': expected \(64,\), got \(63,\)"),
        ("a tensor less", r"tensor 'extent': expected \(2,\), got none"),
        ("a tensor more", r"tensor 'bias': expected no such tensor, got \(2,\)"),
        ("nan", "tensor 'mean': expected finite numbers"),
    ],
)
def test_a_damaged_file_is_refused(file: Path, tmp_path: Path, fault: str, message: str) -> None:
    path = damage(file, fault, tmp_path)
    with pytest.raises(ValueError, match=r"projector\.safetensors: .*" + message):
        load(path)


def test_a_failed_save_leaves_what_was_there(
    file: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(projection, "save_file", full)
    with pytest.raises(OSError, match="no space left"):
        save(file, layout.projector)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_forward_and_inverse_are_place_and_back(layout: Layout) -> None:
    projector: Projector = layout.projector
    placed = projector(torch.from_numpy(SEEN[:50]))
    np.testing.assert_allclose(placed.numpy(), layout.xy[:50], rtol=1e-4, atol=1e-5)
    back = projector.inverse(placed).numpy()
    np.testing.assert_allclose(back, projector.back(placed.numpy()), rtol=1e-4, atol=1e-5)
