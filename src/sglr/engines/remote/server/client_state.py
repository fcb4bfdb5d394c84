"""What the server knows of each client: is it here, what was it asked, what did it answer."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sglr.engines.remote.wire.frames import Frame
from sglr.engines.remote.wire.messages_pb2 import Hello

NEVER, HERE, AWAY, OUT, DONE = "never", "here", "away", "out", "done"
"""Where a client is: it never came; its stream is open; its stream is closed, and it may come back; it is no longer
waited for (it was quarantined, or missed too many deadlines); it heard that the training is over."""


@dataclass
class PendingRequest:
    """Something that a client was asked and has not answered.

    Parameters
    ----------
    frame
        The message, to be sent again on a new connection.
    answer
        The kind of message that answers it; None where nothing does.
    since
        When it was asked, of `time.monotonic`.
    expired
        True if its answer no longer matters: it came too late, or something else was asked since.
    """

    frame: bytes
    answer: str | None
    since: float
    expired: bool = False

    def answered_by(self, kind: str) -> bool:
        """Say whether a message of this kind answers it. Who keeps its labels tells sums instead of scores."""
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
        Names the memory that the client has of this attempt; 0 if it has none.
    lost
        True if it came back without the memory of steps that it had done.
    banned
        True if it was quarantined: it needs a new certificate.
    extreme
        How many times in a row its numbers were not finite or too large; 0 if the last were sound.
    remark
        What was wrong with such numbers last.
    needs_shared
        True if it does not have the weights that clients share.
    moved
        True if it was asked for what its next process would not know of: steps, weights, a snapshot taken up.
    computing
        Seconds that it says it computed.
    unanswered
        Requests by their numbers, in order.
    answers
        Messages by the numbers of the requests that they answer, until they are taken.
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
    reason: str = ""
    misses: int = 0
    extreme: int = 0
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
        """Note whether it is here, and why."""
        if presence != self.presence:
            self.since = time.time()
        self.presence, self.reason = presence, reason

    def come(self, told: Hello, serial: int, *, known: bool) -> None:
        """Note what it tells of itself; it has a new session unless both sides still know the one it names."""
        if not known:
            self.begin_session()
        self.serial, self.samples = serial, told.samples
        self.held = {"validation": told.validation, "test": told.test}
        self.connections += 1
        self.misses, self.banned = 0, False
        if self.presence == OUT:
            self.extreme = 0
        self.become(HERE, "came back without its memory" if self.lost else "")

    def send_extreme(self, problem: str) -> None:
        """Note that it sent numbers that are not finite or too large."""
        self.extreme, self.remark = self.extreme + 1, problem
        self.rejected += 1

    def forget_requests(self) -> None:
        """Begin anew: what was asked before no longer matters, nor answers to it that are under way."""
        self.unasked = 0
        self.unanswered.clear()
        self.answers.clear()

    def begin_session(self) -> None:
        """Give it a new session."""
        self.session = secrets.randbits(63) | 1
        self.lost, self.moved = self.lost or self.moved, False
        self.needs_shared = True
        self.forget_requests()

    def ask(self, seq: int, request: PendingRequest) -> None:
        """Note a request."""
        self.unanswered[seq] = request

    def expire(self) -> None:
        """No longer want the answers to what was asked so far; requests that need none are still to be carried out."""
        self.answers.clear()
        for request in self.unanswered.values():
            request.expired = request.expired or request.answer is not None

    def answered(self, seq: int, frame: Frame) -> None:
        """Note the answer to request ``seq``: all before it are done too."""
        request = self.unanswered[seq]
        self.unasked = 0
        took = time.monotonic() - request.since
        self.answer_seconds.append(took)
        # What it says is no number to rely on.
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
    return 1e3 * median(seconds) if seconds else None
