"""What the server knows of each client: whether it is connected, its requests, its answers."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sglr.engines.remote.wire.frames import Frame
from sglr.engines.remote.wire.messages_pb2 import Hello

NEVER, HERE, AWAY, OUT, DONE = "never", "here", "away", "out", "done"
"""Presence of a client: it has not joined yet; its stream is open; its stream is closed, and it may come back; it is no
longer waited for (quarantined, or too many missed deadlines); it was told that the training is over."""


@dataclass
class PendingRequest:
    """A request that a client has not answered.

    Parameters
    ----------
    frame
        The message, to be sent again on a new connection.
    answer
        The kind of message that answers it; None if it has no answer.
    since
        When it was sent, by `time.monotonic`.
    expired
        True if its answer is no longer wanted: it is too late, or another request has replaced it.
    """

    frame: bytes
    answer: str | None
    since: float
    expired: bool = False

    def answered_by(self, kind: str) -> bool:
        """Return whether a message of this kind answers it; a client that keeps its labels sends sums, not scores."""
        return kind in (self.answer, "refusal") or (self.answer, kind) == ("scores", "tally")


@dataclass
class ClientState:
    """One client, as the server sees it. All fields are guarded by the server's lock.

    Parameters
    ----------
    client
        Its number.

    Attributes
    ----------
    session
        The number of the client's session in this attempt; 0 if it has none.
    lost
        True if it came back without the session of steps that it had done.
    banned
        True if it was quarantined: it needs a new certificate.
    extreme
        How many times in a row its numbers were not finite or too large; 0 if the last were sound.
    absences
        Steps that went on without it, since the server began.
    remark
        What was wrong with such numbers last.
    needs_shared, needs_head
        True if it does not have the weights that clients share, or the head that it was given.
    moved
        True if it got requests that change its state: steps, weights, a restored snapshot.
    computing
        Seconds of computing that it reports.
    unanswered
        Requests by their numbers, in order.
    answers
        Answers by the numbers of their requests, until they are taken.
    """

    client: int
    presence: str = NEVER
    samples: int = 0
    held: dict[str, int] = field(default_factory=dict)
    session: int = 0
    serial: int = 0
    lost: bool = False
    moved: bool = False
    banned: bool = False
    needs_shared: bool = True
    needs_head: bool = True
    reason: str = ""
    misses: int = 0
    extreme: int = 0
    absences: int = 0
    remark: str = ""
    unasked: int = 0
    rejected: int = 0
    computing: float = 0.0
    up_bytes: int = 0
    down_bytes: int = 0
    connections: int = 0
    since: float = field(default_factory=time.time)
    unanswered: dict[int, PendingRequest] = field(default_factory=dict)
    answers: dict[int, Frame] = field(default_factory=dict)
    answer_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    network_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    @property
    def counts(self) -> bool:
        """True if it has joined and is waited for."""
        return self.presence in (HERE, AWAY)

    def become(self, presence: str, reason: str = "") -> None:
        """Set its presence, and the reason."""
        if presence != self.presence:
            self.since = time.time()
        self.presence, self.reason = presence, reason

    def come(self, told: Hello, serial: int, *, known: bool) -> None:
        """Record its Hello; it gets a new session unless both sides still know the one that it names."""
        if not known:
            self.begin_session()
        self.serial, self.samples = serial, told.samples
        self.held = {"validation": told.validation, "test": told.test}
        self.connections += 1
        self.misses, self.banned = 0, False
        if self.presence == OUT:
            self.extreme = 0
        self.become(HERE, "came back without its session" if self.lost else "")

    def send_extreme(self, problem: str) -> None:
        """Note that it sent numbers that are not finite or too large."""
        self.extreme, self.remark = self.extreme + 1, problem
        self.rejected += 1
        self.absences += 1

    def forget_requests(self) -> None:
        """Forget all requests, and answers to them that are on their way."""
        self.unasked = 0
        self.unanswered.clear()
        self.answers.clear()

    def begin_session(self) -> None:
        """Give it a new session."""
        self.session = secrets.randbits(63) | 1
        self.lost, self.moved = self.lost or self.moved, False
        self.needs_shared = self.needs_head = True
        self.forget_requests()

    def ask(self, seq: int, request: PendingRequest) -> None:
        """Note a request."""
        self.unanswered[seq] = request

    def expire(self) -> None:
        """Mark all requests with answers as expired; those without are still to be carried out."""
        self.answers.clear()
        for request in self.unanswered.values():
            request.expired = request.expired or request.answer is not None

    def answered(self, seq: int, frame: Frame) -> None:
        """Record the answer to request ``seq``: all requests before it are done, too."""
        request = self.unanswered[seq]
        self.unasked = 0
        took = time.monotonic() - request.since
        self.answer_seconds.append(took)
        # The client reports it, so it is not trusted.
        computed = min(max(0.0, frame.envelope.seconds), took)
        self.computing += computed
        self.network_seconds.append(took - computed)
        if not request.expired:
            self.answers[seq] = frame
        for done in [number for number in self.unanswered if number <= seq]:
            del self.unanswered[done]

    def describe(self) -> dict[str, Any]:
        """Return what ``status.json`` tells of it."""
        waiting = next((time.monotonic() - asked.since for asked in self.unanswered.values() if asked.answer), None)
        late = self.misses > 0 and self.presence == HERE
        return {
            "client": self.client,
            "state": "late" if late else self.presence,
            "samples": self.samples,
            "round_trip_ms": _median_ms(self.network_seconds),
            "answer_ms": _median_ms(self.answer_seconds),
            "waiting_s": waiting,
            "misses": self.misses,
            "absences": self.absences,
            "extreme": self.extreme,
            "remark": self.remark,
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "rejected": self.rejected,
            "connections": self.connections,
            "reason": self.reason,
            "since": self.since,
        }


def _median_ms(seconds: Sequence[float]) -> float | None:
    """Return the median; by hand, because statistics.median takes twice as long, and there are many clients."""
    if not seconds:
        return None
    ordered, half = sorted(seconds), len(seconds) // 2
    return 500 * (ordered[half] + ordered[~half])
