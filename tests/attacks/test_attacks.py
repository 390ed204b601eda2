"""Every attack keeps the contract; the laws that hold between attacks; closed forms; messages."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from clustcore.attacks import ATTACKS, objectives
from clustcore.attacks.alrdc import Perturb
from clustcore.attacks.base import Attack, Budget, Goal, Problem, Target, dead_gradients
from clustcore.attacks.exact import Exact
from clustcore.attacks.fgsm import FGSM
from clustcore.attacks.min_flip import MinFlip, MinFlipConfig
from clustcore.attacks.noise import Noise
from clustcore.attacks.pgd import PGD, PGDConfig
from clustcore.attacks.seeds import draw
from clustcore.registry import lookup
from clustcore.types import AttackResult

NORMS = {"linf": ("linf", "pixels"), "l2": ("l2", "pixels"), "rho": ("l2", "embedding")}
EPS = {"linf": 0.1, "l2": 0.6, "rho": 0.6}
STRENGTHS = {key: [0.0, *(eps * (k / 4) ** 1.6 for k in range(1, 5))] for key, eps in EPS.items()}
CASES = [
    pytest.param(attack, key, id=f"{name}-{key}")
    for name in ATTACKS
    for attack in [lookup(ATTACKS, name, "attack")]
    for key, (_, space) in NORMS.items()
    if space in attack.spaces
]
GRADIENT = [FGSM, PGD]
UNIT = 3.0
# What holds for any search holds for a short one.
SHORT = {"pgd": {"steps": 10, "path_steps": 8}, "min_flip": {"steps": 6, "rounds": 4}}


class Net(nn.Module):
    """A small classifier of digits, with what could be left changed: dropout and running means."""

    def __init__(self, sharpen: float = 1.0) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Dropout(0.1)]
        layers += [nn.AvgPool2d(2), nn.Flatten()]
        self.body, self.last, self.sharpen = nn.Sequential(*layers), nn.Linear(128, 10), sharpen

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(z)

    def soft(self, z: torch.Tensor) -> torch.Tensor:
        return (self.scores(z) / self.sharpen).softmax(1)

    def head(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.last.weight, self.last.bias


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    found = load_digits()
    return torch.from_numpy(found.images[:, None] / 16).float(), torch.from_numpy(found.target)


@pytest.fixture(scope="module")
def net(digits) -> Net:
    x, y = (part[:1500] for part in digits)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net()
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(8):
            for rows in torch.randperm(len(x)).split(100):
                loss = nn.functional.cross_entropy(model.scores(model.embed(x[rows])), y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def target(net) -> Target:
    return Target.of(net)


@pytest.fixture(scope="module")
def held_out(digits) -> torch.Tensor:
    return digits[0][1500:1650]


def linear(
    k: int = 4, d: int = 9, seed: int = 0, scale: float = 1.0
) -> tuple[Target, torch.Tensor, torch.Tensor]:
    """A model whose embedding is the image itself and whose scores are affine, with W and b."""
    generator = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(k, d, generator=generator)
    bias = scale * torch.randn(k, generator=generator)
    target = Target(lambda x: x.flatten(1), lambda z: z @ weight.T + bias, head=(weight, bias))
    return target, weight, bias


def images(n: int, side: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def short(attack: type[Attack]) -> Attack:
    if not attack.learned:
        return attack(attack.Config(**SHORT.get(attack.name, {})))
    with torch.random.fork_rng(devices=[]):  # the contract holds for any map, learned or drawn
        torch.manual_seed(0)
        return attack(perturb=Perturb((1, 8, 8), 128, attack.kind))


def points_of(result) -> torch.Tensor:
    return result.x_adv if result.z_adv is None else result.z_adv


def clean_points(target: Target, x: torch.Tensor, space: str) -> torch.Tensor:
    return x if space == "pixels" else target.embed(x)


def budget(key: str, eps: float | torch.Tensor | None = None) -> Budget:
    return Budget(EPS[key] if eps is None else eps, *NORMS[key], unit=UNIT)


# --- the contract, held by every attack -----------------------------------------------------------


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_inside_the_ball_and_the_box_and_counted_by_the_base(attack, key, target, held_out):
    x, (norm, space) = held_out[:40], NORMS[key]
    eps = torch.linspace(0, 2 * EPS[key], len(x))
    result = short(attack)(target, x, Goal(), budget(key, eps))
    points, clean = points_of(result), clean_points(target, x, space)
    delta = (points - clean).flatten(1).double().numpy() / (UNIT if key == "rho" else 1)
    l2, linf = np.sqrt((delta**2).sum(1)), np.abs(delta).max(1)
    assert ((l2 if norm == "l2" else linf) <= eps.numpy() + 1e-6).all()
    assert key == "rho" or (points >= 0).all()
    assert key == "rho" or (points <= 1).all()
    np.testing.assert_allclose(result.l2, l2, atol=1e-5)
    np.testing.assert_allclose(result.linf, linf, atol=1e-5)
    z = points if space == "embedding" else target.embed(points)
    after = target.scores(z).argmax(1)
    assert torch.equal(result.after, after)
    assert torch.equal(result.before, target.scores(target.embed(x)).argmax(1))
    assert torch.equal(result.moved, result.after != result.before)
    torch.testing.assert_close(result.eps, eps)
    assert (result.norm, result.space) == (norm, space)
    assert (result.steps == 0) == (attack.learned or attack in (Noise, Exact))


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_strength_zero_changes_nothing(attack, key, target, held_out):
    result = short(attack)(target, held_out[:20], Goal(), budget(key, 0.0))
    clean = clean_points(target, held_out[:20], NORMS[key][1])
    assert torch.equal(points_of(result), clean)
    assert not result.moved.any()


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_the_model_is_left_as_found(attack, key, net, held_out):
    model = copy.deepcopy(net).train()
    model.body[1].eval()  # a mixture of modes and of what is trained
    model.last.requires_grad_(True)
    model.last.weight.grad = torch.ones_like(model.last.weight)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    asks = [p.requires_grad for p in model.parameters()]
    random = torch.get_rng_state()
    trained = short(attack)(Target.of(model), held_out[:12], Goal(), budget(key))
    settled = short(attack)(Target.of(net), held_out[:12], Goal(), budget(key))
    assert torch.equal(points_of(trained), points_of(settled))  # dropout did not act
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert asks == [p.requires_grad for p in model.parameters()]
    assert [p.grad is None for p in model.parameters()] == [True] * 6 + [False, True]
    assert torch.equal(model.last.weight.grad, torch.ones_like(model.last.weight))
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_seed_order_and_company_of_a_sample_do_not_matter(attack, key, target, held_out):
    x, ids = held_out[:24], torch.arange(100, 124)

    def run(rows: torch.Tensor) -> AttackResult:
        return short(attack)(target, x[rows], Goal(), budget(key), ids[rows], seed=5)

    whole = points_of(run(torch.arange(24)))
    assert torch.equal(whole, points_of(run(torch.arange(24))))
    back = torch.arange(23, -1, -1)
    torch.testing.assert_close(points_of(run(back))[back], whole, atol=1e-4, rtol=0)
    for row in (3, 17):
        alone = points_of(run(torch.tensor([row])))
        torch.testing.assert_close(alone[0], whole[row], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_a_path_is_monotone_inside_its_strengths_and_agrees_with_smallest(
    attack, key, target, held_out
):
    x, (norm, space) = held_out[:60], NORMS[key]
    path = short(attack).path(target, x, Goal(), budget(key), STRENGTHS[key])
    points = path.z if path.x_adv is None else path.x_adv
    clean = clean_points(target, x, space)
    assert (path.x_adv is None) == (space == "embedding")
    assert torch.equal(points[0], clean)
    assert torch.equal(path.before, target.scores(target.embed(x)).argmax(1))
    delta = (points - clean).flatten(2).double() / (UNIT if key == "rho" else 1)
    size = delta.abs().amax(2) if norm == "linf" else delta.norm(dim=2)
    assert (size <= path.strengths.double()[:, None] + 1e-6).all()
    torch.testing.assert_close(
        path.linf if norm == "linf" else path.l2, size.float(), atol=1e-5, rtol=0
    )
    moved = path.labels != path.before
    assert (moved[1:] >= moved[:-1]).all()
    assert torch.equal(moved, path.smallest <= path.strengths[:, None])
    assert torch.equal(path.smallest.isnan(), ~moved[-1])
    assert moved[-1].any() or attack is Noise or attack.learned
    # The point that `smallest` names on the line between two steps has moved.
    for row in moved[-1].nonzero()[:, 0].tolist():
        k = int(moved[:, row].int().argmax())
        low, high = path.strengths[k - 1], path.strengths[k]
        at = torch.lerp(
            points[k - 1, row], points[k, row], (path.smallest[row] - low) / (high - low)
        )
        z = at[None] if space == "embedding" else target.embed(at[None])
        lead = torch.cat([target.scores(z)[0], path.s[0, row]]).diff().abs().max()
        margin = objectives.margin(target.scores(z), path.before[[row]], None).item()
        assert margin > -1e-3 * lead


@pytest.mark.parametrize("attack", GRADIENT)
@pytest.mark.parametrize("key", NORMS)
def test_a_gradient_beats_noise_of_equal_size_on_a_linear_model(attack, key):
    linear_target, x = linear()[0], images(200)
    mine = short(attack)(linear_target, x, Goal(), budget(key, 0.1))
    noise = Noise()(linear_target, x, Goal(), budget(key, 0.1))
    assert mine.moved.sum() > noise.moved.sum() > 0


@pytest.mark.parametrize(("attack", "key"), CASES)
def test_a_target_is_entered_and_who_is_there_stays(attack, key, target, held_out):
    if not attack.targeted:
        with pytest.raises(ValueError, match="expected no target cluster, got 3"):
            short(attack)(target, held_out[:4], Goal(target=3), budget(key))
        return
    result = short(attack)(target, held_out[:60], Goal(target=3), budget(key, 3 * EPS[key]))
    assert torch.equal(result.moved, (result.after == 3) & (result.before != 3))
    assert (result.before == 3).any()
    if attack is not Noise:
        assert result.moved.sum() > 5


# --- laws between attacks -------------------------------------------------------------------------


@pytest.mark.parametrize("key", NORMS)
def test_pgd_moves_at_least_as_many_as_fgsm_and_fgsm_as_noise(key, target, held_out):
    rates = [
        attack()(target, held_out, Goal(), budget(key)).moved.float().mean()
        for attack in (PGD, FGSM, Noise)
    ]
    assert rates[0] >= rates[1] > rates[2]


@pytest.mark.parametrize("key", ["linf", "rho"])
def test_a_path_reaches_what_single_strengths_reach(key, target, held_out):
    x = held_out[:100]
    path = PGD().path(target, x, Goal(), budget(key), STRENGTHS[key])
    moved = (path.labels != path.before).float().mean(1)
    for k, eps in enumerate(STRENGTHS[key]):
        single = PGD()(target, x, Goal(), budget(key, eps)).moved.float().mean()
        assert moved[k] >= single - 0.011


@pytest.mark.parametrize(
    ("attack", "key"), [(PGD, "linf"), (PGD, "l2"), *((MinFlip, k) for k in NORMS)]
)
def test_without_a_bound_all_move(attack, key, target, held_out):
    result = short(attack)(target, held_out[:60], Goal(), budget(key, math.inf))
    assert result.moved.all()


@pytest.mark.slow
@pytest.mark.parametrize("key", NORMS)
def test_more_steps_and_restarts_change_less_than_a_point(key, target, digits):
    rates = [
        PGD(config)(target, digits[0][1500:1700], Goal(), budget(key)).moved.float().mean()
        for config in (PGDConfig(), PGDConfig(steps=80), PGDConfig(restarts=5))
    ]
    assert max(rates) - min(rates) < 0.01


@pytest.mark.parametrize("key", NORMS)
@pytest.mark.parametrize("attack", GRADIENT)
def test_the_scale_of_the_scores_changes_no_flip(attack, key, net, held_out):
    plain, large = Target.of(net), Target(net.embed, lambda z: 100 * net.scores(z))
    moved = [attack()(t, held_out, Goal(), budget(key)).moved for t in (plain, large)]
    assert torch.equal(*moved)


@pytest.mark.parametrize("key", ["linf", "rho"])
def test_min_flip_finds_smaller_flips_than_a_path_within_and_without_a_bound(key, target, held_out):
    x = held_out[:40]
    path = PGD().path(target, x, Goal(), budget(key), STRENGTHS[key])
    search = MinFlip(MinFlipConfig(steps=15, rounds=6))
    found = [search(target, x, Goal(), budget(key, eps)) for eps in (None, math.inf)]
    bound, free = ((r.linf if key == "linf" else r.l2).where(r.moved, torch.inf) for r in found)
    by_path = path.smallest.nan_to_num(torch.inf)
    assert (bound <= EPS[key]).float().mean() >= (by_path <= EPS[key]).float().mean() - 0.02
    assert (free < torch.inf).all()
    every = (bound < torch.inf) & (by_path < torch.inf)
    assert every.any()
    assert bound[every].mean() < 1.002 * by_path[every].mean()
    torch.testing.assert_close(bound[every].mean(), free[every].mean(), atol=0, rtol=0.02)


@pytest.mark.filterwarnings("ignore:Please import .* from the `scipy:DeprecationWarning")
def test_foolbox_finds_no_more(net, target, held_out):
    import eagerpy
    import foolbox

    class Margin(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model, labels):
            def loss(inputs):
                lead = objectives.margin(model(inputs).raw, labels.raw, None)
                return eagerpy.astensor(lead.sum())

            return loss

    labels = net.scores(net.embed(held_out)).argmax(1)
    rival = foolbox.PyTorchModel(nn.Sequential(net.body, net.last).eval(), bounds=(0, 1))
    for eps in (0.05, 0.1):
        mine = PGD()(target, held_out, Goal(), Budget(eps)).moved.float().mean().item()
        for kind in (foolbox.attacks.LinfPGD, Margin):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                attack = kind(rel_stepsize=2.5 / 40, steps=40, random_start=True).repeat(2)
                theirs = attack(rival, held_out, labels, epsilons=eps)[2].float().mean().item()
            assert mine >= theirs - 0.01


# --- closed forms ---------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 6))
def test_exact_is_the_distance_to_the_nearest_wall(seed, k):
    target, weight, bias = linear(k, seed=seed)
    z = images(20, seed=seed + 1).flatten(1)
    w, b, points = weight.double().numpy(), bias.double().numpy(), z.double().numpy()
    expected = []
    for point in points:
        s = [w[j] @ point + b[j] for j in range(k)]
        c = int(np.argmax(s))
        others = [j for j in range(k) if j != c]
        expected.append(min((s[c] - s[j]) / np.sqrt(((w[c] - w[j]) ** 2).sum()) for j in others))
    r = Exact().smallest(target, z, UNIT)
    np.testing.assert_allclose(r * UNIT, expected, rtol=1e-4, atol=1e-6)
    for factor, share in ((0.999, 0.0), (1.001, 1.0)):
        moved = Exact()(target, z, Goal(), budget("rho", r * factor)).moved
        sure = r * UNIT > 1e-3  # below, a thousandth is less than the scores' rounding
        assert (moved[sure].float() == share).all()


def test_exact_takes_centroids():
    centroids = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    z = torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    target = Target(
        nn.Identity(),
        lambda z: -torch.cdist(z, centroids).square(),
        head=(2 * centroids, -centroids.square().sum(1)),
    )
    distance = (z[:, None] - centroids).square().sum(2)
    near, c = distance.min(1)
    apart = (centroids[c][:, None] - centroids).norm(dim=2)
    expected = ((distance - near[:, None]) / (2 * apart)).nan_to_num(torch.inf).amin(1)
    r = Exact().smallest(target, z)
    torch.testing.assert_close(r, expected, rtol=1e-3, atol=1e-5)
    for factor, share in ((0.999, 0.0), (1.001, 1.0)):
        moved = Exact()(target, z, Goal(), Budget(r * factor, "l2", "embedding")).moved
        assert moved[r > 1e-2].float().mean() == share


def test_exact_has_no_flip_where_clusters_have_one_score():
    weight, bias = torch.ones(3, 4), torch.zeros(3)
    target = Target(nn.Identity(), lambda z: z @ weight.T + bias, head=(weight, bias))
    assert (Exact().smallest(target, torch.rand(5, 4)) == torch.inf).all()


def test_pgd_in_the_embedding_is_within_5_percent_of_exact(target, held_out):
    r = Exact().smallest(target, held_out, UNIT)
    path = PGD().path(target, held_out, Goal(), budget("rho"), STRENGTHS["rho"])
    exact = (r <= path.strengths[:, None]).sum(1)
    found = (path.labels != path.before).sum(1)
    assert (found <= exact).all()
    assert (found >= 0.95 * exact).all()
    table = MinFlip()(target, held_out, Goal(), budget("rho", math.inf))
    assert (table.l2 >= r * (1 - 1e-4)).all()
    assert (table.l2 / r).median() < 1.05


def test_fgsm_in_l2_is_exact_for_two_clusters_on_a_linear_model():
    target = linear(k=2)[0]
    z = images(100).flatten(1)
    r = Exact().smallest(target, z)
    for factor, share in ((0.999, 0.0), (1.001, 1.0)):
        moved = FGSM()(target, z, Goal(), Budget(r * factor, "l2", "embedding")).moved
        assert moved[r > 1e-3].float().mean() == share


# --- the noise control ----------------------------------------------------------------------------


@settings(max_examples=40)
@given(eps=st.floats(0, 0.5), seed=st.integers(0, 1000))
def test_noise_in_linf_keeps_its_size_at_the_borders(eps, seed):
    x = images(4, seed=seed).round(decimals=0)  # black and white: all at a border
    result = Noise()(linear()[0], x, Goal(), Budget(eps, "linf"), seed=seed)
    torch.testing.assert_close((result.x_adv - x).abs(), torch.full_like(x, eps), atol=1e-6, rtol=0)


@settings(max_examples=40)
@given(eps=st.floats(0, 1.0), seed=st.integers(0, 1000))
def test_noise_in_l2_keeps_its_length_at_the_borders(eps, seed):
    x = images(4, seed=seed).round(decimals=0)
    result = Noise()(linear()[0], x, Goal(), Budget(eps, "l2"), seed=seed)
    # Where few coordinates can move, the longest change that [0, 1] allows may be shorter.
    inward = torch.where(x > 0.5, -1.0, 1.0) * (result.x_adv - x)
    assert (inward >= 0).all()
    full = torch.minimum(torch.full((4,), eps), (inward > 0).flatten(1).sum(1).sqrt())
    torch.testing.assert_close(result.l2, full, atol=1e-4, rtol=1e-3)


def test_noise_is_as_long_as_the_attack_that_it_is_drawn_beside(target, held_out):
    for key in NORMS:
        attack, noise = (a()(target, held_out, Goal(), budget(key)) for a in (PGD, Noise))
        assert noise.l2.mean() > 0.97 * attack.l2.mean()


# --- objectives and masking -----------------------------------------------------------------------


def slow_value(name: str, z, s, reference) -> list[float]:
    """Each objective, sample by sample, from its definition."""
    out = []
    for i in range(len(s)):
        row, c, aim = s[i].tolist(), int(reference.labels[i]), None
        if reference.aim is not None:
            aim = int(reference.aim[i])
        exps = [math.exp(v) for v in row]
        p = [e / sum(exps) for e in exps]
        wanted = [float(j == aim) for j in range(len(row))]
        q = reference.p[i].tolist() if aim is None else wanted
        sign = 1 if aim is None else -1
        if aim is None:
            margin = max(v for j, v in enumerate(row) if j != c) - row[c]
        else:
            margin = row[aim] - max(v for j, v in enumerate(row) if j != aim)
        order = sorted(row, reverse=True)
        out.append(
            {
                "margin": margin,
                "multi_targeted": margin,
                "dlr": margin / (order[0] - order[2]),
                "kl": sign * sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0),
                "l2q": sign * sum((a - b) ** 2 for a, b in zip(p, q, strict=True)),
                "overlap": -sign * sum(a * b for a, b in zip(p, q, strict=True)),
                "feature": sum(
                    (a - b) ** 2
                    for a, b in zip(z[i].tolist(), reference.z[i].tolist(), strict=True)
                ),
            }[name]
        )
    return out


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_objectives_against_slow_loops(name, aimed):
    generator = torch.Generator().manual_seed(0)
    z0, z = torch.randn(2, 12, 3, generator=generator).unbind()
    s0, s = torch.randn(2, 12, 5, generator=generator).unbind()
    aim = torch.arange(12) % 5 if aimed else None
    reference = objectives.Reference(s0.argmax(1), z0, s0.softmax(1), aim, None)
    if aimed and name == "feature":
        with pytest.raises(
            ValueError, match="'feature': expected an untargeted goal, got a target"
        ):
            objectives.value(name, z, s, reference)
        return
    expected = slow_value(name, z, s, reference)
    np.testing.assert_allclose(
        objectives.value(name, z, s, reference), expected, rtol=1e-4, atol=1e-5
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_the_softened_margin_brackets_the_margin_and_has_no_scale(seed, scale, shift):
    s = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(6) % 5
    hard = objectives.margin(s, labels, None)
    soft = objectives.soft_margin(s, labels, 0.3)
    assert (soft >= hard - 1e-12).all()
    assert (soft <= hard + 0.3 * s.std(1) * math.log(4) + 1e-12).all()
    torch.testing.assert_close(objectives.soft_margin(scale * s + shift, labels, 0.3), scale * soft)


def test_sharpening_fools_losses_on_probabilities_but_not_the_margin(net, held_out):
    sharp = copy.deepcopy(net)
    sharp.sharpen = 0.01
    plain, sharpened = Target.of(net), Target.of(sharp)
    attack = PGD(PGDConfig(steps=20))
    moved = {
        (name, t is sharpened): attack(t, held_out, Goal(objective=name), Budget(0.1)).moved
        for name, t in itertools.product(("margin", "overlap", "l2q", "kl"), (plain, sharpened))
    }
    assert torch.equal(moved["margin", False], moved["margin", True])
    for name in ("overlap", "l2q", "kl"):
        lost = moved[name, False].float().mean() - moved[name, True].float().mean()
        assert lost > 0.3, name
    assert dead_gradients(sharpened, held_out, Goal(objective="overlap")) > 0.8
    assert dead_gradients(sharpened, held_out, Goal()) < 0.05


def test_multi_targeted_is_the_strong_setting(target, held_out):
    attack = PGD(PGDConfig(steps=15, restarts=1))
    rates = {
        name: attack(target, held_out, Goal(objective=name), Budget(0.08)).moved.float().mean()
        for name in objectives.OBJECTIVES
    }
    assert rates["multi_targeted"] >= rates["margin"] - 0.005
    assert all(rates["multi_targeted"] >= rate - 0.02 for rate in rates.values())
    assert rates["kl"] < rates["margin"]


def test_flat_objectives_start_beside_the_sample(target, held_out):
    for name in objectives.FLAT_AT_CLEAN:
        assert FGSM()(target, held_out[:50], Goal(objective=name), Budget(0.2)).moved.any()


def test_nan_gradients_are_counted_and_do_no_harm():
    weight = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    target = Target(
        lambda x: x.flatten(1), lambda z: (z - z.detach()).abs().sqrt() @ weight.T + z @ weight.T
    )
    x = images(8)
    assert dead_gradients(target, x, Goal()) == 1.0
    for attack, key in itertools.product((FGSM, PGD, MinFlip), NORMS):
        points = points_of(short(attack)(target, x, Goal(), budget(key)))
        assert points.isfinite().all()


# --- draws, progress, memory ----------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), ids=st.lists(st.integers(0, 2**31), min_size=1, max_size=5))
def test_draws_belong_to_the_sample(seed, ids):
    whole = draw(torch.tensor(ids), (2, 3), seed, stream=1)
    assert whole.abs().max() <= 1
    for row, one in zip(whole, ids, strict=True):
        assert torch.equal(row, draw(torch.tensor([one]), (2, 3), seed, stream=1)[0])
    assert not torch.equal(whole, draw(torch.tensor(ids), (2, 3), seed, stream=2))
    assert not torch.equal(whole, draw(torch.tensor(ids), (2, 3), seed + 1, stream=1))


@pytest.mark.parametrize("attack", [PGD, MinFlip])
def test_progress_is_told_and_can_cancel(attack, net, held_out):
    told = []
    model = copy.deepcopy(net).train()

    def run(on_step: Callable[[int, int, str], None]) -> None:
        ask = (Target.of(model), held_out[:20], Goal(), budget("linf"), STRENGTHS["linf"])
        short(attack).path(*ask, on_step=on_step)

    run(lambda *step: told.append(step))
    assert all(0 <= done <= total for done, total, _ in told)
    assert told[-1][:2] == (4, 5)
    assert re.fullmatch(rf"{attack.name}: \d+ of 20 moved", told[-1][2])

    class CancelledError(Exception):
        pass

    def cancel(done: int, total: int, sentence: str) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        run(cancel)
    assert model.training


def test_a_batch_too_large_is_halved_and_that_is_said():
    target, x = linear()[0], images(40)

    def scores(z):
        if len(z) > 16:
            raise torch.OutOfMemoryError
        return target.scores(z)

    with pytest.warns(UserWarning, match="out of memory on cpu: going on with batches of") as said:
        small = PGD()(Target(target.embed, scores), x, Goal(), Budget(0.1))
    assert [str(w.message).split()[-1] for w in said] == ["64", "32", "16"]
    assert torch.equal(small.moved, PGD()(target, x, Goal(), Budget(0.1)).moved)

    def full(z):
        raise torch.OutOfMemoryError("nothing left")

    with pytest.warns(UserWarning, match="batches of"), pytest.raises(torch.OutOfMemoryError):
        PGD()(Target(target.embed, full), x, Goal(), Budget(0.1))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_flips(net, held_out):
    here, there = Target.of(net), Target.of(copy.deepcopy(net).cuda())
    for key in NORMS:
        moved = [PGD()(t, held_out, Goal(), budget(key)).moved for t in (here, there)]
        assert (moved[0] == moved[1]).float().mean() >= 0.99


# --- messages -------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown attack 'pdg'; known: alrdc, alrdc-relu, exact"):
        lookup(ATTACKS, "pdg", "attack")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, r"eps: expected a strength of at least 0, got -0\.1"),
        ({"eps": math.nan}, "eps: expected a strength of at least 0, got nan"),
        ({"eps": torch.tensor([0.1, -1.0])}, r"eps: expected a strength of at least 0, got -1\.0"),
        ({"eps": 0.1, "norm": "l1"}, "unknown norm 'l1'; known: linf, l2"),
        ({"eps": 0.1, "space": "latent"}, "unknown space 'latent'; known: pixels, embedding"),
        ({"eps": 0.1, "space": "embedding"}, "norm: expected 'l2' in the embedding, got 'linf'"),
        ({"eps": 0.1, "unit": 0.0}, r"unit: expected a length above 0, got 0\.0"),
    ],
)
def test_a_budget_checks_itself(arguments, message):
    with pytest.raises(ValueError, match=message):
        Budget(**arguments)


def test_a_goal_checks_itself():
    with pytest.raises(
        ValueError, match="unknown objective 'hinge'; known: margin, multi_targeted"
    ):
        Goal(objective="hinge")
    with pytest.raises(ValueError, match="goal: target: expected a cluster from 0, got -1"):
        Goal(target=-1)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), r"x: expected a float tensor \(n, c, h, w\)"),
        (torch.zeros(2, 9), r"x: expected at least one sample, \(n, c, h, w\), got shape \(2, 9\)"),
        (torch.zeros(0, 1, 3, 3), r"x: expected at least one sample, .*got shape \(0, 1, 3, 3\)"),
        (
            torch.full((2, 1, 3, 3), math.nan),
            "expected finite numbers, got NaN .* in 2 of 2 samples",
        ),
        (torch.full((2, 1, 3, 3), 1.5), r"x: expected pixels in \[0, 1\], got 1\.5 to 1\.5"),
        (torch.full((2, 1, 3, 3), -1.0), r"x: expected pixels in \[0, 1\], got -1 to -1"),
    ],
)
def test_unfit_images_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        Noise()(linear()[0], x, Goal(), Budget(0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goal": Goal(target=4)}, "goal: target: expected a cluster 0 to 3, got 4"),
        ({"ids": [1, 2]}, r"ids: expected 3 whole numbers, one per sample, got .* \(2,\)"),
        ({"ids": [1.0, 2.0, 3.0]}, "ids: expected 3 whole numbers, one per sample, got .*float"),
        (
            {"budget": Budget(torch.ones(2))},
            r"one strength or one per sample \(3\), got shape \(2,\)",
        ),
        ({"budget": Budget(math.inf, "l2", "embedding")}, "pgd: eps: expected a finite strength"),
    ],
)
def test_a_question_that_does_not_fit_is_refused(change, message):
    arguments = {"goal": Goal(), "budget": Budget(0.1)} | change
    with pytest.raises(ValueError, match=message):
        PGD()(linear()[0], images(3), **arguments)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda z: z.sum(1), r"scores: expected shape \(3, clusters\), got \(3,\)"),
        (lambda z: z[:, :1], "scores: expected at least 2 clusters, got 1"),
        (lambda z: z / 0, "got NaN or infinity for 3 of 3 clean samples: the model has diverged"),
        (
            lambda z: z.detach(),
            "expected scores with a gradient, got none: embed or scores detaches",
        ),
    ],
)
def test_a_model_without_usable_scores_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        PGD()(Target(lambda x: x.flatten(1), scores), images(3), Goal(), Budget(0.1))


def test_dlr_needs_three_clusters():
    with pytest.raises(ValueError, match="'dlr': expected at least 3 clusters, got 2"):
        PGD()(linear(k=2)[0], images(3), Goal(objective="dlr"), Budget(0.1))


@pytest.mark.parametrize(
    "strengths",
    [[0.1, 0.2], [0.0], [0.0, 0.2, 0.1], [0.0, math.nan], [0.0, math.inf], [[0.0, 1.0]]],
)
def test_strengths_of_a_path_ascend_from_0(strengths):
    with pytest.raises(
        ValueError, match="strengths: expected finite numbers ascending from 0, got"
    ):
        PGD().path(linear()[0], images(3), Goal(), Budget(0.2), strengths)


@pytest.mark.parametrize("eps", [0.1, 0.3, torch.tensor([0.2, 0.2, 0.2])])
def test_strengths_of_a_path_end_at_its_budget(eps):
    with pytest.raises(ValueError, match="strengths: expected the last to be the budget"):
        PGD().path(linear()[0], images(3), Goal(), Budget(eps), [0.0, 0.1, 0.2])


def test_exact_says_what_it_cannot_do():
    target, weight, bias = linear()

    def ask(target: Target, budget: Budget) -> None:
        Exact()(target, images(3), Goal(), budget)

    with pytest.raises(ValueError, match="exact: space: expected embedding, got 'pixels'"):
        ask(target, Budget(0.1))
    inside = Budget(0.1, "l2", "embedding")
    with pytest.raises(ValueError, match="got a model without such a head"):
        ask(Target(target.embed, target.scores), inside)
    with pytest.raises(
        ValueError, match=r"head: expected shapes \(4, 9\) and \(4,\), got \(3, 9\)"
    ):
        ask(Target(target.embed, target.scores, head=(weight[:3], bias)), inside)
    with pytest.raises(ValueError, match="head: expected the scores up to a common term, got"):
        ask(Target(target.embed, target.scores, head=(weight + 1, bias * 2)), inside)


def test_a_target_is_what_a_model_offers(net):
    target = Target.of(net)
    assert target.decode is None
    assert target.head is not None
    assert Target.of(nn.ModuleDict({"embed": nn.Identity(), "scores": nn.Identity()})).head is None
    problem = Problem(target, torch.rand(2, 1, 8, 8), Goal(), Budget(0.1))
    assert problem.answer(problem.points)[0].shape == (2, 128)


def test_what_is_said_of_attacks_before_they_are_imported_is_so() -> None:
    for name, entry in ATTACKS.items():
        cls = lookup(ATTACKS, name, "attack")
        said = (name, entry.spaces, entry.targeted, entry.learned)
        assert said == (cls.name, cls.spaces, cls.targeted, cls.learned)
