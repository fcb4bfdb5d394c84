"""A token is short, can't be mistyped unnoticed, and tells both sides the same."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.engines.remote.trust.peers import Untrusted
from sglr.engines.remote.trust.token import Token

MOMENT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
tokens = st.builds(
    Token,
    st.binary(min_size=20, max_size=20),
    st.binary(min_size=32, max_size=32),
    st.datetimes(datetime(1970, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
)


@given(tokens)
def test_text_and_token_are_the_same(token: Token) -> None:
    text = token.text()
    assert len(text) <= 120
    assert set(text) <= set(string.ascii_lowercase + string.digits + "-")
    assert Token.parse(f"  {text}\n") == token


@settings(max_examples=100)
@given(tokens, st.data())
def test_every_changed_character_is_noticed(token: Token, data: st.DataObject) -> None:
    text = token.text()
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.one_of(st.sampled_from(string.printable), st.characters()))
    if letter == text[place]:
        return
    with pytest.raises(UsageError, match="paste the whole line again"):
        Token.parse(text[:place] + letter + text[place + 1 :])


@given(tokens, st.data())
def test_swapped_missing_and_doubled_characters_are_noticed(token: Token, data: st.DataObject) -> None:
    text = token.text()
    place = data.draw(st.integers(0, len(text) - 2))
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    for wrong in (swapped, text[:place] + text[place + 1 :], text[: place + 1] + text[place:]):
        if wrong != text:
            with pytest.raises(UsageError):
                Token.parse(wrong)


@given(st.text(max_size=200))
def test_no_text_gives_anything_but_a_token_or_a_message(text: str) -> None:
    with pytest.raises(UsageError):
        Token.parse(text)


def test_the_secret_is_in_no_message_and_no_repr() -> None:
    token = Token.make(bytes(32), MOMENT)
    text = token.text()
    with pytest.raises(UsageError) as failure:
        Token.parse(text[:-1] + ("a" if text[-1] != "a" else "b"))
    assert text[8:40] not in str(failure.value)
    assert "mistyped" in str(failure.value)
    assert repr(token.secret) not in repr(token)


def test_id_and_key_depend_on_secret_and_authority_only() -> None:
    token = Token(b"s" * 20, b"f" * 32, MOMENT)
    later, elsewhere = Token(b"s" * 20, b"f" * 32, MOMENT + timedelta(1)), Token(b"s" * 20, b"g" * 32, MOMENT)
    assert token.id == later.id != elsewhere.id
    assert token.key().private_numbers() == later.key().private_numbers() != elsewhere.key().private_numbers()
    assert token.secret.hex()[:20] != token.id


def test_an_expired_token_names_both_times() -> None:
    token = Token.make(bytes(32), MOMENT)
    token.check_date(MOMENT - timedelta(seconds=1))
    with pytest.raises(Untrusted, match=r"expired at 2031-05-06 07:08:09 UTC.*clock says 2031-05-06 07:08:10 UTC"):
        token.check_date(MOMENT + timedelta(seconds=1))
