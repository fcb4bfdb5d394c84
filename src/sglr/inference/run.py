"""A run with what one does with it once it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.runs import folder

if TYPE_CHECKING:
    from torch import nn

    from sglr.core.task import Task
    from sglr.inference.network import TrainedNetwork, Whose
    from sglr.inference.predictions import Predictions

__all__ = ["Run"]


@dataclass(frozen=True)
class Run(folder.Run):
    """A run folder, and the network that was trained in it."""

    def network(
        self,
        client: Whose | None = None,
        *,
        model: str | nn.Module | Callable[..., nn.Module] | None = None,
        task: str | Task | None = None,
        segment: str | Path | None = None,
    ) -> TrainedNetwork:
        """Return the trained network; see `sglr.inference.network.trained_network`."""
        from sglr.inference.network import trained_network

        return trained_network(self, client, model=model, task=task, segment=segment)

    def predict(self, data: Any, client: Whose | None = None, **options: Any) -> Predictions:
        """Return what the network predicts for new data.

        Parameters
        ----------
        data
            Inputs as an array, a DataFrame or a path, or any form of data that trains.
        client
            Whose lower layers answer: see `sglr.inference.network.trained_network`.
        options
            ``batch_size``, and how files are read, such as ``separator`` and ``id_column``.

        Raises
        ------
        UsageError
            If the run has no checkpoint, or the data don't fit the network.
        """
        from sglr.inference.predictions import predict

        return predict(self.network(client), data, **options)

    def evaluate(self, data: Any = None, client: Whose | None = None, **options: Any) -> dict[str, Any]:
        """Return the task's metrics on data with targets, as ``test`` in ``summary.json``; None: the run's test data.

        See `predict` for the parameters.
        """
        from sglr.inference.evaluate import evaluate

        return evaluate(self.network(client), data, **options)
