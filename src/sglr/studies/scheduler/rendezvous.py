"""Trials beside clients: several trainings take turns, and meet where their rows can run as one call.

Every training has a thread of its own, so that its loop stays as it is, but only one thread runs at a time: `Meeting`
gives a training the turn, and gets it back when that training asks for a pass or is over. When all that still run have
asked, equal passes run as one call in the meeting's own thread, and each training takes its part. So nothing races,
the order of all that happens is the same every time, and who is over is waited for no longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from sglr.stacking.passes import Gradients, Graph, Job, Pass, run_backward, run_forward

T = TypeVar("T")


@dataclass(frozen=True)
class _Ask:
    """What a member waits for: ``item`` among those that ``run`` takes.

    Parameters
    ----------
    key
        Asks of one key are answered by one call; that of a backward pass is the call that went forward.
    stage
        Which forward passes come first when not all ask for the same: the smaller number.
    """

    key: Hashable
    stage: int
    run: Callable[[list[Any]], list[Any]]
    item: Any


class _Over(BaseException):
    """Ends a training whose meeting has ended; no ``except Exception`` may hold it up."""


class Member(Generic[T]):
    """One training of a meeting.

    Parameters
    ----------
    work
        The training, to its end.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._asks: SimpleQueue[_Ask | None] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)
        self.has_turn = False
        self.over = False
        self.result: T | BaseException

    def seat(self, kind: Hashable, stage: int) -> Seat:
        """Return what runs the passes of one of the training's stacks (`sglr.stacking.stack.Stack.passes`).

        Parameters
        ----------
        kind
            Stacks of one kind have segments of one architecture, on one device.
        stage
            Which passes come first when trainings ask for several: the smaller number. Clients' come before the
            server's, so that who has more of them is waited for.
        """
        return Seat(self, kind, stage)

    def turn(self, answer: Any) -> _Ask | None:
        """Let the training go on with an answer, until it asks (returned) or is over (None)."""
        if self.is_running:
            self._answers.put(answer)
        else:
            self._thread.start()
        self.has_turn = True
        return self.wait()

    def wait(self) -> _Ask | None:
        """Wait until the training, which has the turn, asks or is over."""
        ask = self._asks.get()
        self.has_turn, self.over = False, ask is None
        return ask

    def ask(self, ask: _Ask) -> Any:
        """Give the turn back and wait for the answer; called by the training itself."""
        self._asks.put(ask)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self) -> None:
        """End a training that waits or runs, at its next ask at the latest."""
        if self.has_turn:
            self.wait()
        while self.is_running:
            self.turn(_Over())

    @property
    def is_running(self) -> bool:
        """True while the training has begun and isn't over; its thread may live on for a moment after that."""
        return self._thread.ident is not None and not self.over

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:
            self.result = error
        finally:
            self._asks.put(None)


_Asking = dict[Member[T], _Ask]
"""Asks of one key, by who asks."""


@dataclass(frozen=True)
class Seat:
    """Runs the passes of one stack of a member together with those of others (a `sglr.stacking.passes.Passes`)."""

    member: Member[Any]
    kind: Hashable
    stage: int

    def forward(self, job: Job) -> Pass:
        """Run the rows of a job in training mode."""
        key = (self.kind, tuple(job.inputs.shape[1:]), job.by_inputs)
        found: Pass = self.member.ask(_Ask(key, self.stage, run_forward, job))
        return found

    def backward(self, forward: Pass, loss_gradients: Tensor) -> Gradients:
        """Return the gradients of a pass."""
        item = (forward, loss_gradients)
        found: Gradients = self.member.ask(_Ask(forward.graph, self.stage, run_backward, item))
        return found


class Meeting(Generic[T]):
    """Several trainings that run at once.

    Examples
    --------
    >>> from sglr.studies.scheduler.rendezvous import Meeting
    >>> meeting = Meeting()
    >>> members = [meeting.join(lambda: "first"), meeting.join(lambda: "second")]
    >>> meeting.run()
    ['first', 'second']
    """

    def __init__(self) -> None:
        self.members: list[Member[T]] = []
        self._went_forward: WeakKeyDictionary[Graph, set[Member[T]]] = WeakKeyDictionary()

    def join(self, work: Callable[[], T]) -> Member[T]:
        """Add a training."""
        member = Member(work)
        self.members.append(member)
        return member

    def run(self) -> list[T | BaseException]:
        """Run all trainings to their ends; return what each returned or raised."""
        asks: dict[Member[T], _Ask] = {}
        answers: dict[Member[T], Any] = dict.fromkeys(self.members)
        try:
            while answers:
                for member, answer in answers.items():
                    ask = member.turn(answer)
                    if ask is not None:
                        asks[member] = ask
                answers = {}
                for asking in self._next(asks):
                    answers |= self._answer(asking)
                    for member in asking:
                        del asks[member]
        finally:
            for member in self.members:
                member.end()
        return [member.result for member in self.members]

    def _next(self, asks: Mapping[Member[T], _Ask]) -> list[_Asking[T]]:
        """Return the asks to answer now, those of one call together.

        Passes that went forward in one call go back in one call, once all who took part have asked, if they still run.
        Until then others are let go on. Any ask can be answered at any time: the order is a matter of speed alone.
        """
        alike: dict[Hashable, _Asking[T]] = defaultdict(dict)
        for member, ask in asks.items():
            alike[ask.key][member] = ask
        back = [asking for key, asking in alike.items() if isinstance(key, Graph) and self._all_ask(key, asking)]
        if back:
            return back
        forward = [asking for key, asking in alike.items() if not isinstance(key, Graph)]
        earliest = min((_first(asking).stage for asking in forward), default=0)
        return [asking for asking in forward if _first(asking).stage == earliest] or list(alike.values())

    def _all_ask(self, graph: Graph, asking: _Asking[T]) -> bool:
        return all(member in asking or member.over for member in self._went_forward[graph])

    def _answer(self, asking: _Asking[T]) -> dict[Member[T], Any]:
        """Run one call; if it fails, all that take part in it are told so."""
        first = _first(asking)
        try:
            found = first.run([ask.item for ask in asking.values()])
        except Exception as error:
            return dict.fromkeys(asking, error)
        if isinstance(first.key, Graph):
            self._went_forward[first.key].difference_update(asking)
        else:
            self._went_forward[found[0].graph] = set(asking)
        return dict(zip(asking, found, strict=True))


def _first(asking: _Asking[T]) -> _Ask:
    return next(iter(asking.values()))
