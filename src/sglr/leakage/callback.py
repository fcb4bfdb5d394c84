"""Leakage measured while training: cheap measures on few samples after an epoch (``--leakage every=1``).

They show the course over epochs. None trains a network: the critic of InfoNCE is the closed form that it starts from,
and the decoder is the best linear one, so both give less than `sglr leak` finds afterwards. The training does not
change: weights are copied, and the measures have their own random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from sglr.assembly.parts import Training
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.core.spec import Option, Spec
from sglr.leakage.measure_clients import LABELS, PACKAGES, measured_samples, serves
from sglr.leakage.open_run import OpenedRun, drawn_clients
from sglr.privacy.measures.distance_correlation import distance_correlation
from sglr.privacy.measures.label_leakage import by_direction
from sglr.privacy.measures.linear_decoder import explained_share
from sglr.privacy.measures.mutual_information import LEAST, info_nce
from sglr.privacy.measures.samples import paired_rows
from sglr.privacy.target import Target, has_quantities
from sglr.runs.config import Experiment
from sglr.splitting.input_layout import InputLayout
from sglr.system.extras import require

LABELLED = 32
"""Samples whose gradients are taken, in batches as in training."""
PAIRED = 128
"""Samples whose distances are compared."""
COMPONENTS = 4
"""Principal components that mutual information is estimated from: with so few samples, more would be noise."""

OPTIONS = {
    "every": Option(Annotated[int, Field(ge=1)], "epochs between two measurements"),
    "clients": Option(Annotated[int, Field(ge=1)], "clients that are measured"),
    "samples": Option(Annotated[int, Field(ge=32)], "samples of each, 32 or more"),
}
"""What may be set, by key."""


@dataclass(frozen=True)
class LeakageCallback:
    """How often leakage is measured while training, and on what.

    Parameters
    ----------
    every
        Epochs between two measurements; the last epoch is always measured.
    clients
        Clients that are measured, drawn by the run's seed.
    samples
        Samples of each.
    """

    every: int = 1
    clients: int = 1
    samples: int = 256

    @classmethod
    def of(cls, experiment: Experiment) -> LeakageCallback | None:
        """Read the setting ``leakage``, such as ``every=2,samples=512``; None where it is empty.

        Raises
        ------
        UsageError
            If it can't be read, or smashed data or weights are not there to be measured.
        """
        text = experiment.leakage
        if not text:
            return None
        found = cls(**Spec.parse_options("leakage", text).options(OPTIONS))
        require("privacy", "leakage", text, *PACKAGES)
        if experiment.engine == "remote":
            problem = "clients' weights and data are on other machines"
            raise UsageError(
                "leakage", text, problem, "leave it out, or train with --engine local on data of the same kind"
            )
        if not experiment.method.startswith("<") and METHODS.load(experiment.method).whole_model:
            problem = f"clients of {experiment.method} hold the whole model and send no smashed data"
            raise UsageError("leakage", text, problem, "leave it out, or choose a method that splits the model")
        return found

    def check(self, built: Training) -> None:
        """Refuse texts without classes, of which nothing could be measured.

        Raises
        ------
        UsageError
            If no measure serves the task and its inputs.
        """
        labels = serves(LABELS).fit(built.task, built.data.targets.example())
        layout = InputLayout.of(built.data.encoding)
        if not labels and not has_quantities(built.data.train.inputs, layout):
            problem = f"no measure serves {type(built.task).__name__.lower()}: its inputs are numbers of tokens"
            raise UsageError("leakage", f"every={self.every}", problem, "leave it out")

    def due(self, epoch: int, epochs: int) -> bool:
        """Return whether leakage is measured after an epoch, counted from 1."""
        return epoch % self.every == 0 or epoch == epochs

    def measure(self, experiment: Experiment, built: Training) -> dict[str, float]:
        """Return the measures of the training as it stands, means over clients, as they go into ``metrics.jsonl``."""
        opened, seed = OpenedRun(experiment, built), experiment.seed
        devices = [built.device] if built.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            each = [
                watch_client(opened.target(client, "server", seed), self.samples)
                for client in drawn_clients(opened, self.clients, seed)
            ]
        return {f"leakage_{name}": value for name, value in _means(each).items()}


def watch_client(target: Target, samples: int) -> dict[str, float]:
    """Return the cheap measures of one client, without those that these samples do not allow."""
    drawn = measured_samples(target, samples)
    few = drawn.select(torch.arange(min(LABELLED, len(drawn))))
    inputs, half = drawn.tensor, len(drawn) // 2
    smashed = target.observed(inputs)
    found: dict[str, Callable[[], float]] = {}
    if serves(LABELS).fit(target.task, few.targets) and target.answered:
        found[LABELS] = lambda: by_direction(target.gradients(few), few.targets, seed=target.seed).accuracy.value
    if has_quantities(inputs, target.layout):  # numbers of tokens have no distances
        told_by = target.quantities(inputs)
        found |= {
            "distance_correlation": lambda: _distance(told_by[:PAIRED], smashed[:PAIRED]),
            "explained": lambda: explained_share(smashed[:half], told_by[:half], smashed[half:], told_by[half:]),
        }
        if len(drawn) >= LEAST:
            found["mutual_information"] = lambda: _bound(told_by, smashed, target.seed)
    told: dict[str, float] = {}
    for name, measure in found.items():
        try:
            told[name] = measure()
        except UsageError:  # samples of one class only, smashed data that are all the same
            continue
    return told


def _distance(inputs: Tensor, smashed: Tensor) -> float:
    return float(distance_correlation(*paired_rows(inputs, smashed, ("inputs", "smashed"), least=4), unbiased=True))


def _bound(inputs: Tensor, smashed: Tensor, seed: int) -> float:
    return info_nce(inputs, smashed, seed=seed, dimensions=COMPONENTS, steps=0).value


def watched_summary(callback: LeakageCallback, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the last measurement, for the summary."""
    looks = [record for record in history if any(name.startswith("leakage_") for name in record)]
    if not looks:
        return {}
    last = looks[-1]
    figures = {name.removeprefix("leakage_"): last[name] for name in last if name.startswith("leakage_")}
    return {"epoch": last["epoch"], "clients": callback.clients, "samples": callback.samples, **figures}


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(one[name] for one in each) for name in each[0] if all(name in one for one in each)}
