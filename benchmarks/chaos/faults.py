"""The kinds of faults: what each does, and how it is undone."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM, Signals

from benchmarks.chaos.processes import SERVER, SITES, LostError, Processes
from benchmarks.chaos.proxy import Proxy

CLOCK_JUMPS = (1.0, 60.0, 3600.0, 86400.0)
LONG_SECONDS = 60.0


@dataclass(frozen=True)
class Scene:
    """What faults are done to.

    Parameters
    ----------
    processes
        The server and its clients.
    proxy
        The network between them.
    rng
        Draws how much of it.
    """

    processes: Processes
    proxy: Proxy
    rng: Random


Do = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Parameters
    ----------
    name
        What it is called in the record.
    weight
        How often it is drawn, beside the others.
    do
        Does it, and undoes it at the end.
    network
        It touches no process, so that another fault may come at the same time.
    seconds
        How long it lasts: at least, at most.
    restarts
        Processes start anew, which takes seconds.
    needs
        What the machine must have: a ``disk``, a ``clock``, ``permissions``, or nothing.
    """

    name: str
    weight: float
    do: Do
    network: bool = False
    seconds: tuple[float, float] = (0.1, 2.5)
    restarts: bool = False
    needs: str = ""


def ends(number: Signals, *names: str, times: int = 1) -> Do:
    """End processes by a signal, and start them again; of clients alone, one is drawn."""

    @contextmanager
    def do(scene: Scene) -> Iterator[None]:
        who = names or (scene.rng.choice(SITES),)
        ended = scene.processes.end(who, number, times, scene.rng.uniform(0, 0.5))
        yield
        for name in ended:
            scene.processes.start(name)

    return do


def stops(*names: str) -> Do:
    """Stop processes, and have them go on; without names a client."""

    @contextmanager
    def do(scene: Scene) -> Iterator[None]:
        who = names or (scene.rng.choice(SITES),)
        for name in who:
            scene.processes.running[name].send_signal(SIGSTOP)
        yield
        for name in who:
            scene.processes.running[name].send_signal(SIGCONT)

    return do


def network(act: Callable[[Proxy, Random], None]) -> Do:
    """Do something to the line, and heal it."""

    @contextmanager
    def do(scene: Scene) -> Iterator[None]:
        act(scene.proxy, scene.rng)
        yield
        # Whatever else lasted as long as this.
        scene.proxy.heal()

    return do


@contextmanager
def full_disk(scene: Scene) -> Iterator[None]:
    """Fill the disk that all of them write to."""
    scene.processes.disk.fill()
    yield
    scene.processes.disk.free()


@contextmanager
def short_of_memory(scene: Scene) -> Iterator[None]:
    """Leave one of all hardly more memory than it holds, until it ends for want of it or gets by."""
    name = scene.rng.choice((SERVER, *SITES))
    process = scene.processes.running[name]
    if not scene.processes.over(name):
        more = scene.rng.randrange(8 * 2**20)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_held(process.pid) + more, resource.RLIM_INFINITY))
    yield
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    elif process.returncode:
        scene.processes.start(name)


def _held(pid: int) -> int:
    """Return the bytes of a process's address space."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def sets_clock(way: int, *names: str) -> Do:
    """Set processes' clocks on or back, and right again, which is a jump as well."""

    @contextmanager
    def do(scene: Scene) -> Iterator[None]:
        by = way * scene.rng.choice(CLOCK_JUMPS)
        for name in names or (scene.rng.choice(SITES),):
            scene.processes.clocks[name].set(by)
        yield
        for clock in scene.processes.clocks.values():
            clock.set(0)

    return do


def damages(how: Callable[[Path, Random], None]) -> Do:
    """Kill the server or a client, damage the newest checkpoint that it kept, and start it again."""

    @contextmanager
    def do(scene: Scene) -> Iterator[None]:
        name, kept = _killed(scene)
        if len(kept) > 1:
            how(kept[-1], scene.rng)
        yield
        scene.processes.start(name)

    return do


