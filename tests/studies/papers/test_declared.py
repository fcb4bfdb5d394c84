"""The declared tables and figures are the paper's, whole and sound."""

from __future__ import annotations

import hashlib
from importlib import import_module

import pytest

from sglr.core.errors import UsageError
from sglr.studies.papers.claims import TESTS
from sglr.studies.papers.declared import SCALES, artefacts, read_artefact

GROUPS = {"first", "last", "all", "several"}


def test_all_tables_and_figures_are_there() -> None:
    tables = [f"table{number}" for number in range(1, 7)]
    assert artefacts() == (*tables, "fig2", "fig3", "fig4", "fig5")


@pytest.mark.parametrize("name", artefacts())
def test_an_artefact_is_sound_at_every_scale(name: str) -> None:
    for scale in SCALES:
        artefact = read_artefact(name, scale)
        assert callable(import_module(f"sglr.studies.papers.kinds.{artefact.kind}").measure)
        trials = artefact.trials
        assert len(trials) == (len(artefact.rows) * len(artefact.columns) * len(artefact.seeds) if trials else 0)
        for claim in artefact.claims:
            assert claim.test in TESTS
            if trials:
                check_selection(claim.more, artefact)
                check_selection(claim.less, artefact)
                assert not claim.less or len(claim.more["columns"]) == len(claim.less["columns"])


def check_selection(chosen, artefact) -> None:
    labels = [column.label for column in artefact.columns]
    assert set(chosen.get("columns", ())) <= set(labels)
    assert set(chosen.get("rows", ())) <= GROUPS | set(artefact.rows)


def test_the_papers_figures_are_those_of_the_paper() -> None:
    """A few of every table, read off the paper again."""
    places = {
        "table1": [("α = 2", "10", 34.37), ("α = 1", "20", 86.00)],
        "table2": [("α = 0.5, φ = 0.5", "20", 87.48), ("α = 1, φ = 0.75", "15", 86.20), ("α = 0, φ off", "6", 82.84)],
        "table3": [("all epochs", "20", 60.67), ("last 40 %", "8", 83.56), ("first 60 %", "4", 83.49)],
        "table4": [("top-1 accuracy", "FL", 89.7), ("top-1 accuracy", "PSL", 84.7)],
        "table5": [("φ = 1", "6", 0.2759), ("φ = 0.25", "6", 0.2142)],
    }
    for name, wanted in places.items():
        columns = {column.label: column for column in read_artefact(name, "full").columns}
        for column, row, figure in wanted:
            assert columns[column].paper[row] == figure, (name, column, row)


def test_full_is_the_papers_setting() -> None:
    for trial in read_artefact("table2", "full").trials:
        experiment = trial.experiment
        assert (experiment.epochs, experiment.samples_per_client, experiment.batch_size) == (200, 1000, 8)
        assert (experiment.lr, experiment.optimizer, experiment.model) == (1e-3, "adam", "resnet16")
        assert experiment.clients == int(trial.row)


def test_cells_that_users_have_trained_stay_theirs() -> None:
    """A cell's fingerprint is its folder's name: were it another, what was trained would be trained again."""
    digests = {"full": "844e7ded11364f63", "small": "0e999565c3cceef6", "smoke": "661539985953dfca"}
    for scale, wanted in digests.items():
        trials = [trial for name in artefacts() for trial in read_artefact(name, scale).trials]
        keys = "".join(sorted({trial.experiment.fingerprint() for trial in trials}))
        assert hashlib.sha256(keys.encode()).hexdigest()[:16] == wanted, f"{scale}: see sglr.runs.facts"
        assert {trial.experiment.init for trial in trials} == {"independent"}


def test_cells_with_one_client_are_one_experiment() -> None:
    trials = [trial for trial in read_artefact("table2", "full").trials if trial.row == "1" and trial.seed == 0]
    assert len(trials) == 12
    assert len({trial.experiment.fingerprint() for trial in trials}) == 1


def test_artefacts_share_the_cells_that_they_have_in_common() -> None:
    def keys(scale: str, *names: str) -> set[str]:
        return {trial.experiment.fingerprint() for name in names for trial in read_artefact(name, scale).trials}

    grids = keys("small", "table1", "table2", "table3")
    assert keys("small", "fig2", "fig3") <= grids
    assert keys("small", "fig4") == keys("small", "table5")  # of 6 clients, as in the paper
    # At full scale the tables have 6 clients too, but not φ = 1: one cell of five.
    alone = keys("full", "fig4", "table5") - keys("full", "table1", "table2", "table3")
    assert len(alone) == len(keys("full", "fig4", "table5")) / 5
    assert len(grids) == (19 + 19 + 1) * 2  # α and φ at 4 and at 8 clients, one client once; two seeds


@pytest.mark.parametrize(
    ("name", "scale", "seeds", "field"),
    [("table9", "small", None, "artefact"), ("table1", "tiny", None, "scale"), ("table1", "small", 0, "seeds")],
)
def test_what_does_not_exist_is_refused(name: str, scale: str, seeds: int | None, field: str) -> None:
    with pytest.raises(UsageError, match=field):
        read_artefact(name, scale, seeds=seeds)


def test_settings_can_be_laid_over_all_cells() -> None:
    artefact = read_artefact("table1", "smoke", seeds=1, overrides={"device": "cpu", "threads": 1})
    assert {trial.experiment.threads for trial in artefact.trials} == {1}
