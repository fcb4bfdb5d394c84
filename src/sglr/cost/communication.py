"""The communication ledger: what clients and server sent each other, per client, step and kind, as bytes and messages.

Every `Traffic` event is counted twice:

- ``point_to_point``: what a TCP network carries. A message goes to one client; an active client receives its own copy
  of SplitAvg's average, and every client its own copy of shared weights.
- ``broadcast``: what a medium carries on which all can hear one message. What is the same for several clients is sent
  once per step or merge, and each of them is charged an equal share of it, so that clients add up to the total.

Table 6 of the paper, the third view, comes from `sglr.cost.paper_view`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.events import EpochDone, Event, StepDone, Traffic
from sglr.cost.in_turn import InTurn
from sglr.cost.spans import Spans

LINES = (
    ("smashed", True),
    ("labels", True),
    ("weights", True),
    ("gradients", False),
    ("average", False),
    ("weights", False),
    ("feature_gradients", True),
    ("features", False),
    ("beside", True),
)
"""Kinds of traffic and whether they go up; L lines in the shapes of this file."""

VIEWS = ("point_to_point", "broadcast")
"""The two ways of counting; V views in the shapes of this file."""

_UP = np.array([up for _, up in LINES])

T = TypeVar("T")


class Ledger:
    """Adds up `Traffic` events in memory that depends on the number of clients alone.

    Parameters
    ----------
    clients
        C, the number of registered clients.
    """

    def __init__(self, clients: int) -> None:
        self._bytes = np.zeros((len(LINES), clients), dtype=np.int64)  # point to point
        self._shares = np.zeros((len(LINES), clients))  # broadcast
        self._messages = np.zeros((len(LINES), clients), dtype=np.int64)  # point to point
        self._sent = np.zeros((len(VIEWS), len(LINES)), dtype=np.int64)
        self._sent_messages = np.zeros((len(VIEWS), len(LINES)), dtype=np.int64)
        self._samples = 0
        self._steps = Spans(len(VIEWS), len(LINES))
        self._epochs = Spans(len(VIEWS), len(LINES))
        self._in_turn = InTurn(clients)

    def __call__(self, event: Event) -> None:
        """Count an event.

        What is sent before a step, as shared weights at the start of a pass, is counted in that step.
        """
        if isinstance(event, Traffic):
            self._add(event)
        elif isinstance(event, StepDone):
            self._samples += event.samples if event.sends else 0
            self._steps.end()
            self._in_turn.end()
        elif isinstance(event, EpochDone):
            self._epochs.end()

    def _add(self, event: Traffic) -> None:
        line = LINES.index((event.kind, event.up))
        rows, each = np.array(event.clients), int(event.sizes.sum())
        once = each if event.broadcast is None else event.broadcast
        self._bytes[line, rows] += event.sizes
        self._shares[line, rows] += event.sizes if event.broadcast is None else once / len(rows)
        self._messages[line, rows] += 1
        sent = np.array([each, once])
        self._sent[:, line] += sent
        self._sent_messages[:, line] += [len(rows), len(rows) if event.broadcast is None else 1]
        self._steps.add(line, sent)
        self._epochs.add(line, sent)
        self._in_turn.add(event.kind, event.up, rows, event.sizes)

    @property
    def up_bytes(self) -> int:
        """Bytes from clients to server so far; no view changes them."""
        return self._total("point_to_point", up=True)

    @property
    def down_bytes(self) -> int:
        """Bytes from server to clients so far, point to point."""
        return self._total("point_to_point", up=False)

    @property
    def broadcast_down_bytes(self) -> int:
        """Bytes from server to clients so far, where what is the same for several is sent once."""
        return self._total("broadcast", up=False)

    @property
    def sample_bytes(self) -> int:
        """S(L), bytes of one sample's smashed data as they were sent; 0 if none was."""
        return int(self._sent[0, LINES.index(("smashed", True))]) // max(1, self._samples)

    def record(self) -> dict[str, int]:
        """Return the bytes so far, as they go into ``metrics.jsonl``."""
        return {
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "broadcast_down_bytes": self.broadcast_down_bytes,
        }

    def client_bytes(self, view: str = "point_to_point") -> NDArray[Any]:
        """Return bytes per line and client ``[L, C]`` so far, lines as in `LINES`."""
        return (self._bytes, self._shares)[VIEWS.index(view)].copy()

    def up_and_down(self, most: int) -> dict[str, list[int]]:
        """Return the bytes of each client so far, of the first ``most`` clients, point to point."""
        return {
            "up_bytes": self._bytes[_UP, :most].sum(0).tolist(),
            "down_bytes": self._bytes[~_UP, :most].sum(0).tolist(),
        }

    def client_messages(self) -> NDArray[np.int64]:
        """Return messages per line and client ``[L, C]`` so far, point to point."""
        return self._messages.copy()

    def _total(self, view: str, *, up: bool) -> int:
        return int(self._sent[VIEWS.index(view), up == _UP].sum())

    def summary(self, paper: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures as they go into ``summary.json``.

        Parameters
        ----------
        paper
            What `sglr.cost.paper_view.paper_view` returns.

        Returns
        -------
        dict
            All point to point: ``up_bytes`` and ``down_bytes``, ``by_kind`` and ``messages`` (by direction and kind),
            ``labels_bytes`` (which the paper does not count), ``per_client_bytes`` (mean and maximum over the
            registered clients, both directions), ``per_epoch`` (mean) and ``per_step_bytes`` (mean and maximum, also by
            direction and kind), and ``in_turn``: ``bytes`` and ``messages`` that go one after another where each client
            has a link of its own. ``views`` holds ``paper``, ``broadcast`` and ``point_to_point`` side by side; the two
            counted ones have ``total_bytes``, ``up_bytes``, ``down_bytes``, ``messages``, ``per_client_bytes``,
            ``per_epoch_bytes`` (mean), ``most_epoch_bytes`` (maximum) and ``per_step_bytes``.
        """
        steps = [
            {"mean": self._steps.mean(total), "max": self._steps.most(0, line)}
            for line, total in enumerate(self._sent[0].tolist())
        ]
        by_kind = self._named(self._sent[0].tolist())
        return {
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "by_kind": by_kind,
            "labels_bytes": by_kind["up"].get("labels", 0),
            "messages": self._named(self._sent_messages[0].tolist()),
            "per_client_bytes": self._per_client("point_to_point"),
            "per_epoch": {
                "up_bytes": self._epochs.mean(self.up_bytes),
                "down_bytes": self._epochs.mean(self.down_bytes),
            },
            "per_step_bytes": {**self._per_step("point_to_point"), "by_kind": self._named(steps)},
            "in_turn": self._in_turn.summary(),
            "views": {
                "paper": dict(paper),
                "broadcast": self._view("broadcast"),
                "point_to_point": self._view("point_to_point"),
            },
        }

    def _named(self, figures: Sequence[T]) -> dict[str, dict[str, T]]:
        """Name a figure per line by direction and kind; lines that carried nothing are left out."""
        named: dict[str, dict[str, T]] = {"up": {}, "down": {}}
        for line, (kind, up) in sorted(enumerate(LINES), key=lambda item: item[1]):
            if self._sent[0, line]:
                named["up" if up else "down"][kind] = figures[line]
        return named

    def _view(self, view: str) -> dict[str, Any]:
        place = VIEWS.index(view)
        total = int(self._sent[place].sum())
        return {
            "total_bytes": total,
            "up_bytes": self._total(view, up=True),
            "down_bytes": self._total(view, up=False),
            "messages": int(self._sent_messages[place].sum()),
            "per_client_bytes": self._per_client(view),
            "per_epoch_bytes": self._epochs.mean(total),
            "most_epoch_bytes": self._epochs.most(place),
            "per_step_bytes": self._per_step(view),
        }

    def _per_client(self, view: str) -> dict[str, float]:
        total, clients = int(self._sent[VIEWS.index(view)].sum()), self._bytes.shape[1]
        return {"mean": total / clients, "max": self.client_bytes(view).sum(0).max().item()}

    def _per_step(self, view: str) -> dict[str, Any]:
        place = VIEWS.index(view)
        return {"mean": self._steps.mean(int(self._sent[place].sum())), "max": self._steps.most(place)}

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that is JSON: as small for many clients as for few."""
        return {
            "sent": self._sent.tolist(),
            "messages": self._sent_messages.tolist(),
            "samples": self._samples,
            "steps": self._steps.state(),
            "epochs": self._epochs.state(),
            "in_turn": self._in_turn.state(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the part of a checkpoint that grows with those who took part: who, and each's figures ``[L, n]``."""
        active = np.flatnonzero(self._messages.any(0))
        counts = {"bytes": self._bytes, "shares": self._shares, "messages": self._messages}
        kinds = int(np.flatnonzero(self._messages.any(1)).max(initial=-1)) + 1  # those behind carried nothing
        tensors = {f"ledger.{name}": torch.from_numpy(count[:kinds, active]) for name, count in counts.items()}
        return tensors | {"ledger.clients": torch.from_numpy(active.astype(np.int32))}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` and `tensors` returned."""
        active = tensors["ledger.clients"].numpy()
        for name, counts in (("bytes", self._bytes), ("shares", self._shares), ("messages", self._messages)):
            counts[:] = 0
            known = tensors[f"ledger.{name}"].numpy()
            counts[: len(known), active] = known
        self._sent[:], self._sent_messages[:] = 0, 0
        kinds = len(state["sent"][0])  # an earlier version knew fewer, the first of these
        self._sent[:, :kinds], self._sent_messages[:, :kinds] = state["sent"], state["messages"]
        self._samples = state["samples"]
        self._steps.restore(state["steps"])
        self._epochs.restore(state["epochs"])
        if "in_turn" in state:  # an earlier version did not count it
            self._in_turn.restore(state["in_turn"])
