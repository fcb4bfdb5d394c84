"""A training on simulated clocks: what each step would take on the clients' devices and links, and who waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sglr.core.events import EpochDone, Event, ServerWork, StepDone, Traffic
from sglr.core.trainer import Trainer
from sglr.cost.cohort_clock import TOTALS, CohortClock
from sglr.cost.exchanged import joined, samples_of
from sglr.cost.fleet import Figures, Fleet
from sglr.cost.pipelined_clock import PipelinedClock
from sglr.cost.step_time import SampleWork, Speeds
from sglr.data.batches import Batching
from sglr.data.late import Punctual
from sglr.data.schedules import Schedule

Halves = tuple[float | Figures, float | Figures]
"""Operations of a sample's way back to the server's weights alone, and to the smashed data alone."""

MOST_CLIENTS = 1000
"""Clients whose figures are in a summary."""

HELD = 64
"""Steps after which their times are found at the latest."""


class HeldStep(NamedTuple):
    """A step whose times are not found yet.

    Parameters
    ----------
    step
        The steps of the cohort's pass that are over with it.
    samples
        That were used in it.
    sent
        What crossed the network since the step before.
    server
        How many samples had gone through the server's segment after it.
    """

    step: int
    samples: int
    sent: Sequence[Traffic]
    server: ServerWork | None


class Clock:
    """Turns a training's events into seconds, by `sglr.cost.step_time`; it changes nothing of the training.

    Parameters
    ----------
    fleet
        Devices and links.
    work
        Operations of a sample; of each client's, where clients are cut at several places.
    trainer
        The training.
    batching
        How its clients cut their data into batches.
    halves
        Counts the operations of a sample's way back through the server's segment to its weights alone, and to the
        smashed data alone, as ``work`` does; asked where a method goes so.
    ahead
        Batches that clients run ahead of their gradients.
    """

    def __init__(
        self,
        fleet: Fleet,
        work: SampleWork,
        trainer: Trainer,
        batching: Batching,
        halves: Callable[[], Halves],
        ahead: int = 0,
    ) -> None:
        self._ahead = ahead
        self.fleet, self.work, self._trainer, self._batching = fleet, work, trainer, batching
        self._count_halves = halves
        self._halves: Halves | None = None
        self._now, self._taken = 0.0, 0
        self._totals = np.zeros((len(TOTALS), fleet.clients))
        self._phases: dict[str, float] = {}
        self._steps = 0
        self._pending: list[Traffic] = []
        self._held: list[HeldStep] = []
        self._cohorts: Sequence[tuple[int, ...]] = ()
        self._place = (-1, -1)
        self._at_work: CohortClock | None = None
        self._schedule: Schedule | None = None
        self._server_work = trainer.server.work

    def beside(self, fleet: Fleet) -> Clock:
        """Return a clock of other devices and links for the same training, to be told its events too."""
        return Clock(fleet, self.work, self._trainer, self._batching, self._count_halves, self._ahead)

    def __call__(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, Traffic):
            self._pending.append(event)
        elif isinstance(event, StepDone):
            self._note(event.samples)
        elif isinstance(event, EpochDone):
            self._leave()

    @property
    def seconds(self) -> float:
        """Seconds since the training began, up to the end of the last epoch."""
        return self._now

    def record(self) -> dict[str, float]:
        """Return what goes into ``metrics.jsonl`` after an epoch."""
        return {"modelled_seconds": self._now}

    def _note(self, samples: int) -> None:
        """Hold a step that is over until some are: their times are found in a row, faster than between batches."""
        progress = self._trainer.progress
        if self._at_work is None or (progress.epoch, progress.cohort) != self._place:
            self._enter()
        self._held.append(HeldStep(progress.step, samples, self._pending, self._trainer.server.work))
        self._pending = []
        if len(self._held) == HELD:
            self._catch_up()

    def _catch_up(self) -> None:
        """Find the times of the steps that are held."""
        held, self._held = self._held, []
        if self._at_work is not None and self._schedule is not None:
            for step in held:
                self._step(step, self._at_work, self._schedule)

    def _step(self, held: HeldStep, cohort: CohortClock, schedule: Schedule) -> None:
        sent = held.sent
        weights = [one.kind == "weights" for one in sent]
        first, exchange = 0, sent
        if any(weights):
            first = next((at for at, one in enumerate(sent) if one.kind != "weights" or one.up), len(sent))
            exchange = [one for one, shared in zip(sent, weights, strict=True) if not shared]
        for one in self._whole(sent[:first]):
            cohort.receive(one)
        exchange = self._whole(exchange)
        for step in range(self._taken, held.step):
            if step + 1 == held.step and exchange:
                late = schedule.attempt(step) if isinstance(schedule, Punctual) else None
                cohort.take(held.samples, exchange, self._flops(held.server, exchange), late)
            else:
                cohort.alone(schedule.at(step)[1])
        if any(weights):
            for one in self._whole([one for one in sent[first:] if one.kind == "weights"]):
                (cohort.send if one.up else cohort.receive)(one)
        self._steps += held.step - self._taken
        self._taken = held.step

    def _whole(self, sent: Sequence[Traffic]) -> Sequence[Traffic]:
        """Return messages of each kind of all clients together."""
        return sent if self._trainer.cuts is None else joined(sent)

    def _enter(self) -> None:
        """End the pass of the cohort that was at work, and begin that of the next."""
        self._leave()
        progress = self._trainer.progress
        self._at_work, self._schedule = self._new((progress.epoch, progress.cohort))
        self._taken = 0

    def _new(self, place: tuple[int, int]) -> tuple[CohortClock, Schedule]:
        """Return the clock and the schedule of a cohort that begins now."""
        trainer, (epoch, number), self._place = self._trainer, place, place
        self._cohorts = trainer.cohorts(epoch)
        clients = tuple(self._cohorts[number])
        sizes = np.array([trainer.sizes[client] for client in clients], dtype=np.int64)
        speeds = Speeds.of(self.fleet, self.work, clients)
        sums = self._totals[:, list(clients)], self._phases
        schedule = self._batching.schedule(sizes, trainer.plan.seed, epoch, clients)
        if self._ahead:
            return PipelinedClock(clients, speeds, self._now, sums, ahead=self._ahead), schedule
        return CohortClock(clients, speeds, self._now, sums, waits=not self._batching.in_time), schedule

    def _leave(self) -> None:
        """End the pass of the cohort that is at work: whoever is ready waits for the others."""
        self._catch_up()
        if self._at_work is None:
            return
        before, self._now = self._now, self._at_work.end()
        self._collect()
        if len(self._cohorts) > 1:  # it was not the others' turn
            everyone = [client for cohort in self._cohorts for client in cohort]
            self._totals[2, everyone] += self._now - before
            self._totals[2, list(self._at_work.clients)] -= self._now - before
        self._at_work, self._schedule = None, None

    def _collect(self) -> None:
        """Take what the cohort's clock has added up into the totals."""
        if self._at_work is None:
            return
        self._totals[:, list(self._at_work.clients)] = self._at_work.totals

    def _flops(self, now: ServerWork | None, sent: Sequence[Traffic]) -> float:
        """Return the server's operations since the last step, in which clients sent so."""
        before, work = self._server_work, self.work
        self._server_work = now
        if now is None or before is None:
            return 0.0
        forward, backward = now.forward - before.forward, now.backward - before.backward
        each = forward * work.server_forward + backward * work.server_backward
        to_weights, to_inputs = now.to_weights - before.to_weights, now.to_inputs - before.to_inputs
        if to_weights or to_inputs:
            self._halves = self._count_halves() if self._halves is None else self._halves
            each = each + to_weights * self._halves[0] + to_inputs * self._halves[1]
        return _mean(each, sent)

    def summary(self) -> dict[str, Any]:
        """Return the figures as they go into ``summary.json``.

        Returns
        -------
        dict
            ``seconds`` of the training, ``steps``, ``step_seconds`` (mean), ``phases`` (seconds by what the training
            waited for: they add up to ``seconds``), ``waiting_share`` (mean and maximum over the clients that took
            part: of the time of their epochs, what they waited), and ``clients``: of the first ``MOST_CLIENTS``, the
            seconds that each computed, sent and received, and waited; the share of waiting; and ``last``, the steps in
            which the others waited for it.
        """
        compute, transfer, waiting, last = self._totals
        spent = compute + transfer + waiting
        share = np.divide(waiting, spent, out=np.zeros_like(spent), where=spent > 0)
        there = share[spent > 0]
        names = ("compute_seconds", "transfer_seconds", "waiting_seconds", "waiting_share", "last")
        columns = (compute, transfer, waiting, share, last.astype(np.int64))
        each = {name: column[:MOST_CLIENTS].tolist() for name, column in zip(names, columns, strict=True)}
        return {
            "seconds": self._now,
            "steps": self._steps,
            "step_seconds": self._now / max(1, self._steps),
            "phases": dict(self._phases),
            "waiting_share": {"mean": float(there.mean()) if len(there) else 0.0, "max": float(share.max(initial=0))},
            "clients": each,
        }

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that is JSON."""
        self._catch_up()
        self._collect()
        at_work = None if self._at_work is None else {"place": self._place, **self._at_work.state()}
        return {"now": self._now, "phases": self._phases, "steps": self._steps, "cohort": at_work}

    def tensors(self) -> dict[str, Tensor]:
        """Return the part of a checkpoint that grows with the clients."""
        self._catch_up()
        found = {"clock.totals": torch.from_numpy(self._totals)}
        if self._at_work is not None:
            found["clock.cohort"] = torch.from_numpy(self._at_work.table())
        return found

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` and `tensors` returned; the training has been restored."""
        self._now, self._steps = float(state["now"]), int(state["steps"])
        self._phases = {str(name): float(seconds) for name, seconds in state["phases"].items()}
        self._totals[:] = tensors["clock.totals"].numpy()
        self._pending, self._held, self._at_work, self._schedule = [], [], None, None
        self._server_work = self._trainer.server.work
        if state["cohort"] is not None:
            epoch, number = state["cohort"]["place"]
            self._at_work, self._schedule = self._new((int(epoch), int(number)))
            self._at_work.restore(state["cohort"], tensors["clock.cohort"].numpy())
            self._taken = self._trainer.progress.step


def _mean(each: float | Figures, sent: Sequence[Traffic]) -> float:
    """Return the mean of what a sample of each client takes ``[C]``, over the samples of a step."""
    if not isinstance(each, np.ndarray):
        return each
    return float(samples_of(sent, 1) @ each[list(sent[0].clients)])
