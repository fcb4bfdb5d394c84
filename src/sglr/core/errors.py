"""The errors that sglr raises on purpose, so that a caller can tell them from defects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST_TEXT = 1000
"""Characters of an expression, such as an optimizer with its options, and of a value in a message."""


class SglrError(Exception):
    """The base of all errors that sglr raises on purpose; the message is one line."""


class UsageError(SglrError):
    """Bad usage or configuration: the command line answers with exit code 2.

    Parameters
    ----------
    field
        The name of the option, key or file that is wrong.
    value
        What was given.
    problem
        What is wrong with it.
    remedy
        What to do instead.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(f"{field} = {_clipped(str(value))}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[type[UsageError], tuple[str, str, str, str]]:
        """Keep all four parts when the error is pickled on its way from another process."""
        return UsageError, (self.field, str(self.value), self.problem, self.remedy)


class NotWritten(SglrError):  # noqa: N818 - says what happened
    """A file could not be written, mostly because the disk is full; what was there before stays."""


class NotRead(SglrError):  # noqa: N818 - says what happened
    """A file is there and could not be read, for a reason that says nothing of its content."""


class DivergedError(SglrError):
    """The loss is no longer a number: the message names the step, the rates and the last good checkpoint.

    Parameters
    ----------
    what
        What happened, where, at which rates, and what to do: what clients elsewhere are told.
    checkpoint
        The last good checkpoint, a path on this machine; empty if the message is not to name it.
    """

    def __init__(self, what: str, checkpoint: str = "") -> None:
        self.what = what
        super().__init__(f"{what}; last good checkpoint: {checkpoint}" if checkpoint else what)


class ExtremeValues(SglrError):  # noqa: N818 - says what was found
    """Values that are NaN, infinite or too large to train on. No misuse: a diverging training produces them."""


class Interrupted(SglrError):  # noqa: N818 - the name says what happened: the user asked to stop
    """The run was stopped by the user after a clean checkpoint."""


def refuse_long(field: str, text: str) -> None:
    """Refuse an overlong expression before it is parsed: parsers recurse and use memory.

    Raises
    ------
    UsageError
        If it has more than `MOST_TEXT` characters.
    """
    if len(text) > MOST_TEXT:
        raise UsageError(field, text, f"is longer than {MOST_TEXT} characters", "give a shorter one")


def printable(text: str, instead: str = "?") -> str:
    """Return a text with every control character, which a log or terminal would interpret, replaced by ``instead``."""
    return "".join(character if character.isprintable() else instead for character in text)


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:100]}… ({len(text)} characters)"


def unknown(field: str, value: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not known, with the nearest known name suggested.

    Parameters
    ----------
    field
        The option that holds the name, e.g. ``"method"``.
    value
        The name that is not known.
    known
        The names that would be right.
    """
    names = sorted(known)
    nearest = get_close_matches(value[:100].lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UsageError(field, value, f"no such {field}", f"{hint}known: {', '.join(names)}")


def listed(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def name_clients(clients: Sequence[int]) -> str:
    """Return clients as a message names them: ``"client 3"``, or ``"clients 0, 1, 2, 3, 4, …"``."""
    shown = ", ".join(map(str, clients[:5]))
    return f"client{'s' if len(clients) > 1 else ''} {shown}{', …' if len(clients) > 5 else ''}"


class DamagedCheckpoint(SglrError):  # noqa: N818 - says what it is
    """The file is missing or is not what was written: no run can be resumed from it."""
