"""A server and its clients as processes of the command line, in one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.chaos.cases import CLIENTS
from benchmarks.chaos.machine import Clock, Disk, by_the_rules

PATIENCE = 300.0
"""How long, in seconds, anything may take that must come about: a machine may be busy."""

SERVER = "server"
SITES = tuple(f"client-{client}" for client in range(CLIENTS))
EXCUSED = re.compile("No space left on device|Permission denied|out of memory|Cannot allocate memory")
"""A process that ended for want of what it was denied, and said so, is started again."""

OF_OTHERS = re.compile("^(KeyboardInterrupt$|MemoryError)", re.MULTILINE)
"""What Python says by itself: of Ctrl-C before it runs any of sglr, and of want of memory in a thread."""


class LostError(Exception):
    """A process did what it must not do."""


class Processes:
    """The processes of one run.

    Parameters
    ----------
    folder
        What they say, and their clocks.
    disk
        Where they work.
    library
        What lets their clocks be set, or None.
    """

    def __init__(self, folder: Path, disk: Disk, library: Path | None) -> None:
        self.folder, self.disk = folder, disk
        self.commands: dict[str, list[str]] = {}
        self.clocks = {name: Clock(folder / f"{name}.clock", library) for name in (SERVER, *SITES)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.excused = 0

    @property
    def run(self) -> Path:
        """The folder of the server's run."""
        return self.disk.folder / "run"

    def site(self, name: str) -> Path:
        """Return a client's folder."""
        return self.disk.folder / f"site-{name.rpartition('-')[2]}"

    def plan(self, flags: list[str], listen: int, connect: int) -> None:
        """Say what each process is told: the server where to listen, clients where to connect."""
        serve = ["serve", *flags, f"--listen=127.0.0.1:{listen}", "--out=run", "--tokens=tokens"]
        self.commands[SERVER] = serve
        join = ["join", f"127.0.0.1:{connect}", "--dataset=digits", "--device=cpu", "--threads=1"]
        for client, name in enumerate(SITES):
            own = [f"--token=@tokens/{name}.token", f"--out=site-{client}", f"--partition={client}/{CLIENTS}"]
            self.commands[name] = [*join, *own]

    def start(self, name: str) -> None:
        """Start a process, by the command that it always has; what it says goes on in the same files."""
        command = [*(by_the_rules() or []), sys.executable, "-m", "sglr", *self.commands[name]]
        own = {"OMP_NUM_THREADS": "1", "HOME": str(self.disk.folder), **self.clocks[name].environment}
        with (self.folder / f"{name}.out").open("ab") as out, (self.folder / f"{name}.err").open("ab") as err:
            self.running[name] = subprocess.Popen(
                command,
                cwd=self.disk.folder,
                env={**os.environ, **own},
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    def said(self, name: str) -> str:
        """Return the end of what was said on standard error."""
        return (self.folder / f"{name}.err").read_text(encoding="utf-8", errors="replace")[-2000:]

    def over(self, name: str) -> bool:
        """Say whether a process has ended well; who could not begin for want of space is started again.

        Raises
        ------
        LostError
            If it ended otherwise, which nobody asked it to.
        """
        code = self.running[name].poll()
        if code in (None, 0):
            return code == 0
        last = self.said(name).rstrip().rpartition("\n")[2]
        if not EXCUSED.search(last):
            raise LostError(f"{name} ended with {code}: {self.said(name)}")
        self.excused += 1
        time.sleep(0.5)
        self.start(name)
        return False

    def end(self, names: Iterable[str], number: signal.Signals, times: int = 1, pause: float = 0.1) -> list[str]:
        """Send a signal to all of them, once or twice, and wait for their ends; return who had not ended well before.

        Raises
        ------
        LostError
            If one goes on, or ends by something else.
        """
        ended = [name for name in names if not self.over(name)]
        for time_ in range(times):
            if time_:
                time.sleep(pause)
            for name in ended:
                self.running[name].send_signal(number)
        for name in ended:
            try:
                code = self.running[name].wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise LostError(f"{name} does not end after {number.name}: {self.said(name)}") from None
            if code not in (0, 1, 130, -number):
                raise LostError(f"{name} ended with {code} after {number.name}: {self.said(name)}")
        return ended

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something while everybody is well.

        Raises
        ------
        LostError
            If it does not come about in time.
        """
        end = time.monotonic() + seconds
        while not true():
            for name in self.running:
                self.over(name)
            if time.monotonic() > end:
                waiting = {name: self.said(name)[-500:] for name in self.running}
                raise LostError(f"waited {seconds:.0f} s in vain for {what}: {waiting}")
            time.sleep(0.1)

    def begin(self) -> None:
        """Start all, and wait until they have trained an epoch."""
        self.start(SERVER)
        token = self.disk.folder / "tokens" / f"{SITES[-1]}.token"
        self.until(token.is_file, PATIENCE, "the tokens")
        for name in SITES:
            self.start(name)
        self.until(lambda: self.epochs() > 0, PATIENCE, "the first epoch")

    def finish(self, seconds: float) -> None:
        """Wait until all have ended well."""
        self.until(lambda: self.over(SERVER), seconds, "the end of the training")
        try:
            self.until(self.all_over, 20, "the clients' end")
        except LostError:
            # One was killed at the very end: the server is started again to tell it.
            self.start(SERVER)
            self.until(self.all_over, PATIENCE, "the clients' end, with a server to tell them")

    def all_over(self) -> bool:
        """Say whether all have ended well."""
        return all(self.over(name) for name in self.running)

    def epochs(self) -> int:
        """Return how many epochs the run has records of."""
        try:
            return (self.run / "metrics.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0

    def steps(self) -> int:
        """Return the steps of the newest checkpoint."""
        found = (self.run / "checkpoints").glob("step-*.safetensors")
        return max((int(path.stem.removeprefix("step-")) for path in found), default=0)

    def kill(self) -> None:
        """End whatever still runs."""
        for process in self.running.values():
            process.kill()
            process.wait()

    def tracebacks(self) -> list[str]:
        """Return the tracebacks that were printed by sglr."""
        found = []
        for path in self.folder.glob("*.err"):
            for text in path.read_text(encoding="utf-8", errors="replace").split("Traceback (most recent call last)")[
                1:
            ]:
                inside = re.search(r'File "[^"]*/sglr/(?!__init__\.py)', text)
                if not (OF_OTHERS.search(text) and ("MemoryError" in text or not inside)):
                    found.append(f"{path.stem} printed a traceback: {text[:2000]}")
        return found
