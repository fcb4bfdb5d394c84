"""The processes that hold the blocks: made, asked, watched, and made anew where one is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch

from sglr.core.data import ClientData
from sglr.core.engine import LostClients
from sglr.core.errors import Interrupted, SglrError
from sglr.engines.ray.server_worker import Post, ServerWorker
from sglr.engines.ray.sizing import Design, too_small_gpu
from sglr.engines.ray.worker import Worker, owned_by
from sglr.parties.spec import ClientSpec
from sglr.system.ray_cluster import reachable

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often, while it waits, the engine looks whether the cluster is still there."""

TELL_SECONDS = 60.0
"""How often it says that it waits for room in the cluster."""

SQUEEZE_SECONDS = 30.0
"""How long a lost block waits for processors of its own, until it shares those of others."""

MOST_LOSSES = 8
"""Losses without a checkpoint in between, after which the run ends."""

SERVER = -1
"""The number of the server's process, where it has one, among those of the blocks."""


@dataclass(frozen=True)
class Place:
    """What one process of the crew is there for, and how it is made whenever it is lost.

    Parameters
    ----------
    name
        What messages call it.
    kind
        Ray's class of such processes.
    asks
        What it asks the cluster for.
    arguments
        Gives what its ``build`` is called with.
    """

    name: str
    kind: Any
    asks: Mapping[str, float]
    arguments: Callable[[], tuple[Any, ...]]


Call = tuple[str, tuple[Any, ...]]
"""The name of a call and its arguments."""


