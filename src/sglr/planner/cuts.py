"""The sizes and operations of a model's cuts, by shapes alone: nothing is trained and no data is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sglr.adapters import Lora, plan_adapters, require_adapters
from sglr.adapters.freeze import frozen_layers
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.weights import Weights, state_of, trained_of
from sglr.cost.computation import SegmentFlops, segment_flops
from sglr.planner.client_memory import ClientMemory, client_memory
from sglr.planner.costs import BYTES_PER_MB, Work
from sglr.planner.cut_figures import BYTES, Crosses
from sglr.planner.figures_of_cuts import values_that_cross
from sglr.planner.share_of_cut import nearest_cut, share_of
from sglr.splitting import Split, check_segments, crossing_of, cut_points, every_cut, split
from sglr.splitting.fit import ended
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.model_checks import given_shapes
from sglr.splitting.segment_weights import frozen_of
from sglr.splitting.sequence import child_before
from sglr.splitting.several import nested
from sglr.splitting.several_inputs import taking_rows
from sglr.splitting.transformers import Transformer


@dataclass(frozen=True)
class Cut:
    """What a cut of a model decides.

    Parameters
    ----------
    name
        The client's last layer as `--cut` takes it: its name, or the number of children that the client keeps.
    smashed_shape
        Shape of one sample's smashed data.
    cut_mb
        S(L), the size of what is learned of it in MB (10⁶ bytes).
    client_mb, model_mb
        S(w_c) and S(w), trained weights and buffers of the client segment and of the model, in MB.
    work
        Operations of one sample in one training step.
    crosses
        The tensors that cross, of one sample; masks and other integers beside them last.
    beside_mb
        Size of these integers, which are sent as they are and get no gradient, in MB.
    frozen_mb
        Frozen weights of the client segment in MB: held, and never sent.
    memory
        What a client holds.
    """

    name: str
    smashed_shape: tuple[int, ...]
    cut_mb: float
    client_mb: float
    model_mb: float
    work: Work
    crosses: tuple[Crosses, ...]
    beside_mb: float
    frozen_mb: float
    memory: ClientMemory


def measure_cuts(
    spec: str,
    input_shape: tuple[int, ...] | InputLayout,
    outputs: int,
    cut: str | None = None,
    output_shape: tuple[int, ...] | None = None,
    lora: Lora | None = None,
    freeze: str | None = None,
) -> tuple[Cut, list[Cut]]:
    """Build a model and measure the chosen cut and every one that leaves weights on both sides.

    Parameters
    ----------
    spec
        A registered model, or ``package.module:function``; see `sglr.core.model.build_model`.
    input_shape
        Shape of one input, without the batch dimension; or what a row of inputs holds, where samples have several.
    outputs
        How many values the model gives for a sample, or for each pixel or position: K for K classes.
    cut
        Where to cut, as `sglr.splitting.split` takes it, or a share of the operations such as ``40%``; None for the
        model's own cut.
    output_shape
        Of one sample's output; None for one row of ``outputs`` values.
    lora
        Adapters that are trained instead of the network.
    freeze
        Names of layers that stay as they are, joined by ``+``.

    Returns
    -------
    tuple
        The chosen cut; and, in the order of execution, it, those that one tensor crosses, and those behind children of
        the model itself that several cross.

    Raises
    ------
    UsageError
        If there is no such model or cut (the nearest is suggested), or they don't fit the input.
    """
    with torch.random.fork_rng([]):
        model, example = _built(spec, input_shape, outputs, output_shape or ())
        places = _Places(frozen_layers(model, freeze, example), example, lora)
        layer = _chosen(model, cut, example, places.names)
        parts = places.divided(layer)
        check_segments(parts, example, output_shape or (outputs,))
        chosen = places.measured(layer, parts)
        found: list[Cut] = []
        for other in places.names(layer):
            with suppress(UsageError):  # such as weights that both sides would train, or a side without adapters
                found.append(chosen if other == layer else places.measured(other, places.divided(other)))
    return chosen, found


def measure_several(
    spec: str,
    input_shape: tuple[int, ...] | InputLayout,
    outputs: int,
    cuts: Sequence[str],
    output_shape: tuple[int, ...] | None = None,
    lora: Lora | None = None,
    freeze: str | None = None,
) -> tuple[list[Cut], list[int]]:
    """Build a model and measure the cuts of clients that are cut at several places.

    Parameters are those of `measure_cuts`, and ``cuts`` each client's cut.

    Returns
    -------
    tuple
        The cuts, from the one nearest to the input, and the number of each client's.

    Raises
    ------
    UsageError
        If there is no such model or cut, they don't fit the input, or two cuts are not one behind the other.
    """
    with torch.random.fork_rng([]):
        model, example = _built(spec, input_shape, outputs, output_shape or ())
        places = _Places(frozen_layers(model, freeze, example), example, lora)
        layers = {cut: _chosen(model, cut, example, places.names) for cut in dict.fromkeys(cuts)}
        names, numbers = nested(model, list(dict.fromkeys(layers.values())), example)
        found = []
        for layer in names:
            parts = places.divided(layer)
            check_segments(parts, example, output_shape or (outputs,))
            found.append(places.measured(layer, parts))
    return found, [numbers[layers[cut]] for cut in cuts]


def _built(
    spec: str, shape: tuple[int, ...] | InputLayout, outputs: int, output_shape: tuple[int, ...]
) -> tuple[nn.Module, Tensor]:
    """Return the model, and two inputs for it."""
    if isinstance(shape, InputLayout):
        own = build_model(spec, shape.shapes, outputs, pretrained=False, output_shape=output_shape)
        model, example = taking_rows(own, shape), shape.drawn(2, 0)
    else:
        model = build_model(spec, shape, outputs, pretrained=False, output_shape=output_shape)
        example = example_for(model, shape)
    return given_shapes(model, example), example


class _Places:
    """Divides a model at its places, with adapters if any are wanted.

    Parameters
    ----------
    model, example, lora
        As `measure_cuts` has them.
    """

    def __init__(self, model: nn.Module, example: Tensor, lora: Lora | None) -> None:
        self._model, self._example, self._lora = model, example, lora
        self._whole = model if lora is None else None
        if lora is not None and lora.at == "both":
            self._whole = self._adapted("", lora, whole_model=True)

    def names(self, chosen: str = "") -> list[str]:
        """Return the layers to compare, and the chosen one among them."""
        single = set(cut_points(self._model, self._example))
        every = [place.layer for place in every_cut(self._model, self._example)]
        wanted = [layer for layer in every if layer == chosen or layer in single or "." not in layer]
        wanted += [chosen] if chosen and chosen not in wanted else []
        return [layer for layer in wanted if layer == chosen or self._weighs_twice(layer)]

    def divided(self, layer: str) -> Split:
        """Return the parts at a place.

        Raises
        ------
        UsageError
            If it can't be cut there, or a part would have nothing to train.
        """
        if self._lora is None:
            return split(self._model, layer, self._example)
        parts = split(self._adapted(layer, self._lora), layer, self._example)
        require_adapters(self._lora, trained_of(parts.lower), trained_of(parts.upper))
        return parts

    def _adapted(self, layer: str, lora: Lora, *, whole_model: bool = False) -> nn.Module:
        plan = plan_adapters(
            self._model, lora, self._example, lambda whole: split(whole, layer, self._example), whole_model=whole_model
        )
        return plan.apply(deepcopy(self._model))

    def _weighs_twice(self, layer: str) -> bool:
        """Whether weights are on both sides: without, a client would send its inputs, or everything."""
        try:
            parts = split(self._model, layer, self._example)
        except UsageError:
            return self._lora is not None  # weights that both sides would train may be frozen
        return _weighs(parts.lower) and _weighs(parts.upper)

    def measured(self, layer: str, parts: Split) -> Cut:
        """Return the figures of a place."""
        inputs, dtype = tuple(self._example.shape[1:]), self._example.dtype
        client = segment_flops(parts.lower, inputs, dtype=dtype)
        crossing, values = crossing_of(parts.lower), torch.Size(client.output_shape).numel()
        learned, beside = (values, 0) if crossing is None else (crossing.learned_size, crossing.beside_size)
        lower = _bytes(state_of(parts.lower))
        return Cut(
            _typed(self._model, layer),
            client.output_shape,
            BYTES * learned / BYTES_PER_MB,
            lower / BYTES_PER_MB,
            (lower + _bytes(state_of(parts.upper)) if self._whole is None else _bytes(state_of(self._whole)))
            / BYTES_PER_MB,
            self._work(client, parts.upper, inputs, dtype),
            values_that_cross(layer, parts, client.output_shape),
            BYTES * beside / BYTES_PER_MB,
            _bytes(frozen_of(parts.lower)) / BYTES_PER_MB,
            client_memory(parts.lower, self._example),
        )

    def _work(self, client: SegmentFlops, upper: nn.Module, inputs: tuple[int, ...], dtype: torch.dtype) -> Work:
        if self._whole is None:  # a part is trained by adapters and the other as it is
            server = segment_flops(upper, client.output_shape, input_gradient=True).total
            return Work(client.total, server, client.total + server)
        whole = segment_flops(ended(self._whole, self._example), inputs, dtype=dtype).total
        # What isn't done at the client is done at the server, the gradient of the smashed data too.
        return Work(client.total, whole - client.total, whole)


def example_for(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Return two inputs ``[2, ...]``: numbers of tokens, which are integers, if the model takes nothing else."""
    numbers, tokens = torch.zeros(2, *input_shape), torch.ones(2, *input_shape, dtype=torch.int64)
    return tokens if not _takes(model, numbers) and _takes(model, tokens) else numbers


def _takes(model: nn.Module, inputs: Tensor) -> bool:
    try:
        with torch.no_grad():
            model.eval()(inputs)
    except Exception:  # a model may raise anything
        return False
    return True


def _chosen(model: nn.Module, cut: str | None, example: Tensor, names: Callable[[], list[str]]) -> str:
    """Return the client's last layer; a number says how many children, or blocks, the client keeps."""
    share = share_of(cut)
    if share is not None:
        return nearest_cut(model, share, example)
    if cut is not None:
        number = int(cut) if cut.lstrip("-").isdigit() else None
        if isinstance(model, Transformer):
            return model.place(cut if number is None else number)
        return cut if number is None else child_before(model, number)
    own: str | None = getattr(model, "default_cut", None)
    if own is None:
        problem = "this model has no default cut"
        places = ", ".join(_typed(model, layer) for layer in names())
        raise UsageError("cut", "none", problem, f"give --cut with one of: {places}; or a share, such as 40%")
    return own


def _weighs(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _typed(model: nn.Module, layer: str) -> str:
    """Return what --cut takes for a layer: where layers are named by numbers, how many the client keeps."""
    return str(list(model._modules).index(layer) + 1) if layer.isdigit() else layer


def _bytes(weights: Weights) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
