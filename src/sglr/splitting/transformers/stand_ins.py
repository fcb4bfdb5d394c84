"""What stands in a part of a transformer for what the other parts have: it hands hidden states on as they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class SkippedBlock(nn.Module):
    """Stands for a block that another part has; the blocks keep their numbers, and so their names and their masks."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the hidden states ``[b, L, d]``."""
        return hidden


class Embedded(nn.Module):
    """Stands for the embedding, in parts that are given hidden states.

    Parameters
    ----------
    like
        A module of the part: hidden states are of the type of its weights.
    """

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self._like = (like,)  # in a tuple it is no child

    def forward(self, *given: Tensor | None, **named: Any) -> Tensor:
        """Return the hidden states ``[b, L, d]``, whatever the embedding calls them."""
        return next(each for each in (*given, named.get("inputs_embeds")) if isinstance(each, Tensor))

    @property
    def patch_embeddings(self) -> SimpleNamespace:
        """What a vision transformer asks for the type of its inputs."""
        weight = next(filter(torch.is_floating_point, self._like[0].parameters()), torch.empty(0))
        return SimpleNamespace(projection=SimpleNamespace(weight=weight))


class NoPositions(nn.Module):
    """Stands for the embedding of positions, which are in the hidden states already."""

    def forward(self, positions: Tensor) -> Tensor:
        """Return 0, which is added to them."""
        return positions.new_zeros(())


class SkippedT5Block(nn.Module):
    """Stands for a block of T5 that another part has, and hands on what blocks add to their scores."""

    def forward(
        self, hidden: Tensor, _mask: Any = None, added: Any = None, *_: Any, distances: Any = None, **__: Any
    ) -> tuple[Tensor, Any, None]:
        """Return the hidden states ``[b, L, d]``, and what was added before, or arrived from the part before."""
        return hidden, distances if added is None else added, None


class DistancesOnly(nn.Module):
    """Stands for the first block of T5, where its table of distances is frozen: both sides have a copy.

    Parameters
    ----------
    attention
        The attention of that block, of which only the table stays.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        for name in ("q", "k", "v", "o"):
            setattr(attention, name, nn.Identity())
        inner = nn.Module()
        inner.SelfAttention = attention
        self.layer = nn.ModuleList([inner])

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Any, None]:
        """Return the hidden states ``[b, L, d]``, and what the block would add to scores."""
        attention: Any = self.layer[0].SelfAttention
        length = hidden.shape[1]
        return hidden, attention.compute_bias(length, length, device=hidden.device), None
