"""ALRDC: each loss against a slow double loop, the stages, and the learned attack's laws."""

from __future__ import annotations

import copy
import json
import math
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.cluster import KMeans

from clustcore import runs
from clustcore.attacks.alrdc import ALRDCAttack, ALRDCReLU, Perturb, attack_loss
from clustcore.attacks.base import Budget, Goal, Target
from clustcore.attacks.noise import Noise
from clustcore.attacks.pgd import PGD
from clustcore.cli.commands import main
from clustcore.models.alrdc import ALRDC, elbo
from clustcore.models.base import TrainData, Views
from clustcore.pipeline import make
from clustcore.pipeline import run as pipeline
from clustcore.pipeline.contents import fit_attacker
from clustcore.pipeline.run import target_of
from clustcore.runs.plan import Plan
from clustcore.training.epoch import TrainConfig
from clustcore.training.loop import train
from clustcore.training.views import AugmentConfig
from clustcore.types import PathKey, Samples

KINDS = [ALRDCAttack, ALRDCReLU]
SMALL = {"clusters": 3, "dim": 4, "width": 4, "p_hidden": 16, "autoencode": 1, "cluster": 1}


def small(**config) -> ALRDC:
    torch.manual_seed(0)
    return ALRDC(ALRDC.Config(**SMALL | config)).eval()


def pixels(samples: Samples) -> torch.Tensor:
    return torch.from_numpy((samples.x * 255).astype("uint8"))


@pytest.fixture(scope="module")
def model(digits) -> ALRDC:
    """Trained on digits, from the clusters that k-means makes of their pixels."""
    x = pixels(digits)
    means = KMeans(10, n_init=5, random_state=0).fit(digits.x.reshape(len(x), -1))
    config = {"clusters": 10, "input_shape": (1, 8, 8), "dim": 16, "width": 16, "p_hidden": 64}
    epochs = {"autoencode": 4, "taught": 10, "cluster": 2}
    torch.manual_seed(0)
    model = ALRDC(ALRDC.Config(**config, **epochs))
    model.normalise.measure(x)
    settings = TrainConfig(batch=32, lr=3e-3, device="cpu")
    data = TrainData(x, torch.from_numpy(means.labels_).long())
    train(model, data, settings, AugmentConfig(rotate=5.0, shift=0.02))
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def x(digits) -> torch.Tensor:
    return torch.from_numpy(digits.x)


@pytest.fixture(scope="module")
def fitted(model, x) -> dict[str, ALRDCAttack | ALRDCReLU]:
    found = {}
    for attack in KINDS:
        found[attack.kind] = attack(attack.Config(epochs=8, batch=32))
        found[attack.kind].fit(target_of(model), x)
    return found


# --- the model ------------------------------------------------------------------------------------


def test_elbo_is_the_papers():
    torch.manual_seed(0)
    n, k, d = 4, 3, 5
    image, decoded = torch.rand(n, 2, 4, 4), torch.rand(n, 2, 4, 4)
    mu, log_variance, means = torch.randn(n, d), torch.randn(n, d), torch.randn(k, d)
    y = torch.randn(n, k).softmax(1)
    found = elbo(image, decoded, mu, log_variance, means, y)
    reconstruction = kl = entropy = 0.0
    for i in range(n):
        for a, b in zip(image[i].flatten().tolist(), decoded[i].flatten().tolist(), strict=True):
            reconstruction += (a - b) ** 2 / n
        for c in range(k):
            inner = 0.0
            for j in range(d):
                gap, log = float(mu[i, j] - means[c, j]), float(log_variance[i, j])
                inner += (math.exp(log) + gap**2 - 1 - log) / 2
            kl += float(y[i, c]) * inner / n
            entropy += float(y[i, c]) * math.log(float(y[i, c]) + 1e-7) / n
    assert float(found["reconstruction"]) == pytest.approx(reconstruction, rel=1e-5)
    assert float(found["kl"]) == pytest.approx(kl, rel=1e-5)
    assert float(found["entropy"]) == pytest.approx(entropy, rel=1e-5)


