"""A run between sites, watched from a client's machine: the server is asked for its status, as `sglr status` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.core.errors import SglrError
from sglr.live.clients import COLUMNS, ConnectedClients
from sglr.live.plain_values import text
from sglr.live.run_sections import progress_section, style_section
from sglr.live.run_state import RunState
from sglr.live.view import Sections
from sglr.report.score_style import ScoreStyle
from sglr.sites.status import ask_status

TOLD = {"training": "training", "waiting": "waiting", "done": "finished", "stopped": "stopped"}
"""States of runs by those that a server tells."""


class ServerView:
    """Asks a server again and again; it can't be stopped from a client's machine.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    folder
        The client's folder, with its identity.
    """

    seconds = 1.0

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._folder = address, folder
        self._connected = ConnectedClients()
        self._last: Mapping[str, Any] = {}

    def ask(self) -> None:
        """Ask the server for its status.

        Raises
        ------
        SglrError
            If it does not answer, or the folder has no identity.
        """
        self._last = ask_status(self._address, self._folder)

    def read(self) -> Sections:
        """Return all sections; where the server does not answer, what it told last."""
        try:
            self.ask()
            state = RunState(TOLD.get(str(self._last.get("state")), "training"), text(self._last.get("why")))
        except SglrError as error:
            state = RunState("unreachable", text(error))
        rows = self._connected.rows(self._last)
        return {
            "run": {
                "name": self._address,
                "folder": "",
                "state": state.name,
                "why": state.why,
                "stops_after": None,
                "damaged": [],
                "clients": len(rows) or None,
            },
            "score": style_section(ScoreStyle()),
            "progress": progress_section({}, self._last, state),
            "cost": {
                "up_bytes": sum(row[COLUMNS.index("up_bytes")] or 0 for row in rows),
                "down_bytes": sum(row[COLUMNS.index("down_bytes")] or 0 for row in rows),
            },
            "history": [],
            "test": None,
            "columns": COLUMNS,
            "clients": rows,
            "can_stop": False,
        }
