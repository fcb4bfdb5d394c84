"""Clients that compute ahead of their gradients: as the simulation has it, the same every time, and resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.runs.config import Experiment

from .federation import SETTINGS, Federation, local_twin
from .undisturbed import PowerCutError, dies_at

LONG = {"method": "sglr", "samples_per_client": 60, "epochs": 2}
"""Seven steps an epoch, the last batch smaller."""


def digest_of(run: Any) -> str:
    assert run.summary is not None
    return str(run.summary["weights_sha256"])


def slow(case: dict[str, Any]) -> Any:
    return pytest.param(case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "chosen",
    [
        {"pipelining": 3, "compression": "int8:feedback=true", "delay_compensation": 0.5},
        slow({"pipelining": 1}),
        slow({"pipelining": 8, "method": "sfl", "accumulate": 2, "participation": 0.7}),
        slow({"pipelining": 4, "model": "resnet16", "partition": "dirichlet", "samples_per_client": 40}),
        slow({"pipelining": 2, "short_clients": "cycle", "partition": "dirichlet", "delay_compensation": 1.0}),
        slow({"pipelining": 2, "method": "ssl"}),
        slow({"pipelining": 2, "defence": "nopeek:weight=0.5+clip:norm=5+noise:sigma=0.2", "method": "psl"}),
    ],
    ids=lambda chosen: "-".join(str(value) for value in chosen.values()),
)
def test_at_any_depth_sites_train_as_the_simulation_does(chosen: dict[str, Any], tmp_path: Path) -> None:
    settings = {**LONG, **chosen}
    federation = Federation(tmp_path / "sites", settings)
    ours, theirs = federation.train(), local_twin(settings, tmp_path / "local")
    assert not federation.problems
    assert digest_of(ours) == digest_of(theirs)
    assert ours.summary["communication"] == theirs.summary["communication"]
    plain = local_twin({**settings, "pipelining": 0, "delay_compensation": 0.0}, tmp_path / "plain")
    assert digest_of(plain) != digest_of(theirs)


@pytest.mark.slow
def test_clients_with_a_head_and_gradients_of_the_server_compute_ahead(tmp_path: Path) -> None:
    settings = {**LONG, "method": "splitgp", "pipelining": 2}
    federation = Federation(tmp_path / "sites", settings)
    ours, theirs = federation.train().summary, local_twin(settings, tmp_path / "local").summary
    assert not federation.problems
    assert ours["test"]["loss"] == pytest.approx(theirs["test"]["loss"], abs=1e-4)


@pytest.mark.parametrize(
    "chosen",
    [
        {"pipelining": 3, "checkpoint_every": 2, "compression": "topk:0.3,feedback=true", "method": "sfl"}
        | {"weight_compression": "int4"},
        slow({"pipelining": 1, "checkpoint_every": 3, "model": "resnet16", "samples_per_client": 40}),
        slow({"pipelining": 8, "checkpoint_every": 1, "delay_compensation": 0.5, "method": "sfl"}),
    ],
    ids=lambda chosen: f"depth-{chosen['pipelining']}",
)
def test_a_checkpoint_changes_nothing_and_a_crash_neither(chosen: dict[str, Any], tmp_path: Path) -> None:
    """Passes that a checkpoint ends run again with the weights that they ran with, there and after a crash."""
    settings = {**LONG, **chosen}
    federation = Federation(tmp_path / "sites", settings, groups=[(0, 1), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(0, 5))
    run = federation.go_on()
    assert not federation.problems
    assert digest_of(run) == digest_of(local_twin({**settings, "checkpoint_every": 0}, tmp_path / "local"))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"method": "fl"}, "pipelining = 2: method fl has nothing to compute ahead"),
        ({"method": "sfl", "average_every": 1}, "pipelining = 2: method sfl merges clients' weights within an epoch"),
        ({"method": "cse-fsl", "h": 2}, "pipelining = 2: clients of method cse-fsl never wait"),
        ({"tail": "relu2"}, "pipelining = 2: the gradient of a step comes after a second exchange"),
        ({"batching": "global"}, "pipelining = 2: with batching global the server tells each client"),
        ({"pipelining": 9}, "pipelining = 9: input should be less than or equal to 8"),
        ({"pipelining": -1}, "pipelining = -1: input should be greater than or equal to 0"),
        ({"pipelining": 0, "delay_compensation": 1}, "delay_compensation = 1.0: .* no delay to compensate"),
        ({"delay_compensation": -1}, "delay_compensation = -1: input should be greater than or equal to 0"),
    ],
)
@pytest.mark.parametrize("engine", ["local", "remote"])
def test_it_is_refused_where_it_has_no_meaning(engine: str, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build(Experiment.from_flat({**SETTINGS, "engine": engine, "pipelining": 2, **changed}))


def test_settings_of_before_it_was_a_number_still_hold() -> None:
    for old, new, fingerprint in ((True, 1, "199bc6f2f85a8fcb"), (False, 0, "8eea63a74bf3cb66")):
        experiment = Experiment.from_flat({"pipelining": old})
        assert experiment.pipelining == new
        assert type(experiment.pipelining) is int
        assert experiment.fingerprint() == fingerprint
