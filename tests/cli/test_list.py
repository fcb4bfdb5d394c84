"""``sglr list``: names, summaries, parameters."""

from __future__ import annotations

import json

import pytest

from sglr.core.registry import (
    ATTACKS,
    DATASETS,
    ENGINES,
    EXPORTERS,
    MERGE_RULES,
    METHODS,
    MODELS,
    NAMED_MODELS,
    PARTITIONERS,
    TRACKERS,
)

KINDS = {
    "methods": METHODS,
    "models": MODELS,
    "datasets": DATASETS,
    "partitioners": PARTITIONERS,
    "merge-rules": MERGE_RULES,
    "engines": ENGINES,
    "attacks": ATTACKS,
    "trackers": TRACKERS,
    "formats": EXPORTERS,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_part_is_listed_with_its_summary(call, kind):
    registry = KINDS[kind]
    parts = json.loads(call("list", kind, "--json").out)
    named = NAMED_MODELS.names() if kind == "models" else []
    assert parts == [
        *({"name": name, "summary": registry.summary(name)} for name in registry.names()),
        *({"name": f"{name}:NAME", "summary": NAMED_MODELS.summary(name)} for name in named),
    ]
    shown = call("list", kind).out
    assert all(name in shown for name in registry.names())


def test_parameters_are_listed_on_request(call):
    shown = call("list", "methods", "--verbose").out
    assert "--phi" in shown
    parts = {part["name"]: part for part in json.loads(call("list", "methods", "--verbose", "--json").out)}
    assert [entry["flag"] for entry in parts["slr"]["parameters"]] == ["--alpha"]
    assert parts["slr"]["parameters"][0]["default"] == METHODS.load("slr").alpha
    assert parts["psl"]["parameters"] == []


def test_an_attack_says_who_needs_what_and_how_its_parameters_are_written(call):
    parts = {part["name"]: part for part in json.loads(call("list", "attacks", "--verbose", "--json").out)}
    found = parts["white-box"]
    assert found["attacker"] == "server"
    assert found["needs"] == ["smashed data", "the weights of a client's segment"]
    assert [entry["flag"] for entry in found["parameters"]] == ["samples=", "steps=", "rate=", "smoothness="]
    assert "the weights of a client's segment" in " ".join(call("list", "attacks", "--verbose").out.split())
