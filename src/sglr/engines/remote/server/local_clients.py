"""Clients as processes of this machine: to try it out, for tests, and to compare it with one process."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from sglr.core.errors import SglrError
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.files import private_folder, write_private
from sglr.runs.config import Experiment, named, part_fields
from sglr.runs.facts import facts_of_parameter
from sglr.storage.files import NOFOLLOW
from sglr.system.forks import FORKS

LEAST_PROCESSES = 4
"""Beyond so many, and beyond one per core, clients share processes."""


class LocalClients:
    """All clients of a run, on this machine.

    Parameters
    ----------
    folder
        Where they keep keys, snapshots and logs.
    experiment
        The settings.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._folder, self._experiment = folder, experiment
        self._commands: list[subprocess.Popen[bytes]] = []

    def start(self, port: int, authority: Authority) -> None:
        """Start the processes, with join tokens for their clients: by one command, where that can fork."""
        clients = self._experiment.clients
        processes = min(clients, max(LEAST_PROCESSES, os.cpu_count() or 1))
        forks = FORKS and not self._place(1).is_dir()  # an older version gave each process a command, and a folder
        commands, each = (1, processes) if forks else (processes, 1)
        for number in range(commands):
            self._commands.append(self._start(number, range(number, clients, commands), each, port, authority))

    def _start(
        self, number: int, own: range, processes: int, port: int, authority: Authority
    ) -> subprocess.Popen[bytes]:
        folder = self._place(number)
        private_folder(folder)
        tokens = [word for client in own for word in ("--token", f"@{_token_file(folder, client, authority)}")]
        command = [sys.executable, "-m", "sglr", "join", f"127.0.0.1:{port}", *tokens, "--quiet"]
        command += [f"--processes={processes}", f"--out={folder}"]
        command += ["--dataset", self._experiment.dataset, *self._further()]
        environment = {**os.environ, "SGLR_PARENT": str(os.getpid())}
        with _log(folder / "log.txt") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def _place(self, number: int) -> Path:
        """Return the folder of a command."""
        return self._folder / f"process-{number}"

    def _further(self) -> list[str]:
        """Flags that a client never takes from a server: where its data are, code of its own, its device."""
        of_data = part_fields("dataset", self._experiment.dataset)
        given = {name for name, field in of_data.items() if not facts_of_parameter(field).by_run}
        settings = self._experiment.flat()
        own = {name: settings.get(name) for name in (*sorted(named(clients="own")), "model", *sorted(given))}
        if ":" not in self._experiment.model:
            own["model"] = None
        return [_flag(name, value) for name, value in own.items() if value not in (None, "", [], "none")]

    def check(self) -> None:
        """Raise SglrError if a command ended by itself."""
        for number, command in enumerate(self._commands):
            if command.poll() not in (None, 0):
                told = (self._place(number) / "log.txt").read_text(encoding="utf-8").strip()
                last = told.rpartition("\n")[2] or f"exit code {command.returncode}"
                raise SglrError(f"the clients on this machine ended: {last}")

    def stop(self) -> None:
        """End the commands, those that are not over by themselves within seconds."""
        for command in self._commands:
            try:
                command.wait(3)
            except subprocess.TimeoutExpired:
                command.terminate()
        for command in self._commands:
            try:
                command.wait(10)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()


def _token_file(folder: Path, client: int, authority: Authority) -> Path:
    """Write a join token into a file, because everyone on this machine can read command lines."""
    path = folder / f"client-{client}.token"
    write_private(path, authority.issue_token(client, timedelta(hours=1)).encode())
    return path


def _log(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | NOFOLLOW, 0o600), "ab")


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag}={','.join(map(str, value)) if isinstance(value, list) else value}"
