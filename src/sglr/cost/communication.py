"""The communication ledger: how many bytes clients and server sent each other, point to point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sglr.core.types import Event, Traffic


class Ledger:
    """Adds up `Traffic` events by direction and kind.

    Every client's message is counted as what one network link would carry: an average that is sent to all active
    clients counts once for each.
    """

    def __init__(self) -> None:
        self._bytes: dict[str, dict[str, int]] = {"up": {}, "down": {}}

    def __call__(self, event: Event) -> None:
        """Take note of an event; anything but traffic is ignored."""
        if isinstance(event, Traffic):
            kinds = self._bytes["up" if event.up else "down"]
            kinds[event.kind] = kinds.get(event.kind, 0) + int(event.sizes.sum())

    @property
    def up_bytes(self) -> int:
        """Bytes from clients to server so far."""
        return sum(self._bytes["up"].values())

    @property
    def down_bytes(self) -> int:
        """Bytes from server to clients so far."""
        return sum(self._bytes["down"].values())

    def summary(self) -> dict[str, Any]:
        """Return totals and bytes by kind, as they go into ``summary.json``."""
        return {
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "by_kind": {direction: dict(sorted(kinds.items())) for direction, kinds in self._bytes.items()},
        }

    def state(self) -> dict[str, dict[str, int]]:
        """Return what a checkpoint needs."""
        return {direction: dict(kinds) for direction, kinds in self._bytes.items()}

    def restore(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Take up what `state` returned."""
        self._bytes = {direction: dict(kinds) for direction, kinds in state.items()}