class Crew:
    """One process for every block, and one for the server if it has a post in the cluster.

    Parameters
    ----------
    ray
        The module, connected.
    spec
        What all blocks have in common, without data.
    data
        The data, of which each block gets its own clients' part.
    design
        The blocks.
    stopping
        Asked while the crew waits for room.
    post
        The server's, or None where it stays in this process.
    """

    def __init__(
        self,
        ray: Any,
        spec: ClientSpec,
        data: ClientData,
        design: Design,
        stopping: Callable[[], bool],
        post: Post | None = None,
    ) -> None:
        self._ray, self._design, self._stopping = ray, design, stopping
        self._places = _blocks(ray, spec, data, design) | ({} if post is None else {SERVER: _server(ray, post)})
        self._actors: dict[int, Any] = {}
        self._told: list[Any] = []
        self._losses = 0
        self._gone = False
        self._hire(list(self._places), squeeze=False)

    def put(self, value: object) -> Any:
        """Put something into the store once, for several blocks."""
        return self._ray.put(value)

    def tell(self, block: int, call: str, *arguments: Any) -> None:
        """Have a block do something before whatever it is asked next, without waiting."""
        self._told.append(getattr(self._actors[block], call).remote(*arguments))

    def ask(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """Ask blocks at once, and return their answers.

        Raises
        ------
        LostClients
            If a process was lost; there is a new one by then, with first weights.
        """
        answers = {block: getattr(self._actors[block], call).remote(*args) for block, (call, args) in calls.items()}
        told, self._told = self._told, []
        found = self._wait([*told, *answers.values()])
        return dict(zip(answers, found[len(told) :], strict=True))

    def ask_all(self, call: str, *arguments: Any) -> list[Any]:
        """Ask every block the same."""
        return list(self.ask(dict.fromkeys(range(len(self._design.blocks)), (call, arguments))).values())

    def progressed(self) -> None:
        """Note that what has been done so far will not be lost."""
        self._losses = 0

    def processes(self) -> list[int]:
        """Return the ids of all processes, each on its own machine."""
        return [int(number) for number in self.ask(dict.fromkeys(self._actors, ("ready", ()))).values()]

    def dismiss(self) -> None:
        """End all processes."""
        if not self._gone and self._ray.is_initialized():
            for actor in self._actors.values():
                self._ray.kill(actor)
        self._actors, self._places, self._told = {}, {}, []

    # Waiting and losing.

    def _wait(self, references: Sequence[Any]) -> list[Any]:
        errors = self._ray.exceptions
        while True:
            try:
                found: list[Any] = self._ray.get(references, timeout=LOOK_SECONDS)
            except errors.GetTimeoutError:
                self._check_cluster()
            except errors.RayTaskError as error:
                self._explain(error)
            except (errors.RayError, OSError) as error:
                self._lost(error)
            else:
                return found

    def _explain(self, error: Any) -> NoReturn:
        """Raise what a block's code raised, which would raise it again; what befell the process is a loss."""
        cause = error.cause
        if isinstance(cause, self._ray.exceptions.RayError):
            self._lost(cause)
        if isinstance(cause, torch.OutOfMemoryError):
            raise too_small_gpu(str(cause).partition("\n")[0]) from error
        if isinstance(cause, Exception):
            raise cause from error
        raise SglrError(str(error)) from error

    def _lost(self, error: BaseException) -> NoReturn:
        """Put new processes in the places of those that are gone."""
        self._told = []
        self._check_cluster()
        self._count(error)
        gone = [block for block, actor in self._actors.items() if not self._answers(actor.ready.remote())]
        names = ", ".join(self._places[place].name for place in gone) or "what a process had sent"
        self._hire(gone, squeeze=not self._design.on_gpus)
        raise LostClients(f"{names} was lost ({_reason(error)}); it is made anew, and all go back") from error

    def _count(self, error: BaseException) -> None:
        self._losses += 1
        if self._losses > MOST_LOSSES:
            raise SglrError(
                f"processes were lost {self._losses} times without reaching a checkpoint ({_reason(error)}); is there "
                "enough memory? give smaller blocks (--block-clients) or more frequent checkpoints (--checkpoint-every)"
            ) from error

    def _answers(self, reference: Any) -> bool:
        """Say whether a call succeeds, however long it takes; False if its process is gone. Its own errors come out."""
        errors = self._ray.exceptions
        while True:
            try:
                self._ray.get(reference, timeout=LOOK_SECONDS)
            except errors.GetTimeoutError:
                self._check_cluster()
            except errors.RayTaskError as error:
                if not isinstance(error.cause, errors.RayError):
                    self._explain(error)
                return False
            except errors.RayError:
                return False
            else:
                return True

    def _check_cluster(self) -> None:
        """Raise an error if the cluster's head does not answer, even a second time."""
        if reachable():
            return
        time.sleep(1.0)
        if not reachable():
            self._gone = True
            problem = "the Ray cluster is gone: its head does not answer"
            raise SglrError(f"{problem}; checkpoints are kept, and sglr resume goes on once there is a cluster")

    # Hiring.

    def _hire(self, blocks: Sequence[int], *, squeeze: bool) -> None:
        """Make processes for blocks, and give them their clients with first weights."""
        while blocks:
            self._place(blocks, squeeze=squeeze)
            building = {block: self._build(block) for block in blocks}
            blocks = [block for block, reference in building.items() if not self._answers(reference)]
            if blocks:
                self._count(SglrError(f"{self._places[blocks[0]].name} ended while it was made"))

    def _build(self, block: int) -> Any:
        return self._actors[block].build.remote(*self._places[block].arguments())

    def _place(self, blocks: Sequence[int], *, squeeze: bool) -> None:
        """Start processes, and wait until the cluster has room for all of them."""
        ready = {self._start(block): block for block in blocks}
        began = told = time.monotonic()
        while ready:
            here, _ = self._ray.wait(list(ready), num_returns=len(ready), timeout=1.0)
            for reference in here:
                del ready[reference]
            if not ready:
                return
            self._check_stop()
            now = time.monotonic()
            if squeeze and now - began > SQUEEZE_SECONDS:
                log.warning("no processor is free for %d blocks: they share those of others", len(ready))
                ready = {self._start(block, cpus=0.0): block for block in ready.values()}
                squeeze = False
            if now - told > TELL_SECONDS:
                told = now
                log.warning("waiting for room in the cluster for %d blocks", len(ready))
                self._check_cluster()

    def _check_stop(self) -> None:
        if self._stopping():
            raise Interrupted("stopped while waiting for room in the cluster")

    def _start(self, block: int, cpus: float | None = None) -> Any:
        """Start a block's process; return what is answered once it runs."""
        before = self._actors.get(block)
        if before is not None:
            self._ray.kill(before)
        place = self._places[block]
        asks = dict(place.asks) if cpus is None else {**place.asks, "num_cpus": cpus}
        # Ray would restart a process with first weights and tell nobody.
        actor = place.kind.options(max_restarts=0, max_task_retries=0, **asks).remote()
        self._actors[block] = actor
        return actor.ready.remote()


def _blocks(ray: Any, spec: ClientSpec, data: ClientData, design: Design) -> dict[int, Place]:
    """Return the places of the blocks; what they have in common is in the store once."""
    common, kind, share = ray.put(spec), ray.remote(Worker), design.share
    asks = {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": share.memory}

    def arguments(clients: Sequence[int]) -> tuple[Any, ...]:
        return common, ray.put(owned_by(data, clients)), share.threads

    return {
        block: Place(f"block {block}", kind, asks, partial(arguments, clients))
        for block, clients in enumerate(design.blocks)
    }


def _server(ray: Any, post: Post) -> Place:
    """Return the server's place; it computes while the blocks wait, and asks no CPU."""
    return Place("the server", ray.remote(ServerWorker), {"num_cpus": 0, "num_gpus": post.gpus}, lambda: (post,))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
