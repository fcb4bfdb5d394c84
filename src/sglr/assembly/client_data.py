"""The data of a training: loaded, and divided among the clients."""

from __future__ import annotations

import dataclasses

import torch

from sglr.assembly.kept_model import tokenizer_for
from sglr.assembly.parts import PartOverrides
from sglr.core.data import ClientData, Dataset
from sglr.core.errors import UsageError
from sglr.core.registry import PARTITIONERS
from sglr.core.spec import name_in
from sglr.core.task import Task
from sglr.data.digest import refuse_other_data
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.tables.labels import label_kind_of
from sglr.runs.config import Experiment


def client_data(experiment: Experiment, given: PartOverrides) -> ClientData:
    """Return the data set that is given or named, divided among the clients, and poisoned where that is asked for."""
    data = _divide(experiment, _dataset(experiment, given))
    return data if given.poison is None else given.poison(data)


def _dataset(experiment: Experiment, given: PartOverrides) -> Dataset:
    if given.dataset is None:
        return load(experiment, given.task)
    refuse_other_data(experiment.dataset, given.dataset)
    return given.dataset


def load(experiment: Experiment, task: Task | None = None) -> Dataset:
    """Load the data set that the settings name; its label columns hold what the task learns, unless they say so."""
    if experiment.dataset.startswith("<"):
        problem = "was given as a Python object, which settings don't hold"
        raise UsageError("dataset", experiment.dataset, problem, "give it again, in Python: dataset=...")
    parameters = dict(experiment.dataset_parameters)
    if parameters.get("label_kind") == "auto" and not parameters.get("schema"):
        parameters["label_kind"] = label_kind_of(task or experiment.task)
    if name_in(experiment.dataset) == "text" and not parameters.get("tokenizer"):
        parameters["tokenizer"] = tokenizer_for(experiment)
    return load_dataset(experiment.dataset, experiment.data_dir, parameters)


def _divide(experiment: Experiment, dataset: Dataset) -> ClientData:
    partitioner = PARTITIONERS.load(experiment.partition)(**experiment.partition_parameters)
    return federate(
        dataset,
        partitioner,
        experiment.clients,
        experiment.seed,
        validation=experiment.validation,
        samples_per_client=experiment.samples_per_client,
        test_samples=experiment.test_samples,
    )


def pooled(data: ClientData) -> ClientData:
    """Return the data with one client that owns all samples."""
    return dataclasses.replace(data, indices=(torch.cat(data.indices).sort().values,))
