"""Whatever breaks between server and clients, no step is lost and none is done twice: not a bit differs at the end."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.engines.remote.proxy import Proxy

from sglr.core.checkpoint import digest
from sglr.core.errors import UsageError
from sglr.core.types import EpochDone, Event, StepDone
from sglr.engines.remote import members
from sglr.engines.remote.client import Client
from sglr.engines.remote.line import Line
from sglr.engines.remote.worker import Worker
from sglr.run import Run
from sglr.sites import join as joining

from .federation import Federation, local_twin

WITH_MEMORY = {"method": "sglr", "compression": "int8:feedback=true", "optimizer": "sgd:momentum=0.9"}
SHARED = {"method": "sfl", "optimizer": "sgd:momentum=0.9"}
SHORT = {**WITH_MEMORY, "checkpoint_every": 2}
"""Six steps, with checkpoints after 0, 2, 3, 4 and 6."""

with_and_without_shared_segments = pytest.mark.parametrize(
    "settings", [WITH_MEMORY, pytest.param(SHARED, marks=pytest.mark.slow)], ids=["sglr", "sfl"]
)


def undisturbed(settings: dict[str, Any]) -> str:
    """Return the weights' SHA-256 of the same training in one process, where nothing can break."""
    return _undisturbed(tuple(sorted(settings.items())))


@cache
def _undisturbed(settings: tuple[tuple[str, Any], ...]) -> str:
    with TemporaryDirectory() as folder:
        return str(local_twin(dict(settings), Path(folder) / "run").summary["weights_sha256"])


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(0) as found:
        yield found


def through(proxy: Proxy) -> Callable[[int], int]:
    def ready(port: int) -> int:
        proxy.target_port = port
        return proxy.port

    return ready


def at_steps(*actions: tuple[tuple[int, int], Callable[[], None]]) -> Callable[[Event], None]:
    """Do something once when an epoch's step is over, before the next begins."""
    due = list(actions)

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and due and (event.epoch, event.step) == due[0][0]:
            due.pop(0)[1]()

    return observe


def later(seconds: float, action: Callable[[], None]) -> None:
    threading.Timer(seconds, action).start()


def until(over: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not over():
        assert time.monotonic() < end
        time.sleep(0.02)


def ends_as_undisturbed(federation: Federation, run: Run) -> None:
    assert federation.problems == []
    settings = {name: value for name, value in federation.settings.items() if name not in ("checkpoint_every",)}
    assert run.summary["weights_sha256"] == undisturbed(settings)
    assert [record["epoch"] for record in run.history] == [1, 2]


# ---- the network


@pytest.mark.parametrize("way", ["up", "down"])
@with_and_without_shared_segments
def test_connections_are_cut_at_many_points(settings, way, proxy, tmp_path):
    federation = Federation(tmp_path, settings, ready=through(proxy))
    points = zip([(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)], [1, 300, 900, 2000, 60], strict=True)

    def cut(number: int) -> Callable[[], None]:
        return lambda: proxy.cut_after(number, way)

    run = federation.train(observe=at_steps(*((where, cut(number)) for where, number in points)))
    ends_as_undisturbed(federation, run)
    assert sum(member.connections for member in federation.engine.house.members) >= 3 + 3


@pytest.mark.slow
def test_a_slow_line_changes_nothing(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))
    proxy.delay(0.02, jitter=0.02)
    proxy.throttle(200_000)
    ends_as_undisturbed(federation, federation.train())


def test_a_peer_that_is_half_open_heals(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))

    def stall() -> None:
        proxy.half_open()
        later(1.0, proxy.heal)

    ends_as_undisturbed(federation, federation.train(observe=at_steps(((0, 2), stall), ((1, 1), stall))))


@pytest.mark.slow
def test_a_server_that_refuses_connections_for_a_while(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))

    def refuse() -> None:
        proxy.refuse()
        proxy.reset()
        later(1.5, proxy.heal)

    ends_as_undisturbed(federation, federation.train(observe=at_steps(((0, 2), refuse))))