def tear(path: Path, rng: Random) -> None:
    """Cut the file off somewhere, as a write that power failure ended."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flip(path: Path, rng: Random) -> None:
    """Change some bytes, as a bad disk does."""
    content = bytearray(path.read_bytes())
    for place in rng.sample(range(len(content)), 4):
        content[place] ^= rng.randrange(1, 256)
    path.write_bytes(content)


@contextmanager
def unreadable(scene: Scene) -> Iterator[None]:
    """Forbid a process to read its newest checkpoint, and allow it later: it must not be taken for damaged."""
    name, kept = _killed(scene)
    if len(kept) > 1:
        kept[-1].chmod(0)
        scene.processes.start(name)
        end = time.monotonic() + 30
        while scene.processes.running[name].poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        if not kept[-1].exists():
            raise LostError(f"{name} deleted a checkpoint that it could not read: {scene.processes.said(name)}")
        kept[-1].chmod(0o600)
    yield
    if scene.processes.running[name].poll() is not None:
        scene.processes.start(name)


def _killed(scene: Scene) -> tuple[str, list[Path]]:
    """Kill one of all, and return its checkpoints, oldest first."""
    name = scene.rng.choice((SERVER, *SITES))
    scene.processes.end([name], SIGKILL)
    place = scene.processes.run / "checkpoints" if name == SERVER else scene.processes.site(name) / "snapshots"
    return name, sorted(place.rglob("step-*.safetensors"))


KINDS = (
    Kind("SIGKILL, the server", 4, ends(SIGKILL, SERVER), restarts=True),
    Kind("SIGKILL, a client", 4, ends(SIGKILL), restarts=True),
    Kind("SIGKILL, all", 2, ends(SIGKILL, SERVER, *SITES), restarts=True),
    Kind("SIGTERM, the server", 1.5, ends(SIGTERM, SERVER), restarts=True),
    Kind("SIGTERM, a client", 1.5, ends(SIGTERM), restarts=True),
    Kind("SIGHUP, the server", 1.5, ends(SIGHUP, SERVER), restarts=True),
    Kind("SIGHUP, a client", 1.5, ends(SIGHUP), restarts=True),
    Kind("SIGINT, the server", 1, ends(SIGINT, SERVER), restarts=True),
    Kind("SIGINT, a client", 1, ends(SIGINT), restarts=True),
    Kind("SIGINT twice, the server", 1.5, ends(SIGINT, SERVER, times=2), restarts=True),
    Kind("SIGINT twice, a client", 1.5, ends(SIGINT, times=2), restarts=True),
    Kind("SIGSTOP, the server", 5, stops(SERVER)),
    Kind("SIGSTOP, a client", 5, stops()),
    Kind("SIGSTOP, all", 4, stops(SERVER, *SITES)),
    Kind("SIGSTOP, all, 60 s", 0.8, stops(SERVER, *SITES), seconds=(LONG_SECONDS, LONG_SECONDS)),
    Kind("connections reset", 7, network(lambda proxy, _: proxy.reset()), network=True),
    Kind("connections closed", 6, network(lambda proxy, _: proxy.hang_up()), network=True),
    Kind("reset within a message", 9, network(lambda proxy, rng: proxy.cut_after(*_place(rng))), network=True),
    Kind("half-open", 7, network(lambda proxy, _: proxy.half_open()), network=True),
    Kind("connections refused", 5, network(lambda proxy, _: proxy.refuse()), network=True),
    Kind("throttled line", 6, network(lambda proxy, rng: proxy.throttle(rng.uniform(2e4, 2e5))), network=True),
    Kind("latency", 6, network(lambda proxy, rng: proxy.delay(rng.uniform(0, 0.1), jitter=0.05)), network=True),
    Kind("full disk", 6, full_disk, needs="disk"),
    Kind("short of memory", 3, short_of_memory, seconds=(1, 4), restarts=True),
    Kind("clock set on, the server", 2, sets_clock(1, SERVER), needs="clock"),
    Kind("clock set on, a client", 2, sets_clock(1), needs="clock"),
    Kind("clock set back, the server", 2, sets_clock(-1, SERVER), needs="clock"),
    Kind("clock set back, a client", 2, sets_clock(-1), needs="clock"),
    Kind("checkpoint cut off", 2, damages(tear), restarts=True),
    Kind("bytes of a checkpoint changed", 2, damages(flip), restarts=True),
    Kind("checkpoint unreadable", 1.5, unreadable, restarts=True, needs="permissions"),
)


def _place(rng: Random) -> tuple[int, str]:
    return rng.randrange(5000), rng.choice(("up", "down"))
