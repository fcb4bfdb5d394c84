"""Try whether the parts of a traced model give the whole model's output, which the trace alone does not ensure.

To torch.fx ``x += 1`` makes a new value, and what a layer does to its inputs inside is not seen. Where others read what
is changed so, the parts would be another network.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.check import Split
from sglr.splitting.fit import varied
from sglr.splitting.nest import Nest, leaves_of

TOLERANCE = 1e-3
"""How far outputs may be apart, relative to the largest value: kernels may round otherwise in a part."""


def require_same_output(module: nn.Module, segments: Split, at: int | str, example: Tensor) -> None:
    """Refuse segments that are another network than the model in evaluation mode.

    Parameters
    ----------
    module
        The whole model; it stays as it is.
    segments
        Raw ones, which are run and so may change. If they fail on the example, others tell why.
    at
        Where the model was cut.
    example
        Inputs ``[b, ...]``, b >= 2.

    Raises
    ------
    UsageError
        If outputs differ, unless the model draws random numbers in evaluation mode.
    """
    inputs = varied(module, example[:2])
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            wanted = _ran(module, inputs, 0)
            same = _close(_ran_parts(segments, inputs), wanted) or not _close(_ran(module, inputs, 1), wanted)
        except Exception:  # a model may raise anything, which is explained where it is fitted
            return
    if not same:
        problem = "the parts would not give the model's output: it changes a value in place that other layers read"
        raise UsageError("cut", at, problem, "make a new value instead, such as x = x + y for x += y, or cut elsewhere")


def _ran(module: nn.Module, inputs: Tensor, seed: int) -> Any:
    whole = deepcopy(module).eval()
    torch.default_generator.manual_seed(seed)
    return whole(inputs.clone())


def _ran_parts(segments: Split, inputs: Tensor) -> Any:
    torch.default_generator.manual_seed(0)
    arrived = segments.lower.eval()(inputs.clone())
    # What crosses are copies, of which none changes another.
    copies = [each.clone() if isinstance(each, Tensor) else each for each in leaves_of(arrived)]
    return segments.upper.eval()(Nest.of(arrived).filled(iter(copies)))


def _close(one: Any, other: Any) -> bool:
    if Nest.of(one) != Nest.of(other):
        return False
    return all(map(_near, leaves_of(one), leaves_of(other)))


def _near(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return not isinstance(one, Tensor) and bool(one == other)
    if torch.equal(one, other) or not one.numel():
        return True
    most = TOLERANCE * float(other.abs().max())
    return torch.allclose(one, other, rtol=0, atol=most, equal_nan=True)
