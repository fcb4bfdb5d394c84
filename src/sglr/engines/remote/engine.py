"""The engine whose clients are on machines of their own: the server's side of every exchange.

Clients keep their segments, their data and their optimizers. What the engine holds of them is what they sent for the
step at hand, how many samples they have, and the SHA-256 of their snapshots.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sglr.compression.channels import Channels
from sglr.core.data import Samples
from sglr.core.engine import MissingSnapshot, never
from sglr.core.errors import SglrError, UsageError
from sglr.core.events import TrainMetrics
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import Answer, Downlink, Uplink
from sglr.core.weights import Weights, below, state_of, trained_of
from sglr.engines.remote.limits import chunk, most_bytes
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import features_of
from sglr.engines.remote.server.barrier import Patience
from sglr.engines.remote.server.client_state import ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.server.held_out import HeldOut
from sglr.engines.remote.server.listen import Listen
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.runtime import ServerRuntime
from sglr.engines.remote.server.shared_weights import SharedWeights
from sglr.engines.remote.server.tails import Tails
from sglr.engines.remote.server.validation import MessageValidator
from sglr.parties.spec import ClientSpec

PASS_SECONDS = 600.0
"""The least deadline for an epoch of local training."""


class Remote:
    """The engine for clients over the network.

    Parameters
    ----------
    spec
        The clients and what they need.
    listen
        Where to listen; None listens on this machine alone, and starts clients as processes here.
    """

    loses_clients = True

    def __init__(self, spec: ClientSpec, listen: Listen | None = None) -> None:
        self._spec, self._listen = spec, listen or Listen()
        self.codec = spec.codec
        first = spec.segment(0)
        self.segment = {name: tensor.detach().to("meta") for name, tensor in state_of(first).items()}
        self._description = RunDescription.of(spec, first)
        self._cut, self._features = self._description.cut_shape, features_of(first)
        self._patience = Patience.of(spec.experiment)
        self._ahead = int(spec.experiment.pipelining)
        self._links = Channels(spec.codec)
        self._shared = SharedWeights(trained_of(first))
        self._started = False
        self._runtime: ServerRuntime | None = None
        self._steps_taken = 0

    # ServedRun and closing.

    def make_server(self, make: Callable[[torch.device], Server]) -> Server:
        """Return the server, which is in this process."""
        return make(self._spec.device)

    def open(self, run: Path | None) -> None:
        """Do nothing: clients come when they can."""
        del run

    def attach(self, folder: Path, should_stop: Callable[[], bool] = never) -> None:
        """Listen, with keys, clients' processes and the status in ``folder``."""
        longest = most_bytes(self._spec.batching.longest, self._cut, self._features, self.segment)
        terms = (self._description, longest, self._patience)
        self._runtime = ServerRuntime(folder, self._listen, *terms, self.sizes, self._held)
        self._runtime.open(self._spec.experiment, should_stop)
        self._requests = RequestSender(self._runtime.connections, self._runtime.barrier)
        self._requests.steps = self._steps_taken
        data, device = self._spec.data, self._spec.device
        self._extremes = Extremes(self._runtime.connections, self._patience)
        reads = partial(
            MessageValidator,
            self._runtime.connections,
            self._extremes,
            self.codec,
            cut=self._cut,
            features=self._features,
        )
        self._validator = reads(classes=len(data.classes), segment=self.segment, device=device)
        self._tails = Tails(self._requests, self._validator, self._extremes)
        tails = self._tails if self._features else None
        self._held_out = HeldOut(self._requests, self._validator, tails, chunk(self._cut))

    def close(self, *, done: bool, diverged: str = "") -> None:
        """Tell clients that the training is over, if it is, or how it diverged, and stop listening."""
        if self._runtime is None:
            return
        if done:
            # One that opens only to say so waits for all who have not heard.
            self._runtime.say_farewell(self._finish, everyone=not self._started)
        self._runtime.close("done" if done else "stopped", diverged)

    def _finish(self, client: int) -> int:
        (envelope := self._requests.at()).finish.summary = json.dumps({"steps": self._steps_taken})
        return self._requests.ask([client], envelope, "done")[client]

    @property
    def connections(self) -> ConnectionServer:
        """The clients, as the network knows them."""
        return self._open.connections

    @property
    def _open(self) -> ServerRuntime:
        if self._runtime is None:
            problem = "its clients keep their segments on machines of their own"
            remedy = "load_model(..., segment=) takes the segment.safetensors of a client's folder"
            raise UsageError("engine", "remote", problem, remedy)
        return self._runtime

    def _state_of(self, client: int) -> ClientState:
        return self.connections.states[client]

    def _counting(self) -> list[int]:
        return [one.client for one in self.connections.states if one.counts]

    # What the loop asks.

    @property
    def sizes(self) -> Sequence[int]:
        """|D_i| as clients told, where their data are their own; 0 of those who have not joined."""
        if self._runtime is None or len(self._spec.data.train):
            return self._spec.data.sizes
        return [state.samples for state in self._runtime.connections.states]

    @property
    def _held(self) -> dict[str, int]:
        """How many samples every client scores on, where the data are not its own."""
        data = self._spec.data
        if not len(data.train):
            return {}
        return {"validation": 0 if data.validation is None else len(data.validation), "test": len(data.test)}

    def _wait_for_clients(self) -> None:
        """Begin with all clients, or as many as were asked for; go on with those, or with whoever is left."""
        least = 1 if self._started else self._description.clients
        self._open.barrier.joined(self._patience.min_clients or least)
        self._started = True

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Note the cohort; return the number of steps of its longest client.

        When to begin with a fresh optimizer a client knows by itself, even one that comes late.
        """
        del fresh
        self._wait_for_clients()
        self._cohort = cohort
        self._requests.begin(epoch)
        known = self.sizes
        sizes = np.array([known[client] for client in cohort if self._state_of(client).counts], dtype=np.int64)
        self._steps = self._spec.batching.steps(sizes)
        return self._steps

    def _counts(self, step: int) -> dict[int, int]:
        """Return how many samples each client of the cohort has in a step, of those that have some and are here."""
        known, clients = self.sizes, [client for client in self._cohort if self._state_of(client).counts]
        sizes = np.array([known[client] for client in clients], dtype=np.int64)
        _, counts = self._spec.batching.at(step, sizes)
        return {client: int(count) for client, count in zip(clients, counts, strict=True) if count}

    def forward(self, step: int) -> Uplink | None:
        """Ask the clients that have a batch in this step for smashed data; who is late or sends extremes is absent."""
        started = time.perf_counter()
        counts = self._counts(step)
        self._catch_up(counts)
        for further in range(min(self._ahead + 1, self._steps - step)):
            self._requests.ask_forward(list(self._counts(step + further)), step + further)
        frames = self._requests.smashed(list(counts), step)
        self._tails.begin_step()
        self._step, self._uplink = step, self._validator.uplink(frames, counts)
        for client in frames.keys() - set(self._uplink.clients if self._uplink else ()):
            self._requests.forget_ahead(client)
        self._count_step()
        self._open.waited(time.perf_counter() - started)
        return self._uplink

    def _count_step(self) -> None:
        self._steps_taken = self._requests.steps = self._steps_taken + 1

    def _catch_up(self, clients: Mapping[int, int]) -> None:
        """Give the shared weights to those who were not there when they were sent."""
        missing = [client for client in clients if self._shared.published and self._state_of(client).needs_shared]
        if missing:
            self._send_published(missing)

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Send every client its gradient; it goes on to its next batch at once, if it has one."""
        started = time.perf_counter()
        uplink, averaged = self._uplink, downlink.averaged
        assert uplink is not None, "forward comes first"
        gradients = downlink.gradients.detach().cpu()
        rows = zip(uplink.clients, gradients, uplink.sizes, strict=True)
        own = {client: gradient[:size] for client, gradient, size in rows}
        absent = self._extremes.check_sent("gradients", own) | self._tails.absent
        self._shared.step(rate)
        following = self._step + 1 + self._ahead
        going_on = self._counts(following).keys() if following < self._steps else set()
        send = partial(
            self._requests.send_gradients, step=self._step, rate=rate, following=following, going_on=going_on
        )
        # By position, all active clients get the average as it is; by class, each its own.
        active = averaged.rows if averaged is not None and averaged.by_position else ()
        if averaged is not None and active:
            average = self._links.average(averaged.gradients.detach().cpu())
            for size in sorted({uplink.sizes[row] for row in active}):
                same = {uplink.clients[row] for row in active if uplink.sizes[row] == size}
                send({name: part[:size] for name, part in average.items()}, sorted(same - absent))
        for row, (client, gradient) in enumerate(own.items()):
            if row not in active and client not in absent:
                send(self._links.down(client, gradient), [client])
        self._open.sent(time.perf_counter() - started)

    def answer(self, features: Tensor, clients: tuple[int, ...]) -> Answer:
        """Send clients the server's features ``[n, b, ...]``; return what those who are in time find (U-shape)."""
        assert self._uplink is not None, "forward comes first"
        known = dict(zip(self._uplink.clients, self._uplink.sizes, strict=True))
        return self._tails.answer(features, {client: known[client] for client in clients}, self._step)

    def train_locally(self, rate: float) -> TrainMetrics | None:
        """Have clients that hold the whole model pass over their data by themselves."""
        counts = self._counts(0)
        self._catch_up(counts)
        envelope = self._requests.at()
        envelope.alone.rate = rate
        frames = self._requests.answers(list(counts), envelope, "tally", moves=True, least_seconds=PASS_SECONDS)
        self._count_step()
        self._shared.step(rate, self._steps)
        known = self.sizes
        return self._validator.tally(frames, {client: known[client] for client in frames})

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return the weights of those of the cohort that are present, and whose last numbers were sound."""
        envelope = self._requests.at()
        envelope.collect.SetInParent()
        clients = [client for client in cohort if self._state_of(client).counts and not self._state_of(client).extreme]
        self._shared.begin_gathering()
        found = self._validator.weights(self._requests.answers(clients, envelope, "weights"), self._shared.check)
        if not found:
            return (), {}
        return tuple(found), {name: torch.stack([own[name] for own in found.values()]) for name in self.segment}

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return the weights of ``clients``, all of them.

        Raises
        ------
        UsageError
            If clients are not connected, because nobody listens for them here.
        """
        _ = self._open
        present, weights = self.collect_present(clients)
        if present != clients:
            raise SglrError(f"clients {sorted({*clients} - {*present})} are not connected")
        return weights

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Send the clients the same weights; to those who are away, before their next step."""
        self._shared.publish(weights)
        for client in clients:
            self._state_of(client).needs_shared = True
        return tuple(self._send_published([client for client in clients if self._state_of(client).counts]))

    def _send_published(self, clients: Sequence[int]) -> Sequence[int]:
        envelope = self._requests.at()
        envelope.publish.SetInParent()
        with self.connections.changed:
            self._requests.ask(clients, envelope, None, moves=True, tensors=self._shared.published)
            for client in clients:
                # One that came back without its session was not asked.
                self._state_of(client).needs_shared = self._state_of(client).lost
        return clients

    def evaluate(
        self, server: nn.Module, samples: Samples, clients: tuple[int, ...], shared: Weights | None = None
    ) -> Scores:
        """Have clients run held-out samples of their own forward, and score what they send.

        Which samples these are is all that ``samples`` says: they lie with the clients. Shared weights are scored by
        everyone whose data are its own, else by one client.
        """
        part = "validation" if samples is self._spec.data.validation else "test"
        self._wait_for_clients()
        held = ((client, self._state_of(client).held.get(part, 0)) for client in self._counting())
        able = {client: samples for client, samples in held if samples}
        if not able:
            raise SglrError(f"no connected client has {part} samples")
        own_data = not len(self._spec.data.train)
        return self._held_out.scored(server, able, part, () if own_data and shared is not None else clients, shared)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights; empty for those who are not there."""
        envelope = self._requests.at()
        envelope.digest.SetInParent()
        frames = self._requests.answers(self._counting(), envelope, "done")
        told = self._validator.digests(frames)
        return [told.get(client, "") for client in range(self._description.clients)]

    # Checkpoints.

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Have every client write a snapshot; return its number, their SHA-256s, and what is only here."""
        self._wait_for_clients()
        envelope = self._requests.at()
        envelope.snapshot.best = best
        digests = torch.zeros(self._description.clients, 32, dtype=torch.uint8)
        frames = self._requests.answers(self._counting(), envelope, "done")
        for client, told in self._validator.digests(frames).items():
            digests[client] = torch.tensor(list(bytes.fromhex(told)), dtype=torch.uint8)
        tensors = {"snapshot": torch.tensor(self._steps_taken), "digests": digests}
        tensors |= self._shared.state() | self._extremes.state()
        return tensors | {f"links.{name}": tensor for name, tensor in self._links.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Have every client that was there take up its snapshot again.

        Raises
        ------
        DamagedCheckpoint
            If one of them no longer holds it.
        """
        self._steps_taken = int(tensors["snapshot"])
        self._shared.restore(tensors)
        self._links.restore(below("links.", tensors))
        if self._runtime is None:
            return
        self._requests.steps = self._steps_taken
        self._extremes.restore(tensors)
        rows = enumerate(tensors["digests"])
        digests = {client: bytes(row.tolist()).hex() for client, row in rows if bool(row.any())}
        self._open.barrier.back(digests)
        self._started = True
        held, refused = self._requests.restore(digests)
        with self.connections.changed:
            for client in held:
                self._state_of(client).needs_shared = self._state_of(client).lost
        if refused and self._patience.strict:
            client, reason = min(refused.items())
            raise MissingSnapshot(f"client {client} has no snapshot of step {self._steps_taken} ({reason})")
