"""Every cut of a model with its figures: from one pass where it can be traced, else cut by cut."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.cost.computation import segment_flops
from sglr.planner.cut_figures import Crosses, CutFigures, Leak
from sglr.planner.traced_cuts import figures_in_one_pass
from sglr.splitting import Split, crossing_of, cut_points, split
from sglr.splitting.graph import UntraceableError, trace_deep
from sglr.splitting.transformers import Transformer


def figures_of_cuts(
    model: nn.Module, example: Tensor, samples: Tensor | None = None, leak: Leak | None = None
) -> list[CutFigures]:
    """Return every cut of a model that leaves weights on both sides, in the order of execution.

    Parameters
    ----------
    model
        The model; it stays as it is.
    example
        Inputs ``[b, ...]``, b >= 2.
    samples, leak
        Inputs ``[n, ...]`` of which is told what leaks, and how; None for not.

    Raises
    ------
    UsageError
        If the model fails on its input.
    """
    twin = deepcopy(model).eval()
    if isinstance(twin, Transformer):
        return list(_one_by_one(twin, twin.cut_points(), example, samples, leak))
    try:
        traced = trace_deep(twin)
    except UntraceableError:
        return list(_one_by_one(twin, cut_points(twin, example), example, samples, leak))
    return list(figures_in_one_pass(traced, example, samples, leak))


def _one_by_one(
    model: nn.Module, layers: list[str], example: Tensor, samples: Tensor | None, leak: Leak | None
) -> Iterator[CutFigures]:
    """Cut a model that is not traced at each place, and run each lower part."""
    inputs, dtype = tuple(example.shape[1:]), example.dtype
    whole = segment_flops(model, inputs, dtype=dtype).forward
    for layer in layers:
        try:
            parts = split(model, layer, example)
        except UsageError:  # such as weights that both sides would train
            continue
        below, above = (sum(weight.numel() for weight in part.parameters()) for part in parts)
        if below and above:
            client = segment_flops(parts.lower, inputs, dtype=dtype)
            told = None if samples is None or leak is None else _leak_of(parts, samples, leak)
            crosses = values_that_cross(layer, parts, client.output_shape)
            yield CutFigures(layer, crosses, client.forward, whole - client.forward, below, above, told)


def values_that_cross(layer: str, parts: Split, shape: tuple[int, ...]) -> tuple[Crosses, ...]:
    """Return what crosses behind a layer, integers last; ``shape`` is that of one sample's smashed data."""
    crossing = crossing_of(parts.lower)
    if crossing is None:
        return (Crosses(layer, shape, "float32"),)
    values = [(each, True) for each in crossing.learned] + [(each, False) for each in crossing.beside]
    return tuple(
        Crosses(f"{layer}{each.name}", each.shape, str(each.dtype).removeprefix("torch."), learned)
        for each, learned in values
    )


def _leak_of(parts: Split, samples: Tensor, leak: Leak) -> float:
    with torch.random.fork_rng([]), torch.no_grad():
        sent, crossing = parts.lower.eval()(samples), crossing_of(parts.lower)
        return leak(samples, [sent if crossing is None else sent[:, : crossing.learned_size]])
