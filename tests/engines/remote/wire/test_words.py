"""A stranger's text is safe to show."""

from __future__ import annotations

from sglr.engines.remote.wire.words import MOST_SHOWN, shown


def test_words_of_strangers_come_on_one_line_and_end() -> None:
    assert shown("as\nit \x1b[2J\u202e is") == "as it  [2J  is"
    assert shown("x" * MOST_SHOWN) == "x" * MOST_SHOWN
    assert len(shown("\r" * 10**6)) == MOST_SHOWN + 1
