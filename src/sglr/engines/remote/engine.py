"""The engine whose clients are on machines of their own: the server's side of every exchange.

Clients keep their segments, their data and their optimizers. What the engine holds of them is what they sent for the
step at hand, how many samples they have, and the SHA-256 of their snapshots.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sglr.core.batches import batches_at, steps_of
from sglr.core.checkpoint import DamagedCheckpoint
from sglr.core.links import Links
from sglr.core.data import Samples
from sglr.core.engine import Scores, Setting
from sglr.core.errors import SglrError, UsageError
from sglr.core.stack import state_of
from sglr.core.types import Downlink, Tally, Uplink, Weights
from sglr.engines.remote import agreement as agreed
from sglr.engines.remote.agreement import Agreement, segment_hash, shape_at_cut
from sglr.engines.remote.barrier import Barrier, Patience
from sglr.engines.remote.launch import Fleet
from sglr.engines.remote.listen import Listen
from sglr.engines.remote.members import Member
from sglr.engines.remote.metrics import Metrics
from sglr.engines.remote.scoring import score
from sglr.engines.remote.server import House, Opening
from sglr.engines.remote.status import StatusFile
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.wire.frames import Frame, Malformed, encode
from sglr.engines.remote.wire.layouts import Layout, check_labels, check_layout, read, read_into
from sglr.engines.remote.wire.messages_pb2 import Envelope

STATE_SECONDS = 10.0
"""The least deadline for what takes longer than a step: snapshots, weights, scores."""

PRIVATE = frozenset(("data_dir", "device", "threads", "energy", "energy_profile", "engine", "stacking", "name"))
"""Settings that say something of the server's machine and nothing to clients."""


