"""A plan against Table 6 by hand, crossovers against their closed forms, cuts against what a run really sends."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.task import Targets
from sglr.cost.closed_forms import Sizes
from sglr.cost.computation import segment_flops
from sglr.cost.profiles import load_profile
from sglr.cost.units import read_flops_rate, read_rate
from sglr.planner.costs import Scenario, Work, method_costs
from sglr.planner.crossovers import crossovers
from sglr.planner.cuts import measure_cuts
from sglr.planner.plan import CostPlan, make_plan
from sglr.planner.request import Request
from sglr.planner.words import paragraphs
from sglr.splitting import split

EXAMPLE = Request(clients=100, samples=50_000, phi=0.5, cut_mb=0.024, model_mb=200, client_mb=67)
WORK = Work(client=10, server=30, whole=40)


@pytest.fixture(scope="module")
def example() -> CostPlan:
    return EXAMPLE.plan()


@pytest.fixture(scope="module")
def digits() -> CostPlan:
    asked = Request(clients=4, phi=0.5, model="cnn", dataset="digits", flops_rate="1GFLOPS", energy_profile="pi-wifi")
    return asked.plan()


# The paper's worked example


def test_the_papers_example_is_reproduced(example):
    record = json.loads(json.dumps(example.record()))
    assert f"{record['savings']['sglr_vs_sfl']:.1%}" == "88.6%"
    assert f"{record['savings']['sglr_vs_fl']:.1%}" == "95.5%"
    totals = {name: cost["total_mb"] for name, cost in record["methods"].items()}
    assert totals == {"fl": 40_000, "psl": 2_400, "sfl": 15_800, "sglr": pytest.approx(1_800.024)}
    # 100 Mbit/s are 12.5 MB/s; PSL's time in Table 6 has no 1/|C|.
    seconds = {name: cost["seconds"] for name, cost in record["methods"].items()}
    assert seconds == pytest.approx({"fl": 32, "psl": 192, "sfl": 12.64, "sglr": 1.4400192})
    assert record["methods"]["psl"]["views"]["point_to_point"]["seconds"] == pytest.approx(1.92)
    assert record["cheapest"]["total_mb.paper"] == ["sglr"]
    assert record["cheapest"]["total_mb.point_to_point"] == ["psl", "sglr"]


def test_the_answer_comes_first(example):
    first = paragraphs(example)["answer"][0]
    assert first.startswith("SGLR sends least")
    assert "88.6 % less than SFL and 95.5 % less than FL" in first


# Crossovers


def _found(plan: CostPlan, measure: str, pair: tuple[str, str], over: str) -> list[tuple[object, object, object]]:
    keys = (measure, pair, over)
    return [(c.at, c.below, c.above) for c in plan.crossovers if (c.measure, c.between, c.over) == keys]


def test_crossovers_of_the_example_follow_from_table_6(example):
    sizes, phi = example.scenario.sizes, Fraction(1, 2)
    cut, model, client = Fraction("0.024"), Fraction(200), Fraction(67)
    weights = 2 * sizes.clients * model
    # (2 − φ)|D| S(L) + S(L) = 2 |C| S(w), solved for |D| and for |C|
    samples = (weights - cut) / ((2 - phi) * cut)
    assert _found(example, "total_mb.paper", ("sglr", "fl"), "samples") == [(int(samples), "sglr", "fl")]
    clients = ((2 - phi) * sizes.samples * cut + cut) / (2 * model)
    assert _found(example, "total_mb.paper", ("sglr", "fl"), "clients") == [(int(clients), "fl", "sglr")]
    # 2 |D| S(L) + 2 |C| S(w_c) = 2 |C| S(w)
    shared = sizes.clients * (model - client) / cut
    assert _found(example, "total_mb.paper", ("sfl", "fl"), "samples") == [(int(shared), "sfl", "fl")]
    assert _found(example, "total_mb.paper", ("sglr", "sfl"), "samples") == [(None, "sglr", "sglr")]
    assert _found(example, "total_mb.point_to_point", ("sglr", "psl"), "phi") == [(None, None, None)]


def test_a_crossover_over_phi_is_where_both_send_the_same():
    scenario = Scenario(Sizes(clients=10, samples=1_000, cut=1, model=75, client=10), phi=0.1, rate=1)
    found = make_plan(scenario)
    ((at, below, above),) = _found(found, "total_mb.paper", ("sglr", "fl"), "phi")
    assert (below, above) == ("fl", "sglr")
    assert at == pytest.approx(2 - (2 * 10 * 75 - 1) / 1_000)
    assert "above φ = 0.5" in " ".join(paragraphs(found)["crossovers"])


def test_a_tie_at_one_value_is_no_range():
    # 2 |D| = 2 |C| 8 at exactly |D| = 8 |C| = 32, which is a power of two, as the values tried first are.
    plan = make_plan(Scenario(Sizes(clients=4, samples=5, cut=1, model=8, client=1), phi=0, rate=1))
    assert _found(plan, "total_mb.paper", ("psl", "fl"), "samples") == [(31, "psl", "fl")]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(1, 200),
    each=st.integers(1, 2_000),
    cut=st.floats(1e-3, 10),
    model=st.floats(1e-2, 1e3),
    share=st.floats(0, 1),
    phi=st.floats(0, 1),
)
def test_either_side_of_a_crossover_is_cheapest_as_told(clients, each, cut, model, share, phi):
    sizes = Sizes(clients, clients * each, cut, model, model * share)
    scenario = Scenario(sizes, phi, rate=3, work=WORK, flops_rate=1e3, profile=load_profile("pi-wifi"))
    for found in crossovers(scenario):
        if found.over == "phi" or found.at is None:
            continue
        for value, told in ((int(found.at), found.below), (int(found.at) + 1, found.above)):
            if told is not None:
                beside = replace(scenario, sizes=replace(sizes, **{found.over: value}))
                costs = {name: cost.measure(found.measure) for name, cost in method_costs(beside).items()}
                other = next(name for name in found.between if name != told)
                # The value behind may be that of a tie.
                assert costs[told] <= costs[other] * (1 + 1e-9)


# Computation, time and energy


def test_time_and_energy_by_hand():
    profile = replace(
        load_profile("pi-wifi"),
        client_joules_per_flop=2,
        server_joules_per_flop=1,
        joules_per_byte_up=3e-6,
        joules_per_byte_down=1e-6,
    )
    sizes = Sizes(clients=2, samples=10, cut=1, model=50, client=4)
    scenario = Scenario(sizes, 0.5, rate=2, work=WORK, flops_rate=5, server_flops_rate=100, profile=profile)
    costs = method_costs(scenario)
    # a client's 5 samples: 5 · 10 at the client or 5 · 40 of the whole model; the server's 10 samples: 10 · 30
    assert (costs["psl"].client_flops, costs["psl"].server_flops) == (50, 300)
    assert (costs["fl"].client_flops, costs["fl"].server_flops) == (200, 0)
    assert (costs["psl"].compute_seconds, costs["fl"].compute_seconds) == (50 / 5 + 300 / 100, 200 / 5)
    assert costs["psl"].views["point_to_point"].seconds == 13 + 10 / 2
    # up and down 10 MB each; FL 100 MB each
    assert costs["psl"].network_joules == pytest.approx(10 * 3 + 10 * 1)
    assert costs["psl"].joules == pytest.approx(2 * 50 * 2 + 300 * 1 + 40)
    assert costs["fl"].joules == pytest.approx(2 * 200 * 2 + 400)
    # SplitAvg's average is heard by every active client's radio, whoever sends it.
    assert costs["sglr"].joules == costs["psl"].joules


def test_without_rates_computation_takes_no_time_and_this_is_said(example, digits):
    assert all(cost.compute_seconds == 0 for cost in example.methods.values())
    assert "computation (T) as 0" in paragraphs(example)["counted"][0]
    assert all(cost.compute_seconds > 0 for cost in digits.methods.values())
    assert "clients at 1.00 GFLOP/s; the server takes no time" in paragraphs(digits)["counted"][0]


# Cuts of a model


@pytest.mark.slow
def test_sizes_of_the_papers_network():
    chosen, cuts = measure_cuts("resnet16", (1, 28, 28), 10)
    assert (chosen.name, chosen.smashed_shape, chosen.cut_mb) == ("layer2", (32, 14, 14), 32 * 14 * 14 * 4 / 1e6)
    assert [cut.name for cut in cuts if "." not in cut.name] == [
        "stem",
        "layer1",
        "layer2",
        "layer3",
        "pool",
        "flatten",
    ]
    assert [cut.client_mb for cut in cuts] == sorted(cut.client_mb for cut in cuts)
    assert [cut.work.client for cut in cuts] == sorted(cut.work.client for cut in cuts)


def test_operations_of_both_segments_are_those_that_each_is_counted_with():
    chosen, _ = measure_cuts("cnn", (1, 8, 8), 10)
    lower, upper = split(build_model("cnn", (1, 8, 8), 10), "pool1")
    assert chosen.work.client == segment_flops(lower, (1, 8, 8)).total
    assert chosen.work.server == segment_flops(upper, chosen.smashed_shape, input_gradient=True).total
    assert chosen.client_mb == sum(weights.numel() for weights in lower.parameters()) * 4 / 1e6


def test_a_cut_leaves_weights_on_both_sides():
    _, cuts = measure_cuts("mlp", (1, 8, 8), 10)
    assert [cut.name for cut in cuts] == ["fc1", "relu1", "fc2", "relu2"]  # flatten sends inputs, fc3 everything


def test_a_number_is_how_many_children_the_client_keeps(monkeypatch, tmp_path):
    assert measure_cuts("cnn", (1, 8, 8), 10, "3")[0].name == "pool1"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbered.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(*(nn.Linear(n, n + 1) for n in range(4, 8)))\n"
    )
    chosen, cuts = measure_cuts("numbered:make", (4,), 8, "2")
    assert (chosen.name, chosen.smashed_shape) == ("2", (6,))  # 4 → 5 → 6, the layers named 0 and 1
    assert [cut.name for cut in cuts] == ["1", "2", "3"]
    assert chosen in cuts
    with pytest.raises(UsageError, match=r"one of: 1, 2, 3; or a share"):
        measure_cuts("numbered:make", (4,), 8)


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    measure_cuts("cnn", (1, 8, 8), 10)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


def test_efficient_cuts_are_those_that_none_beats(digits):
    entries = {entry.cut.name: entry for entry in digits.cuts}
    assert entries["pool1"].efficient  # as much to compute as conv1, a quarter to send
    assert not entries["conv1"].efficient
    assert not entries["conv2"].efficient  # sends more than pool1 and computes more
    assert digits.best_cuts["total_mb.paper"] == ["fc1", "relu3"]
    assert "behind pool1" in " ".join(paragraphs(digits)["cuts"])


@pytest.mark.parametrize("method", ["sfl", *(pytest.param(each, marks=pytest.mark.slow) for each in ("fl", "psl"))])
def test_a_plan_tells_what_a_run_sends(method, tmp_path):
    """One epoch of digits: the plan's bytes are the run's, but for labels and the weights that start it."""
    run = sglr.train(
        method,
        model="mlp",
        dataset="digits",
        clients=3,
        samples_per_client=40,
        epochs=1,
        init="common",
        out=tmp_path / "r",
    )
    traffic = run.summary["communication"]
    labels = 3 * 40 * 8 if method != "fl" else 0
    plan = Request(clients=3, samples=120, model="mlp", dataset="digits").plan()
    planned = plan.methods[method].views["point_to_point"].total_mb * 1e6
    assert traffic["up_bytes"] - labels == round(planned / 2)


# Requests that make no sense


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"clients": 0}, "clients", "above zero"),
        ({"samples": 99}, "clients", "99 clients or fewer"),
        ({"samples": -5}, "samples", "above zero"),
        ({"samples": None}, "samples", "--samples"),
        ({"phi": 1.5}, "phi", "outside [0, 1]"),
        ({"cut_mb": 0.0}, "cut_mb", "above zero"),
        ({"cut_mb": float("nan")}, "cut_mb", "above zero"),
        ({"model_mb": -1.0}, "model_mb", "above zero"),
        ({"client_mb": 0.0}, "client_mb", "above zero"),
        ({"client_mb": 201.0}, "client_mb", "larger than the whole model"),
        ({"client_mb": None}, "client_mb", "--client-mb"),
        ({"model": "cnn"}, "model", "--cut-mb"),
        ({"cut": "pool1"}, "cut", "--cut-mb"),
        ({"dataset": "digits"}, "dataset", "--cut-mb"),
        ({"rate": "0Mbps"}, "rate", "above zero"),
        ({"rate": "100 parsecs"}, "rate", "not a unit of a rate"),
        ({"energy_profile": "edge-wify"}, "energy_profile", "did you mean 'edge-wifi'"),
        ({"flops_rate": "1TFLOPS"}, "flops_rate", "give --model"),
    ],
)
def test_sizes_by_hand_that_make_no_sense(change, field, told):
    with pytest.raises(UsageError) as caught:
        replace(EXAMPLE, **change).plan()
    assert caught.value.field == field
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"model": "resnet61"}, "model", "did you mean 'resnet16'"),
        ({"dataset": "digit"}, "dataset", "did you mean 'digits'"),
        ({"cut": "pol1"}, "cut", "did you mean 'pool1'"),
        ({"cut": "99"}, "cut", "children"),
        ({"dataset": None}, "dataset", "--input-shape and --classes and --samples"),
        ({"input_shape": "1,x"}, "input_shape", "1,28,28"),
        ({"input_shape": "0,28,28"}, "input_shape", "1,28,28"),
        ({"input_shape": "64"}, "model", "takes images"),
        ({"classes": 0}, "classes", "above zero"),
        ({"clients": 0}, "clients", "above zero"),
        ({"phi": -1}, "phi", "outside"),
        ({"flops_rate": "fast"}, "flops_rate", "number"),
        ({"server_flops_rate": "1 horse"}, "server_flops_rate", "not a unit"),
        ({"model": None}, "model", "no sizes"),
    ],
)
def test_models_that_make_no_sense(change, field, told):
    with pytest.raises(UsageError) as caught:
        replace(Request(model="cnn", dataset="digits"), **change).plan()
    assert caught.value.field == field
    assert told in str(caught.value)


def test_a_shape_by_hand_needs_no_data(tmp_path):
    asked = Request(model="mlp", data_dir=tmp_path, samples=1_000)
    by_hand = replace(asked, input_shape="1,28,28", classes=10).plan()
    assert replace(asked, dataset="fashion-mnist").plan().record() == by_hand.record()


# Units


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        ("100Mbps", 12.5),
        ("100 Mbit/s", 12.5),
        ("1Gbps", 125),
        ("12.5MB/s", 12.5),
        ("12.5MBps", 12.5),
        ("1e6 bps", 0.125),
        ("1E6bit/s", 0.125),
        ("500 kB/s", 0.5),
        ("8b/s", 1e-6),
    ],
)
def test_rates_are_read(text, megabytes):
    assert read_rate(text) == pytest.approx(megabytes)


@pytest.mark.parametrize(
    "text", ["100", "Mbps", "", "1e", "-1Mbps", "0bps", "infMbps", "nan bps", "100 parsecs", "1..2Mbps"]
)
def test_rates_without_sense_are_refused(text):
    with pytest.raises(UsageError, match="write it like 100Mbps"):
        read_rate(text)


@pytest.mark.parametrize(
    ("text", "flops"), [("5TFLOPS", 5e12), ("5 TFLOP/s", 5e12), ("1e9 flops", 1e9), ("2gflops", 2e9)]
)
def test_operations_per_second_are_read(text, flops):
    assert read_flops_rate(text) == flops


# Tasks


@pytest.mark.parametrize(
    ("task", "model", "input_shape", "number", "target_bytes"),
    [
        ("regression", "mlp", "10", 2, 2 * 4),
        ("multilabel", "mlp", "10", 14, 14),
        ("segmentation", "fcn", "3,16,24", 5, 16 * 24),
        ("language", "transformer", "32", 60, 32 * 8),
    ],
)
def test_targets_of_a_task_are_told_whole(task, model, input_shape, number, target_bytes):
    plan = Request(model=model, task=task, input_shape=input_shape, classes=number, samples=1000).plan()
    assert plan.record()["targets_mb"] == pytest.approx(1000 * target_bytes / 1e6)
    assert any("without targets, which add" in sentence for sentence in paragraphs(plan)["counted"])


def test_a_task_that_does_not_fit_the_data_is_refused_before_a_model_is_built():
    with pytest.raises(UsageError, match="each sample needs a mask"):
        Request(model="no-such-model", task="segmentation", dataset="digits").plan()
    with pytest.raises(UsageError, match=r"no targets of that number for inputs of shape \[5\]"):
        Request(model="no-such-model", task="segmentation", input_shape="5", classes=3, samples=10).plan()


def test_a_run_sends_its_masks_whole(tmp_path):
    masks = torch.zeros(20, 8, 8, dtype=torch.uint8)
    part = Samples(torch.randn(20, 1, 8, 8), masks)
    targets = Targets(("ground", "thing"), shape=(8, 8), dtype="uint8", classes=2)
    data = Dataset("masks", part, part, targets=targets)
    run = sglr.train(
        "psl", dataset=data, task="segmentation", model="fcn", clients=2, epochs=1, batch_size=5, out=tmp_path / "run"
    )
    trained = sum(row["samples"] for row in run.history)
    assert run.summary["communication"]["by_kind"]["up"]["labels"] == trained * 64
