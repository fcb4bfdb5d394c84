"""Several clients of one command, shared out over processes: an interpreter lets one thread compute at a time.

Processes are forked once everything is imported and before anything is computed or connected, so that they share the
memory of torch and start at once. What a client computes does not depend on who else is in its process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

from sglr.core.errors import SglrError, UsageError
from sglr.system.cores import usable_cores
from sglr.system.forks import FORKS

Place = TypeVar("Place")

Stop = Callable[[], bool]
Join = Callable[[Sequence[Place], Stop], list[bool]]

LOOK_SECONDS = 0.2
"""How often it is looked whether the user wants to stop."""

END_SECONDS = 30.0
"""How long processes that were told to leave may take before they are ended."""


def processes_for(clients: int, wanted: int | None) -> int:
    """Return how many processes so many clients are shared out over: one per core, or as many as are ``wanted``.

    Raises
    ------
    UsageError
        If fewer than one are wanted, or more than one where processes can't be forked.
    """
    if wanted is not None and wanted < 1:
        raise UsageError("processes", wanted, "clients need a process", "give 1 or more, or leave it out")
    if wanted is not None and wanted > 1 and not FORKS:
        problem = "this system can't share what was imported between processes"
        raise UsageError("processes", wanted, problem, "run sglr join once for each of some of the tokens")
    most = (len(usable_cores()) if FORKS else 1) if wanted is None else wanted
    return max(1, min(clients, most))


def in_processes(join: Join[Place], places: Sequence[Place], stop: Stop, processes: int) -> list[bool]:
    """Have so many processes join for every n-th of ``places``; return for each place whether it took part to the end.

    Parameters
    ----------
    join
        Takes part for some places until the run is over or ``stop`` says so; returns nothing where it never began.
    places
        The clients' places.
    stop
        True leaves the run; asked in every process.
    processes
        How many; 1 is this process itself.

    Raises
    ------
    SglrError
        What `join` raised in the first process that failed, once the others have left; or if a process was killed.
    """
    if processes == 1:
        return join(places, stop)
    with _started(join, places, stop, processes) as pipes:
        found, failed = dict[int, list[bool]](), list[SglrError]()
        while len(found) < processes:
            if failed or stop():
                _tell_to_leave(pipes)
            for number in _ready(pipes, found):
                try:
                    answer = pipes[number].recv()
                except EOFError:
                    answer = SglrError("a process of these clients was ended; run the same command to rejoin")
                found[number] = [] if isinstance(answer, SglrError) else answer
                failed += [answer] if isinstance(answer, SglrError) else []
    if failed:
        raise failed[0]
    if not all(found.values()):
        return []
    return [found[place % processes][place // processes] for place in range(len(places))]


def _ready(pipes: Sequence[Connection], found: Collection[int]) -> list[int]:
    """Return which processes have answered, after a while if none."""
    left = {pipe: number for number, pipe in enumerate(pipes) if number not in found}
    return [number for pipe, number in left.items() if pipe in wait(list(left), LOOK_SECONDS)]


def _tell_to_leave(pipes: Sequence[Connection]) -> None:
    for pipe in pipes:
        with suppress(OSError):  # it has ended
            pipe.send(None)


@contextmanager
def _started(join: Join[Place], places: Sequence[Place], stop: Stop, processes: int) -> Iterator[list[Connection]]:
    """Fork the processes; have them leave, and end those that don't, when the context ends."""
    pipes, started = list[Connection](), list[ForkProcess]()
    try:
        for number in range(processes):
            pipe, process = _fork(partial(join, places[number::processes]), stop)
            pipes.append(pipe)
            started.append(process)
        yield pipes
    finally:
        _tell_to_leave(pipes)
        for process in started:
            process.join(END_SECONDS)
            if process.is_alive():
                process.terminate()


def _fork(join: Callable[[Stop], list[bool]], stop: Stop) -> tuple[Connection, ForkProcess]:
    context = get_context("fork")
    ours, theirs = context.Pipe()
    parent = os.getpid()

    def told() -> bool:
        # One whose parent was killed leaves, too.
        return stop() or theirs.poll() or os.getppid() != parent

    def run() -> None:
        try:
            theirs.send(join(told))
        except SglrError as error:
            theirs.send(error)

    process = context.Process(target=run, name="sglr-clients")
    process.start()
    # So that our end says when the process has ended, however it did.
    theirs.close()
    return ours, process
