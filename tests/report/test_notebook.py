"""Results in a notebook: a table and a picture of each, tables for pandas, and a prompt that offers what is public."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.studies.sweeps.results import Sweep

SETTINGS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 16,
    "test_samples": 40,
    "validation": 20,
    "epochs": 2,
    "model": "mlp",
}


@pytest.fixture
def compared(once: Callable[[str, Callable[[Path], object]], Path]) -> sglr.Comparison:
    """Two methods with two seeds."""

    def train(path: Path) -> None:
        sglr.compare(["psl", "sglr"], seeds=[0, 1], out=path, **SETTINGS)

    return sglr.Comparison.read(once("compared for notebooks", train))


@pytest.fixture
def run(compared: sglr.Comparison) -> sglr.Run:
    return sglr.Run(compared.path / "psl-seed0")


def test_a_run_tells_in_one_line_what_it_is(run: sglr.Run, tmp_path: Path) -> None:
    assert run.summary is not None
    accuracy = f"{100 * run.summary['test']['accuracy']:.1f} %"
    assert repr(run) == f"<Run {run.path}: psl on digits, 2 clients, 2 of 2 epochs, test accuracy {accuracy}>"
    assert repr(sglr.Run(tmp_path)) == f"<Run {tmp_path}>"  # and never raises


def test_a_run_is_a_table_with_a_row_for_every_epoch(run: sglr.Run, tmp_path: Path) -> None:
    frame = run.to_frame()
    assert frame.reset_index().to_dict("records") == run.history
    assert list(frame.index) == [1, 2]
    assert len(sglr.Run(tmp_path).to_frame()) == 0


def test_a_table_names_the_extra_that_brings_pandas(
    run: sglr.Run, compared: sglr.Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for results in (run, compared):
        with pytest.raises(sglr.UsageError, match=r"needs the package pandas, .*; pip install 'sglr\[data\]'"):
            results.to_frame()


def test_names_from_files_are_escaped(run: sglr.Run, tmp_path: Path) -> None:
    """A run folder may come from anybody."""
    other = tmp_path / "<img src=x>"
    other.mkdir()
    (other / "config.toml").write_text((run.path / "config.toml").read_text().replace('"psl"', '"<script>x</script>"'))
    shown = sglr.Run(other)._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "This run is not finished" in shown


@pytest.mark.charts
def test_a_run_draws_its_score_and_loss(run: sglr.Run, tmp_path: Path) -> None:
    score, loss = run.plot().axes
    lines = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert lines["training"] == [record["loss"] for record in run.history]
    assert (score.get_title(loc="left"), loss.get_title(loc="left")) == ("Accuracy", "Loss")
    with pytest.raises(sglr.UsageError, match="no epoch is over yet"):
        (tmp_path / "config.toml").write_text((run.path / "config.toml").read_text())
        sglr.Run(tmp_path).plot()


@pytest.mark.charts
def test_a_comparison_is_a_table_a_picture_and_a_frame(compared: sglr.Comparison) -> None:
    frame = compared.to_frame()
    assert list(frame.index) == [row["label"] for row in compared.rows]
    assert frame.loc["psl", "test/accuracy"] == next(
        row["test"]["accuracy"] for row in compared.rows if row["label"] == "psl"
    )
    first, *others = repr(compared).splitlines()
    assert first == f"<Comparison {compared.path}>"
    assert [line.split()[0] for line in others] == ["method", *frame.index]
    assert "<td>psl</td>" in compared._repr_html_()
    assert "Comparison of 4 runs" in compared._repr_html_()
    (axes,) = compared.plot().axes
    assert (len(axes.lines), axes.get_title(loc="left")) == (2, "Validation accuracy")


@pytest.mark.charts
@pytest.mark.parametrize("over", ["lr", "method"])
def test_a_sweep_draws_lines_over_a_number_or_else_points(compared: sglr.Comparison, over: str) -> None:
    values = {"lr": [0.1, 0.2, 0.3], "method": ["psl", "sfl", "$ssl$"]}[over]
    like = {**json.loads((compared.path / "comparison.json").read_text())["rows"][0], "name": "", "pooled": False}
    rows = [{**like, "label": str(value), "values": {over: value}, "accuracies": [0.5]} for value in values]
    swept = Sweep(compared.path, rows)
    assert list(swept.to_frame()[f"values/{over}"]) == values
    figure = swept.plot()
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (labels == values[::-1]) == (over == "method")
    assert f"<th>{over}</th>" in swept._repr_html_()


@pytest.mark.charts
def test_a_sweep_of_methods_over_a_number_says_which_line_is_which(compared: sglr.Comparison) -> None:
    like = [{**row, "name": "", "pooled": False, "accuracies": [0.5]} for row in compared.rows]
    rows = [{**row, "values": {"method": row["label"], "lr": rate}} for row in like for rate in (0.1, 0.2, 0.3)]
    swept = Sweep(compared.path, rows)
    legend = swept.plot().axes[0].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"psl", "sglr"}


def test_a_prompt_offers_what_is_public(run: sglr.Run, compared: sglr.Comparison) -> None:
    assert {"plot", "to_frame", "summary", "history", "predict", "evaluate", "network", "path"} <= set(dir(run))
    assert {"plot", "to_frame", "rows", "markdown", "notes"} <= set(dir(compared))
    for one in (run, compared, sglr):
        assert not [name for name in dir(one) if name.startswith("_") and name != "__version__"]
    assert not {"append", "write_summary", "write", "record"} & {*dir(run), *dir(compared)}
