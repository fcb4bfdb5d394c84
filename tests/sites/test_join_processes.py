"""Clients of one command in several processes: the same weights, one leave for all, an error that names the cause."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sglr.core.errors import DivergedError, SglrError, UsageError
from sglr.runs.folder import Run
from sglr.sites import join_processes
from sglr.sites.join_processes import Stop, in_processes, processes_for

from .federation import local_twin
from .test_processes import FLAGS, SETTINGS, Processes, alive, epochs, until
from .test_serve import free_address

forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def numbers(places: Sequence[int], stop: Stop) -> list[bool]:
    """Take part with the even places only."""
    del stop
    return [place % 2 == 0 for place in places]


@forks
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_answers_come_back_in_the_order_of_the_clients(count: int) -> None:
    assert in_processes(numbers, range(5), lambda: False, count) == [True, False, True, False, True]


@forks
def test_every_process_leaves_when_the_user_wants_to() -> None:
    def join(places: Sequence[int], stop: Stop) -> list[bool]:
        while not stop():
            time.sleep(0.01)
        return [False for _ in places]

    began = time.monotonic()
    assert in_processes(join, range(4), lambda: time.monotonic() - began > 0.3, 2) == [False] * 4


@forks
@pytest.mark.parametrize(
    "error",
    [UsageError("data", "x", "no such file", "give another"), DivergedError("the loss is NaN"), SglrError("no")],
)
def test_an_error_of_one_process_is_raised_once_the_others_have_left(error: SglrError) -> None:
    def join(places: Sequence[int], stop: Stop) -> list[bool]:
        if 1 in places:
            raise error
        while not stop():
            time.sleep(0.01)
        return [False for _ in places]

    with pytest.raises(type(error)) as raised:
        in_processes(join, range(4), lambda: False, 2)
    assert str(raised.value) == str(error)


@forks
def test_a_process_that_is_killed_ends_the_command() -> None:
    def join(places: Sequence[int], stop: Stop) -> list[bool]:
        if 1 in places:
            os.kill(os.getpid(), signal.SIGKILL)
        while not stop():
            time.sleep(0.01)
        return [False for _ in places]

    with pytest.raises(SglrError, match="was ended; run the same command to rejoin"):
        in_processes(join, range(4), lambda: False, 2)


@forks
def test_who_left_before_he_joined_took_no_part() -> None:
    assert in_processes(lambda places, _: [] if 1 in places else [True] * len(places), range(4), lambda: False, 2) == []


def test_there_is_a_process_for_each_core_and_no_more_than_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_processes, "usable_cores", lambda: frozenset(range(4)))
    monkeypatch.setattr(join_processes, "FORKS", True)
    assert [processes_for(clients, None) for clients in (0, 1, 3, 20)] == [1, 1, 3, 4]
    assert processes_for(20, 7) == 7
    assert processes_for(3, 7) == 3
    with pytest.raises(UsageError, match="processes = 0: clients need a process"):
        processes_for(3, 0)
    monkeypatch.setattr(join_processes, "FORKS", False)
    assert processes_for(20, None) == 1
    with pytest.raises(UsageError, match="processes = 2: this system can't share"):
        processes_for(20, 2)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()


@pytest.mark.slow
@forks
def test_clients_of_one_command_leave_and_rejoin_and_reach_the_weights_of_one_process(
    made: Processes, tmp_path: Path
) -> None:
    address, sites = free_address(), str(tmp_path / "sites")
    flags = [word if word != "2" else "3" for word in FLAGS]
    server = made.start("server", "serve", *flags, "--epochs", 20, "--listen", address, "--out", "run", "--tokens", "t")
    until(lambda: (tmp_path / "t" / "client-2.token").is_file(), "the tokens")
    tokens = [word for number in range(3) for word in ("--token", f"@t/client-{number}.token")]
    words = ("join", address, *tokens, "--dataset", "digits", "--out", sites, "--processes", "2")
    clients = made.start("clients", *words)
    until(lambda: epochs(tmp_path / "run") >= 2, "epochs")
    assert len(alive(sites)) == 3, "the command and its two processes"
    clients.send_signal(signal.SIGTERM)
    assert clients.wait(60) == 0
    assert "left the run; run the same command to rejoin" in made.said("clients")
    until(lambda: alive(sites) == [], "its processes to end")
    clients = made.start("clients", *words)
    reached = epochs(tmp_path / "run")
    until(lambda: epochs(tmp_path / "run") > reached, "epochs after they rejoined")
    clients.send_signal(signal.SIGKILL)
    clients.wait()
    until(lambda: alive(sites) == [], "processes to end with the command", 30)
    clients = made.start("clients", *words)
    assert server.wait(200) == 0, made.said("server")
    assert clients.wait(60) == 0
    assert "the training is over" in made.said("clients")
    summary = Run.open(tmp_path / "run").summary
    alone = local_twin({**SETTINGS, "clients": 3, "epochs": 20}, tmp_path / "local").summary
    assert summary is not None and alone is not None
    assert summary["weights_sha256"] == alone["weights_sha256"]
