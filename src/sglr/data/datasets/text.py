"""Texts of your own: text:PATH names a table with a column of texts, a folder per class, or a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.described import Described
from sglr.data.file_samples import OnBad
from sglr.data.formats.files import resolve
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.tables.files import Format
from sglr.data.text.documents import DOCUMENT, Documents, TextReading, read_documents
from sglr.data.text.new_texts import new_texts
from sglr.data.text.schema import TextSchema
from sglr.data.text.sequences import padded, windows
from sglr.data.text.tokenizers import UNKNOWN, Bytes, Characters, FromFile, Tokenizer, by_schema
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Text"]

USUAL_LENGTH = 128


@dataclass(frozen=True)
class Text(Described):
    """Texts as sequences of tokens: of classes, or, without labels, each token's target is the next one."""

    length: int | None = field(
        default=None, metadata={"help": "length of a sequence; default: 128 tokens", "by_run": True, "since": "0.2.0"}
    )
    tokenizer: str = field(
        default="",
        metadata={
            "help": "characters, bytes, or the path of a tokenizer.json (or its folder); default: that of the model"
            " (hf:PATH), else characters",
            "since": "0.2.0",
        },
    )
    language: bool = field(
        default=False,
        metadata={"help": "learn the next token, whatever labels there are", "by_run": True, "since": "0.2.0"},
    )
    text_column: str = field(
        default="", metadata={"help": "the column of texts; default: text, or the only one", "since": "0.2.0"}
    )
    label_column: str = field(default="", metadata={"help": "the column that holds the classes; default: label"})
    group_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "columns kept for partition natural, not used as features"}
    )
    missing: Literal["error", "drop", "mean", "indicator"] = field(
        default="error",
        metadata={
            "help": "rows without a text or a label: an error; or drop the row",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    na: tuple[str, ...] = field(
        default=(), metadata={"help": "words that mean a missing value, besides an empty cell", "since": "0.2.0"}
    )
    separator: str = field(
        default="", metadata={"help": "character between values, such as ; or tab; default: detected", "since": "0.2.0"}
    )
    encoding: str = field(
        default="utf-8", metadata={"help": "encoding of the file's text, such as latin-1", "since": "0.2.0"}
    )
    on_bad: OnBad = field(default="error", metadata={"help": "what to do with unreadable files", "since": "0.2.0"})

    schema_type: ClassVar[type[TextSchema]] = TextSchema

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the texts, hold out test texts, and turn all into tokens.

        Raises
        ------
        UsageError
            If texts can't be read, or the tokenizer is not there.
        """
        path, agreed = resolve("text", self.path, data_dir), self.agreed(TextSchema)
        found = read_documents(path, self._reading(agreed))
        tokenizer = self._tokenizer(found) if agreed is None else by_schema(agreed, self.tokenizer)
        told = {"classes": found.classes, "length": self._length, **tokenizer.facts()}
        schema = agreed or self.stated(TextSchema, **told)
        tokens = tokenizer.encode(found.texts)
        _check_room(sum(map(len, tokens)), len(tokens), schema)
        notes = [*found.notes, *_unknown(tokens, schema)]
        if found.labels is None:
            return self._of_language(schema, found, tokens, notes)
        notes += _cut(tokens, schema, tokenizer)
        inputs = torch.from_numpy(padded(tokens, schema.length, schema.padding))
        samples = inputs, torch.from_numpy(found.labels)
        return self.dataset(schema, samples, found.rows, found.columns, notes)

    def read_new(self, trained: TrainedOn, id_column: str = "") -> NewSamples:
        """Read texts by the schema of the training; classes need not be known.

        Parameters
        ----------
        trained
            What the network was trained on.
        id_column
            The column of a table that names its rows; empty for their numbers.

        Raises
        ------
        UsageError
            If there are no texts, one can't be read, or the tokenizer is another.
        """
        schema = TextSchema.from_json(trained.encoding)
        tokenizer = by_schema(schema, self.tokenizer or trained.tokenizer)
        return new_texts(resolve("text", self.path, None), self._reading(schema), schema, tokenizer, id_column)

    @property
    def _length(self) -> int:
        return USUAL_LENGTH if self.length is None else self.length

    def _reading(self, agreed: TextSchema | None) -> TextReading:
        if self.missing not in ("error", "drop"):
            raise UsageError("missing", self.missing, "a text can't be imputed", "give error or drop")
        return TextReading(
            classes=self.classes if agreed is None else agreed.classes,
            language=self.language if agreed is None else not agreed.classes,
            text_column=self.text_column,
            label_column=self.label_column,
            group=self.group,
            group_columns=self.group_columns,
            missing="drop" if self.missing == "drop" else "error",
            form=Format(self.separator, self.encoding, na=self.na),
            on_bad=self.on_bad,
            fraction=self.test_fraction,
            seed=self.split_seed,
        )

    def _tokenizer(self, found: Documents) -> Tokenizer:
        if self.tokenizer == "bytes":
            return Bytes()
        if self.tokenizer in ("", "characters"):
            return Characters.of(found.texts[row] for row in found.rows[0])
        return FromFile(self.tokenizer, None if found.labels is None else self._length)

    def _of_language(
        self, schema: TextSchema, found: Documents, tokens: Sequence[NDArray[np.int64]], notes: Sequence[str]
    ) -> Dataset:
        inputs, targets, origin = windows(tokens, schema.length, schema.padding)
        train, apart, test = (None if rows is None else np.flatnonzero(np.isin(origin, rows)) for rows in found.rows)
        assert train is not None and test is not None, "only validation may be missing"
        if not len(train) or not len(test):
            problem = "the training or the test part has no text of two or more tokens"
            raise UsageError("text", self.path, problem, "give more text")
        columns = {name: values[origin] for name, values in found.columns.items()}
        samples = torch.from_numpy(inputs), torch.from_numpy(targets)
        group = DOCUMENT if found.whole and DOCUMENT in columns and not self.group else None
        return self.dataset(schema, samples, (train, apart, test), columns, notes, group)


def _check_room(tokens: int, texts: int, schema: TextSchema) -> None:
    """Raise UsageError, before sequences are made, if they don't fit into memory."""
    sequences = texts if schema.classes else texts + tokens // (schema.length - 1)
    what = f"{sequences} sequences of {schema.length} tokens"
    refuse_beyond_memory(sequences * schema.length * 32, "length", schema.length, what, "give less text")


def _unknown(tokens: Sequence[NDArray[np.int64]], schema: TextSchema) -> list[str]:
    if schema.tokenizer != "characters":
        return []
    unknown, total = sum(int((each == UNKNOWN).sum()) for each in tokens), sum(map(len, tokens))
    return [f"{unknown} of {total} characters are not in the vocabulary"] if unknown else []


def _cut(tokens: Sequence[NDArray[np.int64]], schema: TextSchema, tokenizer: Tokenizer) -> list[str]:
    longer = tokenizer.cut + sum(len(each) > schema.length for each in tokens)
    told = f"{longer} of {len(tokens)} texts are longer than {schema.length} tokens, and only their beginning is used"
    return [told] if longer else []
