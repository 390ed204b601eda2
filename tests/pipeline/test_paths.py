"""Paths on a tiny run: walked, drawn, cached, pinned, tried on another model; each wrong input."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from clustcore import runs
from clustcore.attacks.base import Budget, Goal
from clustcore.dial import dial
from clustcore.locations import cache_folder
from clustcore.pipeline import batches, paths, run
from clustcore.pipeline.batches import cluster
from clustcore.types import PathKey

PGD = PathKey("pgd", "pixels", "linf")
FGSM = PathKey("fgsm", "pixels", "linf")


@pytest.mark.parametrize(
    ("space", "norm"), [("pixels", "linf"), ("pixels", "l2"), ("embedding", "l2")]
)
def test_paths_start_on_the_map_and_are_cached(mapped, samples, space, norm):
    told = []
    path = paths.compute_path(
        mapped, samples, PathKey("pgd", space, norm), on_step=lambda *step: told.append(step)
    )
    np.testing.assert_array_equal(path.xy[0], mapped.map.xy[path.rows])
    np.testing.assert_array_equal(path.labels[0], mapped.map.labels[path.rows])
    np.testing.assert_allclose(path.strengths, dial("mnist", space, norm).strengths)
    assert sorted(path.rows) == list(range(120))
    size = path.linf if norm == "linf" else path.l2
    assert (size <= path.strengths[:, None] * (1 + 1e-4) + 1e-6).all()
    # moved at s means smallest <= s, also at the steps themselves
    moved = path.labels != path.labels[0]
    np.testing.assert_array_equal(moved, path.smallest[None] <= path.strengths[:, None])
    assert told
    assert all(0 <= done <= total for done, total, _ in told)
    told.clear()
    again = paths.compute_path(
        mapped, samples, PathKey("pgd", space, norm), on_step=lambda *step: told.append(step)
    )
    assert not told  # from the disk
    np.testing.assert_array_equal(again.xy, path.xy)
    np.testing.assert_allclose(again.smallest, path.smallest)


def test_a_cancelled_path_leaves_nothing(mapped, samples):
    class Cancel(Exception):
        pass

    def cancel(done, total, sentence):
        raise Cancel

    with pytest.raises(Cancel):
        paths.compute_path(mapped, samples, PathKey("fgsm", "pixels", "l2"), on_step=cancel)
    assert runs.stored_path(mapped.info, PathKey("fgsm", "pixels", "l2")) is None
    cache = cache_folder() / "paths"
    assert not list(cache.glob("*.part")) + list(cache.glob(".*"))


@pytest.mark.parametrize(("space", "norm"), [("pixels", "linf"), ("embedding", "l2")])
def test_a_pin_is_recomputed_as_it_was(mapped, samples, space, norm):
    path = paths.compute_path(mapped, samples, PathKey("pgd", space, norm))
    row = int(path.rows[7])
    pin = paths.pin_frames(mapped, samples, row, PathKey("pgd", space, norm))
    np.testing.assert_array_equal(pin.path.xy, path.xy[:, 7:8])  # the screen shows what ships
    assert pin.decoded.shape == (11, 1, 28, 28)
    assert (pin.frames is None) == (space == "embedding")
    if space == "pixels":
        np.testing.assert_allclose(pin.frames[0], samples.x[row], atol=1e-6)
        change = np.abs(pin.frames - samples.x[row]).reshape(11, -1).max(1)
        np.testing.assert_allclose(change, path.linf[:, 7], atol=2e-3)
        seen = cluster(mapped.model, pin.frames).labels
        np.testing.assert_array_equal(seen, path.labels[:, 7])


@pytest.mark.parametrize(("space", "norm"), [("pixels", "l2"), ("embedding", "l2")])
def test_a_pin_is_decoded_at_every_strength(mapped, samples, space, norm, monkeypatch):
    pin = paths.pin_frames(mapped, samples, 5, PathKey("pgd", space, norm))
    strengths = dial("mnist", space, norm).strengths
    walked = run.attack_of(mapped, "pgd").path(
        run.target_of(mapped.model),
        torch.from_numpy(samples.x[5:6]),
        Goal(),
        Budget(strengths[-1], norm, space, mapped.unit),
        strengths,
        ids=torch.tensor([5]),
    )
    for decoded, z in zip(pin.decoded, walked.z, strict=True):
        direct = mapped.model.decode(z)[0].detach().numpy()
        np.testing.assert_allclose(decoded, direct, atol=1e-5)
    clean = run.reconstruct(mapped, samples.x[5])
    np.testing.assert_allclose(pin.decoded[0], clean, atol=1e-5)
    monkeypatch.setattr(type(mapped.model), "has_decoder", False)
    pin = paths.pin_frames(mapped, samples, 5, PathKey("pgd", space, norm))
    assert pin.decoded is None
    assert (pin.frames is None) == (space == "embedding")


def test_a_pin_without_a_path_is_computed(mapped, samples):
    pin = paths.pin_frames(mapped, samples, 3, PathKey("noise", "pixels", "l2"))
    assert pin.path.rows.tolist() == [3]
    np.testing.assert_array_equal(pin.path.xy[0, 0], mapped.map.xy[3])
    with pytest.raises(ValueError, match="sample 120: expected 0 to 119"):
        paths.pin_frames(mapped, samples, 120, PathKey("noise", "pixels", "l2"))


def test_into_a_cluster(mapped, samples):
    path = paths.compute_path(mapped, samples, PathKey("pgd", "embedding", "l2", target=1))
    outside = path.labels[0] != 1
    assert outside.any()
    arrived = outside & ~np.isnan(path.smallest)
    assert arrived.any()
    assert (path.labels[-1][arrived] == 1).all()
    with pytest.raises(ValueError, match="target"):
        paths.compute_path(mapped, samples, PathKey("pgd", "embedding", "l2", target=3))


def test_samples_of_another_map_are_refused(mapped, samples):
    other = dataclasses.replace(samples, name="fashion-mnist")
    for call in (paths.compute_path, lambda *rest: paths.pin_frames(*rest[:2], 0, *rest[2:])):
        with pytest.raises(
            ValueError, match=r"the 120 samples of its map \(mnist, test\), got 120"
        ):
            call(mapped, other, PGD)


def test_a_damaged_cache_is_made_again(mapped, samples):
    path = paths.compute_path(mapped, samples, FGSM)
    file = runs.cached_path_file(mapped.info, FGSM)
    file.write_bytes(file.read_bytes()[:50])
    again = paths.compute_path(mapped, samples, FGSM)
    np.testing.assert_array_equal(path.labels, again.labels)


def test_a_transfer_to_the_model_itself_is_the_attack_and_to_a_deaf_one_nothing(mapped, samples):
    told = []
    moved = paths.transfer(
        mapped,
        mapped,
        samples,
        PGD,
        on_step=lambda *said: told.append(said),
    )
    path = paths.compute_path(mapped, samples, PGD)
    np.testing.assert_allclose(moved, (path.labels != path.labels[0]).mean(1))
    assert moved[0] == 0
    assert moved[-1] > 0
    assert told
    deaf = copy.deepcopy(mapped.model)
    deaf.scores = lambda z: torch.eye(3)[torch.zeros(len(z), dtype=torch.long)]
    other = dataclasses.replace(mapped, model=deaf)
    assert not paths.transfer(mapped, other, samples, FGSM).any()


def test_a_transfer_needs_pixels_no_target_and_the_same_samples(mapped, samples):
    with pytest.raises(ValueError, match="transfer: expected an attack in pixels, got 'embedding'"):
        paths.transfer(mapped, mapped, samples, PathKey("pgd", "embedding", "l2"))
    with pytest.raises(ValueError, match="transfer: expected no target, got cluster 2"):
        paths.transfer(mapped, mapped, samples, PathKey("pgd", "pixels", "linf", target=2))
    with pytest.raises(ValueError, match="expected the 120 samples of its map"):
        paths.transfer(mapped, mapped, samples.take(np.arange(60)), PGD)


@pytest.fixture(scope="module")
def bare_run(tiny_run, mapped):
    """The run without its map."""
    return dataclasses.replace(mapped, folder=tiny_run)


@pytest.mark.parametrize("key", [PGD, PathKey("noise", "embedding", "l2")])
def test_a_walk_is_a_bare_path_that_is_drawn(mapped, bare_run, samples, key, monkeypatch):
    assert bare_run.map is None
    assert bare_run.projector is None
    monkeypatch.setattr(batches, "_BATCH", 50)  # in three parts
    rows = paths.path_rows(samples)
    walked = paths.walk(mapped, samples, rows, key)
    bare = paths.bare_path(bare_run, samples, rows, key)
    assert bare.z.dtype == np.float16
    assert bare.z.shape == (11, 120, 4)
    with monkeypatch.context() as patch:
        patch.setattr(np, "float16", np.float32)
        exact = paths.draw(mapped, paths.bare_path(bare_run, samples, rows, key))
    drawn = paths.draw(mapped, bare)
    for field in dataclasses.fields(walked):
        expected = getattr(walked, field.name)
        np.testing.assert_array_equal(getattr(exact, field.name), expected, field.name)
        if field.name != "xy":
            np.testing.assert_array_equal(getattr(drawn, field.name), expected, field.name)
    np.testing.assert_array_equal(drawn.xy[0], walked.xy[0])
    placed = mapped.projector.place(bare.z.astype(np.float32).reshape(-1, 4)).reshape(11, 120, 2)
    np.testing.assert_array_equal(drawn.xy[1:], placed[1:])
    with pytest.raises(ValueError, match="expected a map"):
        paths.draw(bare_run, bare)
