"""A plan against the ledger of a real training, to the byte: several values, masks beside them, adapters; memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters.networks import CLASSES, INPUTS, dataset, network
from tests.several_values import UNet, squares
from tests.some_transformers import folder_of, written
from torch import nn

import sglr
from sglr.adapters import Lora
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.errors import UsageError
from sglr.planner.client_memory import client_memory
from sglr.planner.cuts import measure_cuts
from sglr.planner.request import Request
from sglr.planner.words import paragraphs
from sglr.runs.config import Experiment

CLIENTS, EACH, LENGTH = 3, 8, 8
TRAINING: dict[str, Any] = {"clients": CLIENTS, "samples_per_client": EACH, "batch_size": 4, "epochs": 1, "threads": 1}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("bert")
    texts, model = written(place / "texts", 20), folder_of("bert", place)
    return {"model": f"hf:{model}", "dataset": f"text:{texts}", "length": LENGTH, "cut": "layer.1"}


def planned(settings: dict[str, Any], **sizes: Any) -> Any:
    given = {name: settings[name] for name in ("model", "cut", "lora", "task", "freeze") if name in settings}
    return Request(clients=CLIENTS, samples=CLIENTS * EACH, **sizes, **given).plan()


def are_equal(run: sglr.Run, plan: Any, method: str) -> None:
    """Hold what was sent against the plan's view of links; targets are told apart there."""
    assert run.summary is not None
    sent = run.summary["communication"]["by_kind"]
    sizes, samples = plan.scenario.sizes, CLIENTS * EACH
    assert sent["up"]["smashed"] == sent["down"].get("gradients", 0) + sent["down"].get("average", 0)
    assert sent["up"]["smashed"] == round(1e6 * sizes.cut * samples)
    assert sent["up"].get("beside", 0) == round(1e6 * sizes.beside * samples)
    assert sent["up"].get("weights", 0) == (round(1e6 * sizes.client * CLIENTS) if method == "sfl" else 0)
    counted = sum(sum(kinds.values()) for kinds in sent.values()) - sent["up"]["labels"]
    assert counted == round(1e6 * plan.methods[method].views["point_to_point"].total_mb)


