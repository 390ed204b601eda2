"""What a benchmark has measured is kept as it goes, and none of its processes outlives its time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

import bench
from bench import train

# starts a process, says which, and ends it where it is told to end
LAUNCHER = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

def stop(*_):
    child.kill()
    child.wait()
    sys.exit(1)

signal.signal(signal.SIGTERM, stop)
print(child.pid, flush=True)
time.sleep(600)
"""


def alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def test_what_a_launcher_started_ends_with_it_when_the_time_is_up(monkeypatch):
    children: list[int] = []

    def communicate(self: subprocess.Popen, timeout: float) -> None:
        children.append(int(self.stdout.readline()))
        assert alive(children[0])
        raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(subprocess.TimeoutExpired):
        bench.launched([sys.executable, "-c", LAUNCHER], 5, stdout=subprocess.PIPE, text=True)
    assert not alive(children[0])


def test_a_process_that_does_not_listen_is_killed():
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    command = [sys.executable, "-c", f"{deaf}; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        bench.end(process, 0.1)
        assert process.returncode == -9


def test_what_a_launcher_says_is_given_back():
    done = bench.launched(
        [sys.executable, "-c", "print(3); raise SystemExit(4)"],
        60,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stdout) == (4, "3\n")


def test_each_figure_of_training_is_kept_when_a_later_one_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(train, "_loop", lambda device, size: 50.0)
    monkeypatch.setattr(train, "_constant", lambda device, size: (100.0, 1e9))
    monkeypatch.setattr("clustcore.training.throughput.peak", lambda device, kind, side: 1e12)
    monkeypatch.setattr(train, "_loader", lambda device, size: 25.0)

    def launched(command: list[str], limit: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, limit)

    monkeypatch.setattr(train, "launched", launched)
    with pytest.raises(subprocess.TimeoutExpired):
        train.run()
    kept = json.loads((tmp_path / "results" / "train.json").read_text())
    assert kept["loop_of_constant"] == 0.5
    assert kept["loop_of_dataloader"] == 2.0
    assert kept["versions"]["torch"] != "missing"
    assert "one_process_views_per_s" not in kept
    assert "loop_of_peak: 0.05\n" in capsys.readouterr().out
    monkeypatch.setattr(train, "_processes", lambda n: 10.0 * n)
    assert train.run()["two_of_one"] == 2.0
    assert "two processes, one thread each" in capsys.readouterr().out
