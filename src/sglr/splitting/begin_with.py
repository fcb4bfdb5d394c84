"""Give a network pretrained weights: all that fit, and new ones for the layer that tells the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.input_scale import DEVIATION, MEAN

PARTIES = ("client", "server", "tail")
"""How names of weights of a trained run's network begin; only networks of runs whose labels stay have a tail."""
COVERED = "client.segment."
"""How those of a client begin whose smashed data go through a layer of a defence."""
SHOWN = 3
"""Differences that a message names."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, without running code that it may hold.

    Raises
    ------
    UsageError
        If it is not there, or no such file.
    """
    if not path.is_file():
        raise UsageError("weights", path, "there is no such file", "give a .safetensors, .pt or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        SafetensorError,
        UnpicklingError,
    ) as error:
        problem = f"can't be read as weights ({' '.join(str(error).split())[:200]})"
        raise UsageError("weights", path, problem, "save model.state_dict() with safetensors or torch.save") from error
    state = found.get("state_dict", found.get("model", found)) if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError("weights", path, "holds no weights by name", "save model.state_dict()")
    return {str(name): value for name, value in state.items()}


def as_in_library(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names that the network's library gives them.

    Those of a trained run's network (`sglr.load_model`) are named by the party that has them, and the scale of inputs
    is beside them: a network that begins with them has its own.
    """
    sides = {name.partition(".")[0] for name in weights}
    split = sides <= {*PARTIES} and sides >= {*PARTIES[:2]}
    named = {(name.partition(".")[2] if split else name): value for name, value in weights.items()}
    if split and all(name.startswith(COVERED) for name in weights if name.startswith("client.")):
        named = {name.removeprefix("segment."): value for name, value in named.items()}
    return {name: value for name, value in named.items() if name not in (MEAN, DEVIATION)}


def begin_with(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    classes: int,
    source: str | Path,
    extra: tuple[str, ...] = (),
) -> None:
    """Put pretrained weights into a model.

    Parameters
    ----------
    model
        The model, whose last layer gives ``classes`` values.
    weights
        By name. Those of a last layer for another number of classes are left out.
    classes
        K.
    source
        The file that they are of, or the model's name, for messages.
    extra
        How names of weights begin that the model need not have.

    Raises
    ------
    UsageError
        If they are of another network; the message names what differs.
    """
    own = model.state_dict()
    fits = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    left = [name for name in own.keys() - fits.keys() if not name.endswith("num_batches_tracked")]
    strange = [name for name in left if own[name].dim() == 0 or len(own[name]) != classes]
    strange += [name for name in weights if name not in own and not name.startswith(extra or ("\0",))]
    if strange or len(left) > len(own) // 2:
        problem = f"the weights are of another network: {_differences(sorted(strange or left), own, weights)}"
        raise UsageError("weights", source, problem, "give the weights of this network")
    model.load_state_dict(own | fits)


def _differences(names: list[str], own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Say of the first names how the weights differ from the network's own."""
    told = []
    for name in names[:SHOWN]:
        if name not in own:
            told.append(f"the network has no {name}")
        elif name not in weights:
            told.append(f"{name} is missing")
        else:
            told.append(f"{name} has shape {[*weights[name].shape]}, not {[*own[name].shape]}")
    more = len(names) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
