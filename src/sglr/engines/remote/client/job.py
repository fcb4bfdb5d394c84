"""What a client trains, and on which samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from sglr.compression.weight_deltas import DeltaCode
from sglr.core.codec import Codec, Plain
from sglr.core.data import Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets, Task
from sglr.data.augmentation import AugmentationChain
from sglr.data.batches import Batching
from sglr.parties.defences import DefenceChain


@dataclass(frozen=True)
class Job:
    """What a client trains, and on which samples.

    Parameters
    ----------
    client
        Its number.
    segment
        Its lower segment, with its first weights.
    train
        Its own samples.
    held
        Samples of its own to score on, by name: ``"validation"`` and ``"test"``; either may be missing.
    task
        What it learns.
    targets
        What its targets are.
    batching, optimizer, clip_norm, seed, label_prior
        As in `sglr.parties.spec.ClientSpec` and `sglr.parties.server.Server`.
    codec
        How smashed data go over the wire.
    device
        Where it computes.
    ahead
        Batches that it runs forward before the gradient of the first has come, beyond that one.
    delay_compensation
        λ by which gradients are corrected for that, as in `sglr.stacking.stale.compensated`.
    round_of
        Gives an epoch's round, where it begins every round with a fresh optimizer; None where it keeps the one it has.
    defences
        Its defences, whose layers are in ``segment`` already.
    accumulate
        Steps of which it takes the mean gradient for one update, where it trains alone.
    whole_model
        True if ``segment`` is the whole model: it trains alone, and sends no smashed data.
    keep_labels
        True if labels must not leave this client: it scores its held-out samples itself.
    augmentation
        How samples are changed at random before it trains on them.
    delta_code
        How its weights are written on their way to be merged; None sends them as they are.
    own_share, head_weight, keeps_head
        As in `sglr.core.method.Method`.
    largest_cut
        Shape of one sample's smashed data at the largest cut of the run, by which held-out samples are cut into
        messages; None for its own.
    decoder_weight
        The weight of its decoder's loss; None if it has no decoder.
    """

    client: int
    segment: nn.Module
    train: Samples
    held: dict[str, Samples]
    task: Task
    targets: Targets
    batching: Batching
    optimizer: OptimizerSpec
    clip_norm: float | None = None
    seed: int = 0
    label_prior: str = "ignore"
    codec: Codec = field(default_factory=Plain)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ahead: int = 0
    round_of: Callable[[int], int] | None = None
    defences: DefenceChain = field(default_factory=DefenceChain)
    accumulate: int = 1
    whole_model: bool = False
    keep_labels: bool = False
    augmentation: AugmentationChain = field(default_factory=AugmentationChain)
    own_share: float = 0.0
    head_weight: float = 1.0
    keeps_head: bool = False
    decoder_weight: float | None = None
    delay_compensation: float = 0.0
    largest_cut: tuple[int, ...] | None = None
    delta_code: DeltaCode | None = None
