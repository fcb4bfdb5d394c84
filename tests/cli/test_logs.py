"""Structured logs: a line of JSON each, only what is meant to leave, never a token, a key, a label or data."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.cli.logs import FIELDS, FIGURES, LONGEST, JsonLines, Logged, log_json, without_secrets
from sglr.core.events import EpochDone

TOKEN = "sglr1-" + "abcdefghij234567" * 6
KEY = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----"


@pytest.fixture
def restored():
    logger = logging.getLogger("sglr")
    before = logger.handlers, logger.propagate, logger.level
    yield logger
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def written(message: str, **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "sglr.x", "levelno": 20, "levelname": "INFO", "msg": message, **extra})
    line = JsonLines().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_a_record_is_one_object_with_what_it_is_about():
    told = written("client 3 joined", event="joined", client=3, step=7)
    assert (told["level"], told["message"], told["event"], told["client"], told["step"]) == (
        "info",
        "client 3 joined",
        "joined",
        3,
        7,
    )
    assert str(told["time"]).endswith("+00:00")


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.lists(st.floats()))))
def test_nothing_leaves_that_is_not_named(extra):
    known = {"time", "level", "logger", "message", *FIELDS, *FIGURES}
    reserved = logging.makeLogRecord({}).__dict__.keys()
    told = written("x", **{name: value for name, value in extra.items() if name not in reserved})
    assert told.keys() <= known


def test_what_is_no_number_and_no_word_does_not_leave():
    assert "samples" not in written("x", samples=[1, 2, 3])
    assert "loss" not in written("x", loss={"a": 1})


@given(st.text(), st.sampled_from([TOKEN, KEY, TOKEN[:30], KEY[:40]]), st.text())
def test_secrets_are_taken_out_wherever_they_stand(before, secret, after):
    shown = without_secrets(f"{before} {secret} {after}")
    assert secret not in shown
    assert "MIGHAgEAMBMG" not in shown
    assert len(shown) <= LONGEST + 1


def test_a_secret_in_a_field_is_taken_out_too():
    assert TOKEN not in json.dumps(written(f"got {TOKEN}", event=TOKEN))


def test_an_epoch_is_told_with_its_figures(restored, capsys):
    log_json()
    Logged().observe(EpochDone(0, 3, {"loss": 0.5, "train_accuracy": 0.25, "samples": 10, "seconds": 1.0, "epoch": 1}))
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["epoch"], told["epochs"], told["loss"]) == ("epoch", 1, 3, 0.5)


def test_an_error_is_a_line_of_the_log_too(restored, call, tmp_path):
    answer = call("join", "127.0.0.1:1", "--token", f"@{tmp_path / 'nowhere'}", "--dataset", "digits", "--log-json")
    told = json.loads(answer.err)
    assert answer.code == 2
    assert (told["level"], told["event"]) == ("error", "ended")
    assert "cannot be read" in told["message"]
