"""Tokenizers: characters, bytes, or those of a file ``tokenizer.json``, as Hugging Face's models have it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.text.schema import TextSchema
from sglr.system.extras import optional

Tokens = NDArray[np.int64]

PADDING, UNKNOWN = 0, 1
"""Tokens of characters and bytes that stand for none; bytes have no unknown one."""

PADS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
"""What files of tokenizers call the token that fills sequences up, or use in its place."""

FILE = "tokenizer.json"


class Tokenizer(ABC):
    """Turns texts into tokens.

    Attributes
    ----------
    size, padding
        As in `TextSchema`.
    cut
        How many texts it has cut to the length of a sequence.
    """

    size: int
    padding: int = PADDING
    cut: int = 0

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text, ``[n]`` each."""

    def facts(self) -> dict[str, Any]:
        """Return what a schema says of it."""
        return {"size": self.size, "padding": self.padding}


class Characters(Tokenizer):
    """A token for each character of a vocabulary, and one for all others.

    Parameters
    ----------
    vocabulary
        The characters' Unicode numbers, ascending.
    """

    def __init__(self, vocabulary: Sequence[int]) -> None:
        self._known = np.array(vocabulary, dtype=np.int64)
        self.size = UNKNOWN + 1 + len(self._known)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Characters:
        """Return that of all characters of some texts."""
        return cls(sorted({ord(character) for text in texts for character in set(text)}))

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text."""
        return [self._of(text) for text in texts]

    def facts(self) -> dict[str, Any]:
        """Return what a schema says of it."""
        return {**super().facts(), "tokenizer": "characters", "vocabulary": tuple(self._known.tolist())}

    def _of(self, text: str) -> Tokens:
        numbers = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
        if not len(self._known):
            return np.full(len(numbers), UNKNOWN)
        places = np.searchsorted(self._known, numbers).clip(max=len(self._known) - 1)
        return np.where(self._known[places] == numbers, places + UNKNOWN + 1, UNKNOWN)


class Bytes(Tokenizer):
    """A token for each byte of the text in UTF-8."""

    size = 257

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text."""
        coded = (text.encode("utf-8", "surrogatepass") for text in texts)
        return [np.frombuffer(each, np.uint8).astype(np.int64) + PADDING + 1 for each in coded]

    def facts(self) -> dict[str, Any]:
        """Return what a schema says of it."""
        return {**super().facts(), "tokenizer": "bytes"}


class FromFile(Tokenizer):
    """The tokenizer of a file, which the package tokenizers reads.

    Parameters
    ----------
    given
        The file, or a folder with a file `FILE`.
    most
        Tokens to cut texts to, with those that mark their beginning and end, as classifiers expect; None to take all
        tokens without marks.

    Raises
    ------
    UsageError
        If the package is missing, or there is no such file, or it can't be read.
    """

    def __init__(self, given: str, most: int | None) -> None:
        package, path = optional("tokenizers", "text", "tokenizer", given), _file(given)
        try:
            content = path.read_bytes()
            self._tokenizer = package.Tokenizer.from_buffer(content)
        except Exception as error:  # the package raises Exception itself
            problem = f"cannot be read ({str(error).partition(chr(10))[0]})"
            raise UsageError("tokenizer", path, problem, f"give a {FILE} of Hugging Face") from error
        names = self._tokenizer.get_vocab(with_added_tokens=True)
        self.size, self._sha256 = 1 + max(names.values(), default=1), sha256(content).hexdigest()
        self.padding = self._padding(names)
        self._tokenizer.no_padding()
        self._marked = most is not None
        if most is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(most)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=self._marked)
        self.cut += sum(bool(each.overflowing) for each in found)
        return [np.array(each.ids, dtype=np.int64) for each in found]

    def facts(self) -> dict[str, Any]:
        """Return what a schema says of it."""
        return {**super().facts(), "tokenizer": "file", "sha256": self._sha256}

    def _padding(self, names: dict[str, int]) -> int:
        if self._tokenizer.padding:
            return int(self._tokenizer.padding["pad_id"])
        return next((names[each] for each in PADS if each in names), 0)


def by_schema(schema: TextSchema, given: str) -> Tokenizer:
    """Return the tokenizer that a schema agrees on.

    Parameters
    ----------
    schema
        The schema.
    given
        The parameter ``tokenizer``: the path of the file, if the schema's tokenizer is one; empty if none is given.

    Raises
    ------
    UsageError
        If it is another.
    """
    if schema.tokenizer == "file":
        if given in ("", *BUILT_IN):
            problem = f"the schema's tokenizer is a file with the SHA-256 {schema.sha256[:16]}…"
            raise UsageError(
                "tokenizer", given or "characters", problem, f"give the path of that {FILE} on this machine"
            )
        found = FromFile(given, schema.length if schema.classes else None)
        if found.facts()["sha256"] != schema.sha256:
            problem = f"differs from the schema's, whose SHA-256 is {schema.sha256[:16]}…"
            raise UsageError("tokenizer", given, problem, f"give the same {FILE} as everyone")
        return found
    if given not in ("", schema.tokenizer):
        raise UsageError("tokenizer", given, f"the schema says {schema.tokenizer}", "leave it out, or edit the schema")
    return Bytes() if schema.tokenizer == "bytes" else Characters(schema.vocabulary)


BUILT_IN = ("characters", "bytes")


def _file(given: str) -> Path:
    path = Path(given) / FILE if Path(given).is_dir() else Path(given)
    if path.is_file():
        return path
    remedy = f"give {', '.join(BUILT_IN)}, or a {FILE} on this machine, such as tokenizer.save_pretrained(...) writes"
    raise UsageError("tokenizer", given, f"there is no file {path}", remedy)
