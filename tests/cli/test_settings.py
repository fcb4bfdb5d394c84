"""Every setting is a flag, described in the help, and read with its meaning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_type_hints

import pytest

from sglr.cli.settings import settings
from sglr.core.registry import ATTACKS, DATASETS, ENGINES, MERGE_RULES, METHODS, PARTITIONERS, PARTS, Registry
from sglr.runs.config import SETTINGS, Experiment

OPTIONS_OF_TRAIN = Path(__file__).with_name("train_options.txt").read_text(encoding="utf-8").split()
"""Users' scripts hold these: one that vanishes breaks them."""


@pytest.mark.parametrize("width", ["80", "140"])
def test_help_of_train_shows_every_option(call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    answer = call("train", "--help-all")
    shown = {word for word in answer.out.split() if word.startswith("--")}
    assert answer.code == 0
    assert shown >= set(OPTIONS_OF_TRAIN)
    assert max(map(len, answer.out.splitlines())) <= int(width)


def _flags(text):
    return {word for line in text.splitlines() if "│" in line for word in line.split()[1:2] if word.startswith("--")}


def test_the_short_help_shows_few_settings_and_names_the_long_one(call):
    shown = _flags(call("train", "--help").out)
    basic = {setting.flag for setting in settings().values() if setting.basic}
    assert basic == {flag for flag in shown if flag[2:].replace("-", "_") in settings()}
    assert len(basic) <= 18
    assert "--help-all" in shown
    assert basic < _flags(call("train", "--help-all").out)


def test_every_setting_has_a_heading_of_its_kind(call):
    assert all(setting.panel for setting in settings().values())
    assert settings()["tail"].panel == settings()["cut"].panel == "Model"


@pytest.mark.parametrize("command", ["compare", "serve", "sweep"])
def test_other_commands_with_settings_show_the_same(call, command):
    short, full = _flags(call(command, "--help").out), _flags(call(command, "--help-all").out)
    assert {"--lr", "--epochs"} <= short
    assert "--server-lr" in full - short


@pytest.mark.parametrize(
    "registry", [METHODS, DATASETS, PARTITIONERS, MERGE_RULES, ATTACKS], ids=lambda registry: registry.kind
)
def test_an_outline_has_the_fields_of_the_part(registry):
    for name in registry.names():
        found, part = registry.outline(name), registry.load(name)
        assert found is not part, "read from its source, not imported"
        assert _fields(found) == _fields(part)


@pytest.mark.parametrize("name", ENGINES.names())
def test_an_engine_is_outlined_without_the_packages_that_it_needs(name):
    assert ENGINES.outline(name) is not ENGINES.load(name), "read from its source, not imported"


def _fields(part):
    kinds = get_type_hints(part)
    return [(field.name, kinds[field.name], field.default, field.metadata) for field in dataclasses.fields(part)]


def test_a_part_that_cannot_be_read_from_its_source_is_imported(tmp_path, monkeypatch):
    (tmp_path / "odd_parts").mkdir()
    (tmp_path / "odd_parts/__init__.py").write_text("")
    head = "from dataclasses import dataclass\n__all__ = ['Part']\ndef half(): return 0.5\n@dataclass\nclass Part:\n"
    (tmp_path / "odd_parts/plain.py").write_text(f"{head}    rate: float = max(0.5, 0)\n")
    (tmp_path / "odd_parts/odd.py").write_text(f"{head}    rate: float = half()\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("part", "odd_parts")
    assert registry.outline("plain") is not registry.load("plain")
    assert registry.outline("odd") is registry.load("odd")
    assert registry.outline("plain")().rate == registry.outline("odd")().rate == 0.5


def test_compare_takes_the_same_settings_but_several_methods_and_seeds(call):
    shown = {word.strip(",") for word in call("compare", "--help-all").out.replace(",--", " --").split()}
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
    assert "(sglr, sglr2, slr)" in alpha.help
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
