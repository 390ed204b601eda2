"""The whole story on a tiny run: load, attack, map, pin, probe, evaluate; and each wrong input."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch

import clustcore
from clustcore import making, pipeline, runs
from clustcore.attacks.base import Goal
from clustcore.projection import ProjectionConfig
from clustcore.types import Layout, dial
from tests.conftest import make_blobs

# enough for 120 images of 3 kinds
QUICK = ProjectionConfig(steps=150, batch=64, width=32, landmarks=16)


@pytest.fixture(scope="module")
def samples():
    """More blobs than the run was trained on: enough for a map."""
    return dataclasses.replace(make_blobs(120, seed=1), name="mnist")


@pytest.fixture(scope="module")
def mapped(tiny_run, samples, tmp_path_factory):
    """A run with a map; runs and cache are folders of this module's own."""
    place = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTMAP_RUNS", str(place / "runs"))
        patch.setenv("DRIFTMAP_CACHE", str(place / "cache"))
        shutil.copytree(tiny_run, place / "runs" / "tiny")
        run = clustcore.load_run("tiny", "cpu")
        making.make_map(run, samples, config=QUICK)
        yield run


def test_a_run_opens_by_name_and_carries_its_unit(mapped):
    assert mapped.name == "tiny"
    assert mapped.unit == mapped.card["embedding"]["R"] == mapped.model.unit > 0
    assert mapped.map.xy.shape == (120, 2)


def test_the_map_is_the_projectors(mapped, samples):
    clean = pipeline.cluster(mapped.model, samples.x)
    np.testing.assert_allclose(mapped.projector.place(clean.z), mapped.map.xy, atol=1e-4)
    np.testing.assert_array_equal(clean.labels, mapped.map.labels)


@pytest.mark.parametrize("cut", ["projector", "map"])
def test_a_kill_while_a_map_is_written_leaves_none(mapped, samples, monkeypatch, cut):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    owner = making.projection if cut == "projector" else making.runs
    name = "save" if cut == "projector" else "write_map"
    old = {file.name: file.read_bytes() for file in mapped.folder.glob("*") if file.is_file()}
    names = {field.name for field in dataclasses.fields(Layout)} - {"projector"}
    values = {name: getattr(mapped.map, name) for name in names}
    layout = Layout(**values, projector=mapped.projector)
    monkeypatch.setattr(making.projection, "fit", lambda *_, **options: layout)
    monkeypatch.setattr(making.boundaries, "raster", killed)
    with pytest.raises(KeyboardInterrupt):
        making.make_map(mapped, samples)
    assert clustcore.load_run("tiny", "cpu").map is not None  # nothing was lost yet
    monkeypatch.setattr(making.boundaries, "raster", lambda *_: mapped.map.raster)
    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        making.make_map(mapped, samples)
    assert clustcore.load_run("tiny", "cpu").map is None
    for file, content in old.items():
        (mapped.folder / file).write_bytes(content)


def test_evaluate_agrees_with_a_count_by_hand(mapped, samples):
    scores = clustcore.evaluate(mapped.model, samples)
    labels = pipeline.cluster(mapped.model, samples.x).labels
    import itertools

    best = max(
        float((np.array(order)[labels] == samples.y).mean())
        for order in itertools.permutations(range(3))
    )
    assert scores.acc == pytest.approx(best)
    assert scores.n == 120


