"""A TCP proxy that makes a network misbehave on purpose: latency, low bandwidth, resets, cuts, silence, refusal.

    with Proxy(server_port, seed=1) as proxy:
        ...  # clients connect to proxy.port
        proxy.delay(0.05, jitter=0.02)
        proxy.cut_after(1000, "up")  # in the middle of a message
        proxy.heal()

Every method returns when its change is in force. ``up`` is from client to server, ``down`` the way back.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from random import Random
from types import TracebackType
from typing import Literal

Way = Literal["up", "down"]
BOTH: tuple[Way, Way] = ("up", "down")
HOST = "127.0.0.1"
CHUNK = 16 * 1024
# How many chunks may be on their way at a time: latency must not limit bandwidth.
ON_THE_WAY = 64
AT_ONCE = struct.pack("ii", 1, 0)


class Path:
    """One direction, for all connections: how it behaves, and how many bytes it has forwarded."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.bytes = 0
        self.heal()

    def heal(self) -> None:
        """Behave well from now on."""
        self.latency = self.jitter = 0.0
        self.bytes_per_second: float | None = None
        self.until_cut: int | None = None

    def due(self, now: float) -> float:
        """Return when bytes that come ``now`` are to go on."""
        return now + self.latency + self.rng.uniform(0, self.jitter)

    async def forward(self, data: bytes, out: socket.socket) -> None:
        """Send ``data`` at the bandwidth that is set, until the cut."""
        if self.bytes_per_second is not None:
            await asyncio.sleep(len(data) / self.bytes_per_second)
        cut = self.until_cut is not None and len(data) >= self.until_cut
        data = data[: self.until_cut] if cut else data
        if self.until_cut is not None:
            self.until_cut = None if cut else self.until_cut - len(data)
        # Before they go: who has received them finds them counted.
        self.bytes += len(data)
        await asyncio.get_running_loop().sock_sendall(out, data)
        if cut:
            raise ConnectionResetError("cut")


class Proxy:
    """Forward connections to a loopback port, as badly as told.

    Parameters
    ----------
    target_port
        Where the server listens on 127.0.0.1; it need not be there yet.
    seed
        Where the jitter's random numbers begin.
    """

    def __init__(self, target_port: int, seed: int = 0) -> None:
        self.target_port = target_port
        rng = Random(seed)
        self.paths: dict[Way, Path] = {way: Path(rng) for way in BOTH}
        # Holds the port while nobody listens: else the system may give it to somebody else meanwhile.
        self._holder = self._bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._connections: dict[int, asyncio.Task[None]] = {}
        self._reset: set[int] = set()
        self._accepted = 0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}")
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, stop listening and wait for the thread; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._holder.close()

    @property
    def connections(self) -> list[int]:
        """The numbers of the connections that are open, oldest first; the first ever was 0."""
        return sorted(self._connections.copy())

    @property
    def forwarded(self) -> dict[Way, int]:
        """How many bytes were sent on each way over all connections; TCP's own headers are not counted."""
        return {way: path.bytes for way, path in self.paths.items()}

    def delay(self, seconds: float, jitter: float = 0.0, way: Way | None = None) -> None:
        """Hold bytes back for ``seconds``, and up to ``jitter`` more; they stay in order."""
        for each in (way,) if way else BOTH:
            self.paths[each].latency, self.paths[each].jitter = seconds, jitter

    def throttle(self, bytes_per_second: float | None, way: Way | None = None) -> None:
        """Let through so many bytes per second and connection, or as many as come."""
        for each in (way,) if way else BOTH:
            self.paths[each].bytes_per_second = bytes_per_second

    def cut_after(self, number: int, way: Way) -> None:
        """Forward ``number`` further bytes, then reset the connection that carried the last of them; once."""
        self._do(self._set_cut(number, way))

    def reset(self, connection: int | None = None) -> None:
        """Reset all connections, or one, on both sides: what is on its way is lost."""
        self._do(self._end(connection, reset=True))

    def hang_up(self, connection: int | None = None) -> None:
        """Close all connections, or one, on both sides in good order; what waits in the proxy is lost."""
        self._do(self._end(connection, reset=False))

    def half_open(self) -> None:
        """Keep connections open and accept new ones, but take and forward nothing, until healed."""
        self._do(self._set_flowing(False))

    def refuse(self) -> None:
        """Refuse new connections; open ones go on."""
        self._do(self._stop_listening())

    def heal(self) -> None:
        """Behave well again; what waits is forwarded."""
        self._do(self._heal())

    # ---- all below runs in the proxy's thread

    def _do(self, action: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(30)

    async def _heal(self) -> None:
        for path in self.paths.values():
            path.heal()
        self._flowing.set()
        await self._listen()

    async def _set_cut(self, number: int, way: Way) -> None:
        self.paths[way].until_cut = number

    async def _set_flowing(self, flowing: bool) -> None:
        self._flowing.set() if flowing else self._flowing.clear()

    async def _stop(self) -> None:
        await self._stop_listening()
        await self._end(None, reset=True)

    async def _end(self, connection: int | None, *, reset: bool) -> None:
        chosen = {n: task for n, task in self._connections.items() if connection in (None, n)}
        if reset:
            self._reset.update(chosen)
        for task in chosen.values():
            task.cancel()
        await asyncio.gather(*chosen.values(), return_exceptions=True)

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((HOST, port))
        bound.setblocking(False)
        return bound

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = self._bound(self.port)
            self._listener.listen(1024)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.setblocking(False)
        number, self._accepted = self._accepted, self._accepted + 1
        task = self._connections[number] = self._loop.create_task(self._serve(number, client))
        task.add_done_callback(lambda _: self._forget(number, client))

    def _forget(self, number: int, client: socket.socket) -> None:
        # Here and not in the task, which may be cancelled before its first line.
        client.close()
        self._reset.discard(number)
        del self._connections[number]

    async def _serve(self, number: int, client: socket.socket) -> None:
        with client, socket.socket() as server:
            try:
                await self._join(client, server)
            except* OSError:
                self._reset.add(number)
            finally:
                if number in self._reset:
                    for side in (client, server):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)

    async def _join(self, client: socket.socket, server: socket.socket) -> None:
        server.setblocking(False)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.sock_connect(server, (HOST, self.target_port))
        async with asyncio.TaskGroup() as group:
            for path, source, out in ((self.paths["up"], client, server), (self.paths["down"], server, client)):
                queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY)
                group.create_task(self._take(source, path, queue))
                group.create_task(self._give(out, path, queue))

    async def _take(self, source: socket.socket, path: Path, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        due = 0.0
        data = b"some"
        while data:
            await self._flowing.wait()
            data = await self._loop.sock_recv(source, CHUNK)
            due = max(due, path.due(self._loop.time()))
            await queue.put((due, data))

    async def _give(self, out: socket.socket, path: Path, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flowing.wait()
            if not data:
                out.shutdown(socket.SHUT_WR)
                return
            await path.forward(data, out)
