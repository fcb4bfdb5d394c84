"""Every setting says all that is known of it, in one place, and what follows from that stays as it was."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from sglr.assembly.checks import check_engine
from sglr.core.errors import UsageError
from sglr.core.registry import ENGINES, METHODS, PARTS
from sglr.runs.config import FACTS, Experiment, named, part_fields, told_to_clients
from sglr.runs.facts import Clients, Decides, SettingFacts, facts_of_parameter, setting
from sglr.runs.settings import Settings

PARAMETERS = {
    f"{kind} {part} {name}": facts_of_parameter(field, "Parameters")
    for kind, registry in PARTS.items()
    for part in registry.names()
    for name, field in part_fields(kind, part).items()
}
KNOWN = {"help", *(field.name for field in dataclasses.fields(SettingFacts))}


def test_every_setting_has_all_facts() -> None:
    for name, facts in ({**FACTS, **PARAMETERS}).items():
        assert facts.panel, name
        assert facts.decides in get_args(Decides), name
        assert facts.clients in get_args(Clients), name
        assert facts.engine is None or facts.engine in ENGINES.names(), name
        assert facts.since in (None, "0.1.0", "0.2.0"), name


def test_every_setting_has_a_help_text_and_no_fact_is_mistyped() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    for kind, registry in PARTS.items():
        for part in registry.names():
            for name, field in part_fields(kind, part).items():
                assert field.metadata["help"], (part, name)
                assert field.metadata.keys() <= KNOWN, (part, name)


def test_parameters_of_one_name_are_set_by_the_same_side() -> None:
    """Sites have one flag for a parameter that several data sets have."""
    sides: dict[str, set[bool]] = {}
    for owner, facts in PARAMETERS.items():
        if owner.startswith("dataset "):
            sides.setdefault(owner.rpartition(" ")[2], set()).add(facts.by_run)
    assert not [name for name, found in sides.items() if len(found) > 1]


@pytest.mark.parametrize(
    ("settings", "fingerprint"),
    [
        ({}, "da76786552da75ca"),
        ({"dataset": "table:x", "label_column": "label"}, "e42de58db4065b9c"),
        ({"dataset": "folder:x"}, "1ae8ee550d74f950"),
        ({"dataset": "hf:x"}, "773087bffb6bea68"),
        ({"dataset": "idx:x"}, "2d074f09a1547f07"),
        ({"dataset": "sites", "input_shape": (1, 2, 2), "classes": 3}, "eab4995fcee3dd4f"),
        ({"dataset": "fashion-mnist", "method": "fl"}, "4aaae0edbd624cfa"),
        ({"method": "sfl", "partition": "dirichlet"}, "b19e377837d200b9"),
    ],
)
def test_runs_of_sglr_0_1_keep_their_fingerprints(settings: dict[str, Any], fingerprint: str) -> None:
    assert Experiment.from_flat({"init": "independent", "method": "sglr", **settings}).fingerprint() == fingerprint


@pytest.mark.parametrize(
    "settings",
    [
        {"defence": "clip:3"},
        {"dataset": "folder:x", "on_bad": "skip"},
        {"dataset": "table:x", "missing": "drop"},
        {"dataset": "table:x", "columns": ("a", "b")},
        {"method": "sfl", "merge_rule": "median"},
        {"method": "sglr", "phi": 0.5},
        {"partition": "dirichlet", "concentration": 0.1},
    ],
)
def test_what_decides_the_result_is_in_the_fingerprint(settings: dict[str, Any]) -> None:
    plain = {key: value for key, value in settings.items() if key in ("dataset", "method", "partition")}
    plain = plain if plain != settings else {}
    assert Experiment.from_flat(settings).fingerprint() != Experiment.from_flat(plain).fingerprint()


def test_what_does_not_decide_the_result_is_not() -> None:
    other = Experiment(
        threads=1, name="x", energy=True, leakage="every=1", client_store="disk", max_misses=3, track="mlflow"
    )
    assert other.fingerprint() == Experiment().fingerprint()
    assert named(decides="nothing") == {"name", "threads", "track", "keep_checkpoints", "data_dir"}


def test_clients_are_told_nothing_of_the_servers_machine() -> None:
    given = {"dataset": "table:x", "schema": "s.toml", "data_dir": "/private", "device": "cuda", "threads": 3}
    told = told_to_clients(Experiment.from_flat(given).flat())
    hidden = {"data_dir", "device", "threads", "track", "energy", "energy_profile", "engine", "stacking", "schema"}
    assert not told.keys() & hidden
    assert {"method", "phi", "dataset", "seed", "missing"} <= told.keys()


def test_axes_of_methods_are_settings_that_decide_the_result() -> None:
    axes = named(axis=True)
    assert {"init", "label_prior", "merge"} <= axes
    assert all(FACTS[name].decides == "result" for name in axes)
    for method in METHODS.names():
        assert METHODS.load(method).settings.keys() <= axes, method


@pytest.mark.parametrize(("name", "value"), [("ray_server", "cluster"), ("block_clients", 3), ("ray_address", "auto")])
def test_settings_of_another_engine_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"{name} = .*: engine local has no such setting; leave it out, or give"):
        check_engine(Experiment.from_flat({name: value}))


def test_a_setting_is_added_in_one_place() -> None:
    """The type, the default, the text of the help and all facts come with the field."""

    class More(Settings):
        speed: int = setting("Training", 1, "how fast", decides="records", clients="hidden", since="0.3.0", ge=1)

    facts = SettingFacts(**More.model_fields["speed"].json_schema_extra)  # type: ignore[arg-type]
    assert facts == SettingFacts("Training", decides="records", clients="hidden", since="0.3.0")
    assert not facts.told
    assert not facts.counts(is_default=False)


def test_a_number_stands_for_its_word_in_files_and_in_python() -> None:
    number, word = (Experiment.from_flat({"method": "psl", "merge": merge}) for merge in (2, "2"))
    assert number.fingerprint() == word.fingerprint()
    with pytest.raises(UsageError, match="merge = True: input should be a valid string"):
        Experiment.from_flat({"method": "psl", "merge": True})