def test_kl_agrees_with_torchs_gaussians():
    torch.manual_seed(0)
    mu, log_variance, means = torch.randn(6, 3), torch.randn(6, 3), torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    y = torch.nn.functional.one_hot(labels, 4).float()
    blank = torch.zeros(6, 1, 2, 2)
    code = torch.distributions.Normal(mu, (log_variance / 2).exp())
    prior = torch.distributions.Normal(means[labels], torch.ones(()))
    oracle = torch.distributions.kl_divergence(code, prior).sum(1).mean()
    torch.testing.assert_close(elbo(blank, blank, mu, log_variance, means, y)["kl"], oracle)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 4, 12)])
def test_the_decoder_gives_the_shape_back(shape):
    model = small(input_shape=shape)
    z = model.embed(torch.rand(2, *shape))
    assert model.decode(z).shape == (2, *shape)
    assert model.log_variance(torch.rand(2, *shape)).shape == z.shape == (2, 4)


def test_sides_must_be_divisible_by_four():
    with pytest.raises(ValueError, match=r"alrdc: input_shape: .* divisible by 4, got 30 x 28"):
        small(input_shape=(1, 30, 28))


def test_the_noise_scale_is_the_square_root_of_the_variance(blobs):
    x = torch.from_numpy(blobs.x[:4])
    model = small()
    torch.testing.assert_close(model.noise_scale(x).square(), model.log_variance(x).exp())


def test_the_stages_follow_the_teacher_then_the_model_itself(blobs):
    model = small(taught=1)
    x, teacher = pixels(blobs), torch.from_numpy(blobs.y)
    _, taught, cluster = model.stages()
    with pytest.raises(ValueError, match="alrdc: stage 'taught': expected a teacher, got none"):
        taught.begin(TrainData(x), 0, {})
    assert torch.equal(taught.begin(TrainData(x, teacher), 0, {})["clusters"], teacher)
    with torch.no_grad():
        z = model.embed(x.float() / 255)
        own = model.scores(z).argmax(1)
    for k in range(3):
        torch.testing.assert_close(model.means[k].detach(), z[teacher == k].mean(0))
    state = cluster.begin(TrainData(x, teacher), 0, {})
    assert torch.equal(state["clusters"], own)
    assert cluster.begin(TrainData(x), 1, state) is state  # taken once
    kept = model.upkeep().begin(TrainData(x, teacher), 0, {})
    assert torch.equal(kept["clusters"], teacher)  # whatever it is given, and nothing else


