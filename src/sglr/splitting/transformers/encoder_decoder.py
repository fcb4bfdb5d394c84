"""Encoder–decoders of the package transformers, cut within the encoder; the server holds the decoder and the head.

The decoder reads tokens, too, and they must not leave the client: it embeds them, with the embedding that both share,
and sends these vectors with the encoder's hidden states. Blocks of T5 add numbers to their scores that the first block
makes of distances between positions: they are sent where they are trained; a frozen table of them is on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.splitting.derived import derive
from sglr.splitting.transformers.masks import added_mask, causal_mask
from sglr.splitting.transformers.part import Span, Transformer
from sglr.splitting.transformers.stand_ins import DistancesOnly, NoPositions, SkippedBlock, SkippedT5Block

HEADS = ("lm_head", "classification_head", "final_logits_bias")
"""What a model has beside its encoder, its decoder and the embedding of both."""

TOKENS, DECODED = "input_ids", "decoder_input_ids"
"""The inputs: tokens that the encoder reads, and those that the decoder reads."""


class EncoderDecoder(Transformer):
    """An encoder–decoder or a part of it.

    It takes tokens ``[b, L]``, and the decoder reads the same, one position later, as the package has it for classes.
    Of samples with several inputs, ``input_ids`` and ``decoder_input_ids`` ``[b, M]``, it takes a dict.

    Attributes
    ----------
    sends_distances
        Whether what the first block makes of distances crosses behind this part.
    """

    def __init__(self, model: nn.Module, outputs: int | None = None, padding: int | None = None) -> None:
        super().__init__(model, outputs, padding)
        self.sends_distances = False
        for stack in (self.base.encoder, self.base.decoder):
            stack.config._attn_implementation = "eager"
            stack.config.use_cache = False

    def is_of_base(self, name: str) -> bool:
        """Say whether a weight of this name is in the model without its head."""
        return not name.removeprefix("model.").startswith(HEADS)

    @property
    def sglr_input_names(self) -> tuple[str, ...]:
        """The inputs that it takes by name."""
        return (TOKENS, DECODED)

    @property
    def _tells_tokens(self) -> bool:
        return type(self.model).__name__.endswith("ForConditionalGeneration")

    def forward(self, inputs: Any) -> Any:
        """Return scores ``[b, K]`` or ``[b, M, K]`` of a part that ends, and what crosses of one that does not.

        Parameters
        ----------
        inputs
            Tokens, or a dict of those of encoder and decoder; what the part before returned.
        """
        state = self._read(inputs) if self.span.embeds else dict(inputs)
        like = state["decoder"]
        seen = None if "mask" not in state else added_mask((state["mask"] != 0)[:, None, None, :], like)
        given = {"inputs_embeds": state["hidden"]} if "hidden" in state else {"input_ids": state.pop("tokens")}
        distances = {"distances": state["distances"]} if "distances" in state else {}
        state["hidden"] = self.base.encoder(attention_mask=seen, **given, **distances).last_hidden_state
        if self.sends_distances and "distances" not in state:
            state["distances"] = self._distances(state["hidden"])
        if self.span.ends:
            return self._scores(state, seen)
        return {"hidden": state.pop("hidden"), **state}

    def _read(self, inputs: Any) -> dict[str, Tensor]:
        """Return what encoder and decoder are given of tokens."""
        named: Mapping[str, Tensor] = inputs if isinstance(inputs, Mapping) else {TOKENS: inputs}
        tokens = named[TOKENS]
        state = {"tokens": tokens, "decoder": self.base.decoder.embed_tokens(self._decoded(named))}
        if self.padding is not None:
            state["mask"] = tokens != self.padding
        if not self._tells_tokens:
            state["last"] = self._last(named.get(DECODED, tokens))
        return state

    def _decoded(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens that the decoder reads: those given, or the encoder's after a token that begins."""
        if DECODED in named:
            return named[DECODED]
        if self._tells_tokens:
            problem = "its decoder tells tokens from those before, and samples have one input"
            remedy = f"give {TOKENS} and {DECODED}: dataset=({{'{TOKENS}': …, '{DECODED}': …}}, targets)"
            raise UsageError("model", type(self.model).__name__, problem, remedy)
        tokens = named[TOKENS]
        return torch.cat([torch.full_like(tokens[:, :1], self._start), tokens[:, :-1]], 1)

    @property
    def _start(self) -> int:
        start = self.model.config.decoder_start_token_id
        return int(start if start is not None else self.padding or 0)

    def _last(self, tokens: Tensor) -> Tensor:
        """Return the place ``[b, 1]`` of each text's last token that ends it; of its last token if there is none."""
        ends = self.model.config.eos_token_id
        places = torch.arange(tokens.shape[1], device=tokens.device)
        real = torch.ones_like(tokens, dtype=torch.bool) if self.padding is None else tokens != self.padding
        last = (places * real).amax(1)
        for end in () if ends is None else ends if isinstance(ends, list) else (ends,):
            found = torch.where(tokens == end, places, -1).amax(1)
            last = torch.where(found >= 0, found, last)
        return last[:, None]

    def _distances(self, hidden: Tensor) -> Tensor:
        """Return what T5's first block adds to scores, for each sample ``[b, heads, L, L]``."""
        first: Any = self._blocks[0]
        attention = first.layer[0].SelfAttention
        length = hidden.shape[1]
        found: Tensor = attention.compute_bias(length, length, device=hidden.device)
        return found.expand(hidden.shape[0], -1, -1, -1)

    def _scores(self, state: Mapping[str, Tensor], seen: Tensor | None) -> Tensor:
        decoder = state["decoder"]
        hidden = self.base.decoder(
            inputs_embeds=decoder,
            attention_mask=causal_mask(decoder.shape[1], decoder),
            encoder_hidden_states=state["hidden"],
            encoder_attention_mask=seen,
        ).last_hidden_state
        if not self._tells_tokens:
            last = state["last"].to(torch.int64)[:, :, None].expand(-1, 1, hidden.shape[2])
            return self._wanted(self.model.classification_head(hidden.gather(1, last).squeeze(1)))
        if getattr(self.model.config, "scale_decoder_outputs", False):
            hidden = hidden * self.model.model_dim**-0.5
        scores = self.model.lm_head(hidden)
        shift = getattr(self.model, "final_logits_bias", None)
        return self._wanted(scores if shift is None else scores + shift)

    def _truncate(self, span: Span) -> None:
        """Leave out of a part what other parts have."""
        base, first = self.base, self.base.encoder.get_submodule(self.family.layers.partition(".")[2])
        table = getattr(getattr(first[0], "layer", [None])[0], "SelfAttention", None)
        trained = table is not None and table.relative_attention_bias.weight.requires_grad
        needed = trained and 0 < span.last < len(first) and span.first == 0
        self.sends_distances = bool(needed)
        for number in range(len(first)):
            if not span.first <= number < span.last:
                skipped = SkippedT5Block() if self.family.norm else SkippedBlock()
                keeps = number == 0 and table is not None and not trained and span.last > span.first
                first[number] = DistancesOnly(table) if keeps else skipped
        self._leave_out_ends(base, span)
        if not span.embeds:
            base.shared = nn.Identity()
            base.encoder.embed_tokens = nn.Identity()
            base.decoder.embed_tokens = nn.Identity()
        if not span.ends:
            for name, _ in [*base.decoder.named_children()]:
                if name != "embed_tokens":
                    setattr(base.decoder, name, nn.Identity())
            for name in HEADS:
                if hasattr(self.model, name):
                    delattr(self.model, name)

    def _leave_out_ends(self, base: Any, span: Span) -> None:
        """Leave out what an encoder does before its first block and behind its last."""
        encoder = base.encoder
        if self.family.norm:  # T5 drops values at both ends by one module
            share = getattr(encoder.dropout, "p", None)
            encoder.dropout = nn.Identity()
            for here, name in ((span.embeds, "embed_tokens"), (span.ends, "final_layer_norm")):
                if here and share is not None:  # else it was cut before
                    dropping: Any = derive(encoder.get_submodule(name), _Dropping)
                    dropping.dropped = share
            if not span.ends:
                encoder.final_layer_norm = nn.Identity()
        elif not span.embeds:
            encoder.embed_positions, encoder.layernorm_embedding = NoPositions(), nn.Identity()
            encoder.dropout = 0.0


class _Dropping(nn.Module):
    """A module that drops a share of what it returns, in training."""

    dropped: float

    def forward(self, *given: Any) -> Tensor:
        """Return the module's output with some values set to zero."""
        return F.dropout(super().forward(*given), self.dropped, self.training)
