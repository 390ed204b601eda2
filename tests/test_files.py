"""Files are whole or not there, and a run is held by one process at a time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from clustcore import files
from clustcore.locations import PROJECT


@pytest.mark.parametrize("data", [b"", b"a", bytes(300_000)])
def test_a_file_is_hashed_as_its_bytes_are(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_full_disk_while_saving_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "map.npz"
    files.save_npz(path, {"a": np.arange(3)})
    before = path.read_bytes()

    def full(file, **values):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left on device"):
        files.save_npz(path, {"a": np.arange(9)})
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_who_holds_a_run_keeps_others_out(tmp_path):
    folder = tmp_path / "run"
    code = (
        f"from clustcore import files\nwith files.locked(files.Path({str(folder)!r})): print('in')"
    )
    command = [sys.executable, "-c", code]
    with files.locked(folder):
        assert files.is_locked(folder)
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=300)
        assert f"run 'run' is being trained by another process (pid {os.getpid()})" in done.stderr
    assert not files.is_locked(folder)
    assert not list(folder.iterdir())
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=300)
    assert done.stdout == "in\n"


def test_a_lock_left_by_a_dead_process_holds_nothing(tmp_path):
    (tmp_path / ".lock").write_text("123")
    assert not files.is_locked(tmp_path)
    with files.locked(tmp_path):
        assert (tmp_path / ".lock").read_text().endswith(str(os.getpid()))
