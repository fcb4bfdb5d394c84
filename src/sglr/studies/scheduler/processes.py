"""Trials in processes of this machine, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sglr.core.errors import SglrError
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.progress import TrialStarted
from sglr.studies.scheduler.train_one import train_one
from sglr.studies.scheduler.trial import Trial
from sglr.system.cores import usable_cores
from sglr.system.forks import FORKS

if TYPE_CHECKING:
    from sglr.core.data import Dataset

POLL_SECONDS = 0.2
WARM = "sglr.studies.scheduler.warm"
SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""By which people, terminals and schedulers of clusters stop a command."""


def train_here(
    trials: Sequence[Trial], observe: Callable[[Any], None], stop: Callable[[], bool], datasets: Datasets
) -> Iterator[Trial]:
    """Train trials in this process, one after another; yield each when it is over.

    ``observe`` is told which trial begins, and of every event of its run.
    """
    for trial in trials:
        observe(TrialStarted(trial))
        train_one(trial, stop, datasets, observe)
        yield trial


def train_in_processes(
    trials: Sequence[Trial], jobs: int, stop: Callable[[], bool], datasets: Datasets
) -> Iterator[Trial]:
    """Train trials, ``jobs`` of them side by side, each in a process; yield each when it is over."""
    datasets.forget()
    context = _context()
    stopping = context.Event()
    given = (stopping, datasets.given, dict(os.environ))
    with ProcessPoolExecutor(min(jobs, len(trials)), context, _begin_worker, given) as pool:
        with _without_script():
            futures = {pool.submit(_train_in_worker, trial): trial for trial in trials}
        try:
            yield from _collected(futures, stopping, stop)
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Return how processes start: forked by one that has imported all they need, where that is safe (Linux)."""
    if not FORKS:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WARM])
    for needed in (resource_tracker, forkserver):
        with _signals_held():  # the first lets go of some
            needed.ensure_running()
    return context


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have what is started take no signal that is sent to all processes of a command; this one gets them afterwards.

    What forks, and what keeps account of semaphores, must live until all trainings have written their checkpoints.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_script() -> Iterator[None]:
    """Start processes without the user's script, which each would otherwise run again unless it has a guard.

    They do not need it: settings name what is trained, and the objects that are sent are of sglr's own classes.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _collected(futures: dict[Future[None], Trial], stopping: Any, stop: Callable[[], bool]) -> Iterator[Trial]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
        if stop() and not stopping.is_set():
            stopping.set()
        for future in done:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise SglrError("a training process was killed, perhaps because memory ran out; start again") from error
            yield futures[future]


@dataclass
class _Worker:
    """The state of a worker process."""

    stopping: Any = None
    datasets: Datasets = field(default_factory=Datasets)
    orphaned: bool = False
    busy: bool = False

    def asked_to_stop(self) -> bool:
        return self.orphaned or (self.stopping is not None and self.stopping.is_set())

    def end_with_parent(self) -> None:
        """End this process when its parent is gone; a training in progress first writes its checkpoint."""
        parent = multiprocessing.parent_process()
        assert parent is not None, "runs in a worker process"
        parent.join()
        self.orphaned = True
        while self.busy:
            time.sleep(POLL_SECONDS)
        os._exit(1)


_worker = _Worker()


def _begin_worker(stopping: Any, dataset: Dataset | None, environment: dict[str, str]) -> None:
    """Ignore Ctrl-C and hangups; stop with a checkpoint when the parent asks for it or is gone.

    The process that forks may have started before the environment became what it is.
    """
    os.environ.clear()
    os.environ.update(environment)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _worker.stopping, _worker.datasets = stopping, Datasets(dataset)
    threading.Thread(target=_worker.end_with_parent, daemon=True).start()


def _train_in_worker(trial: Trial) -> None:
    _worker.busy = True
    try:
        train_one(trial, _worker.asked_to_stop, _worker.datasets)
    finally:
        _worker.busy = False


def default_jobs(device: str) -> int:
    """Return how many processes train side by side: one per core on a CPU, one on a GPU."""
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return len(usable_cores())
    return 1
