"""One run folder as the page shows it, finished, at work, stopped, damaged or of an earlier version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from sglr.core.errors import UsageError
from sglr.live.clients import COLUMNS, ConnectedClients, Row, simulated_clients
from sglr.live.plain_values import figures, mapping, number, text
from sglr.live.run_sections import cost_section, progress_section, style_section, test_section
from sglr.live.run_state import RunState, read_state
from sglr.live.view import Sections
from sglr.live.watched_files import WatchedFile, WatchedRecords, watched_object
from sglr.report.score_style import ScoreStyle, headline, test_score
from sglr.runs.config import read_toml
from sglr.runs.folder import CONFIG, METRICS, PROGRESS, STATUS, SUMMARY
from sglr.storage.json_files import WRONG

CLASSES, DIVERGED = "classes.json", "diverged.json"
"""Files that other rooms write, by the names that they have there."""

FACTS = ("method", "model", "dataset", "task", "engine", "clients", "epochs", "seed")
"""Settings that the page names."""


class RunView:
    """Reads a run folder again and again.

    Parameters
    ----------
    folder
        The folder; it may be made later.
    stoppable
        Whether this page may ask the process that trains there to stop.
    """

    seconds = 0.2

    def __init__(self, folder: Path, *, stoppable: bool = True) -> None:
        self.folder, self._stoppable = folder, stoppable
        self._settings: WatchedFile[dict[str, Any]] = WatchedFile(folder / CONFIG, _settings, {})
        self._summary = watched_object(folder / SUMMARY)
        self._diverged = watched_object(folder / DIVERGED)
        self._progress = watched_object(folder / PROGRESS)
        self._status = watched_object(folder / STATUS)
        self._classes = watched_object(folder / CLASSES)
        self._records = WatchedRecords(folder / METRICS)
        self._connected = ConnectedClients()
        self._rows: tuple[tuple[object, ...], list[Row]] = ((), [])
        self._tested: tuple[object, Mapping[str, Any]] = (None, {})
        self._lock = Lock()
        self._drawn: tuple[Sequence[Mapping[str, Any]], list[dict[str, Any]]] = ([], [])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The run's settings as flat keys, unchecked; empty where there are none."""
        return self._settings.read()

    def state(self) -> RunState:
        """Return what the run does at the moment."""
        found = (file.read() for file in (self._summary, self._diverged, self._progress, self._status))
        return read_state(self.folder, *found)

    def read(self) -> Sections:
        """Return all sections; may be called from several threads."""
        with self._lock:
            return self._sections()

    def _sections(self) -> Sections:
        summary, progress, status = self._summary.read(), self._progress.read(), self._status.read()
        settings, records = self._settings.read(), self._records.read()
        if self._tested[0] is not summary:
            self._tested = summary, sound_test(summary)
        state, test = self.state(), self._tested[1]
        score = headline(test, records[:50])
        return {
            "run": {
                "name": text(settings.get("name")) or text(self.folder.resolve().name),
                "folder": text(self.folder, 1000),
                "state": state.name,
                "why": state.why,
                "stops_after": state.stops_after,
                "damaged": self._damaged(),
                **{name: _fact(settings.get(name)) for name in FACTS},
            },
            "score": style_section(score),
            "progress": progress_section(progress, status, state),
            "cost": cost_section(summary, progress, records),
            "history": self._history(records),
            "test": test_section(test, score),
            "columns": COLUMNS,
            "clients": self._clients(status or progress, test, score, state.running),
            "can_stop": self._stoppable and state.running and state.name != "starting",
        }

    def _clients(self, told: Mapping[str, Any], test: Mapping[str, Any], score: ScoreStyle, running: bool) -> list[Row]:
        """Return a row for every client; files that have not changed are the same objects, and so are their rows."""
        classes, served = self._classes.read(), bool(self._status.read())
        made_of, (before, rows) = (told, classes, test, running), self._rows
        if len(before) != len(made_of) or not all(one is other for one, other in zip(made_of, before, strict=True)):
            clients = told if served else simulated_clients(classes, test, score.name, told)
            rows = self._connected.rows(clients, moving=running)
            self._rows = made_of, rows
        return rows

    def _history(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if self._drawn[0] is not records:
            self._drawn = (records, [figures(record) for record in records])
        return self._drawn[1]

    def _damaged(self) -> list[str]:
        files = {
            CONFIG: self._settings,
            SUMMARY: self._summary,
            PROGRESS: self._progress,
            STATUS: self._status,
        }
        return [name for name, file in files.items() if file.damaged]


def sound_test(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the test in a summary; empty where there is none that can be read."""
    test = mapping(summary.get("test"))
    try:
        mapping(test_score(test, headline(test).name))
    except WRONG:
        return {}
    return test


def _settings(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _fact(value: object) -> str | int | float | None:
    found = number(value)
    return text(value, 200) if found is None else found
