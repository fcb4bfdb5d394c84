"""Warnings about settings that failed in measurements, each with its remedy and the page that shows the measurement.

Label skew is measured on the clients' data: a partition's name says nothing about data that came divided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import ClientData
from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec
from sglr.core.split_lr import split_lr
from sglr.data.class_counts import classes_per_client
from sglr.runs.config import Experiment

SKEWED = 0.5
"""Label skew at which methods without a remedy failed: Dirichlet 0.1 has 0.5 to 0.6, two shards each 0.65 to 0.75."""

FAST = 0.06
"""The server's rate above which Adam collapsed: 0.058 trained (15 clients, α = 1.5), 0.064 did not (8, α = 2)."""

FEW = 400
"""Samples per client up to which client segments that start independently were measured to lose."""

LOOKED_AT = 1000
"""The labels of so many clients, the first ones, are counted."""


def cautions(experiment: Experiment, method: Method, data: ClientData) -> list[str]:
    """Return a warning for each thing that is known to fail with these settings and data.

    Parameters
    ----------
    experiment
        The settings.
    method
        The method; it may be an object that the settings don't name.
    data
        The clients' data; empty if they are at other sites, and then not looked at.
    """
    found = [_server_too_fast(experiment, method), _never_aligned(experiment, method)]
    if len(data.train):
        found += [_skewed(experiment, method, data), _started_apart(experiment, method, data)]
    return [line for line in found if line]


def label_skew(counts: NDArray[np.int64]) -> float:
    """Return how much clients' label distributions differ from the pooled one: 0 as by chance, near 1 a class each.

    The mean over clients, weighted by their samples, of the total variation distance ½ Σ_c |p_i(c) − p(c)|, less what
    a client of that size would have by chance, ½ Σ_c √(2 p(c) (1 − p(c)) / (π n_i)).

    Parameters
    ----------
    counts
        Samples of every class that each client has, ``[clients, classes]``.
    """
    sizes = counts.sum(axis=1, keepdims=True)
    counts, sizes = counts[sizes[:, 0] > 0], sizes[sizes[:, 0] > 0]
    pooled = counts.sum(axis=0) / counts.sum()
    apart = np.abs(counts / sizes - pooled).sum(axis=1) / 2
    by_chance = np.sqrt(2 * pooled * (1 - pooled) / (np.pi * sizes)).sum(axis=1) / 2
    return max(0.0, float(np.average(apart - by_chance, weights=sizes[:, 0])))


def _keeps_segments(method: Method) -> bool:
    """Say whether every client trains a segment of its own from the beginning to the end."""
    return not (method.shares or method.whole_model or method.pooled)


def _drifts_apart(method: Method) -> bool:
    """Say whether parts of the model learn from one client's labels alone, for an epoch or throughout.

    Where all clients back-propagate the same average (φ = 1, by position), their segments move alike.
    """
    alone = method.whole_model or method.server_copies
    return not method.pooled and (alone or (_keeps_segments(method) and method.mixed_share < 1))


def _skewed(experiment: Experiment, method: Method, data: ClientData) -> str:
    skew = 0.0 if method.pooled or not data.classes else label_skew(classes_per_client(data, LOOKED_AT))
    drifts = _drifts_apart(method)
    harms = experiment.label_prior == ("ignore" if drifts else "own")
    if skew < SKEWED or not harms or not (drifts or method.shares):
        return ""
    name = experiment.method
    if drifts:
        return (
            f"labels differ much between clients (skew {skew:.2f} of 1), which costs {name} accuracy; "
            "give --method sglr2 or sfl, or --label-prior own (docs/results/non-iid.md)"
        )
    return (
        f"label_prior = own cost methods such as {name} 3 to 12 points on digits with labels as different as here; "
        "compare it with --label-prior ignore (docs/results/non-iid.md)"
    )


def _server_too_fast(experiment: Experiment, method: Method) -> str:
    if OptimizerSpec.parse(experiment.optimizer).name != "adam":
        return ""
    alpha = float(getattr(method, "alpha", 0.0))
    present = max(1, round(experiment.participation * experiment.clients))
    base = experiment.server_lr or experiment.lr
    rate = base * split_lr((1,) * present, alpha)
    if rate <= FAST or alpha == 0:
        return ""
    return (
        f"SplitLr makes the server's rate {base:g} × {present}^{alpha:g} = {rate:.2g}, and Adam's training collapsed "
        f"above {FAST:g}; give a smaller --alpha or --server-lr (docs/results/paper.md, Table 1)"
    )


def _never_aligned(experiment: Experiment, method: Method) -> str:
    every = int(getattr(method, "align_every", 0))
    if every < experiment.epochs:
        return ""
    return (
        f"no head is aligned in {experiment.epochs} epochs (align_every = {every}), so that clients follow heads that "
        "nobody has trained; give a smaller --align-every (docs/methods/fsl-sage.md)"
    )


def _started_apart(experiment: Experiment, method: Method, data: ClientData) -> str:
    mean = sum(data.sizes) / len(data.sizes)
    if experiment.init != "independent" or len(data.sizes) == 1 or not _keeps_segments(method) or mean > FEW:
        return ""
    return (
        f"client segments start from weights of their own, which costs accuracy with {mean:.0f} samples for each; "
        "give --init common (docs/results/defaults.md)"
    )
