"""A run with what one does with it once it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.runs import folder
from sglr.system.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import nn

    from sglr.core.task import Task
    from sglr.inference.network import TrainedNetwork, Whose
    from sglr.inference.predictions import Predictions

__all__ = ["Run"]


OF_TRAINING = frozenset(
    {"amend", "append", "as_chosen", "keep_records", "record_choices", "record_data", "tidy", "write_summary"}
)
"""What only a training calls; a prompt doesn't offer it."""


@dataclass(frozen=True, repr=False)
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

    def to_frame(self) -> DataFrame:
        """Return the records of ``metrics.jsonl`` as a table, one row per epoch, which is the index.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        require("data", "run", self.path, "pandas")
        from pandas import DataFrame

        frame = DataFrame(self.history)
        return frame.set_index("epoch") if len(frame) else frame

    def plot(self) -> Figure:
        """Return a figure of the score and the loss over epochs, as in the report.

        Raises
        ------
        UsageError
            If no epoch is over yet.
        """
        from sglr.report.notebook import run_plot

        return run_plot(self)

    def __repr__(self) -> str:
        from sglr.report.notebook import run_line

        return run_line(self)

    def _repr_html_(self) -> str:
        from sglr.report.notebook import run_html

        return run_html(self)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_") and name not in OF_TRAINING]
