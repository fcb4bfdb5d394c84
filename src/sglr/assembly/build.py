"""From settings to parts: only this room picks a method, model, data set, partitioner or engine by name."""

from __future__ import annotations

import logging
from functools import partial

import torch
from torch import nn

from sglr.adapters import Lora
from sglr.assembly.batching import batch_rule_of, check_least
from sglr.assembly.beside import codec_of, written_by
from sglr.assembly.checks import (
    check_accumulation,
    check_compile,
    check_defences,
    check_engine,
    check_head,
    check_label_prior,
    check_link,
    check_memory,
    check_mixing,
    check_pipelining,
    check_place,
    check_served,
    check_steps,
    check_tail,
)
from sglr.assembly.client_data import client_data, pooled
from sglr.assembly.client_spec import client_spec_of
from sglr.assembly.client_store import client_store_of
from sglr.assembly.clock import clock_of, fleet_of, work_of
from sglr.assembly.cut_checks import check_cuts, with_resolved_cuts
from sglr.assembly.label_prior import check_task, label_prior_of
from sglr.assembly.make_segments import make_segments
from sglr.assembly.merge_rule import merge_rule_of
from sglr.assembly.method import build_method
from sglr.assembly.monitor import monitored
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.segments import Segments
from sglr.assembly.several_inputs import check_inputs
from sglr.assembly.single_samples import least_batch
from sglr.assembly.stragglers import pace_of, straggler_rule_of
from sglr.assembly.task import build_task, check_classes
from sglr.compression.error_feedback import parse as parse_codec
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.merging.weight_sharing import WeightSharing
from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec, parse_schedule
from sglr.core.plan import TrainingPlan
from sglr.core.registry import ENGINES
from sglr.core.trainer import Trainer
from sglr.core.types import Extent
from sglr.core.weights import Weights, state_of
from sglr.data.augmentation import parse as parse_augmentation
from sglr.data.batches import Batching
from sglr.parties.defences import parse as parse_defences
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.privacy.accounting import check_accounted
from sglr.runs.config import Experiment
from sglr.stacking.precision import Precision
from sglr.stacking.stack import LOOPED, unstackable, why_not_stacked
from sglr.system.device import LOOKS_PER_STEP, pick_device

log = logging.getLogger(__name__)


def build(experiment: Experiment, given: PartOverrides | None = None) -> Training:
    """Build all parts, checking that they fit before any work is done.

    Raises
    ------
    UsageError
        If a setting, a file or a combination of settings is wrong.
    """
    given = given or PartOverrides()
    experiment = with_resolved_cuts(experiment)
    device = device_here(experiment)
    precision = Precision(experiment.precision, experiment.compile)
    precision.prepare(device)
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)
    method = build_method(experiment, given.method)
    optimizer = OptimizerSpec.parse(experiment.optimizer)
    values_codec = parse_codec(experiment.compression)
    Lora.parse(experiment.lora)
    check_engine(experiment)
    check_link(experiment)
    check_cuts(experiment, method)
    check_pipelining(experiment, method)
    check_tail(experiment, method)
    check_head(experiment, method)
    check_accumulation(experiment, method)
    check_compile(experiment, method)
    check_label_prior(experiment, method)
    batch_rule = batch_rule_of(experiment, method)
    stragglers = straggler_rule_of(experiment, method, batch_rule)
    rule = merge_rule_of(experiment, method)
    defences = parse_defences(experiment.defence, experiment.seed)
    augmentation = parse_augmentation(experiment.augment, experiment.seed)
    check_defences(experiment, method, defences)
    check_accounted(defences.named)
    data = client_data(experiment, given)
    check_place(experiment, given, data)
    fleet = fleet_of(experiment, pooled=method.pooled)
    task = build_task(experiment, data, given.task)
    check_classes(experiment, method, data.targets)
    check_task(experiment, task, data.targets)
    check_served(task, data, defences)
    segments = make_segments(experiment, data, task, given.model, method, defences, given.frozen)
    check_mixing(experiment, method, segments.crossing)
    check_inputs(experiment, segments, data.train.inputs)
    codec = codec_of(segments, values_codec, bounded=experiment.engine == "remote")
    if experiment.engine == "ray" and experiment.stacking in ("stacked", "matmul"):
        _stacks(experiment.stacking, segments.lower_of(0), torch.stack([segments.example] * 2), "the clients' segment")
    augmentation = augmentation.fitted(segments.example[0], data.targets)
    if method.pooled:
        data = pooled(data)
    least = least_batch(segments.needing_two(), experiment.batch_size, data.sizes)
    check_least(experiment, method, batch_rule, least)
    work = None if fleet is None else work_of(experiment, segments, data)
    pace = pace_of(fleet, work, codec, segments, data)
    batching = Batching(experiment.batch_size, experiment.short_clients, least, batch_rule, pace, stragglers)
    make_engine = given.engine or ENGINES.load(experiment.engine)
    plan = _plan(experiment, device, batching, monitored(experiment, task, data))
    check_memory(experiment, method, _extent(batching, segments, plan, data), device)
    label_prior = label_prior_of(experiment, method, task, data.targets)
    check_steps(method, plan, batching, data.sizes)
    store = client_store_of(experiment, method, segments, plan, len(data.indices), optimizer, device)
    client_spec = client_spec_of(
        experiment, segments, data, task, optimizer, device, precision, store, batching, augmentation, label_prior
    )
    engine = make_engine(client_spec if method.whole_model else written_by(client_spec, codec, segments))
    # Only where clients live in this process is there something to choose.
    choices: dict[str, str] = getattr(engine, "choices", {})
    spec = ServerSpec(
        segments.upper,
        optimizer,
        task,
        classes=_classes(data),
        clients=len(data.indices),
        label_prior=label_prior,
        clip_norm=experiment.clip_norm,
        copies=method.server_copies,
        stacked=method.server_copies
        and segments.cuts is None
        and choices.get("stacking", experiment.stacking) not in LOOPED
        and _stacks(
            experiment.stacking, segments.upper, torch.zeros(2, 2, *segments.cut_shape), "the server's segment"
        ),
        precision=precision,
        defences=segments.defences,
        ask=None if segments.tail is None else engine.answer,
        head=None if method.trains_head else segments.head,
        cuts=segments.cuts,
    )
    server = engine.make_server(partial(SplitServer, spec))
    shared, buffers = _shared(method, segments.ends()[-1].lower, device) if method.shares else ({}, set())
    sent_bytes = None if client_spec.delta_code is None else client_spec.delta_code.bytes
    sharing = WeightSharing(method, engine, server, shared, rule, buffers, segments.cuts, sent_bytes)
    trainer = Trainer(method, engine, server, plan, sharing, data.validation)
    return Training(
        trainer,
        data,
        method,
        task,
        segments.cut,
        device,
        segments.lower_of,
        segments.fresh,
        store,
        choices,
        segments.tail,
        segments.defences,
        segments.frozen,
        segments.adapted,
        clock_of(fleet, work, trainer, batching, segments.cut_shape, experiment.pipelining),
        segments.cuts,
    )


