"""Networks of torchvision: classification, segmentation of pixels and video, with its weights or without."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.model import ModelRequest, shown, unlisted
from sglr.splitting.begin_with import as_in_library, begin_with, read_weights
from sglr.splitting.derived import derive
from sglr.splitting.input_scale import scale_inputs
from sglr.system.vision_libraries import vision_library

__all__ = ["torchvision_model"]

log = logging.getLogger(__name__)

_AUXILIARY = ("googlenet", "inception_v3")
"""Networks with classifiers of their own for the training, which are left out."""
_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
"""Names of DenseNet's weights in files that were written before torchvision forbade dots in names of layers."""


def torchvision_model(asked: ModelRequest) -> nn.Module:
    """Build a network of torchvision for the data's input shape and number of classes.

    Raises
    ------
    UsageError
        If there is no such network, it does not take such inputs, or its weights are not here.
    """
    models = vision_library("torchvision", "model", asked.spec).models
    names = models.list_models()
    if asked.name not in names:
        raise unlisted(asked, names)
    builder = models.get_model_builder(asked.name)
    kind = builder.__module__
    if ".detection" in kind or ".quantization" in kind or ".optical_flow" in kind:
        what = "detects objects" if ".detection" in kind else "is quantized or compares pictures"
        problem = f"this network {what}, which no task of sglr trains"
        raise UsageError("model", asked.spec, problem, "choose one that classifies pictures or pixels")
    known = _known(models, asked.name)
    transforms = None if known is None else known.transforms()
    _check_shape(asked, video=".video" in kind)
    try:
        model: nn.Module = builder(**_options(asked, kind))
    except Exception as error:  # a builder may raise anything
        raise UsageError("model", asked.spec, shown(error), _sized(transforms)) from error
    _take_channels(model, asked.input_shape[0])
    if asked.pretrained or asked.weights is not None:
        begin_with(
            model, _weights(asked, known, model), asked.classes, asked.weights or asked.spec, ("aux", "AuxLogits")
        )
        _warn_of_size(asked, transforms)
    if ".segmentation" in kind:
        derive(model, _Pixels)
    if transforms is None:
        return model
    return scale_inputs(model, transforms.mean, transforms.std, asked.input_shape)


class _Pixels(nn.Module):
    """A network for the classes of pixels, which gives its scores alone."""

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = super().forward(x)["out"]
        return scores


def _known(models: Any, name: str) -> Any:
    found = list(models.get_model_weights(name))
    return models.get_model_weights(name).DEFAULT if found else None


def _check_shape(asked: ModelRequest, *, video: bool) -> None:
    rank, takes = (4, "videos [channels, time, height, width]") if video else (3, "images [channels, height, width]")
    if len(asked.input_shape) != rank:
        problem = f"takes {takes}, but one input has shape {list(asked.input_shape)}"
        raise UsageError("model", asked.spec, problem, "choose a network for such inputs (sglr list models)")


def _options(asked: ModelRequest, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"weights": None, "num_classes": asked.classes}
    *_, height, width = asked.input_shape
    if ".segmentation" in kind:
        options |= {"weights_backbone": None, "aux_loss": False}
    if asked.name in _AUXILIARY:
        options |= {"aux_logits": False, "init_weights": True, "transform_input": asked.input_shape[0] == 3}
    if asked.name.startswith(("vit_", "maxvit")):
        if height != width:
            problem = f"takes square images, not {height} x {width}"
            raise UsageError("model", asked.spec, problem, "give --image-size")
        options |= {"input_size": (height, width)} if asked.name.startswith("maxvit") else {"image_size": height}
    return options


def _take_channels(model: nn.Module, channels: int) -> None:
    """Replace the first convolution where inputs have another number of channels than 3."""
    if channels == 3:
        return
    name, first = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, _CONVOLUTIONS))
    other = type(first)(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    around, _, own = name.rpartition(".")
    setattr(model.get_submodule(around), own, other)


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def _weights(asked: ModelRequest, known: Any, model: nn.Module) -> Mapping[str, Tensor]:
    state = as_in_library(read_weights(asked.weights)) if asked.weights is not None else _library_s(asked, known)
    renamed = {_DENSE.sub(r"\1\2", name): value for name, value in state.items()}
    first = next(name for name, layer in model.named_modules() if isinstance(layer, _CONVOLUTIONS))
    return _for_channels(renamed, f"{first}.weight", asked.input_shape[0])


def _for_channels(state: dict[str, Tensor], name: str, channels: int) -> dict[str, Tensor]:
    """Return weights whose first convolution takes this many channels: sums over them keep their size."""
    weight = state.get(name)
    if weight is None or weight.shape[1] == channels:
        return state
    stored = weight.shape[1]
    repeated = weight[:, torch.arange(channels) % stored] * (stored / channels)
    return state | {name: weight.sum(dim=1, keepdim=True) if channels == 1 else repeated}


def _library_s(asked: ModelRequest, known: Any) -> dict[str, Tensor]:
    if known is None:
        raise UsageError("pretrained", True, f"torchvision has no weights for {asked.name}", "give --no-pretrained")
    try:
        state: dict[str, Tensor] = known.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        problem = f"the weights of {asked.spec} are not in {folder}, and can't be downloaded ({shown(error)})"
        remedy = f"put {known.url} there, give a file with --weights, or --no-pretrained"
        raise UsageError("pretrained", True, problem, remedy) from error
    return state


def _size_of(transforms: Any) -> int | None:
    size = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    return int(size[0]) if size else None


def _sized(transforms: Any) -> str:
    size = None if transforms is None else _size_of(transforms)
    return f"give --image-size {size}" if size else "give inputs of another size (--image-size)"


def _warn_of_size(asked: ModelRequest, transforms: Any) -> None:
    size = None if transforms is None else _size_of(transforms)
    *_, height, width = asked.input_shape
    if size is not None and height * 2 <= size:
        shape = f"{height} x {width}"
        log.warning(
            "%s learned its weights from images of %d pixels a side, yours have %s: %s",
            *(asked.spec, size, shape, f"they are of more use with --image-size {size}"),
        )
