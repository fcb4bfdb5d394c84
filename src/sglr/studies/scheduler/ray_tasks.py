"""Trials as plain tasks of a Ray cluster, whose machines share no folder.

A task is sent the files of its run, trains in a folder of its own, and returns the files, finished or not. Meanwhile it
sends its files every minute, so that a machine that dies costs no more than that. The collector, an actor on the
machine that asked, writes these files and says when to stop.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sglr.core.errors import Interrupted, SglrError, UsageError
from sglr.runs.config import Experiment
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.files import Files, pack, tidy, unpack
from sglr.studies.scheduler.outcome import is_over
from sglr.studies.scheduler.train_one import train_one
from sglr.studies.scheduler.trial import Trial
from sglr.system.ray_cluster import connect, disconnect, reachable
from sglr.version import __version__

POLL_SECONDS, SEND_SECONDS, LOOK_SECONDS = 1.0, 60.0, 5.0
"""Seconds between two questions of a task whether to stop, between two times that it sends its files, and between two
checks that the cluster is still there."""

PREFIX = "sglr-trial-"
"""How a task's folder is named in its machine's temporary folder; its process follows."""

ATTEMPTS = 4
"""How often a trial is begun whose machine dies; each time it goes on with what it sent."""


def train_on_cluster(
    trials: Sequence[Trial], address: str, jobs: int | None, stop: Callable[[], bool]
) -> Iterator[Trial]:
    """Train each trial as a task of a cluster; yield it when its files are in its folder.

    Parameters
    ----------
    trials
        What to train, in folders beside one another on this machine; stopped ones go on.
    address
        ``"auto"``, or ``HOST:PORT`` of the cluster.
    jobs
        Most tasks at a time; None leaves it to the cluster.
    stop
        Asked again and again; True ends every task with a checkpoint, whose files are fetched.

    Raises
    ------
    UsageError
        If there is no Ray or no cluster, its machines lack sglr or a device, or a setting is wrong there.
    SglrError
        If a trial's machine died again and again.
    Interrupted
        If ``stop`` answered True.
    """
    connected_before = reachable()
    ray = connect(address)
    try:
        yield from _Tasks(ray, trials[0].path.parent, address, stop).run(trials, jobs)
    finally:
        if not connected_before:
            disconnect()


class Collector:
    """Writes the files that tasks send, and tells tasks whether to stop; it lives on the machine that asked."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._stopping = False

    def stop(self) -> None:
        """Have all tasks end with a checkpoint."""
        self._stopping = True

    def stopping(self) -> bool:
        """Say whether tasks are to end."""
        return self._stopping

    def keep(self, key: str, files: Files) -> None:
        """Write the files of an unfinished run in the folder named ``key``; what comes too late is dropped."""
        if not is_over(self._folder / key):
            unpack(self._folder / key, files)


