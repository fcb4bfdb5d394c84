"""The two segments of a cut model, and a trial run of them before training."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.model import FOR_TOKENS


class Split(NamedTuple):
    """The two segments of a model: ``upper(lower(x))`` is the model's output for ``x``.

    Parameters
    ----------
    lower
        The client's segment w_c, up to the cut layer L_c: inputs [b, ...] to smashed data [b, ...].
    upper
        The server's segment w_s: smashed data to the model's output.
    """

    lower: nn.Module
    upper: nn.Module


def check_segments(
    segments: Split, example: Tensor, output_shape: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Run two samples through copies of both segments, forward and backward, and return the shapes of their outputs.

    Neither the segments nor the random generators are changed.

    Parameters
    ----------
    segments
        The segments that ``split`` returned.
    example
        Inputs [b, ...] of the client, b >= 2.
    output_shape
        Shape that the output for one sample must have; None for any.

    Returns
    -------
    tuple
        Shape of one sample's smashed data, and shape of one sample's output.

    Raises
    ------
    UsageError
        If a segment fails on its input, or returns a wrong shape.
    """
    inputs = example[:2]
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        smashed = _ran(deepcopy(segments.lower), inputs, "cut", "the client's segment", "one input")
        require_fitting(smashed, len(inputs))
        arrived = smashed.detach().requires_grad_()
        output = _ran(deepcopy(segments.upper), arrived, "model", "the server's segment", "one sample of smashed data")
        require_output(output, len(inputs))
    _require_shape(output, output_shape)
    return tuple(smashed.shape[1:]), tuple(output.shape[1:])


def tried(segment: nn.Module, inputs: Tensor, field: str, name: str, what: str, *, copied: bool = True) -> Any:
    """Return what a copy of a segment makes of ``inputs``; no random generator moves.

    Raises
    ------
    UsageError
        If it fails.
    """
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        return _ran(deepcopy(segment) if copied else segment, inputs, field, name, what)


def require_fitting(smashed: object, batch: int) -> None:
    """Refuse what can't cross a cut as it is: anything but one tensor of real numbers, the batch first.

    Raises
    ------
    UsageError
        If it can't.
    """
    _require_batch(smashed, batch, "cut", "the client's segment")
    assert isinstance(smashed, Tensor), "required above"
    _require_real(smashed, "cut", "what crosses the cut", "cut behind a layer that returns real numbers")


def require_output(output: object, batch: int) -> None:
    """Refuse what is no model's output: anything but one tensor of real numbers, the batch first.

    Raises
    ------
    UsageError
        If it is none.
    """
    _require_batch(output, batch, "model", "the server's segment")
    assert isinstance(output, Tensor), "required above"
    _require_real(output, "model", "the model's output", "end the model with a linear layer")


def _ran(segment: nn.Module, inputs: Tensor, field: str, name: str, what: str) -> Any:
    try:
        output = segment(inputs)
    except UsageError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        problem = f"{name} does not take {what} of shape {list(inputs.shape[1:])} ({said})"
        remedy = "build the model for this shape of input" if field == "cut" else "cut elsewhere"
        if not inputs.is_floating_point():
            remedy = f"for tokens, use {FOR_TOKENS}; give other whole numbers as floats"
        raise UsageError(field, type(getattr(segment, "segment", segment)).__name__, problem, remedy) from error
    return output


def _require_batch(output: object, batch: int, field: str, name: str) -> None:
    if not isinstance(output, Tensor):
        problem = f"{name} returns a {type(output).__name__}, not one tensor"
        raise UsageError(field, name, problem, "cut where a single tensor crosses")
    if output.dim() == 0 or len(output) != batch:
        problem = f"its output for {batch} inputs has shape {list(output.shape)}"
        raise UsageError(field, name, problem, f"keep the batch as first dimension, here {batch}")


def _require_real(tensor: Tensor, field: str, what: str, remedy: str) -> None:
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UsageError(field, kind, f"{what} is {kind}, through which no gradient can be sent", remedy)


def _require_shape(output: Tensor, wanted: tuple[int, ...] | None) -> None:
    shape = list(output.shape)
    if wanted is None or tuple(shape[1:]) == wanted:
        return
    problem = f"its output has shape {shape}, not {[shape[0], *wanted]}"
    remedy = "end the model with a linear layer with one score per class"
    if len(wanted) > 1:
        remedy = "give a model whose output has this shape; sglr has fcn for masks and transformer for texts"
    raise UsageError("model", f"output {shape}", problem, remedy)
