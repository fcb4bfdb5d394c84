"""The whole model with each client's initial weights, before it is cut."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sglr.adapters import AdaptedModel, AdapterPlan, adapted_model, quantize
from sglr.adapters.freeze import frozen_layers
from sglr.assembly.kept_model import kept_folder
from sglr.core.errors import UsageError
from sglr.core.model import build_model, built_by, copied
from sglr.core.random import key
from sglr.core.weights import Weights
from sglr.runs.config import Experiment
from sglr.splitting import Split
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.model_checks import given_shapes
from sglr.splitting.segment_weights import frozen_of, load_state
from sglr.splitting.several_inputs import taking_rows
from sglr.splitting.transformers import as_transformer


class Asked(NamedTuple):
    """What the data ask of a model.

    Parameters
    ----------
    example
        Two inputs ``[2, ...]``.
    outputs
        How many values it gives for a sample, or for each pixel or position.
    output_shape
        Of one sample's output.
    layout
        The inputs of a sample, where these are several, packed in rows; None where there is one.
    """

    example: Tensor
    outputs: int
    output_shape: tuple[int, ...]
    layout: InputLayout | None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.example.shape[1:])


class WholeModels:
    """Builds the model that is named, or given, with a client's initial weights.

    Parameters
    ----------
    experiment, model
        The settings, and the model if it is not built by name.
    asked
        What the data ask of it.

    Attributes
    ----------
    adapters
        Where adapters go; None without, and before that is planned.
    frozen
        Frozen weights, the same in all models, by name; none before the first model is built.
    """

    def __init__(
        self, experiment: Experiment, model: nn.Module | Callable[..., nn.Module] | None, asked: Asked
    ) -> None:
        self._experiment, self._model, self._asked = experiment, model, asked
        self.adapters: AdapterPlan | None = None
        self.frozen: Weights = {}

    def build(self, client: int, draws: int | None = None, *, plain: bool = False) -> nn.Module:
        """Build the model with a client's initial weights, or with those of other ``draws``.

        A ``plain`` one is not rounded, and has no adapters before these are planned.
        """
        with torch.random.fork_rng([]):
            model = self.without_adapters(client, draws)
            if self.adapters is not None:
                model = self.adapters.apply(model)
            if self._experiment.quantize != "none" and not plain:
                model = quantize(model, self._experiment.quantize)
        load_state(model, self.frozen)
        return model

    def without_adapters(self, client: int, draws: int | None = None) -> nn.Module:
        """Return the model as it is before adapters are put in and layers are rounded."""
        torch.manual_seed(self.key(client) if draws is None else draws)
        model = given_shapes(self._new_model(), self._asked.example).cpu()
        return frozen_layers(model, self._experiment.freeze, self._asked.example)

    def _new_model(self) -> nn.Module:
        if isinstance(self._model, nn.Module):
            # A lazy module can't be copied before it has its shapes, which it takes as in any first call.
            given = given_shapes(self._model, self._asked.example, self._asked.layout)
            return taking_rows(as_transformer(copied(given), self._asked.outputs), self._asked.layout)
        shape = self._asked.input_shape if self._asked.layout is None else self._asked.layout.shapes
        if self._model is not None:
            built = built_by(self._experiment.model, partial(self._model, shape, self._asked.outputs))
            return taking_rows(as_transformer(built, self._asked.outputs), self._asked.layout)
        experiment = self._experiment
        named = build_model(
            experiment.model,
            shape,
            self._asked.outputs,
            experiment.folder_naming("model"),
            experiment.pretrained,
            experiment.weights,
            self._asked.output_shape,
            kept_folder(experiment.folder),
        )
        return taking_rows(named, self._asked.layout)

    def freeze_as(self, before: Weights | None, whole: nn.Module) -> None:
        """Take the frozen weights of the first model, or those that a run began with, for all models.

        Raises
        ------
        UsageError
            If the run began with those of another model.
        """
        own = frozen_of(whole)
        self.frozen = own if before is None else before
        for name in sorted({*own, *self.frozen}):
            if name not in own or name not in self.frozen or own[name].shape != self.frozen[name].shape:
                problem = f"its frozen weights are not those that the run began with ({name} differs)"
                raise UsageError("model", type(whole).__name__, problem, "give the model of the run, frozen as it was")
        load_state(whole, self.frozen)

    def adapted(self, divide: Callable[[nn.Module], Split]) -> AdaptedModel | None:
        """Return the model that adapters are trained in, which ``divide`` cuts; None without adapters."""
        if self.adapters is None:
            return None
        with torch.random.fork_rng([]):
            base = self.without_adapters(0)
        return adapted_model(base, self.build(0), self.adapters, self.frozen, divide)

    def key(self, client: int) -> int:
        """Return what a client's initial weights are drawn by."""
        return key(self._experiment.seed, "model", client)
