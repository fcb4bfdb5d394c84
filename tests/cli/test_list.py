"""``sglr list``: names, summaries, parameters."""

from __future__ import annotations

import json

import pytest

from sglr.core.registry import DATASETS, ENGINES, METHODS, MODELS, PARTITIONERS

KINDS = {
    "methods": METHODS,
    "models": MODELS,
    "datasets": DATASETS,
    "partitioners": PARTITIONERS,
    "engines": ENGINES,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_part_is_listed_with_its_summary(call, kind):
    registry = KINDS[kind]
    parts = json.loads(call("list", kind, "--json").out)
    assert parts == [{"name": name, "summary": registry.summary(name)} for name in registry.names()]
    shown = call("list", kind).out
    assert all(name in shown for name in registry.names())


def test_parameters_are_listed_on_request(call):
    shown = call("list", "methods", "--verbose").out
    assert "--phi" in shown
    parts = {part["name"]: part for part in json.loads(call("list", "methods", "--verbose", "--json").out)}
    assert [entry["flag"] for entry in parts["slr"]["parameters"]] == ["--alpha"]
    assert parts["slr"]["parameters"][0]["default"] == METHODS.load("slr").alpha
    assert parts["psl"]["parameters"] == []
