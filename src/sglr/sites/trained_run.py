"""A trained run, rebuilt from its folder with the weights of its best epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import nn

from sglr.assembly.load_model import load_training, trained_client
from sglr.assembly.parts import Training
from sglr.core.errors import UsageError
from sglr.core.task import Task
from sglr.core.weights import Weights, state_of
from sglr.runs.data_record import DataRecord
from sglr.runs.folder import Run
from sglr.splitting.segment_weights import frozen_of
from sglr.storage.checkpoint import digest, write_checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """A trained run whose network lies at clients and a server.

    Parameters
    ----------
    run
        Its folder.
    record
        What it was trained on.
    built
        Its parts, with the trained weights.
    """

    run: Run
    record: DataRecord
    built: Training

    @classmethod
    def open(
        cls,
        folder: Path,
        model: str | nn.Module | Callable[..., nn.Module] | None = None,
        task: str | Task | None = None,
    ) -> Self:
        """Rebuild a run from its folder; ``model`` and ``task`` as in `sglr.assembly.load_model.load_model`.

        Raises
        ------
        UsageError
            If it is no run, has no checkpoint, or its clients hold the whole model.
        """
        run = Run.open(folder, model if isinstance(model, str) else None)
        record = run.data
        if record is None:
            problem = "was trained by sglr 0.1, which kept no record of what a site must send"
            raise UsageError("run", run.path, problem, "train it again, or predict in one place: sglr predict RUN")
        if record.method.whole_model:
            problem = "each client holds the whole model, and the server nothing of it"
            raise UsageError("method", run.experiment.method, problem, "predict in one place: sglr predict RUN")
        return cls(run, record, load_training(run, model, task))

    def upper(self) -> nn.Module:
        """Return a copy of the server's segment, in evaluation mode on the CPU."""
        return copy.deepcopy(self.built.trainer.server.segment).cpu().eval()

    def upper_digest(self) -> str:
        """Return the SHA-256 of the server's weights, by which a site knows that it has the same run."""
        upper = self.upper()
        return digest({**state_of(upper), **frozen_of(upper)})

    def client_weights(self, client: int) -> Weights:
        """Return the weights of all layers of a client.

        Raises
        ------
        UsageError
            If there is no such client, or its weights are with itself.
        """
        return state_of(trained_client(self.built, client))

    def write_segments(self, folder: Path, run: str) -> list[Path]:
        """Write the weights of each client to a file of its own, ``client-3.safetensors``, for its site.

        Parameters
        ----------
        folder
            Where; created if missing.
        run
            The run's id, by which sites know that the file is of the run that is served.

        Raises
        ------
        UsageError
            If clients keep their weights themselves, or the folder can't be written.
        """
        clients = range(len(self.built.trainer.sizes))
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = [folder / f"client-{client}.safetensors" for client in clients]
            for client, path in zip(clients, paths, strict=True):
                write_checkpoint(path, self.client_weights(client), {"client": client, "run": run})
        except OSError as error:
            raise UsageError(
                "segments", folder, f"cannot be written ({error.strerror})", "give another folder"
            ) from error
        return paths
