"""Where a site that predicts takes the weights of its layers from.

In this order: a file or a run folder that the user names; what training left in the site's folder; what all clients
share, which the server sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sglr.core.errors import DamagedCheckpoint, UsageError
from sglr.core.weights import Weights, state_of
from sglr.engines.remote.client.handlers import SEGMENT
from sglr.engines.remote.client.predictions import ServerSegment
from sglr.engines.remote.run_description import RunDescription
from sglr.sites.trained_run import TrainedRun
from sglr.storage.checkpoint import read_checkpoint


@dataclass(frozen=True)
class WeightSource:
    """The weights that a user names, if any.

    Parameters
    ----------
    segment
        A file, such as ``segment.safetensors`` of a client's folder.
    run, client
        The folder of a run that was trained in one place, and whose weights to take; default: those of the client that
        this site is.

    Raises
    ------
    UsageError
        If both a file and a run folder are named, or a client without a run folder.
    """

    segment: Path | None = None
    run: Path | None = None
    client: int | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before the server is asked."""
        if self.segment is not None and self.run is not None:
            problem = "both a file and a run folder with the client's weights were given"
            raise UsageError("segment", self.segment, problem, "leave out --segment or --run")
        if self.client is not None and self.run is None:
            problem = "says whose weights to take from a run folder, and none was given"
            raise UsageError("client", self.client, problem, "give --run too, or leave out --client")


@dataclass(frozen=True)
class SiteOfRun:
    """A site and the run that it predicts with.

    Parameters
    ----------
    client, folder
        Its number, and its folder.
    description
        The run, as the server tells it.
    alike
        Whether all clients of the run have the same weights.
    model, task
        ``package.module:name`` of the site's own code, if the run's model or task is that.
    """

    client: int
    folder: Path
    description: RunDescription
    alike: bool
    model: str | None = None
    task: str | None = None

    def weights(self, source: WeightSource, segment: nn.Module, server: ServerSegment) -> tuple[Weights, str]:
        """Return the weights of the client's layers ``segment``, and whose they are, in a few words.

        Raises
        ------
        UsageError
            If there are none, or they are of another run, model or client.
        SglrError
            If the server is asked for them and does not send them.
        """
        if source.run is not None:
            client = self.client if source.client is None else source.client
            return self._of_run(source.run, client), self._whose(client)
        own = source.segment or self.folder / SEGMENT
        if source.segment is not None or own.is_file():
            weights, whose = _of_file(own, segment, self.description)
            return weights, self._whose(self.client if whose is None else whose)
        if self.alike:
            return server.shared_weights(state_of(segment)), "shared"
        problem = f"each client of this run has weights of its own, and there are none in {self.folder}"
        remedy = "give --segment FILE, or --run RUN where the run was trained in one place"
        raise UsageError("segment", "none", problem, remedy)

    def _whose(self, client: int) -> str:
        return "shared" if self.alike else f"client {client}"

    def _of_run(self, folder: Path, client: int) -> Weights:
        run = TrainedRun.open(folder, self.model, self.task)
        if run.upper_digest() != self.description.served:
            problem = "its server's layers are others than the server's at that address"
            raise UsageError("run", folder, problem, "give the folder of the run that is served")
        return run.client_weights(client)


def _of_file(path: Path, segment: nn.Module, description: RunDescription) -> tuple[Weights, int | None]:
    """Read a file with weights, which tells of which run they are, and of which client, where sglr wrote it."""
    try:
        weights, told = read_checkpoint(path)
    except DamagedCheckpoint as error:
        raise UsageError("segment", path, str(error), "give the segment.safetensors of a client's folder") from error
    if told.get("run", description.run) != description.run:
        problem = "its weights are of another run than the server's"
        raise UsageError("segment", path, problem, "give a file of the run that is served")
    own = {name: (tensor.dtype, tensor.shape) for name, tensor in state_of(segment).items()}
    if own != {name: (tensor.dtype, tensor.shape) for name, tensor in weights.items()}:
        raise UsageError("segment", path, "its weights are of another model or cut", "give a file of the same run")
    client = told.get("client")
    return weights, client if type(client) is int else None
