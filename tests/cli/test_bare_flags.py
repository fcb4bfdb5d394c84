"""A flag that needs no number: alone it means one, wherever it stands."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pipelining", "--method", "fl"], "pipelining = 1: method fl"),
        (["--method", "fl", "--pipelining"], "pipelining = 1: method fl"),
        (["--method", "fl", "--pipelining", "3"], "pipelining = 3: method fl"),
        (["--pipelining=2", "--method", "fl"], "pipelining = 2: method fl"),
        (["--method", "fl", "--pipelining", "-1"], "pipelining = -1: input should be greater"),
        (["--method", "fl", "--pipelining", "many"], "pipelining = many"),
    ],
)
def test_pipelining_alone_is_one(call, words: list[str], told: str) -> None:
    answer = call("train", "--dataset", "digits", *words)
    assert answer.code == 2
    assert told in answer.err
