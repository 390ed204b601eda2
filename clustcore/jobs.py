"""Trainings as processes of their own: start one, look at it, stop it, let it go on.

A job is a run's folder with three more files: `plan.json` (what is asked for), `job.json` (which
process works on it) and `log.txt` (what that process said). `log.txt` is the standard output of
every process of the job and is locked: the job runs as long as that lock is held, however the
process that started it ended. Neither torch nor Streamlit is imported here.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from clustcore import files, locations, runs

LOG = "log.txt"
GRACE = 30.0  # seconds that a stopped training has for its last words, before it is terminated
_PLAN, _JOB = "plan.json", "job.json"
_TAIL = 20_000  # bytes of the log that are looked at
_EPOCH = re.compile(r"^epoch (\d+) of (\d+)", re.M)
_ENDED = re.compile(r"^job: (\w+) ended with (-?\d+)$", re.M)
_SAID = re.compile(r"^clustcore \w+: (.*)$", re.M)
_STARTED: list[subprocess.Popen[bytes]] = []  # asked for their end now and then: no zombies


@dataclass(frozen=True)
class Job:
    """A training that was started here, as it stands now."""

    name: str
    folder: Path
    plan: dict[str, Any]
    state: str  # "running", "mapping", "finished", "stopped" or "failed"
    reason: str  # why it failed, or what failed after it
    started: float  # seconds since 1970
    epochs: int  # whole epochs that are done
    total: int | None  # epochs there will be, once the training has said so
    stopping: bool = False  # told to stop, and not there yet
    teaching: bool = False  # its teacher is being made, before the training


def arguments(name: str, plan: dict[str, Any]) -> list[str]:
    """What follows `python -m clustcore` to train this plan: it says the same as the plan.

    Args:
        plan: `model` and `data`, or `source` (a run) and `defence`; `root`, `download` and, for a
            teacher that is made first, `teach`, and for a run whose weights come first,
            `start_from`, where wanted; of `config`, `train` and `augment`
            only what differs from the defaults (from the source's settings).
    """
    if "defence" in plan:
        argv, group = ["defend", plan["source"], "--defence", plan["defence"]], "defence"
    else:
        argv, group = ["train", plan["model"]], "model"
    argv += ["--data", plan["data"]["name"], "--name", name]
    train = dict(plan.get("train", {}))
    for own in ("seed", "device"):  # flags of the command itself
        if own in train:
            argv += [f"--{own}", str(train.pop(own))]
    parts = {group: plan.get("config", {}), "train": train, "augment": plan.get("augment", {})}
    for part, values in parts.items():
        for key, value in values.items():
            flag = key.replace("_", "-")
            if isinstance(value, bool):
                argv.append(f"--{part}.{'' if value else 'no-'}{flag}")
            else:
                argv += [f"--{part}.{flag}", str(value)]
    if plan.get("teach"):
        argv += ["--teacher", str(_teacher(name))]
    if plan.get("start_from"):
        argv += ["--start-from", plan["start_from"]]
    return argv + _where(plan)


def teach_arguments(name: str, plan: dict[str, Any]) -> list[str]:
    """What follows `python -m clustcore` to make the teacher that this plan's training asks."""
    seed = str(plan.get("train", {}).get("seed", 0))
    argv = ["teach", "--data", plan["data"]["name"], "--seed", seed, "--out", str(_teacher(name))]
    if "clusters" in plan.get("config", {}):
        argv += ["--teacher.clusters", str(plan["config"]["clusters"])]
    return argv + _where(plan)


def _teacher(name: str) -> Path:
    return runs.folders()[1] / name / "teacher.npz"


def _where(plan: dict[str, Any]) -> list[str]:
    root = ["--root", plan["root"]] if plan.get("root") else []
    return root + ["--download"] * bool(plan.get("download"))


def map_arguments(name: str, plan: dict[str, Any]) -> list[str]:
    """What follows `python -m clustcore` to make the map of a run that was trained by this plan."""
    return ["project", name] + (["--root", plan["root"]] if plan.get("root") else [])


def map_line(folder: Path) -> str:
    """The command that makes the map of a run, trained here or not, for a terminal."""
    plan: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        plan = read_plan(folder)
    return shlex.join(["python", "-m", "clustcore", *map_arguments(folder.name, plan)])


def unable() -> str:
    """Why no job can be started on this system; empty where one can."""
    if files.fcntl is None:
        return (
            "A training is followed by file locks, for which it needs a POSIX system (Linux, "
            "macOS); on this one `python -m clustcore train` trains from a terminal."
        )
    return ""


def start(name: str, plan: dict[str, Any]) -> Job:
    """Train a plan under this name, in a process that outlives this one, and map the run then.

    Args:
        plan: see `arguments`; kept as `plan.json`.

    Raises:
        ValueError: a name that is no plain folder name or is taken, or a training of this name that
            runs now.
        OSError: the folder cannot be written.
    """
    if not runs.is_name(name):
        raise ValueError(f"run name: expected letters, digits, '.', '_' or '-', got {name!r}")
    for place in runs.folders():
        if (place / name / "card.json").exists():
            raise ValueError(f"{place / name}: expected a new run, got one that is there already")
    return _launch(runs.folders()[1] / name, plan, arguments(name, plan))


def resume(folder: Path) -> Job:
    """Let a stopped or failed job go on after its last whole epoch.

    Raises:
        ValueError: it has finished, runs now, or its plan is missing or damaged.
    """
    return start(folder.name, read_plan(folder))


def make_map(folder: Path) -> Job:
    """Make the map of a job that was trained, and has none, in a process that outlives this one.

    Raises:
        ValueError: it runs now, was not trained to its end, or its plan is missing or damaged.
    """
    if not (folder / "card.json").is_file():
        raise ValueError(f"run {folder.name!r}: expected one trained to its end, got no card.json")
    plan = read_plan(folder)
    return _launch(folder, plan, map_arguments(folder.name, plan))


def stop(folder: Path) -> None:
    """Ask a job to stop: a training keeps its last whole epoch, and `resume` lets it go on; a map
    is made by `make_map` then. Told a second time, it is terminated.

    Raises:
        ValueError: the training was started by hand, elsewhere, or the job's file is damaged.
    """
    if not _locked(folder):
        if files.held(folder):
            raise ValueError(
                f"run {folder.name!r} is trained by a command elsewhere: stop it there, with Ctrl+C"
            )
        return
    job = _process(folder)
    files.write_json(folder / _JOB, job | {"stop": True})
    # while the lock is held the group has members, so that its number is not another's
    os.killpg(job["pid"], signal.SIGTERM if job.get("stop") else signal.SIGINT)


def jobs() -> list[Job]:
    """Every training that was started here, the newest first; damaged ones are left out."""
    found = []
    place = runs.folders()[1]
    for folder in place.iterdir() if place.is_dir() else []:
        if (folder / _JOB).is_file():
            try:
                found.append(look(folder))
            except (ValueError, OSError):
                continue
    return sorted(found, key=lambda job: -job.started)


def look(folder: Path) -> Job:
    """A job as it stands now.

    Raises:
        ValueError: there is none in this folder, or its files are damaged.
    """
    for process in _STARTED[:]:
        if process.poll() is not None:
            with contextlib.suppress(ValueError):  # another visitor's thread was quicker
                _STARTED.remove(process)
    plan, job = read_plan(folder), _process(folder)
    running = _locked(folder) or files.held(folder)
    tail = log_tail(folder)
    steps = _EPOCH.findall(tail)
    state, reason = _state(folder, tail, running, bool(job.get("stop")))
    return Job(
        name=folder.name,
        folder=folder,
        plan=plan,
        state=state,
        reason=reason,
        started=float(job["started"]),
        epochs=len(read_history(folder).loss),
        total=int(steps[-1][1]) if steps else None,
        stopping=running and bool(job.get("stop")),
        teaching=running and bool(plan.get("teach")) and not _teacher(folder.name).is_file(),
    )


def _state(folder: Path, tail: str, running: bool, stopped: bool) -> tuple[str, str]:
    trained = (folder / "card.json").is_file()
    if running:
        return ("mapping" if trained else "running"), ""
    ended = [*_ENDED.finditer(tail)]
    step, code = (ended[-1][1], int(ended[-1][2])) if ended else ("", 0)
    if trained:
        broken = step == "project" and code != 0 and not stopped
        return "finished", _reason(tail, "its map was not made") if broken else ""
    # without a last word it was killed as a whole, or the machine went off; 0: a time limit
    if stopped or not step or code in (0, 130, -signal.SIGINT):
        return "stopped", ""
    if code < 0:
        return "failed", (
            f"the process was killed by signal {-code}, as happens where memory runs out; "
            "a smaller batch needs less"
        )
    return "failed", _reason(tail, f"the process ended with code {code}")


def _reason(tail: str, otherwise: str) -> str:
    said = _SAID.findall(tail)
    lines = [line for line in _ENDED.sub("", tail).splitlines() if line.strip()]
    return said[-1] if said else lines[-1].strip() if lines else otherwise


def log_tail(folder: Path) -> str:
    """The end of what the processes of a job said since it was last started."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, (folder / LOG).stat().st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.rpartition("job: started")[2]


def _launch(folder: Path, plan: dict[str, Any], argv: list[str]) -> Job:
    if cannot := unable():
        raise ValueError(cannot)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("ab") as log:
        if not files.lock(log) or files.held(folder):
            raise ValueError(f"run {folder.name!r} is being trained by another process")
        files.write_json(folder / _PLAN, plan)
        log.write(f"job: started {' '.join(argv)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            locations.command("clustcore.jobs", folder.name, *argv),
            cwd=locations.START,
            env=locations.environment()
            | {"PYTHONUNBUFFERED": "1", "DRIFTMAP_RUNS": str(folder.parent)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C for the app is not for its trainings
        )
        _STARTED.append(process)
        files.write_json(folder / _JOB, {"pid": process.pid, "started": time.time(), "argv": argv})
    return look(folder)


def _locked(folder: Path) -> bool:
    try:
        with (folder / LOG).open("rb") as log:
            return not files.lock(log, shared=True)
    except OSError:
        return False


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan of a job: what `arguments` needs is there, and is text.

    Raises:
        ValueError: it is missing or damaged.
    """
    plan = _json(folder / _PLAN)
    data = plan.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    parts = ("source", "defence") if "defence" in plan else ("model",)
    texts = {part: plan.get(part) for part in parts} | {"data.name": name}
    texts |= {part: plan[part] for part in ("root", "start_from") if plan.get(part) is not None}
    for part, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{folder / _PLAN}: field {part!r}: expected text, got {value!r}")
    for part in ("config", "train", "augment"):
        if not isinstance(plan.get(part, {}), dict):
            raise ValueError(
                f"{folder / _PLAN}: field {part!r}: expected settings, got {plan[part]!r}"
            )
    return plan


def _process(folder: Path) -> dict[str, Any]:
    job = _json(folder / _JOB)
    for part, least, most in (("pid", 2, 2**31), ("started", 0, 1e11)):
        value = job.get(part)
        if not isinstance(value, int | float) or not least <= value < most:
            raise ValueError(f"{folder / _JOB}: field {part!r}: expected a number, got {value!r}")
    return job


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


@dataclass(frozen=True)
class History:
    """What `history.csv` says, one entry an epoch; empty where there is none yet."""

    stage: list[str] = field(default_factory=list)
    loss: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    parts: dict[str, Float[np.ndarray, " e"]] = field(default_factory=dict)  # NaN: not this stage's
    entropy_mean: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    entropy_sample: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    seconds: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))
    batch: Float[np.ndarray, " e"] = field(default_factory=lambda: np.empty(0))  # NaN: not said
    sizes: Int[np.ndarray, "e k"] = field(default_factory=lambda: np.empty((0, 0), np.int64))


