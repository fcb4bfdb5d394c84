"""Targets of texts: what is asked about hidden tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.tokens import NOT_ASKED, masked_tokens


@given(st.integers(1, 5), st.integers(1, 30), st.sampled_from([None, 0]), st.floats(0.01, 1), st.integers(0, 9))
def test_hidden_tokens_are_asked_about_and_no_others(
    texts: int, length: int, pad: int | None, share: float, seed: int
) -> None:
    rng = generator(seed, "texts")
    tokens = torch.from_numpy(rng.integers(0, 9, (texts, length)))
    hidden = masked_tokens(tokens, 10, 11, rng, share, pad)
    asked = hidden.targets != NOT_ASKED
    assert torch.equal(hidden.targets[asked], tokens[asked])
    assert torch.equal(hidden.inputs[~asked], tokens[~asked])
    own = (torch.ones_like(tokens) if pad is None else tokens != pad).sum(1)
    wanted = (own * share).round().clamp(min=1).minimum(own)
    assert torch.equal(asked.sum(1), wanted.long()), "a share of each text's own tokens, one at least, and no padding"


def test_most_are_masked_some_replaced_and_some_stay_and_the_same_draws_hide_the_same() -> None:
    tokens = torch.full((100, 200), 3)
    inputs, targets = masked_tokens(tokens, 4, 50, generator(0, "masks"))
    asked = inputs[targets != NOT_ASKED]
    assert len(asked) == 3000
    assert (asked == 4).double().mean().item() == pytest.approx(0.8 + 0.1 / 50, abs=0.03)
    assert (asked == 3).double().mean().item() == pytest.approx(0.1 + 0.1 / 50, abs=0.03)
    assert len(asked.unique()) == 50
    assert torch.equal(inputs, masked_tokens(tokens, 4, 50, generator(0, "masks")).inputs)


@pytest.mark.parametrize(
    ("mask", "share", "said"), [(9, 0.15, "mask = 9"), (-1, 0.15, "mask = -1"), (0, 0.0, "share = 0")]
)
def test_refuses_a_mask_that_is_no_token_and_shares_of_nothing(mask: int, share: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        masked_tokens(torch.zeros(1, 4, dtype=torch.int64), mask, 9, generator(0, "masks"), share)
