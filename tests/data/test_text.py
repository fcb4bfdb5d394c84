"""Texts as people have them: a column, a folder per class, a corpus; tokens of characters, bytes or a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.text.sequences import windows
from sglr.data.text.tokenizers import Bytes, Characters


def load(path: Path, **parameters: object) -> Dataset:
    return load_dataset(f"text:{path}", None, {"length": 8, **parameters})


def refused(path: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(path, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def read_back(tokens: torch.Tensor, vocabulary: list[int]) -> str:
    return "".join(chr(vocabulary[token - 2]) for token in tokens.tolist() if token > 1)


ROWS = [
    {"text": f"word {number} é", "label": ["ill", "well"][number % 2], "patient": number // 4} for number in range(40)
]


@pytest.fixture(params=["csv", "parquet", "jsonl"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path, frame = tmp_path / f"my notes.{request.param}", pd.DataFrame(ROWS)
    if request.param == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    elif request.param == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def test_a_column_of_texts_with_labels_is_sequences_of_classes(table: Path) -> None:
    data = load(table, group="patient")
    assert data.classes == ("ill", "well")
    assert data.input_shape == (8,)
    assert data.train.inputs.dtype == torch.int64
    vocabulary = data.encoding["vocabulary"]
    for row, target in zip(data.train.inputs, data.train.targets, strict=True):
        text = read_back(row, vocabulary)
        number = int(text.split()[1])
        assert text == ROWS[number]["text"][:8]
        assert number % 2 == target
    assert not {*data.train.columns["patient"]} & {*data.test.columns["patient"]}
    assert any("are longer than 8 tokens" in note for note in data.notes)


def test_without_labels_the_next_token_is_learned(table: Path) -> None:
    data = load(table, language=True)
    assert data.classes == ()
    assert (data.targets.shape, data.targets.classes) == ((8,), data.encoding["size"])
    for row, target in zip(data.train.inputs, data.train.targets, strict=True):
        known = target != -100
        assert torch.equal(target[known], row[1:][known[:-1]])
    divided = federate(data, Iid(), 3, 0)
    assert divided.validation is not None
    assert not {*divided.validation.columns["document"]} & {*divided.train.columns["document"]}


@given(st.lists(st.lists(st.integers(1, 9), max_size=20), min_size=1, max_size=5), st.integers(2, 7))
def test_every_token_but_a_texts_first_is_once_the_next_one(texts: list[list[int]], length: int) -> None:
    tokens: list[NDArray[np.int64]] = [np.array(text, dtype=np.int64) for text in texts]
    inputs, targets, origin = windows(tokens, length, padding=0)
    assert inputs.shape == targets.shape == (len(origin), length)
    for number, text in enumerate(texts):
        told = targets[origin == number]
        assert told[told != -100].tolist() == text[1:]
        asked = inputs[origin == number][told != -100].tolist()
        assert asked == text[:-1]


@given(st.text())
def test_characters_and_bytes_lose_nothing(text: str) -> None:
    coded = Bytes().encode([text])[0]
    assert bytes((coded - 1).tolist()).decode("utf-8", "surrogatepass") == text
    own = Characters.of([text])
    assert read_back(torch.from_numpy(own.encode([text])[0]), list(own.facts()["vocabulary"])) == text
    assert set(Characters.of([]).encode([text])[0].tolist()) <= {1}


def test_a_corpus_of_one_document_is_tested_on_its_end(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "play.txt").write_text("abcd" * 100 + "xyz" * 30 + "\n", encoding="utf-8")
    for path in (tmp_path / "corpus", tmp_path / "corpus" / "play.txt"):
        data = load(path, test_fraction=0.1)
        assert "x" in map(chr, data.encoding["vocabulary"])
        assert len(data.test) == 7
        assert "the test part is the last 10% of each document" in data.notes[0]
    few = load(tmp_path / "corpus", test_fraction=0.2)
    assert "\n" not in map(chr, few.encoding["vocabulary"])  # it is in the test part alone
    assert any("1 of 491 characters are not in the vocabulary" in note for note in few.notes)


def test_many_documents_stay_whole(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"author {number % 4}").mkdir(exist_ok=True)
        (tmp_path / f"author {number % 4}" / f"{number}.txt").write_text("some words " * 5)
    data = load(tmp_path, language=True)
    assert not {*data.train.columns["document"]} & {*data.test.columns["document"]}
    assert {*data.train.columns["folder"]} == {f"author {number}" for number in range(4)}


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("ham", "spam"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / part / name / f"{number}.txt").write_text(f"{name} {number}")
    data = load(tmp_path, tokenizer="bytes")
    assert (data.classes, len(data.train), len(data.test)) == (("ham", "spam"), 8, 8)
    assert data.encoding["size"] == 257
    (tmp_path / "train" / "ham" / "empty.txt").write_text(" \n")
    assert "ham/empty.txt: cannot be read (it is empty)" in refused(tmp_path)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "word": 4, "é": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    (tmp_path / "model").mkdir()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path / "model"


def test_a_tokenizers_file_marks_texts_for_classes_and_not_for_language(table: Path, vocabulary: Path) -> None:
    classified = load(table, tokenizer=str(vocabulary))
    assert {tuple(row) for row in classified.train.inputs.tolist()} == {(2, 4, 1, 5, 3, 0, 0, 0)}
    cut = load(table, tokenizer=str(vocabulary / "tokenizer.json"), length=4)
    assert {tuple(row) for row in cut.train.inputs.tolist()} == {(2, 4, 1, 3)}
    assert "40 of 40 texts are longer than 4 tokens" in cut.notes[-1]
    spoken = load(table, tokenizer=str(vocabulary), language=True)
    assert {tuple(row) for row in spoken.train.inputs.tolist()} == {(4, 1, 5, 0, 0, 0, 0, 0)}
    assert {tuple(row) for row in spoken.train.targets.tolist()} == {(1, 5, *[-100] * 6)}


def test_another_site_needs_the_same_tokenizer(table: Path, vocabulary: Path, tmp_path: Path) -> None:
    own = load(table, tokenizer=str(vocabulary))
    schema = {"schema": dict(own.encoding), "length": None}
    again = load(table, tokenizer=str(vocabulary), **schema)
    assert torch.equal(again.train.inputs, own.train.inputs)
    assert "tokenizer = characters: the schema's tokenizer is a file" in refused(table, **schema)
    other = json.loads((vocabulary / "tokenizer.json").read_text())
    other["model"]["vocab"]["more"] = 6
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert "differs from the schema's" in refused(table, tokenizer=str(tmp_path / "other.json"), **schema)
    (tmp_path / "other.json").write_text("{}")
    assert "other.json: cannot be read (" in refused(table, tokenizer=str(tmp_path / "other.json"))


def test_another_site_reads_characters_by_the_vocabulary_of_the_run(table: Path, tmp_path: Path) -> None:
    own = load(table)
    pd.DataFrame({"note": ["word ß"] * 5, "label": ["well"] * 5}).to_csv(tmp_path / "other.csv", index=False)
    read = load(tmp_path / "other.csv", text_column="note", schema=dict(own.encoding), length=None)
    assert read.classes == own.classes
    assert set(read.train.targets.tolist()) == {1}
    assert read.train.inputs[0, -3:].tolist() == [1, 0, 0]  # ß is unknown, and padding follows
    assert "tokenizer = bytes: the schema says characters" in refused(
        table, schema=dict(own.encoding), tokenizer="bytes"
    )
    of_bytes = load(table, tokenizer="bytes")
    assert "tokenizer = characters: the schema says bytes" in refused(
        table, schema=dict(of_bytes.encoding), tokenizer="characters", length=None
    )


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    pd.DataFrame({"text": ["a b", None, "  ", *["c"] * 9], "label": ["x", "y"] * 6}).to_csv(path, index=False)
    assert "has 2 row(s) without a text or a label, the first is row 2" in refused(path)
    assert "2 of 12 rows are left out" in load(path, missing="drop").notes[0]
    assert "missing = mean: a text can't be imputed" in refused(path, missing="mean")
    assert "text_column = tixt: no such text_column; did you mean 'text'?" in refused(path, text_column="tixt")
    assert "label_column = diagnosis: no such" in refused(path, label_column="diagnosis")
    for length in (0, 1):
        told = refused(path, length=length, missing="drop")
        assert f"length = {length}: input should be greater than or equal to 2" in told


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no texts" in refused(tmp_path / "empty")
    (tmp_path / "bad.jsonl").write_text("{not json")
    assert "bad.jsonl: cannot be read as JSON lines" in refused(tmp_path / "bad.jsonl")
    (tmp_path / "latin.txt").write_bytes("Größe".encode("latin-1"))
    assert "latin.txt: cannot be read ('utf-8' codec" in refused(tmp_path / "latin.txt")
    (tmp_path / "short.txt").write_text("a")
    assert "no text of two or more tokens" in refused(tmp_path / "short.txt")
