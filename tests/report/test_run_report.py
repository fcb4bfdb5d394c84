"""The report of a run tells what was measured, whatever there is of it, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sglr.parties.defences import parse
from sglr.privacy.accounting import described
from sglr.report.costs import ledger
from sglr.report.run_report import tiles, write_run_report
from sglr.runs.folder import Run, write_command

from .conftest import Page, Write, record, summary

CLASSES = {"classes": ["cat", "dog"], "counts": [[3, 0], [1, 2]]}
LARGEST = 300_000


def read(run: Run) -> Page:
    path = write_run_report(run)
    assert path == run.path / "report.html"
    assert path.stat().st_size < LARGEST
    page = Page(path.read_text(encoding="utf-8"))
    assert page.count("script") == 0
    assert all(address.startswith(("#", "data:")) for address in page.addresses())
    assert "url(http" not in page.source
    assert "@import" not in page.source
    return page


def test_all_headline_figures_appear(write_run: Write) -> None:
    page = read(write_run(classes=CLASSES, clients=2))
    for figure in ("86.4 %", "± 1.2", "87.5 %", "at epoch 5", "12.3 MB", "7.00 MB", "12 min 34 s", "3,214 samples/s"):
        assert figure in page.text, figure


def test_it_says_what_was_run_and_how_to_repeat_it(write_run: Write) -> None:
    run = write_run("my run", clients=2, partition="dirichlet", seed=7)
    page = read(run)
    assert "Method sglr (alpha = 0.5, phi = 0.75) trained the model cnn, cut at pool1, on digits" in page.text
    assert "2 clients (dirichlet), for 5 epochs with 8 samples of each client per step; seed 7." in page.text
    assert f"sglr train --config '{run.path / 'config.toml'}'" in page.text
    assert "It was made by" not in page.text  # nobody typed it
    assert "Processor Imaginary 9000" in page.text
    assert "ab" * 32 in page.text
    assert "Version of torch 2.13.0" in page.text


def test_the_command_is_shown_as_it_was_typed(write_run: Write) -> None:
    run = write_run()
    write_command(run.path, "sglr train --name 'two  words' --epochs 5")
    assert "<span" not in read(run).text
    assert "It was made by sglr train --name 'two words' --epochs 5" in read(run).text


def test_costs_are_told_as_far_as_they_are_known(write_run: Write) -> None:
    known, unknown = read(write_run("known")), write_run("unknown")
    unknown.write_summary(
        {key: value for key, value in summary(0.9, 5).items() if key not in ("computation", "energy")}
    )
    for words in ("Bytes, counted three ways", "Messages", "Computation", "Energy, modelled", "1.23 TFLOP"):
        assert words in known.text, words
    page = read(unknown)
    assert "Computation" not in page.text
    assert "Energy" not in page.text


def test_every_setting_is_in_the_table_with_its_meaning(write_run: Write) -> None:
    run = write_run()
    page = read(run)
    for name, value in run.settings.items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        shown = shown.replace("True", "yes").replace("False", "no")
        assert value in ("", []) or f"{name} {shown} " in page.text
    assert "passes over the data" in page.text
    assert "SplitAvg" in page.text  # the method's own parameters are explained too


@pytest.mark.charts
def test_curves_classes_and_traffic_are_drawn(write_run: Write) -> None:
    page = read(write_run(classes=CLASSES))
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert labels == ["accuracy over epochs", "loss over epochs", "training samples of each class at each client"]
    for words in ("best: 87.5 % at epoch 5", "training", "validation", "cat", "dog", "Ledger", "smashed"):
        assert words in page.text, words


def test_without_a_summary_it_says_how_far_the_run_got(write_run: Write) -> None:
    page = read(write_run(epochs=4, finished=False))
    assert "This run is not finished: 3 of 4 epochs are over." in page.text
    assert "Best validation so far" in page.text
    assert "3.00 MB" in page.text  # sent so far
    assert "400 samples/s" in page.text
    assert "Test accuracy" not in page.text


@pytest.mark.charts
def test_without_any_epoch_there_is_still_a_page(write_run: Write) -> None:
    page = read(write_run(epochs=1, finished=False))
    assert "This run is not finished: no epoch is over yet." in page.text
    assert page.count("svg") == 0


@pytest.mark.charts
def test_without_validation_training_is_shown_alone(write_run: Write) -> None:
    page = read(write_run(validated=False))
    assert "Best validation" not in page.text
    assert "best:" not in page.text
    assert "Training accuracy 89.5 %" in page.text
    assert "band" not in page.text


@pytest.mark.charts
def test_one_epoch_is_a_visible_point(write_run: Write) -> None:
    page = read(write_run(epochs=1))
    assert "1 epoch" in page.text
    assert "best: 87.5 % at epoch 1" in page.text
    assert page.count("use") > 0


@pytest.mark.charts
def test_a_loss_that_is_no_number_does_not_break_the_chart(write_run: Write) -> None:
    run = write_run(epochs=3, finished=False)
    run.append({**record(3, 0.5), "loss": math.nan})
    assert "Loss" in read(run).text


@pytest.mark.charts
@pytest.mark.parametrize(
    ("clients", "classes"),
    [(100, 10), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((24, 24), (1000, 10), (100, 100)))],
)
def test_many_clients_and_classes_stay_small(write_run: Write, clients: int, classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 900, (clients, classes)).tolist()
    run = write_run(clients=10, classes={"classes": [f"class {i}" for i in range(classes)], "counts": counts})
    assert "Classes per client" in read(run).text


@pytest.mark.slow
@pytest.mark.charts
def test_a_thousand_epochs_stay_small(write_run: Write) -> None:
    read(write_run(epochs=1000))


@pytest.mark.charts
def test_names_are_text_never_markup(write_run: Write) -> None:
    evil = "<script>alert('x')</script>&\"$\\frac"
    run = write_run(evil.replace("/", "∕"), name=evil, classes={"classes": [evil[:15], "$x$"], "counts": [[1, 2]]})
    page = read(run)
    assert "<script" not in page.source
    assert evil in page.text  # shown as written
    assert "$x$" in page.text


@pytest.mark.charts
def test_the_same_run_gives_the_same_page(write_run: Write) -> None:
    run = write_run(classes=CLASSES)
    assert write_run_report(run).read_bytes() == write_run_report(run).read_bytes()


@pytest.mark.charts
def test_ids_are_unique_in_the_page(write_run: Write) -> None:
    ids = [attributes["id"] for _, attributes in read(write_run(classes=CLASSES)).tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0


def test_the_busier_direction_fills_the_bar() -> None:
    parts = ledger({"by_kind": {"up": {"labels": 10, "smashed": 90}, "down": {"average": 50}}})
    assert [(part.kind, part.share) for part in parts["up"]] == [("smashed", 90.0), ("labels", 10.0)]
    assert [part.share for part in parts["down"]] == [50.0]
    assert ledger({"by_kind": {"up": {}, "down": {}}}) == {}


def test_centralized_training_has_no_traffic_to_draw(write_run: Write) -> None:
    run = write_run(method="cl")
    run.write_summary({**summary(0.9, 5), "communication": {"up_bytes": 0, "down_bytes": 0, "by_kind": {}}})
    page = read(run)
    assert "0 B" in page.text
    assert "Ledger" not in page.text


def test_what_defences_guarantee_is_told(write_run: Write) -> None:
    run = write_run(defence="clip:norm=1+noise:sigma=8")
    told = described(parse("clip:norm=1+noise:sigma=8").named, 20)
    assert told is not None
    run.write_summary({**summary(0.9, 5), "defences": told})
    page = read(run)
    for words in ("Defences", told["statement"], "clip norm = 1", "noise sigma = 8, secret = no"):
        assert words in page.text, words
    figures = {name: f"{told['guarantee'][name]:.3f}" for name in ("epsilon_per_release", "epsilon")}
    assert f"ε of one release {figures['epsilon_per_release']}" in page.text
    assert f"ε of all 20 releases {figures['epsilon']} δ 1e-05" in page.text


def test_defences_that_guarantee_nothing_say_so(write_run: Write) -> None:
    run = write_run(defence="nopeek")
    run.write_summary({**summary(0.9, 5), "defences": described(parse("nopeek").named, 20)})
    page = read(run)
    assert "No formal guarantee" in page.text
    assert "ε of" not in page.text


def test_without_defences_none_are_told(write_run: Write) -> None:
    run = write_run()
    run.write_summary({**summary(0.9, 5), "defences": None})
    assert 'id="defences"' not in read(run).source


def test_the_first_figure_is_the_test_accuracy() -> None:
    assert tiles(summary(0.875, 5), [record(5, 0.875)])[0].name == "Test accuracy"


@pytest.mark.charts
def test_a_real_training_writes_its_report(tmp_path: Path) -> None:
    import sglr

    run = sglr.train("sglr", dataset="digits", model="mlp", clients=2, epochs=1, batch_size=32, out=tmp_path / "real")
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    outcome = run.summary
    assert outcome is not None
    assert f"{outcome['test']['accuracy'] * 100:.1f} %" in page.text
    assert outcome["weights_sha256"] in page.text
    assert "Classes per client" in page.text
