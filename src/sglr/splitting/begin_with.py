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


def begin_with(
    model: nn.Module, weights: Mapping[str, Tensor], classes: int, spec: str, extra: tuple[str, ...] = ()
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
    spec
        The model's name, for messages.
    extra
        How names of weights begin that the model need not have.

    Raises
    ------
    UsageError
        If they are of another network.
    """
    own = model.state_dict()
    fits = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    left = [name for name in own.keys() - fits.keys() if not name.endswith("num_batches_tracked")]
    strange = [name for name in left if own[name].dim() == 0 or len(own[name]) != classes]
    strange += [name for name in weights if name not in own and not name.startswith(extra or ("\0",))]
    if strange or len(left) > len(own) // 2:
        problem = f"the weights are of another network: {', '.join(sorted(strange or left)[:3])} differs"
        raise UsageError("weights", spec, problem, "give the weights of this network")
    model.load_state_dict(own | fits)