class _Tasks:
    def __init__(self, ray: Any, folder: Path, address: str, stop: Callable[[], bool]) -> None:
        self._ray, self._folder, self._address, self._stop = ray, folder, address, stop
        self._folder.mkdir(parents=True, exist_ok=True)
        self._has_gpus = bool(ray.cluster_resources().get("GPU"))
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        kind = ray.remote(num_cpus=0, scheduling_strategy=here)(Collector)
        self._collector = kind.remote(str(folder.resolve()))
        self._attempts: dict[str, int] = {}
        self._running: dict[Any, Trial] = {}
        self._next_look = time.monotonic() + LOOK_SECONDS

    def run(self, trials: Sequence[Trial], jobs: int | None) -> Iterator[Trial]:
        """Keep as many tasks under way as allowed; yield each trial that is over."""
        for trial in trials:
            self._check_room(trial.experiment)
        pending = list(reversed(trials))
        try:
            while pending or self._running:
                while pending and (jobs is None or len(self._running) < jobs):
                    self._begin(pending.pop())
                for task in self._ray.wait(list(self._running), timeout=POLL_SECONDS)[0]:
                    trial = self._running.pop(task)
                    if self._collect(task, trial):
                        yield trial
                    else:
                        pending.append(trial)
                self._check_stop()
                self._check_cluster()
        except Exception:
            self._fetch_all()
            raise

    def _fetch_all(self) -> None:
        """Have all tasks end with a checkpoint, and write their files."""
        with suppress(Exception):  # where the cluster is gone, what was sent before is all there is
            self._ray.get(self._collector.stop.remote(), timeout=SEND_SECONDS)
            for task in self._ray.wait(list(self._running), num_returns=len(self._running), timeout=SEND_SECONDS)[0]:
                with suppress(Exception):  # the error that ended the study is reported, not one after it
                    self._store(self._running[task], self._ray.get(task)[1])

    def _check_room(self, experiment: Experiment) -> None:
        """Refuse what no machine of the cluster could ever begin."""
        every = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = max((node.get("CPU", 0) for node in every), default=0)
        wanted = experiment.threads or 1
        if wanted > most:
            problem = f"no machine of the cluster has more than {most:g} processors for Ray"
            raise UsageError("threads", wanted, problem, "give fewer")
        if experiment.device.startswith("cuda") and not self._has_gpus:
            problem = "no machine of the cluster has a GPU for Ray"
            raise UsageError("device", experiment.device, problem, "give cpu or auto, or start Ray with --num-gpus")

    def _check_stop(self) -> None:
        if self._stop():
            raise Interrupted("stopped with checkpoints")

    def _check_cluster(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if not reachable():
            problem = f"the Ray cluster at {self._address} is gone"
            raise SglrError(f"{problem}; what finished is kept, and the same command again goes on")

    def _begin(self, trial: Trial) -> None:
        experiment = trial.experiment
        tidy(trial.path)
        gpu = experiment.device != "cpu" and self._has_gpus
        options = {"num_cpus": experiment.threads or 1, "num_gpus": int(gpu), "max_retries": 0}
        task = self._ray.remote(**options)(train_away)
        begun = task.remote(__version__, _as_values(trial), pack(trial.path), self._collector)
        self._running[begun] = trial

    def _collect(self, task: Any, trial: Trial) -> bool:
        """Write a task's files; return True if it finished, False if it was stopped or lost."""
        from ray.exceptions import RayError, RayTaskError

        try:
            finished, files = self._ray.get(task)
        except RayTaskError as error:
            raise self._cause(error) from error
        except RayError as error:
            self._count_lost(trial, error)
            return False
        self._store(trial, files)
        return bool(finished)

    def _store(self, trial: Trial, files: Files) -> None:
        if files:
            unpack(trial.path, files)

    def _cause(self, error: Any) -> Exception:
        cause = error.cause
        if isinstance(cause, SglrError):
            return cause
        if isinstance(cause, ModuleNotFoundError):
            return UsageError(
                "ray_address", self._address, f"a machine of the cluster has no {cause.name}", "install sglr there, too"
            )
        first = str(cause).strip().partition("\n")[0]
        return SglrError(f"a trial failed on the cluster ({type(cause).__name__}: {first})")

    def _count_lost(self, trial: Trial, error: Exception) -> None:
        key = trial.path.name
        self._attempts[key] = self._attempts.get(key, 0) + 1
        with suppress(Exception):  # what the lost task sent last is written when the collector answers
            self._ray.get(self._collector.stopping.remote(), timeout=SEND_SECONDS)
        if self._attempts[key] >= ATTEMPTS:
            reason = str(error).strip().partition("\n")[0]
            raise SglrError(
                f"the trial {key} lost its machine {ATTEMPTS} times, perhaps because memory ran out ({reason})"
            ) from error


def _as_values(trial: Trial) -> dict[str, Any]:
    """Return a trial in plain values, which every version of sglr can read."""
    return {
        "label": trial.label,
        "settings": trial.experiment.flat(),
        "folder": trial.path.name,
        "command": trial.command,
        "keep_checkpoints": trial.keep_checkpoints,
    }


def train_away(version: str, values: Mapping[str, Any], files: Files, collector: Any) -> tuple[bool, dict[str, bytes]]:
    """Train one trial on this machine of a cluster, going on from ``files``; say whether it finished, with its files.

    Raises
    ------
    UsageError
        If this machine has another version of sglr, or a setting is wrong here.
    """
    if version != __version__:
        problem = f"a machine of the cluster has sglr {__version__}, and this is {version}"
        raise UsageError("ray_address", "cluster", problem, "install the same version on all machines")
    import ray

    experiment, key = Experiment.from_flat(values["settings"]), str(values["folder"])
    _remove_orphans()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as name:
        path = Path(name) / key
        if files:
            unpack(path, files)
        trial = Trial(
            values["label"], experiment, path, command=values["command"], keep_checkpoints=values["keep_checkpoints"]
        )
        stop = _StopAndSend(
            lambda: bool(ray.get(collector.stopping.remote())),
            lambda: ray.get(collector.keep.remote(key, pack(path))),
        )
        try:
            train_one(trial, stop, Datasets())
        except Interrupted:
            return False, pack(path)
        return True, pack(path)


def _remove_orphans() -> None:
    """Remove folders of tasks whose process was killed before it could."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        process = path.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdigit() and Path("/proc/self").exists() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(path, ignore_errors=True)


class _StopAndSend:
    """Says whether to stop, asking every `POLL_SECONDS`; sends files every `SEND_SECONDS`."""

    def __init__(self, ask: Callable[[], bool], send: Callable[[], Any]) -> None:
        self._ask, self._send = ask, send
        self._next_question = 0.0
        self._next_sending = time.monotonic() + SEND_SECONDS
        self._answer = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_sending:
            self._send()
            self._next_sending = now + SEND_SECONDS
        if not self._answer and now >= self._next_question:
            self._answer = self._ask()
            self._next_question = now + POLL_SECONDS
        return self._answer
