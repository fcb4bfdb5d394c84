"""Values that are not finite or too large: a client that sends them is absent; if half do, the training stops.

An honest client has such values when a training diverges, mostly because of what it received, so no client is
quarantined for them. The step, the pass or the average goes on without that client. If half of the present clients
send such values, the training has diverged.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from sglr.core.errors import ExtremeValues, name_clients
from sglr.core.weights import Weights
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.server.barrier import Patience
from sglr.engines.remote.server.client_state import ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.wire.frames import shown

log = logging.getLogger(__name__)


class Extremes:
    """Records which clients' last values were extreme, and raises an error when the training has diverged.

    Parameters
    ----------
    connections
        The clients.
    patience
        How often in a row a client may be absent before it is dropped, unless the run waits for all clients.
    """

    def __init__(self, connections: ConnectionServer, patience: Patience) -> None:
        self._connections, self._patience = connections, patience

    def judge(self, sound: Collection[int], extreme: Mapping[int, str]) -> None:
        """Record which of the clients that answered sent extreme values, and what was wrong with them.

        Raises
        ------
        ExtremeValues
            If half of the present clients, by their last values, or all of several that answered, do so.
        """
        states = self._connections.states
        with self._connections.changed:
            for client in sound:
                states[client].extreme = 0
            for client, problem in extreme.items():
                states[client].send_extreme(shown(problem))
            present = [one for one in states if one.counts]
        for client in extreme:
            self._connections.metrics.rejected(client, "values")
            self._connections.metrics.absent(client)
        having = [one.client for one in present if one.extreme]
        all_of_several = len(extreme) > 1 and not sound
        if extreme and (all_of_several or 2 * len(having) >= len(present)):
            whose = name_clients(having or sorted(extreme))
            raise ExtremeValues(f"numbers of {whose} are not finite or too large ({states[min(extreme)].remark})")
        for client in extreme:
            self._tell(states[client])
            self._lose_patience(states[client])

    def _tell(self, state: ClientState) -> None:
        level = logging.WARNING if state.extreme == 1 else logging.INFO
        told = "client %d is absent: its numbers are not finite or too large (%s)"
        log.log(
            level,
            told,
            state.client,
            state.remark,
            extra={"client": state.client, "event": "absent"},
        )

    def _lose_patience(self, state: ClientState) -> None:
        if not self._patience.strict and state.extreme >= self._patience.max_misses:
            problem = f"its numbers were not finite or too large {state.extreme} times in a row"
            self._connections.drop(state.client, f"{problem}: {state.remark}")

    def check_sent(self, what: str, values: Mapping[int, Tensor]) -> set[int]:
        """Return the clients whose tensors can't be sent, because they are not finite or too large.

        Parameters
        ----------
        what
            Its name in messages.
        values
            The tensor for each client; those of all others are sound.

        Raises
        ------
        ExtremeValues
            If the training diverged.
        """
        bad = {
            client: f"the {what} for it are not finite or too large"
            for client, own in values.items()
            # NaN compares as False.
            if not float(torch.linalg.vector_norm(own)) <= most_norm(own.numel())
        }
        if bad:
            self.judge(values.keys() - bad.keys(), bad)
        return set(bad)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs: how often in a row each client sent extreme values, int64 ``[|C|]``."""
        return {"extreme": torch.tensor([state.extreme for state in self._connections.states])}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned; checkpoints of earlier versions lack it."""
        counts = tensors["extreme"].tolist() if "extreme" in tensors else [0] * len(self._connections.states)
        with self._connections.changed:
            for state, count in zip(self._connections.states, counts, strict=True):
                state.extreme = count
