"""Networks of timm (PyTorch Image Models), with its weights or without."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.model import ModelRequest, shown, unlisted
from sglr.splitting.begin_with import as_in_library, begin_with, read_weights
from sglr.splitting.input_scale import scale_inputs
from sglr.system.vision_libraries import reachable, vision_library

__all__ = ["timm_model"]

log = logging.getLogger(__name__)


def timm_model(asked: ModelRequest) -> nn.Module:
    """Build a network of timm for the data's input shape and number of classes.

    Raises
    ------
    UsageError
        If there is no such network, it does not take such inputs, or its weights are not here.
    """
    if len(asked.input_shape) != 3:
        problem = f"takes images [channels, height, width], but one input has shape {list(asked.input_shape)}"
        raise UsageError("model", asked.spec, problem, "choose a network for such inputs (sglr list models)")
    timm = vision_library("timm", "model", asked.spec)
    _check_name(timm, asked)
    config = timm.get_pretrained_cfg(asked.name)
    options = {"num_classes": asked.classes, "in_chans": asked.input_shape[0], **_size(config, asked)}
    wanted = bool(asked.pretrained) or asked.weights is not None
    own = None if asked.weights is None else _of_run(asked.weights)
    if asked.weights is not None:
        options["pretrained_cfg_overlay"] = {"file": str(asked.weights)}
    elif wanted:
        _refuse_missing(config, asked)
    try:
        model: nn.Module = timm.create_model(asked.name, pretrained=wanted and own is None, **options)
    except Exception as error:  # a network, and what downloads its weights, may raise anything
        raise _failed(config, asked, error) from error
    if own is not None:
        begin_with(model, own, asked.classes, asked.weights or asked.spec)
    if wanted:
        _warn_of_size(config, asked)
    data = timm.data.resolve_model_data_config(model)
    return scale_inputs(model, data["mean"], data["std"], asked.input_shape)


def _of_run(path: Path) -> dict[str, Tensor] | None:
    """Return weights of a file by timm's names, if it is of a trained run's network; None for one that timm reads."""
    if not path.is_file():
        raise UsageError("weights", path, "there is no such file", "give a .safetensors or .pth file")
    try:
        found = read_weights(path)
    except UsageError:  # timm reads files of more kinds, and says what is wrong with this one
        return None
    named = as_in_library(found)
    return None if named.keys() == found.keys() else named


def _refuse_missing(config: Any, asked: ModelRequest) -> None:
    """Refuse at once what the hub's client would try for a minute where there is no network."""
    from huggingface_hub import try_to_load_from_cache

    source = getattr(config, "hf_hub_id", None)
    cached = [try_to_load_from_cache(source, name) for name in ("model.safetensors", "pytorch_model.bin") if source]
    if not any(isinstance(place, str) for place in cached) and not reachable("huggingface.co"):
        raise _not_here(config, asked, "no network")


def _check_name(timm: Any, asked: ModelRequest) -> None:
    """Refuse names that are not in timm's own list: it would look for others on the internet or on the disk."""
    name, _, tag = asked.name.partition(".")
    if not timm.is_model(name):
        raise unlisted(asked, timm.list_models())
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise unlisted(asked, [f"{name}.{each}" for each in tags])


def _size(config: Any, asked: ModelRequest) -> dict[str, Any]:
    """Return the size to build a network for, if it has one of its own."""
    own, given = _own_size(config), asked.input_shape[1:]
    return {"img_size": given} if config is not None and config.fixed_input_size and own != given else {}


def _own_size(config: Any) -> tuple[int, ...] | None:
    return None if config is None else tuple(config.input_size[1:])


def _failed(config: Any, asked: ModelRequest, error: Exception) -> UsageError:
    if asked.weights is not None:
        return UsageError("weights", asked.weights, shown(error), "give the weights of this network")
    if not asked.pretrained or isinstance(error, (TypeError, AssertionError)):
        size = _own_size(config)
        return UsageError(
            "model", asked.spec, shown(error), f"give --image-size {size[0]}" if size else "choose another"
        )
    return _not_here(config, asked, shown(error))


def _not_here(config: Any, asked: ModelRequest, why: str) -> UsageError:
    source = getattr(config, "hf_hub_id", None)
    if source is None:
        return UsageError("pretrained", True, f"timm has no weights for {asked.name} ({why})", "give --no-pretrained")
    problem = f"the weights of {asked.spec} are not in Hugging Face's cache, and can't be downloaded ({why})"
    place = f"https://huggingface.co/{source}"
    remedy = f"get model.safetensors of {place} elsewhere and give it with --weights, or give --no-pretrained"
    return UsageError("pretrained", True, problem, remedy)


def _warn_of_size(config: Any, asked: ModelRequest) -> None:
    own, (_, height, width) = _own_size(config), asked.input_shape
    if own is not None and height * 2 <= own[0]:
        log.warning(
            "%s learned its weights from images of %d pixels a side, yours have %s: %s",
            *(asked.spec, own[0], f"{height} x {width}", f"they are of more use with --image-size {own[0]}"),
        )