def u_net(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    del input_shape
    return UNet(classes)


@pytest.mark.parametrize("method", ["sglr", pytest.param("sfl", marks=pytest.mark.slow)])
def test_a_u_net_at_its_bottleneck(method: str, tmp_path: Path) -> None:
    settings = {"model": f"{__name__}:u_net", "cut": "bottom", "task": "segmentation"}
    plan = planned(settings, input_shape="1,8,8", classes=2)
    are_equal(sglr.train(method, dataset=squares(64), out=tmp_path / "run", **settings, **TRAINING), plan, method)
    chosen = next(entry.cut for entry in plan.cuts if entry.cut.name == "bottom")
    assert sorted(value.shape for value in chosen.crosses) == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
    assert chosen.beside_mb == 0


@pytest.mark.parametrize(
    ("method", "lora"),
    [
        ("psl", None),
        ("sfl", "r=2,targets=query+value"),
        pytest.param("sfl", "r=2,at=clients,targets=query", marks=pytest.mark.slow),
    ],
)
def test_a_transformer_with_padding_and_adapters(
    method: str, lora: str | None, bert: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**bert, **({} if lora is None else {"lora": lora})}
    plan = planned(settings, input_shape=str(LENGTH), classes=2)
    assert plan.scenario.sizes.beside == 4 * LENGTH / 1e6
    are_equal(sglr.train(method, out=tmp_path / "run", **settings, **TRAINING), plan, method)
    told = " ".join(paragraphs(plan)["counted"])
    assert "beside what is learned add 768 B" in told
    assert ("In a merge a client sends and gets" in told) is (lora is not None)


def test_layers_that_stay_are_in_no_merge(tmp_path: Path) -> None:
    settings = {"model": "cnn", "cut": "pool2", "freeze": "conv1"}
    plan = planned(settings, input_shape="1,8,8", classes=10)
    are_equal(sglr.train("sfl", dataset="digits", out=tmp_path / "run", **settings, **TRAINING), plan, "sfl")
    chosen = next(entry.cut for entry in plan.cuts if entry.cut.name == "pool2")
    assert chosen.frozen_mb == 4 * (16 * 9 + 16) / 1e6
    assert chosen.client_mb == pytest.approx(4 * (32 * 16 * 9 + 32) / 1e6)


CUTS = "0-1=conv1,2=relu2"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("sglr", {"phi": 0.75}),
        ("sfl", {"freeze": "conv1", "cuts": "0=pool2,1-2=relu2"}),
        pytest.param("psl", {}, marks=pytest.mark.slow),
    ],
)
def test_clients_that_are_cut_at_different_places(method: str, more: dict[str, Any], tmp_path: Path) -> None:
    settings = {"model": "cnn", "cuts": CUTS, **more}
    told = {"clients": CLIENTS, "samples": CLIENTS * EACH, "input_shape": "1,8,8", "classes": 10}
    plan = Request(**told, **settings).plan_of_cuts()
    run = sglr.train(method, dataset="digits", out=tmp_path / "run", **settings, **TRAINING)
    assert run.summary is not None
    sent = run.summary["communication"]
    labels = sent["by_kind"]["up"]["labels"]
    for view in ("point_to_point", "broadcast"):
        assert sent["views"][view]["total_bytes"] - labels == round(1e6 * plan.sent(method, view).total_mb), view
    for group, held in zip(plan.groups, run.summary["cuts"], strict=True):
        assert (group.cut.name, list(group.clients)) == (held["cut"], held["clients"])
        assert held["bytes_per_sample"] == round(1e6 * group.cut.cut_mb)
        assert 4 * held["weights"] == round(1e6 * group.cut.client_mb)
        assert group.cut.memory.trained == pytest.approx(1e6 * group.cut.client_mb)
    computed = run.summary["computation"]
    assert computed["client_flops"]["max"] == max(group.client_flops for group in plan.groups)
    assert computed["client_flops"]["mean"] == pytest.approx(
        sum(group.client_flops * len(group.clients) for group in plan.groups) / CLIENTS
    )
    assert computed["server_flops"] == pytest.approx(plan.server_flops)


def test_masks_beside_what_is_learned_are_of_each_cut(bert: dict[str, Any], tmp_path: Path) -> None:
    settings = {name: value for name, value in bert.items() if name != "cut"} | {"cuts": "0=embeddings,1-2=layer.1"}
    told = {"clients": CLIENTS, "samples": CLIENTS * EACH, "input_shape": str(LENGTH), "classes": 2}
    plan = Request(model=settings["model"], cuts=settings["cuts"], **told).plan_of_cuts()
    run = sglr.train("psl", out=tmp_path / "run", **settings, **TRAINING)
    assert run.summary is not None
    sent = run.summary["communication"]
    counted = sent["views"]["point_to_point"]["total_bytes"] - sent["by_kind"]["up"]["labels"]
    assert counted == round(1e6 * plan.sent("psl", "point_to_point").total_mb)


