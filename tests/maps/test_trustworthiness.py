"""Trustworthiness and trust: scikit-learn and slow loops as oracles, and the laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness as oracle

from clustcore.maps.trustworthiness import NEAR, trust_among, trustworthiness


@pytest.mark.parametrize(("n", "k"), [(40, 5), (200, 15), (31, 15)])
def test_trustworthiness_is_that_of_scikit_learn(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    z, xy = rng.normal(size=(n, 6)) + 100, rng.normal(size=(n, 2))
    value, _ = trustworthiness(z, xy, k)
    assert value == pytest.approx(oracle(z, xy, n_neighbors=k))


def test_the_trust_of_a_sample_is_the_share_of_its_neighbours_that_are_near() -> None:
    rng = np.random.default_rng(0)
    z, xy, k = rng.normal(size=(90, 4)), rng.normal(size=(90, 2)), 3
    _, trust = trustworthiness(z, xy, k)
    for i in range(len(z)):
        on_map = [j for j in np.argsort(np.linalg.norm(xy - xy[i], axis=1)) if j != i][:k]
        near = [j for j in np.argsort(np.linalg.norm(z - z[i], axis=1)) if j != i]
        share = np.mean([j in near[: NEAR * k] for j in on_map])
        assert trust[i] == pytest.approx(share)


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-10, 10))
def test_trustworthiness_knows_neither_unit_nor_origin(seed: int, unit: float, by: float) -> None:
    rng = np.random.default_rng(seed)
    z, xy = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    value, trust = trustworthiness(z, xy)
    moved, moved_trust = trustworthiness(unit * z + by, -unit * xy)
    assert moved == pytest.approx(value)
    np.testing.assert_allclose(moved_trust, trust)
    assert trustworthiness(xy, xy)[0] == 1


def test_trust_among_some_against_a_slow_loop(monkeypatch):
    monkeypatch.setattr("clustcore.maps.trustworthiness.NEAR", 2)
    rng = np.random.default_rng(0)
    z, xy = rng.normal(size=(150, 4)).astype(np.float32), rng.random((150, 2), np.float32)
    among, count = np.sort(rng.permutation(150)[:80]), 15
    trust = trust_among(z, xy, among)
    for i in range(150):
        others = [j for j in among if j != i]
        on_map = sorted(others, key=lambda j: np.linalg.norm(xy[j] - xy[i]))[:count]
        close = sorted(others, key=lambda j: np.linalg.norm(z[j] - z[i]))[: 2 * count]
        assert trust[i] == pytest.approx(np.mean([j in close for j in on_map]))


def test_among_all_trust_is_that_of_trustworthiness():
    rng = np.random.default_rng(3)
    z, xy = rng.normal(size=(400, 6)).astype(np.float32), rng.random((400, 2), np.float32)
    _, expected = trustworthiness(z, xy)
    np.testing.assert_allclose(trust_among(z, xy, np.arange(400)), expected)