@with_and_without_shared_segments
def test_messages_that_come_twice_and_out_of_order_are_done_once(settings, monkeypatch, tmp_path):
    put, serve, earlier = Line.put, Client._serve, dict[Line, list[bytes]]()

    def put_more(line: Line, frame: bytes) -> bool:
        before = earlier.setdefault(line, [])
        before.append(frame)
        return all(put(line, again) for again in (frame, *before[1:][-3:], *before[1:2]))

    class Twice:
        def __init__(self, call: Any) -> None:
            self.call = call

        async def write(self, answer: bytes) -> None:
            await self.call.write(answer)
            await self.call.write(answer)

    monkeypatch.setattr(Line, "put", put_more)
    monkeypatch.setattr(Client, "_serve", lambda client, call, data: serve(client, Twice(call), data))
    federation = Federation(tmp_path, settings)
    ends_as_undisturbed(federation, federation.train())


# ---- clients that die


@pytest.mark.parametrize(
    "settings", [SHORT, pytest.param({**SHARED, "checkpoint_every": 2}, marks=pytest.mark.slow)], ids=["sglr", "sfl"]
)
def test_clients_that_lose_their_memory_send_all_back_to_a_checkpoint(settings, tmp_path):
    federation = Federation(tmp_path, settings, groups=[(0,), (1, 2)])
    # After a checkpoint and between two; one group, then the other.
    crashes = [((0, 1), 0), ((0, 2), 1), ((0, 3), 0), ((1, 1), 1), ((1, 2), 0)]
    observe = at_steps(*((where, lambda group=group: federation.crash(group)) for where, group in crashes))
    ends_as_undisturbed(federation, federation.train(observe=observe))


def test_clients_that_die_after_a_snapshot_lose_only_what_came_after_it(tmp_path):
    federation = Federation(tmp_path, {**SHARED, "checkpoint_every": 1}, groups=[(0,), (1, 2)])
    save, crashed = Run.save, list[int]()

    def save_and_crash(run: Run, steps: int, *args: Any, **named: Any) -> None:
        save(run, steps, *args, **named)
        if steps in (0, 1, 3, 5) and steps not in crashed:
            crashed.append(steps)
            federation.crash(steps % 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", save_and_crash)
        run = federation.train()
    assert crashed == [0, 1, 3, 5]
    ends_as_undisturbed(federation, run)


def test_a_client_that_dies_between_its_snapshot_and_the_checkpoint(tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1, 2)])
    save, crashed = Run.save, list[int]()

    def crash_and_save(run: Run, steps: int, *args: Any, **named: Any) -> None:
        if steps in (2, 4, 6) and steps not in crashed:
            crashed.append(steps)
            federation.crash(1)
        save(run, steps, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", crash_and_save)
        ends_as_undisturbed(federation, federation.train())
    assert crashed == [2, 4, 6]


def test_a_client_that_dies_during_the_test(tmp_path, monkeypatch):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1, 2)])
    score, crashed = Worker.score, threading.Event()

    def score_and_crash(worker: Worker, part: str, *args: Any, **named: Any) -> Any:
        if part == "test" and worker.task.client == 2 and not crashed.is_set():
            crashed.set()
            threading.Thread(target=federation.crash, args=(1,)).start()
            until(federation.leaving.is_set)
        return score(worker, part, *args, **named)

    monkeypatch.setattr(Worker, "score", score_and_crash)
    run = federation.train()
    assert crashed.is_set()
    ends_as_undisturbed(federation, run)


# ---- a server that dies


class PowerCutError(Exception):
    """Stands for the server's death: nothing more is written."""


def dies_at(epoch: int, step: int) -> Callable[[Event], None]:
    def die() -> None:
        raise PowerCutError

    return at_steps(((epoch, step), die))


def test_a_server_that_dies_again_and_again(tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1, 2)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(0, 1))
    for where in [(0, 3), (1, 2)]:
        with pytest.raises(PowerCutError):
            federation.go_on(observe=dies_at(*where))
    ends_as_undisturbed(federation, federation.go_on())


@pytest.mark.parametrize("whose", ["site-1", pytest.param("server", marks=pytest.mark.slow)])
def test_a_torn_file_sends_all_back_to_the_step_before(whose, tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 2))
    [newest] = (tmp_path / whose).rglob("step-000000004.safetensors")
    newest.write_bytes(newest.read_bytes()[:-7])
    said: list[str] = []
    ends_as_undisturbed(federation, federation.go_on(say=said.append))
    assert any("going back to the checkpoint before it" in line for line in said)


