"""Every setting is a flag, described in the help, and read with its meaning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sglr.cli.settings import settings
from sglr.config import PARTS, SETTINGS, Experiment

OPTIONS_OF_TRAIN = Path(__file__).with_name("train_options.txt").read_text(encoding="utf-8").split()
"""Users' scripts hold these: one that vanishes breaks them."""


@pytest.mark.parametrize("width", ["80", "140"])
def test_help_of_train_shows_every_option(call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    answer = call("train", "--help")
    shown = {word for word in answer.out.split() if word.startswith("--")}
    assert answer.code == 0
    assert shown >= set(OPTIONS_OF_TRAIN)
    assert max(map(len, answer.out.splitlines())) <= int(width)


def test_compare_takes_the_same_settings_but_several_methods_and_seeds(call):
    shown = {word.strip(",") for word in call("compare", "--help").out.replace(",--", " --").split()}
    assert shown >= {*OPTIONS_OF_TRAIN, "--methods", "--seeds"}


def test_every_setting_of_an_experiment_and_of_all_parts_is_a_flag():
    parts = {
        field.name
        for registry in PARTS.values()
        for name in registry.names()
        for field in dataclasses.fields(registry.load(name))
    }
    assert settings().keys() == SETTINGS | parts | {"preset"}


def test_a_setting_shows_its_description_and_default():
    lr, alpha = settings()["lr"], settings()["alpha"]
    assert lr.help == f"{Experiment.model_fields['lr'].description}; default: 0.001"
    assert "(sglr, slr)" in alpha.help
    assert "default: 0.5" in alpha.help


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("image_size", "none", None),
        ("image_size", "32", "32"),
        ("method", "none", "none"),
        ("group_columns", "site,device", ("site", "device")),
        ("cut", "3", "3"),
        ("energy", True, True),
    ],
)
def test_words_are_read_with_their_meaning(name, text, value):
    assert settings()[name].read(text) == value


def test_no_other_setting_is_named_like_an_option_of_the_commands():
    assert not settings().keys() & {"out", "json", "as_json", "quiet", "debug", "config", "methods", "seeds"}
