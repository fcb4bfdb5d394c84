"""Limits that server and clients share: how long a message, how many samples, and how large numbers may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sglr.compression.weight_deltas import DeltaCode
from sglr.core.codec import Codec
from sglr.core.task import Targets
from sglr.core.weights import Weights

ENVELOPE_BYTES = 256 * 1024 + 4096
"""Bytes of a message beside its tensors, at most."""

MOST_SAMPLES, MOST_HELD = 10**8, 10**6
"""Most samples to train on, and to score on, that a client may have."""

MOST_RMS = 1e4
"""Root mean square of smashed data, gradients or weights beyond which they are refused as exploding."""


def most_bytes(
    batch: int,
    written: Sequence[tuple[Codec, tuple[int, ...]]],
    features: tuple[int, ...] | None,
    targets: Targets,
    segment: Weights,
    delta_code: DeltaCode | None = None,
) -> int:
    """Return the length of the longest message: a batch or a chunk of samples, or the segment's weights.

    Parameters
    ----------
    batch
        Samples of the largest batch.
    written
        Of each cut, how smashed data are written, and the shape of one sample's.
    features
        Shape of one sample's features, where labels stay with the clients.
    targets
        Those of the run.
    segment
        The weights of the largest segment.
    delta_code
        How weights are written on their way to be merged; None where they are sent as they are.
    """
    sample = targets.bytes + max(4 * torch.Size(features or ()).numel(), *(_written_bytes(*one) for one in written))
    plain = sum(tensor.numel() * tensor.element_size() for tensor in segment.values())
    weights = plain + 8 if delta_code is None else max(plain + 8, delta_code.bytes(segment))
    largest = max((shape for _, shape in written), key=math.prod)
    return ENVELOPE_BYTES + max(batch * sample, weights, chunk(largest, targets) * sample)


def _written_bytes(codec: Codec, shape: tuple[int, ...]) -> int:
    """Return the bytes of one sample's smashed data or gradients: 4 a value, or more where a code takes more."""
    one = (1, *shape)
    return max(4 * math.prod(shape), codec.bytes(one), codec.of_gradients.bytes(one))


def chunk(cut_shape: tuple[int, ...], targets: Targets) -> int:
    """Return how many samples are scored in one message: as many as fit 1 MiB with their targets, 1 to 512."""
    sample = 4 * torch.Size(cut_shape).numel() + targets.bytes
    return max(1, min(512, (1 << 20) // max(1, sample)))


def most_predicted(cut_shape: tuple[int, ...], answer_shape: tuple[int, ...]) -> int:
    """Return how many samples may be asked about in one message: as many as fit 16 MiB, 1 to 512.

    Parameters
    ----------
    cut_shape, answer_shape
        Shapes of one sample's smashed data, and of what the server answers.
    """
    sample = 4 * max(torch.Size(cut_shape).numel(), torch.Size(answer_shape).numel())
    return max(1, min(512, (16 << 20) // max(1, sample)))


def most_norm(values: int) -> float:
    """Return the largest norm that a tensor of so many values may have."""
    return MOST_RMS * math.sqrt(max(1, values))
