"""Cut gradients that an attack infers labels from."""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.measures.label_leakage import LEAST
from sglr.privacy.target import Target


def attacked_gradients(target: Target, wanted: int) -> tuple[Tensor, Tensor]:
    """Return gradients ``[n, ...]`` of samples of the client's own, and the labels to infer ``[n]``.

    They are those that cross the network nearest to the labels: what a client sends up that keeps its labels, else the
    cut gradients that it gets.

    Parameters
    ----------
    target
        The client.
    wanted
        How many samples, drawn at random; all where it has fewer.

    Raises
    ------
    UsageError
        If there are fewer than 10.
    """
    if min(wanted, len(target.own)) < LEAST:
        name, count = ("samples", wanted) if wanted < LEAST else ("own", f"{len(target.own)} samples")
        raise UsageError(name, count, f"this attack needs {LEAST} samples", "give more samples")
    generator = torch.Generator().manual_seed(key(target.seed, "attacked samples"))
    samples = target.own.select(torch.randperm(len(target.own), generator=generator)[:wanted])
    reveal = target.feature_gradients or target.gradients
    return reveal(samples), samples.targets


def require_class(labels: Tensor, wanted: int) -> None:
    """Refuse a class that no sample has.

    Raises
    ------
    UsageError
        If there is none, naming the classes there are.
    """
    known = torch.unique(labels).tolist()
    if wanted not in known:
        raise UsageError("positive", wanted, "the client has no sample of this class", f"give one of {known}")
