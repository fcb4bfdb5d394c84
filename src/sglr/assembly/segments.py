"""The segments of a training: every client's lower one and the server's upper one, with their initial weights."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from sglr.adapters import AdaptedModel, AdapterPlan, Lora, plan_adapters, require_adapters
from sglr.assembly.initial_weights import FirstWeights
from sglr.assembly.vocabulary import check_vocabulary
from sglr.assembly.whole_models import Asked, WholeModels
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.random import key
from sglr.core.task import Task
from sglr.core.weights import Weights, state_of, trained_of
from sglr.parties.defences import DefenceChain
from sglr.planner.share_of_cut import nearest_cut, share_of
from sglr.runs.config import Experiment
from sglr.splitting import (
    ClientSegments,
    Crossing,
    HeadedSegment,
    Split,
    Thirds,
    build_decoder,
    build_head,
    check_segments,
    crossing_of,
    cut_points,
    features_of,
    given_head,
    needing_two,
    parts_of,
    split,
    split_in_three,
)
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.model_checks import check_weights
from sglr.splitting.packed import behind, main_value
from sglr.splitting.segment_weights import load_state
from sglr.splitting.trunk import entered

log = logging.getLogger(__name__)


class End(NamedTuple):
    """Both ends of a cut.

    Parameters
    ----------
    lower
        All that a client of this cut holds.
    upper
        What its smashed data go through at the server.
    crossing
        What crosses, where it is packed in rows; None where one tensor crosses.
    """

    lower: nn.Module
    upper: nn.Module
    crossing: Crossing | None


FEW_CLIENTS = 8
"""Up to so many clients, building every model is faster than learning how its weights are drawn."""


class Segments:
    """The lower segment of every client and the server's upper one, with their initial weights.

    A model that is named, or given as a function, is built anew for every client under the client's own key, so that
    ``init = independent`` gives every client other weights; a model that is given as a module has one set for all, but
    for adapters, which are drawn.
    Frozen weights are the same for all: those of the first client, or those that a run began with.

    Parameters
    ----------
    experiment, data, model, method
        What is trained, on which data, and the model if it is not built by name.
    defences
        The defences, whose layers stand behind the clients' lower segments.
    frozen
        Frozen weights of the whole model that a run began with; None for a run that begins now.

    Raises
    ------
    UsageError
        If the model can't be built or cut, or does not fit the data.

    Attributes
    ----------
    cut, tail
        The layers that the model is cut behind.
    upper
        The server's segment.
    example
        Two inputs ``[2, ...]``.
    cut_shape
        Shape of one sample's smashed data.
    layout
        The inputs of a sample, where these are several, packed in rows; None where there is one.
    crossing
        What crosses the cut, where it is packed in rows; None where one tensor crosses.
    method
        The method.
    head
        The first client's head, or decoder; None where clients have none.
    cuts
        Which client is cut where; None where all are cut at one place.
    """

    cuts: ClientCuts | None = None

    def __init__(
        self,
        experiment: Experiment,
        data: ClientData,
        task: Task,
        model: nn.Module | Callable[..., nn.Module] | None,
        method: Method,
        defences: DefenceChain,
        frozen: Weights | None = None,
    ) -> None:
        self._experiment, self._task = experiment, task
        self._lora = Lora.parse(experiment.lora)
        self.cut: str | int = "output"
        self._whole, self.method = method.whole_model, method
        self.tail = placed(experiment.tail)
        self._common = (
            experiment.init == "common" or method.shares or (isinstance(model, nn.Module) and experiment.lora is None)
        )
        self.defences = defences
        self._build_first(data, model, frozen)

    def _build_first(
        self, data: ClientData, model: nn.Module | Callable[..., nn.Module] | None, frozen: Weights | None
    ) -> None:
        """Build the model once, find the cut, and try both segments on two samples."""
        inputs = data.train.inputs
        self._input_shape = tuple(inputs.shape[1:])
        self.layout = InputLayout.of(data.encoding, self._input_shape)
        self.defences = self.defences.of_inputs(self.layout)
        self._output_shape = self._task.output_shape(data.targets)
        self.example = (
            inputs[torch.arange(2) % len(inputs)]
            if len(inputs)
            else torch.zeros(2, *self._input_shape, dtype=inputs.dtype)
        )
        asked = Asked(self.example, self._task.outputs(data.targets), self._output_shape, self.layout)
        self._models = WholeModels(self._experiment, model, asked)
        if self._lora is not None:
            self._models.adapters = self._planned(self._lora)
        whole = self._models.build(0)
        check_weights(whole)
        check_vocabulary(whole, data, self._experiment)
        self._models.freeze_as(frozen, whole)
        if self._lora is None:
            self.cut = "output" if self._whole else self._default_cut(whole)
        self._fit(whole, len(data.indices))

    def _fit(self, whole: nn.Module, clients: int) -> None:
        """Divide the first model, and try its segments on two samples."""
        self._first, self.upper = self._divided(whole)
        _, tail = parts_of(self._first)
        self.cut_shape, _ = check_segments(
            Split(self._first, nn.Sequential(self.upper, tail)), self.example, self._output_shape
        )
        self.crossing = crossing_of(self._first)
        self.defences = self.defences.over(self.crossing)
        self.head = self._first.head if isinstance(self._first, HeadedSegment) else None
        if self._lora is not None:
            require_adapters(self._lora, trained_of(self._first), None if self._whole else trained_of(self.upper))
        if not trained_of(self._first):
            log.warning("no weight of the clients' segment is trained: clients only send smashed data")
        self._drawn = self._followed() if clients > FEW_CLIENTS else None

    def needing_two(self) -> tuple[str, ...]:
        """Name the segments that can't train on a single sample."""
        lower, tail = parts_of(self._first)
        return needing_two(Thirds(lower, self.upper, tail), self.example)

    def _planned(self, lora: Lora) -> AdapterPlan:
        """Choose where adapters go, in the model without them."""
        model = self._models.build(0, plain=True)
        self.cut = "output" if self._whole else self._default_cut(model)
        return plan_adapters(model, lora, self.example, self._divided, whole_model=self._whole)

    def _default_cut(self, model: nn.Module) -> str | int:
        cut, share = placed(self._experiment.cut), share_of(self._experiment.cut)
        if share is not None:
            return nearest_cut(model, share, self.example)
        if cut is not None:
            return cut
        found = getattr(model, "default_cut", None)
        if found is None:
            names = ", ".join(cut_points(model, self.example)[:-1])
            remedy = f"give --cut with one of: {names}; or a share, such as 40%"
            raise UsageError("cut", "none", "this model has no default cut", remedy)
        return str(found)

    def _divided(self, whole: nn.Module, client: int = 0) -> Split:
        """Return all that a client holds of a model, and the server's segment; a head has that client's weights."""
        if self.tail is None:
            lower, upper = split(whole, self.cut, self.example)
            covered = self.defences.covered(lower)
            more = self.method.head or self.method.decodes
            return Split(self._headed(covered, client) if more else covered, upper)
        thirds = split_in_three(whole, self.cut, self.tail, self.example)
        features = features_of(thirds, self.example)
        both = ClientSegments(thirds.lower, thirds.tail, features)
        return Split(self.defences.covered(both), thirds.upper)

    def _headed(self, lower: nn.Module, client: int) -> nn.Module:
        """Return a client's lower segment with a head or decoder behind it; heads that the server sends begin alike."""
        main = main_value(lower)
        cut = features_of(Thirds(lower, main, nn.Identity()), self.example)
        rows = features_of(Thirds(lower, nn.Identity(), nn.Identity()), self.example)
        if self.method.decodes:
            if not self.example.is_floating_point() or (self.layout is not None and self.layout.has_tokens):
                problem = "its clients decode their inputs, and these are numbers of tokens"
                raise UsageError("method", self._experiment.method, problem, "choose mix2sfl, or another method")
            seed = key(self._experiment.seed, "decoder", client)
            return HeadedSegment(lower, behind(main, build_decoder(cut, self._input_shape, seed)), rows)
        seed = key(self._experiment.seed, "head", client if self.method.trains_head else 0)
        head = build_head(self._experiment.head, cut, self._output_shape, seed)
        return HeadedSegment(lower, behind(main, head if self.method.trains_head else given_head(head)), rows)

    def fresh(self, seed: int, client: int = 0) -> Thirds:
        """Return all segments, as a client has and knows them, with other initial weights than any client's."""
        own, upper = self._divided(self._models.build(1, key(seed, "fresh model")), client)
        lower, tail = parts_of(own)
        return Thirds(lower, upper if self.cuts is None else entered(upper, self.cuts.places[client]), tail)

    @property
    def frozen(self) -> Weights:
        """Frozen weights of the whole model, by name."""
        return self._models.frozen

    def adapted(self) -> AdaptedModel | None:
        """Return the model that adapters are trained in; None without adapters."""
        return self._models.adapted(self._divided)

    def lower_of(self, client: int) -> nn.Module:
        """Return a client's lower segment with its initial weights."""
        if client == 0 or self._common:
            return copy.deepcopy(self._first_of(client))
        if self._drawn_of(client) is None:
            return self._divided(self._models.build(client), client).lower
        segment = copy.deepcopy(self._first_of(client))
        load_state(segment, self.weights_of(client))
        return segment

    def weights_of(self, client: int) -> Weights:
        """Return the initial weights and buffers of a client's lower segment."""
        if client == 0 or self._common:
            return state_of(self._first_of(client))
        drawn = self._drawn_of(client)
        return state_of(self.lower_of(client)) if drawn is None else drawn(self._models.key(client))

    def _first_of(self, client: int) -> nn.Module:
        """Return what a client holds of the first model."""
        del client
        return self._first

    def _drawn_of(self, client: int) -> FirstWeights | None:
        """Return how a client's first weights are drawn, if that is known."""
        del client
        return self._drawn

    def ends(self) -> list[End]:
        """Return both ends of the cut, or of every cut from the first; that of the deepest cut is the last."""
        return [End(self.lower_of(0), self.upper, self.crossing)]

    def _followed(self) -> FirstWeights | None:
        if self._common or self.method.head or self.method.decodes:  # which is no part of the model
            return None
        return FirstWeights.learn(
            self._models.build, lambda whole: self._divided(whole).lower, clients=(1, 2), seed=self._models.key
        )


def placed(given: str | int | None) -> str | int | None:
    """Read a number that came as text."""
    return int(given) if isinstance(given, str) and given.lstrip("-").isdigit() else given
