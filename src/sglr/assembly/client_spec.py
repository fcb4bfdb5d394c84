"""What an engine is made from: the clients of a training, with all that they need to train."""

from __future__ import annotations

import dataclasses

import torch

from sglr.assembly.segments import Segments
from sglr.assembly.weight_code import delta_code
from sglr.core.data import ClientData
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Task
from sglr.data.augmentation import AugmentationChain
from sglr.data.batches import Batching
from sglr.parties.client_loss import ClientLoss
from sglr.parties.decoder_loss import DecoderLoss
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.stacking.precision import Precision


def client_spec_of(
    experiment: Experiment,
    segments: Segments,
    data: ClientData,
    task: Task,
    optimizer: OptimizerSpec,
    device: torch.device,
    precision: Precision,
    store: str,
    batching: Batching,
    augmentation: AugmentationChain,
    label_prior: str,
) -> ClientSpec:
    """Return the clients of a training and what they need, made of its settings and of parts that fit each other."""
    loss = ClientLoss(task, label_prior != "ignore")
    return ClientSpec(
        segment=segments.lower_of,
        data=data,
        task=task,
        batch_size=experiment.batch_size,
        optimizer=optimizer,
        clip_norm=experiment.clip_norm,
        seed=experiment.seed,
        device=device,
        stacking=experiment.stacking,
        precision=precision,
        short_clients=experiment.short_clients,
        least_batch=batching.least,
        batch_rule=batching.rule,
        pace=batching.pace,
        stragglers=batching.stragglers,
        experiment=experiment,
        first_weights=segments.weights_of,
        clients_leave=store != "memory",
        defences=segments.defences,
        augmentation=augmentation,
        client_loss=None if segments.tail is None else loss,
        head_loss=dataclasses.replace(loss, weight=segments.method.head_weight) if segments.method.head else None,
        decoder_loss=DecoderLoss(segments.method.decoder_weight) if segments.method.decodes else None,
        own_share=segments.method.own_share,
        keeps_head=segments.method.keeps_head,
        ahead=experiment.pipelining,
        delay_compensation=experiment.delay_compensation,
        delta_code=delta_code(experiment, segments.method, lambda: segments.lower_of(0)),
    )
