"""Comparisons: ordinary runs side by side, never repeated, and one table over them."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.registry import METHODS
from sglr.methods.psl import PSL
from sglr.methods.sglr import SGLR
from sglr.runs.folder import Run
from sglr.studies.compare.compare import compare, plan
from sglr.studies.compare.comparison import COMPARISON, TABLE, Comparison
from sglr.studies.method_specs import parse_methods
from sglr.studies.scheduler.progress import StudyProgress, TrialStarted
from sglr.studies.sweeps.results import Sweep
from sglr.tasks.classification import Classification

TINY: dict[str, Any] = {"clients": 4, "samples_per_client": 16, "epochs": 1, "model": "mlp"}


def test_every_method_and_seed_is_an_ordinary_run(tmp_path):
    result = compare(["psl", "sglr:phi=0.5,alpha=1"], seeds=[0, 1], out=tmp_path / "c", **TINY)
    assert [row["label"] for row in sorted(result.rows, key=lambda row: row["method"])] == [
        "psl",
        "sglr:phi=0.5,alpha=1",
    ]
    accuracies = [row["test"]["accuracy"] for row in result.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    for row in result.rows:
        runs = [Run.open(tmp_path / "c" / name) for name in row["runs"]]
        scores = [run.summary["test"]["accuracy"] for run in runs]
        assert [run.summary["seed"] for run in runs] == row["seeds"] == [0, 1]
        assert row["test"]["accuracy"] == pytest.approx(fmean(scores))
        assert row["test"]["accuracy_sd"] == pytest.approx(stdev(scores))
        assert row["communication"]["up_bytes"] == runs[0].summary["communication"]["up_bytes"]
        assert {**row["parameters"], "name": row["method"]} == runs[0].summary["method"]


@pytest.mark.charts
def test_a_comparison_leaves_its_table_its_plot_and_its_page(tmp_path):
    result = compare(["sfl"], out=tmp_path / "c", **TINY)
    assert Comparison.read(tmp_path / "c") == result
    table = (tmp_path / "c" / TABLE).read_text(encoding="utf-8")
    assert all(f"| {cell} |" in table for row in result.table() for cell in row[:1])
    assert "average_every = 0" in table
    assert "</svg>" in (tmp_path / "c" / "accuracy.svg").read_text(encoding="utf-8")
    assert (tmp_path / "c" / "report.html").is_file()


def test_a_table_tells_balanced_accuracy_where_classes_are_unequal(tmp_path):
    row = dict(compare(["psl"], out=tmp_path / "c", **TINY).rows[0])
    assert "balanced_accuracy" in row["test"]
    test = {**row["test"], "accuracy": 0.967, "accuracy_std_over_clients": 0.012}
    for balanced, heading, cell in ((0.5, "balanced accuracy", "50.0 %"), (0.96, "± over clients", "± 1.2")):
        found = Comparison(tmp_path, [{**row, "test": {**test, "balanced_accuracy": balanced}}])
        assert dict(zip(found.headings(), found.table()[0], strict=True))[heading] == cell
        assert heading in found.markdown()
        swept = {**row, "name": "", "values": {"lr": 0.1}, "test": {**test, "balanced_accuracy": balanced}}
        sweep = Sweep(tmp_path, [swept])
        told = dict(zip(sweep.headings(), sweep.table()[0], strict=True))
        assert told.get("balanced accuracy") == ("50.0 %" if balanced == 0.5 else None)
    before = {name: value for name, value in test.items() if name != "balanced_accuracy"}
    assert "± over clients" in Comparison(tmp_path, [{**row, "test": before}]).headings()


def test_finished_runs_are_not_repeated_and_new_ones_join(tmp_path):
    compare(["psl"], out=tmp_path / "c", **TINY)
    before = (tmp_path / "c" / "psl-seed0" / "summary.json").stat().st_mtime_ns
    steps: list[StepDone] = []
    compare(["psl"], out=tmp_path / "c", observe=lambda e: steps.append(e) if isinstance(e, StepDone) else None, **TINY)
    assert not steps
    result = compare(["psl", "slr"], out=tmp_path / "c", **TINY)
    assert {row["method"] for row in result.rows} == {"psl", "slr"}
    assert (tmp_path / "c" / "psl-seed0" / "summary.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("setting", "value"), [("energy_profile", "pi-wifi"), ("leakage", "every=1")])
def test_what_a_finished_run_did_not_record_is_not_passed_over(tmp_path, setting, value):
    compare(["psl"], out=tmp_path / "c", **TINY)
    with pytest.raises(UsageError, match=f"{setting} = {value}: the run in .* was begun with {setting} = "):
        compare(["psl"], seeds=[0, 1], out=tmp_path / "c", **TINY, **{setting: value})


def test_a_stopped_comparison_goes_on_to_the_same_weights(tmp_path):
    settings = {**TINY, "epochs": 3}
    steps: list[object] = []
    with pytest.raises(Interrupted, match="the same comparison again with out = "):
        compare(["psl", "sgl"], out=tmp_path / "c", observe=steps.append, stop=lambda: len(steps) > 20, **settings)
    gone_on = compare(["psl", "sgl"], out=tmp_path / "c", **settings)
    whole = compare(["psl", "sgl"], out=tmp_path / "whole", **settings)
    assert _weights(tmp_path / "c", gone_on.rows) == _weights(tmp_path / "whole", whole.rows)


def _weights(folder: Path, rows: Any) -> dict[str, str]:
    return {run: Run.open(folder / run).summary["weights_sha256"] for row in rows for run in row["runs"]}


def test_a_run_that_diverges_is_reported_and_stops_nobody(tmp_path):
    events: list[object] = []
    settings = {**TINY, "optimizer": "sgd", "lr": 1e-3, "alpha": 45.0}
    result = compare(["slr", "psl"], out=tmp_path / "c", observe=events.append, **settings)
    assert [row["method"] for row in result.rows] == ["psl", "slr"]
    diverged = result.rows[1]
    assert diverged["test"]["accuracy"] is None
    assert diverged["diverged"][0].startswith("seed 0: the loss stopped being a number")
    assert result.table()[1][1] == "diverged"
    assert "diverged: slr, seed 0" in (tmp_path / "c" / TABLE).read_text(encoding="utf-8")
    progress = [event for event in events if isinstance(event, StudyProgress)]
    assert [event.done for event in progress] == [0, 1, 2]
    assert [event.outcome.problem is None for event in progress[1:]] == [False, True]
    assert [event.trial.label for event in events if isinstance(event, TrialStarted)] == ["slr", "psl"]


def test_method_objects_are_what_their_names_are(tmp_path):
    objects = plan([SGLR(phi=0.5), PSL()], [0], tmp_path, TINY)
    names = plan(["sglr:phi=0.5", "psl"], [0], tmp_path, TINY)
    assert [(trial.label, trial.path, trial.experiment) for trial in objects] == [
        (trial.label, trial.path, trial.experiment) for trial in names
    ]
    assert [trial.given.method for trial in objects] == [SGLR(phi=0.5), PSL()]


def test_a_task_of_ones_own_is_not_sent_to_other_processes(tmp_path):
    class Mine(Classification):
        pass

    with pytest.raises(UsageError, match=r"task = <Mine>: was given as a Python object.*train with jobs=1"):
        compare(["psl"], out=tmp_path / "c", jobs=2, task=Mine(), **TINY)
    assert not (tmp_path / "c").exists()


def test_a_setting_that_is_an_axis_of_methods_goes_with_its_method(tmp_path):
    methods = ["psl", "psl:init=independent", "sglr:phi=1,label_prior=own"]
    trials = plan(methods, [0], tmp_path, {"label_prior": "ignore", **TINY})
    assert [trial.label for trial in trials] == methods
    assert [trial.experiment.init for trial in trials] == ["common", "independent", "common"]
    assert [trial.experiment.label_prior for trial in trials] == ["ignore", "ignore", "own"]
    assert [trial.path.name for trial in trials] == [
        "psl-seed0",
        "psl-init=independent-seed0",
        "sglr-phi=1-label_prior=own-seed0",
    ]


def test_a_parameter_applies_to_the_methods_that_have_it(tmp_path):
    trials = plan(["psl", "slr", "sglr:alpha=1"], [0], tmp_path, {"alpha": 0.25, **TINY})
    alphas = [trial.experiment.method_parameters.get("alpha") for trial in trials]
    assert alphas == [None, 0.25, 1.0]


@pytest.mark.parametrize(
    ("methods", "settings", "told"),
    [
        (["psl", "sgld"], {}, "did you mean 'sgl'"),
        (["psl", "psl"], {}, "methods = psl: is named twice"),
        ([], {}, "methods = : is empty"),
        (["psl"], {"seeds": [1, 1]}, "seeds = 1: is named twice"),
        (["psl"], {"seeds": []}, "seeds = : is empty"),
        (["psl", "sfl"], {"alpha": 1.0}, "method psl has no such parameter"),
        (["psl", "sglr:phi=2"], {}, "phi = 2"),
        (["psl:0.5"], {}, "'0.5' is not key=value"),
        (["psl:epochs=3"], {}, "epochs is a setting of the whole run; give it as a setting; with a method go"),
        (["psl:inti=common"], {}, "did you mean init?"),
        (["psl"], {"seed": 1}, "give seeds instead"),
        (["psl"], {"epoch": 1}, "did you mean epochs?"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(tmp_path, methods, settings, told):
    with pytest.raises(UsageError) as raised:
        compare(methods, out=tmp_path / "c", **{**TINY, **settings})
    assert told in str(raised.value)
    assert not (tmp_path / "c").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    compare(["psl"], out=tmp_path / "c", **TINY)
    with pytest.raises(UsageError, match=r"another configuration \(lr is 0.001 there, 0.1 here\)"):
        compare(["psl"], out=tmp_path / "c", lr=0.1, **TINY)
    with pytest.raises(UsageError, match="holds a single run"):
        compare(["psl"], out=tmp_path / "c" / "psl-seed0", **TINY)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="out = "):
            compare(["psl"], out=out, **TINY)


def test_a_damaged_comparison_is_told(tmp_path):
    (tmp_path / COMPARISON).write_text("{")
    with pytest.raises(UsageError, match="run the same comparison again"):
        Comparison.read(tmp_path)


NAMES = st.sampled_from(METHODS.names())
SPECS = st.builds(
    lambda name, pairs: f"{name}:{','.join(f'{key}={value}' for key, value in pairs.items())}" if pairs else name,
    NAMES,
    st.dictionaries(st.sampled_from(["phi", "alpha", "phase"]), st.sampled_from(["0.5", "first:0.6", "1e-3"])),
)


@given(st.lists(SPECS, min_size=1))
def test_a_list_with_commas_is_the_same_as_its_methods_one_by_one(specs):
    assert parse_methods([",".join(specs)]) == parse_methods(specs) == specs


def test_all_is_every_registered_method():
    assert parse_methods(["all"]) == METHODS.names()
