"""The study of docs/results/which-method.md: all methods are in it, it can be planned, ten rows of it are trained."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scipy.stats import ttest_rel

from sglr.assembly.client_data import load
from sglr.core.registry import PARTITIONERS
from sglr.studies.sweeps.grid import Grid

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SMALL = ["--scale", "smoke", "--data", "digits", "--divisions", "iid,shards-2", "--seeds", "1"]
SMALL += ["--methods", "psl", "sglr", "sglr:label_prior=pooled", "sfl", "sglr:merge=epoch"]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import which_method

    return which_method


def test_every_registered_method_is_in_the_study(study: Any) -> None:
    assert study.missing_methods() == []


def test_the_whole_study_can_be_planned_and_only_the_ceiling_is_trained_once(study: Any, tmp_path: Path) -> None:
    sweeps = [(part, part.plan(tmp_path)) for part in study.parts(study.Choice())]
    assert len(sweeps) == 4 * len(study.ORDER)
    for part, sweep in sweeps:
        assert [one.label for one in sweep.configurations] == list(part.methods)
        assert ("cl" in part.methods) == (part.division == "iid" and part.data != "fashion-resnet16")
    independent = [method for part, _ in sweeps if part.data == "fashion-cnn" for method in part.methods]
    assert independent.count("sglr:init=independent") == 4


def test_each_client_has_samples_in_every_division_of_the_small_data_sets(study: Any, tmp_path: Path) -> None:
    for part in study.parts(study.Choice(data=("digits", "table"), methods=("psl",))):
        sweep = part.plan(tmp_path)
        for experiment in sweep.experiments:
            data = sweep.dataset or load(experiment)
            rows = PARTITIONERS.load(experiment.partition)(**experiment.partition_parameters).partition(
                data.train, experiment.clients, experiment.seed
            )
            assert all(len(own) for own in rows)


@pytest.mark.parametrize("name", ["table4-cnn", "table4-alexnet", "table2-six-clients"])
def test_the_papers_length_is_that_of_the_paper(name: str) -> None:
    for one in Grid.read(BENCHMARKS / "paper_length" / f"{name}.toml", {}).configurations(100):
        assert {(own.epochs, own.samples_per_client, own.batch_size) for own in one.experiments} == {(200, 1000, 8)}
        assert len(one.seeds) >= 2


@pytest.mark.charts
def test_ten_rows_are_trained_once_and_the_same_command_goes_on(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--out", str(tmp_path / "runs"), *SMALL]
    study.main([*train, "--hours", "0"])
    assert "stopped; the same command goes on" in capsys.readouterr().out
    study.main(train)
    told = capsys.readouterr().out
    assert "0 of 10 runs were done before" in told
    assert "[10/10] digits/shards-2: sglr:merge=epoch, seed 0: " in told
    study.main(train)
    assert capsys.readouterr().out == "10 of 10 runs were done before\n"
    _check_page(study, tmp_path)


def _check_page(study: Any, folder: Path) -> None:
    page = folder / "page/which.md"
    write = ["page", "--out", str(folder / "runs"), "--page", str(page), *SMALL]
    study.main(write)
    text = page.read_text(encoding="utf-8")
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    scores = {(one["division"], one["method"]): one["accuracy"] for one in record["cells"]}
    assert len(scores) == 10
    (line,) = [line for line in text.splitlines() if line.startswith("| `sglr:merge=epoch` | shared | ")]
    shown = [scores[division, "sglr:merge=epoch"] for division in ("iid", "shards-2")]
    assert line.split(" | ")[2:5] == [f"{score:.1f}" for score in (*shown, fmean(shown))]
    assert "| `psl` | stay | " in text
    planner = json.loads((page.parent / "planner.json").read_text(encoding="utf-8"))
    assert {row["weights"] for row in planner["rows"]} == {"kept", "shared"}
    assert "<svg" in (page.parent / "which-digits.svg").read_text(encoding="utf-8")
    page.write_text(
        text.replace("<!-- by hand: in short -->\n", "<!-- by hand: in short -->\n- *Ours.*\n"), encoding="utf-8"
    )
    study.main(write)
    assert "<!-- by hand: in short -->\n- *Ours.*\n<!-- end: in short -->" in page.read_text(encoding="utf-8")


def test_sending_takes_less_where_clients_do_not_wait_for_one_another(study: Any) -> None:
    from which_method_figures import seconds

    sent = {
        "up_bytes": 6e6,
        "down_bytes": 4e6,
        "per_client_bytes": {"mean": 5e6, "max": 7.5e6},
        "in_turn": {"bytes": 10e6, "messages": 40},
        "messages": {"up": {"smashed": 20, "labels": 20}, "down": {"gradients": 20}},
    }
    assert seconds(sent, asynchronous=False) == pytest.approx(10 * 8 / 20 + 40 * 0.05)
    assert seconds(sent, asynchronous=True) == pytest.approx(7.5 * 8 / 20 + 20 * 0.05)


def test_differences_are_paired_and_corrected_for_their_number(study: Any) -> None:
    from which_method_figures import Cell, Difference, difference, holm

    def cells(method: str, *scores: float | None) -> list[Any]:
        return [Cell("d", "iid", method, seed, "kept", score, 1.0, 1.0, 1.0, "f") for seed, score in enumerate(scores)]

    gap = difference(cells("a", 3.0, 5.0, 7.0, None), cells("b", 2.0, 3.0, 4.0, 9.0))
    wanted = ttest_rel([3.0, 5.0, 7.0], [2.0, 3.0, 4.0])
    assert (gap.mean, gap.pairs) == (2.0, 3)
    assert gap.p == pytest.approx(wanted.pvalue)
    assert gap.half == pytest.approx(2 - wanted.confidence_interval(0.95).low)
    assert difference(cells("a", 3.0), cells("b", None)) is None
    one = difference(cells("a", 3.0), cells("b", 2.0))
    assert (one.mean, one.half, one.p) == (1.0, None, None)

    family = {name: Difference(1.0, 1.0, 3, p) for name, p in (("x", 0.01), ("y", 0.04), ("z", 0.03), ("w", None))}
    corrected = {name: gap.p for name, gap in holm(family).items()}
    assert corrected == {"x": pytest.approx(0.03), "z": pytest.approx(0.06), "y": pytest.approx(0.06), "w": None}


def test_what_the_record_holds_is_not_trained_again_and_is_on_the_page(study: Any, tmp_path: Path, capsys) -> None:
    from which_method_figures import read_record

    known = read_record(ROOT / "benchmarks/results/which-method-cpu.json")
    assert len(known) > 90
    _, _, fingerprint = key = next(iter(known))
    assert known[key].fingerprint == fingerprint
    own = known[key]
    words = ["--data", own.data, "--divisions", own.division, "--methods", own.method, "--seeds", "1"]
    study.main(["train", "--out", str(tmp_path), *words])
    assert capsys.readouterr().out == "1 of 1 runs were done before\n"
    assert not list(tmp_path.glob("*/*/cells"))
    study.main(["page", "--out", str(tmp_path), *words, "--page", str(tmp_path / "page.md")])
    assert f"{own.accuracy:.1f}" in (tmp_path / "page.md").read_text(encoding="utf-8")