def _extent(batching: Batching, segments: Segments, plan: TrainingPlan, data: ClientData) -> Extent:
    clients, each = len(data.indices), torch.get_default_dtype().itemsize
    at_work = plan.at_work(clients)
    # Where a step's samples are shared out, some have more than others: in sum they have no more than this.
    longest = -(-batching.together(at_work) // at_work) + batching.least - 1
    return Extent(clients, at_work, longest, segments.cut_shape, _classes(data), each)


def _classes(data: ClientData) -> int:
    """Return how many classes samples have; 0 if none."""
    return len(data.classes) if data.targets.are_classes else 0


def _shared(method: Method, first: nn.Module, device: torch.device) -> tuple[Weights, set[str]]:
    """Return the weights and buffers that clients share in the beginning, and the names of the buffers."""
    shared = method.shared_of(state_of(first))
    return {name: tensor.to(device) for name, tensor in shared.items()}, {name for name, _ in first.named_buffers()}


def _stacks(wanted: str, segment: nn.Module, inputs: torch.Tensor, what: str) -> bool:
    """Say whether copies of a segment can run as one call, trying two on inputs ``[2, b, ...]``.

    Raises
    ------
    UsageError
        If they can't, and the setting asks for it.
    """
    reason = why_not_stacked(segment, inputs)
    if reason is not None and wanted != "auto":
        raise unstackable(wanted, what, reason)
    if reason is not None:
        log.warning("copies run one after another, because %s can't be stacked: %s", what, reason)
    return reason is None


def device_here(experiment: Experiment) -> torch.device:
    """Return where this process computes; with clients on a cluster it may lack the GPU that they have.

    Raises
    ------
    UsageError
        If there is no such device here.
    """
    elsewhere = experiment.engine == "ray" and experiment.device.startswith("cuda") and not torch.cuda.is_available()
    return pick_device("cpu" if elsewhere else experiment.device)


def _plan(
    experiment: Experiment, device: torch.device, batching: Batching, judged_by: tuple[str, bool]
) -> TrainingPlan:
    schedule, plateau = parse_schedule(experiment.schedule)
    if experiment.warmup > experiment.epochs:
        problem = f"is longer than the training (epochs = {experiment.epochs})"
        raise UsageError("warmup", experiment.warmup, problem, "give fewer epochs of warm-up")
    return TrainingPlan(
        epochs=experiment.epochs,
        rate=experiment.lr,
        server_rate=experiment.server_lr or experiment.lr,
        schedule=schedule,
        plateau=plateau,
        warmup=experiment.warmup,
        accumulate=experiment.accumulate,
        participation=experiment.participation,
        evaluate_every=experiment.eval_every,
        evaluate_clients=experiment.eval_clients,
        checkpoint_every=experiment.checkpoint_every,
        check_every=LOOKS_PER_STEP[device.type],
        fresh_optimizers=experiment.client_optimizer == "reset",
        least_batch=batching.least,
        batches=batching,
        seed=experiment.seed,
        monitor=judged_by[0],
        higher_is_better=judged_by[1],
        early_stopping=experiment.early_stopping,
    )
