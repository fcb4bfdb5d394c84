"""Specs: one syntax and one set of messages for options, wherever they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from sglr.core.errors import MOST_TEXT, UsageError
from sglr.core.spec import Option, Spec, name_in, placeholder, plain_value

KNOWN = {
    "sigma": Option(Annotated[float, Field(ge=0)], "standard deviation"),
    "bits": Option(int, "bits of a value"),
    "secret": Option(bool),
    "mode": Option(Literal["fast", "exact"]),
    "most": Option(int | None),
    "names": Option(tuple[str, ...]),
}


def read(text: str) -> dict[str, Any]:
    return Spec.parse("defence", text).options(KNOWN, first="sigma")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("noise", {}),
        ("noise:", {}),
        ("noise:,", {}),
        ("noise:0.5", {"sigma": 0.5}),
        ("noise: 0.5 , bits = 3 ,", {"sigma": 0.5, "bits": 3}),
        ("noise:secret=true,mode=exact", {"secret": True, "mode": "exact"}),
        ("noise:most=none", {"most": None}),
        ("noise:names=a", {"names": ("a",)}),
    ],
)
def test_options_are_read_by_their_types(text: str, options: dict[str, Any]) -> None:
    assert Spec.parse("defence", text).name == "noise"
    assert read(text) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noise:sigm=1", r"defence = noise:sigm=1: unknown option 'sigm' for noise; did you mean 'sigma'\? options: "),
        (
            "noise:power=1",
            r"for noise; options: sigma=<number> \(standard deviation\), bits=<int>",
        ),
        ("noise:sigma=much", r"invalid value 'much' for sigma: .*number; give sigma=<number> \(standard deviation\)"),
        ("noise:sigma=-1", "invalid value '-1' for sigma: input should be greater than or equal to 0; "),
        ("noise:bits=2.5", "invalid value '2.5' for bits: .*integer"),
        ("noise:mode=slow", r"for mode: input should be 'fast' or 'exact'; give mode=fast\|exact"),
        ("noise:0.5,sigma=1", "option 'sigma' is given twice; give it once"),
        ("noise:bits=1,0.5", "'0.5' is not key=value; write it like noise:key=value,key=value"),
        ("noise:" + "x" * MOST_TEXT, "longer than"),
    ],
)
def test_what_is_wrong_is_told_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(text)


def test_a_name_without_options_says_so() -> None:
    with pytest.raises(UsageError, match="fp16 has no options; write fp16 alone"):
        Spec.parse("compression", "fp16:feedback=true").options({})


KEYS = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)


@given(st.dictionaries(KEYS, st.integers() | st.tuples(st.floats(0, 1), st.floats(0, 1))))
def test_what_is_written_is_read_back(options: dict[str, Any]) -> None:
    """A comma inside brackets belongs to the value."""
    text = f"name:{','.join(f'{key}={value}' for key, value in options.items())}"
    if len(text) <= MOST_TEXT:
        assert Spec.parse("field", text).texts() == {key: str(value) for key, value in options.items()}


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    for whole in (text, f"noise:{text}"):
        try:
            read(whole)
        except UsageError as error:
            assert error.field == "defence"


def test_types_as_the_help_shows_them() -> None:
    shown = [placeholder(option.kind) for option in KNOWN.values()]
    assert shown == ["<number>", "<int>", "<true|false>", "fast|exact", "<int>", "<text,…>"]
    assert placeholder(Path | None) == "<path>"
    assert placeholder(str | int | None) == "<int|text>"


def test_none_and_lists_are_read_where_the_type_allows_them() -> None:
    assert plain_value(int | None, "none") is None
    assert plain_value(str, "none") == "none"
    assert plain_value(tuple[str, ...] | None, "a,b") == ("a", "b")
    assert plain_value(str, "a,b") == "a,b"
    assert name_in("hf:ylecun/mnist") == "hf"
