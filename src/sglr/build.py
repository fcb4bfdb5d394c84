"""From settings to parts: the only place that picks a method, model, data set, partitioner or engine by name."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sglr.config import Experiment
from sglr.core.compression import parse as parse_codec
from sglr.core.data import ClientData, Dataset
from sglr.core.engine import Engine, Setting
from sglr.core.errors import UsageError
from sglr.core.first_weights import FirstWeights
from sglr.core.method import Method
from sglr.core.model import build_model
from sglr.core.optim import OptimizerSpec
from sglr.core.random import key
from sglr.core.registry import ENGINES, METHODS, PARTITIONERS
from sglr.core.server import Server
from sglr.core.split import Split, check_segments, cut_points, split
from sglr.core.stack import state_of
from sglr.core.train import Plan, Trainer
from sglr.core.types import Weights
from sglr.data.federate import federate
from sglr.data.load import load_dataset

LOOKS_PER_STEP = {"cpu": 1, "cuda": 50}
"""Steps between looks at the loss for a value that is not a number: on a GPU a look waits for the device."""

FEW_CLIENTS = 8
"""So many models are built sooner than it is learnt how to draw their weights alone."""


@dataclass(frozen=True)
class Given:
    """Parts given as Python objects instead of by name; None where the settings name the part."""

    method: Method | None = None
    model: nn.Module | Callable[..., nn.Module] | None = None
    dataset: Dataset | None = None
    engine: Callable[[Setting], Engine] | None = None


@dataclass(frozen=True)
class Built:
    """A training ready to run, and what its summary tells of the parts."""

    trainer: Trainer
    data: ClientData
    method: Method
    cut: str | int
    device: torch.device
    lower: Callable[[int], nn.Module]
    """Gives a client's lower segment with its first weights, by client id."""


def build(experiment: Experiment, given: Given | None = None) -> Built:
    """Build all parts, checking that they fit before any work is done.

    Raises
    ------
    UsageError
        If a setting, a file or a combination of settings is wrong.
    """
    given = given or Given()
    device = device_here(experiment)
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)
    method = given.method or build_method(experiment)
    optimizer = OptimizerSpec.parse(experiment.optimizer)
    codec = parse_codec(experiment.compression)
    _check_pipelining(experiment, method)
    _check_cluster(experiment)
    segments = _Segments(experiment, given.model, method)
    data = _divide(experiment, given.dataset or load(experiment))
    _check_place(experiment, given, data)
    segments.prepare(data)
    _check_batches(experiment, data)
    segments.check_single_samples(experiment.batch_size, data)
    if method.pooled:
        data = _pooled(data)
    make_engine = given.engine or ENGINES.load(experiment.engine)
    setting = _setting(experiment, segments, data, optimizer, device)
    engine = make_engine(setting if method.whole_model else dataclasses.replace(setting, codec=codec))
    server = Server(
        segments.upper,
        optimizer,
        classes=len(data.classes),
        clients=len(data.indices),
        label_prior=experiment.label_prior,
        clip_norm=experiment.clip_norm,
        device=device,
        loss=experiment.loss,
        copies=method.server_copies,
        stacked=experiment.stacking != "looped",
    )
    plan = _plan(experiment, device)
    trainer = Trainer(method, engine, server, plan, data.validation)
    if method.shares:
        trainer.shared = {name: tensor.to(device) for name, tensor in state_of(segments.lower_of(0)).items()}
    return Built(trainer, data, method, segments.cut, device, segments.lower_of)


def client_segments(
    experiment: Experiment, data: ClientData, model: nn.Module | Callable[..., nn.Module] | None = None
) -> Callable[[int], nn.Module]:
    """Return what gives a client's segment with its first weights, for one who has only clients' parts to build.

    Raises
    ------
    UsageError
        If the model, the cut or the batch size does not fit ``data``.
    """
    segments = _Segments(experiment, model, build_method(experiment))
    segments.prepare(data)
    _check_batches(experiment, data)
    segments.check_single_samples(experiment.batch_size, data)
    return segments.lower_of


