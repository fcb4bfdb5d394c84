"""The engine whose clients are on machines of their own: the server's side of every exchange.

Clients keep their segments, their data and their optimizers. What the engine holds of them is what they sent for the
step at hand, how many samples they have, and the SHA-256 of their snapshots.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sglr.compression.several_cuts import channels_of
from sglr.core.data import Samples
from sglr.core.engine import never
from sglr.core.errors import SglrError, UsageError
from sglr.core.events import TrainMetrics
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import Answer, Downlink, Uplink
from sglr.core.weights import Weights, below, state_of, trained_of, without_head
from sglr.engines.remote.limits import most_bytes
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import features_of
from sglr.engines.remote.server.barrier import Patience
from sglr.engines.remote.server.batch_plan import BatchPlan
from sglr.engines.remote.server.client_state import ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.exchange import Exchange
from sglr.engines.remote.server.forms import Forms
from sglr.engines.remote.server.gradients import told_by_cut
from sglr.engines.remote.server.listen import Listen
from sglr.engines.remote.server.runtime import ServerRuntime
from sglr.engines.remote.server.shared_weights import SharedWeights
from sglr.engines.remote.server.snapshots import digests_in
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
        # Of those who have the most, where clients are cut at several places.
        each = [spec.segment(client) for client in ([0] if spec.cuts is None else spec.cuts.first_clients)]
        self.segment = {name: tensor.detach().to("meta") for name, tensor in state_of(each[-1]).items()}
        of_run = spec.experiment, spec.task, spec.data, each, spec.cuts
        self._description = RunDescription.of(*of_run, least_batch=spec.least_batch)
        self._features = features_of(each[0])
        # What clients send of it: a head of their own stays.
        merged = without_head(self.segment) if spec.keeps_head else self.segment
        self._forms = Forms(spec.codec, self._description.cut_shape, merged, spec.cuts)
        self._patience = Patience.of(spec.experiment)
        self._ahead = spec.ahead
        self._links = channels_of(spec.codec, spec.cuts)
        self._shared = SharedWeights(trained_of(each[-1]), spec.own_share)
        self._started = False
        self._exchange: Exchange | None = None
        self._steps_taken = 0
        self._plan = BatchPlan(spec.batching, spec.seed, lambda client: self._state_of(client).counts)

    # Opening and closing.

    def make_server(self, make: Callable[[torch.device], Server]) -> Server:
        """Return the server, which is in this process."""
        return make(self._spec.device)

    def open(self, run: Path | None) -> None:
        """Do nothing: clients come when they can."""
        del run

    def attach(self, folder: Path, should_stop: Callable[[], bool] = never) -> None:
        """Listen, with keys, clients' processes and the status in ``folder``."""
        targets = self._spec.data.targets
        batch, code = self._spec.batching.longest(self._description.clients), self._spec.delta_code
        longest = most_bytes(batch, self._forms.written, self._features, targets, self.segment, code)
        terms = (self._description, longest, self._patience)
        runtime = ServerRuntime(folder, self._listen, *terms, self.sizes, self._held, should_stop)
        of_run = (self._spec, self._patience, self._shared, self._forms)
        self._exchange = Exchange.over(runtime, *of_run, features=self._features, steps=self._steps_taken)
        runtime.open(self._spec.experiment)

    def close(self, *, done: bool, diverged: str = "") -> None:
        """Tell clients that the training is over, if it is, or how it diverged, and stop listening."""
        if self._exchange is None:
            return
        runtime = self._exchange.runtime
        if done:
            # A server that opens only to say so waits for all clients that were not told.
            runtime.say_farewell(self._finish, everyone=not self._started)
        runtime.close("done" if done else "stopped", diverged)

    def _finish(self, client: int) -> int:
        (envelope := self._open.requests.at()).finish.summary = json.dumps({"steps": self._steps_taken})
        return self._open.requests.ask([client], envelope, "done")[client]

    @property
    def connections(self) -> ConnectionServer:
        """The clients, as the network knows them."""
        return self._open.runtime.connections

    @property
    def _open(self) -> Exchange:
        if self._exchange is None:
            problem = "its clients keep their segments on machines of their own"
            remedy = "load_model(..., segment=) takes the segment.safetensors of a client's folder"
            raise UsageError("engine", "remote", problem, remedy)
        return self._exchange

    def _state_of(self, client: int) -> ClientState:
        return self.connections.states[client]

    def _counting(self) -> list[int]:
        return [one.client for one in self.connections.states if one.counts]

    # What the loop asks.

    @property
    def sizes(self) -> Sequence[int]:
        """|D_i| as clients told, where their data are their own; 0 of those who have not joined."""
        if self._exchange is None or len(self._spec.data.train):
            return self._spec.data.sizes
        return [state.samples for state in self.connections.states]

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
        self._open.runtime.barrier.joined(self._patience.min_clients or least)
        self._started = True

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Note the cohort; return the number of steps of its longest client.

        When to begin with a fresh optimizer a client knows by itself, even one that comes late.
        """
        del fresh
        self._wait_for_clients()
        self._open.requests.begin(epoch)
        self._steps = self._plan.begin(cohort, epoch, self.sizes)
        return self._steps

    def forward(self, step: int) -> Uplink | None:
        """Ask the clients that have a batch in this step for smashed data; who is late or sends extremes is absent."""
        started = time.perf_counter()
        batches, told = self._plan.at(step, self.sizes), self._plan.told
        counts = {client: batch.samples for client, batch in batches.items()}
        self._open.publisher.catch_up(counts)
        for at in range(step, min(step + self._ahead + 1, self._steps)):
            self._open.requests.ask_forward(self._plan.at(at, self.sizes), at, told=told)
        frames = self._open.requests.smashed(batches, step, told=told)
        self._open.tails.begin_step()
        self._step, self._uplink = step, self._open.validator.uplink(frames, counts)
        for client in frames.keys() - set(self._uplink.clients if self._uplink else ()):
            self._open.requests.forget_ahead(client)
        self._count_step()
        self._open.runtime.waited(time.perf_counter() - started)
        return self._uplink

    def _count_step(self) -> None:
        self._steps_taken = self._open.requests.steps = self._steps_taken + 1

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Send every client its gradient; it goes on to its next batch at once, if it has one."""
        started = time.perf_counter()
        uplink = self._uplink
        assert uplink is not None, "forward comes first"
        if downlink.gradients is None:
            self._acknowledge(uplink, rate)
            return
        parts = told_by_cut(uplink, downlink, self._links)
        own = {client: gradient for part in parts for client, gradient in part.own.items()}
        absent = self._open.extremes.check_sent("gradients", own) | self._open.tails.absent
        for client in absent:
            self._open.requests.forget_ahead(client)
        if downlink.updates:
            self._shared.step(rate)
        following = self._step + 1 + self._ahead
        going_on = self._plan.going_on(following, self.sizes)
        send = partial(
            self._open.requests.send_gradients,
            step=self._step,
            rate=rate,
            following=following,
            going_on=going_on,
            kept=not downlink.updates,
        )
        for part in parts:
            part.send(send, absent)
        self._open.runtime.sent(time.perf_counter() - started)

    def _acknowledge(self, uplink: Uplink, rate: float) -> None:
        """Have clients back-propagate their own heads' loss: there are no gradients to send."""
        self._shared.step(rate)
        self._open.requests.send_gradient({}, uplink.clients, self._step, rate, None)

    def step_alone(self, step: int, rate: float) -> int:
        """Have the clients that have a batch in this step train by their heads; wait for all of them."""
        counts = {client: batch.samples for client, batch in self._plan.at(step, self.sizes).items()}
        self._open.publisher.catch_up(counts)
        envelope = self._open.requests.at(step)
        envelope.alone.rates.append(rate)
        frames = self._open.requests.answers(list(counts), envelope, "tally", moves=True)
        self._count_step()
        self._shared.step(rate)
        return self._open.validator.steps_alone(frames, counts)

    def answer(self, features: Tensor, clients: tuple[int, ...]) -> Answer:
        """Send clients the server's features ``[n, b, ...]``; return what those who are in time find (U-shape)."""
        assert self._uplink is not None, "forward comes first"
        known = dict(zip(self._uplink.clients, self._uplink.sizes, strict=True))
        return self._open.tails.answer(features, {client: known[client] for client in clients}, self._step)

    def train_locally(self, rates: Sequence[float], *, merges: bool = False) -> TrainMetrics | None:
        """Have clients that hold the whole model pass over their data by themselves; if it ``merges``, send weights."""
        clients = list(self._plan.at(0, self.sizes))
        self._open.publisher.catch_up(clients)
        envelope = self._open.requests.at()
        # One for all steps, or one for each.
        envelope.alone.rates.extend(rates[:1] if len(set(rates)) == 1 else rates)
        envelope.alone.collect = merges
        frames = self._open.requests.answers(clients, envelope, "tally", moves=True, least_seconds=PASS_SECONDS)
        self._count_step()
        self._shared.step(sum(rates))
        if merges:
            self._open.gathering.came(frames)
        known = self.sizes
        return self._open.validator.tally(frames, {client: known[client] for client in frames})

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return the weights of those of the cohort that are present, and whose last numbers were sound."""
        states = [self._state_of(client) for client in cohort]
        clients = [one.client for one in states if one.counts and not one.extreme]
        if self._spec.delta_code is not None:
            # Who has other weights than the shared ones would send differences from those.
            clients = [client for client in clients if not self._state_of(client).needs_shared]
        found = self._open.gathering.weights(clients)
        if not found:
            return (), {}
        return tuple(found), self._forms.side_by_side(found)

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
        return self._open.publisher.publish(weights, clients)

    def give(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Send each of the clients a head of its own; to those who are away, before their next step."""
        return self._open.publisher.give(weights, clients)

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: tuple[int, ...],
        shared: Weights | None = None,
        parts: int = 1,
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
        chosen = () if own_data and shared is not None else clients
        return self._open.held_out.scored(server, able, part, chosen, shared, parts)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights; empty for those who are not there."""
        return self._open.snapshots.digests(self._counting())

    # Checkpoints.

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Have every client write a snapshot; return its number, their SHA-256s, and what is only here."""
        self._wait_for_clients()
        digests = self._open.snapshots.write(self._counting(), best=best)
        tensors = {"snapshot": torch.tensor(self._steps_taken), "digests": digests}
        tensors |= self._shared.state() | self._open.extremes.state()
        tensors |= self._plan.state()
        tensors |= {f"heads.{name}": tensor for name, tensor in self._open.publisher.state().items()}
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
        self._plan.restore(tensors)
        self._links.restore(below("links.", tensors))
        if self._exchange is None:
            return
        self._open.requests.steps = self._steps_taken
        self._open.gathering.forget()
        self._open.extremes.restore(tensors)
        digests = digests_in(tensors["digests"])
        self._open.runtime.barrier.back(digests)
        self._started = True
        self._open.snapshots.restore(digests, below("heads.", tensors), strict=self._patience.strict)
