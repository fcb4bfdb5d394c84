"""Clients with heads of their own: what is sent when, laws with steps without uploads, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import CLASSES, CUT, INPUTS
from tests.some_targets import make_task, targets_of
from tests.test_laws import assert_identical, row_of, run_until

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.core.events import EpochDone, Event, Hooks, ServerWork, StepDone, Traffic
from sglr.core.method import Method
from sglr.core.registry import METHODS, TASKS
from sglr.cost.closed_forms import Sizes, own_heads
from sglr.cost.communication import Ledger
from sglr.cost.computation import segment_flops
from sglr.cost.training_flops import count_training
from sglr.splitting.heads import build_head, default_head

DIGITS: dict[str, Any] = {"clients": 3, "samples_per_client": 48, "epochs": 2, "threads": 1}
PARAMETERS: dict[str, dict[str, int]] = {
    "cse-fsl": {"h": 2},
    "fsl-sage": {"h": 2, "align_every": 1, "align_epochs": 2, "memory": 7},
}
every_headed = pytest.mark.parametrize("name", PARAMETERS)


def make(name: str) -> Method:
    method: Method = METHODS.load(name)(**PARAMETERS[name])
    return method


def test_these_are_all_methods_that_learn_by_heads_alone() -> None:
    assert {name for name in METHODS.names() if not METHODS.load(name)().answered} == PARAMETERS.keys()


# What is sent.


@every_headed
def test_uploads_come_every_h_steps_and_no_gradients_go_down(case, name: str) -> None:
    sent: list[list[tuple[str, bool]]] = [[]]

    def note(event: Event) -> None:
        if isinstance(event, Traffic):
            sent[-1].append((event.kind, event.up))
        elif isinstance(event, StepDone):
            sent.append([])

    case(make(name), sizes=(12, 12), epochs=1, hooks=Hooks(observe=note)).run()
    uploads = [("smashed", True), ("labels", True)]
    with_upload = [1, 3] if name == "cse-fsl" else [0, 2]
    assert [step for step, kinds in enumerate(sent) if set(uploads) <= set(kinds)] == with_upload
    assert {kind for kinds in sent for kind in kinds} == {*uploads, ("weights", True), ("weights", False)}


HEAD_BYTES, CLIENT_BYTES = (CUT * CLASSES + CLASSES) * 4, (INPUTS * CUT + CUT) * 4


@pytest.mark.parametrize("once", [False, True], ids=["point_to_point", "broadcast"])
@every_headed
def test_counted_bytes_are_those_of_the_closed_form(case, name: str, once: bool) -> None:
    """Three clients, 12 samples each in whole batches, an upload every second step; labels come on top."""
    ledger, epochs = Ledger(3), 3
    case(make(name), sizes=(12, 12, 12), epochs=epochs, hooks=Hooks(observe=ledger)).run()
    client = CLIENT_BYTES + (HEAD_BYTES if name == "cse-fsl" else 0)
    sizes = Sizes(clients=3, samples=36, cut=CUT * 4, model=10**6, client=client)
    plain = own_heads(sizes, 2, once=once).total
    aligned = own_heads(sizes, 2, HEAD_BYTES, once=once).total
    # The first epoch begins before anything was uploaded.
    wanted = epochs * plain if name == "cse-fsl" else plain + (epochs - 1) * aligned
    summary = ledger.summary(paper={})
    assert summary["labels_bytes"] == epochs * 18 * 8
    view = summary["views"]["broadcast" if once else "point_to_point"]
    assert view["total_bytes"] == wanted + summary["labels_bytes"]
    assert ledger.sample_bytes == CUT * 4


@every_headed
def test_operations_are_counted_of_heads_and_of_what_is_sent(case, name: str) -> None:
    training = case(make(name), sizes=(12, 6), epochs=1)
    lower, upper = training.segments()
    trainer = training.run()
    counted = count_training(trainer, lower(0), (INPUTS,), work=trainer.server.work)
    head = segment_flops(lower(0).head, (CUT,), input_gradient=True)
    own = segment_flops(lower(0).lower, (INPUTS,))
    assert counted.client_flops.tolist() == [size * (own.total + head.total) for size in (12, 6)]
    # Both clients have two batches, the first client four: of steps 1 to 4 it sends two, the other one. Nothing goes
    # down, so that no gradient by the smashed data is found.
    assert trainer.server.work == ServerWork(9, 0, 9, 0)
    assert counted.server_flops == 9 * segment_flops(upper, (CUT,)).total


# Laws, with steps in which nobody uploads.


@every_headed
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case, state_of, name: str) -> None:
    stacked, looped = (
        state_of(case(make(name), sizes=(11, 5, 3, 8), norm=True, participation=0.7, stacking=form).run())
        for form in ("stacked", "looped")
    )
    assert stacked.keys() == looped.keys()
    for key in stacked:
        torch.testing.assert_close(stacked[key], looped[key], atol=1e-10, rtol=1e-10)


@every_headed
@pytest.mark.parametrize("leave", [False, True], ids=["", "clients leave"])
def test_resumed_at_any_step_equals_uninterrupted(case, state_of, name: str, leave: bool) -> None:
    training = case(
        make(name),
        sizes=(8, 6, 5),
        norm=True,
        dropout=0.3,
        optimizer="adam",
        participation=0.7,
        label_prior="own",
        compression="topk:0.4,feedback=true",
        clients_leave=leave,
        validate=True,
    )
    whole, records, _ = run_until(training.build, None, None)
    for stop_after in range(1, whole.progress.steps):
        _, seen, saved = run_until(training.build, stop_after, None)
        resumed, more, _ = run_until(training.build, None, saved)
        assert_identical(state_of(whole), state_of(resumed))
        assert records == seen + more


@every_headed
def test_absent_clients_do_not_move(case, name: str) -> None:
    before: dict[int, dict[str, torch.Tensor]] = {}
    rested: list[int] = []

    def compare(event: Event) -> None:
        if isinstance(event, EpochDone):
            for client in range(4):
                row = row_of(trainer, client)
                if client in before and client not in trainer.participants(event.epoch):
                    assert_identical(before[client], row)
                    rested.append(client)
                before[client] = row

    training = case(make(name), sizes=(8, 6, 7, 8), participation=0.5, epochs=5, optimizer="adam")
    training.hooks = Hooks(observe=compare)
    trainer = training.build()
    trainer.run()
    assert rested


@pytest.mark.parametrize("batching", ["global:12", "proportional:12"])
@every_headed
def test_batches_of_unequal_clients(name: str, batching: str) -> None:
    """The samples of an epoch are those of everyone, whoever uploads when."""
    settings = {**DIGITS, "partition": "dirichlet", "samples_per_client": 60, "model": "mlp", "batching": batching}
    run = sglr.train(name, **settings, **PARAMETERS[name])
    assert run.history[-1]["samples"] == 2 * run.history[0]["samples"]
    assert "gradients" not in run.summary["communication"]["by_kind"]["down"]


def test_segments_of_other_merges_and_starts(case) -> None:
    """Without merges each client keeps its segment and its head."""
    method = make("cse-fsl").merging("never")
    trainer = case(method, sizes=(6, 6)).run()
    weights = trainer.engine.collect((0, 1))
    assert not torch.equal(weights["head.weight"][0], weights["head.weight"][1])
    assert not trainer.shared


# Heads.


@pytest.mark.parametrize(
    ("cut", "output", "name"),
    [
        ((6, 14, 14), (10,), "pool"),
        ((2, 3, 4, 4), (1,), "pool"),
        ((64,), (10,), "linear"),
        ((12, 8), (5,), "linear"),
        ((12, 8), (12, 20), "linear"),
        ((4, 8, 8), (3, 16, 16), "linear"),
        ((4, 4, 4, 4), (2, 8, 8, 8), "linear"),
    ],
)
def test_the_default_head_fits_the_shapes(cut: tuple[int, ...], output: tuple[int, ...], name: str) -> None:
    assert default_head(cut, output) == name
    head = build_head(None, cut, output, seed=1)
    assert tuple(head(torch.zeros(2, *cut)).shape) == (2, *output)


def test_a_head_follows_from_its_seed() -> None:
    first, again, other = (build_head("mlp:width=8", (4, 4, 4), (3,), seed) for seed in (1, 1, 2))
    states = [head.state_dict() for head in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["1.weight"], states[2]["1.weight"])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("conv", r"head = conv: there is no such head; give one of: linear, pool, mlp"),
        ("mlp:width=0", r"head = mlp:width=0: a layer needs a value at least"),
        ("mlp:depth=2", r"head = mlp:depth=2: unknown option 'depth'"),
    ],
)
def test_heads_that_there_are_not(head: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_head(head, (4, 4, 4), (3,), 0)


def test_a_head_that_does_not_fit_the_cut() -> None:
    message = r"head = pool: it does not lead from smashed data \[128\] to outputs \[10\] .*give --head linear"
    with pytest.raises(UsageError, match=message):
        sglr.train("cse-fsl", **DIGITS, model="mlp", head="pool")


@pytest.mark.parametrize("task", TASKS.names())
def test_every_task_has_a_head(task: str) -> None:
    output = make_task(task).output_shape(targets_of(make_task(task)))
    cut = {1: (64,), 2: (output[0], 8), 3: (4, 2, 2), 4: (4, 2, 2, 2)}[len(output)]
    assert tuple(build_head(None, cut, output, 0)(torch.zeros(2, *cut)).shape) == (2, *output)


@pytest.mark.parametrize("head", [None, "linear", "mlp:width=16"])
@every_headed
def test_a_run_learns_and_tells_what_it_cost(name: str, head: str | None, tmp_path: Path) -> None:
    run = sglr.train(name, **DIGITS, **PARAMETERS[name], head=head, model="cnn", out=tmp_path / "run")
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert run.history[-1]["samples"] == 2 * 3 * 48
    told = run.summary["communication"]["by_kind"]
    assert "gradients" not in told["down"]
    assert run.summary["computation"]["server_flops"] > 0
    network = sglr.load_model(tmp_path / "run")
    assert [layer for layer, _ in network.named_children()] == ["client", "server"]
    assert torch.isfinite(network(torch.zeros(2, 1, 8, 8))).all()


@every_headed
def test_heads_answer_without_the_server(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sglr.train(name, **DIGITS, **PARAMETERS[name], model="cnn", compression="bf16", out=tmp_path / "run")
    network, inputs = run.network(1), torch.randn(5, 1, 8, 8)
    alone = network.alone()
    lower, head = network.segments[0].lower, network.heads[0]
    torch.testing.assert_close(alone.outputs(inputs), head(lower(inputs)))
    assert not torch.allclose(alone.outputs(inputs), network.outputs(inputs))
    assert main(["evaluate", str(run.path), "--head", "--client", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] > 0
    assert found["loss"] != run.summary["test"]["loss"]


def test_heads_that_differ_are_asked_one_by_one(tmp_path: Path) -> None:
    run = sglr.train("fsl-sage", **DIGITS, **PARAMETERS["fsl-sage"], model="mlp", out=tmp_path / "run")
    with pytest.raises(UsageError, match="client = shared: each client has a head of its own in this run; give 0 to 2"):
        run.network().alone()


def test_a_run_without_heads_has_none_to_ask(tmp_path: Path) -> None:
    run = sglr.train("psl", **DIGITS, model="mlp", out=tmp_path / "run")
    with pytest.raises(UsageError, match="head = True: clients of method psl have no heads, and can't answer alone"):
        run.network().alone()


# What is refused.


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("psl", {"head": "linear"}, "head = linear: clients of method psl have no head; leave it out"),
        ("cse-fsl", {"tail": "relu2", "model": "mlp"}, "tail = relu2: method cse-fsl has a loss at the client"),
        ("cse-fsl", {"accumulate": 2}, "accumulate = 2: the server of method cse-fsl"),
        ("cse-fsl", {"label_prior": "pooled"}, "no step on all clients together"),
        ("cse-fsl", {"h": 7}, "h = 7: an epoch has 6 steps, so that nothing would be uploaded; give at most 6"),
        ("cse-fsl", {"h": 0}, "h = 0: is below 1"),
        ("cse-fsl", {"defence": "max-norm"}, "defence = max-norm: the server of method cse-fsl sends no gradients"),
        ("fsl-sage", {"h": 7}, "h = 7: an epoch has only 6 steps; give at most 6"),
        (
            "fsl-sage",
            {"engine": "remote", "batching": "global"},
            "batching = global: clients with heads take steps by themselves",
        ),
        ("fsl-sage", {"memory": 10**12}, r"method = fsl-sage: it keeps \d{15,} bytes \(.* GB\) between steps"),
        (
            "cse-fsl",
            {"engine": "remote", "pipelining": True},
            "pipelining = 1: clients of method cse-fsl never wait",
        ),
    ],
)
def test_what_contradicts_a_head_is_refused_before_any_work(
    method: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        sglr.train(method, **{**DIGITS, **settings}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Leakage.


def test_no_labels_are_inferred_from_gradients_that_are_not_sent(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "run"
    run = sglr.train("cse-fsl", **DIGITS, h=2, model="mlp", leakage="every=1,samples=64", out=path)
    assert "leakage_distance_correlation" in run.history[-1]
    assert "leakage_label_inference_accuracy" not in run.history[-1]
    told = sglr.leak(path, clients=1)
    reason = "no gradients are sent that labels could be inferred from; the labels are uploaded"
    assert reason in told["missing"]["label_inference_accuracy"]
    assert "distance_correlation" in told["leakage"]
    with pytest.raises(UsageError, match=reason):
        sglr.leak(path, clients=1, samples=64, measures=["label_inference_accuracy"])
    with pytest.raises(UsageError, match="needs cut-layer gradients, which this training does not show it"):
        sglr.leak(path, clients=1, samples=64, measures=["none"], attacks=["label-direction"])
