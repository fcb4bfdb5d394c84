"""Standard streams: their encoding, and what is done when the output takes nothing more."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable


def settle_encoding() -> None:
    """Write UTF-8 to files and pipes, whatever the locale: TOML and JSON are UTF-8 by definition.

    A terminal keeps its encoding, and shows a question mark for what it lacks. ``PYTHONIOENCODING`` is obeyed.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors="replace")
        elif not os.environ.get("PYTHONIOENCODING"):
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


def give_up_output() -> None:
    """Drop what the output can't take, its reader gone or its disk full: else it raises again when Python exits."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        silence([sys.stdout.fileno()])


def silence(files: Iterable[int]) -> None:
    """Drop what is written from now on, where each line would raise an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in files:
        os.dup2(nowhere, number)
    os.close(nowhere)
