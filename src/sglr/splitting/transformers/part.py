"""Transformers of the package transformers, and parts of them: truncated, not traced.

A part is the model's own class with blocks left out, so that it runs the code that the whole model runs. Between two
parts pass the hidden states, and which positions are tokens where later blocks must know it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sglr.splitting.several_inputs import no_longer_taking_rows
from sglr.splitting.transformers.families import Family, family_of
from sglr.splitting.transformers.masks import masks_for
from sglr.splitting.transformers.places import blocks_before, place_name
from sglr.splitting.transformers.stand_ins import Embedded, NoPositions, SkippedBlock
from sglr.system.torchvision import load_torchvision

Crossing = Tensor | dict[str, Tensor]
"""Hidden states ``[b, L, d]``; or these as ``hidden`` and, as ``mask`` ``[b, L]``, which positions are tokens."""


CHANGING = ("dynamic", "longrope")
"""Rotary positions whose buffers change with the length of texts."""


class Span(NamedTuple):
    """What a part has of a model.

    Parameters
    ----------
    first, last
        It runs the blocks from ``first`` up to but not including ``last``.
    embeds
        Whether it begins with the embedding.
    ends
        Whether it ends with the last normalisation and the head.
    """

    first: int
    last: int
    embeds: bool
    ends: bool


class Transformer(nn.Module):
    """A transformer or a part of it, that takes one tensor and returns scores.

    Parameters
    ----------
    model
        A model with a head of the package transformers, of a known family; it is used, not copied. It is set to plain
        (eager) attention, which stacked clients can compute.
    outputs
        K, how many scores are wanted of each sample or position; a vocabulary may be filled up beyond it. None for all.
    padding
        The token that fills up short texts; None if there is none, or inputs are no tokens.

    Raises
    ------
    UsageError
        If the model's family is not known.

    Attributes
    ----------
    span
        Which part it is.
    pools_last
        Whether scores are those of each text's last token.
    """

    def __init__(self, model: nn.Module, outputs: int | None = None, padding: int | None = None) -> None:
        super().__init__()
        self.family, self.outputs, self.padding = family_of(model), outputs, padding
        self.model: Any = model
        self.pools_last = _pools_last(model)
        _make_plain(model)
        self.span = Span(0, len(self._blocks), embeds=True, ends=True)
        self.train(model.training)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy is made: before the package's classes are imported in another process."""
        return _blank, (type(self),), self.__dict__

    @property
    def base(self) -> Any:
        """The model without its head."""
        prefix = str(getattr(self.model, "base_model_prefix", ""))
        return getattr(self.model, prefix, self.model)

    def is_of_base(self, name: str) -> bool:
        """Say whether a weight of this name is in the model without its head."""
        return name.startswith(f"model.{getattr(self.model, 'base_model_prefix', '')}.")

    @property
    def sglr_input_names(self) -> tuple[str, ...]:
        """The inputs that it takes by name, where samples have several; the first is the tokens."""
        types = () if not getattr(self.base.config, "type_vocab_size", 0) else ("token_type_ids",)
        return ("input_ids", *types)

    @property
    def _blocks(self) -> nn.ModuleList:
        blocks = self.base.get_submodule(self.family.layers)
        assert isinstance(blocks, nn.ModuleList), self.family.layers
        return blocks

    @property
    def default_cut(self) -> str:
        """Behind a third of the blocks."""
        return self.cut_points()[max(1, len(self._blocks) // 3)]

    def cut_points(self) -> list[str]:
        """Return the names of the places where this part can be cut, in the order of execution."""
        return [place_name(blocks) for blocks in range(self.span.first + (not self.span.embeds), self.span.last + 1)]

    def place(self, at: int | str) -> str:
        """Return the name of a place, which may be given as in `cut_behind`.

        Raises
        ------
        UsageError
            If there is no such place.
        """
        return place_name(blocks_before(at, self.cut_points(), len(self._blocks)))

    def cut_behind(self, at: int | str) -> tuple[Transformer, Transformer]:
        """Return the parts up to and behind a place; they share their weights with this one.

        Parameters
        ----------
        at
            ``"embeddings"``, ``"layer.2"`` for the blocks 0 to 2 (``layers.2``, ``h.2`` and the module's own name are
            the same), or the number of blocks that the first part has; negative as in slices.

        Raises
        ------
        UsageError
            If there is no such place.
        """
        block = blocks_before(at, self.cut_points(), len(self._blocks))
        lower = self._part(Span(self.span.first, block, self.span.embeds, ends=False))
        return lower, self._part(Span(block, self.span.last, embeds=False, ends=self.span.ends))

    def _part(self, span: Span) -> Transformer:
        part = copy.deepcopy(self, {id(weight): weight for weight in self.parameters()})
        part.span = span
        if not span.embeds:
            no_longer_taking_rows(part)
        part._truncate(span)
        return part

    def _truncate(self, span: Span) -> None:
        _truncate(self, span)

    def forward(self, inputs: Crossing) -> Crossing:
        """Return scores ``[b, K]`` or ``[b, L, K]`` of a part that ends, and what crosses the cut of one that does not.

        Parameters
        ----------
        inputs
            Tokens ``[b, L]`` or images ``[b, channels, height, width]``; a dict of `sglr_input_names`; what the part
            before returned.
        """
        given, tokens = self._taken(inputs)
        named = {self._input_name: given} if self.family.images else self._with_mask(given, tokens)
        if self.span.embeds and isinstance(inputs, Mapping):
            named |= {name: inputs[name] for name in self.sglr_input_names[1:] if name in inputs}
        if not self.span.ends:
            hidden: Tensor = self.base(**named).last_hidden_state
            return hidden if tokens is None or not self._needed_behind else {"hidden": hidden, "mask": tokens}
        if self.pools_last:
            return self._of_last_token(self.model.score(self.base(**named).last_hidden_state), tokens)
        return self._wanted(self.model(**named).logits)

    def _taken(self, inputs: Crossing) -> tuple[Tensor, Tensor | None]:
        """Return the inputs or hidden states, and which positions are tokens, where that matters."""
        if isinstance(inputs, Mapping) and self.span.embeds:
            inputs = inputs["input_ids"]
        if isinstance(inputs, Mapping):
            return inputs["hidden"], inputs["mask"] != 0
        if not self.span.embeds or self.padding is None or self.family.images:
            return inputs, None
        return inputs, inputs != self.padding

    @property
    def _input_name(self) -> str:
        if self.family.images:
            return "pixel_values"
        return "input_ids" if self.span.embeds else "inputs_embeds"

    @property
    def _needed_behind(self) -> bool:
        """Whether a later part must know which positions are tokens."""
        return self.span.last < len(self._blocks) or self.pools_last

    def _with_mask(self, given: Tensor, tokens: Tensor | None) -> dict[str, Any]:
        like = given if given.is_floating_point() else next(filter(torch.is_floating_point, self.parameters()))
        settings = self.base.config
        window, types = getattr(settings, "sliding_window", None), getattr(settings, "layer_types", None) or ()
        masks = masks_for(self.family, tokens, given.shape[1], like, window, tuple(types))
        return {self._input_name: given, "attention_mask": masks}

    def _of_last_token(self, scores: Tensor, tokens: Tensor | None) -> Tensor:
        """Return the scores ``[b, K]`` of each text's last token, of ``[b, L, K]``."""
        if tokens is None:
            return self._wanted(scores[:, -1])
        last = (torch.arange(tokens.shape[1], device=tokens.device) * tokens).argmax(1)
        return self._wanted(scores.gather(1, last[:, None, None].expand(-1, 1, scores.shape[2])).squeeze(1))

    def _wanted(self, scores: Tensor) -> Tensor:
        return scores if self.outputs is None else scores[..., : self.outputs]


def _blank(kind: type[Transformer]) -> Transformer:
    load_torchvision()
    return kind.__new__(kind)


def _make_plain(model: Any) -> None:
    """Set a model to what works for stacked clients and in training: plain attention, and no cache of keys.

    Buffers that the model does not save, such as the numbers of positions, are constants: as frozen weights they are
    the same for all clients, and nobody averages or sends them.
    """
    model.config._attn_implementation = "eager"
    model.config.use_cache = False
    for module in model.modules():
        names = set() if getattr(module, "rope_type", "") in CHANGING else module._non_persistent_buffers_set
        for name in sorted(names):
            constant = module._buffers.pop(name)
            module._non_persistent_buffers_set.discard(name)
            if constant is not None:
                setattr(module, name, nn.Parameter(constant, requires_grad=False))


def _truncate(part: Transformer, span: Span) -> None:
    """Leave out of a part what other parts have."""
    base, family = part.base, part.family
    blocks = base.get_submodule(family.layers)
    for number in range(len(blocks)):
        if not span.first <= number < span.last:
            blocks[number] = SkippedBlock()
    if not span.embeds:
        _leave_out_embedding(base, family)
    if not span.ends:
        if family.norm:
            setattr(base, family.norm, nn.Identity())
        if getattr(base, "pooler", None) is not None:
            base.pooler = None
        for name, child in part.model.named_children():
            if child is not base:
                setattr(part.model, name, nn.Identity())


def _leave_out_embedding(base: Any, family: Family) -> None:
    if family.whole_embedding:
        setattr(base, family.embeddings[0], Embedded(base.get_submodule(family.layers)))
        return
    for name in family.embeddings:
        setattr(base, name, NoPositions() if name == "wpe" else nn.Identity())


def _pools_last(model: nn.Module) -> bool:
    """Say whether a model classifies texts by their last token, as causal ones do."""
    return type(model).__name__.endswith("ForSequenceClassification") and hasattr(model, "score")
