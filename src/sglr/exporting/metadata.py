"""What a file tells of itself, as JSON: which part it is, what goes in and comes out, and how data become inputs.

Nothing in it comes from samples but what the run's schema holds, and no path of this machine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sglr.assembly.task import plain, task_name
from sglr.core.spec import name_in
from sglr.exporting.exporter import INPUTS, Loadable
from sglr.exporting.pieces import Piece
from sglr.inference.network import TrainedNetwork
from sglr.runs.client_cuts import cuts_of_clients
from sglr.runs.config import Experiment
from sglr.runs.data_record import DataRecord
from sglr.version import __version__

VERSION = 1
"""Of the layout of the metadata."""


def metadata(network: TrainedNetwork, piece: Piece, exporter: Loadable) -> dict[str, Any]:
    """Return the metadata of one file: values that JSON can hold."""
    with torch.no_grad():
        output = piece.original(piece.inputs[:2])
    return {
        "version": VERSION,
        "sglr": __version__,
        "segment": piece.segment,
        "client": piece.client,
        "whose": network.whose if piece.segment != "server" else "server",
        "input": _described(piece.takes, piece.inputs),
        **({} if piece.layout is None else {INPUTS: piece.layout.described()}),
        "output": _described(piece.gives, output),
        "most_batch": exporter.most_batch,
        **network_facts(network),
    }


def network_facts(network: TrainedNetwork) -> dict[str, Any]:
    """Return what is the same for all files of a network."""
    experiment, record, summary = network.run.experiment, network.record, network.run.summary or {}
    targets = network.targets
    return {
        "model": experiment.model,
        "cut": None if record.method.whole_model else client_cut(record, experiment, network.client),
        "tail": record.tail,
        "method": summary.get("method") or {"name": experiment.method, **experiment.method_parameters},
        "dataset": public_name(experiment),
        "clients": experiment.clients,
        "task": {"name": task_name(experiment), **plain(network.task)},
        "targets": {
            "names": list(targets.names),
            "shape": list(targets.shape),
            "dtype": targets.dtype,
            "classes": targets.classes,
            "units": [list(unit) for unit in targets.units],
        },
        "preprocessing": record.encoding,
        "codec": None if network.received is None else experiment.compression,
        "weights_sha256": summary.get("weights_sha256"),
    }


def client_cut(record: DataRecord, experiment: Experiment, client: object) -> str | int:
    """Return the cut of one client, or of all; where these differ and no client is given, that of the first."""
    if experiment.cuts is None or "=" not in str(record.cut):
        return record.cut
    return cuts_of_clients(str(record.cut), record.clients)[client if isinstance(client, int) else 0]


def public_name(experiment: Experiment) -> str:
    """Return a data set's name; of data at a path only the kind, because paths may name people and places."""
    kind = name_in(experiment.dataset)
    return experiment.dataset if kind == "hf" else kind.strip("<>")


def _described(what: str, values: Tensor) -> dict[str, Any]:
    shape = ["batch", *values.shape[1:]]
    return {"what": what, "shape": shape, "dtype": str(values.dtype).removeprefix("torch.")}
