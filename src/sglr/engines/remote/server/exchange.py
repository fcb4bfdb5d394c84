"""How the server asks its clients and reads their answers: all of it, made once the server listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sglr.engines.remote.limits import chunk
from sglr.engines.remote.server.barrier import Patience
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.server.forms import Forms
from sglr.engines.remote.server.gathering import WeightGathering
from sglr.engines.remote.server.held_out import HeldOut
from sglr.engines.remote.server.publisher import Publisher
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.runtime import ServerRuntime
from sglr.engines.remote.server.shared_weights import SharedWeights
from sglr.engines.remote.server.snapshots import ClientSnapshots
from sglr.engines.remote.server.tails import Tails
from sglr.engines.remote.server.targets import SentTargets
from sglr.engines.remote.server.validation import MessageValidator
from sglr.parties.spec import ClientSpec


@dataclass(frozen=True)
class Exchange:
    """The parts of a server that exchange messages with clients.

    Parameters
    ----------
    runtime
        The open port and the clients.
    requests, validator
        Send requests, and check their answers.
    extremes
        Records which clients' values were extreme.
    publisher
        Sends the shared weights.
    gathering
        Gathers clients' weights.
    snapshots
        Has clients write and restore snapshots.
    tails
        Ask clients that keep their labels (U-shape).
    held_out
        Scores held-out samples.
    """

    runtime: ServerRuntime
    requests: RequestSender
    validator: MessageValidator
    extremes: Extremes
    publisher: Publisher
    gathering: WeightGathering
    snapshots: ClientSnapshots
    tails: Tails
    held_out: HeldOut

    @classmethod
    def over(
        cls,
        runtime: ServerRuntime,
        spec: ClientSpec,
        patience: Patience,
        shared: SharedWeights,
        forms: Forms,
        *,
        features: tuple[int, ...] | None,
        steps: int,
    ) -> Self:
        """Return the exchange over an open runtime.

        Parameters
        ----------
        runtime, spec, patience, shared
            The open port, the clients, how long they are waited for, and the weights that they share.
        forms
            What each client sends and holds.
        features
            Shape of one sample's features where labels stay with the clients.
        steps
            Steps that were taken so far.
        """
        connections, targets = runtime.connections, spec.data.targets
        requests, extremes = RequestSender(connections, runtime.barrier, steps), Extremes(connections, patience)
        validator = MessageValidator(
            connections,
            extremes,
            forms,
            targets=SentTargets(targets, spec.task),
            device=spec.device,
            features=features,
            delta_code=spec.delta_code,
        )
        tails = Tails(requests, validator, extremes)
        most = chunk(forms.largest, targets)
        held_out = HeldOut(requests, validator, tails if features else None, most, spec.task, forms)
        publisher = Publisher(requests, connections, shared, forms)
        snapshots = ClientSnapshots(requests, validator, publisher, len(connections.states))
        gathering = WeightGathering(requests, validator, shared)
        return cls(runtime, requests, validator, extremes, publisher, gathering, snapshots, tails, held_out)
