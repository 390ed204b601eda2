"""Trainings as processes of their own: start one, look at it, stop it, let it go on.

A job is a run's folder with four more files: `plan.json` (what is asked for), `job.json` (which
process works on it), `progress.jsonl` (what that process tells of it) and `log.txt` (what it
printed, for people). `log.txt` is the standard output of every process of the job and is locked:
the job runs as long as that lock is held, however the process that started it ended. Neither torch
nor Streamlit is imported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustcore import files, locations, runs
from clustcore.runs import progress
from clustcore.runs.plan import Plan, map_command
from clustcore.runs.progress import PROGRESS, Told

LOG = "log.txt"
GRACE = 30.0  # seconds that a stopped training has for its last words, before it is terminated
_PLAN, _JOB = "plan.json", "job.json"
_ONLY_MAP = "--only-map"
_TAIL = 20_000  # bytes of the log that are shown
_STARTED: list[subprocess.Popen[bytes]] = []  # asked for their end now and then: no zombies


@dataclass(frozen=True)
class Job:
    """A training that was started here, as it stands now."""

    name: str
    folder: Path
    plan: Plan
    state: str  # "running", "mapping", "finished", "stopped" or "failed"
    reason: str  # why it failed, or what failed after it
    started: float  # seconds since 1970
    epochs: int  # whole epochs that are done
    total: int | None  # epochs there will be, once the training has said so
    stopping: bool = False  # told to stop, and not there yet
    teaching: bool = False  # its teacher is being made, before the training


def map_line(folder: Path) -> str:
    """The command that makes the map of a run, trained here or not, for a terminal."""
    root = None
    with contextlib.suppress(ValueError):
        root = read_plan(folder).root
    return shlex.join(["python", "-m", "clustcore", *map_command(folder.name, root)])


def unable() -> str:
    """Why no job can be started on this system; empty where one can."""
    if not files.LOCKS:
        return (
            "A training is followed by file locks, for which it needs a POSIX system (Linux, "
            "macOS); on this one `python -m clustcore train` trains from a terminal."
        )
    return ""


def start(plan: Plan) -> Job:
    """Train a plan, in a process that outlives this one, and map the run then.

    Args:
        plan: names the run; it is kept as `plan.json`.

    Raises:
        ValueError: a name that is no plain folder name or is taken, or a training of this name that
            runs now.
        OSError: the folder cannot be written.
    """
    return _launch(runs.new_folder(plan.name or ""), plan)


def resume(folder: Path) -> Job:
    """Let a stopped or failed job go on after its last whole epoch.

    Raises:
        ValueError: it has finished, runs now, or its plan is missing or damaged.
    """
    return start(read_plan(folder))


def make_map(folder: Path) -> Job:
    """Make the map of a job that was trained, and has none, in a process that outlives this one.

    Raises:
        ValueError: it runs now, was not trained to its end, or its plan is missing or damaged.
    """
    if not (folder / "card.json").is_file():
        raise ValueError(f"run {folder.name!r}: expected one trained to its end, got no card.json")
    return _launch(folder, read_plan(folder), only_map=True)


def stop(folder: Path) -> None:
    """Ask a job to stop.

    A training keeps its last whole epoch, and `resume` lets it go on; a map is made by `make_map`
    then. Told a second time, it is terminated.

    Raises:
        ValueError: the training was started by hand, elsewhere, or the job's file is damaged.
    """
    if not _locked(folder):
        if files.is_locked(folder):
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
                found.append(status(folder))
            except (ValueError, OSError):
                continue
    return sorted(found, key=lambda job: -job.started)


def status(folder: Path) -> Job:
    """A job as it stands now.

    Raises:
        ValueError: there is none in this folder, or its files are damaged.
    """
    for process in _STARTED[:]:
        if process.poll() is not None:
            with contextlib.suppress(ValueError):  # another visitor's thread was quicker
                _STARTED.remove(process)
    plan, job = read_plan(folder), _process(folder)
    running = _locked(folder) or files.is_locked(folder)
    told = progress.read_progress(folder)
    state, reason = _state(folder, told, running, bool(job.get("stop")))
    teacher = plan.teacher_path() if plan.teach is not None else None
    return Job(
        name=folder.name,
        folder=folder,
        plan=plan,
        state=state,
        reason=reason,
        started=float(job["started"]),
        epochs=len(progress.read_history(folder).loss),
        total=told.total,
        stopping=running and bool(job.get("stop")),
        teaching=running and teacher is not None and not teacher.is_file(),
    )


def _state(folder: Path, told: Told, running: bool, stopped: bool) -> tuple[str, str]:
    trained = (folder / "card.json").is_file()
    if running:
        return ("mapping" if trained else "running"), ""
    if trained:
        broken = told.command == "project" and told.code != 0 and not stopped
        return "finished", (told.reason or "its map was not made") if broken else ""
    # without a last word it was killed as a whole, or the machine went off; 0: a time limit
    if stopped or not told.command or told.code in (0, 130, -signal.SIGINT):
        return "stopped", ""
    if told.code < 0:
        return "failed", (
            f"the process was killed by signal {-told.code}, as happens where memory runs out; "
            "a smaller batch needs less"
        )
    return "failed", told.reason or f"the process ended with code {told.code}"


def log_tail(folder: Path) -> str:
    """The end of what the processes of a job have printed since it was last started."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(_process(folder)["log"], (folder / LOG).stat().st_size - _TAIL))
            return file.read().decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _launch(folder: Path, plan: Plan, *, only_map: bool = False) -> Job:
    if cannot := unable():
        raise ValueError(cannot)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("ab") as log:
        if not files.lock(log) or files.is_locked(folder):
            raise ValueError(f"run {folder.name!r} is being trained by another process")
        files.write_json(folder / _PLAN, plan.to_dict())
        command = plan.commands()[-1 if only_map else -2]
        log.write(f"job: started {' '.join(command)}\n".encode())
        log.flush()
        begins = log.tell()
        progress.add(folder / PROGRESS, "started")
        process = subprocess.Popen(
            locations.command("clustcore.runs.jobs", folder.name, *[_ONLY_MAP] * only_map),
            cwd=locations.START,
            env=locations.environment()
            | {"PYTHONUNBUFFERED": "1", "DRIFTMAP_RUNS": str(folder.parent)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C for the app is not for its trainings
        )
        _STARTED.append(process)
        job = {"pid": process.pid, "started": time.time(), "log": begins}
        files.write_json(folder / _JOB, job)
    return status(folder)


def _locked(folder: Path) -> bool:
    try:
        with (folder / LOG).open("rb") as log:
            return not files.lock(log, shared=True)
    except OSError:
        return False


def read_plan(folder: Path) -> Plan:
    """The plan of a job, under the name that its folder has.

    Raises:
        ValueError: it is missing or damaged.
    """
    path = folder / _PLAN
    return dataclasses.replace(Plan.from_dict(_json(path), str(path)), name=folder.name)


def _process(folder: Path) -> dict[str, Any]:
    # `log`: where in the log it begins; a job of an earlier version does not say so
    job = {"log": 0} | _json(folder / _JOB)
    for part, least, most in (("pid", 2, 2**31), ("started", 0, 1e11), ("log", 0, 2**63)):
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


def main(argv: Sequence[str]) -> int:
    """Work on a job: train, with the live maps beside it, then make the run's map; or only that.

    Args:
        argv: the run's name, and `--only-map` where it is trained.
    """
    name, only_map = argv[0], _ONLY_MAP in argv[1:]
    folder = runs.folders()[1] / name
    if not only_map:
        code = _run(name, ["train", "--config", str(folder / _PLAN)], follow=True)
        if not (folder / "card.json").is_file():
            return code
    code = _run(name, map_command(name, read_plan(folder).root), follow=False)
    if code == 0:
        (folder / "livemap.npz").unlink(missing_ok=True)  # shown until there is a better one
    return code


def _run(name: str, command: list[str], follow: bool) -> int:
    folder, asked = runs.folders()[1] / name, []
    # the group is told to stop, and so the child is; this process waits for it
    signal.signal(signal.SIGINT, lambda *_: asked.append(time.monotonic()))
    child = subprocess.Popen(
        locations.command("clustcore", *command),
        env=os.environ | {progress.ASK: str(folder / PROGRESS)},
    )
    follower = None
    while child.poll() is None:
        if asked and time.monotonic() > asked[0] + GRACE:
            child.terminate()
        if follow and follower is None and any((folder / "snapshots").glob("*.npz")):
            follower = _follow(name)
        time.sleep(0.2)
    if follower is not None:
        follower.terminate()
        follower.wait()
    progress.add(folder / PROGRESS, "ended", command=command[0], code=child.returncode)
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
