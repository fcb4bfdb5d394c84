"""Cells as plain tasks of a Ray cluster, whose machines share no folder.

A task is sent the files of its run, trains in a folder of its own, and returns the files, finished or not. Meanwhile it
sends home what it has every minute, so that a machine that dies costs no more than that. The desk, an actor on the
machine that asked, takes what comes and says when to stop.
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
from sglr.system.ray_cluster import connect, disconnect, reachable
from sglr.version import __version__

POLL_SECONDS, HOME_SECONDS, LOOK_SECONDS = 1.0, 60.0, 5.0
"""Seconds between a task's questions whether to stop, between the times that it sends its files home, and between looks
whether the cluster is there."""

PREFIX = "sglr-cell-"
"""How a task's folder is named in its machine's temporary folder; its process follows."""

ATTEMPTS = 4
"""How often a cell is begun whose machine dies; each time it goes on with what it sent home."""


def train_on_cluster(
    experiments: Sequence[Experiment], folder: Path, address: str, jobs: int | None, stop: Callable[[], bool]
) -> Iterator[Experiment]:
    """Train each experiment as a task of a cluster; yield it when its files are in ``folder``.

    Parameters
    ----------
    experiments
        What to train; stopped ones go on.
    folder
        Where the run folders are written, on this machine.
    address
        ``"auto"``, or ``HOST:PORT`` of the cluster.
    jobs
        Most tasks at a time; None leaves it to the cluster.
    stop
        Asked again and again; True ends every task with a checkpoint, which is brought home.

    Raises
    ------
    UsageError
        If there is no Ray or no cluster, its machines lack sglr or a device, or a setting is wrong there.
    SglrError
        If a cell's machine died again and again.
    Interrupted
        If ``stop`` answered True.
    """
    connected_before = reachable()
    ray = connect(address)
    try:
        yield from _Tasks(ray, folder, address, stop).run(experiments, jobs)
    finally:
        if not connected_before:
            disconnect()


class Desk:
    """Takes what tasks send home, and tells them whether to stop; it lives on the machine of who asked."""

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
        """Write the files of an unfinished run; what comes too late is dropped."""
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
        kind = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk)
        self._desk = kind.remote(str(folder.resolve()))
        self._attempts: dict[str, int] = {}
        self._running: dict[Any, Experiment] = {}
        self._next_look = time.monotonic() + LOOK_SECONDS

    def run(self, experiments: Sequence[Experiment], jobs: int | None) -> Iterator[Experiment]:
        """Keep as many tasks under way as may be; yield each experiment that is over."""
        for experiment in experiments:
            self._check_room(experiment)
        pending = list(reversed(experiments))
        try:
            while pending or self._running:
                while pending and (jobs is None or len(self._running) < jobs):
                    self._begin(pending.pop())
                for task in self._ray.wait(list(self._running), timeout=POLL_SECONDS)[0]:
                    experiment = self._running.pop(task)
                    if self._collect(task, experiment):
                        yield experiment
                    else:
                        pending.append(experiment)
                self._check_wishes()
                self._check_cluster()
        except Exception:
            self._bring_home()
            raise

    def _bring_home(self) -> None:
        """Have all tasks end with a checkpoint, and take what they have."""
        with suppress(Exception):  # where the cluster is gone, what was sent home before is all there is
            self._ray.get(self._desk.stop.remote(), timeout=HOME_SECONDS)
            for task in self._ray.wait(list(self._running), num_returns=len(self._running), timeout=HOME_SECONDS)[0]:
                with suppress(Exception):  # what broke off the sweep is told, not what broke off after it
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

    def _check_wishes(self) -> None:
        if self._stop():
            raise Interrupted("stopped with checkpoints")

    def _check_cluster(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if not reachable():
            problem = f"the Ray cluster at {self._address} is gone"
            raise SglrError(f"{problem}; what finished is kept, and the same sweep again goes on")

    def _begin(self, experiment: Experiment) -> None:
        key = experiment.fingerprint()
        tidy(self._folder / key)
        gpu = experiment.device != "cpu" and self._has_gpus
        options = {"num_cpus": experiment.threads or 1, "num_gpus": int(gpu), "max_retries": 0}
        task = self._ray.remote(**options)(train_away)
        begun = task.remote(__version__, experiment.flat(), pack(self._folder / key), self._desk)
        self._running[begun] = experiment

    def _collect(self, task: Any, experiment: Experiment) -> bool:
        """Bring a task's files home; say whether it finished, and not whether it was stopped or lost."""
        from ray.exceptions import RayError, RayTaskError

        try:
            finished, files = self._ray.get(task)
        except RayTaskError as error:
            raise self._told(error) from error
        except RayError as error:
            self._count_lost(experiment, error)
            return False
        self._store(experiment, files)
        return bool(finished)

    def _store(self, experiment: Experiment, files: Files) -> None:
        if files:
            unpack(self._folder / experiment.fingerprint(), files)

    def _told(self, error: Any) -> Exception:
        cause = error.cause
        if isinstance(cause, SglrError):
            return cause
        if isinstance(cause, ModuleNotFoundError):
            return UsageError(
                "ray_address", self._address, f"a machine of the cluster has no {cause.name}", "install sglr there, too"
            )
        first = str(cause).strip().partition("\n")[0]
        return SglrError(f"a cell failed on the cluster ({type(cause).__name__}: {first})")

    def _count_lost(self, experiment: Experiment, error: Exception) -> None:
        key = experiment.fingerprint()
        self._attempts[key] = self._attempts.get(key, 0) + 1
        with suppress(Exception):  # what the lost task sent last is written when the desk answers
            self._ray.get(self._desk.stopping.remote(), timeout=HOME_SECONDS)
        if self._attempts[key] >= ATTEMPTS:
            reason = str(error).strip().partition("\n")[0]
            raise SglrError(
                f"the cell {key} lost its machine {ATTEMPTS} times, perhaps for want of memory ({reason})"
            ) from error


def train_away(version: str, settings: Mapping[str, Any], files: Files, desk: Any) -> tuple[bool, dict[str, bytes]]:
    """Train one cell on this machine of a cluster, going on from ``files``; say whether it finished, with its files.

    Raises
    ------
    UsageError
        If this machine has another version of sglr, or a setting is wrong here.
    """
    if version != __version__:
        problem = f"a machine of the cluster has sglr {__version__}, and this is {version}"
        raise UsageError("ray_address", "cluster", problem, "install the same version on all machines")
    import ray

    experiment = Experiment.from_flat(settings)
    key = experiment.fingerprint()
    _remove_orphans()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as name:
        path = Path(name) / key
        if files:
            unpack(path, files)
        asked = _Asked(
            lambda: bool(ray.get(desk.stopping.remote())), lambda: ray.get(desk.keep.remote(key, pack(path)))
        )
        try:
            train_one(experiment, Path(name), asked, Datasets())
        except Interrupted:
            return False, pack(path)
        return True, pack(path)


def _remove_orphans() -> None:
    """Remove folders of tasks whose process was killed before it could."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        process = path.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdigit() and Path("/proc/self").exists() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(path, ignore_errors=True)


class _Asked:
    """Whether to stop, asked of a function every so often; every so often something else is done as well."""

    def __init__(self, ask: Callable[[], bool], home: Callable[[], Any]) -> None:
        self._ask, self._home = ask, home
        self._next_question = 0.0
        self._next_home = time.monotonic() + HOME_SECONDS
        self._answer = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_home:
            self._home()
            self._next_home = now + HOME_SECONDS
        if not self._answer and now >= self._next_question:
            self._answer = self._ask()
            self._next_question = now + POLL_SECONDS
        return self._answer
