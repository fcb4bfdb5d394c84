"""Time to a score over the user's links, as a table and in words: who wins, and where that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sglr.planner.wall_time import Links, RouteTime
from sglr.planner.words import megabytes
from sglr.report.numbers import NONE, clock, count


@dataclass(frozen=True)
class Pilot:
    """What a short local training of every method found.

    Parameters
    ----------
    epochs
        How long each was trained.
    target
        The score to which epochs are counted; None where no method reached one.
    score
        How the target is written.
    epochs_to
        By method and compression (``"psl int8"``): epochs to the target, None where it was not reached.
    too_short
        Why it can't tell; empty if it can.
    """

    epochs: int
    target: float | None
    score: str
    epochs_to: Mapping[str, int | None]
    too_short: str = ""

    def epochs_of(self, one: RouteTime) -> int | None:
        """Return the epochs that a route needs; steps ahead are taken to need no more."""
        code = one.route.compression
        return self.epochs_to.get(one.route.method if code == "none" else f"{one.route.method} {code}")


@dataclass(frozen=True)
class TimeAdvice:
    """Times of all routes, with a pilot or without.

    Parameters
    ----------
    network
        The links.
    times
        Of all routes.
    pilot
        What tells how many epochs each needs; None where all are taken to need the same.
    """

    network: Links
    times: Sequence[RouteTime]
    pilot: Pilot | None = None

    def to_score(self, one: RouteTime) -> float | None:
        """Return the seconds to the pilot's score; None where it is not known."""
        epochs = None if self.pilot is None or self.pilot.too_short else self.pilot.epochs_of(one)
        return None if epochs is None else epochs * one.epoch

    def _measure(self, one: RouteTime) -> float | None:
        return one.epoch if self.pilot is None or self.pilot.too_short else self.to_score(one)

    @property
    def best_split(self) -> RouteTime | None:
        """The fastest route that splits the model."""
        return self._best([one for one in self.times if one.route.method != "fl"])

    @property
    def fl(self) -> RouteTime | None:
        """FL's time."""
        return next((one for one in self.times if one.route.method == "fl"), None)

    def _best(self, times: Sequence[RouteTime]) -> RouteTime | None:
        known = [(value, number) for number, one in enumerate(times) if (value := self._measure(one)) is not None]
        return times[min(known)[1]] if known else None

    def sentences(self) -> list[str]:
        """Say who wins, by how much, and where that changes."""
        said = [] if self.pilot is None else [self._of_pilot(self.pilot)]
        split, fl = self.best_split, self.fl
        if split is None or fl is None:
            return said if split is None else [*said, f"Fastest: {split.route.label}."]
        return [*said, *self._against_fl(split, fl), *self._limits()]

    def _limits(self) -> list[str]:
        """Say what is not in the figures."""
        said, given = [], self.network.plan.scenario
        if not (given.flops_rate and given.server_flops_rate):
            without = "" if self.network.work is not None else "--model, "
            said.append(f"What has no rate computes in no time: give {without}--flops-rate and --server-flops-rate.")
        if any(one.route.ahead for one in self.times):
            said.append(
                "Clients that compute ahead are taken to need as many epochs as others: try it, with old gradients."
            )
        return said

    def _of_pilot(self, pilot: Pilot) -> str:
        if pilot.too_short:
            return f"The pilot of {pilot.epochs} epochs is too short to tell: {pilot.too_short}."
        late = [name for name, epochs in pilot.epochs_to.items() if epochs is None]
        told = f"The pilot trained {pilot.epochs} epochs of each; epochs are counted to {pilot.score}."
        return f"{told} It is too short to tell for {', '.join(late)}." if late else told

    def _against_fl(self, split: RouteTime, fl: RouteTime) -> list[str]:
        ours, theirs = self._measure(split), self._measure(fl)
        known = self.pilot is not None and not self.pilot.too_short
        what = f"to {self.pilot.score}" if self.pilot is not None and known else "for an epoch"
        if ours is None or theirs is None:
            return [f"FedAvg did not get {what} in the pilot; {split.route.label} takes {clock(ours)}."]
        names = ("FedAvg", split.route.label) if theirs <= ours else (split.route.label, "FedAvg")
        least, most = sorted((ours, theirs))
        answer = f"{names[0]} wins: {clock(least)} {what}; {names[1]} takes {clock(most)}, {_times(most / least)}."
        return [answer, self._crossover(split, fl)]

    def _crossover(self, split: RouteTime, fl: RouteTime) -> str:
        at, own = self.crossover(split, fl), self.network.plan.scenario.sizes.model
        if at == 0:
            return "With any model split learning is faster here."
        side = "below it" if own < at else "above it"
        return (
            f"FedAvg is faster up to a model of {megabytes(at)}, split learning beyond, with the same data and cut: "
            f"yours has {megabytes(own)}, {side}."
        )

    def crossover(self, split: RouteTime, fl: RouteTime) -> float:
        """Return the size of a model, in MB, at which both take as long."""
        rounds = 1.0
        if self.pilot is not None and not self.pilot.too_short:
            own, theirs = self.pilot.epochs_of(split), self.pilot.epochs_of(fl)
            rounds = own / theirs if own and theirs else 1.0
        return self.network.crossover_mb(split, rounds)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and rows, as people read them; the epochs and the time to a score with a pilot alone."""
        headings = ["", "written", "ahead", "step", "longest", "epoch", "epochs", "to\u00a0score"]
        rows = []
        for one in self.times:
            route, epochs = one.route, None if self.pilot is None else self.pilot.epochs_of(one)
            whole = route.method == "fl"
            row = [route.method.upper(), NONE if whole else route.compression, NONE if whole else count(route.ahead)]
            row += [NONE if whole else clock(one.step), one.bound, clock(one.epoch)]
            rows.append([*row, count(epochs), clock(self.to_score(one))])
        kept = 8 if self.pilot is not None and not self.pilot.too_short else 6
        return headings[:kept], [row[:kept] for row in rows]

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        split, fl, pilot = self.best_split, self.fl, self.pilot
        rows = [
            {
                **one.record(),
                "epochs": None if pilot is None else pilot.epochs_of(one),
                "seconds_to_score": self.to_score(one),
            }
            for one in self.times
        ]
        best = self._best(self.times)
        return {
            "rtt_seconds": self.network.rtt,
            "steps": self.network.steps,
            "batch_size": self.network.plan.batch,
            "routes": rows,
            "fastest": None if best is None else best.route.label,
            "crossover_model_mb": None if split is None or fl is None else self.crossover(split, fl),
            "pilot": None if pilot is None else {**vars(pilot), "epochs_to": dict(pilot.epochs_to)},
            "words": self.sentences(),
        }


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times as long" if ratio >= 1.05 else "as long"
