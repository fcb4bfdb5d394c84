"""Score a trained network on new samples: the task's metrics with their intervals, as in a run's summary."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from sglr.assembly.summary import test_figures
from sglr.core.errors import UsageError
from sglr.core.scores import Scores, added
from sglr.core.task import Sums
from sglr.data.new_samples import NewSamples
from sglr.inference.predictions import Network, check_batch_size
from sglr.parties.evaluation import add_parts
from sglr.report.evaluation import OWN

PARTS = 100
"""Parts of the samples whose sums are kept apart, for intervals."""


class Tested(Network, Protocol):
    """A network whose answers are scored."""

    @property
    def origin(self) -> str:
        """Where it is: the folder of its run, or the address of its server."""
        ...

    @property
    def epoch(self) -> int | None:
        """The epoch that its weights are of, counted from 1; None if that is not known."""
        ...

    @property
    def seed(self) -> int:
        """For the draws of intervals."""
        ...

    def own_test(self) -> NewSamples:
        """Return the test samples of its training."""
        ...


def evaluate(network: Tested, data: Any = None, batch_size: int | None = None, **options: Any) -> dict[str, Any]:
    """Return what a network's answers on new samples come to, as ``test`` in ``summary.json``.

    Parameters
    ----------
    network
        The trained network; with ``client="each"`` figures are means over clients, as in the summary.
    data
        The samples with their targets; see `sglr.data.read_new.read_new`. None for the run's own test samples.
    batch_size
        Samples at a time; by default as many as fit a processor's cache.
    options
        How files are read, such as ``separator``.

    Raises
    ------
    UsageError
        If the data can't be read, don't fit the network, or have no targets, or ``batch_size`` is below 1.
    """
    check_batch_size(batch_size)
    samples = network.own_test() if data is None else network.read(data, **options)
    if samples.targets is None:
        missing = next((note for note in samples.notes if "label" in note), "it has no targets")
        raise UsageError("data", _named(data), missing, "give data with targets; sglr predict needs none")
    scores = _scores(network, samples, batch_size)
    figures = test_figures(network.task, scores, network.targets, network.epoch, network.seed)
    if len(scores.loss) == 1:  # one network has no spread
        figures |= {f"{figures['headline']}_std_over_clients": None}
        figures["scores"] = {name: {**score, "std_over_clients": None} for name, score in figures["scores"].items()}
    about = {"run": network.origin, "data": _named(data), "samples": len(samples), "client": network.whose}
    return about | {"notes": list(samples.notes)} | figures


def _scores(network: Tested, samples: NewSamples, batch_size: int | None) -> Scores:
    assert samples.targets is not None
    task = network.task
    losses, first = torch.zeros(1, dtype=torch.float64), 0  # of each client that answers
    parts: list[list[Sums]] = [[] for _ in range(min(PARTS, len(samples)))]
    for outputs in network.batches(samples.inputs, batch_size):
        targets = samples.targets[first : first + outputs.shape[1]]
        wanted = targets.expand(len(outputs), *targets.shape)
        each = task.test_losses(outputs.flatten(0, 1), wanted.flatten(0, 1))
        losses = losses + torch.unflatten(each, 0, wanted.shape[:2]).sum(1)
        add_parts(task, parts, outputs, targets, first)
        first += len(targets)
    return Scores.of(task, losses / len(samples), [added(sums) for sums in parts if sums])


def _named(data: Any) -> str:
    if data is None:
        return OWN
    return str(data) if isinstance(data, str) or hasattr(data, "__fspath__") else type(data).__name__