def test_a_plan_of_several_cuts_by_hand() -> None:
    """Two clients behind the first layer, one behind the second; 7 samples: 3, 2 and 2."""
    asked = Request(clients=3, samples=7, model="cnn", input_shape="1,8,8", classes=10, cuts="0-1=conv1,2=pool1")
    asked = replace(asked, phi=1.0, rate="8Mbps", flops_rate="1MFLOPS")
    plan = asked.plan_of_cuts()
    conv1, pool1, weights = 4 * 16 * 8 * 8, 4 * 16 * 4 * 4, 4 * (16 * 9 + 16)
    assert [group.scenario.sizes.samples for group in plan.groups] == [5, 2]
    record = plan.record()
    links = 2 * (5 * conv1 + 2 * pool1)
    assert record["methods"]["psl"]["point_to_point"]["total_mb"] == pytest.approx(links / 1e6)
    assert record["methods"]["sfl"]["point_to_point"]["total_mb"] == pytest.approx((links + 6 * weights) / 1e6)
    # Over one medium the average of two clients' gradients is sent once, and weights once to each cut's clients.
    assert record["methods"]["sglr"]["broadcast"]["total_mb"] == pytest.approx((links - 5 * conv1 / 2) / 1e6)
    assert record["methods"]["sfl"]["broadcast"]["total_mb"] == pytest.approx((links + (3 + 2) * weights) / 1e6)
    computing = max(group.client_flops for group in plan.groups) / 1e6
    seconds = record["methods"]["psl"]["point_to_point"]["seconds"]
    assert seconds == pytest.approx(computing + 2 * 5 / 2 * conv1 / 1e6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cuts": "0=conv1,1-2=conv9"}, "the model has no such layer"),
        ({"cuts": "0=conv1"}, "clients 1, 2 would have no cut"),
        ({"cuts": "phone=conv1"}, "a plan knows no devices"),
        ({"cut": "conv1"}, "cut = conv1 is given, too"),
        ({"lora": "r=2,at=clients"}, "differs from client to client"),
        ({"energy_profile": "pi-wifi"}, "a plan of several cuts tells no energy"),
        ({"model": None, "cut_mb": 1, "model_mb": 2, "client_mb": 1}, "give one or the other"),
    ],
)
def test_cuts_that_make_no_sense_are_refused(change: dict[str, Any], told: str) -> None:
    asked = Request(clients=3, samples=24, model="cnn", input_shape="1,8,8", classes=10, cuts=CUTS)
    with pytest.raises(UsageError, match=told):
        replace(asked, **change).plan_of_cuts()
    with pytest.raises(UsageError, match="have a plan of their own"):
        asked.plan()


def test_what_a_client_holds_by_hand() -> None:
    """Two layers keep their inputs, of 3 and 4 floats, and a tanh its output, which is the second's input."""
    segment = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    segment[0].bias.requires_grad_(False)
    memory = client_memory(segment, torch.zeros(5, 3))
    assert (memory.trained, memory.fixed) == (4 * (12 + 10), 4 * 4)
    assert memory.passed == 4 * (3 + 4 + 2)  # and what is sent
    assert memory.bytes(5) == 4 * 88 + 16 + 5 * 36


def test_a_client_with_adapters_holds_what_the_plan_says() -> None:
    lora = "r=2,alpha=4"
    shape = {
        "clients": 4,
        "cut": 3,
        "lora": lora,
        "optimizer": "adam",
        "method": "psl",
        "model": "<it>",
        "dataset": "<drawn>",
    }
    trainer = build(Experiment.from_flat(shape), PartOverrides(model=network, dataset=dataset())).trainer
    trainer.run()
    stack = trainer.engine.block.stack
    chosen, _ = measure_cuts("tests.adapters.networks:network", (INPUTS,), CLASSES, "3", lora=Lora.parse(lora))
    held = sum(tensor.numel() * tensor.element_size() for tensor in stack.state().values()) / 4
    assert 3 * chosen.memory.trained == pytest.approx(held, rel=0.05)  # beside them are gradients, in a step
    assert chosen.memory.fixed == sum(tensor.numel() * tensor.element_size() for tensor in stack.frozen.values())
    assert chosen.memory.trained == 1e6 * chosen.client_mb


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lora": "r=0"}, "an adapter of rank 0 has no weights"),
        ({"lora": "targets=layer.0.attention.self.query,modules_to_save=none"}, "is in the server's segment"),
        ({"freeze": "bert.embedings"}, "did you mean model.bert.embeddings"),
        ({"batch_size": 0}, "batch_size = 0: is not above zero"),
        ({"cut": "99"}, "it has 4 blocks"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], told: str, bert: dict[str, Any]) -> None:
    asked = Request(clients=2, samples=16, model=bert["model"], input_shape="8", classes=2, cut="layer.1")
    with pytest.raises(UsageError, match=told):
        replace(asked, **change).plan()
    with pytest.raises(UsageError, match="give one or the other"):
        Request(samples=16, cut_mb=1, model_mb=2, client_mb=1, lora="r=2").plan()