def test_without_a_teacher_k_means_begins(blobs):
    model = small()
    clusters = model.stages()[-1].begin(TrainData(pixels(blobs)), 0, {})["clusters"]
    z = model.embed(torch.from_numpy(blobs.x)).detach()
    assert sorted(clusters.unique().tolist()) == [0, 1, 2]
    for k in range(3):
        torch.testing.assert_close(
            model.means[k].detach(), z[clusters == k].mean(0), atol=0.02, rtol=0
        )
    same = TrainData(torch.zeros(8, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match="alrdc: k-means: expected at least 3 different"):
        model.stages()[-1].begin(same, 0, {})


def test_images_are_seen_alike_in_training_and_in_smaller_chunks(blobs, monkeypatch):
    # no layer knows the batch: a stage begins from the same in training, and where memory is short
    model = small().train()
    data = TrainData(pixels(blobs), torch.from_numpy(blobs.y))
    x, embed = data.x.float() / 255, model.embed
    assert torch.equal(embed(x), small().embed(x))

    def short(x):
        if len(x) > 20:
            raise torch.OutOfMemoryError
        return embed(x)

    whole = model._embed_all(data), model._begin_clusters(data, 0, {})["clusters"]
    monkeypatch.setattr(model, "embed", short)
    with pytest.warns(UserWarning, match="out of memory on cpu: going on with batches of"):
        chunked = model._embed_all(data), model._begin_clusters(data, 0, {})["clusters"]
    torch.testing.assert_close(chunked[0], whole[0])
    assert torch.equal(chunked[1], whole[1])
    assert model.training


def test_every_parameter_learns(blobs):
    model = small()
    x = torch.from_numpy(blobs.x)
    state = {"clusters": torch.from_numpy(blobs.y)}
    loss = model.upkeep().loss(Views(x, x, x, torch.arange(len(x))), state)
    parts = {name: value.item() for name, value in loss.parts.items()}
    whole = 2.5 * parts["reconstruction"] + parts["kl"] + parts["entropy"] + 10 * parts["guide"]
    assert loss.total.item() == pytest.approx(whole, rel=1e-5)
    loss.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_trained_model_follows_its_teacher_and_decodes_what_it_sees(model, x, digits):
    with torch.no_grad():
        z = model.embed(x)
        error = (model.decode(z) - x).square().flatten(1).sum(1).mean()
        other = (model.decode(z.roll(1, 0)) - x).square().flatten(1).sum(1).mean()
        plain = (x.mean(0) - x).square().flatten(1).sum(1).mean()
    assert error < plain < other  # the code says which image it was
    flat = digits.x.reshape(len(x), -1)
    teacher = KMeans(10, n_init=5, random_state=0).fit(flat).labels_
    assert (model.scores(z).argmax(1).numpy() == teacher).mean() > 0.9


def test_a_resumed_run_draws_the_same_noise(blobs, tmp_path):
    data = TrainData(pixels(blobs), torch.from_numpy(blobs.y))
    settings = TrainConfig(batch=16, lr=5e-3, device="cpu")
    plan = {"autoencode": 3, "taught": 8, "weight_t": 100.0, "p_hidden": 64}

    def stop(epoch) -> None:
        if epoch.epoch == 5:
            raise KeyboardInterrupt

    whole, halved = small(**plan), small(**plan)
    train(whole, data, settings, AugmentConfig())
    with pytest.raises(KeyboardInterrupt):
        train(halved, data, settings, AugmentConfig(), folder=tmp_path, on_epoch=stop)
    halved = small(**plan)
    torch.rand(7)  # whatever else was drawn meanwhile
    train(halved, data, settings, AugmentConfig(), folder=tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halved.state_dict()[name]), name


# --- the attack -----------------------------------------------------------------------------------


def test_attack_loss_is_the_papers():
    torch.manual_seed(0)
    xh, xh_adv = torch.rand(4, 2, 3, 3), torch.rand(4, 2, 3, 3)
    y, y_adv, delta = torch.rand(4, 3), torch.rand(4, 3), torch.randn(4, 5)
    total, parts = attack_loss(xh, xh_adv, y, y_adv, delta, 7.0)
    image = overlap = shift = 0.0
    for i in range(4):
        for a, b in zip(xh[i].flatten().tolist(), xh_adv[i].flatten().tolist(), strict=True):
            image += (a - b) ** 2 / 4
        for k in range(3):
            overlap += float(y[i, k] * y_adv[i, k]) / 4
        for j in range(5):
            shift += float(delta[i, j]) ** 2 / 4
    assert float(total) == pytest.approx(2.5 * image + 7 * overlap + shift, rel=1e-5)
    expected = {"image": image, "overlap": overlap, "shift": shift}
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(expected, rel=1e-5)
    total, parts = attack_loss(None, None, y, y_adv, delta, 7.0)
    assert float(total) == pytest.approx(7 * overlap + shift, rel=1e-5)
    assert set(parts) == {"overlap", "shift"}


def test_no_shift_leaves_the_overlap_of_y_with_itself():
    torch.manual_seed(0)
    y, xh = torch.randn(6, 4).softmax(1), torch.rand(6, 1, 4, 4)
    total, _ = attack_loss(xh, xh, y, y, torch.zeros(6, 3))
    torch.testing.assert_close(total, 40 * y.square().sum(1).mean())


def test_the_size_of_the_batch_does_not_enter():
    torch.manual_seed(0)
    parts = [torch.rand(12, 1, 4, 4) for _ in range(2)]
    parts += [torch.rand(12, 3) for _ in range(2)] + [torch.randn(12, 5)]
    whole, _ = attack_loss(*parts)
    halves = [attack_loss(*(p[rows] for p in parts))[0] for rows in (slice(0, 6), slice(6, 12))]
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_the_affine_attacker_folds_into_one_layer():
    torch.manual_seed(0)
    three, x = Perturb((2, 5, 7), 6), torch.rand(9, 2, 5, 7)
    one = three.folded()
    assert [p.shape for p in one.parameters()] == [(6, 70), (6,)]
    torch.testing.assert_close(one(x), three(x), atol=1e-6, rtol=1e-5)
    assert one.folded() is one
    bent = Perturb((2, 5, 7), 6, "relu")
    assert bent.folded() is bent
    with pytest.raises(ValueError, match="unknown kind of perturbation 'linear'; known: affine"):
        Perturb((1, 4, 4), 2, "linear")


@pytest.mark.parametrize("attack", KINDS)
def test_fitting_learns_psi_and_leaves_the_model_alone(attack, model, x):
    theta = copy.deepcopy(model).requires_grad_(True).train()
    state = {name: value.clone() for name, value in theta.state_dict().items()}
    random, told = torch.get_rng_state(), []
    config = attack.Config(epochs=5, batch=32)
    first, second = attack(config), attack(config)
    history = first.fit(
        target_of(theta), x[:200], 3, lambda done, total, parts: told.append((done, total))
    )
    assert told == [(k, 5) for k in range(1, 6)]
    assert len(history) == 5
    assert history[-1]["loss"] < history[0]["loss"]
    assert all(torch.equal(state[name], v) for name, v in theta.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in theta.parameters())
    assert theta.training
    assert torch.equal(random, torch.get_rng_state())
    as_bytes = (x[:200] * 255).round().to(torch.uint8)
    first.fit(target_of(theta), as_bytes.float() / 255, 3)
    second.fit(target_of(model), as_bytes, 3)
    for a, b in zip(first.perturb.parameters(), second.perturb.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad


def test_without_a_decoder_or_noise_the_rest_is_learned(model, x):
    bare = Target(model.embed, model.scores)
    attack = ALRDCAttack(ALRDCAttack.Config(epochs=3, batch=32))
    history = attack.fit(bare, x[:100])
    assert set(history[0]) == {"loss", "overlap", "shift"}
    quiet = Target(model.embed, model.scores, decode=model.decode, noise_scale=lambda x: None)
    assert "image" in ALRDCAttack(ALRDCAttack.Config(epochs=1)).fit(quiet, x[:100])[0]


def test_noise_moves_far_fewer_than_the_learned_shift_and_pgd_at_least_as_many(model, x, fitted):
    target = target_of(model)
    for attacker in fitted.values():
        eps = float(attacker.raw(target, x).l2.median())
        budget = Budget(eps, "l2", "embedding")
        moved = [
            int(attack(target, x, Goal(), budget).moved.sum())
            for attack in (Noise(), attacker, PGD())
        ]
        assert moved[1] > 3 * moved[0]
        assert moved[2] >= moved[1] > len(x) / 20


def test_every_shift_has_the_length_of_the_strength(model, x, fitted):
    target, mu = target_of(model), model.embed(x[:40])
    eps = torch.linspace(0, 1, 40)
    for attacker in fitted.values():
        result = attacker(target, x[:40], Goal(), Budget(eps, "l2", "embedding", 2.0))
        torch.testing.assert_close((result.z_adv - mu).norm(dim=1), 2 * eps, atol=1e-5, rtol=1e-5)
        raw = attacker.raw(target, x[:40], unit=2.0)
        cosine = torch.cosine_similarity(raw.delta, result.z_adv - mu)
        torch.testing.assert_close(cosine[1:], torch.ones(39), atol=1e-4, rtol=0)


def test_raw_shifts_scale_with_alpha_and_say_their_size(model, x, fitted):
    target, attacker = target_of(model), fitted["affine"]
    one, two = (attacker.raw(target, x, alpha, 3.0) for alpha in (1.0, 2.0))
    torch.testing.assert_close(two.delta, 2 * one.delta)
    torch.testing.assert_close(one.delta, attacker.perturb(x))
    torch.testing.assert_close(one.l2, one.delta.norm(dim=1))
    torch.testing.assert_close(one.rho * 3, one.l2)
    torch.testing.assert_close(one.relative * model.embed(x).norm(dim=1), one.l2)
    after = model.scores(model.embed(x) + one.delta).argmax(1)
    assert torch.equal(one.after, after)
    assert torch.equal(one.moved, after != model(x).argmax(1))
    assert not attacker.raw(target, x, 0.0).moved.any()


@pytest.mark.parametrize("attack", KINDS)
def test_what_it_has_no_answer_for(attack, model, x):
    target, budget = target_of(model), Budget(0.3, "l2", "embedding")
    with pytest.raises(ValueError, match=f"{attack.name}: expected a fitted attacker, got none"):
        attack()(target, x[:4], Goal(), budget)
    with pytest.raises(ValueError, match=f"{attack.name}: expected a fitted attacker, got none"):
        attack().raw(target, x[:4])
    ready = attack(perturb=Perturb((1, 8, 8), 16, attack.kind))
    with pytest.raises(ValueError, match=r"x: expected images, .* got embeddings"):
        ready(target, model.embed(x[:4]), Goal(), budget)
    with pytest.raises(ValueError, match=r"space: expected embedding, got 'pixels'"):
        ready(target, x[:4], Goal(), Budget(0.3))
    other = attack(perturb=Perturb((1, 8, 8), 5, attack.kind))
    with pytest.raises(ValueError, match=r"embedding of 5 dimensions, .* got \(1, 8, 8\) and 16"):
        other(target, x[:4], Goal(), budget)
    with pytest.raises(
        ValueError, match=r"expected at least one sample, \(n, c, h, w\), got shape"
    ):
        attack().fit(target, model.embed(x[:4]))
    with pytest.raises(ValueError, match=r"x: expected pixels in \[0, 1\], got 0 to 255"):
        attack().fit(target, 255 * x[:4])
    broken = Target(model.embed, lambda z: z * torch.nan)
    with pytest.raises(ValueError, match="fit: epoch 0: expected a finite loss, got nan"):
        attack().fit(broken, x[:4])


# --- its file, the run and the command line -------------------------------------------------------


@pytest.mark.parametrize("kind", ["affine", "relu"])
def test_an_attacker_comes_back_from_its_file(kind, model, x, fitted, tmp_path):
    attacker, path = fitted[kind], tmp_path / "a.safetensors"
    attacker.save(path, "f" * 64)
    again = type(attacker).load(path)
    assert again.config == attacker.config
    assert again.fitted_on == "f" * 64
    torch.testing.assert_close(again.perturb(x), attacker.perturb(x), atol=0, rtol=0)


def test_a_damaged_or_foreign_file_is_said(fitted, tmp_path):
    path = tmp_path / "alrdc.safetensors"
    with pytest.raises(ValueError, match=r"--attack alrdc --fit`\), got no such file"):
        ALRDCAttack.load(path)
    with pytest.raises(ValueError, match="alrdc: expected a fitted attacker, got none"):
        ALRDCAttack().save(path, "")
    fitted["affine"].save(path, "f" * 64)
    with pytest.raises(ValueError, match="expected attacker 'alrdc-relu', format 1, got 'alrdc'"):
        ALRDCReLU.load(path)
    with safe_open(path, "pt") as file:
        note = file.metadata()
        tensors = {name: file.get_tensor(name) for name in ("layers.1.weight", "layers.1.bias")}
    for change, message in [
        ({"dim": "5"}, "size mismatch"),
        ({"dim": "five"}, "invalid literal"),
        ({"config": '{"w": 1}'}, "unknown field 'w'"),
        ({"shape": "7"}, "not iterable"),
    ]:
        save_file(tensors, path, note | change)
        with pytest.raises(ValueError, match=f"expected a fitted attacker, got: .*{message}"):
            ALRDCAttack.load(path)
    save_file(tensors, path, {name: note[name] for name in ("format", "attack")})
    with pytest.raises(ValueError, match="expected a fitted attacker, got: 'config'"):
        ALRDCAttack.load(path)
    save_file(tensors | {"layers.1.bias": torch.full((16,), torch.nan)}, path, note)
    with pytest.raises(ValueError, match="expected finite numbers, got NaN or infinity"):
        ALRDCAttack.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="expected attacker 'alrdc', format 1, got None"):
        ALRDCAttack.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a fitted attacker, got Error"):
        ALRDCAttack.load(path)


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    """A run of another model (DEC), in a place of its own."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_run, tmp_path / "runs" / "tiny")
    return pipeline.load_run("tiny", "cpu")


def test_a_run_keeps_its_attackers_and_says_which_are_stale(run, blobs):
    with pytest.raises(ValueError, match=r"expected a fitted attacker .* got no such file"):
        pipeline.attack_of(run, "alrdc")
    with pytest.raises(ValueError, match="unknown attack 'cubic'; known: alrdc, alrdc-relu"):
        fit_attacker(run, blobs, "cubic")
    with pytest.raises(ValueError, match="expected a learned attack, got 'pgd'"):
        fit_attacker(run, blobs, "pgd")
    assert run.attackers == {}
    old = run.folder / "paths" / "alrdc-embedding-l2.npz"
    old.parent.mkdir()
    old.write_bytes(b"walked by the attacker before")
    key = PathKey("alrdc", "embedding", "l2")
    names = [runs.cached_path_file(run.info, key).name]
    for seed in (0, 1):
        file = fit_attacker(run, blobs, seed=seed)
        names.append(runs.cached_path_file(run.info, key).name)
    assert len(set(names)) == 3
    assert not old.exists()
    assert file == run.folder / "attackers" / "alrdc.safetensors"
    fit_attacker(run, blobs, "alrdc-relu")
    assert run.attackers == {"alrdc": False, "alrdc-relu": False}
    attack = pipeline.attack_of(run, "alrdc")
    result = pipeline.attack(run.model, blobs.x, attack, eps=0.5, space="embedding", norm="l2")
    torch.testing.assert_close(result.l2, torch.full((64,), 0.5))
    scores = pipeline.evaluate(
        run.model, blobs, under=attack, eps=0.5, space="embedding", norm="l2"
    )
    assert scores.moved.value == float(result.moved.float().mean())
    with pytest.raises(ValueError, match="'alrdc': expected no settings beside one that is ready"):
        pipeline.attack(run.model, blobs.x, attack, eps=0.5, space="embedding", epochs=3)
    card = json.loads((run.folder / "card.json").read_text())
    assert attack.fitted_on == card["weights_sha256"]
    attack.save(file, "0" * 64)
    assert run.attackers == {"alrdc": True, "alrdc-relu": False}
    assert pipeline.attack_of(run, "alrdc").fitted_on == "0" * 64
    assert type(pipeline.attack_of(run, "pgd")) is PGD


def test_the_command_line_fits_and_then_attacks(place_of_digits, capsys):
    assert main(["attack", "d", "--attack", "pgd", "--fit"]) == 2
    assert "--fit: expected a learned attack, got 'pgd'" in capsys.readouterr().err
    assert main(["attack", "d", "--attack", "alrdc", "--eps", "1"]) == 2
    assert "got no such file" in capsys.readouterr().err
    assert main(["attack", "d", "--attack", "alrdc", "--fit", "--eps", "1"]) == 0
    out = capsys.readouterr().out
    assert "epoch 10 of 10: loss" in out
    assert '"strength": 1.0' in out
    assert (place_of_digits / "attackers" / "alrdc.safetensors").is_file()


@pytest.fixture
def place_of_digits(tmp_path, monkeypatch, digits):
    """The folder of a run on digits that has learned next to nothing."""
    monkeypatch.setenv("DRIFTMAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    plan = Plan(
        "dec",
        "digits",
        {"width": 4, "dim": 4, "autoencode": 2, "cluster": 1},
        train={"device": "cpu", "lr": 3e-3},
    )
    return make.make_run("d", plan, digits)