@pytest.mark.parametrize(
    ("space", "norm"), [("pixels", "linf"), ("pixels", "l2"), ("embedding", "l2")]
)
def test_paths_start_on_the_map_and_are_cached(mapped, samples, space, norm):
    told = []
    path = pipeline.compute_path(
        mapped, samples, "pgd", space, norm, on_step=lambda *step: told.append(step)
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
    again = pipeline.compute_path(
        mapped, samples, "pgd", space, norm, on_step=lambda *step: told.append(step)
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
        pipeline.compute_path(mapped, samples, "fgsm", "pixels", "l2", on_step=cancel)
    assert runs.stored_path(mapped.folder, "fgsm", "pixels", "l2") is None
    cache = runs.cache_folder() / "paths"
    assert not list(cache.glob("*.part")) + list(cache.glob(".*"))


@pytest.mark.parametrize(("space", "norm"), [("pixels", "linf"), ("embedding", "l2")])
def test_a_pin_is_recomputed_as_it_was(mapped, samples, space, norm):
    path = pipeline.compute_path(mapped, samples, "pgd", space, norm)
    row = int(path.rows[7])
    pin = pipeline.pin_frames(mapped, samples, row, "pgd", space, norm)
    np.testing.assert_array_equal(pin.path.xy, path.xy[:, 7:8])  # the screen shows what ships
    assert pin.decoded.shape == (11, 1, 28, 28)
    assert (pin.frames is None) == (space == "embedding")
    if space == "pixels":
        np.testing.assert_allclose(pin.frames[0], samples.x[row], atol=1e-6)
        change = np.abs(pin.frames - samples.x[row]).reshape(11, -1).max(1)
        np.testing.assert_allclose(change, path.linf[:, 7], atol=2e-3)
        seen = pipeline.cluster(mapped.model, pin.frames).labels
        np.testing.assert_array_equal(seen, path.labels[:, 7])


@pytest.mark.parametrize(("space", "norm"), [("pixels", "l2"), ("embedding", "l2")])
def test_a_pin_is_decoded_at_every_strength(mapped, samples, space, norm, monkeypatch):
    pin = pipeline.pin_frames(mapped, samples, 5, "pgd", space, norm)
    walked = pipeline.attack_of(mapped, "pgd").path(
        pipeline.target_of(mapped.model),
        torch.from_numpy(samples.x[5:6]),
        Goal(),
        torch.from_numpy(dial("mnist", space, norm).strengths),
        norm=norm,
        space=space,
        unit=mapped.unit,
        ids=torch.tensor([5]),
    )
    for decoded, z in zip(pin.decoded, walked.z, strict=True):
        direct = mapped.model.decode(z)[0].detach().numpy()
        np.testing.assert_allclose(decoded, direct, atol=1e-5)
    clean = pipeline.reconstruct(mapped, samples.x[5])
    np.testing.assert_allclose(pin.decoded[0], clean, atol=1e-5)
    monkeypatch.setattr(type(mapped.model), "has_decoder", False)
    pin = pipeline.pin_frames(mapped, samples, 5, "pgd", space, norm)
    assert pin.decoded is None
    assert (pin.frames is None) == (space == "embedding")


def test_a_pin_without_a_path_is_computed(mapped, samples):
    pin = pipeline.pin_frames(mapped, samples, 3, "noise", "pixels", "l2")
    assert pin.path.rows.tolist() == [3]
    np.testing.assert_array_equal(pin.path.xy[0, 0], mapped.map.xy[3])
    with pytest.raises(ValueError, match="sample 120: expected 0 to 119"):
        pipeline.pin_frames(mapped, samples, 120, "noise", "pixels", "l2")


def test_into_a_cluster(mapped, samples):
    path = pipeline.compute_path(mapped, samples, "pgd", "embedding", "l2", target=1)
    outside = path.labels[0] != 1
    assert outside.any()
    arrived = outside & ~np.isnan(path.smallest)
    assert arrived.any()
    assert (path.labels[-1][arrived] == 1).all()
    with pytest.raises(ValueError, match="target"):
        pipeline.compute_path(mapped, samples, "pgd", "embedding", "l2", target=3)


def test_a_probe_on_a_sample_answers_with_its_cluster(mapped):
    hits = 0
    for row in range(0, 120, 10):
        answer = pipeline.probe(mapped, tuple(map(float, mapped.map.xy[row])))
        assert answer.p.sum() == pytest.approx(1, abs=1e-5)
        assert answer.image.shape == (1, 28, 28)
        hits += answer.p.argmax() == mapped.map.labels[row]
    assert hits >= 10
    far = pipeline.probe(mapped, (1e3, 1e3))
    assert not far.trusted


def test_smallest_flips_flip(mapped, samples):
    rows = np.arange(12)
    table = making.min_flips(mapped, samples, rows, "pixels", "l2")
    clean = mapped.map.labels[rows]
    found = ~np.isnan(table.smallest)
    assert found.any()
    assert (table.after[found] != clean[found]).all()


def test_measure_reads_what_the_paths_say(mapped, samples):
    making.make_paths(mapped, samples)
    scores = making.measure(mapped, samples)
    assert [(e["attack"], e["space"], e["norm"]) for e in scores["attacked"]] == making.PATHS
    for entry in scores["attacked"]:
        path = runs.stored_path(mapped.folder, entry["attack"], entry["space"], entry["norm"])
        assert entry["moved"] == pytest.approx(float((path.smallest <= entry["eps"]).mean()))
        assert entry["moved_interval"][0] <= entry["moved"] <= entry["moved_interval"][1]


def test_the_door_attacks_arrays_and_tensors_alike(mapped, samples):
    x = samples.x[:9]
    first = clustcore.attack(mapped.model, x, "pgd", eps=0.1)
    second = clustcore.attack(mapped.model, torch.from_numpy(x), "pgd", eps=0.1)
    assert torch.equal(first.x_adv, second.x_adv)
    assert first.x_adv.device.type == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pdg"}, r"unknown attack 'pdg'; known: alrdc, alrdc-relu, exact"),
        ({"eps": -0.1}, r"expected .*got -0.1"),
        ({"norm": "l7"}, r"l7"),
        ({"space": "labels"}, r"labels"),
        ({"odd": 1}, r"attack 'pgd': unknown field 'odd'"),
        ({"target": 9}, r"target"),
    ],
)
def test_a_wrong_attack_is_said(mapped, samples, change, message):
    arguments = {"name": "pgd", "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        clustcore.attack(mapped.model, samples.x[:4], **arguments)


def test_samples_of_another_map_are_refused(mapped, samples):
    other = dataclasses.replace(samples, name="fashion-mnist")
    for call in (pipeline.compute_path, lambda *rest: pipeline.pin_frames(*rest[:2], 0, *rest[2:])):
        with pytest.raises(
            ValueError, match=r"the 120 samples of its map \(mnist, test\), got 120"
        ):
            call(mapped, other, "pgd", "pixels", "linf")


def test_a_damaged_cache_is_made_again(mapped, samples):
    path = pipeline.compute_path(mapped, samples, "fgsm", "pixels", "linf")
    file = runs.cached_path_file(mapped.folder, "fgsm", "pixels", "linf", None, 0)
    file.write_bytes(file.read_bytes()[:50])
    again = pipeline.compute_path(mapped, samples, "fgsm", "pixels", "linf")
    np.testing.assert_array_equal(path.labels, again.labels)


def test_what_makes_no_run_is_refused_before_it_trains(blobs, tmp_path, monkeypatch):
    from clustcore.making import Plan, make_run
    from clustcore.teach import TeachConfig, Teacher

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    config = {"clusters": 3, "width": 4, "alone": 1, "taught": 1}
    plan = Plan("drc", {"name": "blobs"}, config, train={"batch": 16, "device": "cpu"})
    for name in ("../outside", "a/b", ""):
        with pytest.raises(ValueError, match="run name: expected letters"):
            make_run(name, plan, blobs)
    with pytest.raises(ValueError, match=r"drc-mnist: expected a new run"):
        make_run("drc-mnist", plan, blobs)
    bad = dataclasses.replace(blobs, x=blobs.x * np.float32("nan"))
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got nan"):
        make_run("a", plan, bad)
    teacher = Teacher(np.arange(64) % 5, 1.0, TeachConfig(), "blobs")
    with pytest.raises(ValueError, match=r"teacher: expected samples in each of 3 clusters"):
        make_run("a", plan, blobs, teacher)
    assert not list(tmp_path.iterdir())


def test_a_model_in_training_mode_is_judged_as_in_evaluation(mapped, samples):
    expected = pipeline.cluster(mapped.model, samples.x)
    state = {k: v.clone() for k, v in mapped.model.state_dict().items()}
    mapped.model.train()
    try:
        found = pipeline.cluster(mapped.model, samples.x)
    finally:
        mapped.model.eval()
    np.testing.assert_array_equal(found.z, expected.z)
    for key, value in mapped.model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_unfit_images_are_said(mapped):
    good = np.zeros((2, 1, 28, 28), np.float32)
    for x, message in [
        (good[0], r"expected shape \(n, 1, 28, 28\), got \(1, 28, 28\)"),
        (np.zeros((2, 3, 32, 32), np.float32), r"got \(2, 3, 32, 32\)"),
        (good + 2, r"expected values in \[0, 1\], got 2 to 2"),
        (good * np.nan, r"expected values in \[0, 1\], got nan"),
        (
            good.astype(np.int32),
            r"expected floating point.* in \[0, 1\], or bytes, got torch.int32",
        ),
        (good[:0], r"expected at least one, got none"),
    ]:
        with pytest.raises(ValueError, match=message):
            clustcore.attack(mapped.model, torch.from_numpy(x), eps=0.1)


def test_a_smaller_batch_when_memory_runs_out(mapped, samples, monkeypatch):
    embed = mapped.model.embed

    def small(x):
        if len(x) > 40:
            raise torch.OutOfMemoryError("no memory left")
        return embed(x)

    expected = pipeline.cluster(mapped.model, samples.x).labels
    monkeypatch.setattr(mapped.model, "embed", small)
    with pytest.warns(UserWarning, match="out of memory on cpu: batch is now"):
        found = pipeline.cluster(mapped.model, samples.x).labels
    np.testing.assert_array_equal(found, expected)


def test_a_run_without_a_map_says_which_command_makes_one(tiny_run, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    shutil.copytree(tiny_run, tmp_path / "bare")
    run = clustcore.load_run("bare", "cpu")
    with pytest.raises(ValueError, match="python -m clustcore project"):
        pipeline.probe(run, (0.0, 0.0))


def test_a_model_of_ones_own_gets_a_run(samples, tmp_path, monkeypatch):
    from tests.test_models import Net

    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIFTMAP_BUILDERS", raising=False)  # who makes the run need not allow it
    torch.manual_seed(0)
    model = clustcore.wrap(
        Net(), clusters=3, input_shape=(1, 28, 28), builder="tests.test_models:Net"
    )
    clustcore.add_run("mine", model, samples, config=QUICK)
    monkeypatch.setenv("DRIFTMAP_BUILDERS", "tests.test_models:Net")
    run = clustcore.load_run("mine", "cpu")
    x = torch.from_numpy(samples.x[:5])
    torch.testing.assert_close(run.model(x), model(x))
    assert runs.find_run("mine").readiness == "paths not computed yet"
    with pytest.raises(ValueError, match="got one that is there already"):
        clustcore.add_run("mine", model, samples)
    with pytest.raises(ValueError, match="run name"):
        clustcore.add_run("../mine", model, samples)
    monkeypatch.setenv("DRIFTMAP_BUILDERS", "")
    with pytest.raises(ValueError, match="not allowed here"):
        clustcore.load_run("mine", "cpu")


def test_a_transfer_to_the_model_itself_is_the_attack_and_to_a_deaf_one_nothing(mapped, samples):
    told = []
    moved = pipeline.transfer(
        mapped, mapped, samples, "pgd", norm="linf", on_step=lambda *said: told.append(said)
    )
    path = pipeline.compute_path(mapped, samples, "pgd", "pixels", "linf")
    np.testing.assert_allclose(moved, (path.labels != path.labels[0]).mean(1))
    assert moved[0] == 0
    assert moved[-1] > 0
    assert told
    deaf = copy.deepcopy(mapped.model)
    deaf.scores = lambda z: torch.eye(3)[torch.zeros(len(z), dtype=torch.long)]
    other = dataclasses.replace(mapped, model=deaf)
    assert not pipeline.transfer(mapped, other, samples, "fgsm").any()


def test_a_transfer_needs_pixels_and_the_same_samples(mapped, samples):
    with pytest.raises(ValueError, match="transfer: expected an attack in pixels, got 'embedding'"):
        pipeline.transfer(mapped, mapped, samples, "pgd", "embedding", "l2")
    with pytest.raises(ValueError, match="expected the 120 samples of its map"):
        pipeline.transfer(mapped, mapped, samples.take(np.arange(60)), "pgd")
