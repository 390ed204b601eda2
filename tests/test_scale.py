"""From thousands of samples to millions: read in slices, projected from a sample, drawn in part."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from bench.scale import Augmented
from clustcore.maps import projection, trustworthiness
from clustcore.maps.projection import ProjectionConfig, fit
from clustcore.models.base import Model
from clustcore.models.weights import load_model
from clustcore.pipeline.batches import cluster
from clustcore.types import Images
from tests.conftest import make_blobs

SMALL = ProjectionConfig(steps=30, width=16, landmarks=16)


@pytest.fixture(scope="module")
def model(tiny_run) -> Model:
    """The tiny run's model."""
    return load_model(tiny_run)


class Made:
    """Images that exist only while they are asked for; remembers what was asked."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.shape, self.asked = x, x.shape, []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Any:
        self.asked.append((rows.start, rows.stop))
        return self.x[rows]


def mapped(x: np.ndarray, folder) -> np.ndarray:
    """The same images as a file mapped into memory, read-only."""
    np.save(folder / "images.npy", x)
    return np.load(folder / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", ["tensor", "file", "made", "half"])
def test_images_are_read_in_slices_and_every_source_says_the_same(model, tmp_path, kind):
    x = make_blobs(70).x
    if kind == "half":  # rounded before, so that both are the same images
        x = x.astype(np.float16).astype(np.float32)
    source = {
        "tensor": lambda: torch.from_numpy(x),
        "file": lambda: mapped(x, tmp_path),
        "made": lambda: Made(x),
        "half": lambda: x.astype(np.float16),
    }[kind]()
    assert isinstance(source, Images)
    expected, found = (
        cluster(model, x, batch=32),
        cluster(model, source, batch=32),
    )
    for name in ("z", "s", "p"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == np.float32
    if kind == "made":
        assert source.asked == [(0, 32), (32, 64), (64, 70)]


def test_bytes_mean_0_to_255(model):
    x = np.round(make_blobs(20).x * 255).astype(np.uint8)
    found = cluster(model, x)
    expected = cluster(model, (torch.from_numpy(x).float() / 255).numpy())
    np.testing.assert_array_equal(found.z, expected.z)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda part: part + 2, r"images 40 to 59: expected values in \[0, 1\], got 2"),
        (lambda part: part * np.nan, "images 40 to 59: expected values in .* got nan to nan"),
        (lambda part: part[1:], r"images 40 to 59: expected shape \(20, 1, 28, 28\), got \(19, 1"),
        (lambda part: part.astype(np.int64), "images 40 to 59: .* or bytes, got torch.int64"),
    ],
    ids=["range", "nan", "too few", "integers"],
)
def test_a_bad_slice_is_named(model, spoil, message):
    class Spoilt(Made):
        def __getitem__(self, rows: slice) -> Any:
            part = super().__getitem__(rows)
            return spoil(part) if rows.start == 40 else part

    with pytest.raises(ValueError, match=message):
        cluster(model, Spoilt(make_blobs(70).x), batch=20)


def blobs(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    """Three round groups, far apart."""
    z = np.random.default_rng(seed).normal(size=(n, d))
    z[:, :3] += 12 * np.eye(3)[np.arange(n) % 3]
    return z.astype(np.float32)


def test_beyond_its_limit_a_fit_learns_from_a_sample_and_places_all():
    z = blobs(400)
    said: list[str] = []
    config = dataclasses.replace(SMALL, samples=100)
    layout = fit(z, config, seed=1, on_step=lambda done, total, words: said.append(words))
    assert said[0] == "Fitting UMAP on 90 of 400 samples"
    assert layout.xy.shape == (400, 2)
    np.testing.assert_array_equal(layout.projector.place(z), layout.xy)
    np.testing.assert_array_equal(fit(z, config, seed=1).xy, layout.xy)
    # who was not drawn has no say: moved elsewhere, it leaves everybody else where they were
    drawn = torch.randperm(400, generator=torch.Generator().manual_seed(1))[:100].numpy()
    other = np.setdiff1d(np.arange(400), drawn)
    moved = z.copy()
    moved[other] = z[other[::-1]]
    np.testing.assert_array_equal(fit(moved, config, seed=1).xy[drawn], layout.xy[drawn])


def test_a_limit_that_is_not_reached_changes_nothing():
    z = blobs(60)
    expected = fit(z, SMALL)
    found = fit(z, dataclasses.replace(SMALL, samples=60))
    np.testing.assert_array_equal(found.xy, expected.xy)
    assert found.among == expected.among == 60


def test_many_samples_are_measured_on_some_and_it_is_said(monkeypatch):
    monkeypatch.setattr(projection, "MEASURED", 120)
    monkeypatch.setattr(projection, "_AMONG", 60)
    z = blobs(300)
    layout = fit(z, SMALL, seed=4)
    rows = np.sort(np.random.default_rng(4).permutation(300)[:120])
    assert layout.among == 120
    expected, _ = trustworthiness.trustworthiness(z[rows], layout.xy[rows])
    assert layout.trustworthiness == expected
    assert layout.trust.shape == (300,)
    np.testing.assert_array_equal(
        layout.trust, trustworthiness.trust_among(z, layout.xy, rows[::2])
    )


def test_the_benchs_images_are_the_same_whatever_slice_they_are_asked_in():
    x = Augmented("mnist", 20_500)
    assert isinstance(x, Images)
    whole = x[9_990:10_010]
    assert whole.shape == (20, 1, 28, 28)
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    parts = torch.cat([x[9_990:10_000], x[10_000:10_003], x[10_003:10_010]])
    assert torch.equal(whole, parts)
    assert not torch.equal(x[0:5], x[10_000:10_005])  # the same images, seen anew
    assert len(x[20_000:30_000]) == 500
    np.testing.assert_array_equal(x.y()[:5], x.y()[20_000:20_005])
