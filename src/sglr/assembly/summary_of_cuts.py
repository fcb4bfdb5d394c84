"""What a summary tells of each cut, where clients are cut at several places."""

from __future__ import annotations

from typing import Any

from torch import nn

from sglr.assembly.parts import Training
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import Inputs
from sglr.core.weights import trained_of
from sglr.cost.computation import segment_flops
from sglr.splitting import parts_of


def lowers(built: Training, cuts: ClientCuts) -> list[nn.Module]:
    """Return what a client of each cut holds, from the first."""
    return [built.lower(client) for client in cuts.first_clients]


def cut_figures(built: Training, cuts: ClientCuts) -> list[dict[str, Any]]:
    """Return of each cut, from the first: its clients, and what one of them holds, computes forward and sends.

    Bytes are those of one sample's smashed data as they are sent, after compression.
    """
    codec, inputs, found = built.trainer.engine.codec, built.data.train.inputs, []
    for place, (name, own) in enumerate(zip(cuts.names, lowers(built, cuts), strict=True)):
        lower, _ = parts_of(own)
        found.append(
            {
                "cut": name,
                "clients": [client for client, its in enumerate(cuts.places) if its == place],
                "weights": sum(weight.numel() for weight in trained_of(own).values()),
                "client_flops_per_sample": _flops(lower, inputs),
                "bytes_per_sample": codec.of_cut(place).bytes((1, *cuts.shapes[place])),
            }
        )
    return found


def _flops(lower: nn.Module, inputs: Inputs) -> float | None:
    """Return a sample's operations forward; None if they can't be counted."""
    try:
        return segment_flops(lower, tuple(inputs.shape[1:]), dtype=inputs.dtype).forward
    except Exception:  # a user's model may raise anything; the computation's figures say what
        return None
