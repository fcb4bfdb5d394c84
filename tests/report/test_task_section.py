"""Scores, curves, bars and masks of a test are shown as its task tells them, in its own words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.report.comparison import comparison_page
from sglr.report.comparison_table import ComparisonRow
from sglr.report.residual_chart import residual_chart
from sglr.report.run_report import run_page, tiles
from sglr.report.score_style import ScoreStyle, best_so_far, headline, style
from sglr.report.task_section import SHOWN, task_section
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.runs.new_folder import create_run

from .conftest import Page, Write
from .of_tasks import binary, examples, multilabel, regression, segmentation, task_record, task_summary


def write(folder: Path, test: dict[str, Any], name: str = "made up", finished: bool = True, **settings: Any) -> Run:
    run = create_run(folder, Experiment.from_flat({"epochs": 3, **settings}))
    first = test["scores"][test["headline"]]["mean"]
    for epoch in (1, 2, 3):
        run.append(task_record(epoch, test["headline"], first * (1 + 0.1 * (epoch - 2) ** 2)))
    if finished:
        run.write_summary(task_summary(test, 3, name))
    return run


def labels(page: Page) -> list[str | None]:
    return [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]


@pytest.mark.charts
@pytest.mark.parametrize(
    ("test", "charts", "words"),
    [
        (
            binary(),
            ["AUROC of every client"] * 2 + ["ROC curve", "reliability diagram"],
            ["threshold in use, 0.37", "0.912"],
        ),
        (regression(), ["RMSE of every client", "predicted against true values"], ["53.40 mg/dl", "less is better"]),
        (multilabel(), [], ["Each label", "Cardiomegaly", "Average precision"]),
        (segmentation(), [], ["Each class", "tumour", "0.512", "0.677"]),
    ],
    ids=["binary", "regression", "multilabel", "segmentation"],
)
def test_a_report_speaks_the_words_of_its_task(
    tmp_path: Path, test: dict[str, Any], charts: list[str], words: list[str]
) -> None:
    run = write(tmp_path / "run", test)
    page = Page(run_page(run))
    assert [one for one in labels(page) if one and "over epochs" not in one] == charts
    for word in [*words, f"Test {style(test['headline']).title}", "Scores of the test"]:
        assert word in page.text, word
    assert "ccuracy" not in page.text.partition("Settings")[0]
    assert "script" not in page.source


def test_masks_are_shown_beside_their_pictures(tmp_path: Path) -> None:
    run = write(tmp_path / "run", segmentation())
    (run.path / "examples.json").write_text(json.dumps(examples(2, side=8)))
    page = Page(run_page(run))
    pictures = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert pictures == [f"Example {n}: {what}" for n in (1, 2) for what in ("picture", "true mask", "predicted mask")]
    assert "background liver tumour vessel" in page.text


def test_a_curve_of_each_outcome_has_its_name() -> None:
    both = [{**regression()["residuals"], "name": name} for name in ("systolic", "diastolic")]
    found = task_section(regression() | {"residuals": both})
    assert found is not None
    titles = [chart["title"] for chart in found["charts"]]
    assert titles[1:] == ["Predicted and true values: systolic", "Predicted and true values: diastolic"]


def test_of_many_labels_the_worst_come_first() -> None:
    found = task_section(multilabel(SHOWN + 5))
    assert found is not None
    bars = found["bars"]
    assert len(bars["rows"]) == SHOWN
    assert len(bars["more"]) == 5
    shown = [row["width"] for row in [*bars["rows"], *bars["more"]] if row["width"]]
    assert shown == sorted(shown)


def test_figures_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="one count for each pair"):
        residual_chart({"edges": [0.0, 1.0, 2.0], "counts": [[1, 2, 3]]})


def test_lower_is_better_where_the_score_says_so(tmp_path: Path) -> None:
    history = [task_record(epoch, "rmse", value) for epoch, value in ((1, 60.0), (2, 50.0), (3, 55.0))]
    assert best_so_far(history, headline(None, history)) == (50.0, 2)
    names = [(tile.name, tile.figure, tile.remark) for tile in tiles({}, history)]
    assert names[0] == ("Best validation so far", "50.00", "at epoch 2")
    worse = regression()
    worse["scores"]["rmse"] = {**worse["scores"]["rmse"], "mean": 99.0}
    runs = [write(tmp_path / name, test, seed=n) for n, (name, test) in enumerate((("a", worse), ("b", regression())))]
    rows = [ComparisonRow(run.path.name, "psl", (run.path,)) for run in runs]
    page = Page(comparison_page(tmp_path, rows))
    assert '<span class="best">53.40 mg/dl</span>' in page.source
    assert '<span class="best">99' not in page.source
    assert "Of RMSE, less is better." in page.text
    assert "Down and to the left is better." in page.text or "against bytes" not in page.text


def test_runs_of_different_tasks_are_not_compared(tmp_path: Path, write_run: Write) -> None:
    other, usual = write(tmp_path / "other", regression(), "regression"), write_run("usual")
    rows = [ComparisonRow(run.path.name, "psl", (run.path,)) for run in (usual, other)]
    with pytest.raises(UsageError, match=r"trained for regression .RMSE., and .*usual for .*accuracy") as refused:
        comparison_page(tmp_path, rows)
    assert refused.value.remedy == "compare runs of one task"


@pytest.mark.parametrize(
    ("name", "unit", "value", "shown"),
    [
        ("accuracy", "", 0.8642, "86.4 %"),
        ("top_5_accuracy", "", 0.99, "99.0 %"),
        ("auroc", "", 0.91234, "0.912"),
        ("rmse", "mm", 3.14159, "3.142 mm"),
        ("rmse", "€", 71234.5, "71,234 €"),
        ("r2", "mm", -0.25, "-0.250"),
        ("perplexity", "", 123.456, "123.5"),
        ("perplexity", "", math.nan, "–"),
        ("kappa", "", None, "–"),
    ],
)
def test_scores_are_written_as_their_field_writes_them(name: str, unit: str, value: float | None, shown: str) -> None:
    assert style(name, unit=unit).write(value) == shown


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.booleans())
def test_the_best_has_the_highest_rank(values: list[float], higher: bool) -> None:
    score = ScoreStyle("made_up", higher)
    assert max(values, key=score.rank) == score.best(values)
    assert min(values, key=score.rank) == score.worst(values)


@pytest.mark.charts
def test_a_training_of_masks_shows_examples_of_its_test(tmp_path: Path) -> None:
    masks = torch.zeros(12, 8, 8, dtype=torch.uint8)
    masks[:, 2:6, 2:6] = 1
    part = Samples(masks[:, None].float() - 0.5, masks)
    targets = Targets(("ground", "square"), shape=(8, 8), dtype="uint8", classes=2)
    settings: dict[str, Any] = {"task": "segmentation", "model": "fcn", "clients": 2, "epochs": 1, "batch_size": 6}
    run = sglr.train("psl", dataset=Dataset("squares", part, part, targets=targets), out=tmp_path / "run", **settings)
    found = json.loads((run.path / "examples.json").read_text())["examples"]
    assert len(found) == 4
    assert all(one["truth"] == masks[0].tolist() for one in found)
    assert {value for one in found for row in one["prediction"] for value in row} <= {0, 1}
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    assert "Example 4: predicted mask" in page.source
    assert "Percent of the pixels of the test of each true class" in page.text
