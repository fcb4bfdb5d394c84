"""A client of a run whose server is elsewhere: enrol, build what was agreed on from code of one's own, take part.

Settings come over the wire as plain values. They never choose code: a model must be registered or the one that this
site names itself, and data are this site's own choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sglr.build import build_method, client_segments, load, pick_device
from sglr.config import Experiment
from sglr.core.codecs import Plain
from sglr.core.compression import parse
from sglr.core.data import ClientData
from sglr.core.errors import SglrError, UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.registry import MODELS, PARTITIONERS
from sglr.data.federate import federate
from sglr.engines.remote.agreement import Agreement, segment_hash, shape_at_cut
from sglr.engines.remote.client import Client, Post
from sglr.engines.remote.snapshots import Snapshots
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.worker import Task, Worker


@dataclass(frozen=True)
class Own:
    """What a site decides for itself.

    Parameters
    ----------
    dataset
        Its data.
    data_dir
        Where data files lie.
    model
        ``package.module:function`` of its own code, if the run's model is that; else the run's name is looked up
        among registered models.
    device, threads
        What it computes with.
    """

    dataset: str
    data_dir: Path | None = None
    model: str | None = None
    device: str = "auto"
    threads: int | None = None


def take_part(
    address: str,
    identities: Sequence[tuple[Identity, Path]],
    own: Own,
    *,
    patience: float = 3600.0,
    say: Callable[[str], None] = print,
    leave: Callable[[Callable[[], None]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Take part in a run until it is over.

    Parameters
    ----------
    address
        The server's.
    identities
        Who takes part, each with the folder of its snapshots.
    own
        What this site decides.
    patience
        Seconds without the server until it gives up.
    say
        Told what a person should know.
    leave
        Given a function that lets all leave.

    Returns
    -------
    list of dict
        What the server told each at the end; empty for one that left.
    """
    agreement = ask_agreement(address, identities[0][0])
    workers = make_workers(agreement, [identity.client for identity, _ in identities], own)
    return asyncio.run(_train(address, identities, agreement, workers, patience, say, leave))


async def _train(
    address: str,
    identities: Sequence[tuple[Identity, Path]],
    agreement: Agreement,
    workers: Sequence[Worker],
    patience: float,
    say: Callable[[str], None],
    leave: Callable[[Callable[[], None]], None],
) -> list[dict[str, Any]]:
    keep = int(agreement.settings.get("keep_checkpoints", 3)) + 1
    with ThreadPoolExecutor(1, thread_name_prefix="sglr-computing") as computing:
        clients = []
        for (identity, folder), worker in zip(identities, workers, strict=True):
            snapshots = Snapshots(folder / "snapshots", agreement.run, keep)
            newest = snapshots.newest()
            if newest is not None:
                worker.restore(newest)
            segment = segment_hash(worker.task.segment, agreement.input_shape, agreement.cut_shape)
            post = Post(identity, address, agreement, segment, worker, snapshots, say)
            clients.append(Client(post, computing, patience))
        loop = asyncio.get_running_loop()

        def leave_all() -> None:
            for client in clients:
                loop.call_soon_threadsafe(client.leaving.set)

        leave(leave_all)
        return list(await asyncio.gather(*(client.run() for client in clients)))


def ask_agreement(address: str, identity: Identity, timeout: float = 30.0) -> Agreement:
    """Ask the server what the run is.

    Raises
    ------
    SglrError
        If it can't be reached, turns this client away, or speaks another version.
    """
    import grpc

    with identity.sync_channel(address) as channel:
        ask = channel.unary_unary("/sglr.Split/Agreement")
        try:
            answer: bytes = ask(b"", timeout=timeout, wait_for_ready=False)
        except grpc.RpcError as error:
            raise identity.diagnose(address) from error
    return Agreement.decode(answer)


def make_workers(agreement: Agreement, clients: Sequence[int], own: Own) -> list[Worker]:
    """Build the clients of this process from the agreement, with code and data of this site.

    Raises
    ------
    UsageError
        If the run wants code that this site did not choose, or its data do not fit.
    """
    if own.threads is not None:
        torch.set_num_threads(own.threads)
    experiment = _experiment(agreement, own)
    data = _divide(experiment)
    build = client_segments(experiment, data)
    first = build(clients[0])
    cut = shape_at_cut(first, agreement.input_shape)
    if segment_hash(first, agreement.input_shape, cut) != agreement.segment:
        raise UsageError("model", experiment.model, "is not the server's", _differs(agreement, cut))
    codec = Plain() if build_method(experiment).whole_model else parse(experiment.compression)
    workers = []
    for client in clients:
        held = {name: part for name, part in (("validation", data.validation), ("test", data.test)) if part is not None}
        task = Task(
            client,
            build(client),
            data.train.select(data.indices[client]),
            held,
            len(data.classes),
            experiment.batch_size,
            OptimizerSpec.parse(experiment.optimizer),
            experiment.clip_norm,
            experiment.short_clients,
            experiment.seed,
            experiment.loss,
            experiment.label_prior,
            codec,
            pick_device(own.device),
            int(experiment.pipelining),
        )
        workers.append(Worker(task))
    return workers


def _differs(agreement: Agreement, cut: tuple[int, ...]) -> str:
    if cut != agreement.cut_shape:
        return f"its cut has shape {list(cut)}, the server's {list(agreement.cut_shape)}: use the same model and data"
    return f"use the same code, sglr {agreement.sglr} and torch {agreement.torch}"


def _experiment(agreement: Agreement, own: Own) -> Experiment:
    """Return the experiment as this site sees it: what was told, with nothing in it that chooses code."""
    told = dict(agreement.settings)
    model, partition = str(told.get("model", "")), str(told.get("partition", ""))
    if own.model is not None:
        told["model"] = own.model
    elif model not in MODELS.names():
        problem = "the run's model is code that this site has not chosen"
        raise UsageError("model", model, problem, f"look at it, then give --model {model}")
    if partition not in PARTITIONERS.names():
        raise SglrError(f"the server names a partition that is not installed here: {partition[:60]!r}")
    told |= {"dataset": own.dataset, "engine": "remote", "device": own.device}
    if own.data_dir is not None:
        told["data_dir"] = str(own.data_dir)
    return Experiment.from_flat(told)


def _divide(experiment: Experiment) -> ClientData:
    partitioner = PARTITIONERS.load(experiment.partition)(**experiment.partition_parameters)
    data = federate(
        load(experiment),
        partitioner,
        experiment.clients,
        experiment.seed,
        validation=experiment.validation,
        samples_per_client=experiment.samples_per_client,
        test_samples=experiment.test_samples,
    )
    if not build_method(experiment).pooled:
        return data
    everything = torch.cat(data.indices).sort().values
    return ClientData(data.train, (everything,), data.validation, data.test, data.classes)
