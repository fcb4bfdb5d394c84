"""Train many experiments side by side, each once: finished ones are found again, stopped ones go on.

Every experiment has a run folder named after the hash of its settings, so that artefacts which share a cell share its
run, and an interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sglr.config import Experiment
from sglr.core.errors import Interrupted, SglrError, UsageError
from sglr.papers.progress import SweepProgress
from sglr.run import CONFIG, Run, write_text
from sglr.together import execute_together, may_stack, rows_wanted
from sglr.version import __version__

Group = tuple[Experiment, ...]
"""Experiments that train at once, trials stacked beside one another's clients."""

DIVERGED, SHARE = "diverged.json", "share.json"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment.

    Parameters
    ----------
    experiment
        Its settings.
    run
        Its run folder.
    problem
        What is to be said of its divergence; None if it finished.
    """

    experiment: Experiment
    run: Run
    problem: str | None

    @cached_property
    def accuracy(self) -> float | None:
        """The test accuracy in [0, 1]; None if it diverged."""
        summary = self.run.summary
        return None if self.problem is not None or summary is None else float(summary["test"]["accuracy"])

    @property
    def seconds(self) -> float:
        """The time it took; of several that trained at once, its equal part."""
        return _seconds(self.run.path)


def sweep(
    experiments: Iterable[Experiment],
    folder: Path,
    *,
    jobs: int = 1,
    observe: Callable[[SweepProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    """Train experiments in folders of their own inside ``folder``, each once.

    Parameters
    ----------
    experiments
        What to train; equal settings are trained once.
    folder
        Where; runs that are finished there already are not repeated.
    jobs
        Processes that train side by side; 1 trains in this process.
    observe
        Told whenever an experiment is over.
    stop
        Asked again and again; True ends the sweep with checkpoints.

    Returns
    -------
    dict
        Outcomes by fingerprint of the settings.

    Raises
    ------
    UsageError
        If runs in the folder were made by another version.
    Interrupted
        If ``stop`` answered True.
    """
    unique = {experiment.fingerprint(): experiment for experiment in experiments}
    found = {key: outcome for key in unique if (outcome := _finished(unique[key], folder / key)) is not None}
    pending = [unique[key] for key in unique if key not in found]
    before, total = len(found), len(unique)
    if total:
        observe(SweepProgress(before, total, before))
    for group in _trained(grouped(pending), folder, jobs, stop):
        for experiment in group:
            outcome = _finished(experiment, folder / experiment.fingerprint())
            assert outcome is not None, "a trained experiment has a summary or has diverged"
            found[experiment.fingerprint()] = outcome
        observe(SweepProgress(len(found), total, before))
    return found


def _finished(experiment: Experiment, path: Path) -> Outcome | None:
    """Return the outcome of an experiment that is over, or None."""
    if not (path / CONFIG).is_file():
        return None
    run = Run.open(path)
    diverged = path / DIVERGED
    record = json.loads(diverged.read_text(encoding="utf-8")) if diverged.is_file() else run.summary
    if record is None:
        return None
    version = record["versions"]["sglr"]
    if version != __version__:
        problem = f"was made by sglr {version}, and this is {__version__}"
        raise UsageError("out", path, problem, "give another folder, or remove that run")
    return Outcome(experiment, run, record.get("problem"))


def grouped(experiments: Sequence[Experiment]) -> list[Group]:
    """Put experiments together that gain from training at once, as many as their device has use for."""
    groups: list[list[Experiment]] = []
    for experiment in experiments:
        wanted = rows_wanted(experiment.device)
        fitting = (
            group
            for group in groups
            if may_stack(group[0], experiment) and sum(one.clients for one in group) + experiment.clients <= wanted
        )
        found = next(fitting, None)
        if found is None:
            groups.append([experiment])
        else:
            found.append(experiment)
    return [tuple(group) for group in groups]


def _trained(groups: Sequence[Group], folder: Path, jobs: int, stop: Callable[[], bool]) -> Iterable[Group]:
    """Train everything; yield each group when it is over."""
    if jobs == 1 or len(groups) < 2:
        for group in groups:
            _train(group, folder, stop)
            yield group
        return
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    with ProcessPoolExecutor(min(jobs, len(groups)), context, _begin_worker, (stopping,)) as pool:
        futures = {pool.submit(_train_in_worker, group, folder): group for group in groups}
        try:
            yield from _collected(futures, stopping, stop)
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)


def _collected(futures: dict[Future[None], Group], stopping: Any, stop: Callable[[], bool]) -> Iterable[Group]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
        if stop() and not stopping.is_set():
            stopping.set()
        for future in done:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise SglrError("a training process was killed, perhaps for want of memory; start again") from error
            yield futures[future]


@dataclass
class _Worker:
    """What a worker process knows of its parent."""

    stopping: Any = None
    orphaned: bool = False
    busy: bool = False

    def asked_to_stop(self) -> bool:
        return self.orphaned or (self.stopping is not None and self.stopping.is_set())

    def outlive_nobody(self) -> None:
        """End this process when its parent is gone; a training under way first writes its checkpoint."""
        parent = multiprocessing.parent_process()
        assert parent is not None, "runs in a worker process"
        parent.join()
        self.orphaned = True
        while self.busy:
            time.sleep(POLL_SECONDS)
        os._exit(1)


_worker = _Worker()


def _begin_worker(stopping: Any) -> None:
    """Leave Ctrl-C to the parent, and stop with a checkpoint when it says so or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _worker.stopping = stopping
    threading.Thread(target=_worker.outlive_nobody, daemon=True).start()


def _train_in_worker(group: Group, folder: Path) -> None:
    _worker.busy = True
    try:
        _train(group, folder, _worker.asked_to_stop)
    finally:
        _worker.busy = False


def _train(group: Group, folder: Path, stop: Callable[[], bool]) -> None:
    """Bring the experiments of a group to their ends, from wherever they stand."""
    if stop():
        raise Interrupted("stopped between two experiments")
    paths = [folder / experiment.fingerprint() for experiment in group]
    started = time.perf_counter()
    try:
        results = execute_together(group, paths, stop=stop)
    finally:
        _share_out(time.perf_counter() - started, paths)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, Run):
            _drop_checkpoints(result)
        else:
            record = {"problem": str(result), "versions": {"sglr": __version__}}
            write_text(path / DIVERGED, json.dumps(record, indent=2) + "\n")


def _share_out(seconds: float, paths: Sequence[Path]) -> None:
    """Note for every run its part of the time of all that trained at once, on top of what it had before."""
    for path in filter(Path.is_dir, paths):
        before = _seconds(path)
        write_text(path / SHARE, json.dumps({"seconds": before + seconds / len(paths)}) + "\n")


def _seconds(path: Path) -> float:
    share = path / SHARE
    return float(json.loads(share.read_text(encoding="utf-8"))["seconds"]) if share.is_file() else 0.0


def _drop_checkpoints(run: Run) -> None:
    """Keep the best checkpoint only: a sweep would fill the disk with the others."""
    best = run.path / "checkpoints" / "best.safetensors"
    if best.is_file():
        for path in run.checkpoints:
            path.unlink()


def default_jobs(device: str) -> int:
    """Return how many processes train side by side: one per core on a CPU, one on a GPU."""
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return 1
