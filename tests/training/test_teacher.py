"""The teacher: the consensus of several clusterings, kept in a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score

from clustcore.files import load_npz, save_npz
from clustcore.training.teacher import (
    TeachConfig,
    balance,
    consensus,
    load_teacher,
    save_teacher,
    teach,
)

SMALL = TeachConfig(clusters=3, pca=5, dim=2, neighbours=5, manifolds=2, starts=2)


@pytest.fixture(scope="module")
def teacher(blobs):
    said = []
    found = teach(blobs.x, "blobs", SMALL, lambda *step: said.append(step))
    done, totals, sentences = zip(*said, strict=True)
    assert list(done) == list(range(totals[0] + 1))
    assert set(totals) == {8}
    assert "manifold 2 of 2: mixture 2 of 2" in sentences
    return found


def test_three_blobs_are_found_without_labels(teacher, blobs):
    assert adjusted_rand_score(blobs.y, teacher.clusters) == 1
    assert teacher.agreement == 1
    again = teach(blobs.x, "blobs", SMALL)
    np.testing.assert_array_equal(again.clusters, teacher.clusters)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((40, 6), np.nan), "expected finite features, got NaN or infinity"),
        (np.ones((40, 6)), "expected features that differ, got the same for all images"),
        (np.eye(5), "expected at least 6 images, got 5"),
    ],
)
def test_features_that_cannot_be_clustered_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        teach(x.astype(np.float32), "features", SMALL)


def renamed(draw, clusters, share):
    """The same clusters under other names, a share of the samples elsewhere."""
    names = draw.permutation(4)[clusters]
    elsewhere = draw.random(len(names)) < share
    return np.where(elsewhere, draw.integers(0, 4, len(names)), names)


def test_the_consensus_is_what_each_clustering_has_a_noisy_part_of():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 4, 600)
    found = np.stack([renamed(draw, truth, 0.3) for _ in range(9)], 1)
    each = [adjusted_rand_score(truth, other) for other in found.T]
    assert max(each) < 0.7
    assert adjusted_rand_score(truth, consensus(found, 4, 0)) > 0.95


def test_the_consensus_of_one_grouping_under_many_names_is_that_grouping():
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 4, 50)
    found = np.stack([renamed(draw, truth, 0.0) for _ in range(5)], 1)
    assert adjusted_rand_score(truth, consensus(found, 4, 0)) == 1
    order = draw.permutation(5)
    assert adjusted_rand_score(consensus(found[:, order], 4, 0), truth) == 1
    with pytest.raises(ValueError, match="expected 5 different memberships or more, got 4"):
        consensus(found, 5, 0)


def test_balance_is_scipys_entropy_and_largest_where_sizes_are_equal():
    draw = np.random.default_rng(3)
    clusters = draw.choice(4, 300, p=(0.1, 0.0, 0.3, 0.6))
    assert balance(clusters) == pytest.approx(entropy(np.bincount(clusters)))
    assert balance(np.arange(300) % 4) == pytest.approx(np.log(4))
    merged = np.minimum(np.arange(300) % 4, 2)
    assert balance(merged) < balance(np.arange(300) % 4)


def test_the_larger_camp_decides():
    draw = np.random.default_rng(2)
    usual, rare = draw.integers(0, 4, (2, 400))
    found = np.stack([renamed(draw, c, 0.05) for c in (rare, usual, usual, rare, usual)], 1)
    assert adjusted_rand_score(usual, consensus(found, 4, 0)) > 0.8


def test_a_teacher_survives_its_file(teacher, tmp_path):
    file = tmp_path / "teacher.npz"
    save_teacher(file, teacher)
    found = load_teacher(file, len(teacher.clusters), "blobs")
    np.testing.assert_array_equal(found.clusters, teacher.clusters)
    assert dataclasses.replace(found, clusters=teacher.clusters) == teacher


def test_what_is_no_teacher_for_these_samples_is_refused(teacher, tmp_path, blobs):
    file = tmp_path / "teacher.npz"
    with pytest.raises(ValueError, match=r"expected a teacher .*, got no such file"):
        load_teacher(file, 64, "blobs")
    save_teacher(file, teacher)
    with pytest.raises(ValueError, match="a teacher of 65 samples of blobs, got 64 of blobs"):
        load_teacher(file, 65, "blobs")
    with pytest.raises(ValueError, match="a teacher of 64 samples of mnist, got 64 of blobs"):
        load_teacher(file, 64, "mnist")
    save_npz(file, {k: v for k, v in load_npz(file).items() if k != "agreement"})
    with pytest.raises(ValueError, match="expected an array 'agreement', got none"):
        load_teacher(file, 64, "blobs")
    with pytest.raises(ValueError, match="teacher: expected at least 11 images, got 10"):
        teach(blobs.x[:10], "blobs", dataclasses.replace(SMALL, clusters=10))
