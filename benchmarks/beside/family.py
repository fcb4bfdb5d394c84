"""Processes that belong together, known by a variable of their environment: what they take, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen

MARK = "BESIDE_FAMILY"
TICK = os.sysconf("SC_CLK_TCK")


class Family:
    """All processes that a contender's commands start, and that these start, however deep.

    Parameters
    ----------
    folder
        Where what they print goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, uuid.uuid4().hex
        self.started: list[Popen[bytes]] = []

    def start(self, words: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None) -> Popen[bytes]:
        """Start a process in a session of its own, which a Ctrl-C does not reach."""
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = Popen(
                words,
                cwd=cwd,
                env={**environment, MARK: self.name},
                stdout=log,
                stderr=STDOUT,
                stdin=DEVNULL,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log(self) -> str:
        """Return the ends of what they printed."""
        texts = [path.read_text(encoding="utf-8", errors="replace")[-1500:] for path in self.folder.glob("*.log")]
        return "\n---\n".join(texts)

    def members(self) -> list[Path]:
        """Return the folders of ``/proc`` of all that live."""
        sign = f"{MARK}={self.name}".encode()
        return [path.parent for path in Path("/proc").glob("[0-9]*/environ") if sign in _read(path)]

    def processor_seconds(self) -> float:
        """Return what they took, and those of their children that ended."""
        times = [_read(member / "stat").rpartition(b")")[2].split()[11:15] for member in self.members()]
        return sum(int(ticks) for own in times for ticks in own) / TICK

    def memory(self) -> int:
        """Return the bytes that they hold; what several share counts once (PSS)."""
        lines = [line for member in self.members() for line in _read(member / "smaps_rollup").splitlines()]
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(b"Pss:"))

    def end(self) -> None:
        """Kill them all, and wait until none is left."""
        for _ in range(100):
            if not (alive := [member for member in self.members() if _read(member / "cmdline")]):
                break
            for member in alive:
                _kill(int(member.name))
            for process in self.started:
                process.poll()
            time.sleep(0.1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def _kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
