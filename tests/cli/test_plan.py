"""Stories of ``sglr plan``: nobody trains anything, and the answer comes first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.core.cuts.fit import why_not_several
from sglr.core.registry import METHODS
from sglr.core.spec import Spec

BY_HAND = [
    "--clients",
    "100",
    "--samples",
    "50000",
    "--phi",
    "0.5",
    "--cut-mb",
    "0.024",
    "--model-mb",
    "200",
    "--client-mb",
    "67",
]
OF_MODEL = ["--model", "mlp", "--dataset", "digits", "--clients", "4"]


def test_the_papers_example_by_hand(call):
    answer = call("plan", *BY_HAND, "--json")
    assert (answer.code, answer.err) == (0, "")
    plan = json.loads(answer.out)
    assert round(100 * plan["savings"]["sglr_vs_sfl"], 1) == 88.6
    assert round(100 * plan["savings"]["sglr_vs_fl"], 1) == 95.5
    assert plan["methods"].keys() == {"fl", "psl", "sfl", "sglr"}
    for cost in plan["methods"].values():
        assert cost.keys() >= {"total_mb", "per_client_mb", "seconds", "client_flops", "joules", "views"}
        assert cost["views"].keys() == {"paper", "broadcast", "point_to_point"}
        assert cost["views"]["paper"]["total_mb"] == cost["total_mb"]
    assert plan.keys() >= {"savings", "cheapest", "crossovers", "cuts", "best_cuts", "words"}
    assert plan["cuts"] == []


def test_a_model_is_measured_at_every_cut(call):
    plan = json.loads(call("plan", *OF_MODEL, "--energy-profile", "silo-wired", "--json").out)
    assert plan["cut"] == "relu1"
    assert [cut["cut"] for cut in plan["cuts"]] == ["fc1", "relu1", "fc2", "relu2"]
    chosen = next(cut for cut in plan["cuts"] if cut["cut"] == plan["cut"])
    assert chosen["methods"] == plan["methods"]
    assert all(cost["client_flops"] > 0 and cost["joules"] > 0 for cost in plan["methods"].values())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", [BY_HAND, [*OF_MODEL, "--energy-profile", "pi-wifi", "--flops-rate", "1GFLOPS"]])
def test_the_screen_says_the_answer_first_and_fits(call, monkeypatch, width, words):
    monkeypatch.setenv("COLUMNS", str(width))
    answer = call("plan", *words)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert "least" in lines[0]
    assert max(map(len, lines)) <= width
    assert "…" not in answer.out
    for method in ("FL", "PSL", "SFL", "SGLR"):
        assert sum(line.split()[:1] == [method] for line in lines) >= 1


def test_the_screen_tells_the_papers_savings_and_crossovers(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = call("plan", *BY_HAND).out
    assert "88.6 % less than SFL and 95.5 % less than FL" in shown
    assert "up to 1,111,110 samples (11,111 per client)" in shown
    assert "1 MB is 10⁶ bytes" in shown


def test_the_guide_shows_what_is_printed(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed = {line.rstrip() for line in call("plan", *BY_HAND).out.splitlines()}
    page = (Path(__file__).parents[2] / "docs/plan-a-training.md").read_text(encoding="utf-8")
    shown = page[: page.index("The second measures a model")].split("```\n")[-2].splitlines()
    assert len(shown) > 10
    assert set(shown) - {"…"} <= printed


def test_columns_of_which_nothing_is_known_are_left_out(call):
    assert "energy" not in call("plan", *OF_MODEL).out.lower()
    assert "energy" in call("plan", *OF_MODEL, "--energy-profile", "edge-lte").out.lower()


def test_sizes_by_hand_import_no_torch():
    words = ["plan", *BY_HAND]
    code = f"import sys; from sglr.cli.main import main; main({words}); print({{'torch', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.parametrize("width", ["80", "140"])
def test_help_shows_every_option_with_units(call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    answer = call("plan", "--help")
    assert answer.code == 0
    assert all(f"--{name}" in answer.out for name in ("clients", "cut-mb", "model", "rate", "energy-profile", "json"))
    assert "10⁶ bytes" in answer.out
    assert max(map(len, answer.out.splitlines())) <= int(width)
    assert " plan " in call("--help").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "there are no sizes to plan with"),
        ([*BY_HAND, "--phi", "2"], "phi = 2.0"),
        ([*BY_HAND, "--phi", "nan"], "phi = nan"),
        ([*BY_HAND, "--clients", "0"], "clients = 0"),
        ([*BY_HAND, "--samples", "-1"], "samples = -1"),
        ([*BY_HAND, "--cut-mb", "0"], "cut_mb = 0.0"),
        ([*BY_HAND, "--model-mb", "inf"], "model_mb = inf"),
        ([*BY_HAND, "--client-mb", "300"], "client_mb = 300"),
        ([*BY_HAND, "--cut-mb", "much"], "--cut-mb"),
        ([*BY_HAND, "--rate", "100 parsecs"], "'parsecs' is not a unit of a rate"),
        ([*BY_HAND, "--rate", "-3Mbps"], "rate = -3Mbps: is not above zero"),
        ([*BY_HAND, "--model", "cnn"], "give one or the other"),
        ([*BY_HAND, "--flops-rate", "1TFLOPS"], "flops_rate = 1TFLOPS"),
        ([*BY_HAND[:-2]], "client_mb = none"),
        (["--model", "resnet61", "--dataset", "digits"], "did you mean 'resnet16'"),
        ([*OF_MODEL, "--cut", "rel1"], "did you mean 'relu1'"),
        (["--model", "mlp"], "give --dataset, or --input-shape and --classes and --samples"),
        ([*OF_MODEL, "--dataset", "digts"], "did you mean 'digits'"),
        ([*OF_MODEL, "--energy-profile", "pi-wfi"], "did you mean 'pi-wifi'"),
        ([*OF_MODEL, "--input-shape", "a,b"], "input_shape = a,b"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(call, words, told):
    answer = call("plan", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert told in answer.err


def test_batches_whose_cost_has_no_closed_form_are_refused(call):
    plain = call("plan", *OF_MODEL, "--json")
    for same in ("local", "proportional", "proportional:32"):
        assert call("plan", *OF_MODEL, "--json", "--batching", same).out == plain.out
    larger = call("plan", *OF_MODEL, "--json", "--batch-size", "20")
    assert call("plan", *OF_MODEL, "--json", "--batching", "proportional:80").out == larger.out
    for batching, told in [
        ("global", "has no closed form"),
        ("clock:3", "simulated clock, and has no closed form"),
        ("proportional:81", "can't share 81 samples equally"),
        ("sometimes", "batching = sometimes"),
    ]:
        answer = call("plan", *OF_MODEL, "--batching", batching)
        assert (answer.code, answer.out) == (2, "")
        assert told in answer.err


def test_clients_that_are_cut_at_different_places(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["--model", "cnn", "--dataset", "digits", "--clients", "3", "--cuts", "0=conv1,1=pool1,2=conv1"]
    answer = call("plan", *words)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("An epoch of SGLR sends ")
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if "0, 2" in line)
    assert row.split()[0] == "conv1"
    assert "16×8×8" in row
    plan = json.loads(call("plan", *words, "--json").out)
    assert [(group["cut"], group["clients"]) for group in plan["groups"]] == [("conv1", [0, 2]), ("pool1", [1])]
    assert plan["methods"].keys() == {"psl", "sfl", "sglr"}
    told = call("plan", *words, "--rtt", "100ms")
    assert (told.code, told.err) == (0, "")
    assert max(map(len, told.out.splitlines())) <= 80
    assert "A step waits for clients 0, 2, cut behind conv1" in " ".join(told.out.split())
    timed = json.loads(call("plan", *words, "--rtt", "100ms", "--compressions", "none", "--json").out)["time"]
    assert [path["cut"] for path in timed["paths"]["none"]] == ["conv1", "pool1"]
    for path in timed["paths"]["none"]:
        parts = sum(path[f"{name}_seconds"] for name in ("client", "up", "rtt", "down"))
        assert path["path_seconds"] == pytest.approx(parts)


def test_advice_for_several_cuts_is_of_methods_that_have_them(call):
    words = ["--model", "cnn", "--dataset", "digits", "--clients", "3", "--cuts", "0=conv1,1-2=pool1", "--advise"]
    told = json.loads(call("plan", *words, "--json").out)
    for one in told["recommendations"]:
        assert not why_not_several(METHODS.load(Spec.parse("method", one["method"]).name))
        assert all(not why_not_several(METHODS.load(row["method"].partition(":")[0])) for row in one["rows"])
    assert "clients who are cut at different places can train with" in told["words"]["recommendation"][-1]
    assert told["groups"], "the plan of the user's sizes beside it"
    bare = call("plan", "--advise", "--cuts", "0-9=conv1")
    assert bare.code == 2 and "there are no sizes to plan with" in bare.err


def test_a_tail_is_refused_rather_than_left_out_of_the_count(call):
    answer = call("plan", *OF_MODEL, "--tail", "relu2")
    assert (answer.code, answer.out) == (2, "")
    assert "a plan does not count features" in answer.err
    assert "train an epoch with it" in answer.err


def test_advice_needs_no_sizes_and_fits_the_screen(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    answer = call("plan", "--advise")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("Where client weights must stay: sglr train --method ")
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("in the study") for line in lines)
    only = call("plan", "--advise", "--keep-weights", "--skew", "iid", *OF_MODEL, "--json")
    plan = json.loads(only.out)
    assert [one["allows"] for one in plan["recommendations"]] == ["kept"]
    assert plan["methods"].keys() == {"fl", "psl", "sfl", "sglr"}


def test_what_only_advice_takes_is_refused_without_it(call):
    assert "skew = iid: is for advice" in call("plan", *BY_HAND, "--skew", "iid").err
    assert "give --advise" in call("plan", *BY_HAND, "--keep-weights").err
