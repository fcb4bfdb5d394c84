"""``sglr serve RUN --predict`` and ``sglr predict HOST:PORT``: what they refuse before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Answer

AT = "127.0.0.1:7443"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("serve", "--predict"), "run = none"),
        (("serve",), "out = none"),
        (("serve", "RUN", "--predict", "--epochs", 3), "epochs = 3: is a setting of a training"),
        (("serve", "RUN", "--predict", "--out", "x"), "out = x"),
        (("serve", "RUN", "--predict"), "is not a run folder"),
        (("serve", "RUN", "--predict", "--answer-within", 0), "answer_within = 0"),
        (("predict", AT), "DATA = none"),
        (("predict", AT, "--data", "digits"), "the server answers only clients that have joined"),
        (("predict", AT, "digits", "--folder", "RUN"), "no identity in it"),
        (("predict", AT, "digits", "--client", "average"), "give RUN instead of HOST:PORT"),
        (("predict", AT, "digits", "--client", "shared"), "client = shared"),
        (("predict", AT, "digits", "--client", "²"), "is no client"),
        (("predict", AT, "digits", "--client", 1), "give --run too"),
        (("predict", AT, "digits", "--run", "a", "--segment", "b"), "leave out --segment or --run"),
        (("predict", AT, "digits", "--timeout", 0), "timeout = 0"),
        (("predict", AT, "digits", "--token", "sglr1-x"), "token = "),
        (("predict", AT, "digits", "--require-defence", "magic"), "magic"),
        (("evaluate", AT), "DATA = none"),
        (("evaluate", AT, "digits", "--client", "each"), "the layers of the other clients"),
        (("evaluate", AT, "--data", "digits", "--folder", "RUN"), "no identity in it"),
        (("evaluate", "RUN", "digits", "--token", "x"), "token = x: is for a site"),
        (("predict", "RUN", "digits", "--timeout", 3), "timeout = 3.0: is for a site"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    call: Callable[..., Answer], tmp_path: Path, words: tuple[object, ...], told: str
) -> None:
    answer = call(*(tmp_path if word == "RUN" else word for word in words))
    assert (answer.code, answer.out) == (2, ""), answer.err
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
