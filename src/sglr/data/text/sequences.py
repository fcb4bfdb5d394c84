"""Sequences of one length, made of the tokens of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sglr.data.tokens import NOT_ASKED

Tokens = NDArray[np.int64]


def padded(texts: Sequence[Tokens], length: int, padding: int) -> Tokens:
    """Return the beginnings of texts ``[N, length]``, filled up with the padding."""
    found = np.full((len(texts), length), padding, dtype=np.int64)
    for row, tokens in enumerate(texts):
        found[row, : min(len(tokens), length)] = tokens[:length]
    return found


def windows(texts: Sequence[Tokens], length: int, padding: int) -> tuple[Tokens, Tokens, Tokens]:
    """Divide texts into sequences, so that every token but a text's first is once the next token.

    Parameters
    ----------
    texts
        The tokens of each.
    length
        L; a sequence begins with the token that the one before it ends with.
    padding
        The token that fills the last one of a text up.

    Returns
    -------
    Inputs ``[N, L]``; targets ``[N, L]``, where that of position i is the token at i + 1, and -100 where a sequence
    ends (also if the padding is a token that texts have); and the text ``[N]`` that each comes from. A text of fewer
    than two tokens gives none.
    """
    cut = [(text, tokens[at : at + length]) for text, tokens in enumerate(texts) for at in _starts(len(tokens), length)]
    pieces = [piece for _, piece in cut]
    targets = padded([piece[1:] for piece in pieces], length, NOT_ASKED)
    return padded(pieces, length, padding), targets, np.array([text for text, _ in cut], dtype=np.int64)


def _starts(tokens: int, length: int) -> range:
    return range(0, tokens - 1, length - 1)
