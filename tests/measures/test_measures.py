"""Measures beside slow or foreign oracles, then their laws."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from clustcore import measures
from clustcore.measures import (
    cluster_accuracy,
    cluster_table,
    clusters_used,
    contingency,
    fragile_clusters,
    fragile_samples,
    labels_at,
    matching,
    median_smallest,
    migration,
    moved_at,
    sample_rows,
    scores,
    security_curve,
    share,
    survival,
    wilson,
    worst_case,
)
from clustcore.types import AttackPath, Interval, PathKey


def integers(n: int, top: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.int64, n, elements=st.integers(0, top - 1))


@st.composite
def partitions(draw: st.DrawFn, top: int = 4) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 20))
    return draw(integers(n, top)), draw(integers(n, top))


def smallest_strengths(n: int) -> st.SearchStrategy[np.ndarray]:
    values = st.floats(0, 1, width=32) | st.just(float("nan"))
    return hnp.arrays(np.float32, n, elements=values)


def make_path(m: int = 200, k: int = 4, steps: int = 11, seed: int = 0) -> AttackPath:
    """A path whose samples leave at a known strength for a known other cluster."""
    rng = np.random.default_rng(seed)
    strengths = (0.4 * np.linspace(0, 1, steps) ** 1.6).astype(np.float32)
    smallest = rng.uniform(0.001, 0.6, m).astype(np.float32)
    smallest[smallest > strengths[-1]] = np.nan
    clean = rng.integers(0, k, m)
    goal = (clean + rng.integers(1, k, m)) % k
    labels = np.where(smallest <= strengths[:, None], goal, clean).astype(np.uint8)
    return AttackPath(
        strengths=strengths,
        rows=np.arange(m),
        xy=np.zeros((steps, m, 2), np.float32),
        p=np.eye(k, dtype=np.float32)[labels],
        labels=labels,
        smallest=smallest,
        l2=np.zeros((steps, m), np.float32),
        linf=np.zeros((steps, m), np.float32),
        key=PathKey("pgd", "pixels", "linf"),
    )


# How good a clustering is


@given(partitions())
def test_accuracy_is_the_best_over_all_renamings(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, y = pair
    names = itertools.permutations(range(4))
    best = max(np.mean(np.array(name)[labels] == y) for name in names)
    assert cluster_accuracy(labels, y) == pytest.approx(best)


@given(partitions())
def test_contingency_counts_pairs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, y = pair
    table = contingency(labels, y, 4, 4)
    for i, j in itertools.product(range(4), repeat=2):
        assert table[i, j] == sum(a == i and b == j for a, b in zip(labels, y, strict=True))
    used = contingency(labels, y)
    kept = used[used.any(1)][:, used.any(0)]
    np.testing.assert_array_equal(kept, contingency_matrix(labels, y))


@given(partitions(), st.permutations(range(4)), st.randoms())
def test_renaming_clusters_or_shuffling_samples_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray], names: list[int], random: object
) -> None:
    labels, y = pair
    order = list(range(len(y)))
    random.shuffle(order)
    for measure in (cluster_accuracy, measures.nmi, measures.ari):
        value = measure(labels, y)
        assert measure(np.array(names)[labels], y) == pytest.approx(value)
        assert measure(labels[order], y[order]) == pytest.approx(value)
        assert measure(y, labels) == pytest.approx(value)


def test_nmi_and_ari_are_scikit_learns() -> None:
    labels, y = np.random.default_rng(0).integers(0, 5, (2, 300))
    labels[:150] = y[:150]
    assert measures.nmi(labels, y) == pytest.approx(normalized_mutual_info_score(y, labels))
    assert measures.ari(labels, y) == pytest.approx(adjusted_rand_score(y, labels))


def test_one_cluster_scores_as_its_largest_class() -> None:
    y = np.array([0, 0, 0, 1, 2])
    result = scores(np.zeros(5, np.int64), y)
    assert (result.acc, result.nmi, result.ari, result.clusters_used) == (0.6, 0, 0, 1)


def test_a_cluster_per_sample_matches_one_sample_per_class() -> None:
    y = np.array([0, 0, 0, 1, 1, 2])
    assert cluster_accuracy(np.arange(6), y) == pytest.approx(3 / 6)
    match = matching(np.arange(6), y)
    assert sorted(match) == [-1, -1, -1, 0, 1, 2]


@given(partitions())
def test_a_matching_is_one_to_one(pair: tuple[np.ndarray, np.ndarray]) -> None:
    match = matching(*pair, 6)
    assert len(match) == 6
    found = match[match >= 0]
    assert len(set(found)) == len(found)


@given(hnp.arrays(np.float16, (7, 4), elements=st.floats(0, 1, width=16)))
def test_a_margin_is_the_gap_between_the_two_best(p: np.ndarray) -> None:
    for row, gap in zip(p.astype(np.float32), measures.margin(p), strict=True):
        best, second = sorted(row.tolist(), reverse=True)[:2]
        assert gap == np.float32(best) - np.float32(second)
    np.testing.assert_array_equal(measures.margin(p[:, :1]), p[:, 0].astype(np.float32))


@given(seed=st.integers(0, 1000), k=st.integers(1, 5), used=st.integers(1, 5))
def test_with_as_many_classes_as_clusters_it_is_the_renaming_that_agrees_most(
    seed: int, k: int, used: int
) -> None:
    a, b = np.random.default_rng(seed).integers(0, min(k, used), (2, 30))  # some may be empty
    ids = matching(b, a, k, k)
    assert sorted(ids) == list(range(k))
    best = max((np.array(order)[b] == a).sum() for order in itertools.permutations(range(k)))
    assert (ids[b] == a).sum() == best


def test_the_clean_map_sees_a_renaming_that_a_new_match_hides() -> None:
    clean = y = np.repeat(np.arange(4), 5)
    result = scores(clean, y, after=(clean + 1) % 4, strength=0.1)
    assert (result.acc, result.acc_rematched, result.nmi) == (0, 1, pytest.approx(1))
    assert result.moved == Interval(1.0, 1.0, 1.0)
    assert result.strength == 0.1


def test_a_cluster_that_clean_data_never_used_stands_for_no_class() -> None:
    clean = y = np.array([0, 0, 1, 1])
    assert scores(clean, y, after=np.array([0, 0, 1, 7])).acc == 0.75
    assert scores(clean, y, 8, after=np.array([0, 0, 1, 7])).acc == 0.75


def test_scores_without_labels_are_nan_but_for_the_moved_share() -> None:
    clean = np.array([0, 1, 1, 2])
    result = scores(clean, after=np.array([0, 1, 2, 2]), seed=3)
    assert math.isnan(result.acc)
    assert math.isnan(result.nmi)
    assert math.isnan(result.acc_interval.value)
    assert (result.moved.value, result.n, result.seed, result.clusters_used) == (0.25, 4, 3, 3)
    hit = np.array([True, True, False, False])
    assert scores(clean, moved=hit).moved.value == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matching(np.array([0, 1]), np.array([0])), "one class for each .* got 1 for 2"),
        (lambda: matching(np.array([], int), np.array([], int)), "at least 1 sample, got 0 for 0"),
        (lambda: matching(np.array([0, 3]), np.array([0, 1]), 3), "cluster numbers: .* 0 to 2"),
        (lambda: matching(np.array([0]), np.array([-1])), "class numbers: .* got -1 to -1"),
        (lambda: matching(np.array([0]), np.array([3]), 3, 3), "class numbers: .* 0 to 2, got 3"),
        (
            lambda: cluster_accuracy(np.array([0, 1]), np.array([0]), np.array([0])),
            "one class for each .* got 1 for 2",
        ),
        (
            lambda: scores(np.array([0, 1]), after=np.array([0])),
            "one class for each .* got 2 for 1",
        ),
    ],
)
def test_messages_of_the_scores(
    call: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
    with pytest.raises(ValueError, match=message):
        call()


# Shares and medians


@given(st.integers(1, 3000), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    ours = wilson(hits, n)
    theirs = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert ours.value == hits / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("hits", [1, 60, 250, 499])
def test_the_bootstrap_of_a_share_is_that_of_its_samples(hits: int) -> None:
    """Against resampling the rows themselves, the slow way, to the noise of 1,000 draws."""
    rng, n = np.random.default_rng(1), 500
    moved = np.arange(n) < hits
    draws = [moved[rng.integers(0, n, n)].mean() for _ in range(4000)]
    ours, spread = share(moved), np.std(draws)
    assert ours.value == hits / n
    assert abs(ours.low - np.quantile(draws, 0.025)) < 0.3 * spread
    assert abs(ours.high - np.quantile(draws, 0.975)) < 0.3 * spread


@given(hnp.arrays(bool, st.integers(1, 40)), st.integers(0, 5))
def test_an_interval_holds_its_value_and_its_seed_decides(moved: np.ndarray, seed: int) -> None:
    found = share(moved, seed)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert share(moved[::-1], seed) == found


def test_the_median_is_that_of_a_finite_sample_and_its_interval_covers() -> None:
    rng = np.random.default_rng(0)
    found = median_smallest(rng.exponential(1, 501).astype(np.float32))
    assert found.low < found.value < found.high
    covered = 0
    for _ in range(200):
        sample = median_smallest(rng.exponential(1, 100).astype(np.float32))
        covered += sample.low <= math.log(2) <= sample.high  # the true median
    assert binomtest(covered, 200, 0.95).pvalue > 1e-4


def test_samples_that_never_move_count_as_infinite() -> None:
    nan = float("nan")
    assert median_smallest(np.array([0.1, 0.2, nan])).value == pytest.approx(0.2)
    assert median_smallest(np.array([0.1, nan, nan])).value == math.inf
    assert median_smallest(np.array([nan])) == Interval(math.inf, math.inf, math.inf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: share(np.array([], bool)), "at least 1 sample"),
        (lambda: median_smallest(np.array([])), "at least 1 sample"),
        (lambda: survival(np.array([])), "at least 1 sample"),
        (lambda: wilson(3, 2), "expected 0 to n hits of n >= 1 samples, got 3 of 2"),
        (lambda: wilson(0, 0), "got 0 of 0"),
        (lambda: worst_case([]), "expected attacks on the same samples, got none"),
        (lambda: worst_case([np.zeros(2), np.zeros(3)]), r"same samples, got \[2, 3\]"),
        (lambda: sample_rows(-1, 3), "rows: expected at least 0, got -1"),
        (lambda: sample_rows(1, 3, np.array([0])), "expected 3 labels, got 1"),
        (lambda: labels_at(make_path(), 0.41), "strength: expected 0 to 0.4, got 0.41"),
        (lambda: labels_at(make_path(), float("nan")), "strength: expected 0 to 0.4, got nan"),
    ],
)
def test_messages_of_the_rest(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Under an attack


def test_a_security_curve_beside_a_slow_loop() -> None:
    path, noise = make_path(), make_path(seed=1)
    y = (path.labels[0].astype(np.int64) + 1) % 4
    y[:40] = 0
    curve = security_curve(path, y, noise=noise, seed=5)
    match = matching(path.labels[0], y)
    right = match[path.labels[0]] == y
    for i, s in enumerate(path.strengths):
        gone = [not math.isnan(v) and v <= s for v in path.smallest]
        assert curve.moved[i] == pytest.approx(np.mean(gone))
        assert curve.noise[i] == pytest.approx(np.mean([v <= s for v in noise.smallest]))
        assert curve.moved_correct[i] == pytest.approx(np.mean(np.array(gone)[right]))
        assert curve.acc[i] == pytest.approx(np.mean(match[path.labels[i]] == y))
        assert curve.acc_rematched[i] >= curve.acc[i]
        assert curve.nmi[i] == pytest.approx(normalized_mutual_info_score(y, path.labels[i]))
        assert curve.ari[i] == pytest.approx(adjusted_rand_score(y, path.labels[i]))
        assert curve.low[i] <= curve.moved[i] <= curve.high[i]
    assert (curve.moved[0], curve.low[0], curve.high[0]) == (0, 0, 0)
    assert (np.diff(curve.moved) >= 0).all()
    assert (curve.n, curve.seed) == (200, 5)


def test_a_security_curve_without_labels_or_control() -> None:
    curve = security_curve(make_path())
    assert curve.noise is None
    assert np.isnan(curve.acc).all()
    assert np.isnan(curve.moved_correct).all()


def test_a_given_match_is_kept() -> None:
    path = make_path()
    y = path.labels[0].astype(np.int64)
    wrong = security_curve(path, y, match=np.array([1, 2, 3, 0]))
    assert wrong.acc[0] == 0
    assert wrong.acc_rematched[0] == 1
    assert np.isnan(wrong.moved_correct).all()  # nobody was right to begin with


def test_a_control_of_other_samples_or_strengths_is_refused() -> None:
    path = make_path()
    for other in (
        dataclasses.replace(path, rows=path.rows + 1),
        dataclasses.replace(path, strengths=path.strengths / 2),
    ):
        with pytest.raises(ValueError, match=r"noise control: expected the samples and strengths"):
            security_curve(path, noise=other)


@given(st.floats(0, 0.4))
def test_labels_between_two_steps(strength: float) -> None:
    path = make_path()
    now = labels_at(path, strength)
    moved = path.smallest <= np.float32(strength)
    np.testing.assert_array_equal(now[~moved], path.labels[0][~moved])
    np.testing.assert_array_equal(now[moved], path.labels[-1][moved])  # one flip per path here


def test_labels_at_a_step_are_those_of_the_step() -> None:
    path = make_path()
    for i, s in enumerate(path.strengths):
        np.testing.assert_array_equal(labels_at(path, float(s)), path.labels[i])


@given(st.lists(smallest_strengths(6), min_size=1, max_size=4))
def test_the_worst_case_is_at_least_as_bad_as_each_attack(found: list[np.ndarray]) -> None:
    worst = worst_case(found)
    strengths = np.linspace(0, 1, 7)
    together = moved_at(worst, strengths)
    one_by_one = np.any([moved_at(values, strengths) for values in found], axis=0)
    np.testing.assert_array_equal(together, one_by_one)


@given(partitions())
def test_migration_counts_everyone_once(pair: tuple[np.ndarray, np.ndarray]) -> None:
    before, after = pair
    table = migration(before, after, 4)
    assert table.shape == (4, 4)
    assert table.sum() == len(before)
    assert np.trace(table) == (before == after).sum()
    np.testing.assert_array_equal(table.sum(1), np.bincount(before, minlength=4))
    np.testing.assert_array_equal(table.sum(0), np.bincount(after, minlength=4))


@given(smallest_strengths(9))
def test_survival_is_one_minus_the_moved_share(smallest: np.ndarray) -> None:
    strengths, left = survival(smallest)
    assert (strengths[0], left[0]) == (0, 1)
    for s, share_left in zip(strengths[1:], left[1:], strict=True):
        assert share_left == pytest.approx(1 - np.mean(smallest <= s))
    assert left[-1] == pytest.approx(np.isnan(smallest).mean())


# Clusters and samples


def test_a_cluster_table_beside_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 300)
    p[:, 3] = 0  # an empty cluster
    labels, y = p.argmax(1), rng.integers(0, 3, 300)
    path = make_path(m=100, k=3)
    table = cluster_table(labels, np.float16(p), y, dataclasses.replace(path, rows=np.arange(100)))
    for c in range(3):
        inside = labels == c
        assert table.size[c] == inside.sum()
        assert table.purity[c] == pytest.approx(max(np.mean(y[inside] == j) for j in range(3)))
        first, second = np.sort(p[inside])[:, [-1, -2]].T
        assert table.margin[c] == pytest.approx(np.mean(first - second), abs=1e-3)
        values = [math.inf if math.isnan(v) else v for v in path.smallest[path.labels[0] == c]]
        assert table.attacked[c] == len(values)
        assert table.median_smallest[c] == pytest.approx(np.median(values))
    assert (table.size[3], table.attacked[3]) == (0, 0)
    assert np.isnan([table.purity[3], table.margin[3], table.median_smallest[3]]).all()
    order = fragile_clusters(table)
    assert set(order) == {0, 1, 2}
    assert (np.diff(table.median_smallest[order]) >= 0).all()


def test_a_cluster_table_of_one_cluster_without_labels_or_path() -> None:
    table = cluster_table(np.zeros(3, np.int64), np.ones((3, 1), np.float32))
    assert (table.size.tolist(), table.margin.tolist()) == ([3], [1])
    assert np.isnan(table.purity).all()
    assert len(fragile_clusters(table)) == 0


@given(smallest_strengths(8), st.integers(0, 10))
def test_the_most_fragile_samples_come_first(smallest: np.ndarray, n: int) -> None:
    found = fragile_samples(smallest, n)
    moved = np.sort(smallest[~np.isnan(smallest)])
    np.testing.assert_array_equal(smallest[found], moved[:n])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 3))
def test_a_sample_is_stratified_nested_and_seeded(classes: list[int], n: int, seed: int) -> None:
    y = np.array(classes)
    rows = sample_rows(n, len(y), y, seed)
    assert len(rows) == min(n, len(y))
    assert len(set(rows)) == len(rows)
    np.testing.assert_array_equal(sample_rows(n // 2, len(y), y, seed), rows[: n // 2])
    drawn, share_drawn = np.bincount(y[rows], minlength=5), len(rows) / len(y)
    whole = np.bincount(y, minlength=5)
    # each class is off by less than its own rounding and its part of everyone's
    assert (np.abs(drawn - whole * share_drawn) <= 1 + 5 * whole / len(y)).all()


def test_a_sample_without_labels_is_a_plain_one() -> None:
    rows = sample_rows(50, 1000)
    assert len(set(rows)) == 50
    np.testing.assert_array_equal(rows, sample_rows(50, 1000))
    assert not np.array_equal(rows, sample_rows(50, 1000, seed=1))
    assert sorted(sample_rows(2000, 1000)) == list(range(1000))


def test_clusters_in_use_are_counted() -> None:
    assert clusters_used(np.array([3, 3, 0])) == 2
