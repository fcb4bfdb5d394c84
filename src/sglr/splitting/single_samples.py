"""Find segments that can't train on a single sample, because they normalise by batch."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from sglr.splitting.u_shape import Thirds


def needing_two(segments: Thirds, example: Tensor) -> tuple[str, ...]:
    """Name the segments that train on two samples and not on one, as BatchNorm over vectors or 1 × 1 maps does.

    Copies run in training mode, so that custom layers are found too. Neither the segments nor
    the random generators are changed.

    Parameters
    ----------
    segments
        All segments of a model.
    example
        Inputs ``[b, ...]``, b ≥ 2.
    """
    names = ("the client's segment", "the server's segment", "the client's tail")
    found = []
    inputs = example[:2]
    with torch.no_grad(), torch.random.fork_rng([]):
        for name, segment in zip(names, segments, strict=True):
            outputs = _trained_on(segment, inputs)
            if outputs is None:
                break  # it does not run at all; another check reports that
            if _trained_on(segment, inputs[:1]) is None:
                found.append(name)
            inputs = outputs
    return tuple(found)


def _trained_on(segment: nn.Module, inputs: Tensor) -> Tensor | None:
    """Return a copy's output for a batch in training mode; None if it fails or is not finite."""
    try:
        outputs: Tensor = deepcopy(segment).train()(inputs)
    except Exception:  # a custom layer may raise anything
        return None
    return outputs if bool(torch.isfinite(outputs).all()) else None
