"""The sizes and operations of a model's cuts, by shapes alone: nothing is trained and no data is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.weights import state_of
from sglr.cost.computation import segment_flops
from sglr.planner.costs import BYTES_PER_MB, Work
from sglr.planner.cut_figures import nearest_cut, share_of
from sglr.splitting import Split, check_segments, crossing_of, cut_points, split
from sglr.splitting.model_checks import given_shapes
from sglr.splitting.sequence import child_before


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
        S(L), its size in MB (10⁶ bytes).
    client_mb, model_mb
        S(w_c) and S(w), trained weights and buffers of the client segment and of the model, in MB.
    work
        Operations of one sample in one training step.
    """

    name: str
    smashed_shape: tuple[int, ...]
    cut_mb: float
    client_mb: float
    model_mb: float
    work: Work


def measure_cuts(
    spec: str,
    input_shape: tuple[int, ...],
    outputs: int,
    cut: str | None = None,
    output_shape: tuple[int, ...] | None = None,
) -> tuple[Cut, list[Cut]]:
    """Build a model and measure the chosen cut and every one that leaves weights on both sides.

    Parameters
    ----------
    spec
        A registered model, or ``package.module:function``; see `sglr.core.model.build_model`.
    input_shape
        Shape of one input, without the batch dimension.
    outputs
        How many values the model gives for a sample, or for each pixel or position: K for K classes.
    cut
        Where to cut, as `sglr.splitting.split` takes it, or a share of the operations such as ``40%``; None for the
        model's own cut.
    output_shape
        Of one sample's output; None for one row of ``outputs`` values.

    Returns
    -------
    tuple
        The chosen cut, and those of `sglr.splitting.cut_points` in the order of execution.

    Raises
    ------
    UsageError
        If there is no such model or cut (the nearest is suggested), or they don't fit the input.
    """
    with torch.random.fork_rng([]):
        model = build_model(spec, input_shape, outputs, pretrained=False, output_shape=output_shape or ())
        example = example_for(model, input_shape)
        model = given_shapes(model, example)
    layer = _chosen(model, cut, example)
    segments = split(model, layer, example)
    check_segments(segments, example, output_shape or (outputs,))
    measured = {other: _measure(model, other, parts, example) for other, parts in _useful(model, example).items()}
    return measured.get(layer) or _measure(model, layer, segments, example), list(measured.values())


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


def _chosen(model: nn.Module, cut: str | None, example: Tensor) -> str:
    """Return the client's last layer; a number says how many children the client keeps."""
    share = share_of(cut)
    if share is not None:
        return nearest_cut(model, share, example)
    if cut is not None:
        return child_before(model, int(cut)) if cut.lstrip("-").isdigit() else cut
    own: str | None = getattr(model, "default_cut", None)
    if own is None:
        problem = "this model has no default cut"
        places = ", ".join(_typed(model, layer) for layer in _useful(model, example))
        raise UsageError("cut", "none", problem, f"give --cut with one of: {places}; or a share, such as 40%")
    return own


def _useful(model: nn.Module, example: Tensor) -> dict[str, Split]:
    """Return the cuts that leave weights on both sides: without, a client would send its inputs, or everything."""
    cuts = {layer: split(model, layer, example) for layer in cut_points(model, example)}
    return {layer: parts for layer, parts in cuts.items() if _weighs(parts.lower) and _weighs(parts.upper)}


def _weighs(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _typed(model: nn.Module, layer: str) -> str:
    """Return what --cut takes for a layer: where layers are named by numbers, how many the client keeps."""
    return str(list(model._modules).index(layer) + 1) if layer.isdigit() else layer


def _measure(model: nn.Module, layer: str, segments: Split, example: Tensor) -> Cut:
    inputs, dtype = tuple(example.shape[1:]), example.dtype
    client = segment_flops(segments.lower, inputs, dtype=dtype)
    whole = segment_flops(model, inputs, dtype=dtype).total
    crossing, values = crossing_of(segments.lower), torch.Size(client.output_shape).numel()
    values -= 0 if crossing is None else crossing.beside_size  # sent as integers, not as two halves
    return Cut(
        _typed(model, layer),
        client.output_shape,
        values * torch.finfo(torch.float32).bits / 8 / BYTES_PER_MB,
        _bytes(segments.lower) / BYTES_PER_MB,
        _bytes(model) / BYTES_PER_MB,
        # What isn't done at the client is done at the server, the gradient of the smashed data too.
        Work(client.total, whole - client.total, whole),
    )


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state_of(module).values())
