"""Two processes on the CPU do what one does with the whole batch, and end together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clustcore import distributed
from clustcore.runs import load_npz
from tests import ranks

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes found; they are started once for all tests."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ranks", str(folder)],
            cwd=ROOT,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for rank, process in enumerate(started):
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        for name, text in zip(("out", "err"), said, strict=True):
            (folder / f"{name}-{rank}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def parts(job: Path) -> dict[str, np.ndarray]:
    return load_npz(job / "parts.npz")


def test_one_process_is_its_own_group():
    assert (distributed.rank(), distributed.world(), distributed.main()) == (0, 1, True)
    assert distributed.shard(7) == slice(0, 7)
    rows = np.arange(3)
    assert distributed.collect(rows, 3) is rows
    t = ranks.batch()
    assert distributed.gather(t) is t
    with distributed.group("cpu") as device:
        assert device.type == "cpu"
        assert distributed.world() == 1


@pytest.mark.parametrize("name", ["loss", "weight", "bias"])
def test_a_gathered_loss_gives_the_gradient_of_the_whole_batch(parts, name):
    # two ranks with half the batch against one with all of it; without `gather` it is another loss
    assert parts["world"] == 2
    whole = ranks.gradients(gathered=True)[name]
    np.testing.assert_allclose(parts[f"with.{name}"], whole, rtol=1e-5, atol=1e-7)
    assert not np.allclose(parts[f"without.{name}"], whole, rtol=1e-2)


@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_shards_are_all_rows_in_order_and_of_one_size(parts, n):
    np.testing.assert_array_equal(parts[f"rows.{n}"], np.arange(n))
    assert np.ptp(parts[f"sizes.{n}"]) <= 1


@pytest.mark.parametrize("kind", [np.float16, np.uint8, bool])
def test_collected_arrays_keep_kind_and_shape(parts, kind):
    found = parts[f"kind.{kind.__name__}"]
    assert found.dtype == kind
    np.testing.assert_array_equal(found, np.arange(14).reshape(7, 2).astype(kind))


def test_every_rank_follows_the_first(parts):
    np.testing.assert_array_equal(parts["followed"], [96.0, 1.0, 96.0, 1.0])


def test_what_one_rank_alone_has_a_gradient_of_is_averaged_and_the_rest_has_none(parts):
    np.testing.assert_array_equal(parts["uneven"], np.full(4, 0.5))
    assert parts["unused"]
