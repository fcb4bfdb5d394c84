"""The processes that hold the blocks: started, called, watched, and replaced when one is lost."""

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
from sglr.engines.ray.server_worker import ServerPlacement, ServerWorker
from sglr.engines.ray.sizing import Design, too_small_gpu
from sglr.engines.ray.worker import BlockWorker, owned_by
from sglr.parties.spec import ClientSpec
from sglr.system.ray_cluster import reachable

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often a waiting engine checks that the cluster is still there."""

TELL_SECONDS = 60.0
"""How often a warning says that blocks wait for room in the cluster."""

SQUEEZE_SECONDS = 30.0
"""How long a lost block waits for free processors before it shares those of others."""

MOST_LOSSES = 8
"""The run ends after more losses than this without a checkpoint in between."""

SERVER = -1
"""The number of the server's process, where it has one, among those of the blocks."""


@dataclass(frozen=True)
class ActorSpec:
    """What one process is for, and how it is started again when it is lost.

    Parameters
    ----------
    name
        Its name in messages.
    kind
        Ray's class of such processes.
    asks
        Resources that it asks the cluster for.
    arguments
        Returns the arguments of its ``build``.
    """

    name: str
    kind: Any
    asks: Mapping[str, float]
    arguments: Callable[[], tuple[Any, ...]]


Call = tuple[str, tuple[Any, ...]]
"""The name of a call and its arguments."""


class ActorPool:
    """One process for every block, and one for the server if it runs in the cluster.

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
        Asked while the pool waits for room.
    placement
        How the server's process is made; None where the server stays in this process.
    """

    def __init__(
        self,
        ray: Any,
        spec: ClientSpec,
        data: ClientData,
        design: Design,
        stopping: Callable[[], bool],
        placement: ServerPlacement | None = None,
    ) -> None:
        self._ray, self._design, self._stopping = ray, design, stopping
        self._specs = _blocks(ray, spec, data, design) | (
            {} if placement is None else {SERVER: _server(ray, placement)}
        )
        self._actors: dict[int, Any] = {}
        self._told: list[Any] = []
        self._losses = 0
        self._gone = False
        self._create(list(self._specs), squeeze=False)

    def put(self, value: object) -> Any:
        """Put something into the store once, for several blocks."""
        return self._ray.put(value)

    def tell(self, block: int, call: str, *arguments: Any) -> None:
        """Call a block without waiting; a process carries out its calls in order."""
        self._told.append(getattr(self._actors[block], call).remote(*arguments))

    def ask(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """Call blocks at the same time, and return their answers.

        Raises
        ------
        LostClients
            If a process was lost; it has been replaced by a new one, with initial weights.
        """
        answers = {block: getattr(self._actors[block], call).remote(*args) for block, (call, args) in calls.items()}
        told, self._told = self._told, []
        found = self._wait([*told, *answers.values()])
        return dict(zip(answers, found[len(told) :], strict=True))

    def ask_all(self, call: str, *arguments: Any) -> list[Any]:
        """Make the same call to every block; return their answers."""
        return list(self.ask(dict.fromkeys(range(len(self._design.blocks)), (call, arguments))).values())

    def progressed(self) -> None:
        """Reset the count of losses, after a checkpoint."""
        self._losses = 0

    def processes(self) -> list[int]:
        """Return the ids of all processes, each on its own machine."""
        return [int(number) for number in self.ask(dict.fromkeys(self._actors, ("ready", ()))).values()]

    def end(self) -> None:
        """End all processes."""
        if not self._gone and self._ray.is_initialized():
            for actor in self._actors.values():
                self._ray.kill(actor)
        self._actors, self._specs, self._told = {}, {}, []

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
        """Re-raise errors of a block's own code unchanged; the death of its process is a loss."""
        cause = error.cause
        if isinstance(cause, self._ray.exceptions.RayError):
            self._lost(cause)
        if isinstance(cause, torch.OutOfMemoryError):
            raise too_small_gpu(str(cause).partition("\n")[0]) from error
        if isinstance(cause, Exception):
            raise cause from error
        raise SglrError(str(error)) from error

    def _lost(self, error: BaseException) -> NoReturn:
        """Replace the processes that are gone."""
        self._told = []
        self._check_cluster()
        self._count(error)
        gone = [block for block, actor in self._actors.items() if not self._answers(actor.ready.remote())]
        names = ", ".join(self._specs[block].name for block in gone) or "what a process had sent"
        self._create(gone, squeeze=not self._design.on_gpus)
        problem = f"{names} was lost ({_reason(error)})"
        raise LostClients(f"{problem}; it is started again, and all clients go back to the last checkpoint") from error

    def _count(self, error: BaseException) -> None:
        self._losses += 1
        if self._losses > MOST_LOSSES:
            raise SglrError(
                f"processes were lost {self._losses} times without reaching a checkpoint ({_reason(error)}); is there "
                "enough memory? give smaller blocks (--block-clients) or more frequent checkpoints (--checkpoint-every)"
            ) from error

    def _answers(self, reference: Any) -> bool:
        """Wait for a call; return False if its process is gone, and raise the call's own errors."""
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

    # Starting processes.

    def _create(self, blocks: Sequence[int], *, squeeze: bool) -> None:
        """Start processes for blocks, and build their clients with initial weights."""
        while blocks:
            self._start_all(blocks, squeeze=squeeze)
            building = {block: self._build(block) for block in blocks}
            blocks = [block for block, reference in building.items() if not self._answers(reference)]
            if blocks:
                self._count(SglrError(f"{self._specs[blocks[0]].name} ended while it was built"))

    def _build(self, block: int) -> Any:
        return self._actors[block].build.remote(*self._specs[block].arguments())

    def _start_all(self, blocks: Sequence[int], *, squeeze: bool) -> None:
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
        actor_spec = self._specs[block]
        asks = dict(actor_spec.asks) if cpus is None else {**actor_spec.asks, "num_cpus": cpus}
        # Ray would restart a process with first weights and tell nobody.
        actor = actor_spec.kind.options(max_restarts=0, max_task_retries=0, **asks).remote()
        self._actors[block] = actor
        return actor.ready.remote()


def _blocks(ray: Any, spec: ClientSpec, data: ClientData, design: Design) -> dict[int, ActorSpec]:
    """Return how the blocks' processes are made; what they have in common is in the store once."""
    common, kind, share = ray.put(spec), ray.remote(BlockWorker), design.share
    asks = {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": share.memory}

    def arguments(clients: Sequence[int]) -> tuple[Any, ...]:
        return common, ray.put(owned_by(data, clients)), share.threads

    return {
        block: ActorSpec(f"block {block}", kind, asks, partial(arguments, clients))
        for block, clients in enumerate(design.blocks)
    }


def _server(ray: Any, placement: ServerPlacement) -> ActorSpec:
    """Return how the server's process is made; it computes while the blocks wait, so it asks for no CPU."""
    return ActorSpec(
        "the server", ray.remote(ServerWorker), {"num_cpus": 0, "num_gpus": placement.gpus}, lambda: (placement,)
    )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
