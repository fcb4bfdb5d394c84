"""The measured energy of this machine for a run: added up over all parts, and over every resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from threading import Event, Lock, Thread
from typing import Any, Self

from sglr.cost.power_sources import PowerSource

READ_EVERY = 10.0
"""Seconds between readings: a CPU's energy counter overflows within minutes."""

log = logging.getLogger(__name__)


class EnergyMeter:
    """Reads all sources at intervals, between `begin` and `end`, or within ``with meter:``.

    Parameters
    ----------
    sources
        The parts of the machine; none if nothing is to be measured.
    read_every
        Seconds between readings.
    """

    def __init__(self, sources: Sequence[PowerSource], read_every: float = READ_EVERY) -> None:
        self._sources = list(sources)
        self._read_every = read_every
        self._joules = {source.name: 0.0 for source in sources}
        self._described = {source.name: {"how": source.how, "by": source.by} for source in sources}
        self._seconds = 0.0
        self._last: float | None = None
        self._lock = Lock()
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def begin(self) -> None:
        """Start measuring."""
        if not self._sources:
            return
        for source in self._sources:
            source.begin()
        self._last = time.perf_counter()
        self._over.clear()
        self._thread = Thread(target=self._watch, name="energy meter", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop measuring; what was measured stays."""
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        self._thread = None
        self._read()
        self._last = None

    def _watch(self) -> None:
        while not self._over.wait(self._read_every):
            self._read()

    def _read(self) -> None:
        with self._lock:
            if self._last is None:
                return
            before, self._last = self._last, time.perf_counter()
            self._seconds += self._last - before
            for source in list(self._sources):
                try:
                    self._joules[source.name] += source.read()
                except Exception as error:  # a driver may raise anything, and no run shall end by it
                    self._sources.remove(source)
                    reason = " ".join(str(error).split())
                    self._described[source.name]["by"] += (
                        f"; it stopped answering after {self._seconds:.0f} s: {reason}"
                    )
                    log.warning("the energy of the %s is no longer measured: %s", source.name, reason)

    @property
    def joules(self) -> float | None:
        """What all parts used, as it was read last; None if nothing is measured."""
        return sum(self._joules.values()) if self._joules else None

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint needs, measured up to now; None if nothing was measured."""
        self._read()
        with self._lock:
            return {"parts": self._parts(), "seconds": self._seconds} if self._joules else None

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Take up what `state` returned; a part that was measured in another way before the resume names both ways."""
        if state is None:
            return
        self._seconds = state["seconds"]
        for name, part in state["parts"].items():
            self._joules[name] = part["joules"]
            before = {"how": part["how"], "by": part["by"]}
            now = self._described.setdefault(name, before)
            if now != before:
                how = "measured" if now["how"] == before["how"] == "measured" else "estimated"
                self._described[name] = {"how": how, "by": f"{before['by']}; since the run was resumed: {now['by']}"}

    def _parts(self) -> dict[str, dict[str, Any]]:
        return {name: {"joules": joules, **self._described[name]} for name, joules in self._joules.items()}

    def summary(self, run_seconds: float) -> dict[str, Any] | None:
        """Return the figures as they go into ``summary.json``, measured up to now; None if nothing was measured.

        Parameters
        ----------
        run_seconds
            How long the run took; the time without measurements is given as ``unmeasured_seconds``.
        """
        state = self.state()
        if state is None:
            return None
        unmeasured = round(max(0.0, run_seconds - state["seconds"]), 1)
        return {"joules": sum(self._joules.values()), **state, "unmeasured_seconds": unmeasured}
