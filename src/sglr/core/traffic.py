"""What a step and a merge send, as `Traffic` events."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from sglr.compression.codecs import Codec
from sglr.core.types import Average, Traffic, Uplink, Weights


def exchange_traffic(
    uplink: Uplink, averaged: Average | None, codec: Codec, features: tuple[int, ...] | None = None
) -> list[Traffic]:
    """Return what one step sends: smashed data and labels up, cut-layer gradients and their average down.

    Parameters
    ----------
    uplink
        What the clients sent.
    averaged
        The part of the answer that several clients share, if any.
    codec
        How values are written; S(L) is what it makes of a sample.
    features
        Where labels stay with the clients: the shape of one sample's features, which go down, with gradients by them
        that come up, both as they are.

    Returns
    -------
    list of Traffic
        Of a client with n samples: n·S(L) bytes up and n·S(L) down, which are counted as ``"average"`` for active
        clients and as ``"gradients"`` for the others; and its labels, or features and gradients by them.
    """
    sample, everyone = codec.bytes((1, *uplink.smashed.shape[2:])), range(len(uplink.sizes))
    sent = [_of_rows("smashed", uplink, everyone, sample, up=True)]
    if features is None:
        sent.append(_of_rows("labels", uplink, everyone, uplink.labels.element_size(), up=True))
    else:
        each = prod(features) * uplink.smashed.element_size()
        sent.append(_of_rows("features", uplink, everyone, each, up=False))
        sent.append(_of_rows("feature_gradients", uplink, everyone, each, up=True))
    active = frozenset(averaged.rows) if averaged else frozenset()
    if len(active) < len(uplink.sizes):
        own = [row for row in range(len(uplink.sizes)) if row not in active]
        sent.append(_of_rows("gradients", uplink, own, sample, up=False))
    if averaged:
        once = len(averaged.gradients) * sample
        sent.append(_of_rows("average", uplink, averaged.rows, sample, up=False, broadcast=once))
    return sent


def weights_traffic(weights: Weights, clients: tuple[int, ...], *, up: bool) -> Traffic:
    """Return what it takes to send ``weights`` ``[...]``, buffers included, from or to every one of ``clients``.

    On their way down they are the same for all, so that a broadcast would carry them once.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    each = np.full(len(clients), size, dtype=np.int64)
    return Traffic("weights", up, clients, each, broadcast=None if up else size)


def _of_rows(
    kind: str, uplink: Uplink, rows: Iterable[int], sample: int, *, up: bool, broadcast: int | None = None
) -> Traffic:
    chosen = tuple(rows)
    sizes = np.array([uplink.sizes[row] for row in chosen], dtype=np.int64)
    return Traffic(kind, up, tuple(uplink.clients[row] for row in chosen), sizes * sample, broadcast)
