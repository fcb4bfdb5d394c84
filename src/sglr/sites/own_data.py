"""A site's own data, as its owner names them: files of its own, or its share of a data set that has a name.

What the server says of the run (classes, shape of an input, settings of the division) is compared with the data, and
never chooses which are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sglr.assembly.kept_model import tokenizer_of
from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS, PARTITIONERS
from sglr.core.spec import name_in
from sglr.core.task import Targets
from sglr.data.federate import federate
from sglr.data.images.pixel_range import number
from sglr.data.kind_of_file import kind_of_file
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.schema import find_schema, schema_type
from sglr.data.wanted_targets import with_targets
from sglr.runs.config import Experiment, named, part_fields
from sglr.runs.facts import facts_of_parameter
from sglr.sites.bounds import refuse_enlargement
from sglr.splitting.input_layout import InputLayout


@dataclass(frozen=True)
class Source:
    """Where a client's data are, as given on its own command line.

    Parameters
    ----------
    path
        A folder of pictures per class, a CSV or Parquet file, or IDX files (their folder, or the file of images);
        or what the data set of the run's schema reads.
    dataset
        A data set by its name, instead of a path.
    share
        (I, N): the client owns part I, counted from 0, of N parts of that data set; None if the server knows.
    parameters
        Parameters of the data set, such as ``image_size`` or ``label_column``.
    data_dir
        Where files of named data sets lie.
    """

    path: Path | None = None
    dataset: str | None = None
    share: tuple[int, int] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data_dir: Path | None = None


@dataclass(frozen=True)
class WantedData:
    """What a run wants of clients' data.

    Parameters
    ----------
    clients
        |C|.
    input_shape
        Shape of one input.
    targets
        What the run's targets are.
    settings
        Settings of the experiment by name, as the server told them: plain values.
    encoding
        How what a site has becomes inputs: of tables their schema. Empty if the server does not know.
    input_type
        Type of the inputs: torch's name of it.
    """

    clients: int
    input_shape: tuple[int, ...]
    targets: Targets
    settings: Mapping[str, Any]
    encoding: Mapping[str, Any] = field(default_factory=dict)
    input_type: str = "float32"


@dataclass(frozen=True)
class OwnData:
    """What one client has.

    Parameters
    ----------
    train
        The samples that it trains on.
    held
        Samples that it is scored on, ``"validation"`` and ``"test"``; a part without samples is missing.
    notes
        As in `sglr.core.data.Dataset`.
    """

    train: Samples
    held: dict[str, Samples]
    notes: tuple[str, ...] = ()


def load_own(source: Source, wanted: WantedData, clients: Sequence[int]) -> dict[int, OwnData]:
    """Load the data of the clients that one process works for, mostly a single one, and check that they fit the run.

    A share of a named data set is bit for bit what that client has in a simulation. Of a site's own files the part for
    validation is drawn here; a setting that is a number of samples is divided by the number of clients.

    Raises
    ------
    UsageError
        If data can't be read, have another shape or unknown classes, or have no sample to train on.
    """
    division = _division(wanted)
    if source.path is not None:
        if source.dataset is not None or source.share is not None:
            problem = "both files of your own and a share of a named data set were given"
            raise UsageError("data", source.path, problem, "leave out --data, or --dataset and --partition")
        own = {_only(clients, source): _of_files(source, wanted, division)}
    elif source.dataset is not None:
        own = _of_shares(source.dataset, source, wanted, division, clients)
    else:
        raise UsageError("data", "none", "no data given", "give --data PATH or --dataset NAME")
    for part in own.values():
        _check_number(part.train, source)
    return own


def _only(clients: Sequence[int], source: Source) -> int:
    if len(clients) != 1:
        problem = f"files of your own are those of one client, and tokens of {len(clients)} were given"
        raise UsageError("data", source.path, problem, "join once for each token")
    return clients[0]


def _division(wanted: WantedData) -> Experiment:
    """Return the settings by which data are divided, checked like those of anyone."""
    told = wanted.settings
    chosen = {name: told[name] for name in named(clients="take") if told.get(name) is not None}
    partition = str(chosen.get("partition", "iid"))
    parameters = part_fields("partition", partition)
    return Experiment.from_flat(chosen | {name: told[name] for name in parameters if name in told})


def _of_files(source: Source, wanted: WantedData, division: Experiment) -> OwnData:
    assert source.path is not None
    kind = kind_of_file(source.path, str(wanted.encoding.get("kind")))
    parameters = dict(source.parameters)
    known = part_fields("dataset", kind)
    if schema_type(kind) is not None:
        parameters |= _by_schema(kind, source, wanted)
    elif "classes" in known and wanted.targets.are_classes:
        parameters["classes"] = wanted.targets.names
    if kind == "folder" and len(wanted.input_shape) == 3:
        # Pictures of any size can be what the run wants; stored arrays are left as they are.
        channels, height, width = wanted.input_shape
        if height == width and "image_size" not in parameters:
            refuse_enlargement(source.path, height)
            parameters["image_size"] = height
        if channels in (1, 3):
            parameters.setdefault("image_channels", channels)
        parameters["pixel_range"] = wanted.settings.get("pixel_range", "none")
    dataset = load_dataset(f"{kind}:{source.path.absolute()}", None, parameters)
    _check_range(dataset, source)
    dataset = _fitting(dataset, source, wanted)
    validation = division.validation
    if isinstance(validation, int):
        validation = min(validation // wanted.clients, len(dataset.train) - 1)
    most = division.samples_per_client
    data = federate(dataset, Iid(), 1, division.seed, validation, test_samples=division.test_samples)
    return _part(data, data.indices[0] if most is None else data.indices[0][:most])


def _by_schema(kind: str, source: Source, wanted: WantedData) -> dict[str, Any]:
    """Return how data of this kind are read: by the run's schema, or their inputs would not mean what others' do."""
    if wanted.encoding.get("kind") != kind:
        problem = f"this run has no schema of kind {kind}, by which all sites read their data alike"
        raise UsageError("data", _name(source), problem, "ask the operator for sglr serve --schema (see sglr schema)")
    check_stated(wanted.encoding, wanted.input_shape)
    found: dict[str, Any] = {"schema": dict(wanted.encoding)}
    if wanted.encoding.get("tokenizer") == "file" and not source.parameters.get("tokenizer"):
        found["tokenizer"] = tokenizer_of(str(wanted.settings.get("model")))  # the schema says which it must be
    return found


def check_stated(encoding: Mapping[str, Any], input_shape: tuple[int, ...]) -> None:
    """Refuse a run whose schema makes other inputs than it states, before any are made: their size is bounded.

    Raises
    ------
    UsageError
        If the schema's inputs have another shape.
    """
    shape = find_schema(encoding).input_shape
    if shape != input_shape:
        problem = f"the run's schema makes inputs of shape {_shape(shape)}, and it states {_shape(input_shape)}"
        raise UsageError("schema", encoding["kind"], problem, "ask the operator which are meant")


def _check_range(dataset: Dataset, source: Source) -> None:
    """Refuse pictures whose range was measured: every site would measure another, and feed other numbers."""
    if dataset.encoding.get("measured"):
        low, high = dataset.encoding["range"]
        problem = (
            f"its pictures have more than 8 bits (values {number(low)} to {number(high)}), and the run has no range"
        )
        remedy = "ask the operator for --pixel-range LOW,HIGH, which must be the same at all sites"
        raise UsageError("data", _name(source), problem, remedy)


def _of_shares(
    name: str, source: Source, wanted: WantedData, division: Experiment, clients: Sequence[int]
) -> dict[int, OwnData]:
    for client in clients:
        _check_share(source, wanted, client)
    # Those that choose no data are the run's where the site says nothing.
    taken = {key for key, field in part_fields("dataset", name).items() if facts_of_parameter(field).clients == "take"}
    told = {key: wanted.settings[key] for key in taken if wanted.settings.get(key) is not None}
    if schema_type(name_in(name)) is not None:
        told |= _by_schema(name_in(name), source, wanted)
    dataset = _fitting(load_dataset(name, source.data_dir, told | dict(source.parameters)), source, wanted)
    data = federate(
        dataset,
        PARTITIONERS.load(division.partition)(**division.partition_parameters),
        division.clients,
        division.seed,
        validation=division.validation,
        samples_per_client=division.samples_per_client,
        test_samples=division.test_samples,
    )
    pooled = METHODS.load(str(wanted.settings.get("method", "sglr"))).pooled
    everything = torch.arange(len(data.train))
    return {client: _part(data, everything if pooled else data.indices[client]) for client in clients}


def _check_share(source: Source, wanted: WantedData, client: int) -> None:
    if source.share is None:
        return
    part, parts = source.share
    if (part, parts) != (client, wanted.clients):
        problem = f"this is client {client} of a run of {wanted.clients} clients"
        raise UsageError("partition", f"{part}/{parts}", problem, f"give --partition {client}/{wanted.clients}")


def _part(data: ClientData, rows: torch.Tensor) -> OwnData:
    parts = {"validation": data.validation, "test": data.test}
    held = {name: part for name, part in parts.items() if part is not None and len(part)}
    return OwnData(data.train.select(rows), held, data.notes)


def _fitting(dataset: Dataset, source: Source, wanted: WantedData) -> Dataset:
    """Return the data set with the run's targets, if its inputs have the run's shape."""
    own, stated = InputLayout.of(dataset.encoding), InputLayout.of(wanted.encoding, wanted.input_shape)
    if own != stated:
        problem = f"its inputs are {own or 'one array'}; those of the run are {stated or 'one array'}"
        raise UsageError("data", _name(source), problem, "bring such inputs, or ask the operator which are meant")
    if dataset.input_shape != wanted.input_shape:
        problem = f"its inputs have shape {_shape(dataset.input_shape)}, those of the run {_shape(wanted.input_shape)}"
        raise UsageError("data", _name(source), problem, _reshape(dataset.input_shape, wanted.input_shape))
    found = str(dataset.train.inputs.dtype).removeprefix("torch.")
    if found != wanted.input_type:
        problem = f"its inputs are {found}, those of the run {wanted.input_type}"
        raise UsageError("data", _name(source), problem, "bring data of that type, or ask the operator which are meant")
    return with_targets(dataset, wanted.targets, _name(source))


def _reshape(found: Sequence[int], wanted: Sequence[int]) -> str:
    if len(found) == len(wanted) == 3:
        remedies = []
        if wanted[1] == wanted[2] and found[1:] != wanted[1:]:
            remedies.append(f"--image-size {wanted[1]}")
        if wanted[0] != found[0]:
            remedies.append(f"--image-channels {wanted[0]}")
        if remedies:
            return f"give {' '.join(remedies)}"
    return "bring data of that kind, or ask the operator which are meant"


def _check_number(train: Samples, source: Source) -> None:
    if not len(train):
        raise UsageError("data", _name(source), "there are no samples to train on", "add samples")


def _name(source: Source) -> str:
    return str(source.path or source.dataset)


def _shape(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))
