"""Transformers of Hugging Face: a folder with config.json and weights, or a name on the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.model import ModelRequest, shown
from sglr.splitting.transformers import Family, family_named, transformer_of
from sglr.system.extras import optional
from sglr.system.model_folder import CONFIG, model_folder
from sglr.system.torchvision import load_torchvision

__all__ = ["hf_model"]

LANGUAGE = 0.5
"""A model that gives more scores than this share of its vocabulary tells tokens; with fewer, classes of tokens."""


def hf_model(asked: ModelRequest) -> nn.Module:
    """Build a transformer for the data's inputs, with the head that the task needs.

    One row of scores is classification of texts or images; scores at every position are the model's own language head,
    or classification of tokens where there are fewer classes than tokens.

    Raises
    ------
    UsageError
        If there is no such model, its family can't be cut, or it does not take such inputs.
    """
    if asked.weights is not None:
        remedy = "put it into the model's folder as model.safetensors"
        raise UsageError("weights", asked.weights, "models of hf: have their weights in their folder", remedy)
    pretrained = asked.pretrained is not False
    folder = _folder(asked, pretrained)
    asked = replace(asked, input_shape=asked.several.get("input_ids", asked.input_shape))
    kind = _kind(folder, asked.spec)
    family = family_named(kind)
    load_torchvision()
    library = optional("transformers", "transformers", "model", asked.spec)
    with _quiet(library):
        config = _config(library, folder, asked.spec)
        head, padding = _fitted(config, family, asked, pretrained)
        maker = getattr(library, head)
        try:
            if pretrained:
                model, told = maker.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.get_default_dtype(),
                    attn_implementation="eager",
                    use_safetensors=True,
                    local_files_only=True,
                    ignore_mismatched_sizes=True,  # a head for other classes than the file's begins anew
                    output_loading_info=True,
                )
            else:
                model, told = (
                    maker.from_config(config, dtype=torch.get_default_dtype(), attn_implementation="eager"),
                    {},
                )
        except Exception as error:  # the library may raise anything
            raise UsageError("model", asked.spec, shown(error), "give a folder that save_pretrained wrote") from error
    _check_loaded(model, told, asked.spec)
    return transformer_of(model.train(), asked.classes, padding)


def _check_loaded(model: Any, told: Mapping[str, Any], spec: str) -> None:
    """Refuse weights that are another network's: only a head, and what it pools by, may begin anew."""
    inner = f"{model.base_model_prefix}."
    other = [(name, "is not among them") for name in told.get("missing_keys", ())]
    other += [(name, "has another shape") for name, *_ in told.get("mismatched_keys", ())]
    wrong = sorted((name, how) for name, how in other if name.startswith(inner) and ".pooler." not in name)
    if wrong:
        (name, how), more = wrong[0], f", and {len(wrong) - 1} others" if len(wrong) > 1 else ""
        problem = f"its weights are not those of the network that its {CONFIG} tells: {name} {how}{more}"
        raise UsageError("model", spec, problem, "give the folder as save_pretrained wrote it, or --no-pretrained")


def _folder(asked: ModelRequest, pretrained: bool) -> Path:
    """Return the model's folder, or, for a run's own weights, what the run keeps of it."""
    if not pretrained and asked.kept is not None and (asked.kept / CONFIG).is_file():
        return asked.kept
    return model_folder(asked.name, weights=pretrained)


def _kind(folder: Path, spec: str) -> str:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"its {CONFIG} names no model_type ({shown(error)})"
        raise UsageError("model", spec, problem, "give a model of the package transformers") from error


def _config(library: Any, folder: Path, spec: str) -> Any:
    try:
        return library.AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library may raise anything
        raise UsageError("model", spec, shown(error), f"correct its {CONFIG}") from error


