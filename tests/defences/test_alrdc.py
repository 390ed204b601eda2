"""ALRDC's defence: its bound against a slow loop, and what the permutations keep together."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from torch import nn

from clustcore.defences.alrdc import ALRDCDefence, information
from clustcore.files import sha256
from clustcore.models.alrdc import ALRDC
from clustcore.models.base import Views
from clustcore.models.drc import DRC
from clustcore.models.weights import load_model
from clustcore.pipeline.contents import fit_attacker
from clustcore.pipeline.make import defend
from clustcore.pipeline.run import Run
from clustcore.runs import read_card
from clustcore.runs.plan import Plan


class Constant(nn.Module):
    """An attacker that shifts every sample alike."""

    def __init__(self, dim: int, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((dim,), shift))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shift.expand(len(x), -1)


def small(kind: type = ALRDC, shift: float = 0.0) -> tuple[nn.Module, ALRDCDefence]:
    torch.manual_seed(0)
    sizes = {"dim": 4, "p_hidden": 8} if kind is ALRDC else {}
    model = kind(kind.Config(clusters=3, width=4, **sizes))
    attacker = Constant(model.dim, shift)
    return model, ALRDCDefence(ALRDCDefence.Config(units=8), model, attacker)


def batch(n: int = 6) -> Views:
    x = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return Views(x, x, x, torch.arange(n))


def test_the_bound_against_a_slow_loop():
    torch.manual_seed(0)
    t = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    z, seen, order = torch.randn(7, 2).double(), torch.randn(7, 3).double(), torch.randperm(7)
    t.requires_grad_(False)
    total = 0.0
    for i in range(7):
        together = 1 / (1 + math.exp(-t(torch.cat([z[i], seen[i]])).item()))
        apart = 1 / (1 + math.exp(-t(torch.cat([z[i], seen[order[i]]])).item()))
        total -= (math.log(together) + math.log(1 - apart)) / 7
    found = information(t.float(), z.float(), seen.float(), order)
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_a_discriminator_that_knows_nothing_gives_two_log_two():
    nothing = nn.Linear(5, 1)
    nn.init.zeros_(nothing.weight)
    nn.init.zeros_(nothing.bias)
    nothing.requires_grad_(False)
    found = information(nothing, torch.randn(9, 2), torch.randn(9, 3), torch.randperm(9))
    assert float(found) == pytest.approx(2 * math.log(2))


def test_image_and_assignment_move_together(monkeypatch):
    model, defence = small(shift=0.5)
    model.eval()
    model.noise_scale = lambda x: None  # so that a row can be told by its values
    seen = []
    forward = defence.discriminator.forward

    def watch(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.detach())
        return forward(rows)

    monkeypatch.setattr(defence.discriminator, "forward", watch)
    views = batch()
    defence.term(model, views, {})
    with torch.no_grad():
        z = model.embed(views.clean)
        rows = {
            name: torch.cat([model.decode(code).flatten(1), model.soft(code)], 1)
            for name, code in {"clean": z, "attacked": z + 0.5}.items()
        }
    orders = []
    # M1: the attacked latent with what is clean; M2: the clean latent with what is attacked
    for (true, false), latent, shown in zip(
        (seen[:2], seen[2:]), (z + 0.5, z), ("clean", "attacked"), strict=True
    ):
        torch.testing.assert_close(true, torch.cat([latent, rows[shown]], 1))
        torch.testing.assert_close(false[:, :4], latent)
        distance = torch.cdist(false[:, 4:].double(), rows[shown].double())
        order = distance.argmin(1)
        assert distance.amin(1).max() < 1e-4
        assert sorted(order.tolist()) == list(range(6))
        orders.append(order.tolist())
    assert orders[0] != orders[1]


def test_the_noise_is_one_draw_for_both_passes(monkeypatch):
    model, defence = small(shift=0.0)
    model.eval()
    seen = []
    forward = defence.discriminator.forward
    monkeypatch.setattr(
        defence.discriminator, "forward", lambda rows: seen.append(rows.detach()) or forward(rows)
    )
    defence.term(model, batch(), {})
    torch.testing.assert_close(seen[0], seen[2])  # an attack of nothing changes nothing
    defence.term(model, batch(), {})
    assert not torch.allclose(seen[0], seen[4])  # and the next step draws anew


def test_nothing_is_detached():
    model, defence = small(shift=0.5)
    defence.term(model, batch(), {}).total.backward()
    for part in (model.encoder, model.mean, model.decoder, model.assign, defence.discriminator):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    assert defence.attacker.shift.grad is None


def test_the_weight_is_on_both_bounds():
    model, defence = small(shift=0.5)
    loss = defence.term(model, batch(), {})
    torch.testing.assert_close(loss.total, 2.5 * (loss.parts["m1"] + loss.parts["m2"]))


def test_without_a_decoder_the_discriminator_sees_no_image():
    model, defence = small(DRC)
    assert defence.discriminator[0].in_features == model.dim + 3
    _, other = small(ALRDC)
    assert other.discriminator[0].in_features == 4 + 784 + 3
    loss = defence.term(model, batch(), {})
    assert torch.isfinite(loss.total)


def test_a_fitted_attacker_of_the_run_itself_is_taken(tiny_run, blobs, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "tiny")
    card, model = read_card(folder), load_model(folder)
    run = Run("tiny", folder, card, model, torch.device("cpu"))
    loop = {"batch": 16, "device": "cpu"}
    plan = Plan(None, "blobs", {"epochs": 1}, train=loop, source="tiny", defence="alrdc")
    with pytest.raises(ValueError, match=r"alrdc.safetensors: expected a fitted attacker"):
        defend("safe", run, plan, blobs, folder=tmp_path / "safe")
    file = fit_attacker(run, blobs)
    defended = defend("safe", run, plan, blobs, folder=tmp_path / "safe")
    note = read_card(defended).defence
    assert note.source == "tiny"
    assert note.attacker_sha256 == sha256(file)
    # the old attacker is at hand there, and known to be one
    safe = Run("safe", defended, read_card(defended), load_model(defended), torch.device("cpu"))
    assert safe.attackers == {"alrdc": True}
    assert (defended / "attackers" / file.name).read_bytes() == file.read_bytes()
    stale = Run("tiny", folder, card.changed(weights_sha256="other"), model, run.device)
    with pytest.raises(ValueError, match=r"expected an attacker fitted on the weights of 'tiny'"):
        defend("safe", stale, plan, blobs, folder=tmp_path / "again")
