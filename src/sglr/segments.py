"""The segments of a training: every client's lower one and the server's upper one, with their first weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sglr.config import Experiment
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.first_weights import FirstWeights
from sglr.core.guard import parse
from sglr.core.method import Method
from sglr.core.model import build_model
from sglr.core.random import key
from sglr.core.split import (
    ClientSegments,
    Split,
    Thirds,
    check_segments,
    cut_points,
    features_of,
    parts_of,
    split,
    split_in_three,
)
from sglr.core.stack import state_of
from sglr.core.types import Weights

FEW_CLIENTS = 8
"""So many models are built sooner than it is learnt how to draw their weights alone."""


class Segments:
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
        self.tail = _place(experiment.tail)
        if self.tail is not None and self._whole:
            problem = f"method {experiment.method} keeps the whole model, and so all labels, at the clients"
            raise UsageError("tail", self.tail, problem, "leave it out, or choose a method that splits the model")
        self._common = experiment.init == "common" or method.shares
        self.guard = parse(experiment.defence, experiment.seed)
        self._check_defences(method)

    def _check_defences(self, method: Method) -> None:
        """Refuse defences where they would do nothing, or no good."""
        defence = self._experiment.defence
        if self.guard.parts and self._whole:
            problem = f"method {self._experiment.method} sends weights, and nothing crosses a cut"
            raise UsageError("defence", defence, problem, "leave it out, or choose a method that splits the model")
        for part in self.guard.parts:
            part.check(method, self.guard.named)

    def prepare(self, data: ClientData) -> None:
        """Build the model once, find the cut, and try both segments on two samples."""
        self._input_shape = tuple(data.train.inputs.shape[1:])
        self._classes = len(data.classes)
        whole = self._build(0)
        self.cut: str | int = "output" if self._whole else self._default_cut(whole)
        example = data.train.inputs[:2] if len(data.train) else torch.zeros(2, *self._input_shape)
        self._example = example
        self._first, self.upper = self._divided(whole)
        _, tail = parts_of(self._first)
        check_segments(Split(self._first, nn.Sequential(self.upper, tail)), example, self._classes)
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
        cut = _place(self._experiment.cut)
        if cut is not None:
            return cut
        found = getattr(model, "default_cut", None)
        if found is None:
            names = ", ".join(cut_points(model)[:-1])
            raise UsageError("cut", "none", "this model has no cut of its own", f"give --cut with one of: {names}")
        return str(found)

    def _divided(self, whole: nn.Module) -> Split:
        """Return all that a client holds of a model, and the server's segment."""
        if self.tail is None:
            lower, upper = split(whole, self.cut, self._example)
            return Split(self.guard.covered(lower), upper)
        thirds = split_in_three(whole, self.cut, self.tail, self._example)
        features = features_of(thirds, self._example)
        client = ClientSegments(thirds.lower, thirds.tail, features)
        return Split(self.guard.covered(client), thirds.upper)

    def fresh(self, seed: int) -> Thirds:
        """Return all segments with first weights that nobody has had."""
        client, upper = self._divided(self._build(1, key(seed, "fresh model")))
        lower, tail = parts_of(client)
        return Thirds(lower, upper, tail)

    def _build(self, client: int, draws: int | None = None) -> nn.Module:
        """Build the model with a client's first weights, or with those of other ``draws``."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self._key(client) if draws is None else draws)
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
            return self._divided(self._build(client)).lower
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
        return FirstWeights.learn(self._build, lambda whole: self._divided(whole).lower, clients=(1, 2), seed=self._key)

    def _key(self, client: int) -> int:
        return key(self._experiment.seed, "model", client)


def _place(given: str | int | None) -> str | int | None:
    """Read a number that came as text."""
    return int(given) if isinstance(given, str) and given.lstrip("-").isdigit() else given