def _fitted(config: Any, family: Family, asked: ModelRequest, pretrained: bool) -> tuple[str, int | None]:
    """Set a configuration to the data; return which class has the head, and the token that fills up texts."""
    config.num_labels = asked.classes
    if family.images:
        _fit_images(config, asked, pretrained)
        return "AutoModelForImageClassification", None
    _check_texts(config, family, asked)
    padding = config.pad_token_id
    if len(asked.output_shape) < 2:
        if padding is None and family.causal:
            padding = _first(config.eos_token_id)  # which tokenizers of such models fill up with
        return "AutoModelForSequenceClassification", padding
    if asked.classes > LANGUAGE * config.vocab_size:
        if family.decodes:
            _check_decoded(asked)
            return "AutoModelForSeq2SeqLM", padding
        return "AutoModelForCausalLM" if family.causal else "AutoModelForMaskedLM", padding
    if family.decodes:
        problem = "has an encoder and a decoder, and no head for classes of tokens"
        raise UsageError("model", asked.spec, problem, "choose an encoder, such as bert")
    return "AutoModelForTokenClassification", padding


def _check_decoded(asked: ModelRequest) -> None:
    """Refuse texts alone for a model that writes another text: its decoder reads what is written so far."""
    decoded = asked.several.get("decoder_input_ids")
    if decoded != asked.output_shape[:-1]:
        shown = "none" if decoded is None else ",".join(map(str, decoded))
        problem = f"writes texts of {asked.output_shape[0]} tokens, and its decoder reads as many: those before each"
        remedy = "give inputs input_ids and decoder_input_ids, in which targets are one position later"
        raise UsageError("decoder_input_ids", shown, f"model {asked.spec} {problem}", remedy)


def _fit_images(config: Any, asked: ModelRequest, pretrained: bool) -> None:
    own = (config.num_channels, *_pair(config.image_size))
    if len(asked.input_shape) != 3 or len(asked.output_shape) > 1:
        problem = f"tells the class of images [channels, height, width], but one input has shape {[*asked.input_shape]}"
        raise UsageError("model", asked.spec, problem, "choose a model for such inputs, and a task of classes")
    if asked.input_shape == own:
        return
    if pretrained:
        problem = f"takes images of shape {[*own]}, but one input has shape {[*asked.input_shape]}"
        raise UsageError("model", asked.spec, problem, f"give --image-size {own[1]}, or --no-pretrained")
    config.num_channels, config.image_size = asked.input_shape[0], asked.input_shape[1:]
    if any(side % patch for side, patch in zip(asked.input_shape[1:], _pair(config.patch_size), strict=True)):
        problem = f"has patches of {config.patch_size} pixels, and one input has shape {[*asked.input_shape]}"
        raise UsageError("model", asked.spec, problem, f"give --image-size, or another patch_size in {CONFIG}")


def _check_texts(config: Any, family: Family, asked: ModelRequest) -> None:
    if len(asked.input_shape) != 1:
        problem = f"takes tokens [positions], but one input has shape {[*asked.input_shape]}"
        raise UsageError("model", asked.spec, problem, "choose a model for such inputs")
    most = getattr(config, "max_position_embeddings", 0)
    if family.positions_after_padding:
        most -= config.pad_token_id + 1
    if family.learnt_positions and asked.input_shape[0] > most:
        problem = f"has positions for {most} tokens, and texts have {asked.input_shape[0]}"
        raise UsageError("model", asked.spec, problem, f"give --length {most} or less")
    if len(asked.output_shape) > 1 and asked.classes > config.vocab_size:
        problem = f"embeds {config.vocab_size} tokens, and the texts' tokenizer has {asked.classes}"
        raise UsageError("tokenizer", asked.spec, problem, "give the model's own tokenizer, or leave it out")


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _first(tokens: int | list[int] | None) -> int | None:
    return tokens[0] if isinstance(tokens, list) else tokens


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep the library from telling of heads that begin anew, and from showing progress."""
    logs = library.utils.logging
    before, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(before)
        if bars:
            logs.enable_progress_bar()
