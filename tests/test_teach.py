"""The teacher: the most typical of several clusterings, kept in a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clustcore.runs import load_npz, save_npz
from clustcore.teach import TeachConfig, _agreement, _votes, load_teacher, save_teacher, teach

SMALL = TeachConfig(clusters=3, pca=5, dim=2, neighbours=5, manifolds=2, starts=2)


@pytest.fixture(scope="module")
def teacher(blobs):
    said = []
    found = teach(blobs.x, "blobs", SMALL, lambda *step: said.append(step))
    done, totals, sentences = zip(*said, strict=True)
    assert list(done) == list(range(totals[0] + 1))
    assert set(totals) == {7}
    assert "manifold 2 of 2: mixture 2 of 2" in sentences
    return found


def test_three_blobs_are_found_without_labels(teacher, blobs):
    assert adjusted_rand_score(blobs.y, teacher.clusters) == 1
    assert teacher.agreement == 1
    again = teach(blobs.x, "blobs", SMALL)
    np.testing.assert_array_equal(again.clusters, teacher.clusters)
    assert again.log_likelihood == teacher.log_likelihood


def test_the_clustering_that_most_seeds_find_agrees_most():
    draw = np.random.default_rng(0)
    usual, rare = draw.integers(0, 4, (2, 200))

    def renamed(clusters):  # with a few samples elsewhere: no two runs are equal
        names = draw.permutation(4)[clusters]
        names[draw.integers(0, 200, 10)] = draw.integers(0, 4, 10)
        return names

    found = [renamed(c) for c in (rare, usual, usual, rare, usual)]
    agreement = _agreement(found)
    for i, clusters in enumerate(found):
        others = [adjusted_rand_score(clusters, other) for j, other in enumerate(found) if j != i]
        assert agreement[i] == pytest.approx(np.mean(others))
    assert agreement.argmax() in (1, 2, 4)
    assert _agreement(found[:1]) == 1


def test_votes_are_counted_under_one_set_of_names():
    draw = np.random.default_rng(1)
    named = draw.integers(0, 4, 100)
    other = named.copy()
    other[:7] = (other[:7] + 1) % 4
    votes = _votes([draw.permutation(4)[named], draw.permutation(4)[other], named], named, 4)
    np.testing.assert_allclose(votes.sum(1), 1, atol=1e-6)
    expected = (2 * np.eye(4)[named] + np.eye(4)[other]) / 3
    np.testing.assert_allclose(votes, expected, atol=1e-6)


def test_a_teacher_survives_its_file(teacher, tmp_path):
    file = tmp_path / "teacher.npz"
    save_teacher(file, teacher)
    found = load_teacher(file, len(teacher.clusters), "blobs")
    np.testing.assert_array_equal(found.clusters, teacher.clusters)
    np.testing.assert_allclose(found.votes, teacher.votes, atol=1e-6)
    same = dataclasses.replace(found, clusters=teacher.clusters, votes=teacher.votes)
    assert same == teacher


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
