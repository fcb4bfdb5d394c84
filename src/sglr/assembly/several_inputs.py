"""What samples with tokens or several inputs can't have, and a warning of one that crosses the cut as it is."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from sglr.assembly.segments import Segments
from sglr.core.data import Inputs
from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.nest import leaves_of

log = logging.getLogger(__name__)

LOOKED_AT = 16
"""Samples that are looked at."""


def check_inputs(experiment: Experiment, segments: Segments, inputs: Inputs) -> None:
    """Refuse what inputs can't have; warn of each of several of which the server sees every number as it is.

    Parameters
    ----------
    experiment, segments
        The training's.
    inputs
        Samples ``[N, L]``, of which a few are tried.

    Raises
    ------
    UsageError
        If several inputs are to be augmented, or tokens alone compared by their distances.
    """
    layout = segments.layout
    _check_compared(experiment, segments, inputs)
    if layout is None:
        return
    if experiment.augment != "none":
        problem = f"each sample has several inputs ({', '.join(layout.names)})"
        raise UsageError("augment", experiment.augment, problem, "leave it out")
    if segments.method.whole_model:
        return
    rows = inputs[: min(len(inputs), LOOKED_AT)] if len(inputs) else _made_up(layout, segments.example)
    with torch.no_grad(), torch.random.fork_rng([]):
        sent = segments.lower_of(0).eval()(rows)
    values = [sent] if segments.crossing is None else leaves_of(segments.crossing.unpack(sent))
    seen = set().union(*(_columns(each) for each in values if isinstance(each, Tensor) and len(each) == len(rows)))
    own = {name: _columns(each) for name, each in layout.unpack(rows).items()}
    for name, columns in own.items():
        if columns and columns <= seen:
            log.warning(
                "input %s crosses the cut as it is, and the server sees it: give it a layer of its own before it is"
                " joined with others, or cut behind the layer that joins them",
                name,
            )


def _check_compared(experiment: Experiment, segments: Segments, inputs: Inputs) -> None:
    """Refuse defences that compare inputs by distances where none has any."""
    if inputs.dtype.is_floating_point or (segments.layout is not None and segments.layout.quantities):
        return
    for name, part in segments.defences.named:
        if part.compares_inputs:
            problem = f"{name} compares inputs by their distances, and numbers of tokens have none"
            raise UsageError("defence", experiment.defence, problem, "leave it out, or add noise: --defence noise")


def _made_up(layout: InputLayout, example: Tensor) -> Tensor:
    return torch.cat([layout.drawn(2 * len(example), 0), layout.drawn(len(example), 1)])


def _columns(values: Tensor) -> set[bytes]:
    """Return the columns of values ``[b, ...]`` that are not the same for all samples."""
    rows = values.flatten(1).double().cpu() if values.dim() > 1 else values[:, None].double().cpu()
    return {column.numpy().tobytes() for column in rows.T if bool((column != column[0]).any())}