def build_method(experiment: Experiment) -> Method:
    """Return the method that the settings name, with its parameters."""
    method: Method = METHODS.load(experiment.method)(**experiment.method_parameters)
    return method


def load(experiment: Experiment) -> Dataset:
    """Load the data set that the settings name."""
    return load_dataset(experiment.dataset, experiment.data_dir, experiment.dataset_parameters)


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``"auto"`` is a GPU if there is one.

    Raises
    ------
    UsageError
        If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in LOOKS_PER_STEP:
        raise UsageError("device", name, "is not supported", "give auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("device", name, "torch finds no CUDA device here", "give cpu, or auto")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError("device", name, f"torch refuses it ({reason})", "give auto, cpu or cuda") from error
    return device


def device_here(experiment: Experiment) -> torch.device:
    """Return where this process computes; with clients on a cluster it may lack the GPU that they have.

    Raises
    ------
    UsageError
        If there is no such device here.
    """
    elsewhere = experiment.engine == "ray" and experiment.device.startswith("cuda") and not torch.cuda.is_available()
    return pick_device("cpu" if elsewhere else experiment.device)


def _plan(experiment: Experiment, device: torch.device) -> Plan:
    return Plan(
        epochs=experiment.epochs,
        rate=experiment.lr,
        server_rate=experiment.server_lr or experiment.lr,
        schedule=experiment.schedule,
        participation=experiment.participation,
        evaluate_every=experiment.eval_every,
        evaluate_clients=experiment.eval_clients,
        checkpoint_every=experiment.checkpoint_every,
        check_every=LOOKS_PER_STEP[device.type],
        seed=experiment.seed,
    )


def _setting(
    experiment: Experiment, segments: _Segments, data: ClientData, optimizer: OptimizerSpec, device: torch.device
) -> Setting:
    return Setting(
        segment=segments.lower_of,
        data=data,
        batch_size=experiment.batch_size,
        optimizer=optimizer,
        clip_norm=experiment.clip_norm,
        seed=experiment.seed,
        device=device,
        stacking=experiment.stacking,
        short_clients=experiment.short_clients,
        settings=experiment.flat(),
        first_weights=segments.weights_of,
    )


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


def _check_place(experiment: Experiment, given: Given, data: ClientData) -> None:
    """Refuse data that are elsewhere, unless whoever builds brings the engine that has clients there."""
    if not len(data.train) and given.engine is None:
        problem = "these data are at the sites that join, and there are none here to train on"
        raise UsageError("dataset", experiment.dataset, problem, "start a server: sglr serve SETTINGS.toml")


def _check_batches(experiment: Experiment, data: ClientData) -> None:
    if not len(data.train):
        return
    smallest = min(range(len(data.sizes)), key=data.sizes.__getitem__)
    if experiment.batch_size > data.sizes[smallest]:
        problem = f"client {smallest} has only {data.sizes[smallest]} samples"
        remedy = f"give --batch-size {data.sizes[smallest]} or less, fewer clients, or a more even partition"
        raise UsageError("batch_size", experiment.batch_size, problem, remedy)


def _check_pipelining(experiment: Experiment, method: Method) -> None:
    if not experiment.pipelining:
        return
    if experiment.engine != "remote":
        problem = f"engine {experiment.engine} has no gradients under way"
        raise UsageError("pipelining", True, problem, "leave it out, or give --engine remote")
    if method.whole_model or getattr(method, "average_every", False):
        problem = f"method {experiment.method} has nothing to compute ahead with these settings"
        raise UsageError("pipelining", True, problem, "leave it out, or choose a method that sends smashed data")


def _check_cluster(experiment: Experiment) -> None:
    """Refuse settings of a cluster where there is none, which would be ignored."""
    for name in ("ray_address", "block_clients"):
        value = getattr(experiment, name)
        if value is not None and experiment.engine != "ray":
            raise UsageError(name, value, f"engine {experiment.engine} has no cluster", "give --engine ray")


def _pooled(data: ClientData) -> ClientData:
    return dataclasses.replace(data, indices=(torch.cat(data.indices).sort().values,))


class _Segments:
    """The lower segment of every client and the server's upper one, with their first weights.

    A model that is named, or given as a function, is built anew for every client under the client's own key, so that
    ``init = independent`` gives every client other weights; a model that is given as a module keeps its weights for
    client 0, and everyone's if ``init = common``.
    """

    def __init__(
        self, experiment: Experiment, model: nn.Module | Callable[..., nn.Module] | None, method: Method
    ) -> None:
        self._experiment = experiment
        self._model = model
        self._whole = method.whole_model
        self._common = experiment.init == "common" or method.shares

    def prepare(self, data: ClientData) -> None:
        """Build the model once, find the cut, and try both segments on two samples."""
        self._input_shape = tuple(data.train.inputs.shape[1:])
        self._classes = len(data.classes)
        whole = self._build(0)
        self.cut: str | int = "output" if self._whole else self._default_cut(whole)
        example = data.train.inputs[:2] if len(data.train) else torch.zeros(2, *self._input_shape)
        self._first, self.upper = split(whole, self.cut, example)
        check_segments(Split(self._first, self.upper), example, self._classes)
        self._drawn = self._followed() if len(data.indices) > FEW_CLIENTS else None

    def check_single_samples(self, batch_size: int, data: ClientData) -> None:
        """Refuse a division that leaves a client one sample to normalise a batch by."""
        clients = [client for client, size in enumerate(data.sizes) if size % batch_size == 1 or batch_size == 1]
        if not clients or not len(data.train):
            return
        try:
            copy.deepcopy(self._first).train()(data.train.inputs[:1])
        except ValueError as error:
            problem = f"the last batch of client {clients[0]} is of one sample ({str(error).partition(',')[0].lower()})"
            raise UsageError("batch_size", batch_size, problem, "give another batch size") from error

    def _default_cut(self, model: nn.Module) -> str | int:
        cut = self._experiment.cut
        if cut is not None:
            return int(cut) if isinstance(cut, str) and cut.lstrip("-").isdigit() else cut
        found = getattr(model, "default_cut", None)
        if found is None:
            names = ", ".join(cut_points(model)[:-1])
            raise UsageError("cut", "none", "this model has no cut of its own", f"give --cut with one of: {names}")
        return str(found)

    def _build(self, client: int) -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(self._key(client))
            if isinstance(self._model, nn.Module):
                return self._redrawn(self._model, client)
            if self._model is not None:
                return self._model(self._input_shape, self._classes)
            return build_model(self._experiment.model, self._input_shape, self._classes)

    def _redrawn(self, model: nn.Module, client: int) -> nn.Module:
        """Copy a given module; for other clients than 0, draw its weights anew."""
        model = copy.deepcopy(model)
        if client == 0:
            return model
        for name, module in model.named_modules():
            own = dict(module.named_parameters(recurse=False))
            reset: Any = getattr(module, "reset_parameters", None)
            if own and reset is None:
                problem = f"layer {name!r} has weights but no reset_parameters to draw them anew for each client"
                raise UsageError("init", "independent", problem, "use init = common, or give a function as model")
            if reset is not None:
                reset()
        return model

    def lower_of(self, client: int) -> nn.Module:
        """Return a client's lower segment with its first weights."""
        if client == 0 or self._common:
            return copy.deepcopy(self._first)
        if self._drawn is None:
            return split(self._build(client), self.cut).lower
        segment = copy.deepcopy(self._first)
        drawn = self.weights_of(client)
        for name, tensor in state_of(segment).items():
            tensor.copy_(drawn[name])
        return segment

    def weights_of(self, client: int) -> Weights:
        """Return the first weights and buffers of a client's lower segment."""
        if client == 0 or self._common:
            return state_of(self._first)
        if self._drawn is None:
            return state_of(self.lower_of(client))
        return self._drawn(self._key(client))

    def _followed(self) -> FirstWeights | None:
        if self._common:
            return None
        return FirstWeights.learn(
            self._build, lambda whole: split(whole, self.cut).lower, clients=(1, 2), seed=self._key
        )

    def _key(self, client: int) -> int:
        return key(self._experiment.seed, "model", client)
