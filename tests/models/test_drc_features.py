"""Features first, heads fitted to them, the surest of each cluster: against slow oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from clustcore.models import drc_stages as extra
from clustcore.models.base import TrainData, Views
from clustcore.models.drc import DRC
from clustcore.training.epoch import TrainConfig, Training
from clustcore.training.epoch import draw as draw_views
from clustcore.training.views import AugmentConfig, view
from tests.conftest import make_blobs


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(**config) -> DRC:
    torch.manual_seed(0)
    return DRC(DRC.Config(**({"clusters": 3, "width": 4, "alone": 0} | config)))


def directions(n: int = 300, k: int = 5, dim: int = 8) -> tuple[torch.Tensor, np.ndarray]:
    """Points about k directions, of any length, and which is whose."""
    y = np.arange(n) % k
    z = 6 * F.normalize(draw(k, dim, seed=1), dim=1)[y] + draw(n, dim, seed=2) * 0.4
    return z * (0.5 + torch.rand(n, 1, generator=torch.Generator().manual_seed(3))), y


@pytest.mark.parametrize("count", [2, 3])
def test_nt_xent_is_that_of_a_loop(count):
    views, tau = [draw(6, 4, seed=i) for i in range(count)], 0.3
    losses = []
    for a in range(count):
        for b in range(count):
            if a == b:
                continue
            for i in range(6):

                def like(u, v):
                    return math.exp(float(F.cosine_similarity(u, v, dim=0)) / tau)

                anchor = views[a][i]
                others = sum(like(anchor, views[b][j]) for j in range(6))
                others += sum(like(anchor, views[a][j]) for j in range(6) if j != i)
                losses.append(-math.log(like(anchor, views[b][i]) / others))
    found = float(extra.nt_xent(views, tau))
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_nt_xent_of_two_views_is_the_same_from_either_side():
    a, b = draw(5, 3), draw(5, 3, seed=1)
    torch.testing.assert_close(extra.nt_xent([a, b], 0.2), extra.nt_xent([b, a], 0.2))


def test_the_stage_of_features_is_drcs_loss_and_nt_xent_of_the_projections():
    model = make(features=1, norm="group", tau_f=0.1, weight_i=3.0)
    x = torch.rand(12, 1, 28, 28)
    views = Views(x, x, x.flip(3), torch.arange(12))
    loss = model.stages()[0].loss(views, {})
    plain = make(features=0, alone=1, norm="group", tau_f=0.1)
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if "projector" not in n})
    alone = plain.stages()[0].loss(views, {}).total
    heads = [model.projector(model.embed(v)) for v in (views.first, views.second)]
    apart = extra.nt_xent(heads, model.config.tau_i)
    torch.testing.assert_close(loss.total, alone + 3 * apart)
    torch.testing.assert_close(loss.parts["apart"], apart)


def test_views_are_small_for_the_first_part_of_the_epochs(blobs):
    model = make(features=5, small_views=0.6)
    data = TrainData((torch.from_numpy(blobs.x) * 255).round().to(torch.uint8))
    job = Training(model, data, TrainConfig(batch=16), AugmentConfig(), [model], 16)
    (stage,) = model.stages()
    sides = [draw_views(job, stage, torch.arange(4), e, e).first.shape[2:] for e in range(5)]
    assert sides == [(21, 21)] * 3 + [(28, 28)] * 2
    assert draw_views(job, stage, torch.arange(4), 0, 0).clean.shape[2:] == (28, 28)


def test_a_small_view_is_the_whole_one_seen_with_fewer_pixels():
    # of a picture that changes slowly: the mean over blocks of the whole view's pixels
    line = torch.linspace(0, 1, 32)
    x = (0.5 + 0.4 * torch.sin(3 * line[:, None] + 2 * line[None]))[None, None].expand(4, 3, 32, 32)
    how = {"config": AugmentConfig(crop=0.5, flip=0.5, border=True), "seed": 0, "epoch": 0}
    whole = view(x, torch.arange(4), **how)
    small = view(x, torch.arange(4), **how, scale=0.5)
    assert small.shape == (4, 3, 16, 16)
    torch.testing.assert_close(small, F.avg_pool2d(whole, 2), atol=0.01, rtol=0)


def test_nearest_is_scikit_learns():
    z = draw(60, 5)
    finder = NearestNeighbors(n_neighbors=5, metric="cosine").fit(z.numpy())
    np.testing.assert_array_equal(extra.nearest(z, 4).numpy(), finder.kneighbors()[1][:, :4])
    with pytest.raises(ValueError, match="neighbours: expected fewer than the 60 images, got 60"):
        extra.nearest(z, 60)


def test_scans_loss_is_that_of_a_loop():
    p, q = draw(2, 7, 3).softmax(2), draw(2, 7, 3, seed=1).softmax(2)
    for head in range(2):
        rows = [-math.log(float(p[head, i] @ q[head, i])) for i in range(7)]
        mean = [float(p[head, :, k].mean()) for k in range(3)]
        entropy = -sum(m * math.log(m) for m in mean)
        expected = sum(rows) / 7 + 5 * (math.log(3) - entropy)
        assert float(extra.scan(p, q, 5.0)[head]) == pytest.approx(expected, rel=1e-5)


def test_scans_loss_over_all_neighbours_is_the_mean_over_each():
    p, near = draw(50, 3).softmax(1), extra.nearest(draw(50, 4, seed=1), 6)
    each = [extra.scan(p[None], p[near[:, j]][None], 2.0)[0] for j in range(6)]
    torch.testing.assert_close(extra.scan_of_all(p, near, 2.0), torch.stack(each).mean())


def test_heads_are_for_the_features_as_given():
    # on standard features and folded back: the same assignment as that of the standard ones
    z, y = directions()
    z = z * 40 + 100
    weight, bias, loss = extra.fit_labels(z, torch.from_numpy(y), 5, steps=600)
    s = z @ weight.T + bias
    assert adjusted_rand_score(y, s.argmax(1)) == 1
    torch.testing.assert_close(loss, F.cross_entropy(s, torch.from_numpy(y)))


def test_scan_finds_groups_of_neighbours_and_keeps_its_best_head():
    z, y = directions()
    weight, bias, losses = extra.fit_scan(z, 5, heads=6, neighbours=10, steps=500)
    found = (z @ weight.T + bias).softmax(1)
    assert adjusted_rand_score(y, found.argmax(1)) > 0.99
    own = extra.scan_of_all(found, extra.nearest(z, 10), 5.0)
    torch.testing.assert_close(own, losses.min(), rtol=1e-4, atol=1e-4)
    assert losses.max() > losses.min()
    again = extra.fit_scan(z, 5, heads=6, neighbours=10, steps=500)
    torch.testing.assert_close(again[0], weight)


def test_spherical_k_means_parts_as_scikit_learns_on_normalised_features():
    z, _ = directions(400, 6, 10)
    unit = F.normalize(z, dim=1)
    found, cosine = extra.spherical_k_means(z, 6, starts=10)
    theirs = KMeans(6, n_init=10, random_state=0).fit(unit.numpy())
    labels = (unit @ found.T).argmax(1)
    assert adjusted_rand_score(theirs.labels_, labels) == 1
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))
    for k in range(6):  # each direction is that of its points' mean: nothing is left to improve
        torch.testing.assert_close(found[k], F.normalize(unit[labels == k].sum(0), dim=0))
    torch.testing.assert_close(cosine, (unit * found[labels]).sum(1).mean())


def test_more_starts_are_never_worse():
    z = draw(200, 6)
    means = [float(extra.spherical_k_means(z, 8, starts=n)[1]) for n in (1, 3, 9)]
    assert means == sorted(means)


def test_a_share_of_a_hundred_is_so_many():
    sure, told = torch.rand(100), torch.zeros(100, dtype=torch.long)
    for percent in range(1, 101):  # .55 x 100 is a little more than 55
        weights = extra.surest_weights(sure, told, 1, percent / 100)
        assert int((weights > 0).sum()) == percent


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_the_surest_share_of_each_cluster_is_that_of_a_sort(share):
    sure = torch.rand(101, generator=torch.Generator().manual_seed(0))
    told = (torch.rand(101, generator=torch.Generator().manual_seed(1)) ** 2 * 4).long()
    weights = extra.surest_weights(sure, told, 6, share)  # the last two clusters are empty
    totals = []
    for k in range(4):
        rows = np.flatnonzero(told.numpy() == k)
        order = rows[np.argsort(-sure.numpy()[rows])]
        count = math.ceil(share * len(rows))
        assert set(np.flatnonzero(weights.numpy() * (told.numpy() == k))) == set(order[:count])
        totals.append(float(weights[rows].sum()))
    assert totals == pytest.approx([totals[0]] * 4)
    assert float(weights[weights > 0].mean()) == pytest.approx(1)


def test_the_averaged_copy_says_who_is_sure(blobs):
    model = make(surest=3, norm="group", surest_ema=0.5)
    (stage,) = model.stages()
    data = TrainData((torch.from_numpy(blobs.x) * 255).round().to(torch.uint8))
    state = stage.begin(data, 0, {})
    before = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(draw(*value.shape))
    x = torch.from_numpy(blobs.x[:12])
    stage.loss(Views(x, x, x, torch.arange(12), strong=x), state)
    for name, value in model.named_parameters():
        torch.testing.assert_close(state[f"mean.{name}"], (before[name] + value.detach()) / 2)
    told = stage.begin(data, 1, state)
    between = make(norm="group", alone=1)
    mean = {n.removeprefix("mean."): v for n, v in state.items() if n.startswith("mean.")}
    between.load_state_dict(mean)
    with torch.no_grad():
        s = between(data.x.float() / 255)
    assert torch.equal(told["clusters"], s.argmax(1))


def test_the_share_grows_from_the_first_epoch_to_the_last(blobs):
    model = make(surest=4, norm="group", surest_from=0.2, surest_to=0.8)
    (stage,) = model.stages()
    data = TrainData((torch.from_numpy(blobs.x) * 255).round().to(torch.uint8))
    shares = [float((stage.begin(data, e, {})["weights"] > 0).float().mean()) for e in range(4)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=3 / 64)


def test_what_is_sure_is_learned_on_the_stronger_view():
    model = make(surest=1, norm="group", weight_t=2.0)
    x = torch.rand(12, 1, 28, 28)
    views = Views(x, x, x.flip(3), torch.arange(12), strong=x.flip(2))
    (stage,) = model.stages()
    state = stage.begin(TrainData((x * 255).to(torch.uint8)), 0, {})
    plain = make(alone=1, norm="group")
    alone = plain.stages()[0].loss(views, {}).total
    each = F.cross_entropy(plain(x.flip(2)), state["clusters"], reduction="none")
    own = (each * state["weights"]).mean()
    torch.testing.assert_close(stage.loss(views, state).total, alone + 2 * own)


@pytest.mark.parametrize("heads", ["scan", "kmeans", "teacher"])
def test_heads_become_the_assignment_layer_and_change_nothing_else(heads):
    data = make_blobs(90)
    told = torch.from_numpy(data.y)
    model = make(heads=heads, norm="group", head_steps=300, head_starts=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels = TrainData((torch.from_numpy(data.x) * 255).round().to(torch.uint8), told)
    (stage,) = model.stages()
    assert (stage.name, stage.epochs, stage.loss) == ("heads", 1, None)
    said = []
    pixels.on_step = lambda *step: said.append(step)
    numbers = stage.begin(pixels, 0, {})
    assert math.isfinite(numbers["loss"])
    assert said[-1][0] == said[-1][1]
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"assign.weight", "assign.bias"}
    with torch.no_grad():
        z = model.embed(pixels.x.float() / 255)
        labels = model.scores(z).argmax(1)
    if heads == "kmeans":
        expected = (F.normalize(z, dim=1) @ extra.spherical_k_means(z, 3, starts=4)[0].T).argmax(1)
    else:
        fit = extra.fit_scan if heads == "scan" else extra.fit_labels
        given = {"heads": 4} if heads == "scan" else {"labels": told}
        weight, bias, _ = fit(z, clusters=3, steps=300, **given)
        expected = (z @ weight.T + bias).argmax(1)
    assert torch.equal(labels, expected)


def test_features_that_cannot_be_parted_are_refused():
    z = torch.ones(30, 4)
    with pytest.raises(ValueError, match="features: expected different ones, got the same for all"):
        extra.fit_scan(z, 3, neighbours=4)
    with pytest.raises(ValueError, match="features: expected different ones"):
        extra.spherical_k_means(z, 3)
    with pytest.raises(
        ValueError, match="expected finite numbers, got NaN, infinity or near to it"
    ):
        extra.fit_scan(draw(30, 4) * 1e25, 3, neighbours=4)
    with pytest.raises(ValueError, match="at least 3 features other than 0, got 2"):
        extra.spherical_k_means(torch.cat([torch.zeros(28, 4), torch.eye(4)[:2]]), 3)
    z[3, 1] = torch.nan
    with pytest.raises(ValueError, match="features: expected finite numbers, got NaN"):
        extra.fit_labels(z, torch.zeros(30, dtype=torch.long), 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": "scan"}, "head_neighbours: expected fewer than the 18 images, got 20"),
        ({"alone": 1, "neighbours": 30}, "drc: neighbours: expected fewer than the 18 images"),
        ({"alone": 1, "clusters": 19}, "drc: clusters: expected at most the 18 images, got 19"),
        ({"alone": 1, "taught": 1}, "drc: stage 'taught': expected a teacher, got none"),
        ({"alone": 1, "heads": "teacher"}, "drc: stage 'heads': expected a teacher, got none"),
    ],
)
def test_what_is_bound_to_fail_is_said_before_training_starts(config, message):
    from clustcore.training.epoch import TrainConfig
    from clustcore.training.loop import train
    from clustcore.training.views import AugmentConfig

    data = TrainData(torch.zeros(18, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match=message):
        train(make(**config), data, TrainConfig(batch=6, device="cpu"), AugmentConfig())


def test_heads_that_follow_a_teacher_ask_for_one():
    data = TrainData(torch.zeros(18, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match="stage 'heads': expected a teacher, got none"):
        make(heads="teacher").stages()[0].begin(data, 0, {})


@pytest.mark.parametrize("side", [32, 48, 64, 96])
def test_the_narrow_backbone_takes_colour_images_of_many_sizes(side):
    model = make(backbone="narrow", input_shape=(3, side, side))
    assert model.embed(torch.rand(2, 3, side, side)).shape == (2, 256)
    weights = sum(value.numel() for value in model.backbone.parameters())
    assert weights == pytest.approx(1.1e6, rel=0.02)


def test_the_narrow_backbone_says_what_is_too_small():
    with pytest.raises(ValueError, match="at least 8 pixels a side, got 6 x 6"):
        make(backbone="narrow", input_shape=(3, 6, 6))