def test_a_client_whose_snapshots_are_gone_is_named_with_what_to_do(tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 2))
    [snapshots] = (tmp_path / "site-1").rglob("snapshots")
    shutil.rmtree(snapshots)
    with pytest.raises(UsageError, match=r"client 1 does not hold its part.*start that client with the folder it had"):
        federation.go_on()
    # Nothing was destroyed by trying.
    assert len(list((tmp_path / "server" / "checkpoints").glob("step-*"))) == 3


def test_clients_that_missed_the_end_hear_of_it_from_the_same_command(tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, groups=[(0,), (1, 2)])

    def leave_and_die(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 1:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        federation.train(observe=leave_and_die)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sglr.engines.remote.engine.Remote.close", _power_cut)
        with pytest.raises(PowerCutError):
            federation.go_on()
    assert Run.open(tmp_path / "server").summary is not None
    assert federation.ends == [False] * 6
    run = federation.go_on()
    assert federation.ends[6:] == [True] * 3
    assert {member.state for member in federation.engine.house.members} == {members.DONE}
    ends_as_undisturbed(federation, run)
    # They keep it in mind, even where no server is left to tell them again.
    for number in (0, 1):
        federation.again(number)
    until(lambda: len(federation.ends) == 12)
    federation.end()
    assert federation.problems == []
    assert federation.ends[9:] == [True] * 3
    # Who heard is not waited for again.
    started = time.monotonic()
    resumed = Federation(tmp_path, WITH_MEMORY, groups=[])
    resumed.go_on()
    assert time.monotonic() - started < 8


def _power_cut(engine: Any, *, done: bool) -> None:
    engine._premises.close("stopped")
    raise PowerCutError


# ---- disks


class SmallDisks:
    """Disks of a few MiB, put in the place of folders, with what was in them."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def put(self, folder: Path) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(folder)], check=True)
        self.folders.append(folder)
        for name, content in before.items():
            (folder / name).write_bytes(content)

    def fill(self) -> None:
        for folder in self.folders:
            with pytest.raises(OSError), (folder / "filler").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    def free(self) -> None:
        for folder in self.folders:
            (folder / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        for folder in self.folders:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[SmallDisks]:
    found, trial = SmallDisks(), tmp_path / "trial"
    trial.mkdir()
    try:
        found.put(trial)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: it needs root")
    try:
        yield found
    finally:
        found.remove()


def test_full_disks_are_waited_out(disks, tmp_path, caplog):
    federation = Federation(tmp_path, SHORT, groups=[(0, 1), (2,)])

    def fill() -> None:
        disks.put(tmp_path / "server" / "checkpoints")
        disks.put(tmp_path / "site-1" / "snapshots")
        disks.fill()
        later(2.5, disks.free)

    run = federation.train(observe=at_steps(((0, 3), fill)))
    assert sum("No space left" in line and "free some space" in line for line in federation.said) == 1
    ends_as_undisturbed(federation, run)


def test_a_server_waits_out_a_full_disk(disks, tmp_path, caplog):
    federation = Federation(tmp_path, SHORT)

    def fill() -> None:
        disks.put(tmp_path / "server" / "checkpoints")
        disks.fill()
        later(1.5, disks.free)

    run = federation.train(observe=at_steps(((0, 1), fill)))
    told = [record.getMessage() for record in caplog.records if "No space left" in record.getMessage()]
    assert len(told) == 1
    assert "the checkpoint could not be written" in told[0]
    ends_as_undisturbed(federation, run)


def test_a_client_whose_disk_is_full_can_leave_and_come_back(disks, tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0, 1), (2,)])

    def fill() -> None:
        disks.put(tmp_path / "site-1" / "snapshots")
        disks.fill()
        threading.Thread(target=leave).start()

    def leave() -> None:
        until(lambda: any("No space left" in line for line in federation.said))
        federation.end()
        disks.free()
        for number in (0, 1):
            federation.again(number)

    run = federation.train(observe=at_steps(((0, 3), fill)))
    assert any("can't be kept" in line for line in federation.said)
    ends_as_undisturbed(federation, run)


# ---- those who come late, and deadlines


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Worker]:
    """Look at what clients hold: the newest worker of each."""
    found: dict[int, Worker] = {}
    make = joining.make_workers

    def make_and_note(*args: Any) -> list[Worker]:
        made = make(*args)
        found.update({worker.task.client: worker for worker in made})
        return made

    monkeypatch.setattr(joining, "make_workers", make_and_note)
    return found


def with_a_late_joiner(settings: dict[str, Any], folder: Path, workers: dict[int, Worker]) -> tuple[Federation, Run]:
    federation = Federation(folder, {**settings, "min_clients": 2}, groups=[(1, 2)])

    def come() -> None:
        federation.start(1, (0,))
        until(lambda: federation.engine.house.members[0].state == members.HERE)

    loads: list[str] = []
    load = Worker.load

    def load_and_note(worker: Worker, weights: Any) -> None:
        if worker.task.client == 0:
            loads.append(digest(weights))
        load(worker, weights)

    def compare() -> None:
        if settings["method"] == "sfl":
            assert loads == [digest(federation.engine._published)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "load", load_and_note)
        run = federation.train(observe=at_steps(((0, 1), come), ((0, 2), compare)))
    assert federation.problems == []
    return federation, run


@with_and_without_shared_segments
def test_who_joins_late_takes_part_from_the_next_step_on(settings, workers, tmp_path):
    _, first = with_a_late_joiner(settings, tmp_path / "first", workers)
    _, second = with_a_late_joiner(settings, tmp_path / "second", workers)
    # The same arrivals, the same weights; others than if all had been there.
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"] != undisturbed(settings)
    sent = [record["samples"] for record in first.history]
    assert sent == [3 * 20 - 8, 2 * 3 * 20 - 8]


@pytest.mark.parametrize(
    "settings",
    [
        WITH_MEMORY,
        pytest.param(SHARED, marks=pytest.mark.slow),
        pytest.param({"method": "sglr", "pipelining": True}, marks=pytest.mark.slow),
    ],
    ids=["sglr", "sfl", "ahead"],
)
def test_who_misses_deadlines_is_absent_then_dropped_and_comes_back(settings, workers, proxy, tmp_path):
    chosen = {"samples_per_client": 96, "step_deadline": 0.4, "max_misses": 3, "epochs": 1}
    federation = Federation(tmp_path, {**settings, **chosen}, through(proxy), groups=[(0, 1), (2,)], direct=[0])
    told: dict[str, Any] = {}

    def member() -> members.Member:
        return federation.engine.house.members[2]

    def absent() -> None:
        assert member().misses > 0
        told["absent"] = workers[2].digest()

    def dropped() -> None:
        assert member().state == members.OUT
        assert "missed 3 deadlines in a row" in member().reason
        told["dropped"] = workers[2].digest()
        proxy.heal()
        until(lambda: member().state == members.HERE)

    # The third step's smashed data may be there already: the first without it is the third or the fourth.
    run = federation.train(observe=at_steps(((0, 2), proxy.half_open), ((0, 4), absent), ((0, 6), dropped)))
    assert federation.problems == []
    assert told["absent"] == told["dropped"] != workers[2].digest()
    assert member().state == members.DONE
    assert 96 * 3 - run.history[0]["samples"] in (3 * 8, 4 * 8)


def test_with_a_deadline_a_run_goes_on_with_those_who_come_back(tmp_path):
    settings = {**SHARED, "step_deadline": 5.0, "min_clients": 3, "checkpoint_every": 2}
    federation = Federation(tmp_path, settings, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 1))
    [snapshots] = (tmp_path / "site-1").rglob("snapshots")
    shutil.rmtree(snapshots)
    config = tmp_path / "server" / "config.toml"
    config.write_text(config.read_text().replace("min_clients = 3", "min_clients = 2"))
    federation.groups = [(0,), (1,)]
    run = federation.go_on()
    assert federation.problems == []
    assert [member.state for member in federation.engine.house.members] == [members.DONE, members.DONE, members.NEVER]
    # The newest checkpoint is that of the first epoch; the second is that of two.
    assert [record["samples"] for record in run.history] == [60, 60 + 2 * 20]
