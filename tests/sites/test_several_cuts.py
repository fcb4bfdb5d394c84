"""Clients that are cut at different places, between sites: the weights are those of one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from tests.some_transformers import folder_of, written

import sglr
from sglr.assembly.build import build
from sglr.core.errors import SglrError, UsageError
from sglr.core.events import StepDone
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.run_description import RunDescription
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.sites.build_client import own_experiment, own_segments
from sglr.storage.checkpoint import read_checkpoint

from .attacker import Act, Line
from .federation import SETTINGS, Federation, local_twin
from .test_adapters import LORA, QUIET
from .test_hostile import attacked

TOLD: dict[str, Any] = {"cuts": "0=conv1,1=pool1,2=relu2", "model": "cnn", "threads": 1, "validation": 0}
CASES: dict[str, dict[str, Any]] = {
    "averages": {"method": "sgl", "phi": 1.0, "cuts": "0=conv1,1-2=pool1"},
    "merged": {"method": "sfl", "compression": "int8"},
    "labels stay": {"method": "sglr", "tail": "relu3"},
    "codec": {"method": "sglr", "compression": "topk:0.5,feedback=true", "defence": "noise:sigma=0.1"},
    "copies": {"method": "sflv1"},
    "handed on": {"method": "ssl"},
    "drawn anew": {"method": "cyclesl"},
    "every step": {"method": "sfl", "average_every": 1},
    "by device": {"method": "psl", "cuts": "phone=conv1,laptop=pool1", "clock": "0=phone/4g,1-2=laptop/wifi"},
}
FAST = ("averages", "merged")


def same(remote: Run, local: Run) -> None:
    assert remote.summary is not None and local.summary is not None
    for key in ("weights_sha256", "communication"):
        assert remote.summary[key] == local.summary[key], key
    assert remote.summary["test"]["loss"] == pytest.approx(local.summary["test"]["loss"], abs=1e-6)


@pytest.mark.parametrize("case", [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in CASES])
def test_sites_that_are_cut_at_different_places_train_as_in_one_process(case: str, tmp_path: Path) -> None:
    told = {**TOLD, **CASES[case]}
    federation = Federation(tmp_path, told)
    remote, local = federation.train(), local_twin(told, tmp_path / "local")
    assert federation.problems == []
    same(remote, local)
    held = {}
    for client in range(3):
        (segment,) = (tmp_path / "site-0").rglob(f"*{client}/segment.safetensors")
        weights, _ = read_checkpoint(segment)
        held[client] = {name.removeprefix("lower.") for name in weights if not name.startswith("tail.")}
        if case == "handed on":  # the last one's weights are on their way to the next
            continue
        ours, theirs = sglr.load_model(remote.path, client, segment=segment), sglr.load_model(local.path, client)
        assert all((one == other).all() for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert held[0] == {"conv1.weight", "conv1.bias"}
    assert ("conv2.weight" in held[2]) == ("relu2" in told["cuts"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sglr", "sfl"])
def test_a_server_that_is_stopped_goes_on_with_the_same_weights(method: str, tmp_path: Path) -> None:
    told = {**TOLD, "method": method}
    federation, seen = Federation(tmp_path, told), [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(SglrError):
        federation.train(observe=observe, stop=lambda: seen[0] >= 4)
    same(federation.go_on(), local_twin(told, tmp_path / "local"))


@pytest.mark.parametrize("method", [pytest.param("sfl"), pytest.param("sglr", marks=pytest.mark.slow)])
def test_adapters_of_sites_that_are_cut_at_different_places(method: str, tmp_path: Path) -> None:
    """Client 0 holds frozen embeddings alone, which it neither trains nor shares."""
    model, texts = folder_of("bert", tmp_path / "models", **QUIET["bert"]), written(tmp_path / "texts")
    told = {"model": f"hf:{model}", "dataset": f"text:{texts}", "length": 8, "lora": LORA["bert"], "method": method}
    told |= {"cuts": "0=embeddings,1=layer.0,2=layer.1", "samples_per_client": 8, "test_samples": 8, "validation": 6}
    told |= {"batch_size": 4, "lr": 0.01}
    federation = Federation(tmp_path, told)
    remote, local = federation.train(), local_twin(told, tmp_path / "local")
    assert federation.problems == []
    same(remote, local)
    assert local.summary is not None
    assert [group["weights"] > 0 for group in local.summary["cuts"]] == [False, True, True]


def described(**changes: Any) -> RunDescription:
    experiment = Experiment.from_flat({**SETTINGS, **TOLD, "engine": "remote", **changes})
    engine = build(experiment).trainer.engine
    assert isinstance(engine, Remote)
    return RunDescription.decode(replace(engine._description, run="r").encode())


def test_a_description_tells_each_client_its_own_cut() -> None:
    told = described(cuts="0=10%,1=pool1,2=relu2")
    assert told.settings["cuts"] in ("0=conv1,1=pool1,2=relu2", "0-1=pool1,2=relu2")
    told = described()
    assert [told.at(client).cut_shape for client in range(3)] == [(16, 8, 8), (16, 4, 4), (32, 4, 4)]
    assert told.largest_cut == (16, 8, 8)
    assert len({told.at(client).network for client in range(3)}) == 3
    segments = own_segments(told, own_experiment(told, None))
    assert [len(list(segments(client).parameters())) for client in range(3)] == [2, 2, 4]


def test_a_client_whose_cut_is_not_what_the_server_says_is_refused() -> None:
    told = described(cuts="0-1=conv1,2=relu2")
    lying = replace(told, places=(0, 1, 1))
    with pytest.raises(UsageError, match="differs from the server's; its cut has shape"):
        own_segments(lying, own_experiment(lying, None))
    wrong = replace(described(cuts="0=conv1,1-2=relu2"), places=(0, 1, 0))
    segments = own_segments(wrong, own_experiment(wrong, None))
    segments(1)
    with pytest.raises(UsageError, match="differs from the server's; its cut has shape"):
        segments(2)


@pytest.mark.parametrize(
    "changes",
    [{"places": [0, 5, 1]}, {"places": [0]}, {"ends": "none"}, {"places": [], "ends": [{"cut_shape": [1 << 40]}]}],
)
def test_a_description_of_impossible_cuts_is_refused(changes: dict[str, Any]) -> None:
    told = replace(described(), run="r")
    with pytest.raises(SglrError, match="cannot be read"):
        RunDescription.decode(replace(told, **changes).encode())


async def with_another_cut(line: Line) -> None:
    """Come with the layers of client 0, as a client would whose cut is another than it was given."""
    await line.hello(segment=line.description.at(0).network)


def sends_of(client: int) -> Act:
    """Come with the right layers, and send smashed data in the shape of another client's cut."""

    async def act(line: Line) -> None:
        await line.hello(segment=line.description.at(3).network)
        frame = await line.asked("forward")
        values = torch.zeros(8, *line.description.at(client).cut_shape)
        await line.send("smashed", {"values": values, "labels": torch.zeros(8, dtype=torch.int64)}, frame.envelope.seq)

    return act


@pytest.mark.slow
def test_the_server_refuses_a_client_with_another_cut_than_it_was_given(tmp_path: Path) -> None:
    """Its Hello tells other layers, or its smashed data have another cut's shape; the others train as without it."""
    told = {**TOLD, "cuts": "0=conv1,1=pool1,2-3=relu2", "validation": 30}
    federation, gang = attacked(tmp_path, [with_another_cut, sends_of(1)], **told)
    assert federation.problems == []
    another, shape = gang.attackers
    assert another.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "the client's segment differs from the server's" in another.details
    assert "another cut" in another.details
    assert not another.here.is_set()
    assert shape.code == grpc.StatusCode.PERMISSION_DENIED
    assert "[8, 32, 4, 4]" in shape.details


def test_a_run_of_several_cuts_is_not_served_for_predictions(tmp_path: Path) -> None:
    from sglr.sites.served_network import served_network

    run = local_twin({**TOLD, "method": "sfl", "epochs": 1}, tmp_path / "run")
    with pytest.raises(UsageError, match="cut at different places"):
        served_network(run.path)
