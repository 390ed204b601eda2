"""What ships is whole, small, loads, and is as good as its card says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load

import clustcore
from clustcore import runs
from clustcore.experiments.recipes import RECIPES
from clustcore.pipeline.contents import paths_of
from clustcore.pipeline.paths import walk
from clustcore.types import PathKey

# mean ACC of the seeds on the 10,000 test images
BARS = {
    "drc-mnist": 0.97,
    "drc-fashion-mnist": 0.60,
    "dec-mnist": 0.90,
    "alrdc-mnist": 0.95,
    "alrdc-fashion-mnist": 0.60,
}


@pytest.fixture(scope="module", autouse=True)
def no_cache(tmp_path_factory):
    """What was computed on this machine does not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(
    scope="module", params=sorted(name for name, recipe in RECIPES.items() if recipe.ships)
)
def run(request):
    return clustcore.load_run(request.param, "cpu")


def test_a_run_is_whole_and_small(run):
    assert runs.find_run(run.name).readiness == "ready"
    files = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    expected = {"card.json", "history.csv", "map.npz", "projector.safetensors"}
    expected |= {"min_flip-pixels-linf.npz", "min_flip-pixels-l2.npz"}
    expected |= {file.name for file in runs.weights_files(run.folder)}
    expected |= {f"paths/{runs.path_name(key)}" for key in paths_of(run)}
    learned = RECIPES[run.name].attackers or (("alrdc",) if run.card.model == "alrdc" else ())
    assert set(run.attackers) == set(learned)
    expected |= {f"attackers/{name}.safetensors" for name in run.attackers}
    assert files == expected
    limit = 8_000_000 if run.card.model == "alrdc" else 6_000_000
    limit = 38_000_000 if run.map.data.startswith("cifar10") else limit
    assert sum((run.folder / name).stat().st_size for name in files) <= limit


def test_its_parts_belong_together(run):
    weights = run.card.weights_sha256
    assert run.map.weights == weights
    assert run.map.xy.shape == (10_000, 2)
    for key in paths_of(run):
        path = runs.stored_path(run.info, key)
        assert path.ahead
        assert path.weights == weights
        assert len(np.unique(path.rows)) == 2000
        np.testing.assert_array_equal(path.xy[0], run.map.xy[path.rows])
        np.testing.assert_array_equal(path.labels[0], run.map.labels[path.rows])
    for norm in ("linf", "l2"):
        table = runs.read_min_flips(run.folder, "pixels", norm)
        assert table.weights == weights
        assert len(table.rows) == 1000


def test_the_card_says_what_is_measured(run):
    samples = clustcore.load_samples(run.map.data)
    found = clustcore.evaluate(run.model, samples)
    scores = run.card.scores
    assert (found.acc, found.nmi, found.ari) == pytest.approx(
        (scores.acc, scores.nmi, scores.ari), abs=5e-4
    )
    entries = scores.attacked
    keys = [PathKey(e.attack, e.space, e.norm) for e in entries]
    assert keys == paths_of(run)
    for entry, key in zip(entries, keys, strict=True):
        path = runs.stored_path(run.info, key)
        assert entry.moved == pytest.approx(float((path.smallest <= entry.eps).mean()))


def test_its_rows_say_seeds_and_spread(run):
    rows = run.card.rows
    assert rows[0].seeds == RECIPES[run.name].seeds
    assert rows[0].acc == pytest.approx(np.mean(rows[0].acc_each))
    assert rows[0].acc_each[0] == run.card.scores.acc
    variants = RECIPES[run.name].variants.values()
    assert [row.name for row in rows[1:]] == [variant.label for variant in variants]
    if run.name in BARS:
        assert rows[0].acc >= BARS[run.name]


def test_weights_are_halved_only_where_that_moves_next_to_nothing(run):
    half = run.card.half_precision_moved <= 2e-4
    tensors = load(b"".join(file.read_bytes() for file in runs.weights_files(run.folder)))
    kinds = {str(t.dtype) for t in tensors.values() if t.is_floating_point()}
    assert kinds == {"torch.float16" if half else "torch.float32"}


@pytest.mark.slow
def test_attacked_images_are_recomputed_as_they_were(run):
    samples = clustcore.load_samples(run.map.data)
    key = PathKey("pgd", "pixels", "linf")
    stored = runs.stored_path(run.info, key)
    chosen = np.random.default_rng(1).permutation(2000)[:6]
    width = float(np.ptp(run.map.xy[:, 0]))
    distances, same = [], []
    for at in chosen:
        path = walk(run, samples, stored.rows[at : at + 1], key)
        distances.append(np.linalg.norm(path.xy[:, 0] - stored.xy[:, at], axis=1).max() / width)
        same.append((path.labels[:, 0] == stored.labels[:, at]).mean())
    assert np.median(distances) < 0.01
    assert np.mean(same) >= 0.97  # of 66 steps; `python -m bench recompute` asks 200 samples


def test_the_card_is_json_without_nan(run):
    text = (run.folder / "card.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in the card"))
