"""The loop: it learns, it is seeded, it resumes to the same weights, and it stops with a reason."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import Conv2d

from clustcore.distributed import pick_device
from clustcore.models.base import Loss, TrainData, Views
from clustcore.models.dec import DEC
from clustcore.training.epoch import TrainConfig, TrainingFailed
from clustcore.training.loop import train
from clustcore.training.resume import RESUME, load_resume
from clustcore.training.views import AugmentConfig, uniform, view
from tests.conftest import make_blobs

CONFIG = TrainConfig(batch=16, device="cpu", lr=3e-3)
STAGES = {"clusters": 3, "dim": 4, "width": 4, "autoencode": 4, "cluster": 2}


def make(seed: int = 0) -> DEC:
    torch.manual_seed(seed)
    return DEC(DEC.Config(**STAGES))


def data(n: int = 64) -> TrainData:
    return TrainData(torch.from_numpy((make_blobs(n).x * 255).astype(np.uint8)))


class Cancel(Exception):
    """What a caller raises to stop."""


def stepped(layer: torch.nn.Module) -> list[tuple[torch.dtype, bool]]:
    """The numbers and the layout (channels last or not) of what the layer gives in each step; what
    looks at the model between the steps has neither gradients nor the steps' precision.
    """
    seen = []

    def look(_: torch.nn.Module, __: object, y: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            seen.append((y.dtype, y.is_contiguous(memory_format=torch.channels_last)))

    layer.register_forward_hook(look)
    return seen


def test_the_loss_falls_and_every_epoch_is_told_once():
    told = []
    progress = train(make(), data(), CONFIG, AugmentConfig(), on_epoch=told.append)
    assert progress.finished
    assert [epoch.epoch for epoch in told] == list(range(6))
    assert [epoch.stage for epoch in told] == ["autoencode"] * 4 + ["cluster"] * 2
    assert told[3].parts["reconstruction"] < told[0].parts["reconstruction"]
    for epoch in told:
        assert sum(epoch.sizes) == 64
        assert 0 <= epoch.entropy_sample <= 1.0001
        assert 0 <= epoch.entropy_mean <= 1.0001
        assert epoch.total == 6


@pytest.mark.parametrize("stop_after", [0, 3, 4])
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path, stop_after):
    # 3: within a stage; 4: at the first epoch of the next one
    whole = make()
    train(whole, data(), CONFIG, AugmentConfig())

    def stop(epoch):
        if epoch.epoch == stop_after:
            raise Cancel

    with pytest.raises(Cancel):
        train(make(), data(), CONFIG, AugmentConfig(), folder=tmp_path, on_epoch=stop)
    resumed = make(seed=9)  # other weights: they must come from the file
    progress = train(resumed, data(), CONFIG, AugmentConfig(), folder=tmp_path)
    assert [row["epoch"] for row in progress.history] == list(range(6))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(6))


def test_bfloat16_learns_about_the_same_and_keeps_the_weights_in_float32():
    exact, half = make(), make()
    told = [], []
    train(exact, data(), CONFIG, AugmentConfig(), on_epoch=told[0].append)
    config = dataclasses.replace(CONFIG, precision="bfloat16")
    seen = stepped(next(part for part in half.encoder.modules() if isinstance(part, Conv2d)))
    train(half, data(), config, AugmentConfig(), on_epoch=told[1].append)
    assert {kind for kind, _ in seen} == {torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in half.parameters())
    pairs = [
        (a.parts["reconstruction"], b.parts["reconstruction"]) for a, b in zip(*told, strict=True)
    ][:4]
    assert all(a != b for a, b in pairs)  # it was on
    assert all(abs(a - b) < 0.02 * a for a, b in pairs)
    with pytest.raises(ValueError, match=r"TrainConfig.precision: expected one of auto"):
        TrainConfig(precision="half")


def test_a_time_limit_stops_and_says_that_it_is_not_finished(tmp_path):
    config = TrainConfig(batch=16, device="cpu", minutes=1e-9)
    progress = train(make(), data(), config, AugmentConfig(), folder=tmp_path)
    assert not progress.finished


def test_a_loss_that_is_not_finite_stops_with_part_and_epoch(tmp_path):
    model = make()
    stages = model.stages()
    good = stages[0].loss

    def bad(views, state):
        loss = good(views, state)
        return Loss(loss.total * float("nan"), {"reconstruction": loss.total * float("nan")})

    stages[0].loss = good
    stages[1].loss = bad
    model.stages = lambda: stages
    with pytest.raises(
        TrainingFailed, match=r"'cluster', epoch 4: .*got nan \(part reconstruction\)"
    ):
        train(model, data(), CONFIG, AugmentConfig(), folder=tmp_path)
    fresh = make(seed=5)
    progress, _ = load_resume(tmp_path, fresh, fresh.stages())
    assert len(progress.history) == 4  # the last whole epoch is kept
    assert all(torch.isfinite(value).all() for value in fresh.state_dict().values())


def test_a_collapse_stops_with_a_reason():
    model = make()
    stage = model.stages()[-1]
    stage.begin = lambda data, epoch, state: {}

    def collapse(views, state):
        z = model.embed(views.first)
        with torch.no_grad():
            model.centroids.copy_(torch.full_like(model.centroids, 100.0))
            model.centroids[0] = 0
        total = z.square().mean()
        return Loss(total, {"pull": total})

    stage.loss = collapse
    model.stages = lambda: [stage]
    with pytest.raises(TrainingFailed, match=r"got 100% in one: the clustering has collapsed"):
        train(model, data(), CONFIG, AugmentConfig())


def test_resume_state_of_another_model_is_refused(tmp_path):
    train(make(), data(), CONFIG, AugmentConfig(), folder=tmp_path)
    other = DEC(DEC.Config(**STAGES | {"dim": 5}))
    with pytest.raises(ValueError, match="expected the state of DEC"):
        load_resume(tmp_path, other, other.stages())
    (tmp_path / RESUME).write_bytes(b"half")
    with pytest.raises(ValueError, match="expected resume state"):
        load_resume(tmp_path, other, other.stages())


def test_resume_state_of_other_settings_is_refused(tmp_path):
    train(make(), data(), CONFIG, AugmentConfig(), folder=tmp_path, origin="a")
    with pytest.raises(ValueError, match="expected the state of a training with these settings"):
        train(make(), data(), CONFIG, AugmentConfig(), folder=tmp_path, origin="b")


def test_no_epochs_are_no_training():
    model = make()
    model.stages = list
    with pytest.raises(ValueError, match="expected a stage with epochs, got none"):
        train(model, data(), CONFIG, AugmentConfig())


def test_a_device_that_is_not_there_is_said():
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match=r"device 'cuda:99': expected one of this machine"):
        pick_device("cuda:99")
    for name in ("gpu", "meta"):
        with pytest.raises(ValueError, match=f"device '{name}'"):
            pick_device(name)


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="expected at least 2 images, got 1"):
        train(make(), data(1), CONFIG, AugmentConfig())


def test_a_view_depends_on_nothing_but_seed_epoch_view_and_id():
    x, ids = torch.rand(8, 1, 28, 28), torch.arange(8)
    config = AugmentConfig(flip=0.5, contrast=0.3)
    whole = view(x, ids, config, seed=1, epoch=2)
    alone = view(x[5:6], ids[5:6], config, seed=1, epoch=2)
    torch.testing.assert_close(whole[5:6], alone)
    for other in (
        {"seed": 2, "epoch": 2},
        {"seed": 1, "epoch": 3},
        {"seed": 1, "epoch": 2, "index": 1},
    ):
        assert not torch.allclose(view(x, ids, config, **other), whole)


def test_no_augmentation_is_the_identity():
    x = torch.rand(4, 3, 32, 32)
    config = AugmentConfig(rotate=0.0, scale=0.0, shift=0.0, shear=0.0)
    torch.testing.assert_close(view(x, torch.arange(4), config, seed=0, epoch=0), x)


def test_a_sure_flip_is_torchs_flip():
    x = torch.rand(4, 3, 32, 32)
    config = AugmentConfig(rotate=0.0, scale=0.0, shift=0.0, shear=0.0, flip=1.0)
    torch.testing.assert_close(view(x, torch.arange(4), config, seed=0, epoch=0), x.flip(3))


def test_draws_are_uniform_and_independent():
    u = uniform(0, 0, 0, torch.arange(20_000), 4).double()
    assert u.min() >= 0
    assert u.max() < 1
    # 5 standard errors around the moments of the uniform distribution
    assert torch.allclose(
        u.mean(0), torch.full((4,), 0.5).double(), atol=5 * (1 / 12 / 20_000) ** 0.5
    )
    assert torch.allclose(u.var(0), torch.full((4,), 1 / 12).double(), atol=0.004)
    across = torch.corrcoef(torch.cat([u.T, uniform(0, 1, 0, torch.arange(20_000), 4).double().T]))
    assert (across - torch.eye(8)).abs().max() < 5 / 20_000**0.5


def test_weights_that_stop_being_numbers_stop_the_run_before_they_are_saved(tmp_path):
    # a finite loss with a gradient that is none: only the weights after the last step show it
    model = make()
    (stage, *_) = model.stages()
    stage.loss = lambda views, state: broken_root(model, views)
    model.stages = lambda: [stage]
    with pytest.raises(TrainingFailed, match=r"epoch 0: weights: expected finite assignments"):
        train(model, data(16), CONFIG, AugmentConfig(), folder=tmp_path)
    assert not (tmp_path / RESUME).exists()


def broken_root(model: DEC, views: Views) -> Loss:
    z = model.embed(views.clean)
    loss = (z - z.detach()).square().sum().sqrt()
    return Loss(loss, {"root": loss})


STILL = {"rotate": 0.0, "scale": 0.0, "shift": 0.0, "shear": 0.0}


def test_a_crop_shows_a_part_of_the_image_and_keeps_its_lines_straight():
    # an image that is its own coordinates: every view is then the affine map that made it
    side = 64
    line = (torch.arange(side) + 0.5) / side
    x = torch.stack(
        [line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)]
    )
    views = view(
        x.expand(200, 3, side, side),
        torch.arange(200),
        AugmentConfig(**STILL, crop=0.2),
        seed=0,
        epoch=0,
    )
    inner = views[:, :2, 8:-8, 8:-8]  # away from the edge, where bilinear sampling meets the border
    width = inner[:, 0].diff(dim=2).mean((1, 2)) * side
    height = inner[:, 1].diff(dim=1).mean((1, 2)) * side
    area = width * height
    assert float(area.min()) >= 0.2 - 1e-3
    assert float(area.max()) <= 1 + 1e-3
    assert 0.9 < float(area.mean()) / 0.6 < 1.1  # uniform from 0.2 to 1
    assert ((width / height).log().abs() <= torch.tensor(4 / 3).log() + 1e-3).all()
    assert views.min() >= 0
    assert torch.allclose(inner[:, 0].diff(dim=1), torch.zeros(()), atol=1e-4)


def test_the_colour_matrix_is_torchvisions_steps_where_nothing_is_cut():
    from torchvision.transforms import functional as tv

    torch.manual_seed(0)
    x = 0.4 + 0.1 * torch.rand(3, 3, 8, 8)  # far from 0 and 1, so that no step cuts
    ids = torch.arange(3)
    out = view(x, ids, AugmentConfig(**STILL, jitter=0.4), seed=5, epoch=1)
    gains = 1 + (2 * uniform(5, 1, 0, ids, 16)[:, 13:16] - 1) * 0.4
    for i in range(3):
        bright, contrast, saturation = (float(g) for g in gains[i])
        # each step alone is linear; contrast is about the mean luma, which saturation keeps
        expected = tv.adjust_saturation(x[i], saturation)
        expected = tv.adjust_brightness(tv.adjust_contrast(expected, contrast), bright)
        torch.testing.assert_close(out[i], expected, atol=2e-3, rtol=0)


def test_a_hue_turn_keeps_greys_and_a_grey_view_has_none():
    x = torch.rand(5, 1, 8, 8).expand(5, 3, 8, 8)
    turned = view(x, torch.arange(5), AugmentConfig(**STILL, hue=0.5), seed=0, epoch=0)
    torch.testing.assert_close(turned, x)
    colours = torch.rand(5, 3, 8, 8)
    grey = view(
        colours, torch.arange(5), AugmentConfig(**STILL, grey=1.0, jitter=0.3), seed=0, epoch=0
    )
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    assert not torch.allclose(
        view(colours, torch.arange(5), AugmentConfig(**STILL, hue=0.5), seed=0, epoch=0), colours
    )
