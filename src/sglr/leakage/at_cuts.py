"""Every cut of the model that settings name, with its figures, and with what of real inputs is in what crosses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sglr.assembly.client_data import load
from sglr.assembly.task import named_task
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.task import Targets
from sglr.planner.cut_figures import CutFigures, Link
from sglr.planner.cuts import example_for
from sglr.planner.figures_of_cuts import figures_of_cuts
from sglr.privacy.measures.distance_correlation import distance_correlation
from sglr.privacy.target import has_quantities
from sglr.runs.config import Experiment
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.model_checks import given_shapes
from sglr.splitting.several_inputs import taking_rows

LEAST = 8
"""Fewest samples whose distances say anything."""


@dataclass(frozen=True)
class CutTable:
    """Every cut of a model.

    Parameters
    ----------
    model
        Its name.
    input_shape
        Of one input.
    batch
        Samples of a step.
    link
        The link that cuts are compared for.
    cuts
        In the order of execution.
    samples
        How many samples it was measured on what leaks; 0 for none.
    own
        The model's own cut; None if it has none.
    tokens
        Whether all inputs are tokens, so that it can't be measured what leaks.
    """

    model: str
    input_shape: tuple[int, ...]
    batch: int
    link: Link
    cuts: Sequence[CutFigures]
    samples: int
    own: str | None
    tokens: bool = False

    @property
    def cheapest(self) -> CutFigures:
        """The cut with which a step takes least time."""
        return min(self.cuts, key=lambda cut: self.link.seconds(cut, self.batch))

    @property
    def most_private(self) -> CutFigures | None:
        """The cut behind which least of the inputs is left; None where that was not measured."""
        known = [cut for cut in self.cuts if cut.leak is not None]
        return min(known, key=lambda cut: cut.leak or 0.0) if known else None

    def record(self) -> dict[str, Any]:
        """Return the table as JSON; a step's time is in seconds, operations are of one sample forward."""
        private = self.most_private
        return {
            "model": self.model,
            "input_shape": [*self.input_shape],
            "batch_size": self.batch,
            "samples": self.samples,
            "own_cut": self.own,
            "cheapest": self.cheapest.layer,
            "leaks_least": None if private is None else private.layer,
            "cuts": [{**cut.record(), "step_seconds": self.link.seconds(cut, self.batch)} for cut in self.cuts],
        }


def table_of(experiment: Experiment, link: Link, input_shape: tuple[int, ...] | None, samples: int) -> CutTable:
    """Return every cut of the model that the settings name.

    Parameters
    ----------
    experiment
        The settings: model, data set, task, batch size, seed.
    link
        The link that cuts are compared for.
    input_shape
        Of one input, in place of the data set's, which is not read then.
    samples
        How many training samples to measure on what leaks; 0 for none.

    Raises
    ------
    UsageError
        If model and data don't fit, or the model has no cut with weights on both sides.
    """
    if 0 < samples < LEAST:
        raise UsageError("samples", samples, "are too few to compare", f"give {LEAST} or more, or 0 for not")
    known = _known(experiment, samples) if input_shape is None else None
    targets = Targets.of_classes(tuple(map(str, range(10)))) if known is None else known[1]
    shape = input_shape or tuple(known[0].shape[1:] if known else ())
    layout = None if known is None else known[2]
    task = named_task(experiment)
    with torch.random.fork_rng([]):
        torch.manual_seed(experiment.seed)
        model = build_model(
            experiment.model,
            shape if layout is None else layout.shapes,
            task.outputs(targets),
            pretrained=experiment.pretrained,
            weights=experiment.weights,
            output_shape=task.output_shape(targets),
        )
        example = known[0][:2] if known is not None else example_for(model, shape)
        model = given_shapes(taking_rows(model, layout), example)
    inputs = known[0] if known is not None and samples and has_quantities(known[0], layout) else None
    cuts = figures_of_cuts(model, example, inputs, partial(_left, layout) if inputs is not None else None)
    if not cuts:
        problem = "no layer can be cut behind with weights on both sides"
        raise UsageError(
            "model", experiment.model, problem, "give a model of several layers that run one after another"
        )
    own = getattr(model, "default_cut", None)
    count = 0 if inputs is None else len(inputs)
    tokens = known is not None and not has_quantities(known[0], layout)
    return CutTable(experiment.model, shape, experiment.batch_size, link, cuts, count, own, tokens)


def _known(experiment: Experiment, samples: int) -> tuple[Tensor, Targets, InputLayout | None]:
    dataset = load(experiment)
    inputs = dataset.train.inputs
    if len(inputs) < max(samples, 2):
        samples = len(inputs)
    # Spread over all, as data may be sorted by class.
    rows = torch.linspace(0, len(inputs) - 1, max(samples, 2)).long()
    return inputs[rows], dataset.targets, InputLayout.of(dataset.encoding)


def _left(layout: InputLayout | None, inputs: Tensor, values: list[Tensor]) -> float:
    """Return the distance correlation of inputs without tokens and all that crosses, in its unbiased form."""
    crossing = torch.cat([value.flatten(1) for value in values], 1)
    told = inputs if layout is None else layout.of_quantities(inputs)
    return float(distance_correlation(told.float().flatten(1), crossing, unbiased=True))
