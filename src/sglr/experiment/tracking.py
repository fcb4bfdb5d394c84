"""Tell trackers of a run (``--track tensorboard+mlflow``), so that none of them can harm its training.

Which epochs a tracker was told, and what it calls the run, stands in ``trackers.json`` of the run's folder: a resumed
run goes on there, and what a tracker missed is told later.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sglr.core.errors import Interrupted, NotWritten, UsageError, refuse_long
from sglr.core.registry import TRACKERS
from sglr.core.spec import Spec, options_of
from sglr.runs.folder import Run
from sglr.runs.tracker import Tracker
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object
from sglr.storage.lock import locked

log = logging.getLogger(__name__)

TRACKING = "trackers.json"


@dataclass
class Told:
    """What a tracker was told of a run.

    Parameters
    ----------
    place
        The options that say where; the rest is of another place's run if they differ.
    known
        By which the tracker's run is found again; None before it begins.
    epochs
        The last epoch that it was told.
    finished
        Whether it was told the summary.
    """

    place: dict[str, str]
    known: str | None = None
    epochs: int = 0
    finished: bool = False


@dataclass
class Tracked:
    """One tracker, and what it was told."""

    name: str
    tracker: Tracker
    told: Told
    open: bool = False
    failed: bool = False


@dataclass
class Tracking:
    """The trackers of one run; as a context manager it closes them.

    A tracker that fails is said once, and left alone until the run's end: then it is tried once more.

    Parameters
    ----------
    parts
        The trackers by name.
    warn
        Told of those that fail.
    """

    parts: Sequence[tuple[str, Tracker]] = ()
    warn: Callable[[str], None] = log.warning
    _each: list[Tracked] = field(default_factory=list, init=False)
    _before: Mapping[str, Any] = field(default_factory=dict, init=False)
    _outcome: Literal["done", "stopped", "failed"] = field(default="failed", init=False)

    @classmethod
    def of(cls, text: str, warn: Callable[[str], None] = log.warning) -> Self:
        """Read the setting ``track``, and check that all of its trackers can work.

        Raises
        ------
        UsageError
            If there is no such tracker or option, or its package is missing.
        """
        found = cls(parse(text), warn)
        for _, tracker in found.parts:
            with _apart():
                tracker.check()
        return found

    def begin(self, run: Run) -> None:
        """Open the trackers' runs, and tell the epochs that they missed; of a finished run, `end` does all."""
        before = self._before = _read(run.path / TRACKING)
        for name, tracker in self.parts:
            told = Told(tracker.place())
            with suppress(TypeError, AttributeError):  # the file of another version, or damaged
                kept = Told(**before[name]) if name in before else told
                told = kept if kept.place == told.place else told
            self._each.append(Tracked(name, tracker, told))
        for one in self._each:
            if run.summary is None and not one.told.finished:
                self._try(one, run, lambda own: self._catch_up(own, run))

    def epoch(self, run: Run, record: Mapping[str, Any]) -> None:
        """Tell an epoch's record."""
        for one in self._each:
            if one.open and record["epoch"] > one.told.epochs:
                self._try(one, run, lambda own: _tell(own, record))

    def amend(self, run: Run, record: Mapping[str, Any]) -> None:
        """Tell what was added to the record of the epoch that was told last."""
        for one in self._each:
            if one.open:
                self._try(one, run, lambda own: _tell(own, record))

    def end(self, run: Run) -> list[str]:
        """Tell the summary of a finished run, and all to a tracker that failed; return the names of those told."""
        self._outcome = "done"
        late = [one for one in self._each if not one.told.finished]
        return [one.name for one in late if self._try(one, run, lambda own: self._finish(own, run))]

    @property
    def failed(self) -> list[str]:
        """The names of those that failed and were not told since."""
        return [one.name for one in self._each if one.failed and not one.told.finished]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Interrupted | KeyboardInterrupt):
            self._outcome = "stopped"
        for one in self._each:
            self._close(one)

    def _finish(self, one: Tracked, run: Run) -> None:
        if not one.open:
            self._catch_up(one, run)
        one.tracker.finish(run)
        one.told.finished = True

    def _catch_up(self, one: Tracked, run: Run) -> None:
        one.tracker.check()
        one.told.known = one.tracker.begin(run, one.told.known)
        one.open = True
        for record in run.history:
            if record["epoch"] > one.told.epochs:
                _tell(one, record)

    def _try(self, one: Tracked, run: Run, act: Callable[[Tracked], None]) -> bool:
        """Do something with a tracker; one that fails is closed, and said once."""
        try:
            with _apart():
                act(one)
        except Exception as error:  # it may raise anything
            if not one.failed:
                found = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
                self.warn(f"the tracker {one.name} failed ({found}); {_what_follows(run)}: sglr resume {run.path}")
            one.failed = True
            self._close(one)
            return False
        finally:
            self._keep(run)
        return True

    def _keep(self, run: Run) -> None:
        """Write what was told, also to trackers of earlier commands; if the disk is full, an epoch is told twice."""
        told = {**self._before, **{each.name: vars(each.told) for each in self._each}}
        with suppress(NotWritten, OSError):
            write_text(run.path / TRACKING, json.dumps(told) + "\n")

    def _close(self, one: Tracked) -> None:
        try:
            with _apart():
                one.tracker.close(self._outcome)
        except Exception as error:  # it may raise anything
            log.info("the tracker %s could not be closed: %s", one.name, error)
        one.open = False


def parse(text: str) -> list[tuple[str, Tracker]]:
    """Read ``"tensorboard+mlflow:experiment=digits"``.

    Raises
    ------
    UsageError
        If there is no such tracker, or it has no such option.
    """
    refuse_long("track", text)
    if text in ("", "none"):
        return []
    parts: list[tuple[str, Tracker]] = []
    for word in text.split("+"):
        spec = Spec.parse("track", word.strip())
        if any(spec.name == known for known, _ in parts):
            raise UsageError("track", text, f"{spec.name} is there twice", "name each tracker once")
        kind: type[Tracker] = TRACKERS.load(spec.name)
        parts.append((spec.name, kind(**spec.options(options_of(kind)))))
    return parts


def tell_finished(run: Run, track: str | None, say: Callable[[str], None]) -> None:
    """Tell trackers what they missed of a finished run, those of ``track`` or else those of its settings."""
    tracking = Tracking.of(track) if track is not None else Tracking(parse(str(run.settings.get("track", ""))))
    told: list[str] = []
    if tracking.parts:
        with locked(run.path, "run"), tracking:
            tracking.begin(run)
            told = tracking.end(run)
    done = [f"told {' and '.join(told)} of it"] if told else []
    done += [f"{' and '.join(tracking.failed)} could not be told"] if tracking.failed else []
    say(f"{run.path} is finished; {', '.join(done) or 'nothing to do'}")


def _what_follows(run: Run) -> str:
    if run.summary is None:
        return "the training goes on, and what it missed is told at the end, or by"
    return "tell it what it missed later, with"


def _tell(one: Tracked, record: Mapping[str, Any]) -> None:
    one.tracker.log(record)
    one.told.epochs = record["epoch"]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path) or {}
    except ValueError as error:
        log.warning("%s is damaged (%s): trackers begin anew", path, error)
        return {}


@contextmanager
def _apart() -> Iterator[None]:
    """Keep what a tracker prints from standard output, which may be JSON; what its makers are to mend, from users."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