def read_history(folder: Path) -> History:
    """The history of a run, finished or not.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return History()
    if not rows:
        return History()

    def column(name: str) -> Float[np.ndarray, " e"]:
        return np.array([float(row[name] or "nan") for row in rows])

    try:
        return History(
            stage=[row["stage"] for row in rows],
            loss=column("loss"),
            parts={n.removeprefix("part_"): column(n) for n in rows[0] if n.startswith("part_")},
            entropy_mean=column("entropy_mean"),
            entropy_sample=column("entropy_sample"),
            seconds=column("seconds"),
            batch=np.array([float(row.get("batch") or "nan") for row in rows]),
            sizes=np.array([row["sizes"].split() for row in rows], np.int64),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a line an epoch, got {error!r}") from None


def main(argv: Sequence[str]) -> int:
    """Work on a job: train, with the live maps beside it, then make the run's map; or only that.

    Args:
        argv: the run's name, and what follows `python -m clustcore`.
    """
    name, command = argv[0], list(argv[1:])
    folder = runs.folders()[1] / name
    untaught = "--teacher" in command and not _teacher(name).is_file()
    if untaught and (code := _run(name, teach_arguments(name, read_plan(folder)), follow=False)):
        return code
    if command[0] != "project":
        code = _run(name, command, follow=True)
        if not (folder / "card.json").is_file():
            return code
        command = map_arguments(name, read_plan(folder))
    code = _run(name, command, follow=False)
    if code == 0:
        (folder / "livemap.npz").unlink(missing_ok=True)  # shown until there is a better one
    return code


def _run(name: str, command: list[str], follow: bool) -> int:
    folder, asked = runs.folders()[1] / name, []
    # the group is told to stop, and so the child is; this process waits for it
    signal.signal(signal.SIGINT, lambda *_: asked.append(time.monotonic()))
    child, follower = subprocess.Popen(locations.command("clustcore", *command)), None
    while child.poll() is None:
        if asked and time.monotonic() > asked[0] + GRACE:
            child.terminate()
        if follow and follower is None and any((folder / "snapshots").glob("*.npz")):
            follower = _follow(name)
        time.sleep(0.2)
    if follower is not None:
        follower.terminate()
        follower.wait()
    print(f"job: {command[0]} ended with {child.returncode}", flush=True)
    return child.returncode


def _follow(name: str) -> subprocess.Popen[bytes]:
    # one thread, and the lowest rank: training comes first; what it says is nobody's concern
    few = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "NUMBA", "OPENBLAS")}
    return subprocess.Popen(
        locations.command("clustcore", "snapshots", name),
        env=os.environ | few,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
