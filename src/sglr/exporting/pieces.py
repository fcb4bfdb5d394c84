"""The parts of a trained network that become files: each client's segment, the server's, the tail, and all joined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sglr.compression.error_feedback import Received
from sglr.core.errors import UsageError, unknown
from sglr.exporting.codec_layer import codec_layer
from sglr.inference.network import MeanOfOutputs, TrainedNetwork
from sglr.splitting.input_layout import InputLayout

Segment = Literal["client", "server", "tail", "joined"]

SEGMENTS = ("all", *get_args(Segment))
"""What can be asked for."""


@dataclass(frozen=True)
class Piece:
    """One file to be.

    Parameters
    ----------
    name
        The file's name without its end.
    segment
        Which part of the network it is.
    client
        Whose layers it holds; None if the server's, all clients', or several clients' together.
    module
        What is exported, in evaluation mode.
    original
        What it has to equal.
    inputs
        What both are tried on, ``[N, ...]``.
    takes, gives
        What its inputs and outputs are, in words.
    lossy
        Whether values are rounded inside it, so that a rounding error before can grow to one of the codec.
    layout
        The several inputs that the file takes, of which ``inputs`` are rows; None for one.
    """

    name: str
    segment: Segment
    client: int | None
    module: nn.Module
    original: nn.Module
    inputs: Tensor
    takes: str
    gives: str
    lossy: bool = False
    layout: InputLayout | None = None

    def given(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what a file is given for inputs ``[b, ...]``: themselves, or the several that rows hold."""
        return (inputs,) if self.layout is None else tuple(self.layout.unpack(inputs).values())


def check_segment(segment: str) -> None:
    """Refuse what is no segment.

    Raises
    ------
    UsageError
        If it is none.
    """
    if segment not in SEGMENTS:
        raise unknown("segment", segment, SEGMENTS)


def pieces(network: TrainedNetwork, segment: str, inputs: Tensor) -> list[Piece]:
    """Return the parts that are asked for.

    Parameters
    ----------
    network
        The trained network.
    segment
        One of `SEGMENTS`.
    inputs
        Inputs of clients ``[N, ...]`` to try the parts on.

    Raises
    ------
    UsageError
        If the network has no such part.
    """
    whole, tailed = network.record.method.whole_model, network.record.tail is not None
    if segment == "tail" and not tailed:
        problem, remedy = "the run has no tail: the server holds the last layers", "export server, or all"
        raise UsageError("segment", segment, problem, remedy)
    if segment == "server" and whole:
        problem = "clients hold the whole model, and the server holds no layers"
        raise UsageError("segment", segment, problem, "export joined")
    parts = [] if whole else _of_segments(network, inputs, tailed)
    parts.append(_joined(network, inputs))
    wanted = "joined" if segment == "client" and whole else segment
    layout = InputLayout.of(network.record.encoding)
    parts = [replace(part, layout=layout) if part.takes == "data" else part for part in parts]
    return [part for part in parts if wanted in ("all", part.segment)]


def _joined(network: TrainedNetwork, inputs: Tensor) -> Piece:
    clients = tuple(nn.Sequential(lower, *_codec(network), upper, tail) for lower, upper, tail in network.segments)
    module = (clients[0] if len(clients) == 1 else MeanOfOutputs(clients)).eval()
    own = network.client if isinstance(network.client, int) else None
    return Piece(
        "joined", "joined", own, module, network.module(), inputs, "data", "answers", network.received is not None
    )


def _of_segments(network: TrainedNetwork, inputs: Tensor, tailed: bool) -> list[Piece]:
    """Return the parts of a network that is divided: clients' layers, the server's, and the tails."""
    lower, upper, _ = network.segments[0]
    original = upper if network.received is None else nn.Sequential(network.received, upper).eval()
    with torch.no_grad():
        smashed = lower(inputs)
        features = original(smashed)
    names = ("smashed data", "features" if tailed else "answers")
    module = nn.Sequential(*_codec(network), upper).eval()
    server = Piece("server", "server", None, module, original, smashed, *names)
    clients, tails = [], []
    for place, (own, _, tail) in enumerate(network.segments):
        several = len(network.segments) > 1
        client = place if several else network.client if isinstance(network.client, int) else None
        end = f"-{client}" if several else ""
        clients.append(Piece(f"client{end}", "client", client, own, own, inputs, "data", names[0]))
        if tailed:
            tails.append(Piece(f"tail{end}", "tail", client, tail, tail, features, names[1], "answers"))
    return [*clients, server, *tails]


def _codec(network: TrainedNetwork) -> list[nn.Module]:
    return [codec_layer(network.received.codec)] if isinstance(network.received, Received) else []