class Remote:
    """The engine for clients over the network.

    Parameters
    ----------
    setting
        The clients and what they need.
    listen
        Where to listen; None listens on this machine alone, and starts a process for every client (or a few for
        many).
    """

    loses_clients = True

    def __init__(self, setting: Setting, listen: Listen | None = None) -> None:
        self._setting = setting
        self.stopping: Callable[[], bool] = lambda: False
        self._listen = listen or Listen()
        self._described = len(setting.data.train) == 0
        first = setting.segment(0)
        self.segment = {name: tensor.detach().to("meta") for name, tensor in state_of(first).items()}
        inputs = tuple(setting.data.train.inputs.shape[1:])
        self._cut = shape_at_cut(first, inputs)
        self.codec = setting.codec
        self._agreement = self._describe(segment_hash(first, inputs, self._cut), inputs)
        self._most_bytes = agreed.most_bytes(setting.batch_size, self._cut, self.segment)
        self._ahead = int(bool(setting.settings.get("pipelining")))
        self._house: House | None = None
        self._fleet: Fleet | None = None
        self._asked: dict[int, dict[int, int]] = {}
        self._published: dict[str, Tensor] = {}
        self._has_published: set[int] = set()
        self._links = Links(setting.codec)
        self._steps_taken = 0
        self._epoch = 0
        self._cohort: tuple[int, ...] = ()
        self._uplink: Uplink | None = None
        self._where = Envelope().where
        self._since_step = time.perf_counter()
        self._waited = 0.0

    def _describe(self, segment: str, inputs: tuple[int, ...]) -> Agreement:
        settings, data = self._setting.settings, self._setting.data
        told = {name: value for name, value in settings.items() if name not in PRIVATE}
        return Agreement("", told, len(data.indices), inputs, data.classes, self._cut, segment)

    # Opening and closing.

    def settle(self, folder: Path) -> None:
        """Listen, with keys, clients' processes and the status in ``folder``."""
        authority = Authority.open(folder / "trust")
        self._agreement = replace(self._agreement, run=authority.fingerprint[:32])
        self._metrics = Metrics(len(self._setting.data.indices))
        opening = Opening(self._listen.host, self._listen.port, self._agreement, self._most_bytes)
        house = House(opening, authority, self._metrics)
        self._barrier = Barrier(house, self._patience(), self._stop)
        self._status = StatusFile(folder / "status.json", self.describe)
        house.open(self.describe)
        self._house = house
        self._status.start()
        self._listen.begin(house.port, authority, self._metrics)
        if self._listen.fleet:
            self._fleet = Fleet(folder / "clients", self._setting.settings, self._agreement.clients)
            self._fleet.start(house.port, authority)

    def _patience(self) -> Patience:
        settings = self._setting.settings
        return Patience(settings.get("step_deadline"), settings.get("min_clients"), int(settings.get("max_misses", 10)))

    def _stop(self) -> bool:
        """Say whether to stop waiting; notice that a client's process on this machine failed for good."""
        if self._fleet is not None:
            self._fleet.check()
        return self.stopping()

    def close(self, *, done: bool) -> None:
        """Tell clients that the training is over, if it is, and stop listening."""
        if self._house is None:
            return
        if done:
            self._finish()
        self._status.stop("done" if done else "stopped")
        self._house.close()
        if self._fleet is not None:
            self._fleet.stop()
        self._listen.end()

    def _finish(self) -> None:
        envelope = Envelope()
        envelope.finish.summary = json.dumps({"run": self._agreement.run})
        members = [one.client for one in self._the_house.members if one.counts]
        asked = self._ask(members, envelope, "done", moves=False)
        until = time.monotonic() + STATE_SECONDS
        with self._the_house.changed:
            while time.monotonic() < until and any(
                asked[client] not in self._member(client).answers for client in asked if self._member(client).counts
            ):
                self._the_house.changed.wait(0.2)

    @property
    def _the_house(self) -> House:
        if self._house is None:
            problem = "its clients keep their segments on machines of their own"
            raise UsageError("engine", "remote", problem, "load a client's segment where that client ran")
        return self._house

    def _member(self, client: int) -> Member:
        return self._the_house.members[client]

    # What the loop asks.

    @property
    def sizes(self) -> Sequence[int]:
        """|D_i| as clients told; 0 of those who have not joined."""
        if not self._described or self._house is None:
            return self._setting.data.sizes
        return [member.samples for member in self._house.members]

    def wait_for_clients(self) -> None:
        """Wait until as many clients as needed have joined."""
        self._barrier.joined(self._patience().min_clients or len(self._the_house.members))

    def begin(self, cohort: tuple[int, ...], epoch: int) -> int:
        """Note the cohort; return the number of steps of its longest client."""
        self.wait_for_clients()
        self._cohort, self._epoch = cohort, epoch
        self._asked.clear()
        sizes = np.array([self.sizes[client] for client in cohort if self._member(client).counts], dtype=np.int64)
        self._steps = steps_of(sizes, self._setting.batch_size)
        return self._steps

    def _counts(self, step: int) -> dict[int, int]:
        """Return how many samples each client of the cohort has in a step, of those that have some and are here."""
        clients = [client for client in self._cohort if self._member(client).counts]
        sizes = np.array([self.sizes[client] for client in clients], dtype=np.int64)
        _, counts = batches_at(step, sizes, self._setting.batch_size, self._setting.short_clients)
        return {client: int(count) for client, count in zip(clients, counts, strict=True) if count}

    def forward(self, step: int) -> Uplink | None:
        """Ask the clients that have a batch in this step for their smashed data; those who are late are absent."""
        started = time.perf_counter()
        counts = self._counts(step)
        self._catch_up(counts)
        for ahead in range(self._ahead + 1):
            if step + ahead < self._steps:
                self._ask_forward(self._counts(step + ahead), step + ahead)
        asked = {client: self._asked[client].pop(step) for client in counts if step in self._asked.get(client, {})}
        frames = self._barrier.answers(asked, lambda client: self._forward_frame(step, asked[client]), "smashed")
        arrived = time.perf_counter()
        self._uplink = self._join({client: frames[client] for client in frames}, counts)
        self._step = step
        self._steps_taken += 1
        self._waited = arrived - started
        return self._uplink

    def _catch_up(self, clients: Mapping[int, int]) -> None:
        """Give the shared weights to those who were not there when they were sent."""
        missing = [client for client in clients if self._published and client not in self._has_published]
        if missing:
            self._send_published(missing)

    def _ask_forward(self, counts: Mapping[int, int], step: int) -> None:
        unasked = [client for client in counts if step not in self._asked.setdefault(client, {})]
        if not unasked:
            return
        seq = self._the_house.next_seq()
        frame = self._forward_frame(step, seq)
        for client in unasked:
            self._asked[client][step] = seq
        self._post(dict.fromkeys(unasked, frame), seq, "smashed", moves=False)

    def _forward_frame(self, step: int, seq: int) -> bytes:
        envelope = Envelope(seq=seq)
        envelope.forward.SetInParent()
        return encode(self._at(envelope, step))

    def _at(self, envelope: Envelope, step: int = 0) -> Envelope:
        where = envelope.where
        where.attempt, where.epoch, where.step = self._the_house.attempt, self._epoch, step
        where.steps = self._steps_taken
        return envelope

    def _read_all(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, tuple[Tensor, Tensor]]:
        """Return the smashed data ``[m, ...]`` and labels ``[m]`` of the clients that can be believed."""
        found = {}
        device = self._setting.device
        for client, frame in frames.items():
            smashed, labels = torch.empty(sizes[client], *self._cut), torch.empty(sizes[client], dtype=torch.int64)
            try:
                self._read_smashed(frame, smashed, labels)
            except (Malformed, ValueError) as error:
                self._the_house.quarantine(client, str(error))
            else:
                found[client] = (smashed.to(device), labels.to(device))
        return found

    def _join(self, frames: Mapping[int, Frame], counts: Mapping[int, int]) -> Uplink | None:
        """Lay what came side by side; who sent what can't be believed is quarantined, and absent."""
        parts: dict[int, tuple[Tensor, Tensor]] = {}
        width = max(counts.values(), default=0)
        smashed = torch.zeros(len(frames), width, *self._cut)
        labels = torch.zeros(len(frames), width, dtype=torch.int64)
        for client, frame in frames.items():
            row, size = len(parts), counts[client]
            try:
                self._read_smashed(frame, smashed[row, :size], labels[row, :size])
            except (Malformed, ValueError) as error:
                self._the_house.quarantine(client, str(error))
            else:
                parts[client] = (smashed[row], labels[row])
        if not parts:
            return None
        width = max(counts[client] for client in parts)
        device = self._setting.device
        return Uplink(
            smashed[: len(parts), :width].to(device),
            labels[: len(parts), :width].to(device),
            tuple(parts),
            tuple(counts[client] for client in parts),
        )

    def _read_smashed(self, frame: Frame, smashed: Tensor, labels: Tensor) -> None:
        shape = tuple(smashed.shape)
        layout: Layout = {**self.codec.layout(shape), "labels": (torch.int64, shape[:1])}
        check_layout(frame, layout)
        norm = agreed.most_norm(smashed.numel())
        if self.codec.exact:
            read_into(frame, "values", smashed, most_norm=norm)
        else:
            found = read(frame, layout)
            del found["labels"]
            smashed.copy_(self.codec.decode(found, shape))
            _check_norm(smashed, norm)
        read_into(frame, "labels", labels)
        check_labels(labels, len(self._setting.data.classes))

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Send every client its gradient; it goes on to its next batch at once, if it has one."""
        uplink = self._uplink
        assert uplink is not None, "forward comes first"
        computed = time.perf_counter()
        gradients = downlink.gradients.detach().cpu()
        following = self._step + 1 + self._ahead
        goes_on = self._counts(following) if following < self._steps else {}
        averaged = downlink.averaged
        shared = averaged.rows if averaged is not None and averaged.by_position else ()
        if averaged is not None and shared:
            average = self._links.average(averaged.gradients.detach().cpu())
            for size in sorted({uplink.sizes[row] for row in shared}):
                rows = [row for row in shared if uplink.sizes[row] == size]
                self._send_gradient({name: part[:size] for name, part in average.items()}, rows, rate, goes_on)
        for row, (client, size) in enumerate(zip(uplink.clients, uplink.sizes, strict=True)):
            if row not in shared:
                self._send_gradient(self._links.down(client, gradients[row, :size]), [row], rate, goes_on)
        network = time.perf_counter() - computed
        total = computed - self._since_step
        self._metrics.step(self._waited, max(0.0, total - self._waited), network)
        self._since_step = time.perf_counter()

    def _send_gradient(
        self, parts: Mapping[str, Tensor], rows: Sequence[int], rate: float, goes_on: Mapping[int, int]
    ) -> None:
        """Send one gradient to the clients in ``rows``, written once for those who go on and once for the others."""
        assert self._uplink is not None, "forward comes first"
        clients = [self._uplink.clients[row] for row in rows]
        for then in (True, False):
            chosen = [client for client in clients if (client in goes_on) == then]
            if not chosen:
                continue
            seq = self._the_house.next_seq()
            envelope = self._at(Envelope(seq=seq), self._step)
            envelope.gradient.rate, envelope.gradient.averaged = rate, len(rows) > 1
            envelope.gradient.then_forward = then
            frame = encode(envelope, parts)
            if then:
                for client in chosen:
                    self._asked.setdefault(client, {})[self._step + 1 + self._ahead] = seq
            self._post(dict.fromkeys(chosen, frame), seq, "smashed" if then else None, moves=True)

    def pass_alone(self, rate: float) -> Tally | None:
        """Have clients that hold the whole model pass over their data by themselves."""
        clients = list(self._counts(0))
        self._catch_up(dict.fromkeys(clients, 0))
        envelope = self._at(Envelope())
        envelope.alone.rate = rate
        frames = self._answers(clients, envelope, "tally", moves=True, least_seconds=600.0)
        self._steps_taken += 1
        tallies = [frame.envelope.tally for frame in frames.values()]
        bad = [tally.bad_step for tally in tallies if tally.bad_step >= 0]
        return Tally(
            sum(tally.loss for tally in tallies),
            sum(tally.correct for tally in tallies),
            sum(tally.samples for tally in tallies),
            min(bad, default=None),
        )

    def gather(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return the weights of those of the cohort that are present."""
        clients = [client for client in cohort if self._member(client).counts]
        envelope = self._at(Envelope())
        envelope.collect.SetInParent()
        frames = self._answers(clients, envelope, "weights", moves=False)
        found: dict[int, dict[str, Tensor]] = {}
        layout: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.segment.items()}
        for client, frame in frames.items():
            try:
                found[client] = read(frame, layout, most_norm=agreed.most_norm(_numel(self.segment)))
            except Malformed as error:
                self._the_house.quarantine(client, str(error))
        if not found:
            return (), {}
        device = self._setting.device
        stacked = {name: torch.stack([own[name] for own in found.values()]).to(device) for name in self.segment}
        return tuple(found), stacked

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return the weights of ``clients``, all of them."""
        present, weights = self.gather(clients)
        if present != clients:
            raise SglrError(f"clients {sorted({*clients} - {*present})} are not there")
        return weights

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Send the clients the same weights; to those who are away, before their next step."""
        self._published = {name: tensor.detach().cpu() for name, tensor in weights.items()}
        self._has_published = set(range(len(self._the_house.members))) - {*clients}
        here = [client for client in clients if self._member(client).counts]
        return tuple(self._send_published(here))

    def _send_published(self, clients: Sequence[int]) -> Sequence[int]:
        envelope = self._at(Envelope())
        envelope.publish.SetInParent()
        self._ask(clients, envelope, None, moves=True, tensors=self._published)
        self._has_published |= {*clients}
        return clients

    def evaluate(
        self, server: nn.Module, samples: Samples, clients: tuple[int, ...], shared: Weights | None = None
    ) -> Scores:
        """Have clients run held-out samples of their own forward, and score what they send.

        Which samples these are is all that ``samples`` says: they lie with the clients.
        """
        data = self._setting.data
        part = "validation" if samples is data.validation else "test"
        self.wait_for_clients()
        everyone = [one.client for one in self._the_house.members if one.counts and one.held.get(part)]
        chosen = everyone if self._described and shared is not None else [one for one in clients if one in everyone]
        totals = {client: self._member(client).held[part] for client in chosen or everyone[:1]}
        chunk = agreed.chunk(self._cut)
        if not totals:
            raise SglrError(f"no client that is here has {part} samples")

        def held_out(asked: list[int], first: int) -> Mapping[int, tuple[Tensor, Tensor]]:
            envelope = self._at(Envelope())
            told = envelope.evaluate
            told.part, told.first, told.count, told.shared = part, first, chunk, shared is not None
            weights = dict(shared) if shared is not None and first == 0 else {}
            frames = self._answers(asked, envelope, "scores", moves=False, tensors=weights)
            sizes = {client: min(chunk, totals[client] - first) for client in frames}
            return self._read_all(frames, sizes)

        return score(server, totals, chunk, held_out)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights; empty for those who are not there."""
        envelope = self._at(Envelope())
        envelope.digest.SetInParent()
        frames = self._answers(self._counting(), envelope, "done", moves=False)
        return [
            frames[one.client].envelope.done.digest if one.client in frames else "" for one in self._the_house.members
        ]

    def _counting(self) -> list[int]:
        return [one.client for one in self._the_house.members if one.counts]

    # Checkpoints.

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Have every client write a snapshot; return its number, their SHA-256s, and what is only here."""
        self.wait_for_clients()
        envelope = self._at(Envelope())
        envelope.snapshot.best = best
        frames = self._answers(self._counting(), envelope, "done", moves=False)
        digests = torch.zeros(len(self._the_house.members), 32, dtype=torch.uint8)
        for client, frame in frames.items():
            written = frame.envelope.done.digest
            if len(written) != 64:
                self._the_house.quarantine(client, "its snapshot has no digest")
                continue
            digests[client] = torch.tensor(list(bytes.fromhex(written)), dtype=torch.uint8)
            self._member(client).moved = False
        tensors = {"snapshot": torch.tensor(self._steps_taken), "digests": digests}
        tensors |= {f"published.{name}": tensor for name, tensor in self._published.items()}
        return tensors | {f"links.{name}": tensor for name, tensor in self._links.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Have every client that was there take up its snapshot again.

        Raises
        ------
        DamagedCheckpoint
            If one of them no longer holds it.
        """
        self._steps_taken = int(tensors["snapshot"])
        self._published = _below("published.", tensors)
        self._links.restore(_below("links.", tensors))
        if self._house is not None:
            self._restore_clients(tensors["digests"])

    def _restore_clients(self, digests: Tensor) -> None:
        house = self._the_house
        held = [client for client, row in enumerate(digests) if bool(row.any())]
        self._barrier.joined(min(len(held), self._patience().min_clients or len(held)))
        self._has_published = {*held}
        self._asked.clear()
        with house.changed:
            house.attempt += 1
            for member in house.members:
                member.forget_requests()
                member.lost = False
        envelopes = {}
        for client in held:
            envelope = self._at(Envelope())
            envelope.restore.steps = self._steps_taken
            envelope.restore.digest = bytes(digests[client].tolist()).hex()
            envelopes[client] = envelope
        asked: dict[int, int] = {}
        for client, envelope in envelopes.items():
            asked |= self._ask([client], envelope, "done", moves=True)

        def again(client: int) -> bytes:
            envelopes[client].seq = asked[client]
            return encode(envelopes[client])

        frames = self._barrier.answers(asked, again, "done", least_seconds=STATE_SECONDS)
        refused = [client for client, frame in frames.items() if frame.kind == "refusal"]
        if refused:
            reason = frames[refused[0]].envelope.refusal.reason
            raise DamagedCheckpoint(f"client {refused[0]} does not hold its part of step {self._steps_taken}: {reason}")

    # Asking.

    def _ask(
        self,
        clients: Sequence[int],
        envelope: Envelope,
        answer: str | None,
        *,
        moves: bool,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> dict[int, int]:
        """Ask clients the same, after which passes that ran ahead no longer count; return the request's number."""
        seq = self._the_house.next_seq()
        envelope.seq = seq
        frame = encode(envelope, tensors or {})
        for client in clients:
            if self._asked.pop(client, None):
                with self._the_house.changed:
                    self._member(client).expire()
        self._post(dict.fromkeys(clients, frame), seq, answer, moves=moves)
        return dict.fromkeys(clients, seq)

    def _answers(
        self,
        clients: Sequence[int],
        envelope: Envelope,
        answer: str,
        *,
        moves: bool,
        least_seconds: float = STATE_SECONDS,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> dict[int, Frame]:
        """Ask clients the same and wait; those who refuse are no longer waited for."""
        asked = self._ask(clients, envelope, answer, moves=moves, tensors=tensors)
        again = lambda _: encode(envelope, tensors or {})  # noqa: E731
        frames = self._barrier.answers(asked, again, answer, least_seconds=least_seconds)
        for client in [client for client, frame in frames.items() if frame.kind == "refusal"]:
            self._the_house.drop(client, frames.pop(client).envelope.refusal.reason)
        return frames

    def _post(self, frames: Mapping[int, bytes], seq: int, answer: str | None, *, moves: bool) -> None:
        self._the_house.ask(frames, seq, answer, moves=moves)
        kind = "frame"
        for client, frame in frames.items():
            self._metrics.message(client, kind, False, len(frame))

    def describe(self) -> dict[str, Any]:
        """Return what ``status.json`` tells of clients."""
        house = self._the_house
        with house.changed:
            clients = [member.describe() for member in house.members]
        waiting = self._barrier.waiting_for
        return {"run": self._agreement.run, "waiting_for": waiting, "step": self._steps_taken, "clients": clients}


def _below(prefix: str, tensors: Weights) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _numel(weights: Weights) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def _check_norm(values: Tensor, most: float) -> None:
    norm = float(torch.linalg.vector_norm(values))
    if not norm <= most:
        raise Malformed(f"smashed data: expected a norm of at most {most:g}, got a greater one, NaN or infinity")
