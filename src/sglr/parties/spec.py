"""What every engine needs to put clients to work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from sglr.compression.weight_deltas import DeltaCode
from sglr.core.codec import CodecByCut, Plain
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import ClientData
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Task
from sglr.core.weights import Weights
from sglr.data.augmentation import AugmentationChain
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.data.stragglers import Pace, StragglerRule
from sglr.parties.client_loss import ClientLoss
from sglr.parties.decoder_loss import DecoderLoss
from sglr.parties.defences import DefenceChain
from sglr.runs.config import Experiment
from sglr.stacking.precision import SINGLE_PRECISION, Precision


@dataclass(frozen=True)
class ClientSpec:
    """What every engine needs to put clients to work.

    Parameters
    ----------
    segment
        Gives a client's lower segment with its first weights, by client id.
    data
        The data, divided among clients.
    task
        What is learned.
    batch_size
        b, the samples that a client uses in one step.
    optimizer
        Every client's optimizer.
    clip_norm
        Largest norm of a client's gradient, or None.
    seed
        Seed of all random draws.
    device
        Where computation happens.
    stacking
        ``"auto"``, ``"stacked"``, ``"matmul"``, ``"looped"`` or ``"parallel"``, for engines that hold many clients in
        one process.
    short_clients
        What a client does whose data is over before the others': ``"wait"`` for the next epoch, or ``"cycle"``,
        beginning its data again.
    least_batch
        Fewest samples of a batch, as in `sglr.data.batches.Batching`.
    batch_rule
        How many samples each client has in a step.
    experiment
        The settings, for engines whose clients build their own parts, and for settings that only one engine has.
    codec
        How smashed data and cut-layer gradients are written.
    first_weights
        Gives a client's first weights and buffers, by client id, where that is faster than its segment.
    clients_leave
        True if only the clients at work are on the device, for engines that hold many clients in one process.
    precision
        In which precision passes are computed, and whether they are compiled.
    defences
        The clients' defences.
    client_loss
        How clients compute the loss, where labels stay with them and segments are two; None where the server does.
    head_loss
        How clients with a head compute its loss; None where they have none.
    decoder_loss
        How clients with a decoder compute its loss; None where they have none.
    augmentation
        How samples are changed at random before clients train on them.
    own_share
        The share of its own weights that a client keeps when it takes up merged ones.
    ahead
        Batches that clients run forward before the gradient of the first has come, beyond that one.
    delay_compensation
        λ by which gradients are corrected for that, as in `sglr.stacking.stale.compensated`.
    pace, stragglers
        As in `sglr.data.batches.Batching`.
    delta_code
        How clients' weights are written on their way to be merged; None sends them as they are.
    keeps_head
        Whether a client's head, or decoder, is its own, and not among the weights that clients share.
    cuts
        Which client is cut where; None where all are cut at one place.
    of_cuts
        What the clients of each cut need, then: their codec and their defences are of that cut.
    """

    segment: Callable[[int], nn.Module]
    data: ClientData
    task: Task
    batch_size: int
    optimizer: OptimizerSpec
    clip_norm: float | None
    seed: int
    device: torch.device
    stacking: str = "auto"
    short_clients: str = "wait"
    least_batch: int = 1
    batch_rule: BatchRule = field(default_factory=BatchRule)
    experiment: Experiment = field(default_factory=Experiment)
    codec: CodecByCut = field(default_factory=Plain)
    first_weights: Callable[[int], Weights] | None = None
    clients_leave: bool = False
    precision: Precision = SINGLE_PRECISION
    defences: DefenceChain = field(default_factory=DefenceChain)
    client_loss: ClientLoss | None = None
    head_loss: ClientLoss | None = None
    decoder_loss: DecoderLoss | None = None
    augmentation: AugmentationChain = field(default_factory=AugmentationChain)
    own_share: float = 0.0
    keeps_head: bool = False
    pace: Pace | None = None
    stragglers: StragglerRule = field(default_factory=StragglerRule)
    ahead: int = 0
    delay_compensation: float = 0.0
    delta_code: DeltaCode | None = None
    cuts: ClientCuts | None = None
    of_cuts: tuple[ClientSpec, ...] = ()

    @property
    def has_loss_beside(self) -> bool:
        """Whether clients add gradients of a loss of their own to those of the server: a decoder's, or a head's."""
        return self.decoder_loss is not None or (self.head_loss is not None and self.head_loss.weight < 1)

    @property
    def batching(self) -> Batching:
        """How clients cut their data into batches."""
        rule, late = self.batch_rule, self.stragglers
        return Batching(self.batch_size, self.short_clients, self.least_batch, rule, self.pace, late)
