"""Small causal transformer on tokens, to tell the next one: the embedding and one block at the client."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from sglr.core.model import other_shape

__all__ = ["Transformer"]

WIDTH, HEADS, BLOCKS = 64, 4, 3


class Transformer(nn.Sequential):
    """Three blocks of 64 channels and 4 heads, each position of which sees those before it and itself.

    The decoder of Vaswani et al. (2017, arXiv 1706.03762) with normalisation before each part, as in GPT-2 (Radford et
    al., 2019), learnt positions, and no dropout. Whoever knows the embedding can read the tokens from what crosses a
    cut right behind it; the default cut is behind a block.

    Parameters
    ----------
    input_shape
        (L,), the number of positions of a text; its tokens are int64, 0 to K - 1.
    classes
        K, the size of the vocabulary: the output is ``[L, K]``.

    Raises
    ------
    UsageError
        If an input is no sequence.
    """

    default_cut: ClassVar[str] = "block1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        if len(input_shape) != 1:
            raise other_shape("transformer", "tokens [positions]", input_shape)
        blocks = {f"block{number}": Block() for number in range(1, BLOCKS + 1)}
        super().__init__(
            OrderedDict[str, nn.Module](
                embed=Embedding(input_shape[0], classes),
                **blocks,
                norm=nn.LayerNorm(WIDTH),
                scores=nn.Linear(WIDTH, classes),
            )
        )


class Embedding(nn.Module):
    """The sum of what is learnt of each token and of each position: tokens ``[b, L]`` to ``[b, L, 64]``."""

    def __init__(self, positions: int, tokens: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, WIDTH)
        self.positions = nn.Parameter(torch.empty(positions, WIDTH))
        for weights in (self.tokens.weight, self.positions):
            nn.init.normal_(weights, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens."""
        embedded: Tensor = self.tokens(tokens) + self.positions
        return embedded


class Block(nn.Module):
    """Attention to earlier positions, then a layer for each position alone, both added to their input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[b, L, 64]`` of ``[b, L, 64]``."""
        x = x + self.join(self._attention(self.norm1(x)))
        added: Tensor = x + self.narrow(self.gelu(self.widen(self.norm2(x))))
        return added

    def _attention(self, x: Tensor) -> Tensor:
        # By hand: torch's own attention chooses among kernels, of which stacked clients would get another.
        each = torch.unflatten(self.attend(x), 2, (3, HEADS, WIDTH // HEADS))
        query, key, value = each.permute(2, 0, 3, 1, 4).unbind()
        later = torch.full((x.shape[1], x.shape[1]), -math.inf, dtype=x.dtype, device=x.device).triu(1)
        weights = (query @ key.mT / math.sqrt(WIDTH // HEADS) + later).softmax(3)
        return (weights @ value).transpose(1, 2).flatten(2)
