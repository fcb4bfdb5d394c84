"""A site's own targets, compared with those that a run states, and numbered as it numbers them."""

from __future__ import annotations

from dataclasses import replace

import torch

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError, listed
from sglr.core.task import Targets
from sglr.data.classes import refuse_unknown

SHOWN = 12
"""Names in a message."""


def with_targets(dataset: Dataset, wanted: Targets, source: str) -> Dataset:
    """Return a data set whose targets mean what those of the run do.

    Classes are found by their names, so that sites may number them otherwise, or lack some.

    Parameters
    ----------
    dataset
        What a site has.
    wanted
        The run's targets.
    source
        Where the site's data come from, for messages.

    Raises
    ------
    UsageError
        If a class is unknown, or the targets are of another kind or shape, or have other names.
    """
    own = dataset.targets
    if own == wanted:
        return dataset
    if own.are_classes and wanted.are_classes:
        return _renumbered(dataset, wanted, source)
    if (own.shape, own.classes) != (wanted.shape, wanted.classes):
        problem = f"its targets are {own.describe()}; those of the run are {wanted.describe()}"
        raise UsageError("data", source, problem, "bring data of that kind, or ask the operator which are meant")
    if own.names and wanted.names and own.names != wanted.names:
        problem = f"its targets are called {_listed(own)}; those of the run {_listed(wanted)}"
        raise UsageError("data", source, problem, "bring them in that order, with these names")
    return replace(dataset, targets=wanted, classes=())


def _renumbered(dataset: Dataset, wanted: Targets, source: str) -> Dataset:
    refuse_unknown(dataset.classes, wanted.names, source)
    numbers = torch.tensor([wanted.names.index(name) for name in dataset.classes])

    def renumbered(part: Samples) -> Samples:
        return replace(part, targets=numbers[part.targets])

    train, test, own = renumbered(dataset.train), renumbered(dataset.test), dataset.validation
    validation = renumbered(own) if isinstance(own, Samples) else own
    return replace(dataset, train=train, test=test, validation=validation, classes=wanted.names, targets=wanted)


def _listed(targets: Targets) -> str:
    return listed(targets.names, SHOWN)
